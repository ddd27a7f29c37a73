"""A Domibus P-Mode as documents of our own: one identity, one partner for each counterpart, and what stands around them.

Rules:

1. A document says what the file says, or it is not written: an exchange that a partner document cannot express is left out, and
   so is a partner that has none left. Both are findings.
2. Where the file says several things and a partner has room for one, the one that most exchanges need is taken.
3. What the file does not know (certificates, corners, approvals) is written as something that can be found and replaced, and is a
   finding of the level ``to do``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from accesspoint.ebms import Typed
from accesspoint.profiles import PROFILES
from core.errors import ConfigError
from core.system import RESIDUAL
from gateways.as4.demands import contradictions, party_id
from gateways.as4.moving.domibus import Leg, Party, PMode
from gateways.as4.moving.links import Link, agreed, links_of, same, unused
from gateways.as4.moving.shape import Finding
from gateways.as4.moving.terms import (
    CORNERS,
    also_accept,
    community_of,
    corners_of,
    key_reference,
    leg_findings,
    payload_bounds,
    profile_of,
    refusal,
    retry_plan,
)
from gateways.as4.settings import Partner, PartyIdentifier
from gateways.as4.settings import Party as OurParty

Document = dict[str, Any]
_MODELS: Final[dict[str, type[BaseModel]]] = {
    "as4.party": OurParty,
    "as4.partner": Partner,
}
_MAX_PAYLOADS: Final = 28


@dataclass(frozen=True)
class Wanted:
    """A certificate to be put in place: the file, whose it is in Domibus' words, and what for."""

    file: str
    party: str
    use: str


@dataclass
class Imported:
    """Documents by file, the certificates they name, and everything that did not go over as it was."""

    us: str
    documents: dict[str, list[Document]] = field(default_factory=dict)
    certificates: list[Wanted] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, file: str, *documents: Document) -> None:
        """Put documents into a file."""
        self.documents.setdefault(file, []).extend(documents)

    def say(self, *findings: Finding) -> None:
        """Note findings, each once."""
        self.findings += [f for f in dict.fromkeys(findings) if f not in self.findings]


class Ids:
    """Ids for things by what they are called: the same thing has the same id, two things never do."""

    def __init__(self, *taken: str) -> None:
        self._taken = set(taken)
        self._by_key: dict[Hashable, str] = {}

    def of(self, key: Hashable, *words: str) -> str:
        """The id of ``key``, made of ``words`` the first time."""
        if key not in self._by_key:
            plain = slug("-".join(words))
            name, number = plain, 1
            while name in self._taken:
                number += 1
                name = f"{plain[:58]}-{number}"
            self._taken.add(name)
            self._by_key[key] = name
        return self._by_key[key]


