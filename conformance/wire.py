"""What goes over the wire between two access points, written down as it passes.

A `Wire` stands before an endpoint: whoever connects speaks TLS with it, it speaks TLS with the endpoint, and hands every octet
on. It judges nothing and changes nothing. `written` shows an exchange to people: headers and XML as they are, other parts by
their length and digest.

Rule: of a long message the beginning is kept, `KEPT` octets each way.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from conformance.estate import Estate

KEPT: Final = 512 * 1024
_PIECE: Final = 64 * 1024
_STARTING: Final = 30
_TEXT: Final = re.compile(rb"content-type:\s*(?:application/soap\+xml|[^\r\n]*xml|text/)", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_CHUNKED: Final = re.compile(rb"^transfer-encoding:\s*chunked\s*$", re.IGNORECASE | re.MULTILINE)
_BOUNDARY: Final = re.compile(rb'boundary="?([^";\r\n]+)"?', re.IGNORECASE)


@dataclass
class Passed:
    """One connection: what was said, by turns, each with who spoke ("asks" or "answers")."""

    turns: list[tuple[str, bytearray]] = field(default_factory=list)

    def add(self, who: str, octets: bytes) -> None:
        """Somebody goes on, or begins to speak."""
        if not self.turns or self.turns[-1][0] != who:
            self.turns.append((who, bytearray()))
        said = self.turns[-1][1]
        said += octets[: max(0, KEPT - len(said))]


class Wire:
    """Listens on ``port``, hands on to ``target`` on this machine. ``key`` is a file of key and chain for who connects."""

    def __init__(self, name: str, port: int, target: int, key: Path) -> None:
        self.name = name
        self._port, self._target, self._key = port, target, key
        self._connections: list[Passed] = []
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        if not self._ready.wait(_STARTING):
            raise RuntimeError(f"the wire before {self.name} did not start")

    def stop(self) -> None:
        """Let go of everything."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def forget(self) -> None:
        """What passes from now on is another case."""
        self._connections = []

    def passed(self) -> list[Passed]:
        """The connections over which something went since."""
        return [one for one in self._connections if one.turns]

    def _run(self) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._key)
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._pass_on, "127.0.0.1", self._port, ssl=tls))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # both ends are on this machine, and ours
        try:
            beyond, there = await asyncio.open_connection("127.0.0.1", self._target, ssl=tls)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pump(reader, there, "asks", writer), self._pump(beyond, writer, "answers", there))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str, back: asyncio.StreamWriter
    ) -> None:
        """One direction, until it ends; then neither is open any more. A kept connection is one `Passed` a case."""
        with suppress(OSError):
            while octets := await reader.read(_PIECE):
                self._of(writer if who == "asks" else back).add(who, octets)
                writer.write(octets)
                await writer.drain()
        writer.close()

    def _of(self, there: asyncio.StreamWriter) -> Passed:
        """What is written down of a connection in this case."""
        noted: tuple[list[Passed], Passed] | None = getattr(there, "noted", None)
        if noted is None or noted[0] is not self._connections:
            noted = (self._connections, Passed())
            self._connections.append(noted[1])
            there.noted = noted  # type: ignore[attr-defined]
        return noted[1]


class Captures:
    """The wires of an estate, and a folder for what passed in the cases that are worth a look."""

    def __init__(self, estate: Estate, folder: Path) -> None:
        self._folder = folder
        ends = [(one.title, one.door, one.port, one.home / "keys" / "tls.pem") for one in estate.both]
        self._wires = [Wire(title, door, port, key) for title, door, port, key in ends]
        for wire in self._wires:
            wire.start()

    def begin(self) -> None:
        """A case begins."""
        for wire in self._wires:
            wire.forget()

    def keep(self, *words: str) -> str:
        """Write down what passed in it; gives the file's name, made of ``words``."""
        name = re.sub(r"[^a-z0-9.]+", "-", " ".join(words).lower()).strip("-") + ".txt"
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(written(self._wires), encoding="utf-8")
        return name

    def stop(self) -> None:
        """Let go of the wires."""
        for wire in self._wires:
            wire.stop()


# --- for people -------------------------------------------------------------------------------------------------------


def written(wires: list[Wire]) -> str:
    """Everything that passed, for people."""
    lines: list[str] = []
    for wire in wires:
        for number, connection in enumerate(wire.passed(), start=1):
            lines.append(f"=== to {wire.name}, connection {number}")
            for who, octets in connection.turns:
                for message in _messages(bytes(octets)):
                    lines += [f"--- who connected {who}" if who == "asks" else f"--- {wire.name} {who}", message]
    return "\n".join(lines) + "\n"


def _messages(octets: bytes) -> Iterator[str]:
    """HTTP messages one after the other, each as text."""
    while octets:
        head, found, rest = octets.partition(b"\r\n\r\n")
        if not found:
            yield _shown(octets)
            return
        body, octets = _body(head, rest)
        yield head.decode("latin-1").replace("\r\n", "\n") + "\n\n" + _parts(head, body)


def _body(head: bytes, rest: bytes) -> tuple[bytes, bytes]:
    """A message's body, and what comes after it."""
    if _CHUNKED.search(head):
        body = bytearray()
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.split(b";")[0] or b"0", 16)
            if not length:
                return bytes(body), rest.removeprefix(b"\r\n")
            body += rest[:length]
            rest = rest[length + 2 :]
        return bytes(body), b""
    length_said = _LENGTH.search(head)
    length = int(length_said[1]) if length_said else 0
    return rest[:length], rest[length:]


def _parts(head: bytes, body: bytes) -> str:
    """A body as text: its XML parts as they are, the others by what they are."""
    boundary = _BOUNDARY.search(head)
    if boundary is None:
        return _shown(body) if _TEXT.search(head) or not body else _named(body)
    lines = []
    for part in body.split(b"--" + boundary[1]):
        own, found, content = part.partition(b"\r\n\r\n")
        if found:
            lines.append(own.strip().decode("latin-1").replace("\r\n", "\n"))
            lines.append(_shown(content.rstrip()) if _TEXT.search(own) else _named(content.removesuffix(b"\r\n")))
    return "\n\n".join(lines)


def _shown(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _named(octets: bytes) -> str:
    return f"[{len(octets):,} octets, SHA-256 {hashlib.sha256(octets).hexdigest()}]"
