"""Whether a certificate is still good: who may say it, about whom, and for how long a word counts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.pki import Authority, Identity
from core import limits
from core.clock import DAY, HOUR, MINUTE
from core.revocation import (
    Evidence,
    Standing,
    Unusable,
    Window,
    answer_begin,
    answer_end,
    check_nonce,
    issuer_of,
    list_end,
    list_urls,
    responder_urls,
    said_of,
    standing,
)
from tests.core.answers import GOOD, RESPONDS, REVOKED, UNKNOWN, an_answer, points_to
from tests.core.certificates import AT, NOW, a_list, twin_of, under, with_extensions
from tests.core.test_trust_lists import endless, scope

PLAIN = Window()
RSA_SHA256 = bytes.fromhex("2a864886f70d01010b")


@pytest.fixture(scope="module")
def responder(ca: Authority, leaf: Identity) -> Identity:
    """Somebody to whom the authority gave the right to answer."""
    return ca.issue("Birkelund responder", "signing", key=ca.issue("x", "signing").key, extensions=[RESPONDS])


def judged(certificate: x509.Certificate, *evidence: Any, by: Any, at: int = NOW, window: Window = PLAIN) -> Standing:
    """What evidence says of a certificate to somebody who believes these authorities."""
    lists = tuple(e for e in evidence if isinstance(e, x509.CertificateRevocationList))
    answers = tuple(e for e in evidence if isinstance(e, ocsp.OCSPResponse))
    return standing(certificate, [a.certificate for a in by], Evidence(lists, answers), window, at)


# --- lists ------------------------------------------------------------------------------------------------------------


def test_without_a_word_nothing_is_known(ca: Authority, leaf: Identity):
    """No evidence is no good certificate."""
    assert judged(leaf.certificate, by=[ca]) is Standing.MISSING


def test_a_list_of_the_issuer_says_who_is_revoked(ca: Authority, leaf: Identity):
    """Who is not on it is good; one list that names it outweighs others."""
    clean, naming = a_list(ca), a_list(ca, leaf.certificate)
    assert judged(leaf.certificate, clean, by=[ca]) is Standing.GOOD
    assert judged(leaf.certificate, naming, by=[ca]) is Standing.REVOKED
    for order in ((clean, naming), (naming, clean)):
        assert judged(leaf.certificate, *order, by=[ca]) is Standing.REVOKED


def test_a_list_counts_until_its_end_and_the_grace(ca: Authority, leaf: Identity):
    """On the last microsecond still; one that names no end never; then also "revoked" is only a word of before."""
    made = a_list(ca)
    graced = Window(grace=2 * HOUR)
    for window, last in ((PLAIN, NOW + 30 * DAY), (graced, NOW + 30 * DAY + 2 * HOUR)):
        assert list_end(made, window) == last
        assert judged(leaf.certificate, made, by=[ca], at=last, window=window) is Standing.GOOD
        assert judged(leaf.certificate, made, by=[ca], at=last + 1, window=window) is Standing.STALE
    assert judged(leaf.certificate, endless(ca, made), by=[ca], window=graced) is Standing.STALE
    assert judged(leaf.certificate, a_list(ca, leaf.certificate), by=[ca], at=NOW + 31 * DAY) is Standing.STALE


def test_a_list_counts_only_from_who_may_sign_it(
    ca: Authority, other_ca: Authority, issuing_ca: Authority, leaf: Identity, below: Identity
):
    """Not from another of that name, not from a holder, not from an authority without leave, not from another issuer."""
    assert judged(leaf.certificate, a_list(other_ca), by=[ca]) is Standing.MISSING
    assert judged(leaf.certificate, a_list(other_ca), by=[ca, other_ca]) is Standing.GOOD
    assert judged(leaf.certificate, a_list(twin_of(ca, leaf)), by=[ca]) is Standing.MISSING
    mute = under(ca, issuing_ca, usage=False)
    assert judged(below.certificate, a_list(issuing_ca), by=[mute]) is Standing.MISSING
    assert judged(below.certificate, a_list(issuing_ca), by=[issuing_ca]) is Standing.GOOD
    assert judged(below.certificate, a_list(ca), by=[ca, issuing_ca]) is Standing.MISSING


def test_an_authority_that_says_nothing_of_its_use_may_sign_lists(ca: Authority, leaf: Identity):
    """Old ones have no key usage; one whose key cannot have signed is passed over."""
    silent = with_extensions(ca, Identity(ca.key, ca.certificate), x509.BasicConstraints(ca=True, path_length=None))
    odd = with_extensions(ca, Identity(x25519.X25519PrivateKey.generate(), ca.certificate))
    made = a_list(ca, leaf.certificate)
    assert standing(leaf.certificate, [odd, silent], Evidence((made,)), PLAIN, NOW) is Standing.REVOKED
    assert standing(leaf.certificate, [odd], Evidence((made,)), PLAIN, NOW) is Standing.MISSING


ELSEWHERE = x509.UniformResourceIdentifier("http://lists.example/other.crl")
HERE = x509.UniformResourceIdentifier("http://lists.example/all.crl")


@pytest.mark.parametrize(
    ("extension", "of_holders", "of_authorities"),
    [
        (x509.DeltaCRLIndicator(1), False, False),
        (scope(indirect_crl=True), False, False),
        (scope(only_contains_user_certs=True), True, False),
        (scope(only_contains_ca_certs=True), False, True),
        (scope(full_name=[ELSEWHERE, HERE]), True, False),
        (x509.UnrecognizedExtension(x509.IssuingDistributionPoint.oid, b"\xff\xff"), False, False),
    ],
)
def test_a_list_of_a_part_counts_for_its_part(
    ca: Authority,
    leaf: Identity,
    issuing_ca: Authority,
    extension: x509.ExtensionType,
    of_holders: bool,
    of_authorities: bool,
):
    """A change to another list, other certificates, something unreadable: nothing is known of who is not on it."""
    made = a_list(ca, extensions=[extension])
    holder = with_extensions(ca, leaf, *points_to("http://lists.example/all.crl"))
    for certificate, counts in ((holder, of_holders), (issuing_ca.certificate, of_authorities)):
        assert judged(certificate, made, by=[ca]) is (Standing.GOOD if counts else Standing.MISSING)


# --- answers of responders: who may say it ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [GOOD, REVOKED, UNKNOWN])
@pytest.mark.parametrize("delegated", [False, True])
def test_the_issuer_or_its_responder_says_how_it_is(
    ca: Authority, leaf: Identity, responder: Identity, status: ocsp.OCSPCertStatus, delegated: bool
):
    """Good, revoked, or that it does not know: then nothing is known."""
    made = (
        an_answer(leaf.certificate, ca.certificate, responder, status=status, along=[responder.certificate])
        if delegated
        else an_answer(leaf.certificate, ca.certificate, ca, status=status)
    )
    wanted = {GOOD: Standing.GOOD, REVOKED: Standing.REVOKED, UNKNOWN: Standing.MISSING}[status]
    assert judged(leaf.certificate, made, by=[ca]) is wanted


def test_one_that_says_revoked_outweighs_all_others(ca: Authority, leaf: Identity):
    """Answer over answer, answer over list, list over answer, in any order."""
    good, bad = (an_answer(leaf.certificate, ca.certificate, ca, status=s) for s in (GOOD, REVOKED))
    for pair in ((good, bad), (bad, good), (bad, a_list(ca)), (good, a_list(ca, leaf.certificate))):
        assert judged(leaf.certificate, *pair, by=[ca]) is Standing.REVOKED
    assert judged(leaf.certificate, good, a_list(ca), by=[ca]) is Standing.GOOD


def said(answer: ocsp.OCSPResponse, certificate: x509.Certificate, *by: Authority, **changes: Any) -> str:
    """Why an answer does not count."""
    facts = {"lists": (), "at": NOW} | changes
    with pytest.raises(Unusable) as caught:
        said_of(answer, certificate, [a.certificate for a in by], facts["lists"], facts["at"])
    return str(caught.value)


NOT_SIGNED = "the answer is not signed by the issuer, nor by a responder it gave the right"


def test_nobody_else_may_answer(ca: Authority, other_ca: Authority, issuing_ca: Authority, leaf: Identity):
    """Not the holder, not another authority of that name, not one that another authority certified for it."""
    holder = an_answer(leaf.certificate, ca.certificate, leaf, along=[leaf.certificate])
    assert said(holder, leaf.certificate, ca) == NOT_SIGNED
    assert said(an_answer(leaf.certificate, ca.certificate, other_ca), leaf.certificate, ca) == NOT_SIGNED
    for elsewhere in (other_ca, issuing_ca):
        theirs = elsewhere.issue("Nordby responder", "signing", key=leaf.key, extensions=[RESPONDS])
        made = an_answer(leaf.certificate, ca.certificate, theirs, along=[theirs.certificate, elsewhere.certificate])
        assert said(made, leaf.certificate, ca, issuing_ca) == NOT_SIGNED
        assert judged(leaf.certificate, made, by=[ca, issuing_ca]) is Standing.MISSING


def test_a_responder_answers_within_its_dates_only(ca: Authority, leaf: Identity):
    """An old right is none."""
    old = ca.issue("Old responder", "signing", key=leaf.key, extensions=[RESPONDS], not_after=AT - timedelta(seconds=1))
    new = ca.issue("New responder", "signing", key=leaf.key, extensions=[RESPONDS], not_before=AT + timedelta(hours=1))
    for one in (old, new):
        made = an_answer(leaf.certificate, ca.certificate, one, along=[one.certificate])
        assert said(made, leaf.certificate, ca) == NOT_SIGNED
    made = an_answer(leaf.certificate, ca.certificate, old, along=[old.certificate])
    assert said_of(made, leaf.certificate, [ca.certificate], (), NOW - HOUR).certificate_status is GOOD


def test_a_certificate_for_other_purposes_gives_no_right(ca: Authority, leaf: Identity):
    """A server's certificate has a purpose, and it is another one."""
    server = ca.issue("localhost", "tls-server", key=leaf.key)
    made = an_answer(leaf.certificate, ca.certificate, server, along=[server.certificate])
    assert said(made, leaf.certificate, ca) == NOT_SIGNED


