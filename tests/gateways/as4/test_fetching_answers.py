"""Answers of responders over real sockets: `openssl ocsp` as authorities run it, and answers that are played back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from conformance.pki import Authority
from core.clock import HOUR, MINUTE, SystemClock
from core.revocation import Standing, Window
from gateways.as4.questions import Known
from tests.core.answers import RESPONDS, REVOKED, an_answer, points_to
from tests.gateways.as4.responding import AT, NOW, Bench, Responder, Site, der, needs_openssl, state


@pytest.fixture
def responder(ca: Authority, key: Any, tmp_path: Path) -> Responder:
    """A responder with a certificate for it; it does not run yet."""
    signer = ca.issue("Birkelund responder", "signing", key=key, extensions=[RESPONDS])
    return Responder(tmp_path / "responder", ca, signer)


def ticking(bench: Bench) -> Bench:
    """With the machine's clock: the responder has no other."""
    bench.clock = SystemClock()  # type: ignore[assignment]
    bench.anew()
    return bench


def holder_of(ca: Authority, key: Any, responder: Responder) -> x509.Certificate:
    """A certificate that names the responder."""
    place = points_to(responder=f"http://127.0.0.1:{responder.port}/")
    return ca.issue("Egedal demonstration", "signing", key=key, extensions=place).certificate


@needs_openssl
async def test_a_real_responder_says_good_and_later_revoked(
    ca: Authority, key: Any, responder: Responder, tmp_path: Path
):
    """`openssl ocsp` with a delegated certificate; what was revoked is seen at the next question."""
    bench = ticking(Bench(tmp_path / "fetcher", [f"127.0.0.1:{responder.port}"]))
    holder = holder_of(ca, key, responder)
    path = (holder, ca.certificate)
    responder.index(holder)
    with responder.running():
        async with bench.fetching([Known(path, (), Window())]) as fetcher:
            assert state(fetcher, path, SystemClock().now()) is Standing.GOOD
    responder.index(holder, revoked=True)
    await asyncio.sleep(1)  # an answer has whole seconds
    with responder.running():
        bench.anew()
        async with bench.fetching([Known(path, (), Window())]) as fetcher:
            assert state(fetcher, path, SystemClock().now()) is Standing.GOOD, "of before the start, and still fresh"
            (only,) = fetcher._states.values()
            only.due = 0
            await fetcher.round()
            assert state(fetcher, path, SystemClock().now()) is Standing.REVOKED
    assert bench.told == []


@needs_openssl
@pytest.mark.parametrize("wrong", ["purpose", "authority"])
async def test_a_real_responder_without_the_right_is_not_believed(
    ca: Authority, key: Any, responder: Responder, tmp_path: Path, wrong: str
):
    """Its certificate is for something else, or of another authority of the same name."""
    by = ca if wrong == "purpose" else Authority("Birkelund demonstration CA", AT)
    responder.signer = by.issue("x", "signing", key=key, extensions=[] if wrong == "purpose" else [RESPONDS])
    bench = ticking(Bench(tmp_path / "fetcher", [f"127.0.0.1:{responder.port}"]))
    holder = holder_of(ca, key, responder)
    responder.index(holder)
    with responder.running():
        async with bench.fetching([Known((holder, ca.certificate), (), Window())]) as fetcher:
            assert state(fetcher, (holder, ca.certificate), SystemClock().now()) is Standing.MISSING
    assert "not signed by the issuer, nor by a responder it gave the right" in bench.told[0][1]


@needs_openssl
async def test_a_real_responder_that_does_not_know_the_certificate_says_nothing(
    ca: Authority, key: Any, responder: Responder, tmp_path: Path
):
    """It is not in the authority's index."""
    bench = ticking(Bench(tmp_path / "fetcher", [f"127.0.0.1:{responder.port}"]))
    holder = holder_of(ca, key, responder)
    responder.index(ca.certificate)
    with responder.running():
        async with bench.fetching([Known((holder, ca.certificate), (), Window())]) as fetcher:
            assert state(fetcher, (holder, ca.certificate), SystemClock().now()) is Standing.MISSING
    assert "the responder does not know the certificate" in bench.told[0][1]


