"""Who calls, and what that caller may do and see."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from core import limits
from core.clock import DAY, SECOND, FrozenClock, Micros
from core.errors import Overloaded
from gateways.rest.access import Access, Caller, demand_role, demand_system, pins
from gateways.rest.issuers import KeySets
from gateways.rest.problems import ProblemError, Unauthenticated
from gateways.rest.settings import Role
from gateways.rest.tokens import verify
from tests.core.certificates import AT, NOW
from tests.gateways.rest.callers import access, bearer, certificate_of, claims, configuration, der, no_alarm
from tests.gateways.rest.issuer import key_set, sign

POST = {
    "kind": "rest.client",
    "id": "post-program",
    "system": "birkelund-post",
    "issuer": "login",
    "client_ids": ["post-program"],
}
PORTAL = {
    "kind": "rest.client",
    "id": "portal",
    "person": True,
    "issuer": "login",
    "client_ids": ["portal"],
    "roles": ["operator", "auditor", "owner"],
}
HUB = {
    "kind": "rest.client",
    "id": "hub",
    "system": "birkelund-post",
    "certificates": ["hub.pem"],
    "roles": ["system", "supplier"],
    "serves": ["egedal-journal"],
}


async def refused(
    who: Access, certificate: bytes | None = None, authorization: str | None = None, at: Micros = NOW
) -> Unauthenticated:
    """Why nobody is let in; 401 with a challenge, and nothing that says who would be."""
    with pytest.raises(Unauthenticated) as caught:
        await who.identify(certificate, authorization, at)
    problem = caught.value.problem
    assert (problem.type.word, problem.type.status) == ("unauthenticated", 401)
    assert problem.headers["WWW-Authenticate"].startswith('Bearer realm="stafet"')
    said = (problem.octets("urn:uuid:1").decode() + str(problem.headers)).lower()
    assert not any(name in said for name in ("birkelund", "egedal", "journal", "hub", "portal"))
    return caught.value


def caller(*roles: str, authority: str = "birkelund", systems: tuple[str, ...] = ()) -> Caller:
    """Somebody with these roles."""
    return Caller("x", "system", frozenset(systems), authority, frozenset(map(Role, roles)), "token")


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R102")
async def test_a_system_is_known_by_the_certificate_of_its_document():
    """No further document is needed: it is itself, in its own authority, and nothing more."""
    found = await access().identify(der(certificate_of("post")), None, NOW)
    assert (found.name, found.kind, found.by, found.client) == ("birkelund-post", "system", "certificate", "")
    assert (found.systems, found.authority, found.roles) == ({"birkelund-post"}, "birkelund", {Role.SYSTEM})
    assert len(found.fingerprint) == 64


async def test_a_document_says_more_of_a_system_known_by_its_own_certificate():
    """A rest.client with neither certificates nor client ids speaks of the system's own."""
    more = {"kind": "rest.client", "id": "post-more", "system": "birkelund-post", "roles": ["system", "operator"]}
    found = await access(more).identify(der(certificate_of("post")), None, NOW)
    assert (found.client, found.roles) == ("post-more", {Role.SYSTEM, Role.OPERATOR})


async def test_a_hub_stands_for_further_systems():
    """With a certificate of its own, it acts as its system and those it serves; the system's certificate serves none."""
    who = access(HUB)
    found = await who.identify(der(certificate_of("hub")), None, NOW)
    assert (found.client, found.systems) == ("hub", {"birkelund-post", "egedal-journal"})
    assert found.may_act_as("egedal-journal")
    own = await who.identify(der(certificate_of("post")), None, NOW)
    assert (own.client, own.systems) == ("", {"birkelund-post"})


async def test_people_can_come_by_certificate():
    """A person's certificate has the roles and the authority of its document."""
    keeper = {
        "kind": "rest.client",
        "id": "keeper",
        "person": True,
        "certificates": ["hub.pem"],
        "roles": ["administrator"],
        "authority": "birkelund",
    }
    found = await access(keeper).identify(der(certificate_of("hub")), None, NOW)
    assert (found.name, found.kind, found.administers) == ("keeper", "person", True)


async def test_two_certificates_are_known_while_one_replaces_the_other():
    """Roll-over: both are the same system; when the old one is taken out, it is nobody."""
    both = certificate_of("post").certificate_pem() + certificate_of("next").certificate_pem()
    who = access(files={"post.pem": both})
    for name in ("post", "next"):
        assert (await who.identify(der(certificate_of(name)), None, NOW)).name == "birkelund-post"
    after = access(files={"post.pem": certificate_of("next").certificate_pem()})
    await refused(after, der(certificate_of("post")))