def test_a_responder_that_is_revoked_itself_gives_no_answers(
    ca: Authority, other_ca: Authority, leaf: Identity, responder: Identity
):
    """As far as its issuer's list is at hand; a list of somebody else harms it not."""
    made = an_answer(leaf.certificate, ca.certificate, responder, along=[responder.certificate])
    assert said(made, leaf.certificate, ca, lists=(a_list(ca, responder.certificate),)) == NOT_SIGNED
    for harmless in (a_list(ca), a_list(other_ca, responder.certificate)):
        assert said_of(made, leaf.certificate, [ca.certificate], (harmless,), NOW).certificate_status is GOOD
    assert judged(leaf.certificate, made, a_list(ca, responder.certificate), by=[ca]) is Standing.GOOD  # by the list


def test_certificates_sent_along_are_tried_up_to_a_limit(ca: Authority, leaf: Identity, responder: Identity):
    """The one that signed must be among the first."""
    others = [ca.issue(f"Other {n}", "signing", key=leaf.key).certificate for n in range(limits.RESPONSE_CERTIFICATES)]
    early = an_answer(leaf.certificate, ca.certificate, responder, along=[*others[1:], responder.certificate])
    assert said_of(early, leaf.certificate, [ca.certificate], (), NOW).certificate_status is GOOD
    late = an_answer(leaf.certificate, ca.certificate, responder, along=[*others, responder.certificate])
    assert said(late, leaf.certificate, ca) == NOT_SIGNED


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_responder_may_have_a_key_of_another_kind(ca: Authority, leaf: Identity, kind: Any):
    """Elliptic curves and Ed25519 verify as RSA does."""
    one = ca.issue("Curve responder", "signing", kind=kind, extensions=[RESPONDS])
    digest = None if isinstance(one.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = an_answer(leaf.certificate, ca.certificate, one, along=[one.certificate], digest=digest)
    assert judged(leaf.certificate, made, by=[ca]) is Standing.GOOD


def test_weak_signatures_and_keys_that_cannot_sign_do_not_count(ca: Authority, leaf: Identity):
    """SHA-1 can be forged; a key for agreement is tried and passed over."""
    strong = an_answer(leaf.certificate, ca.certificate, ca)
    forged = ca.key.sign(strong.tbs_response_bytes, padding.PKCS1v15(), hashes.SHA1())
    der = strong.public_bytes(Encoding.DER).replace(strong.signature, forged)
    weak = ocsp.load_der_ocsp_response(der.replace(RSA_SHA256, RSA_SHA256[:-1] + b"\x05"))
    assert isinstance(weak.signature_hash_algorithm, hashes.SHA1)
    assert said(weak, leaf.certificate, ca) == NOT_SIGNED
    cannot = ca.issue("Mute responder", "encryption", kind="x25519", extensions=[RESPONDS])
    made = an_answer(leaf.certificate, ca.certificate, leaf, along=[cannot.certificate])
    assert said(made, leaf.certificate, ca) == NOT_SIGNED


# --- about whom -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("naming", [hashes.SHA1(), hashes.SHA256(), hashes.SHA512()])
def test_an_answer_is_about_one_certificate(ca: Authority, leaf: Identity, naming: hashes.HashAlgorithm):
    """Known by serial and issuer, whatever digest names the issuer; a neighbour's answer says nothing of us."""
    made = an_answer(leaf.certificate, ca.certificate, ca, naming=naming)
    assert judged(leaf.certificate, made, by=[ca]) is Standing.GOOD
    neighbour = ca.issue("Nordby demonstration", "signing", key=leaf.key)
    assert said(made, neighbour.certificate, ca) == "the answer is about another certificate"


def test_the_issuer_is_known_by_its_key_too(ca: Authority, other_ca: Authority, leaf: Identity):
    """The serial of a certificate under another authority of the same name is another's."""
    made = an_answer(leaf.certificate, other_ca.certificate, ca)
    assert said(made, leaf.certificate, ca) == "the answer is about another certificate"


def test_who_is_believed_must_have_issued_it(ca: Authority, other_ca: Authority, leaf: Identity):
    """Else nobody's answer counts."""
    made = an_answer(leaf.certificate, ca.certificate, ca)
    assert said(made, leaf.certificate, other_ca) == "nobody believed has issued the certificate"
    assert issuer_of(leaf.certificate, [other_ca.certificate, ca.certificate]) == ca.certificate


def test_a_responder_that_failed_has_said_nothing(ca: Authority, leaf: Identity):
    """Its words are told."""
    made = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    assert said(made, leaf.certificate, ca) == "the responder answers try_later"
    assert judged(leaf.certificate, made, by=[ca]) is Standing.MISSING


def test_an_answer_that_cannot_be_read_does_not_count(ca: Authority, leaf: Identity):
    """A signature of a kind nobody knows is a refusal and no bug of ours."""
    der = an_answer(leaf.certificate, ca.certificate, ca).public_bytes(Encoding.DER)
    assert der.count(RSA_SHA256) == 1
    odd = ocsp.load_der_ocsp_response(der.replace(RSA_SHA256, RSA_SHA256[:-1] + b"\x7f"))
    assert said(odd, leaf.certificate, ca) == "the answer cannot be read"


# --- for how long -----------------------------------------------------------------------------------------------------


def test_an_answer_counts_until_its_end_or_the_window(ca: Authority, leaf: Identity):
    """Whichever comes first, and the grace after it; a responder's clock may be a little ahead."""
    hour = AT - timedelta(hours=1)
    for until, window, last in (
        (AT + timedelta(hours=12), PLAIN, NOW + 12 * HOUR),
        (AT + timedelta(days=7), PLAIN, NOW + 23 * HOUR),
        (None, PLAIN, NOW + 23 * HOUR),
        (AT + timedelta(days=7), Window(age=48 * HOUR), NOW + 47 * HOUR),
        (AT + timedelta(hours=12), Window(grace=HOUR), NOW + 13 * HOUR),
    ):
        made = an_answer(leaf.certificate, ca.certificate, ca, at=hour, until=until)
        assert answer_end(next(iter(made.responses)), window) == last
        assert judged(leaf.certificate, made, by=[ca], at=last, window=window) is Standing.GOOD
        assert judged(leaf.certificate, made, by=[ca], at=last + 1, window=window) is Standing.STALE
        first = NOW - HOUR - 5 * MINUTE
        assert answer_begin(next(iter(made.responses))) == first
        assert judged(leaf.certificate, made, by=[ca], at=first, window=window) is Standing.GOOD
        assert judged(leaf.certificate, made, by=[ca], at=first - 1, window=window) is Standing.STALE


def test_a_fresh_word_beside_an_old_one_is_enough(ca: Authority, leaf: Identity):
    """In any order, list or answer."""
    old = an_answer(leaf.certificate, ca.certificate, ca, until=AT - timedelta(minutes=1))
    new = an_answer(leaf.certificate, ca.certificate, ca)
    assert judged(leaf.certificate, old, by=[ca]) is Standing.STALE
    for pair in ((old, new), (new, old), (old, a_list(ca))):
        assert judged(leaf.certificate, *pair, by=[ca]) is Standing.GOOD


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_changed_octet_makes_a_revoked_certificate_good(ca: Authority, leaf: Identity, data: st.DataObject):
    """Whatever somebody on the way alters: it is revoked, or nothing is known."""
    der = bytearray(an_answer(leaf.certificate, ca.certificate, ca, status=REVOKED).public_bytes(Encoding.DER))
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= data.draw(st.integers(1, 255))
    try:
        made = ocsp.load_der_ocsp_response(bytes(der))
    except ValueError:
        return
    assert judged(leaf.certificate, made, by=[ca]) in (Standing.REVOKED, Standing.MISSING)


# --- nonces and addresses ---------------------------------------------------------------------------------------------


def test_a_nonce_is_ours_or_none(ca: Authority, leaf: Identity):
    """Another one is an answer to another question."""
    check_nonce(an_answer(leaf.certificate, ca.certificate, ca), b"n" * 16)
    check_nonce(an_answer(leaf.certificate, ca.certificate, ca, nonce=b"n" * 16), b"n" * 16)
    with pytest.raises(Unusable, match="its nonce is not ours"):
        check_nonce(an_answer(leaf.certificate, ca.certificate, ca, nonce=b"m" * 16), b"n" * 16)


def test_an_answer_with_two_nonces_is_none(ca: Authority, leaf: Identity):
    """What cannot be read is a refusal."""
    der = an_answer(leaf.certificate, ca.certificate, ca, nonce=b"n" * 16, beside=b"m" * 16).public_bytes(Encoding.DER)
    oid = bytes.fromhex("2b0601050507300102")
    assert (der.count(oid), der.count(oid[:-1] + b"\x7f")) == (1, 1)
    twice = ocsp.load_der_ocsp_response(der.replace(oid[:-1] + b"\x7f", oid))
    with pytest.raises(Unusable, match="cannot be read"):
        check_nonce(twice, b"n" * 16)


def test_a_certificate_says_where_to_ask(ca: Authority, leaf: Identity):
    """Lists and responders over http and https, at most as many as the limit; none where it says nothing."""
    many = [f"http://lists.example/{n}.crl" for n in range(9)]
    full = with_extensions(ca, leaf, *points_to(*many, responder="HTTPS://ocsp.example/x"))
    assert list_urls(full) == many[: limits.REVOCATION_POINTS]
    assert responder_urls(full) == ["HTTPS://ocsp.example/x"]
    assert (list_urls(leaf.certificate), responder_urls(leaf.certificate)) == ([], [])


def test_what_cannot_be_asked_is_left_out(ca: Authority, leaf: Identity):
    """Directories, relative names, other people's lists, lists of some reasons, and where the issuer's certificate is."""
    url, ldap = (x509.UniformResourceIdentifier(f"{scheme}://lists.example/a") for scheme in ("http", "ldap"))
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    name = [x509.DirectoryName(ca.certificate.subject)]
    points = [
        x509.DistributionPoint([ldap, *name], None, None, None),
        x509.DistributionPoint(None, relative, None, None),
        x509.DistributionPoint([url], None, None, name),
        x509.DistributionPoint([url], None, frozenset({x509.ReasonFlags.key_compromise}), None),
    ]
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, url),
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, ldap),
    ]
    odd = with_extensions(ca, leaf, x509.CRLDistributionPoints(points), x509.AuthorityInformationAccess(access))
    assert (list_urls(odd), responder_urls(odd)) == ([], [])
    oids = (x509.CRLDistributionPoints.oid, x509.AuthorityInformationAccess.oid)
    broken = with_extensions(ca, leaf, *(x509.UnrecognizedExtension(oid, b"\xff\xff") for oid in oids))
    assert (list_urls(broken), responder_urls(broken)) == ([], [])
