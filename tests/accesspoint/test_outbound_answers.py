"""Answers: which message an error speaks of, whose signature counts under which profile, and what need not be signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accesspoint import ebms, wss
from accesspoint.errors import OTHER, EbmsError, RemoteError
from accesspoint.outbound import Acknowledged, judge_answer
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_2_0, EDELIVERY_2_0_EC, Profile
from accesspoint.receipts import error_xml, receipt_xml
from tests.accesspoint import headers
from tests.accesspoint import signing as s
from tests.accesspoint.headers import NOW, believe
from tests.fuzz import world as w

SOAP = "application/soap+xml; charset=UTF-8"
SENT = w.sent(w.world().pinned)[0]
OTHERS = "m-0002@municipality.example"


def judged(octets: bytes, profile: Profile = EDELIVERY_1_15, trust: wss.Trust = believe) -> Acknowledged:
    """What an answer to the sent message proves."""
    return judge_answer(SENT, replace(w.world().pinned, profile=profile), trust, 200, SOAP, octets)


def reported(octets: bytes, profile: Profile = EDELIVERY_1_15, trust: wss.Trust = believe) -> RemoteError:
    """The errors in an answer."""
    with pytest.raises(RemoteError) as caught:
        judged(octets, profile, trust)
    return caught.value


def error(about: str = "") -> bytes:
    """An error, about a message or about none."""
    return error_xml(EbmsError(OTHER, field="ward", cause="is closed", ref_to_message_id=about))


# --- which message an error speaks of ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "errors", "ours"),
    [
        (SENT.message_id, (error(SENT.message_id),), True),
        (SENT.message_id, (error(),), True),
        (SENT.message_id, (error(), error(SENT.message_id)), True),
        (None, (error(SENT.message_id),), True),
        (None, (error(SENT.message_id), error(SENT.message_id)), True),
        (None, (error(),), False),
        (None, (error(OTHERS),), False),
        (None, (error(SENT.message_id), error(OTHERS)), False),
        (None, (error(SENT.message_id), error()), False),
        (OTHERS, (error(OTHERS),), False),
        (OTHERS, (error(),), False),
        (OTHERS, (error(SENT.message_id),), False),
        (SENT.message_id.upper(), (error(),), False),
    ],
)
def test_a_signed_error_counts_for_the_message_it_names_alone(reference, errors, ours):
    """By the signal's own reference, and by those of all its errors where it has none; an old one sent again says nothing."""
    found = reported(headers.signed(b"".join(errors), reference=reference))
    assert found.authenticated is ours
    assert [e.code for e in found.errors] == ["EBMS:0004"] * len(errors), "people hear of it in any case"


# --- the body of a signal ---------------------------------------------------------------------------------------------


def over_header_alone(content: bytes, body: bytes = b"") -> bytes:
    """A signal of the hospital's in which Messaging is signed and the Body is not."""
    ours = w.world().ours
    messaging = ebms.signal_xml("s-1@hospital.example", NOW, SENT.message_id, content, "m")
    _, reference = wss.local_references(messaging, "m", b"", "b")
    info = wss.signed_info(EDELIVERY_1_15, (reference,))
    security = wss.security_xml(info, w.sign_as(ours)(info), ours.certificate, "binary-security-token", "s-1")
    return ebms.envelope_xml(security, messaging, ebms.body_xml("b").replace(b"></", b">%s</" % body))


def test_a_signal_s_empty_body_need_not_be_signed():
    """Receipts and errors of products that sign the header alone are believed."""
    octets = over_header_alone(receipt_xml(SENT.references))
    assert judged(octets).raw == octets
    assert reported(over_header_alone(error())).authenticated


@pytest.mark.parametrize("body", [b"<a/>", b"paid", "\u00a0".encode()])
def test_a_signal_s_body_that_holds_anything_must_be_signed(body):
    """Else anybody could have put it there: the receipt proves nothing, and the error is told but not believed."""
    with pytest.raises(EbmsError) as caught:
        judged(over_header_alone(receipt_xml(SENT.references), body))
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0302", "receipt signature over Body")
    assert not reported(over_header_alone(error(), body)).authenticated


# --- whose signature --------------------------------------------------------------------------------------------------

SIGNERS: dict[str, Any] = {"rsa": EDELIVERY_1_15, "ed25519": EDELIVERY_2_0, "p256": EDELIVERY_2_0_EC}


def answered(kind: Any, content: bytes) -> bytes:
    """A signal about the sent message, signed under the profile of a kind of key."""
    return headers.signed(content, s.holder(kind), reference=SENT.message_id, profile=SIGNERS[kind])


@pytest.mark.parametrize("agreed", SIGNERS)
@pytest.mark.parametrize("kind", SIGNERS)
def test_an_answer_is_signed_as_agreed(kind, agreed):
    """A receipt under the agreed profile proves it; one under another, by a key that is known, is 0302 and says what to use."""
    trust = s.trusting(*(s.holder(one).certificate for one in SIGNERS))  # type: ignore[arg-type]
    receipt, refusal = answered(kind, receipt_xml(SENT.references)), answered(kind, error())
    assert reported(refusal, SIGNERS[agreed], trust).authenticated is (kind == agreed)
    if kind == agreed:
        assert judged(receipt, SIGNERS[agreed], trust).certificate == s.holder(kind).certificate
        return
    with pytest.raises(EbmsError) as caught:
        judged(receipt, SIGNERS[agreed], trust)
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0302", "receipt SignatureMethod")
    assert caught.value.remedy == f"use {SIGNERS[agreed].signatures[0]}"
