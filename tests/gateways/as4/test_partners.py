"""Partners as the protocol needs them: P-Modes, trust, keys."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils, x25519

from accesspoint import ebms, names
from accesspoint.errors import EbmsError
from accesspoint.profiles import EDELIVERY_1_15, PROFILES
from accesspoint.tokens import KeyReference
from conformance.estate import ACTION, FILES, INTEGRATION, PARTY_TYPE, SERVICE, SERVICE_TYPE, Estate
from conformance.pki import Authority, Kind, Use, write
from core.clock import DAY, HOUR, MINUTE, FrozenClock, from_datetime
from core.errors import ConfigError, Fatal
from core.revocation import Evidence, Window
from core.schedule import RetryPlan
from core.trust import Identity, lists_in, load_identity
from gateways.as4.partners import Neighbour, Partners, build, signer, typed
from gateways.as4.settings import PartyIdentifier
from tests.core.answers import points_to
from tests.gateways.as4.making import authority, configuration, edit, stranger


def _identity(home: Path) -> Callable[[str], Identity]:
    return lambda name: load_identity(home / "keys", name)


def _built(estate: Estate) -> Partners:
    """The municipality's partners, at the hour its keys were made."""
    home = estate.municipality.home
    return build(configuration(home), _identity(home), FrozenClock(from_datetime(estate.at)))


def _hospital(estate: Estate) -> Neighbour:
    return _built(estate).by_id["hospital"]


def _pem(home: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "config" / "certificates" / name).read_bytes())


def _edit(estate: Estate, **fields: object) -> None:
    edit(estate.municipality.home, "as4.yaml", "as4.partner", **fields)


# --- P-Modes ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R83", "R85")
def test_an_exchange_in_both_directions_becomes_two_pmodes(estate: Estate):
    """Whoever sends is the initiator; everything else is the partner file's."""
    partners = _built(estate)
    wanted = [f"hospital/{index}/{direction}" for index in range(2) for direction in ("send", "receive")]
    assert [p.id for p in partners.pmodes()] == wanted
    out, back, *_ = partners.pmodes()
    us, them = ebms.Typed("demo-municipality", PARTY_TYPE), ebms.Typed("demo-hospital", PARTY_TYPE)
    assert (out.us, out.them) == (ebms.Party(us, names.INITIATOR), ebms.Party(them, names.RESPONDER))
    assert (back.us, back.them) == (ebms.Party(us, names.RESPONDER), ebms.Party(them, names.INITIATOR))
    assert (out.may_send, out.may_receive, back.may_send, back.may_receive) == (True, False, False, True)
    assert (out.service, out.action, out.integration) == (ebms.Typed(SERVICE, SERVICE_TYPE), ACTION, INTEGRATION)
    assert (out.address, out.agreement, out.profile.name) == (
        f"https://localhost:{estate.hospital.port}/as4",
        None,
        "edelivery-1.15",
    )
    assert out.their_encryption_certificate == _pem(estate.municipality.home, "hospital-decryption.pem")
    assert partners.of(out) is partners.by_id["hospital"]
    assert partners.of(out).by_pmode[back.id].integration == INTEGRATION


def test_what_is_sent_is_found_by_its_integration(estate: Estate):
    """An exchange that only receives is never sent with."""
    service = {"value": SERVICE, "type": SERVICE_TYPE}
    exchanges = [
        {"integration": INTEGRATION, "service": dict(service), "action": "in", "direction": "receive"},
        {"integration": FILES, "service": dict(service), "action": "out", "direction": "send"},
    ]
    _edit(estate, exchanges=exchanges)
    neighbour = _hospital(estate)
    assert [p.id for p in neighbour.pmodes] == ["hospital/0/receive", "hospital/1/send"]
    found = neighbour.pmode_for(FILES)
    assert found is not None and found.action == "out"
    assert neighbour.pmode_for(INTEGRATION) is None
    assert neighbour.pmode_for("nothing") is None


