"""The HTTP server over real sockets: what reaches a handler, what is answered here, and what slow or broken peers get."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.http_parser import HttpRequestParserPy

from accesspoint import limits
from accesspoint.client import Client, Unreachable
from accesspoint.errors import HttpRefusal
from accesspoint.server import Answer, Handler, Incoming, Server
from tests.accesspoint.sockets import END, Seen, Wire, head, pki, reset

BUGS: list[BaseException] = []


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A running server; gives its port. Bugs nobody asked for fail the test."""
    BUGS.clear()
    server = Server(handler, "127.0.0.1", 0, tls, BUGS.append)
    await server.start()
    assert server.port > 0
    try:
        yield server.port
    finally:
        await server.stop()


async def ask(port: int, *octets: bytes, pause: float = 0) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own, and its answer."""
    wire = await Wire.open(port)
    await wire.say(*octets, pause=pause)
    found = await wire.answer()
    wire.writer.close()
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same deadlines, some hundred times as short."""
    for name in ("READ_TIMEOUT", "DRAIN_TIMEOUT", "KEEP_ALIVE"):
        monkeypatch.setattr(limits, name, 0.3)


@pytest.fixture(autouse=True)
def no_bugs() -> Any:
    """What a test does not take out of `BUGS` was not meant to happen."""
    yield
    assert BUGS == []


# --- an exchange ------------------------------------------------------------------------------------------------------


async def test_a_handler_gets_path_type_length_peer_and_body():
    """As they came: nothing is undone, and no header says who the peer is."""
    seen = Seen()
    async with serving(seen) as port:
        spoofed = ("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-SSL-Client-Cert: x")
        status, headers, body = await ask(port, head(3, *spoofed, path="/as4?x=1"), b"a", b"bc", pause=0.02)
    assert (status, headers["content-type"], body) == (200, "application/soap+xml; charset=UTF-8", b"taken")
    ((path, incoming),) = seen.requests
    assert (path, incoming.content_type, incoming.content_length, seen.body) == ("/as4", "text/xml", 3, b"abc")
    assert (incoming.peer, incoming.client_certificate) == ("127.0.0.1", None)


async def test_a_body_without_a_length_comes_in_chunks():
    """Chunked framing is taken off."""
    seen = Seen()
    async with serving(seen) as port:
        chunks = b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n", b"0\r\n\r\n"
        assert (await ask(port, head("Transfer-Encoding: chunked"), *chunks))[0] == 200
    assert (seen.body, seen.requests[0][1].content_length) == (b"abcde", None)


async def test_a_body_is_never_kept_here():
    """The handler gets pieces while the sender still sends; a large body is never whole in memory."""
    largest = total = 0

    async def count(path: str, incoming: Incoming) -> Answer:
        nonlocal largest, total
        async for chunk in incoming.chunks():
            largest, total = max(largest, len(chunk)), total + len(chunk)
            await asyncio.sleep(0)
        return Answer(202)

    async with serving(count) as port:
        size = 32 * 1024 * 1024
        assert (await ask(port, head(size), *[b"x" * 1_048_576] * 32))[0] == 202
    assert (total, largest < 4_194_304) == (size, True)


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        (Answer(200, b"<a/>"), 200, "application/soap+xml; charset=UTF-8"),
        (Answer(503, b"later", "text/plain", {"Retry-After": "7"}), 503, "text/plain"),
        (Answer(202), 202, None),
    ],
)
async def test_an_answer_goes_out_as_it_is(answer, status, kind):
    """Status, type, headers, octets; an empty one has no type."""

    async def give(path: str, incoming: Incoming) -> Answer:
        return answer

    async with serving(give) as port:
        found = await ask(port, head())
    assert (found[0], found[2]) == (status, answer.body)
    assert found[1].get("retry-after") == answer.headers.get("Retry-After")
    if kind:
        assert found[1]["content-type"] == kind


