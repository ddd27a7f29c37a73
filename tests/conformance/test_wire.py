"""What passes between two access points, and how it is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from threading import Thread

import pytest

from conformance.estate import free_port
from conformance.pki import Authority, write
from conformance.wire import KEPT, Passed, Wire, written
from core.clock import SystemClock, to_datetime


class _Answers(BaseHTTPRequestHandler):
    """Gives back what it is given, on a connection that is kept."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One answer."""
        octets = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Wire, int, Path]]:
    """A wire before an endpoint that echoes; gives the wire, its port, and the authority to believe."""
    authority = Authority("Fictitious CA", to_datetime(SystemClock().now()))
    identity = authority.issue("echo", "tls-server", hosts=("localhost",))
    write(tmp_path / "key.pem", identity.key_pem() + identity.chain_pem(), secret=True)
    write(tmp_path / "ca.pem", authority.pem())
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "key.pem")
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    wire = Wire("echo", port, server.server_port, tmp_path / "key.pem")
    wire.start()
    yield wire, port, tmp_path / "ca.pem"
    wire.stop()
    server.shutdown()


def test_every_octet_is_handed_on_and_written_down(place: tuple[Wire, int, Path]):
    """Of a kept connection what belongs to this case alone, and of a long message the beginning."""
    wire, port, authority = place
    connection = HTTPSConnection("localhost", port, context=create_default_context(cafile=str(authority)))

    def ask(octets: bytes) -> bytes:
        connection.request("POST", "/", octets)
        return connection.getresponse().read()

    assert ask(b"one") == b"one"
    wire.forget()
    assert wire.passed() == []
    assert ask(b"two") == b"two"
    (passed,) = wire.passed()
    assert [who for who, _ in passed.turns] == ["asks", "answers"]
    assert all(octets.endswith(b"two") and b"one" not in octets for _, octets in passed.turns)
    long = b"x" * (2 * KEPT)
    assert ask(long) == long
    assert max(len(octets) for _, octets in passed.turns) <= KEPT
    connection.close()


def shown(*turns: tuple[str, bytes]) -> str:
    """What people see of one connection."""
    wire, passed = Wire("peer", 0, 0, Path()), Passed()
    for who, octets in turns:
        passed.add(who, octets)
    wire._connections.append(passed)
    return written([wire])


def test_a_multipart_message_is_shown_part_by_part():
    """XML as it is, a payload by its length and digest."""
    parts = (
        b"--b\r\nContent-Type: application/soap+xml\r\n\r\n<a/>\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n\x00\x01\r\n--b--\r\n"
    )
    head = b'POST /as4 HTTP/1.1\r\nContent-Type: multipart/related; boundary="b"\r\nContent-Length: %d\r\n\r\n' % len(
        parts
    )
    text = shown(("asks", head + parts))
    assert "POST /as4 HTTP/1.1" in text
    assert "\n<a/>\n" in text
    assert f"[2 octets, SHA-256 {hashlib.sha256(bytes([0, 1])).hexdigest()}]" in text


def test_what_comes_in_chunks_and_what_comes_after_it_are_two_messages():
    """A body ends where its last chunk does."""
    one = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n<a>\r\n4\r\n</a>\r\n0\r\n\r\n"
    text = shown(("answers", one + b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"))
    assert "<a></a>" in text
    assert text.count("--- peer answers") == 2


def test_what_breaks_off_is_shown_as_far_as_it_came():
    """No end of the headers, no end of a chunk."""
    assert "POST / HT" in shown(("asks", b"POST / HT"))
    assert "ab" in shown(
        ("answers", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    )