def test_an_agreement_may_name_business_roles(estate: Estate):
    """They stand in both directions, and the agreement's reference with its type."""
    _edit(
        estate,
        our_role="urn:demo:buyer",
        their_role="urn:demo:seller",
        agreement={"value": "a-1", "type": "urn:demo:agreements"},
        retry={"attempts": 3, "first_wait": 0.5, "longest_wait": 2},
    )
    neighbour = _hospital(estate)
    for pmode in neighbour.pmodes:
        assert (pmode.us.role, pmode.them.role) == ("urn:demo:buyer", "urn:demo:seller")
        assert pmode.agreement == ebms.Typed("a-1", "urn:demo:agreements")
    assert neighbour.retry == RetryPlan(3, 500_000, 2_000_000)


def test_what_a_partner_does_otherwise_is_in_its_pmodes(estate: Estate):
    """Further algorithms are accepted and never sent; names without a type, and what both sides call an exchange."""
    service = {"value": "homecare"}
    exchanges = [
        {"integration": INTEGRATION, "service": service, "action": "a", "pmode": "homecare-1"},
        {"integration": FILES, "service": dict(service), "action": "b"},
    ]
    agreement = {"value": "agreement"}
    _edit(
        estate,
        also_accept=["rsa-sha512", "rsa-oaep-mgf1p"],
        untyped_names=True,
        exchanges=exchanges,
        agreement=agreement,
    )
    neighbour = _hospital(estate)
    assert neighbour.profile == EDELIVERY_1_15
    for pmode in neighbour.pmodes:
        assert pmode.profile.signatures == (names.RSA_SHA256, names.RSA_SHA512)
        assert pmode.profile.key_transports == (names.RSA_OAEP, names.RSA_OAEP_MGF1P)
        assert (
            replace(pmode.profile, signatures=(names.RSA_SHA256,), key_transports=(names.RSA_OAEP,)) == EDELIVERY_1_15
        )
        assert pmode.untyped_names and pmode.service == ebms.Typed("homecare")
    assert [p.name for p in neighbour.pmodes] == ["homecare-1", "homecare-1", "", ""]


def test_what_is_left_out_is_as_the_specification_says(estate: Estate):
    """Nothing more is accepted than the profile's own, names have types, and a P-Mode has no name."""
    for pmode in _hospital(estate).pmodes:
        assert (pmode.profile, pmode.untyped_names, pmode.name) == (EDELIVERY_1_15, False, "")


def test_a_configured_value_keeps_its_type():
    """Value and type together are what the header says."""
    assert typed(PartyIdentifier(value="a", type="urn:b")) == ebms.Typed("a", "urn:b")
    assert typed(PartyIdentifier(value="urn:a")) == ebms.Typed("urn:a", None)


def test_an_error_is_signed_as_whoever_was_addressed(estate: Estate):
    """By party id; nobody for a stranger's address or none."""
    partners = _built(estate)
    assert partners.signing_for(ebms.Typed("demo-municipality", PARTY_TYPE)) is partners.by_id["hospital"]
    assert partners.signing_for(ebms.Typed("demo-municipality")) is None
    assert partners.signing_for(None) is None


# --- whom to believe --------------------------------------------------------------------------------------------------


def _refusal(neighbour: Neighbour, reference: KeyReference, at: int) -> EbmsError:
    with pytest.raises(EbmsError) as caught:
        neighbour.believe(reference, at)
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0101", "certificate")
    assert caught.value.remedy
    return caught.value


def test_a_pinned_certificate_is_believed_for_its_partner(estate: Estate):
    """However it is referred to."""
    partners = _built(estate)
    neighbour = partners.by_id["hospital"]
    certificate = _pem(estate.municipality.home, "hospital-signing.pem")
    ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    believed = partners.trust(neighbour.pmodes[0])
    for reference in (KeyReference(chain=(certificate,)), KeyReference(ski=ski)):
        assert list(believed(reference)) == [certificate]


def test_anybody_else_is_not_believed_and_both_names_are_said(estate: Estate):
    """Also our own certificate, or their encryption certificate: pinned is pinned."""
    neighbour, at = _hospital(estate), from_datetime(estate.at)
    other = stranger().certificate
    refusal = _refusal(neighbour, KeyReference(chain=(other,)), at)
    assert "'Demo Stranger signing'" in refusal.cause and "'Demo Hospital signing'" in refusal.cause
    assert "'another certificate'" in _refusal(neighbour, KeyReference(ski=b"x" * 20), at).cause
    for name in ("municipality-signing.pem", "hospital-decryption.pem", "demo-ca.pem"):
        _refusal(neighbour, KeyReference(chain=(_pem(estate.municipality.home, name),)), at)


