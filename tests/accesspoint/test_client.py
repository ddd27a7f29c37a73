"""One POST over real sockets: what leaves, what is made of each kind of answer, and that nobody can keep us waiting."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accesspoint import limits
from accesspoint.client import Client, Response, Unreachable
from tests.accesspoint.sockets import END, Script, answering, peer, pki, polite, reset, response, whole_request


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client that is closed afterwards."""
    made = Client()
    yield made
    await made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same deadlines, some hundred times as short."""
    for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT", "ANSWER_TIMEOUT"):
        monkeypatch.setattr(limits, name, 0.25)


async def post(
    client: Client, port: int, body: Any = b"<a/>", *, tls: ssl.SSLContext | None = None, **more: Any
) -> Response:
    """Post to a port of this machine; never waits longer than ten seconds."""
    scheme, length = ("https" if tls else "http"), more.get("length", len(body) if isinstance(body, bytes) else 0)
    url = more.get("url") or f"{scheme}://127.0.0.1:{port}/as4"
    async with asyncio.timeout(10):
        within = more.get("answer_within")
        return await client.post(url, "application/soap+xml", body, length=length, tls=tls, answer_within=within)


async def failing(client: Client, port: int, body: Any = b"<a/>", **more: Any) -> tuple[str, bool]:
    """How a post fails: the word, and whether it is worth doing again at once."""
    with pytest.raises(Unreachable) as error:
        await post(client, port, body, **more)
    assert str(error.value) == f"{error.value.word}: {error.value.detail}" and error.value.detail
    return error.value.word, error.value.stale


async def many(count: int, piece: bytes = b"x" * 65_536) -> AsyncIterator[bytes]:
    """A body that comes in pieces."""
    for _ in range(count):
        yield piece


# --- what leaves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_post_is_its_body_under_four_headers(client, size, streamed):
    """Host, type and length, whether the body is at hand or comes in pieces: nothing tells who we are or asks for gzip."""
    seen: list[tuple[bytes, bytes]] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await whole_request(reader))
        writer.write(response())

    octets = bytes(range(256)) * (size // 256) + b"y" * (size % 256)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, size, 10_000):
            yield octets[at : at + 10_000]

    async with peer(listen) as port:
        await post(client, port, pieces() if streamed else octets, length=size)
    ((head, body),) = seen
    first, *headers = head.decode().strip().split("\r\n")
    assert first == "POST /as4 HTTP/1.1"
    assert sorted(h.lower() for h in headers) == [
        f"content-length: {size}",
        "content-type: application/soap+xml",
        f"host: 127.0.0.1:{port}",
    ]
    assert body == octets


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    """The peer is who the agreement says, whatever variables are set."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = Client()
    async with peer(answering(response(b"direct"))) as port:
        assert (await post(client, port)).body == b"direct"
    await client.close()


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_an_answer_is_given_back_as_it_came(client):
    """Status, media type and octets; no Content-Encoding is undone."""
    packed = gzip.compress(b"x" * 1_000_000)
    octets = response(packed, "500 Oops", "Content-Type: text/xml; charset=x", "Content-Encoding: gzip")
    async with peer(answering(octets)) as port:
        assert await post(client, port) == Response(500, "text/xml; charset=x", packed, None)


async def test_an_answer_without_a_type_has_none(client):
    """Empty answers come without Content-Type."""
    async with peer(answering(response(b"", "202 Accepted"))) as port:
        assert await post(client, port) == Response(202, "", b"", None)