async def test_an_unknown_certificate_is_nobody():
    """Of the same authority, of the same name, or no certificate at all: the answer is the same and names no system."""
    who = access()
    twin = certificate_of("post", organisation="Stafet demonstration twin")
    answers = {str(await refused(who, octets)) for octets in (der(twin), der(certificate_of("x")), b"", b"\x30\x00")}
    assert answers == {"unauthenticated: the certificate is not registered here"}


async def test_a_certificate_counts_within_its_dates():
    """An expired one and one that is not valid yet are told apart, whatever the handshake let through."""
    short = certificate_of("short", not_before=AT - timedelta(days=1), not_after=AT + timedelta(days=1))
    who = access(files={"post.pem": short.certificate_pem()})
    assert (await who.identify(der(short), None, NOW + DAY)).name == "birkelund-post"
    assert "has expired" in str(await refused(who, der(short), at=NOW + DAY + 1_000_000))
    assert "not valid yet" in str(await refused(who, der(short), at=NOW - 2 * DAY))


async def test_who_shows_nothing_is_told_what_to_show():
    """No certificate and no header: the challenge names no error, as RFC 6750 has it."""
    error = await refused(access())
    assert error.problem.headers["WWW-Authenticate"] == 'Bearer realm="stafet"'


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R86")
@pytest.mark.requirement("R103")
async def test_a_system_is_known_by_a_token_bound_to_its_connection():
    """The token says which program, the document which system; roles are the document's, not the token's."""
    found = await access(POST).identify(der(certificate_of("post")), bearer(roles=["administrator"]), NOW)
    assert (found.name, found.by, found.client) == ("birkelund-post", "token", "post-program")
    assert (found.authority, found.roles) == ("birkelund", {Role.SYSTEM})
    assert found.fingerprint


@pytest.mark.requirement("R102")
async def test_people_have_the_roles_that_both_say():
    """What the token names and the document allows; the authority comes from the token where the document says none."""
    said = {"client_id": "portal", "sub": "kim", "authority": "egedal", "roles": ["operator", "administrator"]}
    found = await access(PORTAL).identify(der(certificate_of("post")), bearer(**said), NOW)
    assert (found.name, found.kind, found.authority) == ("portal/kim", "person", "egedal")
    assert found.roles == {Role.OPERATOR}
    assert not found.systems


async def test_a_program_of_one_authority_takes_no_people_of_another():
    """The document's authority stands; a token of another is refused, one that names none has the document's."""
    who = access({**PORTAL, "authority": "birkelund"})
    post = der(certificate_of("post"))
    said = {"client_id": "portal", "sub": "kim", "roles": "operator"}
    assert (await who.identify(post, bearer(**said), NOW)).authority == "birkelund"
    assert "authority: is not" in str(await refused(who, post, bearer(**said, authority="egedal")))


async def test_only_the_people_that_are_named():
    """With subjects, others of the same program are nobody; the more exact document counts."""
    named = {**PORTAL, "id": "chief", "subjects": ["kim"], "roles": ["administrator"], "authority": "birkelund"}
    who, post = access(named), der(certificate_of("post"))
    said: dict[str, Any] = {"client_id": "portal", "roles": ["administrator", "operator"]}
    assert (await who.identify(post, bearer(**said, sub="kim"), NOW)).administers
    assert "whom it stands for" in str(await refused(who, post, bearer(**said, sub="robin")))
    both = access(named, PORTAL)
    assert (await both.identify(post, bearer(**said, sub="robin"), NOW)).client == "portal"
    assert (await both.identify(post, bearer(**said, sub="kim"), NOW)).client == "chief"


async def test_people_have_names():
    """A token of a program that people use, without a subject, is nobody's."""
    who, post = access(PORTAL), der(certificate_of("post"))
    assert "sub: is missing" in str(await refused(who, post, bearer(client_id="portal", sub=None)))


@pytest.mark.requirement("R86")
async def test_a_stolen_token_is_worth_nothing():
    """Over no certificate, and over another that is known itself, the token is refused; so is the request."""
    who = access(POST)
    assert "connection has none" in str(await refused(who, None, bearer()))
    assert "another certificate" in str(await refused(who, der(certificate_of("egedal")), bearer()))


