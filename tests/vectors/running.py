"""How a received sample is judged: by the real access point, under a partner file made for where the sample came from.

Rules:

1. Octets and Content-Type are those of the sample. Nothing is decoded, repaired or re-encoded on the way.
2. The partner file is a real document that goes through `gateways.as4.settings` and `gateways.as4.partners`. What no partner file
   can say is named in the origin (``beyond``) and put into the P-Modes that were made from it.
3. "By default" is the same partner and the same clock under edelivery-1.15, without what the partner file widens
   (``also_accept``, ``untyped_names``), without what its community demands, and without what lies beyond it.
4. A header rule that hides what a sample is about can be lifted, by name, for one run (`lift`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from lxml import etree

from accesspoint import ebms, names
from accesspoint.ebms import PartInfo, Property, Signal
from accesspoint.errors import EbmsError, HttpRefusal, RemoteError, SoapFault
from accesspoint.inbound import Accepted, Receiver
from accesspoint.outbound import Acknowledged, Message, judge_answer
from accesspoint.pmode import PMode
from accesspoint.profiles import EDELIVERY_1_15, PROFILES
from accesspoint.receipts import parse_errors, parse_receipt
from accesspoint.references import Reference
from accesspoint.soap import Element, parse_envelope, text_of
from accesspoint.tokens import candidates, parse_key_info
from accesspoint.wss import Trust, parse_reference, verify
from core.clock import Clock, FrozenClock, from_datetime
from core.config import Configuration
from core.integration import Integration
from core.system import System
from core.trust import Identity
from gateways.as4.endpoint import Endpoint
from gateways.as4.partners import Neighbour, Partners, build
from gateways.as4.pulling import Channels
from gateways.as4.receiving import Reception
from gateways.as4.settings import Partner, Party
from gateways.as4.speaking import Speaker
from gateways.as4.workers import Workers

HERE: Final = Path(__file__).parent
_ENVELOPE: Final = re.compile(rb"(<\?xml[^>]*>\s*)?<(\w+:)?Envelope.*</(\w+:)?Envelope>", re.DOTALL)
SIGNATURE: Final = names.tag(names.DS, "Signature")


@functools.cache
def table() -> dict[str, Any]:
    """The table of samples."""
    return dict(yaml.safe_load((HERE / "as4_samples.yaml").read_text(encoding="utf-8")))


@functools.cache
def origins() -> dict[str, Any]:
    """The partner files, by origin, and the public test keys they name."""
    return dict(yaml.safe_load((HERE / "as4_origins.yaml").read_text(encoding="utf-8")))


SECTIONS: Final = {
    "messages": "messages",
    "security_headers": "security-headers",
    "oasis_receipts": "oasis-receipts",
    "crypto_vectors": "crypto-vectors",
}
"""Sections of the table and the folders of the samples."""

Row = Mapping[str, Any]


def rows(**wanted: Any) -> list[Any]:
    """Rows of all sections as parameters of a test; those in which each key given is there (or has the value given)."""
    found = []
    for section in SECTIONS:
        for row in table()[section]:
            if all(name in row if value is ... else row.get(name) == value for name, value in wanted.items()):
                found.append(pytest.param((section, row), id=row["file"]))
    return found


def row_of(number: str) -> Row:
    """The message that begins with a number."""
    found: Row = next(row for row in table()["messages"] if row["file"].startswith(f"{number}-"))
    return found


# --- samples ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One received message: the HTTP Content-Type and the body's octets."""

    name: str
    content_type: str
    body: bytes

    @property
    def soap(self) -> bytes:
        """The SOAP part, or everything where there is none."""
        found = _ENVELOPE.search(self.body)
        return found.group() if found else self.body


def index(samples: Path) -> dict[str, dict[str, Any]]:
    """The samples' own index by file name."""
    return {entry["file"]: entry for entry in json.loads((samples / "index.json").read_text(encoding="utf-8"))}


