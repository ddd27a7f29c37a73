"""What the two documents of the gateway take, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core import limits
from gateways.as4.settings import Listen, Partner, Party

PARTY: dict[str, Any] = {
    "id": "municipality",
    "party_id": {"value": "demo-municipality", "type": "urn:demo:parties"},
    "signing_key": "signing",
    "decryption_keys": ["decryption"],
}
PARTNER: dict[str, Any] = {
    "id": "hospital",
    "party": "municipality",
    "party_id": {"value": "demo-hospital", "type": "urn:demo:parties"},
    "system": "ward-record",
    "url": "https://hospital.example/as4",
    "signing_certificates": ["certificates/hospital-signing.pem"],
    "encryption_certificate": "certificates/hospital-decryption.pem",
    "exchanges": [{"integration": "homecare", "service": {"value": "urn:demo:homecare"}, "action": "deliver"}],
}
CORNERS = {"original_sender": {"value": "urn:a"}, "final_recipient": {"value": "urn:b"}}


def _words(model: type, values: dict[str, Any]) -> tuple[str, str]:
    """Field and words of the first thing that is refused."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    first = caught.value.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"]


@pytest.mark.requirement("R82", "R85")
def test_a_short_partner_file_is_enough_and_what_it_leaves_out_is_safe():
    """Signing certificates, encryption and the strict profile are there without being asked for."""
    partner = Partner.model_validate(PARTNER)
    assert partner.profile == "edelivery-1.15"
    assert partner.key_reference == "binary-security-token"
    assert partner.exchanges[0].direction == "both"
    assert (partner.retry.attempts, partner.max_size) == (limits.ATTEMPTS, limits.PAYLOAD_SIZE)
    assert partner.retry.first_wait == limits.RETRY_FIRST / 1_000_000


def test_a_partner_cannot_be_written_without_certificates():
    """There is no way to say that a partner's messages need no signature or no encryption."""
    without = {k: v for k, v in PARTNER.items() if k != "encryption_certificate"}
    assert _words(Partner, without)[0] == "encryption_certificate"
    assert "whom to believe" in _words(Partner, {**PARTNER, "signing_certificates": []})[1]
    for switch in ("sign", "encrypt", "demand_encryption"):
        assert _words(Partner, {**PARTNER, switch: False}) == (switch, "Extra inputs are not permitted")


def test_pinned_certificates_and_anchors_exclude_each_other():
    """One of them says whom to believe, and anchors alone would believe everybody under them."""
    both = {**PARTNER, "anchors": ["certificates/ca.pem"], "signing_subject": "Demo Hospital"}
    assert "either signing_certificates or anchors" in _words(Partner, both)[1]
    anchors = {**PARTNER, "signing_certificates": [], "anchors": ["certificates/ca.pem"]}
    assert "anchors need signing_subject" in _words(Partner, anchors)[1]
    assert Partner.model_validate({**anchors, "signing_subject": "Demo Hospital"}).anchors == ("certificates/ca.pem",)


def test_the_four_corner_profile_needs_its_corners():
    """Without the outer corners the profile's properties could not be written."""
    four = {**PARTNER, "profile": "edelivery-1.15-four-corner"}
    assert "needs four_corner" in _words(Partner, four)[1]
    assert Partner.model_validate({**four, "four_corner": CORNERS}).four_corner is not None


def test_a_value_without_type_must_be_a_uri():
    """A party or a service that is a plain word needs its type; a URI does not."""
    assert "'demo-hospital' has no type" in _words(Partner, {**PARTNER, "party_id": {"value": "demo-hospital"}})[1]
    exchange = {**PARTNER["exchanges"][0], "service": {"value": "homecare"}}
    assert "'homecare' has no type" in _words(Partner, {**PARTNER, "exchanges": [exchange]})[1]
    assert Partner.model_validate({**PARTNER, "party_id": {"value": "urn:demo:hospital"}}).party_id.type is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "Hospital"),
        ("id", "a" * 65),
        ("url", "hospital.example/as4"),
        ("url", "ftp://hospital.example"),
        ("url", "https://hospital.example/a b"),
        ("encryption_certificate", "/keys/hospital.key"),
        ("profile", "no-security"),
        ("key_reference", "key-name"),
        ("exchanges", []),
        ("our_role", "two\nlines"),
        ("max_payloads", 0),
        ("max_payloads", limits.PAYLOADS_PER_PARCEL + 1),
        ("max_size", 0),
    ],
)
def test_a_value_of_the_wrong_shape_is_named(field: str, value: Any):
    """The message leads to the field, not only to the document."""
    assert _words(Partner, {**PARTNER, field: value})[0].split(".")[0] == field


@pytest.mark.parametrize("retry", [{"attempts": 0}, {"attempts": 1001}, {"first_wait": 0}, {"longest_wait": -1}])
def test_a_retry_plan_that_would_never_or_always_try_is_refused(retry: dict[str, Any]):
    """At least one attempt, at most a thousand, and time between them."""
    assert _words(Partner, {**PARTNER, "retry": retry})[0] == f"retry.{next(iter(retry))}"


def test_a_party_needs_a_key_for_what_is_encrypted_to_it():
    """An identity that nobody could encrypt for is refused; several keys are a roll-over."""
    assert _words(Party, {**PARTY, "decryption_keys": []})[0] == "decryption_keys"
    assert Party.model_validate({**PARTY, "decryption_keys": ["new", "old"]}).decryption_keys == ("new", "old")
    assert _words(Party, {**PARTY, "message_id_domain": "a domain"})[0] == "message_id_domain"


def test_documents_do_not_change_after_they_are_read():
    """A version of the configuration stays what it is."""
    partner = Partner.model_validate(PARTNER)
    with pytest.raises(ValidationError):
        partner.url = "http://elsewhere.example/"  # type: ignore[misc]
    assert partner.url == PARTNER["url"]


def test_a_node_listens_on_loopback_unless_told_otherwise():
    """Nothing is opened to a network by leaving something out."""
    listen = Listen()
    assert (listen.host, listen.path, listen.behind_proxy) == ("127.0.0.1", "/as4", False)
    assert _words(Listen, {"port": 70000})[0] == "port"
    assert _words(Listen, {"path": "as4"})[0] == "path"