def test_a_pinned_certificate_is_believed_within_its_dates_only(estate: Estate):
    """Before and after, the reason says which."""
    neighbour = _hospital(estate)
    reference = KeyReference(chain=(_pem(estate.municipality.home, "hospital-signing.pem"),))
    at = from_datetime(estate.at)
    assert neighbour.believe(reference, at)
    assert "expired on" in _refusal(neighbour, reference, at + 826 * DAY).cause
    assert "not valid before" in _refusal(neighbour, reference, at - 2 * DAY).cause


def test_a_certificate_that_is_not_for_signing_is_not_believed(estate: Estate):
    """Even when somebody pinned it."""
    _edit(estate, signing_certificates=["certificates/hospital-decryption.pem"])
    reference = KeyReference(chain=(_pem(estate.municipality.home, "hospital-decryption.pem"),))
    assert "is not for signing" in _refusal(_hospital(estate), reference, from_datetime(estate.at)).cause


def test_old_and_new_certificate_are_both_believed_in_an_overlap(estate: Estate):
    """A roll-over needs no hour at which both sides change."""
    fresh = authority().issue("Demo Hospital signing 2", "signing")
    folder = estate.municipality.home / "config" / "certificates"
    write(folder / "hospital-signing-2.pem", fresh.certificate_pem())
    _edit(estate, signing_certificates=["certificates/hospital-signing.pem", "certificates/hospital-signing-2.pem"])
    neighbour, at = _hospital(estate), from_datetime(authority().at)
    for certificate in (_pem(estate.municipality.home, "hospital-signing.pem"), fresh.certificate):
        assert list(neighbour.believe(KeyReference(chain=(certificate,)), at)) == [certificate]


def test_a_renewed_certificate_over_the_same_key_is_believed_when_the_old_one_has_ended(estate: Estate):
    """Both have the same key identifier; that the old one is over does not spoil the new one."""
    at = authority().at
    old = authority().issue("Demo Hospital old", "signing", not_after=at + timedelta(days=1))
    new = authority().issue("Demo Hospital new", "signing", key=old.key)
    folder = estate.municipality.home / "config" / "certificates"
    write(folder / "old.pem", old.certificate_pem())
    write(folder / "new.pem", new.certificate_pem())
    _edit(estate, signing_certificates=["certificates/old.pem", "certificates/new.pem"])
    ski = old.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    neighbour, now = _hospital(estate), from_datetime(at)
    assert list(neighbour.believe(KeyReference(ski=ski), now)) == [old.certificate, new.certificate]
    assert list(neighbour.believe(KeyReference(ski=ski), now + 2 * DAY)) == [new.certificate]
    assert "expired on" in _refusal(neighbour, KeyReference(ski=ski), now + 900 * DAY).cause


# --- anchors ----------------------------------------------------------------------------------------------------------


def _anchored(estate: Estate, above: Authority, revoked: list[x509.Certificate] | None = None) -> Neighbour:
    folder = estate.municipality.home / "config" / "certificates"
    write(folder / "above.pem", above.pem())
    if revoked is not None:
        write(folder / "above.crl", above.revocation_list(revoked))
    _edit(
        estate,
        signing_certificates=[],
        anchors=["certificates/above.pem"],
        signing_subject="Demo Hospital signing",
        revocation_lists=["certificates/above.crl"] if revoked is not None else [],
    )
    return _hospital(estate)


@pytest.mark.assertion("DR_TA04")
def test_under_an_anchor_the_agreed_name_is_believed_and_no_other(estate: Estate):
    """Anyone can get a certificate under a public authority; the subject tells whose it is."""
    neighbour, at = _anchored(estate, authority()), from_datetime(authority().at)
    mine = authority().issue("Demo Hospital signing", "signing")
    assert list(neighbour.believe(KeyReference(chain=(mine.certificate,)), at)) == [mine.certificate]
    refusal = _refusal(neighbour, KeyReference(chain=(stranger().certificate,)), at)
    assert "'Demo Stranger signing', agreed is 'Demo Hospital signing'" in refusal.cause


