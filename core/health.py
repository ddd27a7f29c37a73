"""Health and metrics over HTTP, in a thread of its own: observability that still answers when the event loop does not.

``/live`` the process runs; ``/ready`` it takes work, else 503 with the reasons; ``/metrics`` Prometheus. Nothing here says
anything about a parcel.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HealthServer:
    """Serves until `stop`. ``reasons`` gives why the node is not ready (empty = ready); ``metrics`` the exposition."""

    def __init__(self, host: str, port: int, reasons: Callable[[], list[str]], metrics: Callable[[], bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/live":
                    self._say(200, b'{"status":"live"}\n', "application/json")
                elif path == "/ready":
                    why = reasons()
                    body = json.dumps({"status": "not ready" if why else "ready", "reasons": why}).encode() + b"\n"
                    self._say(503 if why else 200, body, "application/json")
                elif path == "/metrics":
                    self._say(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")
                else:
                    self._say(404, b"/live, /ready or /metrics\n", "text/plain")

            def _say(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Probes are not logged."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
