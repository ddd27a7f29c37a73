"""A Domibus P-Mode file as it stands: octets in, one immutable configuration with its references resolved out.

Rules:

1. The file is somebody's XML: it goes through the hardened parser, and nothing in it is ever fetched or expanded.
2. What cannot be read at all is an error; what can be read in part is read, and every part that could not be is a `Finding`.
   Elements and attributes that are not known here are findings too: nothing is dropped in silence.
3. Names are compared without regard to case, as Domibus does; a name that stands twice is an error, for nobody knows which one
   was meant.
4. Passwords are not read. That there is one is said, what it is never.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from accesspoint.ebms import Typed
from accesspoint.errors import EbmsError
from accesspoint.soap import Element, parse_xml
from core import limits
from core.errors import ConfigError
from gateways.as4.moving.shape import Finding, Reading, elements, is_true, label, local_name, typed

NAMESPACE: Final = "http://domibus.eu/configuration"


@dataclass(frozen=True)
class Party:
    """A ``party``: how it is called, its identifiers in order, and where it listens."""

    name: str
    identifiers: tuple[Typed, ...]
    endpoint: str


@dataclass(frozen=True)
class Payload:
    """A ``payload`` of a payload profile. ``max_size`` is 0 where there is no bound."""

    name: str
    cid: str
    in_body: bool
    max_size: int


@dataclass(frozen=True)
class PayloadProfile:
    """A ``payloadProfile``. ``max_size`` is 0 where there is no bound."""

    name: str
    max_size: int
    payloads: tuple[Payload, ...]


@dataclass(frozen=True)
class Leg:
    """A ``legConfiguration`` with everything it refers to."""

    name: str
    service: Typed
    action: str
    policy: str
    signature_method: str
    security_profile: str
    mpc: str
    retry: str | None
    duplicate_detection: bool
    reply_pattern: str
    non_repudiation: bool
    error_as_response: bool
    properties: tuple[tuple[str, bool], ...]
    """(key, whether it is required) of every message property."""
    payload_profile: PayloadProfile | None
    compress: bool
    splitting: str

    @property
    def label(self) -> str:
        """How a finding names it."""
        return f"legConfiguration {self.name}"


@dataclass(frozen=True)
class Process:
    """A ``process``. ``initiators`` or ``responders`` is empty where they are found dynamically."""

    name: str
    initiators: tuple[str, ...]
    responders: tuple[str, ...]
    legs: tuple[Leg, ...]
    initiator_role: str
    responder_role: str
    agreement: Typed | None
    mep: str
    binding: str

    @property
    def label(self) -> str:
        """How a finding names it."""
        return f"process {self.name}"


@dataclass(frozen=True)
class PMode:
    """The whole file. ``parties`` by name without regard to case; ``party`` is whose file it is."""

    file: str
    party: str
    parties: Mapping[str, Party]
    legs: tuple[Leg, ...]
    processes: tuple[Process, ...]
    findings: tuple[Finding, ...]

    def named(self, name: str) -> Party | None:
        """The party called ``name``."""
        return self.parties.get(name.casefold())


def read(octets: bytes, file: str) -> PMode:
    """A P-Mode file. Raises `ConfigError` naming the element for what is no P-Mode file, or contradicts itself."""
    try:
        root = parse_xml(octets, what=file, size=limits.DOCUMENT_SIZE)
    except EbmsError as error:
        raise ConfigError(
            file, "", error.cause, "export the P-Mode from Domibus' console again, as plain XML"
        ) from None
    if root.tag != f"{{{NAMESPACE}}}configuration":
        cause = f"is no Domibus P-Mode: it begins with {local_name(root)[:80]!r}"
        raise ConfigError(file, "", cause, f"it must begin with configuration in {NAMESPACE}")
    reading = Reading(file, root)
    reading.check_shape(root)
    parties = _parties(reading)
    legs = _legs(reading)
    processes = _processes(reading, parties, legs)
    return PMode(file, root.get("party", ""), parties, tuple(legs.values()), tuple(processes), tuple(reading.findings))


# --- parties ----------------------------------------------------------------------------------------------------------


def _parties(reading: Reading) -> dict[str, Party]:
    types = reading.table("partyIdTypes", "partyIdType")
    found: dict[str, Party] = {}
    for name, element in reading.table("parties", "party").items():
        identifiers = []
        for identifier in (e for e in elements(element) if local_name(e) == "identifier"):
            wanted = identifier.get("partyIdType")
            kind = types.get(wanted.casefold()) if wanted else None
            if wanted and kind is None:
                reason = f"its identifier's partyIdType {wanted!r} is nowhere in partyIdTypes"
                reading.leave(label(element), reason, "correct the name in Domibus, export again")
                continue
            value = kind.get("value") if kind is not None else None
            identifiers.append(typed(identifier.get("partyId", ""), value))
        if element.get("userName") or element.get("password"):
            reason = "userName and password are not used: eDelivery agrees on certificates alone"
            reading.leave(label(element), reason, "ask the counterpart not to demand them")
        found[name] = Party(element.get("name", ""), tuple(identifiers), element.get("endpoint", "").strip())
    return found


# --- legs -------------------------------------------------------------------------------------------------------------


class _Tables:
    """Everything that a leg may refer to, by name."""

    def __init__(self, reading: Reading) -> None:
        table = reading.table
        self.reading = reading
        self.services, self.actions = table("services", "service"), table("actions", "action")
        self.securities, self.mpcs = table("securities", "security"), table("mpcs", "mpc")
        self.awareness, self.reliability = table("as4", "receptionAwareness"), table("as4", "reliability")
        self.errors, self.splittings = (
            table("errorHandlings", "errorHandling"),
            table("splittingConfigurations", "splitting"),
        )
        self.properties, self.sets = table("properties", "property"), table("properties", "propertySet")
        self.payloads, self.profiles = table("payloadProfiles", "payload"), table("payloadProfiles", "payloadProfile")

    def profile(self, element: Element | None) -> PayloadProfile | None:
        if element is None:
            return None
        payloads = []
        for attachment in elements(element):
            payload = self.payloads.get(attachment.get("name", "").casefold())
            if payload is None:
                self.reading.leave(
                    label(element), f"its payload {attachment.get('name')!r} is nowhere in payloadProfiles"
                )
                continue
            in_body = payload.get("inBody", "").strip().lower() not in ("", "false", "0")
            size = self.reading.number(payload, "maxSize")
            payloads.append(Payload(payload.get("name", ""), payload.get("cid", ""), in_body, size))
        return PayloadProfile(element.get("name", ""), self.reading.number(element, "maxSize"), tuple(payloads))

    def keys(self, element: Element | None) -> tuple[tuple[str, bool], ...]:
        found = []
        for reference in elements(element) if element is not None else ():
            wanted = self.properties.get(reference.get("property", "").casefold())
            if wanted is None:
                assert element is not None
                reason = f"its property {reference.get('property')!r} is nowhere in properties"
                self.reading.leave(label(element), reason)
            else:
                found.append((wanted.get("key", ""), is_true(wanted, "required")))
        return tuple(found)


def _legs(reading: Reading) -> dict[str, Leg]:
    tables = _Tables(reading)
    found = {}
    for name, element in reading.table("legConfigurations", "legConfiguration").items():
        leg = _leg(element, tables)
        if leg is not None:
            found[name] = leg
    return found


def _leg(element: Element, tables: _Tables) -> Leg | None:
    """A leg, or None where something that it needs is not there."""
    places = (
        ("service", tables.services),
        ("action", tables.actions),
        ("security", tables.securities),
        ("defaultMpc", tables.mpcs),
        ("receptionAwareness", tables.awareness),
        ("reliability", tables.reliability),
        ("errorHandling", tables.errors),
        ("propertySet", tables.sets),
        ("payloadProfile", tables.profiles),
        ("splitting", tables.splittings),
    )
    part: dict[str, Element | None] = {}
    for attribute, table in places:
        wanted = element.get(attribute)
        part[attribute] = table.get(wanted.casefold()) if wanted else None
        if wanted and part[attribute] is None:
            reason = f"its {attribute} {wanted!r} is defined nowhere in the file"
            tables.reading.leave(label(element), reason, "correct the name in Domibus, export again")
            return None
    service, action, security = part["service"], part["action"], part["security"]
    if service is None or action is None or security is None:
        tables.reading.leave(
            label(element), "names no service, action or security", "complete it in Domibus, export again"
        )
        return None
    mpc, awareness, reliability = part["defaultMpc"], part["receptionAwareness"], part["reliability"]
    return Leg(
        name=element.get("name", ""),
        service=typed(service.get("value", ""), service.get("type")),
        action=action.get("value", "").strip(),
        policy=security.get("policy", "").strip(),
        signature_method=security.get("signatureMethod", "").strip(),
        security_profile=security.get("profile", "").strip(),
        mpc=mpc.get("qualifiedName", "").strip() if mpc is not None else "",
        retry=awareness.get("retry") if awareness is not None else None,
        duplicate_detection=is_true(awareness, "duplicateDetection", True),
        reply_pattern=(reliability.get("replyPattern", "") if reliability is not None else "").strip().lower(),
        non_repudiation=is_true(reliability, "nonRepudiation", True),
        error_as_response=is_true(part["errorHandling"], "errorAsResponse", True),
        properties=tables.keys(part["propertySet"]),
        payload_profile=tables.profile(part["payloadProfile"]),
        compress=is_true(element, "compressPayloads"),
        splitting=element.get("splitting", ""),
    )


# --- processes --------------------------------------------------------------------------------------------------------


def _processes(reading: Reading, parties: Mapping[str, Party], legs: Mapping[str, Leg]) -> Iterator[Process]:
    roles, agreements = reading.table("roles", "role"), reading.table("agreements", "agreement")
    meps, bindings = reading.table("meps", "mep"), reading.table("meps", "binding")
    for element in reading.table("businessProcesses", "process").values():
        lacking = ""
        values = {}
        for attribute, table in (
            ("initiatorRole", roles),
            ("responderRole", roles),
            ("mep", meps),
            ("binding", bindings),
        ):
            found = table.get(element.get(attribute, "").casefold())
            values[attribute] = found.get("value", "").strip() if found is not None else ""
            lacking = lacking or ("" if found is not None else f"{attribute} {element.get(attribute)!r}")
        named = element.get("agreement", "")
        agreement = agreements.get(named.casefold())
        if named and agreement is None:
            lacking = lacking or f"agreement {named!r}"
        if lacking:
            reason = f"its {lacking} is defined nowhere in the file"
            reading.leave(label(element), reason, "correct the name in Domibus, export again")
            continue
        said = typed(agreement.get("value", ""), agreement.get("type")) if agreement is not None else None
        yield Process(
            name=element.get("name", ""),
            initiators=tuple(_named_in(reading, element, "initiatorParty", parties)),
            responders=tuple(_named_in(reading, element, "responderParty", parties)),
            legs=tuple(legs[name] for name in _named_in(reading, element, "leg", legs)),
            initiator_role=values["initiatorRole"],
            responder_role=values["responderRole"],
            agreement=said if said is not None and said.value else None,
            mep=_last(values["mep"]),
            binding=_last(values["binding"]),
        )


def _named_in(reading: Reading, process: Element, kind: str, known: Mapping[str, object]) -> Iterator[str]:
    """The names that a process lists, without regard to case. A name that is not known is a finding."""
    seen = set()
    for element in process.iter("{*}" + kind):
        name = element.get("name", "").casefold()
        if name not in known:
            reading.leave(
                label(process),
                f"its {kind} {element.get('name')!r} cannot be used: it is not in the file, or left out",
            )
        elif name not in seen:
            seen.add(name)
            yield name


def _last(uri: str) -> str:
    """``push`` of a URI that ends in it."""
    return uri.rstrip("/").rpartition("/")[2].lower()
