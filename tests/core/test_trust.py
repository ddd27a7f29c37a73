"""Whom to believe, and until when. Every certificate is a real one of an invented authority."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from conformance.pki import Authority, Identity
from core.clock import DAY, SECOND
from core.trust import Trust, Untrusted, check_dates, check_usage, common_name, fingerprint, subject
from tests.core.certificates import AT, NOW, refused, under, with_extensions


def test_a_chain_to_an_anchor_is_believed(ca: Authority, issuing_ca: Authority, leaf: Identity, below: Identity):
    """Directly, through an authority in between, and to that authority as anchor; a chain may hold more than is needed."""
    Trust((ca.certificate,)).check_chain((leaf.certificate,), NOW)
    Trust((ca.certificate,)).check_chain((below.certificate, issuing_ca.certificate), NOW)
    Trust((ca.certificate,)).check_chain((below.certificate, ca.certificate, issuing_ca.certificate), NOW)
    Trust((issuing_ca.certificate,)).check_chain((below.certificate,), NOW)


def test_an_issuer_that_is_not_an_anchor_is_not_believed(
    ca: Authority, issuing_ca: Authority, other_ca: Authority, leaf: Identity, below: Identity
):
    """An unknown one, one of the same name, one that nobody sent, or no anchor at all: the subject is named."""
    for trust, chain in (
        (Trust((other_ca.certificate,)), (leaf.certificate,)),
        (Trust((other_ca.certificate,)), (leaf.certificate, ca.certificate)),
        (Trust((issuing_ca.certificate,)), (leaf.certificate,)),
        (Trust((ca.certificate,)), (below.certificate,)),
        (Trust((ca.certificate,)), (below.certificate, other_ca.certificate)),
    ):
        error = refused(trust, *chain)
        assert error.cause.startswith(
            "no chain leads from CN=Egedal demonstration,O=Stafet demonstration,C=DK to an anchor: "
        )
        assert error.remedy == "compare anchors with the issuer of the partner's certificate"
    assert refused(Trust(()), leaf.certificate).cause == "no anchor is agreed"


def test_what_is_no_authority_issues_nothing(ca: Authority, issuing_ca: Authority, leaf: Identity):
    """A partner's own certificate, an authority without leave to certify, and one below an end are no issuers."""
    impostor = Authority.__new__(Authority)
    impostor.at, impostor.bits, impostor.key, impostor.certificate = AT, 2048, leaf.key, leaf.certificate
    forged = impostor.issue("Egedal demonstration", "signing", key=issuing_ca.key)
    assert "no chain leads" in refused(Trust((ca.certificate,)), forged.certificate, leaf.certificate).cause
    lame = under(ca, issuing_ca, path=None)
    made = lame.issue("Egedal demonstration", "signing", key=leaf.key)
    assert "no chain leads" in refused(Trust((ca.certificate,)), made.certificate, lame.certificate).cause
    third = under(issuing_ca, impostor, path=0)
    deep = third.issue("Egedal demonstration", "signing", key=leaf.key)
    chain = (deep.certificate, third.certificate, issuing_ca.certificate)
    assert "no chain leads" in refused(Trust((ca.certificate,)), *chain).cause


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (NOW - DAY - SECOND, "is not valid before 2026-02-28 13:00:00.000"),
        (NOW - DAY, ""),
        (NOW + 825 * DAY, ""),
        (NOW + 825 * DAY + SECOND, "expired on 2028-06-03 14:00:00.000"),
    ],
)
def test_a_certificate_has_a_first_and_a_last_moment(ca: Authority, leaf: Identity, at: int, said: str):
    """Both are part of it; before and after, the date is said in the time people read on the wall."""
    trust = Trust((ca.certificate,))
    if not said:
        trust.check_chain((leaf.certificate,), at)
        check_dates(leaf.certificate, at)
        return
    error = refused(trust, leaf.certificate, at=at)
    assert error.cause == f"the certificate of CN=Egedal demonstration,O=Stafet demonstration,C=DK {said}"
    assert error.remedy == ("ask the partner for the new one" if "expired" in said else "compare both machines' clocks")
    with pytest.raises(Untrusted, match=said):
        check_dates(leaf.certificate, at)


def test_an_authority_has_an_end_too(leaf: Identity):
    """A valid certificate under an expired authority is not believed."""
    short = Authority("Short-lived demonstration CA", AT, days=10)
    made = short.issue("Egedal demonstration", "signing", key=leaf.key)
    trust = Trust((short.certificate,))
    trust.check_chain((made.certificate,), NOW + 10 * DAY)
    assert "no chain leads" in refused(trust, made.certificate, at=NOW + 11 * DAY).cause


