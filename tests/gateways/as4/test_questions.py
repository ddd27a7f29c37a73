"""What is asked about a chain, and which answers are taken in place of the ones before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from conformance.pki import Authority, Identity
from core import limits
from core.clock import DAY, HOUR, MINUTE
from core.revocation import Unusable, Window
from gateways.as4.questions import Held, Known, Question, each_once, evidence, questions, take
from tests.core.answers import REVOKED, UNKNOWN, an_answer, points_to
from tests.core.certificates import AT, NOW, a_list, under, with_extensions

LIST, RESPONDER = "http://lists.example/all.crl", "http://ocsp.example/"


@pytest.fixture(scope="module")
def ca() -> Authority:
    """An authority that a partner is known by."""
    return Authority("Birkelund demonstration CA", AT)


@pytest.fixture(scope="module")
def leaf(ca: Authority) -> Identity:
    """A certificate that says where to ask about it."""
    return ca.issue("Egedal demonstration", "signing", extensions=points_to(LIST, responder=RESPONDER))


@pytest.fixture
def asked(ca: Authority, leaf: Identity) -> tuple[Question, Question]:
    """The list and the responder."""
    one, two = questions(Known((leaf.certificate, ca.certificate), (), Window()))
    return one, two


def der(made: Any) -> bytes:
    """Octets as they are fetched."""
    return made.public_bytes(Encoding.DER)  # type: ignore[no-any-return]


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_each_certificate_below_the_anchor_is_asked_about(ca: Authority, leaf: Identity):
    """Of the anchor nobody is asked; an authority in between has places of its own."""
    other = Authority("Birkelund issuing demonstration CA", AT)
    middle = under(ca, other)
    middle.certificate = with_extensions(ca, Identity(other.key, other.certificate), *points_to("http://x.example/m"))
    holder = middle.issue("Egedal demonstration", "signing", key=leaf.key, extensions=points_to(LIST))
    path = (holder.certificate, middle.certificate, ca.certificate)
    found = questions(Known(path, (), Window()))
    assert [(q.url, q.certificate) for q in found] == [(LIST, None), ("http://x.example/m", None)]
    assert [q.authorities for q in found] == [(middle.certificate,), (ca.certificate,)]
    assert questions(Known((ca.certificate,), (ca.certificate,), Window())) == []
    assert questions(Known((holder.certificate,), (), Window())) == []


def test_lists_of_the_configuration_are_asked_for_too(ca: Authority, leaf: Identity):
    """Each once; a list at the same place under other authorities is another question."""
    known = Known((leaf.certificate, ca.certificate), (ca.certificate,), Window(), ("http://x.example/a", LIST))
    assert [q.url for q in questions(known)] == ["http://x.example/a", LIST, RESPONDER]
    (elsewhere,) = questions(Known((), (leaf.certificate,), Window(), (LIST,)))
    assert elsewhere.key not in {q.key for q in questions(known)}


def test_of_two_windows_the_stricter_one_is_kept(ca: Authority):
    """What one partner may still believe another may not."""
    short, long = (Question(LIST, None, (ca.certificate,), Window(age=n * HOUR)) for n in (1, 24))
    for order in ((short, long), (long, short)):
        assert list(each_once(order).values()) == [short]


def test_a_question_has_a_name_that_is_fit_for_a_file(asked: tuple[Question, Question]):
    """And limits of its own kind."""
    one, two = asked
    assert one.key != two.key
    assert one.key.isalnum() and len(one.key) == 64
    assert (one.limit, two.limit) == (limits.REVOCATION_LIST_SIZE, limits.RESPONSE_SIZE)


def test_a_responder_is_asked_with_a_nonce(ca: Authority, leaf: Identity, asked: tuple[Question, Question]):
    """About this certificate and no other."""
    request = ocsp.load_der_ocsp_request(asked[1].request(b"n" * 16))
    assert request.serial_number == leaf.certificate.serial_number
    assert request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 16
    for nobody in (asked[0], Question(RESPONDER, leaf.certificate, (leaf.certificate,), Window())):
        with pytest.raises(Unusable, match="nobody believed has issued"):
            nobody.request(b"n" * 16)


# --- what is taken ----------------------------------------------------------------------------------------------------


def test_a_list_is_taken_in_either_form(ca: Authority, asked: tuple[Question, Question]):
    """It counts from its date until its end and the grace."""
    made = a_list(ca)
    for octets in (der(made), made.public_bytes(Encoding.PEM)):
        held = take(asked[0], octets, None, NOW)
        assert (held.what, held.begin, held.end) == (made, NOW - HOUR, NOW + 30 * DAY)
    graced = Question(LIST, None, (ca.certificate,), Window(grace=HOUR))
    assert take(graced, der(made), None, NOW + 30 * DAY + HOUR).end == NOW + 30 * DAY + HOUR


@pytest.mark.parametrize("status", [ocsp.OCSPCertStatus.GOOD, REVOKED])
def test_an_answer_is_taken_whatever_it_says(
    ca: Authority, leaf: Identity, asked: tuple[Question, Question], status: ocsp.OCSPCertStatus
):
    """Good or revoked; with our nonce or none."""
    for nonce in (None, b"n" * 16):
        made = an_answer(leaf.certificate, ca.certificate, ca, status=status, nonce=nonce)
        held = take(asked[1], der(made), None, NOW, b"n" * 16)
        assert (held.begin, held.end) == (NOW - HOUR, NOW + 12 * HOUR)
        assert [a.certificate_status for a in evidence([held]).answers] == [status]


def refused(question: Question, made: Any, before: Held | None = None, at: int = NOW, **facts: Any) -> str:
    """Why something is not taken."""
    with pytest.raises(Unusable) as caught:
        take(question, made if isinstance(made, bytes) else der(made), before, at, **facts)
    return str(caught.value)


def test_what_is_wrong_is_not_taken(
    ca: Authority, leaf: Identity, asked: tuple[Question, Question], monkeypatch: pytest.MonkeyPatch
):
    """Somebody else's, out of date, from the future, about others, with another nonce, unreadable, too large."""
    lists, answers = asked
    other = Authority("Birkelund demonstration CA", AT)
    good = an_answer(leaf.certificate, ca.certificate, ca)
    assert "not signed by an authority" in refused(lists, a_list(other))
    assert "not signed by the issuer" in refused(answers, an_answer(leaf.certificate, ca.certificate, other))
    assert refused(lists, a_list(ca), at=NOW + 31 * DAY) == "it is out of date"
    assert refused(answers, good, at=NOW + 13 * HOUR) == "it is out of date"
    assert "from the future" in refused(lists, a_list(ca), at=NOW - HOUR - 5 * MINUTE - 1)
    assert "from the future" in refused(answers, good, at=NOW - HOUR - 5 * MINUTE - 1)
    take(answers, der(good), None, NOW - HOUR - 5 * MINUTE)
    unknown = an_answer(leaf.certificate, ca.certificate, ca, status=UNKNOWN)
    assert refused(answers, unknown) == "the responder does not know the certificate"
    noted = an_answer(leaf.certificate, ca.certificate, ca, nonce=b"m" * 16)
    assert "nonce is not ours" in refused(answers, noted, nonce=b"n" * 16)
    take(answers, der(noted), None, NOW)
    neighbour = ca.issue("Nordby demonstration", "signing", key=leaf.key)
    about_other = an_answer(neighbour.certificate, ca.certificate, ca)
    assert refused(answers, about_other) == "the answer is about another certificate"
    for junk in (b"", b"<html>not found</html>", b"-----BEGIN X509 CRL-----\n", b"\x30\x80" * 50):
        assert refused(lists, junk) == "it is no revocation list that can be read"
        assert refused(answers, junk) == "it is no answer of a responder"
    two = a_list(ca).public_bytes(Encoding.PEM) * 2
    assert refused(lists, two) == "it is no revocation list that can be read"
    assert refused(answers, b"x" * (limits.RESPONSE_SIZE + 1)) == f"more than {limits.RESPONSE_SIZE} octets"
    monkeypatch.setattr(limits, "REVOCATION_LIST_SIZE", len(der(a_list(ca))) - 1)
    assert "octets" in refused(lists, a_list(ca))