async def test_a_bad_token_is_not_forgiven_for_a_good_certificate():
    """Who shows both is judged by the token."""
    who, post = access(POST), der(certificate_of("post"))
    for header in (
        "Bearer",
        "Bearer junk",
        "Bearer \udcff\u00e5",
        "Basic YTpi",
        "",
        bearer(iss="https://login.egedal.example"),
    ):
        error = await refused(who, post, header)
        assert 'error="invalid_token"' in error.problem.headers["WWW-Authenticate"]


async def test_an_algorithm_that_is_not_taken_asks_nobody_for_keys():
    """The document's list is looked at before the issuer is."""
    assert "alg: is not among" in str(await refused(access(POST), None, "Bearer " + sign(claims(), "es-384")))


async def test_a_token_is_checked_once_while_it_holds(monkeypatch: pytest.MonkeyPatch):
    """What was found good is believed again: over its own connection, until it ends, under the same keys."""
    checked: list[str] = []

    def counting(text: str, *rest: Any) -> Any:
        checked.append(text)
        return verify(text, *rest)

    monkeypatch.setattr("gateways.rest.access.verify", counting)
    version = configuration(POST)
    keys = KeySets(FrozenClock(NOW), no_alarm)
    keys.configure(version)
    who, post, header = Access(version, keys), der(certificate_of("post")), bearer()
    for _ in range(3):
        assert (await who.identify(post, header, NOW)).name == "birkelund-post"
    assert len(checked) == 1
    assert "another certificate" in str(await refused(who, der(certificate_of("egedal")), header))
    assert len(checked) == 1
    for at in (NOW + 350 * SECOND, NOW - 71 * SECOND):
        await refused(who, post, header, at=at)
    keys.configure(configuration(POST, files={"login.json": key_set("es-2")}))
    assert "kid: the issuer has no such key" in str(await refused(who, post, header))
    keys.configure(version)
    assert (await who.identify(post, header, NOW)).name == "birkelund-post"


async def test_only_so_many_checks_are_remembered(monkeypatch: pytest.MonkeyPatch):
    """The one used longest ago goes first."""
    monkeypatch.setattr(limits, "TOKENS", 2)
    who, post = access(POST), der(certificate_of("post"))
    first, others = bearer(), [bearer(jti=str(number)) for number in range(2)]
    for header in (first, others[0], first, others[1]):
        await who.identify(post, header, NOW)
    kept = [hashlib.sha256(header.removeprefix("Bearer ").encode()).digest() for header in (first, others[1])]
    assert list(who._checks) == kept


async def test_a_genuine_token_of_an_unknown_program_is_nobody():
    """The issuer knows it, we do not."""
    assert "not registered here" in str(await refused(access(), der(certificate_of("post")), bearer()))


async def test_an_unbound_token_is_taken_where_its_issuer_may_give_such():
    """With certificate_bound optional the caller has no fingerprint, because there is none."""
    open_issuer = {
        "kind": "rest.issuer",
        "id": "open",
        "issuer": "https://open.example",
        "audience": "us",
        "jwks": "login.json",
        "certificate_bound": "optional",
    }
    who = access(open_issuer, {**POST, "issuer": "open"})
    found = await who.identify(None, bearer(iss="https://open.example", aud="us", cnf=None), NOW)
    assert (found.name, found.fingerprint) == ("birkelund-post", "")


async def test_a_claim_with_a_quote_in_its_name_cannot_end_the_challenge():
    """What goes into a header is plain text, whatever a document calls a claim."""
    odd = {
        "kind": "rest.issuer",
        "id": "odd",
        "issuer": "https://odd.example",
        "audience": "us",
        "jwks": "login.json",
        "claims": {"client": 'x"y\\Å'},
    }
    error = await refused(access(odd), None, bearer(iss="https://odd.example", aud="us"))
    assert error.problem.headers["WWW-Authenticate"].endswith('error_description="xy: is missing"')
    assert error.problem.detail == 'x"y\\Å: is missing'


async def test_while_an_issuer_is_away_nobody_is_called_a_stranger():
    """Keys that cannot be had are our trouble: come back, not go away."""

    class Away(KeySets):
        async def of(self, *_: Any) -> Any:
            raise Overloaded("the keys cannot be had")

    version = configuration(POST)
    with pytest.raises(Overloaded):
        await Access(version, Away(None, None)).identify(None, bearer(), NOW)  # type: ignore[arg-type]


