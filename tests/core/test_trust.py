"""Whom to believe, and until when. Every certificate is a real one of an invented authority."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from conformance.pki import Authority, Identity
from core.clock import DAY, SECOND
from core.revocation import Evidence
from core.trust import ANY_POLICY, Trust, Untrusted, check_dates, check_usage, common_name, fingerprint, subject
from tests.core.answers import REVOKED, an_answer
from tests.core.certificates import AT, NOW, a_list, refused, under, with_extensions


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


def test_an_organisation_that_was_agreed_is_demanded(ca: Authority, leaf: Identity):
    """By its identifier, and with the name where both are agreed; two names in one certificate are nobody's."""
    mine = ca.issue("Egedal demonstration", "signing", key=leaf.key, organisation_id="NTRDK-demo-1").certificate
    Trust((ca.certificate,), organisation="NTRDK-demo-1").check_chain((mine,), NOW)
    both = Trust((ca.certificate,), subject_name="Egedal demonstration", organisation="NTRDK-demo-1")
    both.check_chain((mine,), NOW)
    error = refused(both, leaf.certificate)
    assert error.cause == "the certificate is for the organisation nobody, agreed is 'NTRDK-demo-1'"
    assert error.remedy == "compare signing_organisation with the partner's certificate"
    other = ca.issue("Egedal demonstration", "signing", key=leaf.key, organisation_id="NTRDK-demo-2").certificate
    assert "'NTRDK-demo-2', agreed is 'NTRDK-demo-1'" in refused(both, other).cause
    twice = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, n) for n in ("Egedal demonstration", "Nordby demonstration")]
    )
    builder = x509.CertificateBuilder(
        ca.certificate.subject, twice, leaf.key.public_key(), 9, AT, AT + timedelta(days=9)
    )
    named = builder.sign(ca.key, hashes.SHA256())
    cause = refused(Trust((ca.certificate,), subject_name="Egedal demonstration"), named).cause
    assert cause.startswith("the certificate is for 'Egedal demonstration' and 'Nordby demonstration', agreed is")


POLICY, OTHER_POLICY = "1.3.6.1.4.1.99999.2.1", "1.3.6.1.4.1.99999.2.2"


def policies(*oids: str) -> x509.CertificatePolicies:
    """The extension that names policies."""
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids])


@pytest.mark.parametrize(
    ("on_leaf", "on_authority", "believed"),
    [
        ((POLICY,), (POLICY,), True),
        ((OTHER_POLICY, POLICY), (POLICY, OTHER_POLICY), True),
        ((POLICY,), (ANY_POLICY,), True),
        ((OTHER_POLICY,), (ANY_POLICY,), False),
        ((), (ANY_POLICY,), False),
        ((ANY_POLICY,), (ANY_POLICY,), False),
        ((POLICY,), (OTHER_POLICY,), False),
        ((POLICY,), (), False),
    ],
)
@pytest.mark.parametrize("critical", [False, True])
def test_a_policy_that_was_agreed_is_demanded_along_the_path(
    ca: Authority,
    issuing_ca: Authority,
    leaf: Identity,
    on_leaf: Sequence[str],
    on_authority: Sequence[str],
    believed: bool,
    critical: bool,
):
    """The leaf names it, and every authority below the anchor may issue under it; the anchor itself need not say so."""
    middle, holder = authority_with(ca, issuing_ca, on_authority, critical), leaf.key
    made = certified(middle, "Egedal demonstration", holder.public_key(), on_leaf, critical)
    trust = Trust((ca.certificate,), policies=(POLICY,))
    chain = (made, middle.certificate)
    Trust((ca.certificate,)).check_chain(chain, NOW)
    if believed:
        trust.check_chain(chain, NOW)
        return
    error = refused(trust, *chain)
    assert error.cause.startswith("certificate policies: the certificate of CN=")
    assert error.cause.endswith(", and none that is agreed")
    assert "compare certificate_policies" in error.remedy


def test_any_one_of_several_policies_is_enough_if_it_is_the_same_all_the_way(
    ca: Authority, issuing_ca: Authority, leaf: Identity
):
    """One policy on the leaf and another above it are no policy in common."""
    trust = Trust((ca.certificate,), policies=(POLICY, OTHER_POLICY))
    middle = authority_with(ca, issuing_ca, [OTHER_POLICY], False)
    for on_leaf, believed in ((OTHER_POLICY, True), (POLICY, False)):
        made = certified(middle, "Egedal demonstration", leaf.key.public_key(), [on_leaf], False)
        if believed:
            trust.check_chain((made, middle.certificate), NOW)
        else:
            cause = refused(trust, made, middle.certificate).cause
            assert cause.startswith("certificate policies: the certificate of CN=Birkelund issuing demonstration CA")
            assert f"carries {OTHER_POLICY}, and" in cause


def test_an_anchor_that_signs_itself_carries_its_own_policy(ca: Authority, leaf: Identity):
    """Where the path is one certificate long, it is the leaf."""
    for on_leaf, believed in (([POLICY], True), ([], False)):
        own = certified(replace_holder(ca, leaf), "Egedal demonstration", leaf.key.public_key(), on_leaf, False)
        trust = Trust((own,), policies=(POLICY,))
        if believed:
            trust.check_chain((own,), NOW)
        else:
            assert "carries none, and" in refused(trust, own).cause


