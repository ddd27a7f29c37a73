"""Issuers' keys: a real login service over TLS, its rotations, its outages, and who would use either."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from conformance.pki import Authority, Identity, write
from core import limits
from core.clock import HOUR, MINUTE, SECOND, FrozenClock, SystemClock, to_datetime
from core.config import Configuration
from core.errors import Overloaded
from gateways.rest.access import Access
from gateways.rest.issuers import KeySets
from gateways.rest.problems import Unauthenticated
from tests.gateways.rest.callers import configuration, der
from tests.gateways.rest.issuer import AUDIENCE, LoginService, key_set
from tests.gateways.rest.test_access import POST

AT = SystemClock().now()
"""TLS looks at the machine's clock; ours is a frozen one that begins there."""


@dataclass
class World:
    """A login service, the keys we hold of it, and a system with its certificate."""

    service: LoginService
    authority: Authority
    clock: FrozenClock
    folder: Path
    alarms: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = KeySets(self.clock, self.tell)
        self.post: Identity = self.authority.issue("post", "tls-client", kind="p256")

    async def tell(self, code: str, text: str) -> None:
        """What people are told."""
        assert code == "issuer-keys"
        self.alarms.append(text)

    def version(self, **changes: Any) -> Configuration:
        """The documents: the issuer's keys are fetched."""
        fetched = {
            "kind": "rest.issuer",
            "id": "fetched",
            "issuer": self.service.url,
            "audience": AUDIENCE,
            "jwks_uri": self.service.jwks,
            "jwks_anchors": "login-ca.pem",
        } | changes
        files = {"login-ca.pem": self.authority.pem(), "post.pem": self.post.certificate_pem()}
        client = {**POST, "issuer": "fetched", "client_ids": ["birkelund-post"]}
        return configuration(fetched, client, files=files)

    def access(self, **changes: Any) -> Access:
        """Who is known."""
        version = self.version(**changes)
        self.keys.configure(version)
        return Access(version, self.keys)

    async def token(self) -> str:
        """Ask the service as the system would: client credentials over mutual TLS, after discovery."""
        context = ssl.create_default_context(cadata=self.authority.pem().decode())
        context.load_cert_chain(
            write(self.folder / "post.pem", self.post.key_pem() + self.post.chain_pem(), secret=True)
        )
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(f"{self.service.url}/.well-known/openid-configuration") as answer:
                found = await answer.json()
            form = {"grant_type": "client_credentials", "client_id": "birkelund-post"}
            async with session.post(found["token_endpoint"], data=form) as answer:
                return str((await answer.json())["access_token"])

    async def comes(self, access: Access, token: str = "") -> str:
        """The name under which the system is let in."""
        header = f"Bearer {token or await self.token()}"
        return (await access.identify(der(self.post), header, self.clock.now())).name


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Valid today."""
    return Authority("Birkelund demonstration CA", to_datetime(AT))


@pytest.fixture
async def world(tmp_path: Path, authority: Authority) -> AsyncIterator[World]:
    """A login service that serves."""
    clock = FrozenClock(AT)
    async with LoginService(clock).serving(tmp_path, authority) as service:
        made = World(service, authority, clock, tmp_path)
        yield made
        await made.keys.close()


@pytest.mark.requirement("R86")
@pytest.mark.requirement("R103")
async def test_a_system_logs_in_and_calls(world: World):
    """Discovery, client credentials over mutual TLS, a bound token, keys fetched once for many calls."""
    access = world.access()
    token = await world.token()
    assert {await world.comes(access, token) for _ in range(5)} == {"birkelund-post"}
    assert world.service.answers == [200]
    assert world.alarms == []


async def test_a_new_key_is_found_when_it_is_used(world: World):
    """Rotation: an unknown kid asks the issuer again, and the old key counts as long as it is published."""
    access, old = world.access(), await world.token()
    assert await world.comes(access, old)
    world.service.rotate("es-2", "es-1")
    world.clock.tick(limits.KEY_SET_PAUSE)
    assert await world.comes(access)
    assert await world.comes(access, old)
    assert world.service.answers == [200, 200]
    world.service.rotate("es-2")
    world.clock.tick(10 * MINUTE)
    assert await world.comes(access)
    with pytest.raises(Unauthenticated):
        await world.comes(access, old)


async def test_unknown_keys_do_not_make_us_flood_the_issuer(world: World):
    """A hundred forged key ids within the pause are one question, and each is refused."""
    access, good = world.access(), await world.token()
    assert await world.comes(access, good)
    world.service.rotate("es-2")
    forged = await world.token()
    world.service.rotate("es-1")
    world.clock.tick(limits.KEY_SET_PAUSE)
    results = await asyncio.gather(*(world.comes(access, forged) for _ in range(100)), return_exceptions=True)
    assert {type(result) for result in results} == {Unauthenticated}
    assert world.service.answers == [200, 304]
    assert await world.comes(access, good)


async def test_many_who_come_at_once_are_one_question(world: World):
    """Single flight: the first asks, all wait for the same answer, and who goes away takes it from nobody."""
    access, token = world.access(), await world.token()
    first = asyncio.create_task(world.comes(access, token))
    others = [asyncio.create_task(world.comes(access, token)) for _ in range(20)]
    await asyncio.sleep(0)
    first.cancel()
    assert set(await asyncio.gather(*others)) == {"birkelund-post"}
    assert world.service.answers == [200]


async def test_keys_are_asked_for_again_when_they_are_old(world: World):
    """After max-age, with the ETag, and what did not change costs no more than a line."""
    access = world.access()
    for _ in range(3):
        assert await world.comes(access)
        world.clock.tick(10 * MINUTE)
    assert world.service.answers == [200, 304, 304]


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("max-age=60", MINUTE),
        ("public, max-age=30, must-revalidate", 30 * SECOND),
        ("max-age=999999999", limits.KEY_SET_LONGEST),
        ("max-age=1", limits.KEY_SET_PAUSE),
        ("no-store", limits.KEY_SET_PAUSE),
        ("s-maxage=7, private", limits.KEY_SET_AGE),
        ("", limits.KEY_SET_AGE),
    ],
)
async def test_the_issuer_says_how_long_its_keys_hold_within_bounds(said: str, holds: int, world: World):
    """Not so short that we ask without end, not so long that what it took back is believed for ever."""
    world.service.cache = said
    access = world.access()
    assert await world.comes(access)
    world.clock.tick(holds - 1)
    assert await world.comes(access)
    assert world.service.answers == [200]
    world.clock.tick(1)
    assert await world.comes(access)
    assert world.service.answers == [200, 304]


async def test_an_outage_of_the_issuer_is_not_ours_at_once(world: World):
    """Its keys count for some hours more, people are told once, and then nobody is let in by them; afterwards it goes on."""
    access, clock = world.access(), world.clock
    assert await world.comes(access)
    world.service.broken = web.Response(status=500)
    clock.tick(11 * MINUTE)
    assert await world.comes(access)
    clock.tick(limits.KEY_SET_STALE - 2 * MINUTE)
    assert await world.comes(access)
    await asyncio.sleep(0.1)
    (alarm,) = world.alarms
    assert "the answer is 500" in alarm
    assert "What to do" in alarm
    clock.tick(2 * MINUTE)
    with pytest.raises(Overloaded, match="issuer cannot be had"):
        await world.comes(access)
    world.service.broken = None
    clock.tick(limits.KEY_SET_PAUSE)
    assert await world.comes(access)
    world.service.broken = web.Response(status=500)
    clock.tick(11 * MINUTE)
    assert await world.comes(access)
    assert len(world.alarms) == 2


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda: web.Response(body=b"junk"), "cannot be used"),
        (lambda: web.Response(body=b"x" * (limits.KEY_SET_SIZE + 1)), "larger than"),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "the answer is 302"),
        (lambda: web.Response(status=304), "the answer is 304"),
        (lambda: web.Response(body=b'{"keys": []}'), "no key in it"),
    ],
)
async def test_what_is_no_key_set_lets_nobody_in(broken: Any, words: str, world: World):
    """Junk, too much, a redirect, an answer to another question: come back later, and people are told."""
    access, world.service.broken = world.access(), broken()
    with pytest.raises(Overloaded) as caught:
        await world.comes(access)
    assert caught.value.retry_after == limits.KEY_SET_PAUSE
    assert [words in alarm for alarm in world.alarms] == [True]


async def test_an_issuer_that_answers_nothing_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch):
    """After its time; the request is asked to come back."""
    monkeypatch.setattr(limits, "KEY_SET_TIMEOUT", 1)
    with pytest.raises(Overloaded):
        await world.comes(world.access())
    assert "no answer in time" in world.alarms[0]


async def test_a_server_of_another_authority_is_not_believed(world: World):
    """Without the anchors that the document names, the TLS certificate is a stranger's."""
    access = world.access(jwks_anchors=None)
    with pytest.raises(Overloaded):
        await world.comes(access)
    assert "cannot be reached (ClientConnectorCertificateError)" in world.alarms[0]
    assert world.service.answers == []


