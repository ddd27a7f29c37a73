"""What the header's tests are made of: awkward text, arbitrary headers and signals, and the official schema."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import ebms, names
from accesspoint.ebms import PartInfo, Party, Property, Signal, Typed, UserMessage
from accesspoint.profiles import EDELIVERY_1_15
from accesspoint.references import Reference, Transform
from accesspoint.signals import signed_signal
from accesspoint.soap import Envelope, parse_envelope
from accesspoint.tokens import KeyReference, candidates
from tests.fuzz import world as w

NOW: Final = 1_772_366_400_000_000
MILLISECOND: Final = 1_000
YEAR_9999: Final = 253_402_300_799_999
"""The last millisecond that has a date."""

quick: Final = settings(max_examples=150, deadline=None)
"""Enough examples to hit the awkward characters, few enough for a second."""

official: Final = settings(quick, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The same for tests against the schemas, which are the same for every example."""

# --- text -------------------------------------------------------------------------------------------------------------

AWKWARD: Final = (
    "\"'&<>\t\n\r ;#%]=\u00a0\u0085\u2028\u2003\u200b\u202e\u05d0\u0627\u0301\ufeff\ufffd\U0001f600\U0010ffff"
)
"""What breaks writers of XML: its own marks, line ends, spaces that are none, right-to-left, combining, beyond 16 bits."""
_letters = st.sampled_from(AWKWARD) | st.characters(
    min_codepoint=0x20, exclude_categories=("Cs",), exclude_characters="\ufffe\uffff"
)
texts: Final = st.text(_letters, max_size=24)
"""Any text XML can hold."""


def collapse(value: str) -> str:
    """White space as xs:token has it: the four characters of XML, and no other."""
    return re.sub("[\t\n\r ]+", " ", value).strip(" ")


tokens: Final = texts.map(collapse).filter(bool)
"""Text a reader gives back as it was written."""
kinds: Final = texts.filter(bool)
"""The content of an attribute, which keeps its white space."""
ids: Final = tokens.map(lambda value: value.replace(" ", "-").lstrip("<")).filter(bool)

# --- headers ----------------------------------------------------------------------------------------------------------

_uris = tokens.map(lambda value: "urn:" + value.replace(" ", "-")).filter(lambda value: not re.search(r"\s", value))
typed: Final = st.builds(Typed, tokens, kinds) | st.builds(Typed, _uris)
parties: Final = st.builds(Party, typed, tokens)
properties: Final = st.lists(
    st.builds(Property, kinds, tokens, st.none() | kinds), max_size=3, unique_by=lambda item: item.name
).map(tuple)
_cids = tokens.map(lambda value: value.replace(" ", "-"))
_parts = st.lists(st.builds(PartInfo, st.none() | _cids, properties), max_size=3, unique_by=lambda part: part.cid).map(
    tuple
)
times: Final = st.integers(0, YEAR_9999).map(lambda value: value * MILLISECOND)


def _agreed(values: dict[str, Any]) -> UserMessage:
    """A P-Mode is named inside an agreement, so never without one."""
    return UserMessage(**(values | ({"pmode": None} if values["agreement"] is None else {})))


messages: Final = st.fixed_dictionaries(
    {
        "message_id": ids,
        "timestamp": times,
        "from_": parties,
        "to": parties,
        "service": typed,
        "action": tokens,
        "conversation_id": texts.map(collapse),
        "agreement": st.none() | typed,
        "pmode": st.none() | kinds,
        "ref_to_message_id": st.none() | tokens,
        "mpc": st.just(names.DEFAULT_MPC) | kinds,
        "properties": properties,
        "parts": _parts,
    }
).map(_agreed)
"""Every user message a reader takes."""

_transforms = st.lists(
    st.builds(Transform, kinds, st.none() | st.lists(st.sampled_from(("eb", "S12", "xsd")), unique=True).map(tuple)),
    max_size=2,
).map(tuple)
references: Final = st.lists(
    st.builds(Reference, kinds, _transforms, kinds, st.binary(max_size=32)), min_size=1, max_size=3
).map(tuple)


def message(**more: Any) -> UserMessage:
    """An ordinary user message, some of it changed."""
    kind = "urn:demo:parties"
    values: dict[str, Any] = {
        "message_id": "m-1@municipality.example",
        "timestamp": NOW,
        "from_": Party(Typed("municipality", kind), names.INITIATOR),
        "to": Party(Typed("hospital", kind), names.RESPONDER),
        "service": Typed("homecare", "urn:demo:services"),
        "action": "deliver",
        "conversation_id": "c-1",
    }
    return UserMessage(**values | more)


# --- around and inside ------------------------------------------------------------------------------------------------


def envelope(messaging: bytes, security: bytes = b"") -> Envelope:
    """An envelope around a header, read through the hardened door."""
    return parse_envelope(ebms.envelope_xml(security, messaging, ebms.body_xml("b")))


def read(messaging: bytes) -> UserMessage | Signal:
    """What a header says."""
    return ebms.parse_messaging(envelope(messaging))


def canonical(element: etree._Element) -> bytes:
    """An element where it stands, as lxml canonicalises it: the second opinion about our templates."""
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False)


# --- signals of the hospital ------------------------------------------------------------------------------------------


def signed(content: bytes, signer: Any = None, **more: Any) -> bytes:
    """A signal of the hospital's, or of whoever signs instead."""
    identity = signer or w.world().ours
    values: dict[str, Any] = {
        "message_id": "s-1@hospital.example",
        "timestamp": NOW,
        "reference": "m-1@municipality.example",
        "profile": EDELIVERY_1_15,
        "certificate": identity.certificate,
        "form": "binary-security-token",
        "sign": w.sign_as(identity),
    }
    return signed_signal(content, **values | more)


def believe(reference: KeyReference) -> list[x509.Certificate]:
    """The hospital's certificate, when it is meant."""
    return candidates(reference, [w.world().ours.certificate])


# --- the schema -------------------------------------------------------------------------------------------------------


class _Local(etree.Resolver):
    """Finds the schemas that are named by their address beside the others, as their catalogue says."""

    def __init__(self, folder: Path) -> None:
        rows = etree.parse(str(folder / "catalog.xml")).getroot().iter("{*}system")
        self._files = {row.get("systemId"): str(folder / str(row.get("uri"))) for row in rows}

    def resolve(self, url: str, public_id: str, context: object) -> object:
        """The local file, or nothing for what is local already."""
        return self.resolve_filename(self._files[url], context) if url in self._files else None


@cache
def _schema(folder: Path) -> etree.XMLSchema:
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Local(folder))
    return etree.XMLSchema(etree.parse(str(folder / "umbrella" / "as4.xsd"), parser))


def against_schema(shared: Path, octets: bytes) -> str:
    """What the official schemas find wrong with a SOAP part; nothing when it is valid."""
    schema = _schema(shared / "schemas")
    return "" if schema.validate(etree.fromstring(octets)) else str(schema.error_log.last_error)
