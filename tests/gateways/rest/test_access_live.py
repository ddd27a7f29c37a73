"""Who calls, over real TLS: certificates, tokens of a login service, other authorities, and quotas."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conformance.pki import Authority, write
from conformance.town import Town
from core.clock import SystemClock, to_datetime
from tests.gateways.as4.running import running
from tests.gateways.rest.issuer import AUDIENCE, LoginService
from tests.gateways.rest.running import CATALOGUE, SYSTEMS, Place, documents, event, place

ISSUER = {
    "kind": "rest.issuer",
    "id": "login",
    "audience": AUDIENCE,
    "jwks_uri": "https://localhost/jwks",
    "jwks_anchors": "login-ca.pem",
}
CARE = {
    "kind": "rest.client",
    "id": "care-program",
    "system": "birkelund-care",
    "issuer": "login",
    "client_ids": ["birkelund-care"],
}
ROBOT = {**CARE, "id": "robot-program", "system": "birkelund-robot", "client_ids": ["birkelund-robot"]}


@pytest.fixture
async def login(tmp_path: Path) -> AsyncIterator[tuple[LoginService, Authority]]:
    """A login service under an authority of its own."""
    authority = Authority("Birkelund login CA", to_datetime(SystemClock().now()))
    service = LoginService(SystemClock())
    service.programs = {"birkelund-care": {}, "birkelund-robot": {}}
    (tmp_path / "login").mkdir()
    async with service.serving(tmp_path / "login", authority):
        yield service, authority


async def token(service: LoginService, authority: Authority, certificate: Path, program: str) -> str:
    """A token for a program, bound to the certificate it connects with."""
    context = ssl.create_default_context(cadata=authority.pem().decode())
    context.load_cert_chain(certificate)
    connector = aiohttp.TCPConnector(ssl=context)
    form = {"grant_type": "client_credentials", "client_id": program}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"{service.url}/token", data=form) as answer,
    ):
        return str((await answer.json())["access_token"])


def without_names(said: Any) -> Any:
    """A problem without what names this one occurrence."""
    return {k: v for k, v in said.items() if k != "instance"}


@pytest.mark.requirement("R86")
@pytest.mark.requirement("R103")
async def test_tokens_and_service_agreements_decide(tmp_path: Path, login: tuple[LoginService, Authority]):
    """A bound token says which system calls, its service agreement what it may send; neither is enough without the other."""
    service, authority = login
    port = service.url.rpartition(":")[2]
    issuer = {**ISSUER, "issuer": service.url, "jwks_uri": f"https://localhost:{port}/jwks"}
    hub = authority.issue("hub", "tls-client", kind="p256")
    key = write(tmp_path / "hub.pem", hub.key_pem() + hub.chain_pem(), secret=True)
    town = Town(tmp_path, SYSTEMS)
    anchors = write(tmp_path / "anchors.pem", authority.pem())
    listen = {"port": town.port, "certificate": "rest", "client_anchors": str(anchors)}
    town.settings_beside = {"gateways": {"rest": listen}}
    town.make([*documents(), issuer, CARE, ROBOT])
    write(town.home / "config" / "login-ca.pem", authority.pem())
    async with running(town.home, catalogue=CATALOGUE) as (node,), aiohttp.ClientSession() as session:
        here = Place(town, node, session)
        caller = here.system(None)
        caller._tls.load_cert_chain(key)
        care = {"Authorization": f"Bearer {await token(service, authority, key, 'birkelund-care')}"}
        status, _ = await caller.ask("POST", "/v1/notifications", event(), headers=care)
        assert status == 201
        robot = {"Authorization": f"Bearer {await token(service, authority, key, 'birkelund-robot')}"}
        status, said = await caller.ask("POST", "/v1/notifications", event("e-2"), headers=robot)
        assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")
        assert "service agreement" in said["detail"]
        status, said, headers = await caller.full("POST", "/v1/notifications", event("e-3"))
        assert (status, said["type"]) == (401, "urn:stafet:problem:unauthenticated")
        assert headers["WWW-Authenticate"] == 'Bearer realm="stafet"'
        stolen = here.system("birkelund-journal")
        status, said, headers = await stolen.full("POST", "/v1/notifications", event("e-4"), headers=care)
        assert (status, said["detail"]) == (401, "cnf: the token is bound to another certificate than the connection's")
        assert 'error="invalid_token"' in headers["WWW-Authenticate"]


@pytest.mark.requirement("R103")
async def test_who_is_known_by_nothing_is_told_how_to_be_known(tmp_path: Path):
    """No certificate and no token; two tokens at once; a token where no issuer is known."""
    async with place(tmp_path) as here:
        nobody = here.system(None)
        assert (await nobody.ask("POST", "/v1/notifications", event()))[0] == 401
        headers = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
        status, said = await here.system("birkelund-care").ask("POST", "/v1/notifications", event(), headers=headers)
        assert (status, said["detail"]) == (401, "Authorization stands more than once")
        for junk, cause in (("junk", "no signed JWT"), ("x" * 12_000, "no signed JWT"), ("x" * 13_000, "longer than")):
            bad = {"Authorization": f"Bearer {junk}"}
            status, said = await here.system("birkelund-care").ask("POST", "/v1/notifications", event(), headers=bad)
            assert status == 401
            assert cause in said["detail"]


async def test_nothing_shows_what_another_authority_has(tmp_path: Path):
    """Birkelund's subscription and one that nobody has are the same to Egedal, in every verb; so are systems."""
    async with place(tmp_path) as here:
        egedal = here.system("egedal-care")

        async def answers(name: str) -> list[Any]:
            found = []
            leases = {"leases": ["x.1"]}
            bodies: dict[str, Any] = {"pull": {}, "ack": leases, "nack": leases}
            bodies |= {"reject": {**leases, "code": "no"}, "extend": {**leases, "lease": 60}}
            for verb, body in bodies.items():
                status, said, headers = await egedal.full("POST", f"/v1/subscriptions/{name}/{verb}", body)
                found.append((status, without_names(said), headers["Content-Type"]))
            status, said = await egedal.ask("POST", f"/v1/notifications?system={name}", event())
            found.append((status, without_names(said), ""))
            return found

        there, nowhere = await answers("journal-stays"), await answers("no-such-thing")
        assert there == nowhere
        assert {status for status, _, _ in there} == {404}
        theirs = await egedal.ask("POST", "/v1/notifications?system=birkelund-care", event())
        none = await egedal.ask("POST", "/v1/notifications?system=nobody", event())
        assert (theirs[0], without_names(theirs[1])) == (none[0], without_names(none[1]))


