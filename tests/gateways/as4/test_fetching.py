"""Fetching over real sockets: what is asked, of whom, how often, what a server may do wrong, and what a restart has."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from conformance.pki import Authority, Identity
from core import limits
from core.clock import DAY, HOUR, MINUTE
from core.errors import Overloaded
from core.revocation import Standing, Window
from gateways.as4 import fetching
from gateways.as4.questions import Known
from tests.core.answers import points_to
from tests.gateways.as4.responding import AT, NOW, Bench, Site, clean, clean_of, closed_port, state
from tests.gateways.as4.running import until

# --- lists over HTTP --------------------------------------------------------------------------------------------------


async def test_a_list_is_fetched_from_where_the_certificate_says(ca: Authority, key: Any, server: Site, bench: Bench):
    """Beforehand for a chain that is known; and it says who is revoked."""
    holder, other = (
        ca.issue(name, "signing", key=key, extensions=points_to(server.url("/all.crl"))).certificate
        for name in ("Egedal demonstration", "Nordby demonstration")
    )
    server.pages["/all.crl"] = clean(ca, other)
    async with bench.fetching([Known((holder, ca.certificate), (), Window())]) as fetcher:
        assert state(fetcher, (holder, ca.certificate)) is Standing.GOOD
        assert state(fetcher, (other, ca.certificate)) is Standing.REVOKED
        await until(lambda: len(bench.files()) == 3, "both chains are kept")
    assert server.asked == [("GET", "/all.crl", b"")]
    assert bench.told == []


async def test_a_chain_that_turns_up_is_asked_about_beside_the_judging(
    ca: Authority, key: Any, server: Site, bench: Bench
):
    """The first time nothing is known, and at once; soon after it is, and people heard nothing."""
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    path = (holder.certificate, ca.certificate)
    gate = asyncio.Event()

    async def slowly(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response(body=clean(ca))

    server.pages["/all.crl"] = slowly
    async with bench.fetching() as fetcher:
        assert await asyncio.to_thread(state, fetcher, path) is Standing.MISSING
        await until(lambda: server.asked, "it is asked")
        begun = time.monotonic()
        assert state(fetcher, path) is Standing.MISSING
        assert time.monotonic() - begun < 0.1
        gate.set()
        await until(lambda: state(fetcher, path) is Standing.GOOD, "it is known")
    assert bench.told == []


async def test_a_list_is_asked_for_again_before_it_ends(ca: Authority, key: Any, server: Site, bench: Bench):
    """At half of what is left; while the server is away the old one counts to its end, and people are told in time."""
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    path = (holder.certificate, ca.certificate)
    server.pages["/all.crl"] = clean(ca, until_=AT + timedelta(hours=4))
    fetcher = bench.fetcher
    async with bench.fetching([Known(path, (), Window())]):
        bench.clock.tick(2 * HOUR - 1)
        assert await fetcher.round() == NOW + 2 * HOUR
        assert len(server.asked) == 1
        del server.pages["/all.crl"]
        bench.clock.tick(1)
        assert await fetcher.round() == NOW + 2 * HOUR + MINUTE
        assert (len(server.asked), bench.told) == (2, [])
        bench.clock.tick(MINUTE)
        assert await fetcher.round() == NOW + 2 * HOUR + 3 * MINUTE
        bench.clock.tick(2 * HOUR - 2 * MINUTE)
        await fetcher.round()
        assert state(fetcher, path, bench.clock.now()) is Standing.GOOD
        remedy = "What to do: see that this node may reach it, and revocation_hosts in node.yaml"
        told = f"{server.url('/all.crl')}: the answer is 404; less than an hour is left. {remedy}"
        assert bench.told == [("revocation", told)]
        bench.clock.tick(2 * HOUR)
        await fetcher.round()
        assert len(bench.told) == 1
        assert state(fetcher, path, bench.clock.now()) is Standing.STALE
        server.pages["/all.crl"] = clean(ca, holder.certificate)
        bench.clock.tick(30 * MINUTE)
        await fetcher.round()
        assert state(fetcher, path, bench.clock.now()) is Standing.REVOKED


HOSTILE = {
    "redirect": "the answer is 302",
    "error": "the answer is 500",
    "large": "more than 4096 octets",
    "endless": "more than 4096 octets",
    "slow": "no answer in time",
    "cut": "cannot be reached",
    "gzip": "it is no revocation list that can be read",
    "html": "it is no revocation list that can be read",
    "other": "the list is not signed by an authority that is believed here",
    "old": "it is out of date",
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_a_server_that_does_wrong_changes_nothing_that_is_known(
    ca: Authority, key: Any, server: Site, bench: Bench, how: str, monkeypatch: pytest.MonkeyPatch
):
    """It leads elsewhere, sends too much, for ever or slowly, something else, somebody else's, or what is over."""
    monkeypatch.setattr(limits, "REVOCATION_LIST_SIZE", 4096)
    monkeypatch.setattr(limits, "REVOCATION_TIMEOUT", 300_000)
    good = clean(ca)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 1024)
        return response

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            for octet in good:
                await response.write(bytes([octet]))
                await asyncio.sleep(0.05)
        return response

    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": server.url("/good")})

    async def error(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500, body=good)

    async def compressed(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(good), headers={"Content-Encoding": "gzip"})

    pages: dict[str, Any] = {"redirect": elsewhere, "error": error, "large": b"x" * 4097, "endless": endless}
    pages |= {"slow": slow, "cut": cut, "gzip": compressed, "html": b"<html>moved</html>"}
    pages |= {"other": clean(Authority("Birkelund demonstration CA", AT))}
    pages["old"] = clean_of(ca, AT - timedelta(days=2), AT - timedelta(days=1))
    server.pages |= {"/good": good, "/bad": good}
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/bad")))
    path = (holder.certificate, ca.certificate)
    async with bench.fetching([Known(path, (), Window())]) as fetcher:
        server.pages["/bad"] = pages[how]
        bench.clock.tick(6 * HOUR)
        await fetcher.round()
        assert len(server.asked) >= 2
        assert not any(path == "/good" for _, path, _ in server.asked)
        assert state(fetcher, path, bench.clock.now()) is Standing.GOOD
        assert bench.told == []
        bench.clock.tick(30 * DAY)
        await fetcher.round()
        assert [HOSTILE[how] in text for _, text in bench.told] == [True]