def replace_holder(ca: Authority, leaf: Identity) -> Authority:
    """Somebody who certifies themselves under the name of the leaf."""
    made = Authority.__new__(Authority)
    made.at, made.bits, made.key, made.certificate = ca.at, ca.bits, leaf.key, leaf.certificate  # type: ignore[assignment]
    return made


def authority_with(ca: Authority, below: Authority, oids: Sequence[str], critical: bool) -> Authority:
    """The authority below, certified anew with these policies."""
    made = Authority.__new__(Authority)
    made.at, made.bits, made.key = below.at, below.bits, below.key
    name, key = "Birkelund issuing demonstration CA", below.key.public_key()
    made.certificate = certified(ca, name, key, oids, critical, authority=True)
    return made


def certified(
    by: Authority, name: str, key: Any, oids: Sequence[str], critical: bool, *, authority: bool = False
) -> x509.Certificate:
    """A certificate with policies."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(True, False, False, False, False, authority, authority, False, False)
    own = by.certificate.public_key() == key
    builder = (
        x509.CertificateBuilder(
            subject if own else by.certificate.subject, subject, key, 11, AT, AT + timedelta(days=9)
        )
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False)
    )
    if oids:
        builder = builder.add_extension(policies(*oids), critical=critical)
    return builder.sign(by.key, hashes.SHA256())


def test_authorities_below_the_anchor_need_not_come_along_when_they_are_known(
    ca: Authority, issuing_ca: Authority, other_ca: Authority, below: Identity
):
    """They help to find the path and are not believed by themselves."""
    Trust((ca.certificate,), issuers=(issuing_ca.certificate,)).check_chain((below.certificate,), NOW)
    assert "no chain leads" in refused(Trust((ca.certificate,)), below.certificate).cause
    lone = Trust((other_ca.certificate,), issuers=(issuing_ca.certificate,))
    assert "no chain leads" in refused(lone, below.certificate).cause
    trust = Trust((ca.certificate,), issuers=(issuing_ca.certificate,))
    assert trust.above(below.certificate) == (below.certificate, issuing_ca.certificate, ca.certificate)
    assert trust.above(other_ca.certificate) == (other_ca.certificate,)


# --- what is fetched ---------------------------------------------------------------------------------------------------


def test_what_was_fetched_is_asked_about_the_whole_path(ca: Authority, issuing_ca: Authority, below: Identity):
    """Each certificate below the anchor needs a word; whoever keeps the words learns of the path."""
    asked: list[tuple[x509.Certificate, ...]] = []
    chain = (below.certificate, issuing_ca.certificate)
    words = [
        an_answer(below.certificate, issuing_ca.certificate, issuing_ca),
        an_answer(issuing_ca.certificate, ca.certificate, ca),
    ]

    def fetched(path: Sequence[x509.Certificate]) -> Evidence:
        asked.append(tuple(path))
        return Evidence((), tuple(words))

    trust = Trust((ca.certificate,), fetched=fetched)
    trust.check_chain(chain, NOW)
    assert asked == [(*chain, ca.certificate)]
    for missing, whose in ((1, "CN=Birkelund issuing demonstration CA"), (0, "CN=Egedal demonstration")):
        gone = words.pop(missing)
        error = refused(trust, *chain)
        assert error.cause.startswith(f"whether the certificate of {whose},")
        assert error.cause.endswith("is revoked is not known: no list and no responder has said it yet")
        words.insert(missing, gone)
    words[0] = an_answer(below.certificate, issuing_ca.certificate, issuing_ca, until=AT - timedelta(minutes=1))
    assert refused(trust, *chain).cause.endswith("is not known: what was said is out of date")
    words[0] = an_answer(below.certificate, issuing_ca.certificate, issuing_ca, status=REVOKED)
    assert refused(trust, *chain).cause.endswith("is revoked")


def test_a_chain_that_is_not_believed_is_not_asked_about(ca: Authority, other_ca: Authority, leaf: Identity):
    """Nobody can have us ask the world about certificates of their own making."""

    def fetched(path: Sequence[x509.Certificate]) -> Evidence:
        raise AssertionError("asked")

    refused(Trust((other_ca.certificate,), fetched=fetched), leaf.certificate)
    refused(Trust((ca.certificate,), subject_name="Nordby", fetched=fetched), leaf.certificate)
    refused(Trust((ca.certificate,), policies=(POLICY,), fetched=fetched), leaf.certificate)


def test_lists_as_files_count_beside_what_was_fetched(ca: Authority, leaf: Identity):
    """A file vouches while a responder is away, and its "revoked" holds whatever the responder says."""
    good = Evidence((), (an_answer(leaf.certificate, ca.certificate, ca),))
    Trust((ca.certificate,), (a_list(ca),), fetched=lambda path: Evidence()).check_chain((leaf.certificate,), NOW)
    naming = Trust((ca.certificate,), (a_list(ca, leaf.certificate),), fetched=lambda path: good)
    assert refused(naming, leaf.certificate).cause.endswith("is revoked")


def test_an_anchor_under_nobody_known_needs_no_word(ca: Authority, issuing_ca: Authority, below: Identity):
    """Who is believed for their own sake ends the path; where somebody known stands above, that one is asked."""
    Trust((issuing_ca.certificate,), (a_list(issuing_ca),)).check_chain((below.certificate,), NOW)
    both = Trust((issuing_ca.certificate, ca.certificate), (a_list(issuing_ca),))
    path = (below.certificate, issuing_ca.certificate)
    with pytest.raises(Untrusted, match=r"the revocation list of CN=Birkelund demonstration CA.* is missing"):
        both.check_revocation(path, NOW)


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