async def test_quotas_hold_over_http(tmp_path: Path):
    """429 names the quota and says when to come back; what is left is said on the way; a repetition costs nothing."""
    quota = {"kind": "quota", "id": "care", "system": "birkelund-care", "rate": 0.001, "burst": 2, "connections": 9}
    async with place(tmp_path, [*documents(), quota]) as here:
        care, journal = here.system("birkelund-care"), here.system("birkelund-journal")
        status, _, headers = await care.full("POST", "/v1/notifications", event("e-1"))
        assert status == 201
        assert headers["RateLimit"].startswith('"care-rate";r=1;t=')
        assert '"care-connections";q=9;qu="concurrent-requests"' in headers["RateLimit-Policy"]
        assert (await care.ask("POST", "/v1/notifications", event("e-2")))[0] == 201
        for _ in range(3):
            assert (await care.ask("POST", "/v1/notifications", event("e-1")))[0] == 200
        status, said, headers = await care.full("POST", "/v1/notifications", event("e-3"))
        assert (status, said["type"]) == (429, "urn:stafet:problem:quota")
        assert said["detail"].startswith("quota care: rate: 0.001 parcels a second")
        assert 900 < int(headers["Retry-After"]) <= 1000
        assert headers["RateLimit"].startswith('"care-rate";r=0;')
        _, _, headers = await journal.full("POST", "/v1/subscriptions/journal-stays/pull", {})
        assert "RateLimit" not in headers


async def test_a_connection_too_many_is_asked_to_come_back(tmp_path: Path):
    """It is answered and closed; when there are no more than there may be, all goes on."""
    town = Town(tmp_path, SYSTEMS)
    town.settings_beside = {"gateways": {"rest": {"port": town.port, "certificate": "rest", "max_connections": 1}}}
    town.make(documents())
    async with running(town.home, catalogue=CATALOGUE) as (node,), aiohttp.ClientSession() as first:
        care = Place(town, node, first).system("birkelund-care")
        assert (await care.ask("POST", "/v1/notifications", event("e-1")))[0] == 201
        async with aiohttp.ClientSession() as second:
            more = Place(town, node, second).system("birkelund-care")
            status, said, headers = await more.full("POST", "/v1/notifications", event("e-2"))
            assert (status, said["type"]) == (503, "urn:stafet:problem:overloaded")
            assert (headers["Retry-After"], headers["Connection"]) == ("5", "close")
        for _ in range(100):
            if (await care.ask("POST", "/v1/notifications", event("e-3")))[0] in (200, 201):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("the first connection was cut off for good")
