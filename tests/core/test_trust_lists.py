"""Revocation lists: which of them count, for whom, and until when; where one is demanded, a missing one is a refusal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding

from conformance.pki import Authority, Identity
from core.clock import DAY
from core.trust import Trust, Untrusted, lists_in
from tests.core.certificates import AT, NOW, a_list, refused, twin_of, under, with_extensions

POINT = x509.UniformResourceIdentifier("http://lists.example/all.crl")


def test_a_revoked_certificate_is_not_believed(ca: Authority, leaf: Identity):
    """The list of its issuer names it; a neighbour on the same list harms nobody."""
    (made,) = lists_in(ca.revocation_list([leaf.certificate]))
    error = refused(Trust((ca.certificate,), (made,)), leaf.certificate)
    assert error.cause == "the certificate of CN=Egedal demonstration,O=Stafet demonstration,C=DK is revoked"
    other = ca.issue("Nordby demonstration", "signing", key=leaf.key)
    Trust((ca.certificate,), (made,)).check_chain((other.certificate,), NOW)


def test_an_authority_can_be_revoked(ca: Authority, issuing_ca: Authority, below: Identity):
    """Whoever is below it is not believed any more; both lists are needed to believe."""
    chain = (below.certificate, issuing_ca.certificate)
    lists = (a_list(ca), a_list(issuing_ca))
    Trust((ca.certificate,), lists).check_chain(chain, NOW)
    bad = (a_list(ca, issuing_ca.certificate), a_list(issuing_ca))
    assert "CN=Birkelund issuing demonstration CA" in refused(Trust((ca.certificate,), bad), *chain).cause
    for there, lacking in ((lists[1], "Birkelund demonstration CA"), (lists[0], "Birkelund issuing demonstration CA")):
        error = refused(Trust((ca.certificate,), (there,)), *chain)
        assert error.cause.startswith(f"the revocation list of CN={lacking},")
        assert error.cause.endswith("is missing")
        assert error.remedy == "fetch the list anew"


def test_a_list_that_is_out_of_date_counts_as_missing(ca: Authority, leaf: Identity):
    """On its last moment it still counts; one without an end never does; a fresh one beside an old one is enough."""
    old, newer = a_list(ca), a_list(ca, until=AT + timedelta(days=60))
    at = NOW + 30 * DAY
    Trust((ca.certificate,), (old,)).check_chain((leaf.certificate,), at)
    for lists in ((old,), (endless(ca, old),)):
        error = refused(Trust((ca.certificate,), lists), leaf.certificate, at=at + 1)
        assert error.cause == (
            "the revocation list of CN=Birkelund demonstration CA,O=Stafet demonstration\\, not a real authority,C=DK"
            " is out of date"
        )
    for lists in ((old, newer), (newer, old)):
        Trust((ca.certificate,), lists).check_chain((leaf.certificate,), at + 1)


def endless(authority: Authority, item: x509.CertificateRevocationList) -> x509.CertificateRevocationList:
    """The list without the field that says when the next one comes, signed anew."""

    def wrapped(tag: int, octets: bytes) -> bytes:
        length = (
            [len(octets)]
            if len(octets) < 128
            else [0x81, len(octets)]
            if len(octets) < 256
            else [0x82, *divmod(len(octets), 256)]
        )
        return bytes([tag, *length]) + octets

    end = next_update(item)
    assert item.tbs_certlist_bytes.count(end) == 1
    algorithm = bytes.fromhex("300d06092a864886f70d01010b0500")
    body = item.tbs_certlist_bytes[item.tbs_certlist_bytes.index(algorithm) :].replace(end, b"")
    said = wrapped(0x30, b"\x02\x01\x01" + body)
    signature = authority.key.sign(said, padding.PKCS1v15(), hashes.SHA256())
    made = x509.load_der_x509_crl(wrapped(0x30, said + algorithm + wrapped(0x03, b"\x00" + signature)))
    assert made.next_update_utc is None
    assert made.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
    return made


def next_update(item: x509.CertificateRevocationList) -> bytes:
    """The field as it stands in the list."""
    assert item.next_update_utc is not None
    return b"\x17\x0d" + f"{item.next_update_utc:%y%m%d%H%M%SZ}".encode()


def test_any_fresh_list_can_revoke(ca: Authority, leaf: Identity):
    """An older list that is still fresh and does not name it does not outvote the newer one."""
    lists = (a_list(ca), a_list(ca, leaf.certificate))
    for order in (lists, lists[::-1]):
        assert refused(Trust((ca.certificate,), order), leaf.certificate).cause.endswith("is revoked")


def test_a_list_signed_by_somebody_else_is_no_list(
    ca: Authority, other_ca: Authority, issuing_ca: Authority, leaf: Identity
):
    """Not by another of the same name, not by a holder, not by an authority without leave to sign lists."""
    assert refused(Trust((ca.certificate,), (a_list(other_ca),)), leaf.certificate).cause.endswith("is missing")
    both = Trust((ca.certificate, other_ca.certificate), (a_list(ca),))
    both.check_chain((leaf.certificate,), NOW)
    Trust((other_ca.certificate, ca.certificate), (a_list(ca),)).check_chain((leaf.certificate,), NOW)
    mute = under(ca, issuing_ca, usage=False)
    made = mute.issue("Egedal demonstration", "signing", key=leaf.key)
    chain = (made.certificate, mute.certificate)
    assert refused(Trust((ca.certificate,), (a_list(ca), a_list(mute))), *chain).cause.endswith("is missing")


def test_a_holder_who_bears_the_authoritys_name_neither_signs_lists_nor_escapes_them(ca: Authority, leaf: Identity):
    """A certificate whose subject is its issuer's name is looked up like any other, and its own list does not count."""
    twin = twin_of(ca, leaf)
    assert twin.certificate.subject == twin.certificate.issuer
    assert refused(Trust((ca.certificate,), (a_list(ca, twin.certificate),)), twin.certificate).cause.endswith(
        "is revoked"
    )
    assert refused(Trust((ca.certificate,), (a_list(twin),)), twin.certificate).cause.endswith("is missing")