# --- whom it asks -----------------------------------------------------------------------------------------------------


async def test_nobody_is_asked_who_is_not_listed(ca: Authority, key: Any, server: Site, tmp_path: Path):
    """The server hears nothing, and people learn which setting would allow it."""
    bench = Bench(tmp_path / "fetcher", ["lists.example"])
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    async with bench.fetching([Known((holder.certificate, ca.certificate), (), Window())]):
        pass
    assert server.asked == []
    ((code, text),) = bench.told
    assert code == "revocation"
    assert f"127.0.0.1:{server.port} is not in revocation_hosts of gateways.as4 in node.yaml" in text
    assert "nothing fresh is left" in text


@pytest.mark.parametrize("listed", [False, True])
async def test_a_listed_name_that_leads_home_is_not_followed(
    ca: Authority, key: Any, server: Site, tmp_path: Path, listed: bool
):
    """A name server must not send us to our own machines; where the settings name the address, it is meant."""
    bench = Bench(tmp_path / "fetcher", [f"localhost:{server.port}", *(["127.0.0.0/8"] if listed else [])])
    server.pages["/all.crl"] = clean(ca)
    url = f"http://localhost:{server.port}/all.crl"
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(url)).certificate
    async with bench.fetching([Known((holder, ca.certificate), (), Window())]) as fetcher:
        wanted = Standing.GOOD if listed else Standing.MISSING
        assert state(fetcher, (holder, ca.certificate)) is wanted
    assert len(server.asked) == int(listed)
    if not listed:
        assert "localhost leads to no public address" in bench.told[0][1]