async def test_a_connection_serves_message_after_message():
    """Also after a refusal whose body was read to its end."""
    refused = False

    async def alternate(path: str, incoming: Incoming) -> Answer:
        nonlocal refused
        refused = not refused
        if refused:
            raise HttpRefusal(404, "not here")
        return Answer(200, b"here")

    async with serving(alternate) as port:
        wire = await Wire.open(port)
        for expected in (404, 200) * 3:
            await wire.say(head(200_000), b"x" * 200_000)
            assert (await wire.answer())[0] == expected
        wire.writer.close()


# --- refused here -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_only_post_is_an_exchange(method):
    """Every other method is 405 and never reaches the protocol."""
    seen = Seen()
    async with serving(seen) as port:
        wire = await Wire.open(port)
        await wire.say(head(method=method))
        found = (await wire.reader.readuntil(END)).decode()
        wire.writer.close()
    assert found.startswith("HTTP/1.1 405") and "\r\nAllow: POST\r\n" in found
    assert seen.requests == []


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Encoding: gzip", 415),
        ("Content-Encoding: deflate, gzip", 415),
        ("Expect: 200-ok", 417),
        ("Content-Encoding: Identity", 200),
    ],
)
async def test_the_body_as_a_whole_is_not_compressed(header, status):
    """A second place for a bomb is not opened, and nothing unknown is promised."""
    seen = Seen()
    async with serving(seen) as port:
        assert (await ask(port, head(100_000, header), b"x" * 100_000))[0] == status
    assert len(seen.requests) == (status == 200)


async def test_an_early_refusal_is_seen_by_a_peer_that_is_still_sending():
    """Some megabytes are read and forgotten, so that the answer comes and no reset."""

    async def refuse(path: str, incoming: Incoming) -> Answer:
        raise HttpRefusal(413, "too large")

    async with serving(refuse) as port:
        status, _, body = await ask(port, head(4_000_000), *[b"x" * 1_000_000] * 4)
    assert (status, body) == (413, b"too large\n")


async def test_a_peer_that_asks_first_is_told_to_go_on_or_not(monkeypatch):
    """``Expect: 100-continue``: 100 when the body is wanted; the refusal at once, and no octet of the body, when not."""

    async def only(path: str, incoming: Incoming) -> Answer:
        if path != "/as4":
            raise HttpRefusal(404, "not here")
        return await Seen()(path, incoming)

    monkeypatch.setattr(limits, "DRAIN_TIMEOUT", 1.0)
    async with serving(only) as port:
        wire = await Wire.open(port)
        await wire.say(head(3, "Expect: 100-Continue"))
        assert (await wire.answer())[0] == 100
        await wire.say(b"abc")
        assert (await wire.answer())[::2] == (200, b"taken")
        begun = asyncio.get_running_loop().time()
        await wire.say(head(3, "Expect: 100-continue", path="/other"))
        assert (await wire.answer())[0] == 404
        assert asyncio.get_running_loop().time() - begun < limits.DRAIN_TIMEOUT / 2
        wire.writer.close()