def test_only_what_may_sign_is_believed(ca: Authority, leaf: Identity):
    """A certificate for encryption is refused; one for both, for content commitment or without a word on its use is not."""
    trust = Trust((ca.certificate,))
    error = refused(trust, ca.issue("Egedal demonstration", "encryption", key=leaf.key).certificate)
    assert error.cause == "the certificate of CN=Egedal demonstration,O=Stafet demonstration,C=DK is not for signing"
    trust.check_chain((ca.issue("Egedal demonstration", "both", key=leaf.key).certificate,), NOW)
    check_usage(with_extensions(ca, leaf))
    check_usage(with_extensions(ca, leaf, x509.KeyUsage(False, True, *[False] * 7)))
    with pytest.raises(Untrusted, match="is not for signing"):
        check_usage(with_extensions(ca, leaf, x509.KeyUsage(False, False, True, *[False] * 6)))


def test_a_name_that_was_agreed_is_demanded(ca: Authority, leaf: Identity):
    """An anchor issues for many: another of its holders is not this partner."""
    Trust((ca.certificate,), subject_name="Egedal demonstration").check_chain((leaf.certificate,), NOW)
    other = ca.issue("Nordby demonstration", "signing", key=leaf.key)
    error = refused(Trust((ca.certificate,), subject_name="Egedal demonstration"), other.certificate)
    assert error.cause == "the certificate is for 'Nordby demonstration', agreed is 'Egedal demonstration'"
    assert error.remedy == "compare signing_subject with the partner's certificate"


def test_a_certificate_may_be_renewed_over_the_same_key(ca: Authority, leaf: Identity):
    """The old one ends, the new one holds; neither stands in the other's way, nor do two anchors of one name and key."""
    trust = Trust((ca.certificate,))
    renewed = ca.issue(
        "Egedal demonstration",
        "signing",
        key=leaf.key,
        not_before=AT + timedelta(days=800),
        not_after=AT + timedelta(days=1600),
    )
    overlap, later = NOW + 810 * DAY, NOW + 900 * DAY
    for certificate in (leaf.certificate, renewed.certificate):
        trust.check_chain((certificate,), overlap)
    assert "expired" in refused(trust, leaf.certificate, at=later).cause
    trust.check_chain((renewed.certificate,), later)
    longer = replace_authority(ca, 2000)
    both = Trust((replace_authority(ca, 100), longer))
    both.check_chain((renewed.certificate,), later)
    assert "no chain leads" in refused(Trust((replace_authority(ca, 100),)), renewed.certificate, at=later).cause


def replace_authority(ca: Authority, days: int) -> x509.Certificate:
    """The ca's own certificate anew, over the same key, with another end."""
    old = ca.certificate
    builder = x509.CertificateBuilder(
        old.subject,
        old.subject,
        ca.key.public_key(),
        x509.random_serial_number(),
        AT - timedelta(days=1),
        AT + timedelta(days=days),
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(ca.key, hashes.SHA256())


def test_a_certificate_that_cannot_be_read_is_refused(ca: Authority, issuing_ca: Authority, leaf: Identity):
    """An extension that stands twice, in the leaf or above it, is an untrusted certificate and no bug of ours."""
    oids = [x509.ObjectIdentifier(f"1.3.6.1.4.1.99999.{n}") for n in (1, 2)]
    marks = [x509.UnrecognizedExtension(oid, b"\x05\x00") for oid in oids]
    der = with_extensions(ca, leaf, *marks).public_bytes(Encoding.DER)
    first, second = mark_octets(der)
    twice = x509.load_der_x509_certificate(der.replace(second, first))
    trust = Trust((ca.certificate,))
    for chain in ((twice,), (leaf.certificate, twice)):
        assert refused(trust, *chain).cause == "a certificate has a name or an extension that cannot be read"


def mark_octets(der: bytes) -> tuple[bytes, bytes]:
    """The two marks' object identifiers as they stand in the certificate."""
    stem = bytes.fromhex("2b06010401868d1f")
    assert der.count(stem) == 2
    return stem + b"\x01", stem + b"\x02"


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_certificate_in_words(leaf: Identity):
    """Subject, common name and the digest that other tools show."""
    assert subject(leaf.certificate) == "CN=Egedal demonstration,O=Stafet demonstration,C=DK"
    assert common_name(leaf.certificate) == "Egedal demonstration"
    assert fingerprint(leaf.certificate) == leaf.certificate.fingerprint(hashes.SHA256()).hex()
    nameless = x509.CertificateBuilder(
        x509.Name([]), x509.Name([]), leaf.key.public_key(), 5, AT, AT + timedelta(days=1)
    )
    assert common_name(nameless.sign(leaf.key, hashes.SHA256())) == ""
    assert str(Untrusted("it is odd")) == "it is odd"
