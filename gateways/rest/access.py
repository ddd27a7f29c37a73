"""Who calls: a certificate or a token becomes a `Caller`, and a caller says what it may do and see.

Rules:

1. A certificate is believed because a document names it (pinned, by SHA-256), within its own dates. A token is believed because
   its issuer is named by a document and signed it, for us, for now, over the connection it is bound to [RFC 8705 §3].
2. Who shows a token is judged by the token, also when the connection's certificate is known: a bad token is never overlooked.
3. Roles are those of the client's document. A person has those of them that the token names as well.
4. What is another authority's is answered as what is not there. No refusal says which systems, people or authorities are known.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography import x509

from core import limits
from core.clock import Micros, from_datetime
from core.config import Configuration, certificates_in
from core.system import System
from core.trust import fingerprint
from gateways.rest.issuers import KeySets
from gateways.rest.problems import Unauthenticated, absent, forbidden
from gateways.rest.settings import Client, Issuer, Role
from gateways.rest.tokens import BadToken, PublicKey, Token, check_bond, look, verify


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``name`` is the system's id, or for people ``client/subject``; ``fingerprint`` that of the certificate."""

    name: str
    kind: Literal["system", "person"]
    systems: frozenset[str]
    authority: str
    roles: frozenset[Role]
    by: Literal["certificate", "token"]
    fingerprint: str = ""
    client: str = ""
    """The id of the `rest.client` document, "" for a system known by its own document alone."""

    @property
    def administers(self) -> bool:
        """Whether everything on this node is open to it."""
        return Role.ADMINISTRATOR in self.roles

    def has(self, role: Role) -> bool:
        """Whether it has a role; an administrator has all but that of a system."""
        return role in self.roles or (self.administers and role is not Role.SYSTEM)

    def may_act_as(self, system: str) -> bool:
        """Whether it sends and receives as this system."""
        return Role.SYSTEM in self.roles and system in self.systems

    def may_ask_for(self, system: str) -> bool:
        """Whether it may ask for service agreements and subscriptions of this system."""
        return self.administers or (system in self.systems and bool(self.roles & {Role.SYSTEM, Role.SUPPLIER}))

    def may_decide(self, owner: str) -> bool:
        """Whether it approves what is asked of integrations that this authority owns."""
        return self.administers or (Role.OWNER in self.roles and self._is_of(owner))

    def may_see(self, authority: str) -> bool:
        """Whether it sees all traffic of an authority's systems."""
        return self.administers or (Role.OPERATOR in self.roles and self._is_of(authority))

    def may_audit(self, authority: str) -> bool:
        """Whether it sees who looked at what in an authority."""
        return self.administers or (Role.AUDITOR in self.roles and self._is_of(authority))

    def _is_of(self, authority: str) -> bool:
        return bool(authority) and authority == self.authority

    def scope(self, configuration: Configuration) -> frozenset[str] | None:
        """The systems whose parcels and deliveries it may see; None means all. For queries: nothing outside it exists."""
        if self.administers:
            return None
        seen = self.systems if Role.SYSTEM in self.roles else frozenset[str]()
        if Role.OPERATOR in self.roles:
            seen |= systems_of(configuration, self.authority)
        return seen


def systems_of(configuration: Configuration, authority: str) -> frozenset[str]:
    """The systems that an authority owns."""
    if not authority:
        return frozenset()
    return frozenset(one.id for one in configuration.all("system").values() if one.authority == authority)


def demand_system(caller: Caller, system: str, configuration: Configuration) -> None:
    """Raises unless the caller acts as ``system``: 404 for another authority's and for none, 403 within its own authority."""
    if caller.may_act_as(system):
        return
    if system in caller.systems or caller.may_see(_authority_of(configuration, system)):
        raise forbidden(f"this takes the role {Role.SYSTEM.value} for that system")
    raise absent()


def demand_role(caller: Caller, *roles: Role) -> None:
    """Raises 403 unless the caller has one of the roles."""
    if not any(caller.has(role) for role in roles):
        raise forbidden(f"this takes the role {' or '.join(role.value for role in roles)}")


def _authority_of(configuration: Configuration, system: str) -> str:
    found = configuration.all("system").get(system)
    return str(found.authority) if found else ""


@dataclass(frozen=True, slots=True)
class _Principal:
    """Somebody documents speak of. ``people`` call through it."""

    client: str
    name: str
    people: bool
    systems: frozenset[str]
    authority: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class _Check:
    """A token that was found good under these keys."""

    issuer: Issuer
    kid: str | None
    keys: Sequence[PublicKey]
    token: Token


@dataclass(frozen=True, slots=True)
class Pin:
    """A certificate that stands for somebody. ``kind``, ``id`` and ``file`` say which document has it."""

    principal: _Principal
    certificate: x509.Certificate
    begin: Micros
    end: Micros
    kind: str
    id: str
    file: str


