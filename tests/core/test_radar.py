"""The radar: what is told, at which day, how often, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.pki import Authority, Identity
from core import radar
from core.clock import DAY
from core.radar import THRESHOLDS, Watched, days_left, notices, passed
from core.trust import fingerprint
from tests.core.certificates import AT, NOW, a_list

TWO_YEARS = Watched("own", "signing", "signing", "CN=Fictitious Town", "ab" * 32, NOW - 730 * DAY, NOW)


def test_a_threshold_is_passed_on_its_day_and_the_nearest_one_counts():
    """A microsecond before it nothing is said; the end itself is not over yet."""
    assert passed(TWO_YEARS, NOW - 60 * DAY - 1) is None
    for days, following in zip(THRESHOLDS, [*THRESHOLDS[1:], 0], strict=True):
        assert passed(TWO_YEARS, NOW - days * DAY) == days
        assert passed(TWO_YEARS, NOW - following * DAY - 1) == days
    assert passed(TWO_YEARS, NOW) == 1
    assert passed(TWO_YEARS, NOW + 1) == 0
    assert passed(TWO_YEARS, NOW + 999 * DAY) == 0


def test_what_never_lasts_long_is_not_announced_from_its_first_day():
    """A list of a week is told of on its last day, and when it has ended."""
    week = replace(TWO_YEARS, begin=NOW - 7 * DAY)
    assert passed(week, NOW - 7 * DAY) is None
    assert passed(week, NOW - DAY - 1) is None
    assert passed(week, NOW - DAY) == 1
    day = replace(TWO_YEARS, begin=NOW - DAY)
    assert passed(day, NOW - 1) is None
    assert passed(day, NOW + 1) == 0


def test_days_left_are_whole_days():
    """Less than one is none; ended is below nothing."""
    assert days_left(TWO_YEARS, NOW - 2 * DAY) == 2
    assert days_left(TWO_YEARS, NOW - 2 * DAY + 1) == 1
    assert days_left(TWO_YEARS, NOW) == 0
    assert days_left(TWO_YEARS, NOW + 1) == -1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(min_value=-100 * DAY, max_value=10 * DAY), min_size=1, max_size=40))
def test_whoever_looks_in_order_is_told_once_for_each_threshold(looks: list[int]):
    """However often one looks, an id is new at most six times, and each new one is nearer to the end than the last."""
    seen: list[str] = []
    for look in sorted(looks):
        for notice in notices([TWO_YEARS], NOW + look):
            if notice.id not in seen:
                seen.append(notice.id)
    told = [int(name.rpartition("-")[2]) for name in seen]
    assert told == sorted(told, reverse=True)
    assert set(told) <= {*THRESHOLDS, 0}


def test_the_words_say_what_where_when_and_what_to_do():
    """Every use is named once; the number of days is that of today; an id is short enough for the ledger."""
    other = replace(TWO_YEARS, owner="hospital", use="signing certificate", name="certificates/a.pem")
    (notice,) = notices([TWO_YEARS, other, TWO_YEARS], NOW - 20 * DAY)
    assert notice.id == "expiry-" + "ab" * 20 + "-30"
    assert len(notice.id) <= 64
    assert notice.text == (
        "signing certificate of hospital (certificates/a.pem), signing of own (signing): CN=Fictitious Town"
        " ends on 2026-03-01 13:00:00.000, in 20 days. What to do: get the next one, and follow"
        " docs/how-to/change-keys.md"
    )
    assert "in 1 day." in notices([TWO_YEARS], NOW - DAY)[0].text
    assert "in 0 days." in notices([TWO_YEARS], NOW - 5)[0].text
    assert "has ended on 2026-03-01 13:00:00.000." in notices([TWO_YEARS], NOW + 1)[0].text
    assert notices([TWO_YEARS], NOW - 61 * DAY) == []


def test_two_things_are_told_of_apart():
    """They are known by what they are, not by where they are used."""
    other = replace(TWO_YEARS, fingerprint="cd" * 32)
    assert len({n.id for n in notices([TWO_YEARS, other], NOW)}) == 2


def test_a_certificate_is_watched_from_its_begin_to_its_end(leaf: Identity):
    """With the names people know it by."""
    made = radar.certificate("hospital", "encryption", "certificates/h.pem", leaf.certificate)
    assert (made.owner, made.use, made.name) == ("hospital", "encryption", "certificates/h.pem")
    assert (made.subject, made.fingerprint) == (
        "CN=Egedal demonstration,O=Stafet demonstration,C=DK",
        fingerprint(leaf.certificate),
    )
    assert (made.begin, made.end) == (NOW - DAY, NOW + 825 * DAY)


def test_a_list_is_watched_until_the_next_one_is_due(ca: Authority):
    """By its own digest, so that the next one is another thing."""
    one, two = (a_list(ca, until=AT + timedelta(days=n)) for n in (30, 31))
    first, second = (radar.revocation_list("hospital", "list", "certificates/a.crl", item) for item in (one, two))
    assert first.subject == ca.certificate.subject.rfc4514_string()
    assert (first.begin, first.end) == (NOW - DAY // 24, NOW + 30 * DAY)
    assert first.fingerprint != second.fingerprint


def test_a_list_without_an_end_has_ended(ca: Authority):
    """It is never fresh, and people are told."""

    class Endless:
        """A list whose issuer left the field out."""

        last_update_utc, next_update_utc, issuer = AT, None, ca.certificate.subject

        def public_bytes(self, _encoding: object) -> bytes:
            return b"list"

    made: x509.CertificateRevocationList = Endless()  # type: ignore[assignment]
    assert passed(radar.revocation_list("hospital", "list", "a.crl", made), NOW + 1) == 0
