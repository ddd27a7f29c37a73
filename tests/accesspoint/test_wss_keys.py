"""Whose key signed, and that nothing was changed since: what a genuine signature of somebody else is worth."""

from __future__ import annotations

import pytest

from accesspoint import names, wss
from accesspoint.profiles import PEPPOL
from tests.accesspoint import signing as s
from tests.accesspoint.signing import refused, replacing

# --- changed on the way: 0101 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "field", "cause"),
    [
        (replacing(">deliver-plain<", ">deliver-evil<"), "digest of Messaging", "Messaging was changed"),
        (replacing("></S12:Body>", ">evil</S12:Body>"), "digest of Body", "Body was changed"),
        (
            replacing(names.SHA256 + '"></ds:DigestMethod>', names.SHA256 + '"> </ds:DigestMethod>'),
            "SignatureValue",
            "does",
        ),
        (replacing("<ds:DigestValue>", "<ds:DigestValue>AAAA"), "SignatureValue", "does not verify"),
        (replacing('URI="#m-1"', 'URI="#m-1" Type="urn:demo"'), "SignatureValue", "does not verify"),
    ],
)
def test_a_change_after_signing_is_found(edit, field, cause):
    """Whatever is changed in what was signed is 0101, and named where it can be."""
    with refused("0101", field, cause):
        s.verify(edit(s.signed()))


# --- whose key: 0101 --------------------------------------------------------------------------------------------------


def test_an_unknown_certificate_is_refused_although_its_signature_is_good():
    """A token brings no trust: the refusal names both certificates."""
    octets = s.signed(
        sign=lambda o: wss.sign(s.stranger().key, o), token=wss.token_xml(s.stranger().certificate, "s-1")
    )
    with refused(
        "0101", "certificate", "signed with the certificate of 'Demo Stranger signing', agreed is 'municipality'"
    ):
        s.verify(octets)
    assert s.verify(octets, trust=s.trusting(s.stranger().certificate)).certificate == s.stranger().certificate


def test_the_partners_token_over_a_strangers_signature_is_refused():
    """Who shows somebody else's certificate has not their key."""
    with refused("0101", "SignatureValue", "another key signed it"):
        s.verify(s.signed(sign=lambda o: wss.sign(s.stranger().key, o)))


def test_the_key_is_judged_before_any_digest():
    """Nothing of the message is canonicalised for somebody who is not believed."""
    octets = s.signed(header=s.messaging().replace(b"deliver", b"evil"), sign=lambda o: wss.sign(s.stranger().key, o))
    with refused("0101", "SignatureValue"):
        s.verify(octets)


def test_a_renewed_certificate_may_stand_beside_the_old_one():
    """Of several certificates that are meant, the one whose key signed is the signer."""
    others = (s.stranger().certificate, s.edwards()[1])
    assert s.verify(s.signed(), trust=s.trusting(*others, s.theirs())).certificate == s.theirs()
    with refused("0101", "SignatureValue", "another key signed it"):
        s.verify(s.signed(), trust=s.trusting(*others))


@pytest.mark.parametrize("form", ["subject-key-identifier", "issuer-serial"])
def test_a_certificate_that_does_not_come_along_is_refused_where_tokens_are_demanded(form):
    """Known or not: Peppol's signer sends its certificate; elsewhere any reference will do."""
    octets = s.signed(info_about_key=s.key_info(form))
    assert s.verify(octets).certificate == s.verify(s.signed(), PEPPOL).certificate
    with refused("0103", "KeyInfo", "peppol demands a BinarySecurityToken X509v3"):
        s.verify(octets, PEPPOL)