BROKEN = {
    "no HTTP": b"EHLO x.example\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an endless line": b"POST /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "an endless header": head(0, "A: " + "b" * 100_000),
    "a thousand headers": head(0, *["A: b"] * 1000),
    "ten thousand headers": head(0, *["A: b"] * 10_000),
    "two lengths": head(0, "Content-Length: 5"),
    "a negative length": head("Content-Length: -5"),
    "a length and chunks": head(5, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "a folded header": head(0, "A: b\r\n c"),
    "a bare carriage return": head(0, "A: b\rB: c"),
    "a header without a name": head(0, ": c"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_request_that_is_no_http_is_400(name):
    """Floods and tricks with the framing are refused before any handler, in a few words."""
    seen = Seen()
    async with serving(seen) as port:
        wire = await Wire.open(port)
        wire.writer.write(BROKEN[name])
        status, _, body = await wire.answer()
        assert await wire.ended()
        wire.writer.close()
    assert (status, seen.requests) == (400, [])
    assert b"Traceback" not in body and len(body) < 1000


# --- slow, broken and vanishing peers ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", [b"", b"abc"])
async def test_a_body_that_stops_coming_is_408(sent):
    """The answer says so and the connection ends; the handler was told."""
    seen = Seen()
    async with serving(seen) as port:
        wire = await Wire.open(port)
        await wire.say(head(100), sent)
        status, headers, body = await wire.answer()
        assert (status, headers["connection"], body) == (408, "close", b"the body stopped coming\n")
        assert await wire.ended()
    assert isinstance(seen.errors[0], HttpRefusal)


@pytest.mark.usefixtures("impatient")
async def test_a_body_that_trickles_is_408():
    """Each read comes in time and the whole is too slow: an octet each tenth of a second is a slow loris."""
    seen = Seen()
    async with serving(seen) as port:
        wire = await Wire.open(port)
        saying = asyncio.create_task(wire.say(head(1000), *[b"x"] * 100, pause=0.1))
        status, _, body = await wire.answer()
        assert (status, body) == (408, b"slower than 1024 octets a second\n")
        saying.cancel()
        wire.writer.close()
    assert len(seen.body) < 20


@pytest.mark.usefixtures("impatient")
async def test_our_own_slowness_is_not_the_peers():
    """A handler that takes its time between pieces reads on: only waiting for the peer counts."""

    async def slow(path: str, incoming: Incoming) -> Answer:
        size = 0
        async for chunk in incoming.chunks():
            size += len(chunk)
            await asyncio.sleep(0.5)
        return Answer(200, b"%d" % size)

    async with serving(slow) as port:
        assert (await ask(port, head(20), b"x" * 10, b"y" * 10, pause=0.05))[::2] == (200, b"20")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("said", [b"", b"POST /as4/", b"POST /as4 HTTP/1.1\r\nHost: x.example\r\nA: "])
async def test_who_never_finishes_a_header_is_cut_off(said):
    """A connection that says nothing, or its header octet by octet, ends; so does one that has been served."""
    async with serving(Seen()) as port:
        silent, served = await Wire.open(port), await Wire.open(port)
        await silent.say(said)
        saying = asyncio.create_task(silent.say(*[b"x"] * 100, pause=0.1)) if said else None
        await served.say(head())
        assert (await served.answer())[0] == 200
        assert await silent.ended()
        assert await served.ended()
        if saying:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("parser", "expected"), [("C", 408), ("Python", 400)])
async def test_broken_chunks_are_refused(parser, expected, monkeypatch):
    """A framing that breaks in the middle: one parser says so, the other falls silent and the deadline ends it."""
    if parser == "Python":
        monkeypatch.setattr("aiohttp.web_protocol.HttpRequestParser", HttpRequestParserPy)
    seen = Seen()
    async with serving(seen) as port:
        wire = await Wire.open(port)
        await wire.say(head("Transfer-Encoding: chunked"), b"3\r\nabc\r\n", b"zz\r\n", pause=0.05)
        status, _, body = await wire.answer()
        wire.writer.close()
    assert (status, b"body" in body) == (expected, True)
    assert isinstance(seen.errors[0], HttpRefusal)


@pytest.mark.parametrize("how", [lambda w: w.close(), lambda w: w.write_eof(), reset])
async def test_a_peer_that_goes_in_the_middle_is_no_bug(how: Callable[[asyncio.StreamWriter], None]):
    """Closed, half closed or reset: the handler learns that the body never came whole, and answers nothing."""
    seen = Seen()
    async with serving(seen) as port:
        wire = await Wire.open(port)
        await wire.say(head(100), b"abc", pause=0.05)
        how(wire.writer)
        async with asyncio.timeout(10):
            while not seen.errors:
                await asyncio.sleep(0.01)
        wire.writer.close()
        assert (await ask(port, head(3), b"abc"))[0] == 200
    assert isinstance(seen.errors[0], ConnectionError | HttpRefusal)


@pytest.mark.parametrize("bug", [ZeroDivisionError("secret detail"), ConnectionRefusedError("secret detail")])
async def test_a_bug_is_told_to_the_operator_and_not_to_the_peer(bug):
    """500 without detail; a broken connection of our own, to a database for instance, is a bug as well."""

    async def break_(path: str, incoming: Incoming) -> Answer:
        raise bug

    async with serving(break_) as port:
        status, _, body = await ask(port, head(3), b"abc")
    assert (status, body) == (500, b"Internal error; the operator has been told.\n")
    assert [BUGS.pop()] == [bug]


# --- TLS --------------------------------------------------------------------------------------------------------------


async def through_tls(port: int, context: ssl.SSLContext) -> bytes:
    """One POST over TLS; its answer's body."""
    client = Client()
    try:
        answer = await client.post(f"https://localhost:{port}/as4", "text/xml", b"<a/>", length=4, tls=context)
        return answer.body
    finally:
        await client.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy(version):
    """Both versions, with ephemeral keys and authenticated ciphers alone."""
    seen, context = Seen(), pki().calling()
    context.minimum_version = context.maximum_version = version
    async with serving(seen, pki().serving()) as port:
        assert await through_tls(port, context) == b"taken"
    assert seen.requests[0][1].client_certificate is None
    names = {c["name"] for c in pki().serving().get_ciphers()}
    assert names and all(n.startswith(("TLS_", "ECDHE-")) and ("GCM" in n or "CHACHA20" in n) for n in names)


@pytest.mark.assertion("CP_TA42")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@pytest.mark.parametrize("old", ["TLS 1.1", "CBC", "RSA key exchange", "no TLS"])
async def test_weaker_tls_and_plain_text_get_no_answer(old):
    """An old version, a weak cipher, no forward secrecy, no TLS at all: nothing reaches a handler."""
    seen, context = Seen(), pki().calling()
    if old == "TLS 1.1":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-RSA-AES128-SHA256" if old == "CBC" else "AES128-GCM-SHA256")
    async with serving(seen, pki().serving()) as port:
        if old == "no TLS":
            wire = await Wire.open(port)
            await wire.say(head())
            assert await wire.ended()
            wire.writer.close()
        else:
            with pytest.raises(Unreachable, match=r"^tls: "):
                await through_tls(port, context)
        assert await through_tls(port, pki().calling()) == b"taken"
    assert len(seen.requests) == 1


@pytest.mark.parametrize("demand", [True, False])
async def test_a_client_certificate_is_demanded_or_taken(demand):
    """The handler gets the certificate that was checked; a stranger's is refused either way, none only where it is demanded."""
    seen = Seen()
    async with serving(seen, pki().serving(mutual=True, demand=demand)) as port:
        assert await through_tls(port, pki().calling("client")) == b"taken"
        shown = seen.requests.pop()[1].client_certificate
        with pytest.raises(Unreachable):
            await through_tls(port, pki().calling("stranger"))
        if demand:
            with pytest.raises(Unreachable):
                await through_tls(port, pki().calling())
            assert seen.requests == []
        else:
            assert await through_tls(port, pki().calling()) == b"taken"
            assert seen.requests.pop()[1].client_certificate is None
    with open(pki().client, encoding="ascii") as file:
        pem = file.read()
    assert shown == ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])


async def test_a_handshake_that_never_ends_is_cut_off(monkeypatch):
    """Who opens a connection to a TLS port and stops there loses it, and holds up nobody."""
    monkeypatch.setattr("asyncio.constants.SSL_HANDSHAKE_TIMEOUT", 0.3)
    async with serving(Seen(), pki().serving()) as port:
        wire = await Wire.open(port)
        assert await through_tls(port, pki().calling()) == b"taken"
        assert await wire.ended()
        wire.writer.close()
