"""What we say ourselves is signed as the party the agreement names, under ids nobody else has."""

from __future__ import annotations

import pytest

from accesspoint.ebms import Signal, parse_messaging
from accesspoint.errors import VALUE_INCONSISTENT, EbmsError
from accesspoint.pull import pull_request_xml
from accesspoint.receipts import parse_errors
from accesspoint.soap import parse_envelope
from accesspoint.wss import verify
from core.clock import FrozenClock
from core.trust import load_identity
from gateways.as4.partners import Partners, build
from gateways.as4.speaking import Speaker
from gateways.as4.workers import Workers
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import believed, configuration, stranger

NOW = 1_795_557_600_000_000
ERROR = EbmsError(VALUE_INCONSISTENT, field="Role", cause="is wrong", ref_to_message_id="m@hospital.example")


@pytest.fixture
def partners(estate: CopiedEstate) -> Partners:
    """The municipality's."""
    home = estate.municipality.home
    return build(configuration(home), lambda name: load_identity(home / "keys", name), FrozenClock(NOW))


@pytest.fixture
def speaker(partners: Partners) -> Speaker:
    """It speaks for the municipality, in place."""
    return Speaker(FrozenClock(NOW), lambda: partners, Workers(beside=False))


def _read(octets: bytes) -> Signal:
    said = parse_messaging(parse_envelope(octets))
    assert isinstance(said, Signal)
    return said


async def test_a_signal_is_signed_as_our_party_to_this_partner(speaker: Speaker, partners: Partners):
    """It verifies with the key the party names and with no other; its id is of our domain, its time is the clock's."""
    neighbour = partners.by_id["hospital"]
    octets = await speaker.say(neighbour, pull_request_xml("urn:demo:one"), "")
    said = _read(octets)
    assert (said.pull_mpc, said.ref_to_message_id, said.timestamp) == ("urn:demo:one", None, NOW)
    assert said.message_id.endswith("@municipality.example")
    ours = neighbour.signing.certificate
    verified = verify(parse_envelope(octets), neighbour.profile, lambda reference: believed(reference, ours))
    assert verified.certificate == ours
    other = stranger().certificate
    with pytest.raises(EbmsError):
        verify(parse_envelope(octets), neighbour.profile, lambda reference: believed(reference, other))


async def test_no_two_signals_have_one_id(speaker: Speaker, partners: Partners):
    """Not even the same words said twice."""
    neighbour = partners.by_id["hospital"]
    said = [_read(speaker.signal(neighbour, pull_request_xml("urn:demo:one"), "")).message_id for _ in range(20)]
    assert len(set(said)) == 20


async def test_a_refusal_is_signed_for_a_partner_and_unsigned_for_a_stranger(speaker: Speaker, partners: Partners):
    """Both name the message and the field; there is no agreement to sign under with somebody we do not know."""
    for neighbour, domain in ((partners.by_id["hospital"], "@municipality.example"), (None, "@stafet.invalid")):
        answer = await speaker.refuse(neighbour, ERROR)
        assert answer.status == 200
        said = _read(answer.body)
        assert said.message_id.endswith(domain)
        assert said.ref_to_message_id == "m@hospital.example"
        (error,) = parse_errors(said)
        assert (error.code, error.ref_to_message) == ("EBMS:0003", "m@hospital.example")
        assert (b"<ds:Signature" in answer.body) is (neighbour is not None)