def test_an_older_answer_does_not_take_the_place_of_a_newer_one(
    ca: Authority, leaf: Identity, asked: tuple[Question, Question]
):
    """Who records "good" cannot play it back once "revoked" has been said, though it has not ended yet."""
    lists, answers = asked
    good = an_answer(leaf.certificate, ca.certificate, ca)
    revoked = an_answer(leaf.certificate, ca.certificate, ca, status=REVOKED, at=AT)
    held = take(answers, der(revoked), take(answers, der(good), None, NOW), NOW)
    assert refused(answers, good, held) == "it is older than the one we have"
    assert take(answers, der(revoked), held, NOW).begin == held.begin
    old = take(lists, der(a_list(ca)), None, NOW)
    newer = Held(old.what, old.begin + 1, old.end)
    assert refused(lists, a_list(ca), newer) == "it is older than the one we have"


def test_it_is_asked_again_when_half_of_the_time_is_over(ca: Authority):
    """Not more often than once a minute, and at least four times a day."""
    made = a_list(ca)
    for left, wanted in ((HOUR, 30 * MINUTE), (30 * DAY, 6 * HOUR), (MINUTE, MINUTE), (0, MINUTE), (-DAY, MINUTE)):
        assert Held(made, 0, NOW + left).again(NOW) == NOW + wanted


def test_evidence_is_sorted_by_kind(ca: Authority, leaf: Identity):
    """Lists and answers."""
    made, answer = a_list(ca), an_answer(leaf.certificate, ca.certificate, ca, until=AT + timedelta(hours=1))
    found = evidence([Held(answer, 0, 0), Held(made, 0, 0)])
    assert (found.lists, found.answers) == ((made,), (answer,))
