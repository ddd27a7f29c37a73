"""Whom a partner is believed to be: pinned certificates, anchors, and what is known of revocation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from accesspoint.errors import EbmsError
from accesspoint.tokens import KeyReference
from conformance.estate import Estate
from conformance.pki import Authority, write
from core.clock import DAY, HOUR, MINUTE, FrozenClock, from_datetime
from core.revocation import Evidence, Window
from core.trust import lists_in
from gateways.as4.partners import Neighbour, Partners, build
from tests.core.answers import points_to
from tests.gateways.as4.making import authority, configuration, stranger
from tests.gateways.as4.neighbours import anchored, built, certificate_file, edit_partner, hospital, identities

# --- whom to believe --------------------------------------------------------------------------------------------------


def _refusal(neighbour: Neighbour, reference: KeyReference, at: int) -> EbmsError:
    with pytest.raises(EbmsError) as caught:
        neighbour.believe(reference, at)
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0101", "certificate")
    assert caught.value.remedy
    return caught.value


def test_a_pinned_certificate_is_believed_for_its_partner(estate: Estate):
    """However it is referred to."""
    partners = built(estate)
    neighbour = partners.by_id["hospital"]
    certificate = certificate_file(estate.municipality.home, "hospital-signing.pem")
    ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    believed = partners.trust(neighbour.pmodes[0])
    for reference in (KeyReference(chain=(certificate,)), KeyReference(ski=ski)):
        assert list(believed(reference)) == [certificate]


def test_anybody_else_is_not_believed_and_both_names_are_said(estate: Estate):
    """Also our own certificate, or their encryption certificate: pinned is pinned."""
    neighbour, at = hospital(estate), from_datetime(estate.at)
    other = stranger().certificate
    refusal = _refusal(neighbour, KeyReference(chain=(other,)), at)
    assert "'Demo Stranger signing'" in refusal.cause and "'Demo Hospital signing'" in refusal.cause
    assert "'another certificate'" in _refusal(neighbour, KeyReference(ski=b"x" * 20), at).cause
    for name in ("municipality-signing.pem", "hospital-decryption.pem", "demo-ca.pem"):
        _refusal(neighbour, KeyReference(chain=(certificate_file(estate.municipality.home, name),)), at)


def test_a_pinned_certificate_is_believed_within_its_dates_only(estate: Estate):
    """Before and after, the reason says which."""
    neighbour = hospital(estate)
    reference = KeyReference(chain=(certificate_file(estate.municipality.home, "hospital-signing.pem"),))
    at = from_datetime(estate.at)
    assert neighbour.believe(reference, at)
    assert "expired on" in _refusal(neighbour, reference, at + 826 * DAY).cause
    assert "not valid before" in _refusal(neighbour, reference, at - 2 * DAY).cause


def test_a_certificate_that_is_not_for_signing_is_not_believed(estate: Estate):
    """Even when somebody pinned it."""
    edit_partner(estate, signing_certificates=["certificates/hospital-decryption.pem"])
    reference = KeyReference(chain=(certificate_file(estate.municipality.home, "hospital-decryption.pem"),))
    assert "is not for signing" in _refusal(hospital(estate), reference, from_datetime(estate.at)).cause


def test_old_and_new_certificate_are_both_believed_in_an_overlap(estate: Estate):
    """A roll-over needs no hour at which both sides change."""
    fresh = authority().issue("Demo Hospital signing 2", "signing")
    folder = estate.municipality.home / "config" / "certificates"
    write(folder / "hospital-signing-2.pem", fresh.certificate_pem())
    edit_partner(
        estate, signing_certificates=["certificates/hospital-signing.pem", "certificates/hospital-signing-2.pem"]
    )
    neighbour, at = hospital(estate), from_datetime(authority().at)
    for certificate in (certificate_file(estate.municipality.home, "hospital-signing.pem"), fresh.certificate):
        assert list(neighbour.believe(KeyReference(chain=(certificate,)), at)) == [certificate]


def test_a_renewed_certificate_over_the_same_key_is_believed_when_the_old_one_has_ended(estate: Estate):
    """Both have the same key identifier; that the old one is over does not spoil the new one."""
    at = authority().at
    old = authority().issue("Demo Hospital old", "signing", not_after=at + timedelta(days=1))
    new = authority().issue("Demo Hospital new", "signing", key=old.key)
    folder = estate.municipality.home / "config" / "certificates"
    write(folder / "old.pem", old.certificate_pem())
    write(folder / "new.pem", new.certificate_pem())
    edit_partner(estate, signing_certificates=["certificates/old.pem", "certificates/new.pem"])
    ski = old.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    neighbour, now = hospital(estate), from_datetime(at)
    assert list(neighbour.believe(KeyReference(ski=ski), now)) == [old.certificate, new.certificate]
    assert list(neighbour.believe(KeyReference(ski=ski), now + 2 * DAY)) == [new.certificate]
    assert "expired on" in _refusal(neighbour, KeyReference(ski=ski), now + 900 * DAY).cause


# --- anchors ----------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("DR_TA04")
def test_under_an_anchor_the_agreed_name_is_believed_and_no_other(estate: Estate):
    """Anyone can get a certificate under a public authority; the subject tells whose it is."""
    neighbour, at = anchored(estate, authority()), from_datetime(authority().at)
    mine = authority().issue("Demo Hospital signing", "signing")
    assert list(neighbour.believe(KeyReference(chain=(mine.certificate,)), at)) == [mine.certificate]
    refusal = _refusal(neighbour, KeyReference(chain=(stranger().certificate,)), at)
    assert "'Demo Stranger signing', agreed is 'Demo Hospital signing'" in refusal.cause


@pytest.mark.assertion("DR_TA02")
def test_the_agreed_name_under_another_authority_is_not_believed(estate: Estate):
    """A name is only worth what its issuer is."""
    other = Authority("Stafet Other CA", authority().at)
    fake = other.issue("Demo Hospital signing", "signing")
    refusal = _refusal(anchored(estate, authority()), KeyReference(chain=(fake.certificate,)), from_datetime(other.at))
    assert "no chain leads from" in refusal.cause


def test_under_an_anchor_the_certificate_must_come_along(estate: Estate):
    """A key identifier alone leads nowhere."""
    refusal = _refusal(anchored(estate, authority()), KeyReference(ski=b"x" * 20), from_datetime(authority().at))
    assert "must send it along" in refusal.cause


def test_a_revoked_certificate_is_not_believed(estate: Estate):
    """The list is configuration."""
    mine = authority().issue("Demo Hospital signing", "signing")
    at = from_datetime(authority().at)
    reference = KeyReference(chain=(mine.certificate,))
    assert anchored(estate, authority(), []).believe(reference, at)
    assert "is revoked" in _refusal(anchored(estate, authority(), [mine.certificate]), reference, at).cause


def test_a_list_out_of_date_is_a_refusal_seen_within_a_minute(estate: Estate):
    """A chain found good is remembered for a minute and no longer."""
    neighbour = anchored(estate, authority(), [])
    mine = authority().issue("Demo Hospital signing", "signing")
    reference = KeyReference(chain=(mine.certificate,))
    assert neighbour.trust is not None
    end = neighbour.trust.lists[0].next_update_utc
    assert end is not None
    last = from_datetime(end)
    assert neighbour.believe(reference, last - 1)
    assert neighbour.believe(reference, last + MINUTE - 2)
    assert "is out of date" in _refusal(neighbour, reference, last + MINUTE - 1).cause


def test_what_is_remembered_is_bounded(estate: Estate):
    """However many certificates a partner signs with."""
    neighbour, at = anchored(estate, authority()), from_datetime(authority().at)
    mine = authority().issue("Demo Hospital signing", "signing")
    neighbour._good.update({object(): at for _ in range(1001)})  # type: ignore[misc]
    neighbour.believe(KeyReference(chain=(mine.certificate,)), at)
    assert list(neighbour._good) == [mine.certificate]


# --- what is fetched --------------------------------------------------------------------------------------------------

LIST = "http://lists.example/all.crl"


def test_under_anchors_the_agreed_organisation_and_policy_are_demanded(estate: Estate):
    """Each is a refusal with the field that says what was agreed."""
    anchored(estate, authority())
    policy = "1.3.6.1.4.1.99999.2.1"
    edit_partner(estate, signing_subject=None, signing_organisation="NTRDK-demo-1", certificate_policies=[policy])
    neighbour, at = hospital(estate), from_datetime(authority().at)
    carried = [x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(policy), None)])]
    mine = authority().issue("Any name", "signing", organisation_id="NTRDK-demo-1", extensions=carried)
    assert list(neighbour.believe(KeyReference(chain=(mine.certificate,)), at)) == [mine.certificate]
    plain = authority().issue("Any name", "signing", key=mine.key, organisation_id="NTRDK-demo-1")
    refusal = _refusal(neighbour, KeyReference(chain=(plain.certificate,)), at)
    assert refusal.cause.startswith("certificate policies: ")
    other = authority().issue("Any name", "signing", key=mine.key, organisation_id="NTRDK-demo-2", extensions=carried)
    assert "agreed is 'NTRDK-demo-1'" in _refusal(neighbour, KeyReference(chain=(other.certificate,)), at).cause


def _fetching(estate: Estate, held: Evidence) -> tuple[Neighbour, list[tuple[Any, ...]], Partners]:
    """The hospital, whose certificates' revocation is fetched; and what is asked of memory."""
    asked: list[tuple[Any, ...]] = []

    def shelf(path: Sequence[x509.Certificate], window: Window) -> Evidence:
        asked.append((tuple(path), window))
        return held

    home = estate.municipality.home
    clock = FrozenClock(from_datetime(estate.at))
    partners = build(configuration(home), identities(home), clock, shelf)
    return partners.by_id["hospital"], asked, partners