@needs_openssl
async def test_a_responder_that_is_down_is_asked_again_until_it_is_up(
    ca: Authority, key: Any, responder: Responder, tmp_path: Path
):
    """People are told once."""
    bench = ticking(Bench(tmp_path / "fetcher", [f"127.0.0.1:{responder.port}"]))
    holder = holder_of(ca, key, responder)
    path = (holder, ca.certificate)
    async with bench.fetching([Known(path, (), Window())]) as fetcher:
        assert state(fetcher, path, SystemClock().now()) is Standing.MISSING
        assert "cannot be reached (ClientConnectorError); nothing fresh is left" in bench.told[0][1]
        responder.index(holder)
        with responder.running():
            (only,) = fetcher._states.values()
            assert MINUTE // 2 < only.due - SystemClock().now() <= MINUTE
            only.due = 0
            await fetcher.round()
        assert state(fetcher, path, SystemClock().now()) is Standing.GOOD
        assert only.failures == 0
    assert len(bench.told) == 1


async def test_an_old_answer_that_is_played_back_is_not_taken(ca: Authority, key: Any, server: Site, bench: Bench):
    """Neither an older "good" after "revoked", nor one that answers another question."""
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(responder=server.url("/ocsp")))
    path = (holder.certificate, ca.certificate)
    old = an_answer(path[0], ca.certificate, ca, at=AT - timedelta(hours=2), until=AT + timedelta(hours=20))
    new = an_answer(path[0], ca.certificate, ca, at=AT, until=AT + timedelta(hours=8), status=REVOKED)
    other = an_answer(path[0], ca.certificate, ca, at=AT + timedelta(hours=1), until=None, nonce=b"another question")
    server.pages["/ocsp"] = der(new)
    async with bench.fetching([Known(path, (), Window())]) as fetcher:
        assert state(fetcher, path) is Standing.REVOKED
        for played in (old, other):
            server.pages["/ocsp"] = der(played)
            bench.clock.tick(4 * HOUR if played is old else HOUR)
            count = len(server.asked)
            await fetcher.round()
            assert len(server.asked) == count + 1
            assert state(fetcher, path, bench.clock.now()) is Standing.REVOKED
        bench.clock.tick(3 * HOUR + 1)
        assert state(fetcher, path, bench.clock.now()) is Standing.STALE
    requests = [ocsp.load_der_ocsp_request(body) for _, _, body in server.asked]
    assert {r.serial_number for r in requests} == {path[0].serial_number}
    nonces = {r.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce for r in requests}
    assert len(nonces) == len(requests)


async def test_a_stale_answer_becomes_fresh_when_a_new_one_comes(ca: Authority, key: Any, server: Site, bench: Bench):
    """A window of an hour: over after it, good again with the next answer; a grace spans the gap."""
    holder = ca.issue("Egedal demonstration", "signing", key=key, extensions=points_to(responder=server.url("/ocsp")))
    path, window, graced = (holder.certificate, ca.certificate), Window(age=HOUR), Window(age=HOUR, grace=HOUR)
    server.pages["/ocsp"] = der(an_answer(path[0], ca.certificate, ca, at=AT, until=None))
    async with bench.fetching([Known(path, (), window)]) as fetcher:
        assert state(fetcher, path, NOW + HOUR, window) is Standing.GOOD
        assert state(fetcher, path, NOW + HOUR + 1, window) is Standing.STALE
        assert state(fetcher, path, NOW + HOUR + 1, graced) is Standing.GOOD
        later = AT + timedelta(hours=2)
        server.pages["/ocsp"] = der(an_answer(path[0], ca.certificate, ca, at=later, until=None))
        bench.clock.tick(2 * HOUR)
        await fetcher.round()
        assert state(fetcher, path, bench.clock.now(), window) is Standing.GOOD