async def test_no_proxy_of_the_environment_is_used(
    ca: Authority, key: Any, server: Site, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Whoever sets one must not see or answer what we ask."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    server.pages["/all.crl"] = clean(ca)
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    async with bench.fetching([Known((holder.certificate, ca.certificate), (), Window())]) as fetcher:
        assert state(fetcher, (holder.certificate, ca.certificate)) is Standing.GOOD


async def test_one_that_never_answers_holds_up_no_other(
    ca: Authority, key: Any, server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They are asked side by side."""
    monkeypatch.setattr(limits, "REVOCATION_TIMEOUT", 500_000)
    server.pages["/all.crl"] = clean(ca)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        bench = Bench(tmp_path / "fetcher", [server.host, place])
        urls = (f"http://{place}/x", server.url("/all.crl"))
        holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(*urls)).certificate
        async with bench.fetching([Known((holder, ca.certificate), (), Window())]) as fetcher:
            assert state(fetcher, (holder, ca.certificate)) is Standing.GOOD
    assert [f"{urls[0]}: no answer in time" in text for _, text in bench.told] == [True]


# --- what a restart has -----------------------------------------------------------------------------------------------


async def test_a_restart_has_what_was_known(ca: Authority, key: Any, server: Site, bench: Bench):
    """Answers and the chains that turned up, though the server is away by now; nothing is asked that is fresh."""
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    path = (holder.certificate, ca.certificate)
    server.pages["/all.crl"] = clean(ca)
    async with bench.fetching() as fetcher:
        state(fetcher, path)
        await until(lambda: state(fetcher, path) is Standing.GOOD, "it is known")
    assert len(bench.files()) == 2
    server.pages.clear()
    bench.anew()
    async with bench.fetching() as fetcher:
        assert state(fetcher, path) is Standing.GOOD
        assert len(server.asked) == 1
        bench.clock.tick(6 * HOUR)
        await fetcher.round()
        assert len(server.asked) == 2, "the chain of before the start is looked after"
    assert bench.told == []


async def test_files_are_judged_like_any_answer(ca: Authority, key: Any, server: Site, bench: Bench):
    """Somebody's own list, half a file and a chain that is none bring nothing about."""
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    known = Known((holder.certificate, ca.certificate), (), Window())
    server.pages["/all.crl"] = clean(ca)
    async with bench.fetching([known]):
        pass
    (name,) = [n for n in bench.files() if n.endswith(".der")]
    kept = (bench.folder / "revocation" / name).read_bytes()
    server.pages.clear()
    for octets in (clean(Authority("Birkelund demonstration CA", AT)), kept[:-1], b""):
        (bench.folder / "revocation" / name).write_bytes(octets)
        (bench.folder / "revocation" / "x.chain.pem").write_bytes(octets)
        bench.anew()
        async with bench.fetching([known]) as fetcher:
            assert state(fetcher, known.path) is Standing.MISSING


async def test_what_nobody_asks_about_any_more_is_removed(
    ca: Authority, key: Any, server: Site, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Of a configuration that is over, of a chain nobody has used for long, and of the oldest where there are too many."""
    monkeypatch.setattr(limits, "REVOCATION_CHAINS", 2)
    places = points_to(server.url("/all.crl"))
    chains = [
        (ca.issue(f"Egedal {n}", "signing", key=key, extensions=places).certificate, ca.certificate) for n in range(3)
    ]
    server.pages["/all.crl"] = clean(ca)
    async with bench.fetching([Known((), (ca.certificate,), Window(), (server.url("/all.crl"),))]) as fetcher:
        assert len(bench.files()) == 1
        for chain in chains:
            bench.clock.tick(1)
            assert state(fetcher, chain) is Standing.GOOD
        fetcher.configure([])
        await fetcher.round()
        kept = {f"{fingerprint}.chain.pem" for fingerprint in fetcher._chains}
        assert len(kept) == 2
        assert kept < set(bench.files())
        bench.clock.tick(limits.REVOCATION_UNUSED + 1)
        await fetcher.round()
        assert bench.files() == []
        assert fetcher._states == {}


async def test_a_certificate_that_has_ended_is_not_asked_about(ca: Authority, key: Any, server: Site, bench: Bench):
    """Its chain is forgotten."""
    end = AT + timedelta(hours=1)
    places = points_to(server.url("/all.crl"))
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=places, not_after=end)
    server.pages["/all.crl"] = clean(ca)
    async with bench.fetching() as fetcher:
        state(fetcher, (holder.certificate, ca.certificate))
        await until(lambda: server.asked, "it is asked")
        bench.clock.tick(HOUR + 1)
        await fetcher.round()
        assert fetcher._chains == {}


async def test_a_folder_that_cannot_be_written_costs_the_next_start_only(
    ca: Authority, key: Any, server: Site, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """What was fetched counts all the same."""

    def full(_path: Path, _octets: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    server.pages["/all.crl"] = clean(ca)
    known = Known((holder.certificate, ca.certificate), (), Window())
    async with bench.fetching([known]) as fetcher:
        assert state(fetcher, known.path) is Standing.GOOD
    assert bench.files() == []


@pytest.mark.parametrize("away", ["disk", "ledger"])
async def test_a_disk_or_a_ledger_that_is_away_for_a_while_ends_nothing(
    ca: Authority, key: Any, server: Site, bench: Bench, away: str, monkeypatch: pytest.MonkeyPatch
):
    """The round is tried again when it is back; an alarm that could not be raised is raised then."""
    monkeypatch.setattr(limits, "REVOCATION_PAUSE", 20_000)
    here = False
    folder, alarm = bench.fetcher._folder, bench.fetcher._alarm

    def no_folder() -> Path:
        if not here and away == "disk":
            raise OSError(30, "Read-only file system")
        return folder()

    async def no_alarm(code: str, text: str) -> None:
        if not here and away == "ledger":
            raise Overloaded("the ledger cannot be asked now", 1)
        await alarm(code, text)

    bench.fetcher._folder, bench.fetcher._alarm = no_folder, no_alarm
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(server.url("/all.crl")))
    known = Known((holder.certificate, ca.certificate), (), Window())
    async with bench.fetching([known]) as fetcher:
        assert state(fetcher, known.path) is Standing.MISSING
        assert bench.told == []
        here = True
        bench.clock.tick(MINUTE)
        await until(lambda: bench.told, "people are told")
        server.pages["/all.crl"] = clean(ca)
        bench.clock.tick(HOUR)
        await until(lambda: state(fetcher, known.path, NOW) is Standing.GOOD, "it is known")
    assert len(bench.told) == 1


async def test_a_bug_in_one_question_stops_no_other(
    ca: Authority, key: Any, server: Site, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """It is told as one, and the others are asked."""
    real = fetching.take

    def take(question: Any, octets: bytes, *rest: Any) -> Any:
        if octets == b"odd":
            raise ZeroDivisionError("odd")
        return real(question, octets, *rest)

    monkeypatch.setattr(fetching, "take", take)
    server.pages |= {"/odd": b"odd", "/all.crl": clean(ca)}
    places = points_to(server.url("/odd"), server.url("/all.crl"))
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=places)
    known = Known((holder.certificate, ca.certificate), (), Window())
    async with bench.fetching([known]) as fetcher:
        assert state(fetcher, known.path) is Standing.GOOD
    assert [f"{server.url('/odd')}: a bug (ZeroDivisionError)" in text for _, text in bench.told] == [True]


def test_asking_before_it_runs_harms_nothing(ca: Authority, key: Any, tmp_path: Path):
    """Nothing is known, and nothing is fetched."""
    bench = Bench(tmp_path / "fetcher", [])
    holder: Identity = ca.issue("Egedal demonstration", "signing", key=key)
    assert state(bench.fetcher, (holder.certificate, ca.certificate)) is Standing.MISSING
