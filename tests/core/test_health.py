"""Health and metrics over HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from core.health import HealthServer


class Served:
    """A server whose reasons a test sets."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.server = HealthServer("127.0.0.1", 0, lambda: self.reasons, lambda: b"stafet_up 1\n")

    def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=5) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()


@pytest.fixture
def served() -> Iterator[Served]:
    """A server on a port of its own."""
    one = Served()
    yield one
    one.server.stop()


def test_a_process_that_runs_is_live(served: Served):
    """Live says nothing about readiness."""
    served.reasons = ["the node is starting"]
    assert served.get("/live") == (200, "application/json", b'{"status":"live"}\n')


def test_ready_names_every_reason_why_not(served: Served):
    """A probe sees 503 and people see why; without a reason it is 200."""
    served.reasons = ["version 4 cannot be used here: route: field to", "free space 3 MiB is below the reserve"]
    status, _, body = served.get("/ready?verbose")
    assert (status, json.loads(body)) == (503, {"status": "not ready", "reasons": served.reasons})
    served.reasons = []
    status, _, body = served.get("/ready")
    assert (status, json.loads(body)) == (200, {"status": "ready", "reasons": []})


def test_metrics_are_in_the_exposition_format(served: Served):
    """What Prometheus asks for, under the media type it knows."""
    assert served.get("/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", b"stafet_up 1\n")


@pytest.mark.parametrize("path", ["/", "/metricsx", "/../etc/passwd", "/live/"])
def test_nothing_else_is_there(served: Served, path: str):
    """Any other path says what there is."""
    assert served.get(path)[0] == 404


def test_garbage_ends_one_connection_and_nothing_else(served: Served, capfd: pytest.CaptureFixture[str]):
    """Octets that are no request are answered or dropped; the next probe is served, and nothing is printed."""
    for octets in (
        b"\x16\x03\x01\x00\xff" * 40,
        b"GET " + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /live HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as connection:
            connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert served.get("/live")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_client_that_says_nothing_holds_up_nobody(served: Served):
    """Each connection has a thread of its own: silent ones are waited for beside the probes."""
    with contextlib.ExitStack() as silent:
        for _ in range(5):
            silent.enter_context(socket.create_connection(("127.0.0.1", served.server.port), timeout=5))
        assert served.get("/live")[0] == 200


def test_a_stopped_server_lets_go_of_its_port():
    """The port can be taken again at once."""
    server = HealthServer("127.0.0.1", 0, list, bytes)
    server.stop()
    again = HealthServer("127.0.0.1", server.port, list, bytes)
    assert again.port == server.port
    again.stop()