@pytest.mark.assertion("DR_TA02")
def test_the_agreed_name_under_another_authority_is_not_believed(estate: Estate):
    """A name is only worth what its issuer is."""
    other = Authority("Stafet Other CA", authority().at)
    fake = other.issue("Demo Hospital signing", "signing")
    refusal = _refusal(_anchored(estate, authority()), KeyReference(chain=(fake.certificate,)), from_datetime(other.at))
    assert "no chain leads from" in refusal.cause


def test_under_an_anchor_the_certificate_must_come_along(estate: Estate):
    """A key identifier alone leads nowhere."""
    refusal = _refusal(_anchored(estate, authority()), KeyReference(ski=b"x" * 20), from_datetime(authority().at))
    assert "must send it along" in refusal.cause


def test_a_revoked_certificate_is_not_believed(estate: Estate):
    """The list is configuration."""
    mine = authority().issue("Demo Hospital signing", "signing")
    at = from_datetime(authority().at)
    reference = KeyReference(chain=(mine.certificate,))
    assert _anchored(estate, authority(), []).believe(reference, at)
    assert "is revoked" in _refusal(_anchored(estate, authority(), [mine.certificate]), reference, at).cause


def test_a_list_out_of_date_is_a_refusal_seen_within_a_minute(estate: Estate):
    """A chain found good is remembered for a minute and no longer."""
    neighbour = _anchored(estate, authority(), [])
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
    neighbour, at = _anchored(estate, authority()), from_datetime(authority().at)
    mine = authority().issue("Demo Hospital signing", "signing")
    neighbour._good.update({object(): at for _ in range(1001)})  # type: ignore[misc]
    neighbour.believe(KeyReference(chain=(mine.certificate,)), at)
    assert list(neighbour._good) == [mine.certificate]


# --- what is fetched --------------------------------------------------------------------------------------------------

LIST = "http://lists.example/all.crl"


def test_under_anchors_the_agreed_organisation_and_policy_are_demanded(estate: Estate):
    """Each is a refusal with the field that says what was agreed."""
    _anchored(estate, authority())
    policy = "1.3.6.1.4.1.99999.2.1"
    _edit(estate, signing_subject=None, signing_organisation="NTRDK-demo-1", certificate_policies=[policy])
    neighbour, at = _hospital(estate), from_datetime(authority().at)
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
    partners = build(configuration(home), _identity(home), clock, shelf)
    return partners.by_id["hospital"], asked, partners