class Access:
    """Who is known under one configuration version. Made anew with each; ``keys`` lives on.

    Raises `ValueError` for a file that cannot be read; `check` has said so before a version is applied.
    """

    def __init__(self, configuration: Configuration, keys: KeySets) -> None:
        self._keys = keys
        self._issuers: dict[str, Issuer] = {i.issuer: i for i in configuration.all("rest.issuer").values()}
        self._pins = {fingerprint(pin.certificate): pin for pin in pins(configuration)}
        self._programs: dict[_Program, _Principal] = {}
        self._checks: OrderedDict[bytes, _Check] = OrderedDict()
        for client in configuration.all("rest.client").values():
            principal = _of_client(configuration, client)
            self._programs.update(dict.fromkeys(programs(client), principal))

    @property
    def pinned(self) -> list[x509.Certificate]:
        """The certificates that stand for somebody, for the TLS context."""
        return [pin.certificate for pin in self._pins.values()]

    async def identify(self, certificate: bytes | None, authorization: str | None, now: Micros) -> Caller:
        """Who this is, by the connection's certificate (DER) and the header ``Authorization``.

        Raises `Unauthenticated`, or `Overloaded` while an issuer's keys cannot be had.
        """
        if authorization is not None:
            try:
                return await self._by_token(authorization, certificate, now)
            except BadToken as error:
                raise Unauthenticated(error.cause, "invalid_token") from None
        if certificate is not None:
            return self._by_certificate(certificate, now)
        raise Unauthenticated("neither a certificate nor a token came with the request")

    def _by_certificate(self, certificate: bytes, now: Micros) -> Caller:
        name = hashlib.sha256(certificate).hexdigest()
        pin = self._pins.get(name)
        if pin is None:
            raise Unauthenticated("the certificate is not registered here")
        if not pin.begin <= now <= pin.end:
            raise Unauthenticated(f"the certificate {'has expired' if now > pin.end else 'is not valid yet'}")
        who = pin.principal
        kind: Literal["system", "person"] = "person" if who.people else "system"
        return Caller(who.name, kind, who.systems, who.authority, who.roles, "certificate", name, who.client)

    async def _by_token(self, authorization: str, certificate: bytes | None, now: Micros) -> Caller:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise BadToken("Authorization: only Bearer is taken")
        issuer, token = await self._checked(text.strip(" "), now)
        check_bond(token, certificate)
        who = self._programs.get((issuer.id, token.client, token.subject))
        who = who or self._programs.get((issuer.id, token.client, ""))
        if who is None:
            raise BadToken("the token is genuine, but whom it stands for is not registered here")
        print_ = hashlib.sha256(certificate).hexdigest() if certificate is not None else ""
        if not who.people:
            return Caller(who.name, "system", who.systems, who.authority, who.roles, "token", print_, who.client)
        if not token.subject:
            raise BadToken(f"{'.'.join(issuer.claims.subject)}: is missing, and this program is used by people")
        if who.authority and token.authority not in ("", who.authority):
            raise BadToken(f"{'.'.join(issuer.claims.authority)}: is not the one this program is registered for")
        name, roles = f"{who.client}/{token.subject}", who.roles & token.roles
        authority = who.authority or token.authority
        return Caller(name, "person", who.systems, authority, roles, "token", print_, who.client)

    async def _checked(self, text: str, now: Micros) -> tuple[Issuer, Token]:
        """A token and its issuer. What was checked before under the same keys is not checked again while it holds."""
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._checks.get(name)
        if known is not None:
            keys = await self._keys.of(known.issuer, known.kid)
            if known.keys is keys and known.token.begin <= now < known.token.end:
                self._checks.move_to_end(name)
                return known.issuer, known.token
        seen = look(text)
        issuer = self._issuers.get(seen.issuer)
        if issuer is None:
            raise BadToken("iss: the issuer is not registered here")
        if seen.algorithm not in issuer.algorithms:
            raise BadToken("alg: is not among those that are taken from this issuer")
        keys = await self._keys.of(issuer, seen.kid)
        token = verify(text, issuer, keys, now)
        self._checks[name] = _Check(issuer, seen.kid, keys, token)
        self._checks.move_to_end(name)
        if len(self._checks) > limits.TOKENS:
            self._checks.popitem(last=False)
        return issuer, token


# --- documents --------------------------------------------------------------------------------------------------------

_Program = tuple[str, str, str]
"""Issuer, client id, and the subject or "" for any."""


def programs(client: Client) -> list[_Program]:
    """What tokens call a client."""
    if client.issuer is None:
        return []
    return [(client.issuer, name, subject) for name in client.client_ids for subject in client.subjects or ("",)]


def _of_client(configuration: Configuration, client: Client) -> _Principal:
    own = {client.system} if client.system is not None else set()
    authority = client.authority
    if client.system is not None and not authority:
        authority = _authority_of(configuration, client.system)
    name = client.system or client.id
    return _Principal(
        client.id, name, client.person, frozenset(own | set(client.serves)), authority, frozenset(client.roles)
    )


def pins(configuration: Configuration) -> Iterator[Pin]:
    """Every certificate that stands for somebody. Raises `ValueError` for a file that cannot be read."""
    known_by_own = {}
    for client in configuration.all("rest.client").values():
        if client.certificates:
            yield from _pins(configuration, "rest.client", client, _of_client(configuration, client))
        elif client.system is not None and not client.client_ids:
            known_by_own[client.system] = _of_client(configuration, client)
    for system in configuration.all("system").values():
        alone = _Principal("", system.id, False, frozenset({system.id}), system.authority, frozenset({Role.SYSTEM}))
        yield from _pins(configuration, "system", system, known_by_own.get(system.id, alone))


def _pins(configuration: Configuration, kind: str, document: Client | System, principal: _Principal) -> Iterator[Pin]:
    for file in document.certificates:
        for made in certificates_in(configuration.files, file):
            begin, end = from_datetime(made.not_valid_before_utc), from_datetime(made.not_valid_after_utc)
            yield Pin(principal, made, begin, end, kind, document.id, file)
