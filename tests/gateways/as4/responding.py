"""Who answers about certificates in the tests: lists from a real server, and `openssl ocsp` as a responder."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from conformance.estate import free_port
from conformance.pki import Authority, Identity, write
from core.clock import FrozenClock, SystemClock, from_datetime, to_datetime
from core.revocation import Standing, Window, standing
from gateways.as4.fetching import Fetcher
from gateways.as4.questions import Known

AT: Final = to_datetime(SystemClock().now()).replace(microsecond=0)
NOW: Final = from_datetime(AT)
OPENSSL: Final = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="the program openssl is not installed here")

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Site:
    """A server on loopback. ``pages`` gives what is at a path: octets, or a function of the request."""

    port: int
    pages: dict[str, bytes | Reply] = field(default_factory=dict)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)

    def url(self, path: str) -> str:
        """Where a path is."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def host(self) -> str:
        """As the settings name it."""
        return f"127.0.0.1:{self.port}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.asked.append((request.method, request.path, await request.read()))
        page = self.pages.get(request.path)
        if page is None:
            return web.Response(status=404)
        return web.Response(body=page) if isinstance(page, bytes) else await page(request)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """A server that runs until the block ends."""
    made = Site(free_port())
    runner = web.ServerRunner(web.Server(made.serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    try:
        yield made
    finally:
        await runner.cleanup()


@dataclass
class Responder:
    """`openssl ocsp` with an index of certificates, as its authority keeps it."""

    folder: Path
    ca: Authority
    signer: Identity
    port: int = field(default_factory=free_port)
    days: int = 1

    def index(self, *certificates: x509.Certificate, revoked: bool = False, fresh: bool = True) -> None:
        """Write the certificates into the index, over it when ``fresh``."""
        lines = []
        for certificate in certificates:
            end = f"{certificate.not_valid_after_utc:%y%m%d%H%M%SZ}"
            when = f"{certificate.not_valid_before_utc:%y%m%d%H%M%SZ}" if revoked else ""
            serial = f"{certificate.serial_number:X}"
            serial = serial if len(serial) % 2 == 0 else f"0{serial}"
            lines.append(f"{'R' if revoked else 'V'}\t{end}\t{when}\t{serial}\tunknown\t/CN=demo\n")
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "index.txt").open("w" if fresh else "a") as file:
            file.writelines(lines)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The process, until the block ends."""
        assert OPENSSL is not None
        write(self.folder / "ca.pem", self.ca.pem())
        write(self.folder / "signer.pem", self.signer.certificate_pem())
        write(self.folder / "signer.key", self.signer.key_pem(), secret=True)
        command = [OPENSSL, "ocsp", "-port", str(self.port), "-index", "index.txt", "-CA", "ca.pem"]
        command += ["-rsigner", "signer.pem", "-rkey", "signer.key", "-ndays", str(self.days)]
        process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            assert process.stdout is not None
            said = b""
            while b"waiting for OCSP client connections" not in said:
                line = process.stdout.readline()
                assert line, f"openssl ended: {said!r}"
                said += line
            yield
        finally:
            process.terminate()
            process.wait()


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Bench:
    """A fetcher whose clock stands still, with what it told people."""

    folder: Path
    hosts: Sequence[str]
    clock: FrozenClock = field(default_factory=lambda: FrozenClock(NOW))
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fetcher = self.anew()

    def anew(self) -> Fetcher:
        """A fetcher on the same folder, as after a restart."""

        async def alarm(code: str, text: str) -> None:
            self.told.append((code, text))

        self.folder.mkdir(exist_ok=True)
        self.fetcher = Fetcher(self.clock, self.hosts, lambda: self.folder, alarm)
        return self.fetcher

    @asynccontextmanager
    async def fetching(self, known: Sequence[Known] = ()) -> AsyncIterator[Fetcher]:
        """It runs until the block ends; what is known beforehand has been asked once."""
        fetcher, ready = self.fetcher, asyncio.Event()
        fetcher.configure(known)
        task = asyncio.create_task(fetcher.run(ready))
        try:
            await asyncio.wait_for(ready.wait(), 20)
            yield fetcher
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def files(self) -> list[str]:
        """What is kept for the next start."""
        return sorted(path.name for path in (self.folder / "revocation").iterdir())


def der(made: Any) -> bytes:
    """Octets as they are fetched."""
    return made.public_bytes(Encoding.DER)  # type: ignore[no-any-return]


def clean(ca: Authority, *revoked: x509.Certificate, until_: datetime = AT + timedelta(days=30)) -> bytes:
    """A list of today."""
    builder = x509.CertificateRevocationListBuilder(ca.certificate.subject, AT - timedelta(hours=1), until_)
    for certificate in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(certificate.serial_number, AT).build())
    return der(builder.sign(ca.key, hashes.SHA256()))


def state(fetcher: Fetcher, path: Sequence[x509.Certificate], at: int = NOW, window: Window | None = None) -> Standing:
    """What is known now of the first certificate of a path."""
    window = window or Window()
    return standing(path[0], path[1:], fetcher.about(path, window), window, at)


def clean_of(ca: Authority, begin: datetime, end: datetime) -> bytes:
    """A list of another time."""
    builder = x509.CertificateRevocationListBuilder(ca.certificate.subject, begin, end)
    return der(builder.sign(ca.key, hashes.SHA256()))