def test_the_certificates_that_stand_for_somebody_are_told_to_the_server():
    """Of systems and of clients, each once."""
    assert len(access(HUB).pinned) == 3
    assert {(pin.kind, pin.id) for pin in pins(configuration(HUB))} == {
        ("system", "birkelund-post"),
        ("system", "egedal-journal"),
        ("rest.client", "hub"),
    }


def test_a_file_that_is_not_there_makes_no_access():
    """It is named; a node that cannot read it keeps the version it has."""
    with pytest.raises(ValueError, match=r"no file 'gone\.pem'"):
        access({**HUB, "certificates": ["gone.pem"]})


# --- what a caller may ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R102")
def test_each_role_opens_its_own_door():
    """System acts, supplier asks, owner decides, operator sees, auditor audits; none of them does another's work."""
    mine = ("birkelund-post",)

    def doors(*roles: str) -> tuple[bool, ...]:
        c = caller(*roles, systems=mine)
        return (
            c.may_act_as("birkelund-post"),
            c.may_ask_for("birkelund-post"),
            c.may_decide("birkelund"),
            c.may_see("birkelund"),
            c.may_audit("birkelund"),
        )

    assert doors("system") == (True, True, False, False, False)
    assert doors("supplier") == (False, True, False, False, False)
    assert doors("owner") == (False, False, True, False, False)
    assert doors("operator") == (False, False, False, True, False)
    assert doors("auditor") == (False, False, False, False, True)
    assert doors("administrator") == (False, True, True, True, True)


@pytest.mark.parametrize("role", [role.value for role in Role if role is not Role.ADMINISTRATOR])
def test_no_role_reaches_into_another_authority(role: str):
    """Of Egedal, nothing may be done or seen by whoever is of Birkelund, or of no authority at all."""
    for authority in ("birkelund", ""):
        c = caller(role, authority=authority, systems=("birkelund-post",))
        assert not (c.may_act_as("egedal-journal") or c.may_ask_for("egedal-journal"))
        assert not (c.may_decide("egedal") or c.may_see("egedal") or c.may_audit("egedal"))
        assert not (c.may_decide("") or c.may_see("") or c.may_audit(""))


def test_a_query_has_the_scope_of_its_caller():
    """A system sees itself, an operator its authority's systems, an administrator all; the others no parcel."""
    version = configuration()
    mine = ("birkelund-post",)
    assert caller("system", systems=mine).scope(version) == {"birkelund-post"}
    assert caller("operator").scope(version) == {"birkelund-post", "birkelund-journal"}
    hub = caller("operator", "system", systems=("egedal-journal",))
    assert hub.scope(version) == {"birkelund-post", "birkelund-journal", "egedal-journal"}
    assert caller("administrator").scope(version) is None
    for role in ("supplier", "owner", "auditor"):
        assert caller(role, systems=mine).scope(version) == frozenset()
    assert caller("operator", authority="").scope(version) == frozenset()


def test_what_is_anothers_looks_like_what_is_not_there():
    """Another authority's system and none at all give the same octets; within the own authority the missing role is named."""
    version = configuration()
    system = caller("system", systems=("birkelund-post",))

    def answer(c: Caller, name: str) -> tuple[int, bytes]:
        with pytest.raises(ProblemError) as caught:
            demand_system(c, name, version)
        return caught.value.problem.type.status, caught.value.problem.octets()

    demand_system(system, "birkelund-post", version)
    assert answer(system, "egedal-journal") == answer(system, "nowhere") == answer(system, "birkelund-journal")
    assert answer(system, "nowhere")[0] == 404
    assert answer(caller("operator"), "birkelund-journal")[0] == 403
    assert answer(caller("operator"), "egedal-journal") == answer(system, "nowhere")
    assert answer(caller("supplier", systems=("birkelund-post",)), "birkelund-post")[0] == 403


def test_a_missing_role_is_named():
    """One of several is enough; an administrator has all but that of a system."""
    demand_role(caller("operator"), Role.OWNER, Role.OPERATOR)
    demand_role(caller("administrator"), Role.AUDITOR)
    with pytest.raises(ProblemError, match="takes the role owner or auditor") as caught:
        demand_role(caller("operator"), Role.OWNER, Role.AUDITOR)
    assert caught.value.problem.type.status == 403
    with pytest.raises(ProblemError, match="takes the role system"):
        demand_role(caller("administrator"), Role.SYSTEM)
