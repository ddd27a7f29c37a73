"""Targets of the kernel and the gateway's mapping: descriptions, configuration documents, conditions."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from pydantic import BaseModel, ValidationError

from accesspoint import ebms, soap
from accesspoint.ebms import UserMessage, parse_messaging
from accesspoint.errors import EbmsError, SoapFault
from accesspoint.inbound import Accepted, ReceivedPart
from core import config
from core.description import Description
from core.errors import ConfigError, DescriptionError
from core.integration import Integration
from core.parcel import Payload
from core.route import Route, Routes
from gateways.as4 import checks
from gateways.as4.mapping import description as described
from gateways.as4.mapping import facts, payload_name
from gateways.as4.settings import Partner, Party
from tests.fuzz import world as w
from tests.fuzz.registry import check, refusing, target

_DESCRIPTION: dict[str, Any] = {
    "type": "homecare-observation",
    "sender": "care-record",
    "receiver": {"system": "homecare", "function": None},
    "classifications": [{"scheme": "urn:stafet:fuzz:topics", "code": "A.7"}],
    "subjects": ["somebody"],
    "occurred": w.NOW,
    "expires": w.NOW * 2,
    "priority": "urgent",
    "size": 12,
    "digest": "ab" * 32,
    "attributes": {"as4.property.case": "A-7"},
}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


_JSON = (
    _json(_DESCRIPTION),
    _json({"type": "a", "sender": "b"}),
    b'{"type":"a","sender":"b","occurred":1e400}',
    b"[" * 99,
)


@target(lambda: _JSON, max_len=70_000)
def description(data: bytes) -> None:
    """The JSON form: a description that can be written, read again and kept in a ledger, or `DescriptionError`."""
    with refusing(DescriptionError):
        found = Description.parse(data)
        check(Description.parse(found.model_dump_json()) == found, "what was read can be written and read again")
        for number in (found.occurred, found.expires, found.size):
            check(number is None or -(2**63) <= number < 2**63, "a number fits the ledger's columns")
        found.model_dump_json().encode()


_KINDS: dict[str, type[BaseModel]] = {**config.KERNEL_KINDS, "as4.party": Party, "as4.partner": Partner}

_YAML = """kind: system
id: homecare
title: Home care
authority: "29100000"
---
kind: integration
id: homecare
types: [homecare-observation]
retention_days: 30
tests:
  - description: {receiver: {system: homecare}, size: 3}
    expect: [homecare]
  - description: {occurred: 5}
    expect: [residual]
---
kind: route
id: to-homecare
integration: homecare
match: {receiver: homecare}
when: parcel.size < 1000 && parcel.attributes.size() == 0
to: [{system: homecare}]
---
kind: service-agreement
id: one
integration: homecare
system: homecare
may: receive
"""
_PARTNER = """kind: as4.party
id: us
party_id: {value: hospital, type: urn:stafet:fuzz}
signing_key: sign
decryption_keys: [sign]
---
kind: as4.partner
id: them
party: us
party_id: {value: municipality, type: urn:stafet:fuzz}
system: homecare
url: https://as4.example/as4
signing_certificates: [them.pem]
encryption_certificate: them.pem
exchanges:
  - {integration: homecare, service: {value: "urn:a:b"}, action: deliver}