def test_a_pinned_certificate_of_its_own_needs_no_list(ca: Authority, leaf: Identity):
    """Who is an anchor and signed itself is believed for its own sake."""
    own = self_signed(leaf.key)
    Trust((own,), (a_list(ca),)).check_chain((own,), NOW)


def self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """A certificate nobody else vouches for."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Egedal demonstration, own")])
    return x509.CertificateBuilder(name, name, key.public_key(), 5, AT, AT + timedelta(days=9)).sign(
        key, hashes.SHA256()
    )


def scope(**changes: Any) -> x509.IssuingDistributionPoint:
    """What a list says it is about."""
    facts: dict[str, Any] = {"full_name": None, "relative_name": None, "only_contains_user_certs": False}
    facts |= {"only_contains_ca_certs": False, "only_some_reasons": None, "indirect_crl": False}
    return x509.IssuingDistributionPoint(**(facts | {"only_contains_attribute_certs": False} | changes))


REASONS = frozenset({x509.ReasonFlags.key_compromise})
ELSEWHERE = x509.UniformResourceIdentifier("http://lists.example/other.crl")
RELATIVE = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])


@pytest.mark.parametrize(
    ("extension", "of_holders", "of_authorities"),
    [
        (x509.DeltaCRLIndicator(1), False, False),
        (scope(indirect_crl=True), False, False),
        (scope(only_some_reasons=REASONS), False, False),
        (scope(only_contains_attribute_certs=True), False, False),
        (scope(relative_name=RELATIVE), False, False),
        (scope(only_contains_user_certs=True), True, False),
        (scope(only_contains_ca_certs=True), False, True),
        (scope(full_name=[ELSEWHERE, POINT]), True, False),
        (scope(full_name=[ELSEWHERE]), False, False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), False, False),
    ],
)
def test_a_list_of_a_part_counts_only_for_its_part(
    ca: Authority,
    leaf: Identity,
    issuing_ca: Authority,
    extension: x509.ExtensionType,
    of_holders: bool,
    of_authorities: bool,
):
    """A change to a list, some reasons, other certificates, something unknown: who is not on it may be revoked all the same."""
    made = a_list(ca, extensions=[extension])
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint([POINT], None, None, None), x509.DistributionPoint(None, RELATIVE, None, None)]
    )
    holder = with_extensions(ca, leaf, points)
    trust = Trust((ca.certificate,), (made,))
    for certificate, counts in ((holder, of_holders), (issuing_ca.certificate, of_authorities)):
        if counts:
            trust.check_revocation((certificate, ca.certificate), NOW)
        else:
            with pytest.raises(Untrusted, match="is missing"):
                trust.check_revocation((certificate, ca.certificate), NOW)


def test_what_a_list_says_besides_does_not_matter_unless_it_is_critical(ca: Authority, leaf: Identity):
    """A number, or an extension one may ignore, leaves a list whole."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    made = a_list(ca, leaf.certificate, extensions=[x509.CRLNumber(5), unknown], critical=False)
    assert refused(Trust((ca.certificate,), (made,)), leaf.certificate).cause.endswith("is revoked")


def test_a_list_that_cannot_be_read_counts_as_missing(ca: Authority, leaf: Identity):
    """Its signature may be right; what it says is not understood."""
    broken = x509.UnrecognizedExtension(x509.IssuingDistributionPoint.oid, b"\xff\xff")
    trust = Trust((ca.certificate,), (a_list(ca, extensions=[broken]),))
    assert refused(trust, leaf.certificate).cause.endswith("is missing")


def test_an_authority_that_says_nothing_of_its_use_may_sign_lists(ca: Authority, leaf: Identity):
    """Old authorities have no key usage; one whose key cannot sign a list is passed over."""
    silent = with_extensions(ca, Identity(ca.key, ca.certificate), x509.BasicConstraints(ca=True, path_length=None))
    assert silent.subject == ca.certificate.subject
    Trust((silent,), (a_list(ca),)).check_revocation((leaf.certificate, silent), NOW)
    other = x25519.X25519PrivateKey.generate().public_key()
    odd = x509.CertificateBuilder(
        ca.certificate.subject, ca.certificate.subject, other, 9, AT, AT + timedelta(days=1)
    ).sign(ca.key, hashes.SHA256())
    Trust((odd, silent), (a_list(ca),)).check_revocation((leaf.certificate, silent), NOW)
    trust = Trust((odd,), (a_list(ca),))
    with pytest.raises(Untrusted, match="is missing"):
        trust.check_revocation((leaf.certificate,), NOW)


def test_lists_are_read_in_either_form(ca: Authority, issuing_ca: Authority):
    """One or more in PEM, or one in DER; anything else is none."""
    one, two = (a.revocation_list([]) for a in (ca, issuing_ca))
    assert [item.issuer for item in lists_in(b"# fetched today\n" + one + two)] == [
        ca.certificate.subject,
        issuing_ca.certificate.subject,
    ]
    der = a_list(ca).public_bytes(Encoding.DER)
    assert [item.issuer for item in lists_in(der)] == [ca.certificate.subject]
    for octets in (b"", b"x", der[:-1], ca.pem(), b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        with pytest.raises(ValueError, match=r"."):
            lists_in(octets)