async def test_what_was_fetched_survives_a_new_version(world: World):
    """A version that changes something else asks nothing anew; one that changes the address does, one without it forgets."""
    token = await world.token()
    assert await world.comes(world.access(), token)
    assert await world.comes(world.access(title="other words"), token)
    assert world.service.answers == [200]
    elsewhere = world.access(jwks_uri=world.service.jwks + "?v=2")
    assert await world.comes(elsewhere, token)
    assert world.service.answers == [200, 200]
    world.keys.configure(configuration())
    assert not world.keys._states


async def test_a_version_that_goes_takes_nothing_from_those_who_wait(world: World):
    """Who waited for the answer gets it; who comes with the old version afterwards is asked to come back."""
    access, token = world.access(), await world.token()
    asked = asyncio.create_task(world.comes(access, token))
    await asyncio.sleep(0)
    world.keys.configure(configuration())
    assert await asked == "birkelund-post"
    with pytest.raises(Overloaded, match="changed meanwhile"):
        await world.comes(access, token)


async def test_a_node_that_ends_asks_nobody_any_more(world: World):
    """A question under way is given up."""
    asked = asyncio.create_task(world.comes(world.access(), await world.token()))
    await asyncio.sleep(0)
    await world.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert world.service.answers == []


async def test_keys_of_a_file_are_there_at_once():
    """No clock, no network: what the version holds, and an error that names the file."""
    keys = KeySets(FrozenClock(AT), None)  # type: ignore[arg-type]
    version = configuration()
    keys.configure(version)
    found = await keys.of(version.all("rest.issuer")["login"], "es-1")
    assert [key.kid for key in found] == ["es-1", "rs-1"]
    with pytest.raises(ValueError, match=r"^login\.json: is no JSON object$"):
        keys.configure(configuration(files={"login.json": b"[]"}))
    assert [key.kid for key in await keys.of(version.all("rest.issuer")["login"], None)] == ["es-1", "rs-1"]
    keys.configure(configuration(files={"login.json": key_set("es-2")}))
    assert [key.kid for key in await keys.of(version.all("rest.issuer")["login"], None)] == ["es-2"]
    assert limits.KEY_SET_AGE < limits.KEY_SET_LONGEST < HOUR * 24
