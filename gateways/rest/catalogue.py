"""The catalogue: what is moved here, for whom to see and how to ask for it; and who the caller is.

Rules:

1. Every caller that is known sees every integration: it is a shop. Whose agreements, routes and subscriptions there are is not in
   it, beside the caller's own.
2. What is said of an integration is what its document says: it is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core.agreement import ServiceAgreement
from core.clock import SECOND, Micros
from core.config import Configuration
from core.integration import Capability, Declaration, Integration, Party
from gateways.rest.access import Caller
from gateways.rest.conditional import ETAG, IF_NONE_MATCH, reply
from gateways.rest.endpoint import Answer, Ask, Endpoint, Reply, Shape
from gateways.rest.gate import Gate
from gateways.rest.paging import Page, Paging, page_of
from gateways.rest.problems import absent

_TAG: Final = "Catalogue"
_SAME: Final = Answer("It is still what you have.", headers=ETAG)
_MEDIA: Final = {"xsd": "application/xml", "json-schema": "application/schema+json"}
_FOR_ALL: Final = "the catalogue is for everybody who is known"
_YAML, _JSON = "application/yaml", "application/json"


class Own(Shape):
    """A service agreement of one of your systems."""

    id: str
    integration: str
    system: str
    may: Literal["send", "receive", "both"]
    since: str | None = None
    until: str | None = None
    in_force: bool
    approved_by: str | None = None


class ContractView(Shape):
    """What the payload must look like."""

    format: Literal["xsd", "json-schema", "openapi", "declared"]
    version: str
    part: str | None = None
    media_types: list[str]
    schema_at: str | None = None
    """Where the schema can be fetched."""


class ReceiptView(Shape):
    """A receipt that is expected, of whom and when."""

    level: Literal["transport", "envelope", "business"]
    system: str | None = None
    function: str | None = None
    within_seconds: float | None = None
    business_days: int | None = None


class Entry(Shape):
    """One integration, as the catalogue has it."""

    id: str
    title: str
    summary: str
    capability: Capability
    types: list[str]
    degree: str
    """How far the payload is checked: `known` against its contract, `declared` not, `encrypted` cannot be."""
    sensitivity: str
    priority: str
    max_size: int
    """Octets of one payload."""
    retention_days: int
    receipt: Literal["transport", "envelope", "business"]
    """The evidence at which a delivery counts as done."""
    receipts: list[ReceiptView]
    owner: str
    """The authority that owns the data and decides about requests; "" for those who administer this node."""
    responsible: Party | None = None
    declaration: Declaration | None = None
    """Of data processing."""
    legal_basis: str
    contract: ContractView | None = None
    yours: list[Own]
    """Service agreements that your systems have."""
    how_to_ask: str


class Entries(Page):
    """Integrations, by their id."""

    integrations: list[Entry]


class Sought(Paging):
    """What is looked for."""

    text: Annotated[str, Field(max_length=128, description="Stands in id, title, summary or types.")] = ""
    type: Annotated[str, Field(max_length=1024, description="It moves this type.")] = ""
    capability: Annotated[Capability | None, Field(description="It is of this capability.")] = None


class QuotaView(Shape):
    """What is left of one limit."""

    system: str
    quota: str
    which: Literal["rate", "octets", "waiting", "connections"]
    """Parcels in a time, octets a day, deliveries that wait, or connections at once."""
    most: int
    left: int
    window_seconds: float | None = None
    reset_seconds: float | None = None
    """Until all of it is there again."""


class Me(Shape):
    """Who you are here, and what you have."""

    name: str
    kind: Literal["system", "person"]
    authority: str
    identified_by: Literal["certificate", "token"]
    fingerprint: str | None = None
    """SHA-256 of your certificate."""
    roles: list[str]
    systems: list[str]
    """The systems you stand for."""
    agreements: list[Own]
    subscriptions: list[str]
    quotas: list[QuotaView]
    """Of each system you send as."""
    version: int
    """The configuration version in force."""


class Catalogue:
    """Endpoints of what there is."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        top, one = "/v1/integrations", "/v1/integrations/{integration}"
        page, entry = Answer("A page.", Entries, headers=ETAG), Answer("The integration.", Entry, headers=ETAG)
        schema = Answer("The schema.", media_type="application/xml", headers=ETAG,
                        others=("application/schema+json", _JSON, _YAML))  # fmt: skip
        return (
            Endpoint("GET", top, self.listed, "Look through the catalogue", _TAG, {200: page, 304: _SAME}, query=Sought,
                     headers=IF_NONE_MATCH, unaudited=_FOR_ALL),
            Endpoint("GET", one, self.entry, "See an integration", _TAG, {200: entry, 304: _SAME}, headers=IF_NONE_MATCH,
                     unaudited=_FOR_ALL),
            Endpoint("GET", f"{one}/contract", self.contract, "Fetch an integration's schema", _TAG,
                     {200: schema, 304: _SAME}, headers=IF_NONE_MATCH, unaudited=_FOR_ALL),
            Endpoint("GET", "/v1/me", self.me, "See who you are here", _TAG, {200: Answer("You.", Me)},
                     unaudited="it shows a caller itself"),
        )  # fmt: skip

    async def listed(self, ask: Ask) -> Reply:
        """Everything that can be had here, with whom to ask."""
        sought: Sought = ask.query
        found = [one for _, one in sorted(self._all().items()) if _is_sought(one, sought)]
        page, after = page_of(found, lambda one: str(one.id), sought)
        return reply(ask, Entries(integrations=[self._entry(one, ask.caller) for one in page], next=after))

    async def entry(self, ask: Ask) -> Reply:
        """What is moved, how it is checked, who is responsible, on which legal basis; and what you have of it."""
        return reply(ask, self._entry(self._one(ask), ask.caller))

    async def contract(self, ask: Ask) -> Reply:
        """The file as its owner wrote it; there is none where the payload is only declared."""
        found = self._one(ask)
        if found.contract is None or not found.contract.file:
            raise absent("nothing but a declaration says what its payload is")
        octets = self._gate.configuration().files.get(found.contract.file)
        if octets is None:
            raise absent("its schema is not there")
        media_type = _MEDIA.get(found.contract.format)
        if media_type is None:
            media_type = _JSON if found.contract.file.endswith(".json") else _YAML
        return reply(ask, octets, media_type)

    async def me(self, ask: Ask) -> Reply:
        """By which certificate or token you are known, your roles, systems, agreements and subscriptions."""
        caller, configuration = ask.caller, self._gate.configuration()
        return Reply(
            Me(
                name=caller.name,
                kind=caller.kind,
                authority=caller.authority,
                identified_by=caller.by,
                fingerprint=caller.fingerprint or None,
                roles=sorted(role.value for role in caller.roles),
                systems=sorted(caller.systems),
                agreements=self._own(caller, ""),
                subscriptions=sorted(
                    one.id for one in configuration.all("subscription").values() if one.system in caller.systems
                ),
                quotas=self._quotas(caller),
                version=configuration.number,
            )
        )

    def _quotas(self, caller: Caller) -> list[QuotaView]:
        quotas, now = self._gate.kernel.desks.quotas, self._gate.kernel.clock.now()
        return [
            QuotaView(
                system=system,
                quota=one.quota,
                which=one.which,
                most=one.most,
                left=one.left,
                window_seconds=one.window / SECOND if one.window else None,
                reset_seconds=one.reset / SECOND if one.reset else None,
            )
            for system in sorted(caller.systems)
            if caller.may_act_as(system)
            for one in quotas.allowances(system, now)
        ]

    # -- what is said of one

    def _all(self) -> dict[str, Integration]:
        return dict(self._gate.configuration().all("integration"))

    def _one(self, ask: Ask) -> Integration:
        found = self._all().get(ask.path["integration"])
        if found is None:
            raise absent()
        return found

    def _own(self, caller: Caller, integration: str) -> list[Own]:
        """The agreements of the caller's systems, of one integration or all."""
        configuration, now = self._gate.configuration(), self._gate.kernel.clock.now()
        return [
            _agreement(one, now)
            for _, one in sorted(configuration.all("service-agreement").items())
            if one.system in caller.systems and integration in ("", one.integration)
        ]

    def _entry(self, one: Integration, caller: Caller) -> Entry:
        plain = one.model_dump(mode="json", include=_PLAIN)
        return Entry(
            **plain,
            responsible=one.responsible,
            declaration=one.declaration,
            receipts=[
                ReceiptView(
                    level=each.level,
                    system=each.system if _is_own(self._gate.configuration(), caller, each.system) else None,
                    function=each.function,
                    within_seconds=each.within,
                    business_days=each.business_days,
                )
                for each in one.receipts
            ],
            contract=_contract(one),
            yours=self._own(caller, one.id),
            how_to_ask=_how(one),
        )