def test_what_was_fetched_is_asked_of_memory_once_a_minute(estate: Estate):
    """With the partner's window; without a word nobody is believed."""
    _anchored(estate, authority())
    _edit(estate, revocation="fetch", revocation_window=2, revocation_grace=0.5)
    mine, at = authority().issue("Demo Hospital signing", "signing"), from_datetime(authority().at)
    reference = KeyReference(chain=(mine.certificate,))
    (made,) = lists_in(authority().revocation_list([]))
    neighbour, asked, _ = _fetching(estate, Evidence((made,)))
    for later in (0, MINUTE - 1, MINUTE):
        assert neighbour.believe(reference, at + later)
    assert asked == [((mine.certificate, authority().certificate), Window(2 * HOUR, HOUR // 2))] * 2
    assert "is revoked is not known" in _refusal(_fetching(estate, Evidence())[0], reference, at).cause
    assert "is revoked is not known" in _refusal(_hospital(estate), reference, at).cause


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
    _edit(estate, signing_certificates=pinned, issuers=["certificates/above.pem"], **lists)
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
    _edit(estate, **fields, revocation="fetch", revocation_urls=["http://more.example/a"])
    top = authority().certificate
    known = list(_fetching(estate, Evidence())[2].known())
    assert [(k.path, k.urls) for k in known] == [
        ((), ("http://more.example/a",)),
        ((pinned.certificate, top), ()),
        ((top,), ()),
    ]
    write(folder / "hospital-decryption.pem", encryption.certificate_pem())
    _edit(estate, signing_certificates=[], anchors=["certificates/above.pem"], issuers=[], signing_subject="x")
    (only,) = _fetching(estate, Evidence())[2].known()
    assert only.urls == ("http://more.example/a", "http://e.example/")
    assert set(only.authorities) == {top}
    _edit(estate, revocation=None, revocation_urls=[])
    assert list(_built(estate).known()) == []


# --- our keys and TLS -------------------------------------------------------------------------------------------------


def test_every_decryption_key_of_a_roll_over_is_offered(estate: Estate):
    """The partner may still encrypt for the old one."""
    home = estate.municipality.home
    fresh = authority().issue("Demo Municipality decryption 2", "encryption")
    write(home / "keys" / "decryption-2.pem", fresh.key_pem() + fresh.chain_pem(), secret=True)
    edit(home, "as4.yaml", "as4.party", decryption_keys=["decryption-2", "decryption"])
    partners = _built(estate)
    keys = partners.decryption_keys(partners.pmodes()[0])
    assert [certificate for certificate, _ in keys] == [
        fresh.certificate,
        _pem(home, "municipality-decryption.pem"),
    ]


def test_a_signature_is_rsa_sha256_with_the_named_key(estate: Estate):
    """It verifies with the certificate that partners have."""
    identity = _hospital(estate).signing
    key = identity.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signer(identity)(b"octets"), b"octets", padding.PKCS1v15(), hashes.SHA256())


def _own(estate: Estate, name: str, use: Use, kind: Kind) -> str:
    """A key of ours of that kind; gives its name."""
    made = authority().issue(f"Demo Municipality {name}", use, kind=kind)
    write(estate.municipality.home / "keys" / f"{name}.pem", made.key_pem() + made.chain_pem(), secret=True)
    return name


def _their(estate: Estate, name: str, use: Use, kind: Kind) -> str:
    """A certificate of theirs of that kind; gives its path."""
    made = authority().issue(f"Demo Hospital {name}", use, kind=kind)
    write(estate.municipality.home / "config" / "certificates" / f"{name}.pem", made.certificate_pem())
    return f"certificates/{name}.pem"


KINDS: dict[str, tuple[Kind, Kind]] = {"edelivery-2.0": ("ed25519", "x25519"), "edelivery-2.0-ec": ("p256", "p256")}


def _moved(estate: Estate, profile: str) -> None:
    """The municipality's files under another profile, with keys of its kinds on both sides."""
    signing, encryption = KINDS[profile]
    _edit(
        estate,
        profile=profile,
        signing_certificates=[_their(estate, "theirs-signing", "signing", signing)],
        encryption_certificate=_their(estate, "theirs-decryption", "encryption", encryption),
    )
    edit(
        estate.municipality.home,
        "as4.yaml",
        "as4.party",
        signing_key=_own(estate, "own-signing", "signing", signing),
        decryption_keys=[_own(estate, "own-decryption", "encryption", encryption)],
    )


@pytest.mark.parametrize("profile", KINDS)
def test_a_signature_under_the_newer_profiles_is_as_xml_signature_writes_it(estate: Estate, profile: str):
    """Sixty-four octets that verify with the certificate partners have: Ed25519 as it is, ECDSA as r and s."""
    _moved(estate, profile)
    partners = _built(estate)
    neighbour = partners.by_id["hospital"]
    assert neighbour.profile is PROFILES[profile]
    value = signer(neighbour.signing)(b"octets")
    assert len(value) == 64
    key = neighbour.signing.certificate.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(value, b"octets")
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        r, s = (int.from_bytes(half, "big") for half in (value[:32], value[32:]))
        key.verify(utils.encode_dss_signature(r, s), b"octets", ec.ECDSA(hashes.SHA256()))
    ((certificate, private),) = partners.decryption_keys(partners.pmodes()[0])
    assert private.public_key() == certificate.public_key()
    assert isinstance(private, x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey)


@pytest.mark.parametrize(
    ("profile", "field", "kind", "wanted"),
    [
        ("edelivery-2.0", "signing_key", "rsa", "eddsa-ed25519"),
        ("edelivery-2.0", "signing_key", "p256", "eddsa-ed25519"),
        ("edelivery-2.0", "decryption_keys", "rsa", "x25519"),
        ("edelivery-2.0-ec", "signing_key", "ed25519", "ecdsa-sha256"),
        ("edelivery-2.0-ec", "decryption_keys", "x25519", "ECDH-ES"),
        ("edelivery-1.15", "signing_key", "ed25519", "rsa-sha256"),
        ("edelivery-1.15", "signing_key", "x25519", "rsa-sha256"),
        ("edelivery-1.15", "decryption_keys", "p256", "rsa-oaep"),
    ],
)
def test_our_own_key_of_another_kind_stops_the_build(estate: Estate, profile: str, field: str, kind: Kind, wanted: str):
    """Party, field, what is missing, and which partner's profile demands it; the version before stays in force."""
    if profile in KINDS:
        _moved(estate, profile)
    own = _own(estate, "odd", "signing" if field == "signing_key" else "encryption", kind)
    value: object = own if field == "signing_key" else [own]
    edit(estate.municipality.home, "as4.yaml", "as4.party", **{field: value})
    with pytest.raises(ConfigError) as caught:
        _built(estate)
    assert (caught.value.file, caught.value.field) == ("as4.party municipality", field)
    assert caught.value.cause == f"no key for {wanted}, which {profile} of as4.partner hospital demands"
    assert "another as4.party" in caught.value.remedy


def test_one_decryption_key_of_the_right_kind_is_enough(estate: Estate):
    """Others may lie beside it, for other partners or from before."""
    _moved(estate, "edelivery-2.0")
    keys = [_own(estate, "odd", "encryption", "rsa"), "own-decryption"]
    edit(estate.municipality.home, "as4.yaml", "as4.party", decryption_keys=keys)
    partners = _built(estate)
    assert len(partners.decryption_keys(partners.pmodes()[0])) == 2


def test_a_missing_private_key_stops_the_build(estate: Estate):
    """With what to do."""
    edit(estate.municipality.home, "as4.yaml", "as4.party", signing_key="absent")
    with pytest.raises(Fatal, match="no such key; import it with"):
        _built(estate)


@pytest.mark.parametrize("field", ["signing_certificates", "anchors", "revocation_lists"])
def test_a_version_whose_files_are_lost_is_not_built(estate: Estate, field: str):
    """The partner is named; the version before stays in force."""
    home = estate.municipality.home
    if field != "signing_certificates":
        _anchored(estate, authority(), [])
    loaded = configuration(home)
    gone = {"signing_certificates": "hospital-signing.pem", "anchors": "above.pem", "revocation_lists": "above.crl"}
    files = {name: octets for name, octets in loaded.files.items() if not name.endswith(gone[field])}
    with pytest.raises(ConfigError, match=r"as4\.partner hospital: certificates: .*" + gone[field]):
        build(replace(loaded, files=files), _identity(home), FrozenClock(0))


def test_tls_is_verified_against_the_partners_own_anchors(estate: Estate):
    """Host name and certificate are demanded, at least TLS 1.2; our own certificate goes along where one is named."""
    context = _hospital(estate).tls
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert [dict(x[0] for x in c["subject"])["commonName"] for c in context.get_ca_certs()] == ["Stafet Demo CA"]
    _edit(estate, tls={"anchors": "certificates/demo-ca.pem", "client_key": "absent"})
    with pytest.raises(Fatal, match="no such key"):
        _built(estate)
    _edit(estate, tls={"anchors": "certificates/demo-ca.pem", "client_key": "client"})
    assert _hospital(estate).tls is not None


def test_versions_and_suites_of_tls_are_those_of_the_partners_file(estate: Estate):
    """With this partner nothing else is spoken."""
    suite = "ECDHE-RSA-AES256-GCM-SHA384"
    _edit(estate, tls={"anchors": "certificates/demo-ca.pem", "versions": ["1.2"], "suites": [suite]})
    context = _hospital(estate).tls
    assert context is not None
    assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert {c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"} == {suite}


def test_without_anchors_the_systems_own_are_asked_and_without_https_nobody(estate: Estate):
    """Plain HTTP has no TLS context at all."""
    _edit(estate, tls={})
    context = _hospital(estate).tls
    assert context is not None and context.verify_mode == ssl.CERT_REQUIRED
    _edit(estate, url="http://127.0.0.1:1/as4")
    assert _hospital(estate).tls is None