def read(samples: Path, name: str) -> Sample:
    """A message with the Content-Type of the index, or that of the header block it carries itself."""
    listed, octets = index(samples)[name]["http_content_type"], (samples / "messages" / name).read_bytes()
    if not name.endswith((".http", ".as4out")) and not (listed or "").startswith("(own header)"):
        return Sample(name, listed, octets)
    end = min((at, len(blank)) for blank in (b"\r\n\r\n", b"\n\n") if (at := octets.find(blank)) >= 0)
    own = " ".join(BytesHeaderParser().parsebytes(octets[: end[0]])["Content-Type"].split())
    assert listed is None or own in listed, "the index and the file name different content types"
    return Sample(name, own, octets[sum(end) :])


def sample_of(samples: Path, entry: tuple[str, Row]) -> Sample:
    """A row's octets with their Content-Type."""
    section, row = entry
    if section == "messages":
        return read(samples, row["file"])
    octets = (samples / SECTIONS[section] / row["file"]).read_bytes()
    return Sample(row["file"], "application/soap+xml; charset=UTF-8", octets)


# --- partner files ----------------------------------------------------------------------------------------------------


@functools.cache
def key_pair(keys: Path, name: str) -> tuple[Any, x509.Certificate]:
    """A public test key with its certificate: PKCS#12, or two PEM files beside each other."""
    entry = origins()["keys"][name]
    if "password" in entry:
        key, certificate, _ = pkcs12.load_key_and_certificates(
            (keys / entry["file"]).read_bytes(), entry["password"].encode()
        )
    else:
        key = serialization.load_pem_private_key((keys / f"{entry['file']}.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((keys / f"{entry['file']}.crt").read_bytes())
    assert certificate is not None
    return key, certificate


def chain_of(soap: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates a sample sends along with its signature, the signer's first."""
    envelope = parse_envelope(soap)
    assert envelope.security is not None
    signature = envelope.security.find(SIGNATURE)
    assert signature is not None
    return parse_key_info(signature.find(names.tag(names.DS, "KeyInfo")), envelope.by_id).chain


def certificate(samples: Path, name: str, soap: bytes) -> x509.Certificate:
    """A certificate a partner file names."""
    if name == "token":
        return chain_of(soap)[0]
    if name in origins()["tokens"]:
        entry = origins()["tokens"][name]
        return chain_of((samples / entry["file"]).read_bytes())[entry["at"]]
    return key_pair(samples / "keys", name)[1]


@dataclass(frozen=True)
class World:
    """A partner file in force, with what no partner file can say put into its P-Modes."""

    partners: Partners
    beyond: Mapping[str, Any]
    configuration: Configuration
    clock: Clock

    def pmodes(self) -> Sequence[PMode]:
        """All P-Modes."""
        return [self._amended(pmode) for pmode in self.partners.pmodes()]

    def trust(self, pmode: PMode) -> Trust:
        """What the partner file believes."""
        return self.partners.trust(pmode)

    def decryption_keys(self, pmode: PMode) -> Any:
        """What the party file decrypts with."""
        return self.partners.decryption_keys(pmode)

    def of(self, pmode: PMode) -> Neighbour:
        """Whose P-Mode it is."""
        return self.partners.of(pmode)

    def signing_for(self, party_id: ebms.Typed | None) -> Neighbour | None:
        """Whom of us a message was addressed to."""
        return self.partners.signing_for(party_id)

    def _amended(self, pmode: PMode) -> PMode:
        return replace(pmode, profile=replace(pmode.profile, **self.beyond))


_WIDENS: Final = ("also_accept", "untyped_names")
_BEYOND: Final = frozenset({"demand_signature", "demand_encryption", "rsa_bits"})


def documents(row: Mapping[str, Any], *, default: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The as4.party and the as4.partner document of a row's origin; without what they widen for ``default``."""
    origin = origins()["origins"][row["origin"]]
    if default:
        origin = origins()["origins"][origin.get("by_default", row["origin"])]
    party = {"id": "us", **origin["party"]}
    partner = {"id": "them", "party": "us", "system": "theirs", **origin["partner"]}
    if "pmode" in row:
        partner["exchanges"] = [{**exchange, "pmode": row["pmode"]} for exchange in partner["exchanges"]]
    if default:
        partner = {name: value for name, value in partner.items() if name not in _WIDENS}
        if PROFILES[partner.get("profile", EDELIVERY_1_15.name)].demands != EDELIVERY_1_15.demands:
            partner["profile"] = EDELIVERY_1_15.name
        party, partner = ({**document, "party_id": _typed(document["party_id"])} for document in (party, partner))
        partner["exchanges"] = [{**e, "service": _typed(e["service"])} for e in partner["exchanges"]]
    return party, partner


def _typed(name: Mapping[str, str]) -> dict[str, str]:
    """A name with the type that the specification demands of it."""
    return dict(name) if "type" in name or ":" in name["value"] else {**name, "type": "urn:untyped"}


def world(samples: Path, row: Mapping[str, Any], soap: bytes, *, default: bool) -> World:
    """The partner file of a row's origin in force at the row's time; without what it widens for ``default``."""
    origin = origins()["origins"][row["origin"]]
    beyond = {} if default else origin.get("beyond", {})
    assert beyond.keys() <= _BEYOND
    if default:
        origin = origins()["origins"][origin.get("by_default", row["origin"])]
    keys, files = samples / "keys", {}
    for name in origin["certificates"]:
        files[f"certificates/{name}.pem"] = certificate(samples, name, soap).public_bytes(serialization.Encoding.PEM)
    party, partner = documents(row, default=default)
    made: dict[str, dict[str, Any]] = {
        "as4.party": {"us": Party.model_validate(party)},
        "as4.partner": {"them": Partner.model_validate(partner)},
        "system": {"theirs": System(id="theirs", authority="theirs")},
        "integration": {"files": Integration(id="files", types=("file",))},
    }
    configuration = Configuration(made, files)
    clock = FrozenClock(from_datetime(datetime.fromisoformat(row["at"])))

    def identity(name: str) -> Identity:
        key, own = key_pair(keys, name)
        return Identity(name, key, (own,), Path())

    return World(build(configuration, identity, clock), beyond, configuration, clock)


# --- verdicts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What came of it. ``answer`` is ``accepted``, ``receipt``, a code, or what stands in its place; ``field`` what was wrong."""

    answer: str
    field: str = ""
    payloads: tuple[tuple[int, str], ...] = ()

    def as_row(self) -> dict[str, Any]:
        """As a table row says it."""
        said = {"answer": self.answer, "field": self.field, "payloads": [list(p) for p in self.payloads]}
        return {name: value for name, value in said.items() if value}


class Buffer:
    """Takes the octets of a payload."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def write(self, data: bytes) -> None:
        self.octets += data


def _refusal(error: Exception) -> Verdict:
    if isinstance(error, EbmsError):
        return Verdict(error.error.code, error.field)
    if isinstance(error, SoapFault):
        return Verdict(f"SOAP {error.code}")
    assert isinstance(error, HttpRefusal)
    return Verdict(f"HTTP {error.status}")


def received(sample: Sample, agreements: World, step: int) -> Verdict:
    """What the access point says to a message that is posted to it in pieces of ``step`` octets."""
    sinks: list[Buffer] = []

    def new_sink(_info: PartInfo, _pmode: PMode) -> Buffer:
        sinks.append(Buffer())
        return sinks[-1]

    try:
        receiver = Receiver(sample.content_type, agreements, new_sink)
        for start in range(0, len(sample.body), step):
            receiver.feed(sample.body[start : start + step])
        said = receiver.finish()
    except (EbmsError, SoapFault, HttpRefusal) as error:
        return _refusal(error)
    if isinstance(said, Signal):
        return Verdict("signal")
    assert isinstance(said, Accepted)
    found = []
    for part in said.parts:
        assert isinstance(part.sink, Buffer)
        assert (part.size, part.sha256) == (len(part.sink.octets), hashlib.sha256(part.sink.octets).digest())
        found.append((part.size, part.sha256.hex()))
    return Verdict("accepted", payloads=tuple(found))


def stand_in(signal: Signal, references: Sequence[Reference]) -> Message:
    """The message a signal answers, as far as its judge looks at it."""
    return Message(signal.ref_to_message_id or "a message of ours", b"", "boundary", b"", (), tuple(references))


def repeated(signal: Signal) -> tuple[Reference, ...]:
    """What a receipt repeats; nothing where it repeats nothing."""
    try:
        return parse_receipt(signal)
    except EbmsError:
        return ()


def answered(sample: Sample, agreements: World, message: Message | None = None) -> Verdict:
    """What a sample proves as the HTTP answer to ``message``, or to the message it says it is about."""
    if message is None:
        try:
            said = ebms.parse_messaging(parse_envelope(sample.soap))
            message = stand_in(said, repeated(said)) if isinstance(said, Signal) else None
        except (EbmsError, SoapFault):
            pass
    if message is None:
        message = Message("a message of ours", b"", "boundary", b"", (), ())
    pmode = next(p for p in agreements.pmodes() if p.may_send)
    try:
        judged = judge_answer(message, pmode, agreements.trust(pmode), 200, sample.content_type, sample.body)
    except RemoteError as error:
        codes = " ".join(f"{e.code} {e.severity}" for e in error.errors)
        return Verdict(f"error {codes}", "authenticated" if error.authenticated else "not authenticated")
    except (EbmsError, SoapFault) as error:
        return _refusal(error)
    assert isinstance(judged, Acknowledged)
    return Verdict("receipt")


def references_of(soap: bytes) -> tuple[Reference, ...]:
    """What a message's signature covers."""
    root = etree.fromstring(soap, etree.XMLParser(remove_comments=True))
    return tuple(parse_reference(e) for e in root.iterfind(f".//{SIGNATURE}/*/{names.tag(names.DS, 'Reference')}"))


# --- the gateway's answer ---------------------------------------------------------------------------------------------


class _Staging:
    def sink(self) -> Buffer:
        return Buffer()

    def abort(self) -> None:
        pass


class _Desk:
    """As much of a kernel as a refusal needs."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.refusals: list[str] = []

    def stage(self, *, size_limit: int) -> _Staging:
        assert size_limit > 0
        return _Staging()

    async def refusal(self, _reference: str, code: str, _facts: Mapping[str, str]) -> None:
        self.refusals.append(code)


class _Request:
    """A sample as it arrives over HTTP."""

    def __init__(self, sample: Sample) -> None:
        self.content_type, self.content_length, self.peer = sample.content_type, len(sample.body), "peer.example"
        self._body = sample.body

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 65_536):
            yield self._body[start : start + 65_536]


async def handled(sample: Sample, agreements: World) -> Verdict:
    """What the gateway answers to a posted message that it refuses: the code, and the field its words begin with.

    The answer is read with the parser for answers; where a partner is known it must be signed with our key.
    """
    desk, workers = _Desk(agreements.clock), Workers(1)
    known: Any = agreements
    current = lambda: known  # noqa: E731
    speaker = Speaker(desk.clock, current, workers)
    reception = Reception(desk, current, lambda: agreements.configuration, speaker, None, workers)  # type: ignore[arg-type]
    channels = Channels(desk, lambda: agreements.partners, None, speaker, workers)  # type: ignore[arg-type]
    endpoint = Endpoint("/as4", reception, None, channels)  # type: ignore[arg-type]
    try:
        answer = await endpoint.handle("/as4", _Request(sample))  # type: ignore[arg-type]
    finally:
        workers.close()
    if answer.status != 200:
        assert answer.status == 500, answer
        return Verdict(desk.refusals[0])
    envelope = parse_envelope(answer.body)
    said = ebms.parse_messaging(envelope)
    assert isinstance(said, Signal)
    (error,) = parse_errors(said)
    assert [error.code] == desk.refusals
    if envelope.security is not None:
        them = agreements.partners.by_id["them"]
        verify(envelope, them.profile, lambda reference: candidates(reference, [them.signing.certificate]))
    return Verdict(error.code, error.description.partition(":")[0])


# --- lifting one rule -------------------------------------------------------------------------------------------------


def _repeating(element: Element | None, _path: str) -> tuple[Property, ...]:
    found = [Property(e.get("name") or "", text_of(e), e.get("type")) for e in (element if element is not None else ())]
    return tuple(found)


@contextmanager
def lift(rule: str, sample: Sample) -> Iterator[Sample]:
    """For one run, do not hold a header rule; gives the sample to run.

    ``repeated``: property names differ. ``soap-1.1``: the envelope is SOAP 1.2 (its namespace is replaced, which is for unsigned
    samples only).
    """
    if rule == "soap-1.1":
        assert b"Signature" not in sample.body
        yield replace(sample, body=sample.body.replace(names.S11.encode(), names.S12.encode()))
        return
    assert rule == "repeated"
    with patch.object(ebms, "_properties", _repeating):
        yield sample