def slug(text: str) -> str:
    """A name that documents may have: lower case letters, digits, dot, underscore, dash."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", letters).strip("-._")[:64].strip("-._") or "unnamed"


# --- documents --------------------------------------------------------------------------------------------------------


@dataclass
class _Exchange:
    """A service and action with one counterpart."""

    integration: str
    leg: Leg
    sends: bool = False
    receives: bool = False

    def way(self, send: str = "send", receive: str = "receive") -> str:
        return "both" if self.sends and self.receives else send if self.sends else receive


class _Writing:
    """The documents being made."""

    def __init__(self, pmode: PMode, us: Party) -> None:
        self.pmode, self.us, self.key = pmode, us, us.name.casefold()
        self.result = Imported(us.name, findings=list(pmode.findings))
        self.parties, self.systems = Ids(), Ids(RESIDUAL)
        self.integrations, self.agreements, self.routes = Ids(), Ids(), Ids()
        self.ours = self.systems.of(self.key, us.name)
        self.identity = self.parties.of(self.key, us.name)
        self.exchanges: dict[str, list[_Exchange]] = {}

    def party(self) -> None:
        """Our own identity, and our system."""
        own = self.us.identifiers[0]
        document = {
            "kind": "as4.party",
            "id": self.identity,
            "title": self.us.name,
            "party_id": _name(own),
            "signing_key": "signing",
            "decryption_keys": ["decryption"],
        }
        domain = _host(self.us.endpoint)
        if domain:
            document["message_id_domain"] = domain
        wrong = _wrong(document)
        if wrong:
            cause = f"cannot be an as4.party: {wrong}"
            raise ConfigError(
                self.pmode.file, f"party {self.us.name}", cause, "correct the value in Domibus, export again"
            )
        system = {
            "kind": "system",
            "id": self.ours,
            "title": f"What stands behind {self.us.name}",
            "authority": own.value,
        }
        self.result.add("ours.yaml", document, system)
        self.result.say(*_own_findings(self.us))

    def partner(self, key: str, links: Sequence[Link], seen: dict[Typed, str]) -> None:
        """One counterpart with everything around it, or a finding."""
        party, say = self.pmode.parties[key], self.result.say
        usable = []
        for link in links:
            refused = refusal(link.leg)
            if refused is None:
                usable.append(link)
            else:
                say(refused)
        if not usable:
            say(
                Finding(
                    "left out", f"party {party.name}", "no exchange is left with it", "see what is said of its legs"
                )
            )
            return
        if not party.identifiers:
            say(Finding("left out", f"party {party.name}", "has no identifier that can be read"))
            return
        if party.identifiers[0] in seen:
            reason = f"has the same identifier as party {seen[party.identifiers[0]]}"
            say(Finding("left out", f"party {party.name}", reason, "give it an identifier of its own, or join the two"))
            return
        seen[party.identifiers[0]] = party.name
        for other in party.identifiers[1:]:
            reason = f"its further identifier {other}: a partner has one"
            say(Finding("left out", f"party {party.name}", reason, "agree on the first with the counterpart"))
        together, roles = agreed(usable, say)
        exchanges = self._exchanges(together)
        document = self._partner(party, together, exchanges, roles)
        wrong = _wrong(document)
        if wrong:
            element = f"as4.partner {document['id']}"
            say(Finding("left out", element, wrong, "correct the value in Domibus, export again"))
        else:
            say(*(f for link in together for f in leg_findings(link.leg)), *self._to_do(party, document))
            self._around(key, party, document, exchanges)

    def _exchanges(self, links: Sequence[Link]) -> list[_Exchange]:
        found: dict[tuple[Typed, str], _Exchange] = {}
        for link in links:
            name = self.integrations.of(link.key, link.leg.service.value.rpartition(":")[2], link.leg.action)
            exchange = found.setdefault(link.key, _Exchange(name, link.leg))
            if exchange.leg.name != link.leg.name:
                reason = f"has the service and action of {exchange.leg.label}, which is taken for both"
                self.result.say(Finding("note", link.leg.label, reason))
            exchange.sends, exchange.receives = exchange.sends or link.sends, exchange.receives or not link.sends
        return list(found.values())

    def _partner(
        self, party: Party, links: Sequence[Link], exchanges: Sequence[_Exchange], roles: tuple[str, str] | None
    ) -> Document:
        say, name = self.result.say, self.parties.of(party.name.casefold(), party.name)
        legs = [link.leg for link in links]
        plan = same(links, "retry", lambda leg: leg.retry, say)
        reference = same(links, "the key reference of its policy", key_reference, say)
        compress = same(links, "compressPayloads", lambda leg: leg.compress, say)
        theirs, ours, agreement = party.identifiers[0], self.us.identifiers[0], links[0].process.agreement
        document: Document = {
            "kind": "as4.partner",
            "id": name,
            "title": party.name,
            "party": self.identity,
            "party_id": _name(theirs),
            "system": self.systems.of(party.name.casefold(), party.name),
            "profile": profile_of(legs[0]),
            "url": party.endpoint or f"https://{name.replace('_', '-')}.invalid/",
            "signing_certificates": [f"certificates/{name}-signing.pem"],
            "encryption_certificate": f"certificates/{name}-encryption.pem",
            "key_reference": reference,
            "exchanges": [
                {
                    "integration": e.integration,
                    "service": _name(e.leg.service),
                    "action": e.leg.action,
                    "direction": e.way(),
                }
                for e in exchanges
            ],
            "retry": _retry(plan),
            "compress": compress,
        }
        if agreement is not None:
            document["agreement"] = _name(agreement)
        accepted = sorted({also_accept(leg) for leg in legs} - {""})
        if accepted:
            document["also_accept"] = accepted
        if not all(n.is_named for n in (theirs, ours, agreement or theirs, *(leg.service for leg in legs))):
            document["untyped_names"] = True
        if roles is not None:
            document["our_role"], document["their_role"] = roles
        self._corners(document, legs, party)
        self._community(document, (theirs, ours), [leg.service for leg in legs])
        bounds = [payload_bounds(leg) for leg in legs]
        if all(size for size, _ in bounds):
            document["max_size"] = max(size for size, _ in bounds)
        if all(count for _, count in bounds):
            document["max_payloads"] = min(_MAX_PAYLOADS, max(count for _, count in bounds))
        return document

    def _corners(self, document: Document, legs: Sequence[Leg], party: Party) -> None:
        """Original sender and final recipient: Domibus takes them from each message, a partner's document names them."""
        said = {corners_of(leg) for leg in legs}
        if "demanded" not in said:
            return
        document["four_corner"] = {
            "original_sender": _name(self.us.identifiers[0]),
            "final_recipient": _name(party.identifiers[0]),
        }
        element = f"as4.partner {document['id']}"
        reason = f"{' and '.join(CORNERS)} are not in a P-Mode: the two access points stand in for the outer corners"
        self.result.say(Finding("to do", element, reason, "write who stands behind you and them into four_corner"))
        if said == {"demanded"} and document["profile"] == "edelivery-1.15":
            document["profile"] = "edelivery-1.15-four-corner"
        else:
            reason = (
                "not every leg demands the corners under the profile: they are sent, and not demanded of what arrives"
            )
            self.result.say(Finding("changed", element, reason))

    def _community(self, document: Document, parties: Sequence[Typed], services: Sequence[Typed]) -> None:
        """The profile of a community whose names these are; where a person has to say more for it, that is said."""
        element, wanted = f"as4.partner {document['id']}", community_of(document["profile"], parties, services)
        if not wanted:
            return
        if PROFILES[wanted].four_corner:
            reason = f"its party ids are those of the profile {wanted}, which demands more than a P-Mode shows"
            remedy = (
                f"say profile: {wanted} without four_corner, and list whom you receive for in serves of the as4.party"
            )
            self.result.say(Finding("to do", element, reason, remedy))
            return
        most = PROFILES[wanted].demands.payload_size
        fitting = {
            **document,
            "profile": wanted,
            "max_payloads": 1,
            "max_size": min(most, document.get("max_size", most)),
        }
        found = list(party_id(wanted, "our party_id", PartyIdentifier(**_name(parties[1]))))
        if not (against := _wrong(fitting)):
            found += contradictions(Partner.model_validate(fitting))
            against = "; ".join(f"{field} {cause}" for field, cause, _ in found)
        if against:
            reason = f"its services are those of the profile {wanted}, which is not taken: {against}"
            self.result.say(Finding("note", element, reason))
            return
        document.update(fitting)
        reason = f"its services are those of {wanted}: one payload and an empty ConversationId are demanded"
        self.result.say(Finding("changed", element, reason))

    def _to_do(self, party: Party, document: Document) -> Iterator[Finding]:
        element = f"party {party.name}"
        for use, file in (
            ("signing", document["signing_certificates"][0]),
            ("encryption", document["encryption_certificate"]),
        ):
            self.result.certificates.append(Wanted(file, party.name, use))
        reason = f"its certificates are in Domibus' truststore, under the alias {party.name}"
        files = " and ".join(w.file for w in self.result.certificates[-2:])
        yield Finding("to do", element, reason, f"put them into {files}, or give the truststore with --truststore")
        if not party.endpoint:
            reason = "has no endpoint: the url in its document leads nowhere"
            yield Finding("to do", element, reason, "ask the counterpart for its url, or leave it if it only sends")
        elif party.endpoint.startswith("http:"):
            yield Finding("note", element, "its endpoint is plain HTTP", "ask the counterpart for an https url")

    def _around(self, key: str, party: Party, document: Document, exchanges: Sequence[_Exchange]) -> None:
        """The partner's file: the partner, its system, routes both ways, and what each may do."""
        system, file = document["system"], f"partners/{document['id']}.yaml"
        self.exchanges[key] = list(exchanges)
        self.result.add(
            file,
            document,
            {
                "kind": "system",
                "id": system,
                "title": f"What stands behind {party.name}",
                "authority": party.identifiers[0].value,
            },
        )
        if any(e.sends for e in exchanges):
            target = {"system": system, "gateway": "as4", "destination": document["id"]}
            self.result.add(
                file,
                self._route(f"to-{document['id']}", {"sender": self.ours, "receiver": system}, target),
            )
        if any(e.receives for e in exchanges):
            self.result.add(file, self._route(f"from-{document['id']}", {"sender": system}, {"system": self.ours}))
        for exchange in exchanges:
            self.result.add(file, self._agreement(exchange.integration, system, exchange.way("receive", "send")))

    def _route(self, wish: str, match: Mapping[str, str], target: Mapping[str, str]) -> Document:
        return {"kind": "route", "id": self.routes.of(wish, wish), "match": dict(match), "to": [dict(target)]}

    def _agreement(self, integration: str, system: str, may: str) -> Document:
        name = self.agreements.of((integration, system), f"{system[:30]}-{integration}")
        return {"kind": "service-agreement", "id": name, "integration": integration, "system": system, "may": may}

    def shared(self) -> None:
        """What belongs to no single partner: the integrations, and what our own system may do under them."""
        merged: dict[str, _Exchange] = {}
        bounds: dict[str, list[int]] = {}
        for exchange in (e for listed in self.exchanges.values() for e in listed):
            whole = merged.setdefault(exchange.integration, _Exchange(exchange.integration, exchange.leg))
            whole.sends, whole.receives = whole.sends or exchange.sends, whole.receives or exchange.receives
            bounds.setdefault(exchange.integration, []).append(payload_bounds(exchange.leg)[0])
        for name, exchange in merged.items():
            document: Document = {
                "kind": "integration",
                "id": name,
                "title": f"{exchange.leg.service.value}: {exchange.leg.action}"[:1024],
                "types": [name],
            }
            if all(bounds[name]):
                document["max_size"] = max(bounds[name])
            self.result.add("integrations.yaml", document)
            self.result.add("ours.yaml", self._agreement(name, self.ours, exchange.way()))
        if merged:
            reason = "the P-Mode does not say who approved what is exchanged"
            remedy = "write approved_by into each, and check what each system may do"
            self.result.say(Finding("to do", "every service-agreement", reason, remedy))


