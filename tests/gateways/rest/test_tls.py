"""The handshake: who may connect at all, with real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from conformance.pki import Authority, Identity, write
from core.clock import SystemClock, to_datetime
from core.errors import ConfigError
from gateways.rest.settings import Settings
from gateways.rest.tls import Door, make_context

NOW = to_datetime(SystemClock().now())


@pytest.fixture(scope="module")
def ca() -> Authority:
    """The authority of the server, valid today: OpenSSL looks at the machine's clock."""
    return Authority("Birkelund demonstration CA", NOW)


@pytest.fixture(scope="module")
def stranger() -> Authority:
    """Another authority."""
    return Authority("Egedal demonstration CA", NOW)


@pytest.fixture
def key(tmp_path: Path, ca: Authority) -> Path:
    """The server's key."""
    identity = ca.issue("stafet", "tls-server")
    return write(tmp_path / "server.pem", identity.key_pem() + identity.chain_pem(), secret=True)


def settings(**changes: Any) -> Settings:
    """Where it listens does not matter here."""
    return Settings.model_validate({"certificate": "server", **changes})


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that answers each line with the client's certificate's length."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        while await reader.readline():
            writer.write(f"{len(shown or b'')} {writer.get_extra_info('ssl_object').version()}\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "localhost", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(
    port: int,
    ca: Authority,
    folder: Path,
    identity: Identity | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> str:
    """What the server says of a connection. Raises `OSError` (also for a TLS alert)."""
    context = ssl.create_default_context(cadata=ca.pem().decode())
    context.maximum_version = version
    context.minimum_version = min(version, ssl.TLSVersion.TLSv1_2)
    if identity is not None:
        path = write(folder / "client.pem", identity.key_pem() + identity.chain_pem(), secret=True)
        context.load_cert_chain(path)
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    try:
        writer.write(b"who\n")
        line = await asyncio.wait_for(reader.readline(), 5)
        if not line:
            raise ConnectionResetError("closed without an answer")
        return line.decode().strip()
    finally:
        writer.close()


def client(authority: Authority, name: str = "post", **changes: Any) -> Identity:
    """A client's certificate."""
    return authority.issue(name, "tls-client", kind="p256", **changes)


async def test_a_pinned_certificate_is_taken_whoever_issued_it(
    tmp_path: Path, key: Path, ca: Authority, stranger: Authority
):
    """It is its own anchor: its issuer's other certificates are not believed, and it comes through to the application."""
    post = client(stranger)
    door = Door(settings(), key)
    door.renew([post.certificate])
    async with serving(door.context) as port:
        assert (await connect(port, ca, tmp_path, post)).endswith("TLSv1.3")
        assert not (await connect(port, ca, tmp_path, post)).startswith("0 ")
        with pytest.raises(OSError):
            await connect(port, ca, tmp_path, client(stranger, "other"))
        assert (await connect(port, ca, tmp_path)).startswith("0 ")


async def test_a_version_counts_from_the_next_handshake(tmp_path: Path, key: Path, ca: Authority, stranger: Authority):
    """Roll-over without a restart: what is pinned anew is taken, what is taken out is not."""
    old, new = client(stranger, "old"), client(stranger, "new")
    door = Door(settings(client_certificates="required"), key)
    async with serving(door.context) as port:
        for pinned, taken, refused in (([old], old, new), ([old, new], new, None), ([new], new, old)):
            door.renew([one.certificate for one in pinned])
            assert not (await connect(port, ca, tmp_path, taken)).startswith("0 ")
            if refused is not None:
                with pytest.raises(OSError):
                    await connect(port, ca, tmp_path, refused)


async def test_what_has_ended_is_refused_in_the_handshake(
    tmp_path: Path, key: Path, ca: Authority, stranger: Authority
):
    """A pinned certificate counts within its dates."""
    begin = NOW - timedelta(days=9)
    ended = client(stranger, not_before=begin, not_after=begin + timedelta(days=1))
    door = Door(settings(), key)
    door.renew([ended.certificate])
    async with serving(door.context) as port:
        with pytest.raises(OSError):
            await connect(port, ca, tmp_path, ended)


@pytest.mark.parametrize(("asks", "without"), [("required", False), ("optional", True), ("off", True)])
async def test_a_certificate_must_may_or_cannot_be_shown(
    asks: str, without: bool, tmp_path: Path, key: Path, ca: Authority
):
    """As the setting says."""
    post = client(ca)
    door = Door(settings(client_certificates=asks), key)
    door.renew([post.certificate])
    async with serving(door.context) as port:
        shown = await connect(port, ca, tmp_path, post)
        assert shown.startswith("0 ") == (asks == "off")
        if without:
            assert (await connect(port, ca, tmp_path)).startswith("0 ")
        else:
            with pytest.raises(OSError):
                await connect(port, ca, tmp_path)


async def test_certificates_under_an_anchor_are_let_in_to_show_tokens(
    tmp_path: Path, key: Path, ca: Authority, stranger: Authority
):
    """Nobody need name them one by one; who they are, the token says."""
    anchors = write(tmp_path / "anchors.pem", stranger.pem())
    door = Door(settings(client_anchors=str(anchors)), key)
    door.renew([])
    async with serving(door.context) as port:
        assert not (await connect(port, ca, tmp_path, client(stranger))).startswith("0 ")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(("versions", "refused"), [(["1.3"], "1.2"), (["1.2"], "1.3"), (["1.2", "1.3"], "1.1")])
async def test_only_the_versions_that_are_named_are_spoken(
    versions: Sequence[str], refused: str, tmp_path: Path, key: Path, ca: Authority
):
    """The newest that both know, and never 1.1."""
    names = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    context = make_context(settings(tls_versions=versions), key, [])
    async with serving(context) as port:
        answer = await connect(port, ca, tmp_path)
        assert answer.endswith(f"TLSv{max(versions)}")
        if refused == "1.3":
            return
        with pytest.raises((OSError, ssl.SSLError)):
            await connect(port, ca, tmp_path, version=names[refused])


def test_anchors_that_cannot_be_read_are_named(tmp_path: Path, key: Path):
    """Missing, or no certificate: the setting is named."""
    junk = write(tmp_path / "junk.pem", b"junk")
    for path in (tmp_path / "gone.pem", junk):
        with pytest.raises(ConfigError, match=r"gateways\.rest\.client_anchors") as caught:
            make_context(settings(client_anchors=str(path)), key, [])
        assert path.name in str(caught.value)


def test_what_cannot_be_renewed_leaves_the_old_door(tmp_path: Path, key: Path):
    """The server's key has gone: the version is refused, and the context stands."""
    door = Door(settings(), key)
    before: list[x509.Certificate] = []
    door.renew(before)
    inner = door._inner
    key.unlink()
    with pytest.raises(OSError):
        door.renew(before)
    assert door._inner is inner