def test_what_was_fetched_is_asked_of_memory_once_a_minute(estate: Estate):
    """With the partner's window; without a word nobody is believed."""
    anchored(estate, authority())
    edit_partner(estate, revocation="fetch", revocation_window=2, revocation_grace=0.5)
    mine, at = authority().issue("Demo Hospital signing", "signing"), from_datetime(authority().at)
    reference = KeyReference(chain=(mine.certificate,))
    (made,) = lists_in(authority().revocation_list([]))
    neighbour, asked, _ = _fetching(estate, Evidence((made,)))
    for later in (0, MINUTE - 1, MINUTE):
        assert neighbour.believe(reference, at + later)
    assert asked == [((mine.certificate, authority().certificate), Window(2 * HOUR, HOUR // 2))] * 2
    assert "is revoked is not known" in _refusal(_fetching(estate, Evidence())[0], reference, at).cause
    assert "is revoked is not known" in _refusal(hospital(estate), reference, at).cause


@pytest.mark.parametrize("how", ["lists", "fetch"])
def test_a_pinned_certificate_that_is_revoked_is_not_believed(estate: Estate, how: str):
    """Where its issuer is given, the issuer is asked; the other pinned certificate is believed all the same."""
    folder = estate.municipality.home / "config" / "certificates"
    mine = [authority().issue(f"Demo Hospital signing {n}", "signing", extensions=points_to(LIST)) for n in (1, 2)]
    for number, one in enumerate(mine, start=1):
        write(folder / f"pinned-{number}.pem", one.certificate_pem())
    write(folder / "above.pem", authority().pem())
    octets = authority().revocation_list([mine[0].certificate])
    write(folder / "above.crl", octets)
    pinned = [f"certificates/pinned-{n}.pem" for n in (1, 2)]
    lists = {"revocation_lists": ["certificates/above.crl"]} if how == "lists" else {"revocation": "fetch"}
    edit_partner(estate, signing_certificates=pinned, issuers=["certificates/above.pem"], **lists)
    neighbour, asked, _ = _fetching(estate, Evidence(tuple(lists_in(octets))))
    at = from_datetime(authority().at)
    refusal = _refusal(neighbour, KeyReference(chain=(mine[0].certificate,)), at)
    assert refusal.cause.endswith("is revoked")
    good = mine[1].certificate
    for _ in range(2):
        assert list(neighbour.believe(KeyReference(chain=(good,)), at)) == [good]
    paths = [path for path, _ in asked]
    assert paths == ([(c.certificate, authority().certificate) for c in mine] if how == "fetch" else [])


def test_what_is_known_beforehand_is_fetched_before_the_first_message(estate: Estate):
    """Pinned certificates, authorities in between, lists that are named, and the list of the encryption certificate."""
    folder = estate.municipality.home / "config" / "certificates"
    pinned = authority().issue("Demo Hospital signing", "signing", extensions=points_to(LIST))
    encryption = authority().issue("Demo Hospital decryption", "encryption", extensions=points_to("http://e.example/"))
    for name, octets in (("pinned", pinned.certificate_pem()), ("above", authority().pem())):
        write(folder / f"{name}.pem", octets)
    fields = {"signing_certificates": ["certificates/pinned.pem"], "issuers": ["certificates/above.pem"]}
    edit_partner(estate, **fields, revocation="fetch", revocation_urls=["http://more.example/a"])
    top = authority().certificate
    known = list(_fetching(estate, Evidence())[2].known())
    assert [(k.path, k.urls) for k in known] == [
        ((), ("http://more.example/a",)),
        ((pinned.certificate, top), ()),
        ((top,), ()),
    ]
    write(folder / "hospital-decryption.pem", encryption.certificate_pem())
    edit_partner(estate, signing_certificates=[], anchors=["certificates/above.pem"], issuers=[], signing_subject="x")
    (only,) = _fetching(estate, Evidence())[2].known()
    assert only.urls == ("http://more.example/a", "http://e.example/")
    assert set(only.authorities) == {top}
    edit_partner(estate, revocation=None, revocation_urls=[])
    assert list(built(estate).known()) == []