def _wrong(document: Document) -> str:
    """What is wrong with a document by its own kind, or ""."""
    try:
        _MODELS[document["kind"]].model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
    return ""


def _name(value: Typed) -> Document:
    return {"value": value.value, "type": value.type} if value.type else {"value": value.value}


def _retry(text: str | None) -> Document:
    plan = retry_plan(text)
    return {"attempts": plan.attempts, "first_wait": plan.wait, "longest_wait": plan.longest}


def _host(url: str) -> str:
    """The host of a URL where it is a name that MessageIds may bear, else ""."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host if re.fullmatch(r"(?=.{1,100}$)[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*", host) else ""


def _own_findings(us: Party) -> Iterator[Finding]:
    element = f"party {us.name}"
    reason = "your private keys are in Domibus' keystore"
    remedy = "`stafet keys import KEYSTORE.p12 --name signing`, and the same or another one with --name decryption"
    yield Finding("to do", element, reason, remedy)
    if us.endpoint:
        reason = f"counterparts send to {us.endpoint}"
        remedy = "let Stafet answer there (node.yaml: gateways.as4 host, port, path), or give them the new url"
        yield Finding("to do", element, reason, remedy)
    for other in us.identifiers[1:]:
        reason = f"your further identifier {other}: an identity has one"
        yield Finding("left out", element, reason, "write an as4.party of its own for it")


def imported(pmode: PMode, party: str = "") -> Imported:
    """A P-Mode file as documents, from the side of ``party`` or of whoever's file it is. Raises `ConfigError`."""
    wanted = party or pmode.party
    us = pmode.named(wanted)
    if us is None:
        known = ", ".join(p.name for p in list(pmode.parties.values())[:8]) or "there are none"
        raise ConfigError(pmode.file, "party", f"no party is called {wanted!r}", f"say --party; known: {known}")
    if not us.identifiers:
        raise ConfigError(pmode.file, f"party {us.name}", "has no identifier that can be read", "correct it in Domibus")
    writing = _Writing(pmode, us)
    writing.party()
    links = links_of(pmode, writing.key, writing.result.say)
    seen = {us.identifiers[0]: us.name}
    for key, listed in links.items():
        writing.partner(key, listed, seen)
    writing.result.say(*unused(pmode, writing.key, links))
    writing.shared()
    if not writing.exchanges:
        cause = f"nothing can be carried over for {us.name}"
        told = "; ".join(f"{f.element}: {f.reason}" for f in writing.result.findings if f.level == "left out")
        raise ConfigError(pmode.file, "", cause, told or "no process joins it with another party")
    return writing.result