retry: {attempts: 3, first_wait: 0.5, longest_wait: 60}
"""


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="stafet-fuzz-"))
    (folder / "them.pem").write_bytes(w.world().theirs.certificate.public_bytes(serialization.Encoding.PEM))
    return folder


_ODD = (
    b"a: !!int ''",
    b"&a [*a]",
    b"kind: integration\nid: a\ntypes: [b]\ntests: [{description: {occurred: 2026-01-01}, expect: [residual]}]",
    b"? [x]\n: y",
    b"<<: {a: b}",
    b"kind: 1:59:00.0\n...\n%YAML 1.1\n---\n- 0x_",
    b"\xef\xbb\xbfkind: =",
)


@target(lambda: [_YAML.encode(), f"{_YAML}---\n{_PARTNER}".encode(), *_ODD], max_len=16_384)
def documents(data: bytes) -> None:
    """Configuration documents: a configuration, or everything that is wrong with file and line."""
    (_folder() / "all.yaml").write_bytes(data)
    try:
        found = config.load(_folder(), _KINDS, [checks.check])
    except ExceptionGroup as group:
        check(all(isinstance(e, ConfigError) for e in group.exceptions), "only problems with a place come out")
        return
    config.Configuration.from_json(found.to_json(), _KINDS, 1)


_CONDITIONS = (
    "parcel.size < 1000 && parcel.type == 'a'",
    "parcel.attributes['as4.property.case'].matches('^A-[0-9]+$') || has(parcel.digest)",
    "'urn:stafet:fuzz:topics' in parcel.classifications && parcel.sender.startsWith('c')",
    "int(parcel.version) / 0 == 1 ? true : duration('1s') > duration('2m')",
    "timestamp('2026-03-01T12:00:00Z').getFullYear() == 2026",
    "[1, 2, 3].size() == {'a': parcel.size, 'b': [parcel]}.size() || parcel.type in ['a', 1.5, null]",
    "size(bytes(parcel.type)) % 2 == 0 && b'a' + b'c' != b'ac' && -9223372036854775808 < 1",
)


@target(lambda: [c.encode() + b"\n" + _JSON[0] for c in _CONDITIONS], max_len=8192)
def conditions(data: bytes) -> None:
    """A route's condition: refused when written, or a decision for every description that says why."""
    condition, _, rest = data.partition(b"\n")
    try:
        route = Route.model_validate(
            {"id": "r", "when": condition.decode("utf-8", "replace"), "to": [{"system": "homecare"}]}
        )
    except ValidationError:
        return
    try:
        said = Description.parse(rest)
    except DescriptionError:
        said = Description.parse(_JSON[0])
    decision = Routes([route]).choose(said, "homecare")
    check(decision.targets, "a parcel always goes somewhere")
    check(decision.route or decision.cause, "the residual mailbox comes with a cause")
    verdicts = Routes([route]).explain(said, "homecare")
    check(any(v.matched for v in verdicts) == bool(decision.route), "explaining agrees with choosing")


def _headers() -> list[bytes]:
    world = w.world()
    made = [
        w.messaging_of(world.pinned, (("part-1@stafet", "application/json", True),), ref_to_message_id="m-0@x.example"),
        w.messaging_of(world.plain, (("part-1@stafet", "text/plain", False),)),
    ]
    made[1] = made[1].replace(b'name="MimeType"', b'name="Other"')
    return [b"image/png; name=x\n" + xml for xml in made] + [
        b"\n" + made[1],
        b"\x7f\x1b\n" + made[1],
        b"a" * 1100 + b"\n" + made[1],
    ]


@target(_headers, max_len=32_768)
def mapping(data: bytes) -> None:
    """What an accepted message becomes in the kernel: a description, or a refusal with a code."""
    kind, _, messaging = data.partition(b"\n")
    with refusing(EbmsError, SoapFault):
        found = description_of(messaging, kind.decode("utf-8", "replace").strip())
        again = Description.model_validate_json(found.model_dump_json())
        check(again == found, "a description can be kept and read again")


def description_of(messaging: bytes, media_type: str) -> Description:
    """The description the gateway makes of a user message whose parts have ``media_type`` in their MIME heads."""
    said = parse_messaging(soap.parse_envelope(ebms.envelope_xml(b"", messaging, ebms.body_xml("b-1"))))
    if not isinstance(said, UserMessage):
        raise SoapFault("Sender", "no user message")
    parts = tuple(
        ReceivedPart(p, p.get("MimeType") or media_type, 3, bytes(32), w.Buffer()) for p in said.parts if p.cid
    )
    world = w.world()
    accepted = Accepted(said, world.pinned, world.theirs.certificate, (), parts, {})
    payloads = tuple(Payload(payload_name(p.info, i), p.media_type, 3, p.sha256) for i, p in enumerate(parts))
    check(all(0 < len(p.name) <= 255 and "/" not in p.name for p in payloads), "a name is a name, not a path")
    facts(accepted, "203.0.113.7")
    neighbour = world.partners.of(world.pinned)
    integration = Integration.model_validate({"id": "homecare", "types": ["homecare-observation"]})
    return described(accepted, neighbour.partner, neighbour.by_pmode["pinned"], integration, payloads)
