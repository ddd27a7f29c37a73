"""Who calls: a certificate or a token becomes a `Caller`, and a caller says what it may do and see.

Rules:

1. A certificate is believed because a document names it (pinned, by SHA-256), within its own dates. A token is believed because its
   issuer is named by a document and signed it, for us, for now, and over the connection it is bound to [RFC 8705 §3].
2. Who shows a token is judged by the token, also when the connection's certificate is known: a bad token is never overlooked.
3. Roles are those of the client's document. A person has those of them that the token names as well.
4. What is another authority's is answered as what is not there. No refusal says which systems, people or authorities are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.clock import Micros
from core.config import Configuration
from gateways.rest.problems import Unauthenticated, absent, forbidden
from gateways.rest.settings import Role
from gateways.rest.tokens import KeySets


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``name`` is the system's id, or for people ``client/subject``; ``fingerprint`` that of the certificate, or ""."""

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


class Access:
    """Who is known under one configuration version. Made anew with each; ``keys`` lives on."""

    def __init__(self, configuration: Configuration, keys: KeySets) -> None:
        self._configuration, self._keys = configuration, keys

    async def identify(self, certificate: bytes | None, authorization: str | None, now: Micros) -> Caller:
        """Who this is, by the DER certificate of the connection and the header ``Authorization``. Raises `Unauthenticated`."""
        raise Unauthenticated("nobody is known yet")