async def test_no_redirect_is_followed(client):
    """Where a message goes is agreed, not told by whoever answers."""
    async with peer(answering(response(b"there"))) as elsewhere:
        moved = response(b"", "307 Moved", f"Location: http://127.0.0.1:{elsewhere}/")
        async with peer(answering(moved)) as port:
            assert (await post(client, port)).status == 307


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 5000, 3600),
        ("0" * 5000, 3600),
        ("-1", None),
        ("1.5", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
async def test_retry_after_is_seconds_up_to_an_hour(client, value, seconds):
    """A date or nonsense is no wait; a number of five thousand digits is a long one and no error of ours."""
    async with peer(answering(response(b"", "503 Later", f"Retry-After: {value}"))) as port:
        assert (await post(client, port)).retry_after == seconds


async def test_an_answer_may_have_its_greatest_size_and_no_octet_more(client):
    """A mebibyte is read; what goes on is left where it is, also when it never ends."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()
            sent += 65_536

    async with peer(answering(response(b"x" * limits.ANSWER_SIZE))) as port:
        assert len((await post(client, port)).body) == limits.ANSWER_SIZE
    async with peer(answering(response(b"x" * (limits.ANSWER_SIZE + 1)))) as port:
        assert await failing(client, port) == ("answer", False)
    async with peer(answering(head, then=endless)) as port:
        assert await failing(client, port) == ("answer", False)
    assert sent < 16 * limits.ANSWER_SIZE


ODD = {
    "another protocol": b"SSH-2.0-odd\r\n",
    "ten thousand headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + END,
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "an answer cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
}


@pytest.mark.parametrize("name", ODD)
async def test_an_answer_that_is_no_http_is_a_broken_connection(client, name):
    """Whatever is wrong with it, one class of error says so; something was answered, so it is not done again at once."""
    async with peer(answering(ODD[name])) as port:
        assert await failing(client, port) == ("send", False)


async def test_an_answer_before_the_body_has_gone_counts(client):
    """A peer that refuses early is heard, though most of the body never leaves."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(END)
        writer.write(response(b"too much", "413 Large"))
        await asyncio.sleep(5)

    async with peer(refuse) as port:
        answer = await post(client, port, many(1000), length=65_536_000)
    assert (answer.status, answer.body) == (413, b"too much")


# --- connections ------------------------------------------------------------------------------------------------------


def counting(then: Script | None = None) -> tuple[Script, list[int]]:
    """Answers requests on each connection; after the first one of a connection it does ``then``, if told."""
    connections = [0]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        while True:
            await whole_request(reader)
            writer.write(response(b"%d" % connections[0]))
            await writer.drain()
            if then:
                await whole_request(reader)
                await then(reader, writer)

    return script, connections


async def test_a_connection_is_kept_for_the_next_message(client):
    """Three messages, one connection; and another after it was closed."""
    script, connections = counting()
    async with peer(script) as port:
        assert [(await post(client, port)).body for _ in range(3)] == [b"1"] * 3
        again = Client()
        assert (await post(again, port)).body == b"2"
        await again.close()
    assert connections == [2]


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


@pytest.mark.parametrize(("end", "word"), [(_closes, "closed"), (_resets, "send")])
async def test_a_kept_connection_that_the_peer_had_closed_is_worth_another_try_at_once(client, end, word):
    """Closed or reset before any octet of an answer: the next post takes a new connection."""
    script, connections = counting(end)
    async with peer(script) as port:
        await post(client, port)
        assert await failing(client, port) == (word, True)
        assert (await post(client, port)).body == b"2"
    assert connections == [2]


async def test_a_connection_reset_while_sending_is_worth_another_try_at_once(client):
    """Also in the middle of a long body."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(END)
        reset(writer)

    async with peer(script) as port:
        assert await failing(client, port, many(200), length=200 * 65_536) == ("send", True)


async def test_a_connection_reset_while_answering_is_not(client):
    """Something had been answered: the peer may have taken the message."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        reset(writer)

    async with peer(answering(response(b"x" * 100)[:-50], then=script)) as port:
        assert await failing(client, port) == ("send", False)


async def test_nobody_listens(client):
    """A port without a listener is told as such."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert await failing(client, bound.getsockname()[1]) == ("connect", False)


async def test_what_the_body_itself_raises_comes_through(client):
    """A payload that cannot be read is our own trouble, and no broken connection."""

    async def damaged() -> AsyncIterator[bytes]:
        yield b"x" * 10
        raise LookupError("the payload is damaged")

    async with peer(answering(response())) as port:
        with pytest.raises(LookupError, match="the payload is damaged"):
            await post(client, port, damaged(), length=100)
        assert (await post(client, port)).status == 200


async def test_who_cancels_a_post_gets_no_verdict(client):
    """A cancelled post is cancelled, not unreachable."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    async with peer(silent) as port:
        task = asyncio.create_task(post(client, port))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- nobody can keep us waiting ---------------------------------------------------------------------------------------


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    await asyncio.sleep(20)


async def _trickles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        writer.write(b"x")
        await asyncio.sleep(0.1)


async def _trickles_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await whole_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        writer.write(b"A: b\r\n")
        await asyncio.sleep(0.1)


async def _deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(20)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("script", [_nothing, _trickles, _trickles_headers, _deaf])
async def test_a_peer_that_does_not_go_on_is_given_up(script):
    """No answer, one that trickles, or one who takes the connection and never reads: each ends in time as no answer."""
    client, long = Client(), 760 * 65_536
    async with peer(script) as port:
        bodies: list[tuple[Any, int]] = [(b"x" * 100, 100), (b"x" * long, long), (many(760), long)]
        found = await asyncio.gather(*(failing(client, port, body, length=length) for body, length in bodies))
    assert found == [("timeout", False)] * 3
    await client.close()


async def test_a_long_body_may_take_longer_than_any_deadline(monkeypatch):
    """Only standing still is punished: nearly three seconds of sending pass deadlines of two together."""
    for name, seconds in (("CONNECT_TIMEOUT", 0.5), ("READ_TIMEOUT", 1.0), ("ANSWER_TIMEOUT", 0.5)):
        monkeypatch.setattr(limits, name, seconds)
    client = Client()

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(11):
            await asyncio.sleep(0.25)
            yield b"x"

    async with peer(answering(response(b"taken"))) as port:
        assert (await post(client, port, slowly(), length=11)).body == b"taken"
    await client.close()


def bodies(long: int = 8) -> list[tuple[Any, int]]:
    """A short body, a long one, and one that comes in pieces; each with its length."""
    return [(b"x" * 100, 100), (b"x" * long * 65_536, long * 65_536), (many(long), long * 65_536)]


@pytest.mark.usefixtures("impatient")
async def test_a_partner_may_be_given_longer_to_begin_an_answer(client):
    """Who thinks for most of a second is given up as a rule, and heard where the agreement gives the time."""

    async def thoughtful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        await asyncio.sleep(0.8)
        writer.write(response(b"taken"))

    async with peer(thoughtful) as port:
        found = await asyncio.gather(*(failing(client, port, body, length=length) for body, length in bodies()))
        assert found == [("timeout", False)] * 3
        posts = (post(client, port, body, length=length, answer_within=5.0) for body, length in bodies())
        assert [answer.body for answer in await asyncio.gather(*posts)] == [b"taken"] * 3


async def test_a_partner_may_be_given_less(client):
    """A fifth of a second instead of a minute."""
    loop = asyncio.get_running_loop()
    async with peer(_nothing) as port:
        began = loop.time()
        posts = (failing(client, port, body, length=length, answer_within=0.2) for body, length in bodies())
        assert await asyncio.gather(*posts) == [("timeout", False)] * 3
    assert 0.2 <= loop.time() - began < 3


async def test_the_time_to_begin_an_answer_is_counted_from_the_end_of_the_body(client):
    """However long we have been sending."""

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(5):
            await asyncio.sleep(0.2)
            yield b"x"

    async with peer(answering(response(b"taken"))) as port:
        assert (await post(client, port, slowly(), length=5, answer_within=0.5)).body == b"taken"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("script", [_trickles, _trickles_headers])
async def test_longer_to_begin_is_not_for_ever_to_end(client, script):
    """An answer that trickles ends in time, whatever the partner was given to begin it."""
    loop = asyncio.get_running_loop()
    async with peer(script) as port:
        began = loop.time()
        posts = (failing(client, port, body, length=length, answer_within=1.0) for body, length in bodies())
        assert await asyncio.gather(*posts) == [("timeout", False)] * 3
    assert loop.time() - began < 5


@pytest.mark.usefixtures("impatient")
async def test_a_handshake_that_never_comes_is_no_connection():
    """A port that takes connections and speaks no TLS: it is told as "connect", where the advice fits."""
    client = Client()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    async with peer(silent) as port:
        assert await failing(client, port, tls=pki().calling()) == ("connect", False)
    await client.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_trusted_server_is_spoken_to(client):
    """By name or by address, whichever its certificate bears."""
    async with peer(answering(response(b"secret")), pki().serving()) as port:
        for host in ("127.0.0.1", "localhost"):
            answer = await post(client, port, tls=pki().calling(), url=f"https://{host}:{port}/")
            assert answer.body == b"secret"


@pytest.mark.parametrize("name", ["elsewhere", "expired", "stranger", "client"])
async def test_a_server_that_is_not_the_agreed_one_gets_nothing(client, name):
    """Another name, an expired certificate, an unknown issuer, a certificate not for servers: not an octet is sent."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))

    async with peer(listen, pki().serving(name)) as port:
        assert await failing(client, port, tls=pki().calling()) == ("tls", False)
    assert heard in ([], [b""])


async def test_the_systems_own_authorities_do_not_count_beside_agreed_ones(client):
    """With other anchors the same server is not believed, and a connection kept under the right ones is not used."""
    async with peer(counting()[0], pki().serving()) as port:
        good, other = pki().calling(), pki().calling(anchors=pki().other_anchors)
        assert (await post(client, port, tls=good)).body == b"1"
        assert await failing(client, port, tls=other) == ("tls", False)
        assert (await post(client, port, tls=good)).body == b"1"


async def test_https_to_a_port_without_tls_is_a_matter_of_tls(client):
    """A plain HTTP server answers a handshake with text."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(response(b"", "400 Bad"))
        await writer.drain()

    async with peer(plain) as port:
        assert await failing(client, port, tls=pki().calling()) == ("tls", False)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_old_tls_is_not_spoken(client):
    """A server that only knows TLS 1.1 is refused."""
    context = pki().serving()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with peer(answering(response()), context) as port:
        assert await failing(client, port, tls=pki().calling()) == ("tls", False)


async def test_mutual_tls_shows_our_certificate(client):
    """The server gets the certificate agreed with it; without one or with another it says so, and that is told."""
    async with polite(pki().serving(mutual=True)) as (port, shown):
        for own in (None, "stranger"):
            with pytest.raises(Unreachable, match=r"^tls: .*(?i:alert)"):
                await post(client, port, tls=pki().calling(own))
        assert (await post(client, port, tls=pki().calling("client"))).body == b"known"
    with open(pki().client, encoding="ascii") as file:
        pem = file.read()
    assert shown == [ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])]