_PLAIN: Final = {
    *("id", "title", "summary", "capability", "types", "degree", "sensitivity", "priority", "max_size"),
    *("retention_days", "receipt", "owner", "legal_basis"),
}


def _is_own(configuration: Configuration, caller: Caller, system: str | None) -> bool:
    """Whether a system may be named to a caller: of others' it is not said which take part."""
    found: Any = configuration.all("system").get(system or "")
    return caller.administers or system in caller.systems or (found is not None and found.authority == caller.authority)


def _is_sought(one: Integration, sought: Sought) -> bool:
    text = sought.text.casefold()
    return (
        (not sought.capability or one.capability == sought.capability)
        and (not sought.type or sought.type in one.types)
        and any(text in each.casefold() for each in (one.id, one.title, one.summary, *one.types))
    )


def _contract(one: Integration) -> ContractView | None:
    if one.contract is None:
        return None
    said = one.contract
    return ContractView(
        format=said.format,
        version=said.version,
        part=said.part or None,
        media_types=list(said.media_types),
        schema_at=f"/v1/integrations/{one.id}/contract" if said.file else None,
    )


def _agreement(one: ServiceAgreement, now: Micros) -> Own:
    return Own(
        id=one.id,
        integration=one.integration,
        system=one.system,
        may=one.may,
        since=one.since.isoformat() if one.since else None,
        until=one.until.isoformat() if one.until else None,
        in_force=one.covers("send", now) or one.covers("receive", now),
        approved_by=one.approved_by or None,
    )


def _how(one: Integration) -> str:
    decides = f"authority {one.owner}" if one.owner else "those who administer this node"
    words = f"POST /v1/requests with kind service-agreement and integration {one.id}; {decides} will decide"
    if one.capability == "notification":
        words += "; then POST /v1/requests with kind subscription to be told"
    return words
