"""Partners as the protocol needs them: P-Modes, trust, keys."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils, x25519

from accesspoint import ebms, names
from accesspoint.profiles import EDELIVERY_1_15, PROFILES
from conformance.estate import ACTION, FILES, INTEGRATION, PARTY_TYPE, SERVICE, SERVICE_TYPE, Estate
from conformance.pki import Kind, Use, write
from core.clock import FrozenClock
from core.delivery import Delivery, State
from core.errors import ConfigError, Fatal
from core.pace import Pace
from core.schedule import RetryPlan
from gateways.as4.partners import build, pace_of, scope_of, signer, typed
from gateways.as4.settings import PartyIdentifier
from tests.gateways.as4.making import authority, configuration, edit
from tests.gateways.as4.neighbours import anchored, built, certificate_file, edit_partner, hospital, identities

# --- P-Modes ----------------------------------------------------------------------------------------------------------


def test_what_is_agreed_about_pace_is_the_partner_files(estate: Estate):
    """Order is an exchange's own, and only for what we push; a partner that is not there goes at the kernel's pace."""
    home = estate.municipality.home

    def exchange(action: str, **fields: object) -> dict[str, object]:
        service = {"value": SERVICE, "type": SERVICE_TYPE}
        return {"integration": FILES, "service": service, "action": action, **fields}

    exchanges = [
        exchange("a", direction="receive"),
        exchange("b", direction="send", ordered=True, on_failure="skip"),
        exchange("c", integration=INTEGRATION),
    ]
    edit_partner(estate, at_once=2, pause_after=0, waiting=5, exchanges=exchanges)
    made = configuration(home)
    assert pace_of(made, "hospital", FILES) == Pace(2, 0, 5, True, False, "EBMS:0301")
    assert pace_of(made, "hospital", INTEGRATION) == Pace(2, 0, 5, False, True, "EBMS:0301")
    assert pace_of(made, "hospital", "") == Pace(2, 0, 5, False, False, "EBMS:0301")
    assert pace_of(made, "nobody", FILES) == Pace(no_receipt="EBMS:0301")
    assert scope_of("hospital") == "as4:hospital"


@pytest.mark.requirement("R83", "R85")
def test_an_exchange_in_both_directions_becomes_two_pmodes(estate: Estate):
    """Whoever sends is the initiator; everything else is the partner file's."""
    partners = built(estate)
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
    assert out.their_encryption_certificate == certificate_file(estate.municipality.home, "hospital-decryption.pem")
    assert partners.of(out) is partners.by_id["hospital"]
    assert partners.of(out).by_pmode[back.id].integration == INTEGRATION


def test_what_is_sent_is_found_by_its_integration(estate: Estate):
    """An exchange that only receives is never sent with."""
    service = {"value": SERVICE, "type": SERVICE_TYPE}
    exchanges = [
        {"integration": INTEGRATION, "service": dict(service), "action": "in", "direction": "receive"},
        {"integration": FILES, "service": dict(service), "action": "out", "direction": "send"},
    ]
    edit_partner(estate, exchanges=exchanges)
    neighbour = hospital(estate)
    assert [p.id for p in neighbour.pmodes] == ["hospital/0/receive", "hospital/1/send"]
    found = neighbour.pmode_for(FILES)
    assert found is not None and found.action == "out"
    assert neighbour.pmode_for(INTEGRATION) is None
    assert neighbour.pmode_for("nothing") is None


def test_an_agreement_may_name_business_roles(estate: Estate):
    """They stand in both directions, and the agreement's reference with its type."""
    edit_partner(
        estate,
        our_role="urn:demo:buyer",
        their_role="urn:demo:seller",
        agreement={"value": "a-1", "type": "urn:demo:agreements"},
        retry={"attempts": 3, "first_wait": 0.5, "longest_wait": 2},
    )
    neighbour = hospital(estate)
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
    edit_partner(
        estate,
        also_accept=["rsa-sha512", "rsa-oaep-mgf1p"],
        untyped_names=True,
        exchanges=exchanges,
        agreement=agreement,
    )
    neighbour = hospital(estate)
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
    for pmode in hospital(estate).pmodes:
        assert (pmode.profile, pmode.untyped_names, pmode.name) == (EDELIVERY_1_15, False, "")


def test_a_configured_value_keeps_its_type():
    """Value and type together are what the header says."""
    assert typed(PartyIdentifier(value="a", type="urn:b")) == ebms.Typed("a", "urn:b")
    assert typed(PartyIdentifier(value="urn:a")) == ebms.Typed("urn:a", None)


def test_an_error_is_signed_as_whoever_was_addressed(estate: Estate):
    """By party id; nobody for a stranger's address or none."""
    partners = built(estate)
    assert partners.signing_for(ebms.Typed("demo-municipality", PARTY_TYPE)) is partners.by_id["hospital"]
    assert partners.signing_for(ebms.Typed("demo-municipality")) is None
    assert partners.signing_for(None) is None


# --- our keys and TLS -------------------------------------------------------------------------------------------------


def test_every_decryption_key_of_a_roll_over_is_offered(estate: Estate):
    """The partner may still encrypt for the old one."""
    home = estate.municipality.home
    fresh = authority().issue("Demo Municipality decryption 2", "encryption")
    write(home / "keys" / "decryption-2.pem", fresh.key_pem() + fresh.chain_pem(), secret=True)
    edit(home, "as4.yaml", "as4.party", decryption_keys=["decryption-2", "decryption"])
    partners = built(estate)
    keys = partners.decryption_keys(partners.pmodes()[0])
    assert [certificate for certificate, _ in keys] == [
        fresh.certificate,
        certificate_file(home, "municipality-decryption.pem"),
    ]


def test_a_signature_is_rsa_sha256_with_the_named_key(estate: Estate):
    """It verifies with the certificate that partners have."""
    identity = hospital(estate).signing
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
    edit_partner(
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
    partners = built(estate)
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
        built(estate)
    assert (caught.value.file, caught.value.field) == ("as4.party municipality", field)
    assert caught.value.cause == f"no key for {wanted}, which {profile} of as4.partner hospital demands"
    assert "another as4.party" in caught.value.remedy


def test_one_decryption_key_of_the_right_kind_is_enough(estate: Estate):
    """Others may lie beside it, for other partners or from before."""
    _moved(estate, "edelivery-2.0")
    keys = [_own(estate, "odd", "encryption", "rsa"), "own-decryption"]
    edit(estate.municipality.home, "as4.yaml", "as4.party", decryption_keys=keys)
    partners = built(estate)
    assert len(partners.decryption_keys(partners.pmodes()[0])) == 2


def test_a_missing_private_key_stops_the_build(estate: Estate):
    """With what to do."""
    edit(estate.municipality.home, "as4.yaml", "as4.party", signing_key="absent")
    with pytest.raises(Fatal, match="no such key; import it with"):
        built(estate)


@pytest.mark.parametrize("field", ["signing_certificates", "anchors", "revocation_lists"])
def test_a_version_whose_files_are_lost_is_not_built(estate: Estate, field: str):
    """The partner is named; the version before stays in force."""
    home = estate.municipality.home
    if field != "signing_certificates":
        anchored(estate, authority(), [])
    loaded = configuration(home)
    gone = {"signing_certificates": "hospital-signing.pem", "anchors": "above.pem", "revocation_lists": "above.crl"}
    files = {name: octets for name, octets in loaded.files.items() if not name.endswith(gone[field])}
    with pytest.raises(ConfigError, match=r"as4\.partner hospital: certificates: .*" + gone[field]):
        build(replace(loaded, files=files), identities(home), FrozenClock(0))


def test_tls_is_verified_against_the_partners_own_anchors(estate: Estate):
    """Host name and certificate are demanded, at least TLS 1.2; our own certificate goes along where one is named."""
    context = hospital(estate).tls
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert [dict(x[0] for x in c["subject"])["commonName"] for c in context.get_ca_certs()] == ["Stafet Demo CA"]
    edit_partner(estate, tls={"anchors": "certificates/demo-ca.pem", "client_key": "absent"})
    with pytest.raises(Fatal, match="no such key"):
        built(estate)
    edit_partner(estate, tls={"anchors": "certificates/demo-ca.pem", "client_key": "client"})
    assert hospital(estate).tls is not None


def test_versions_and_suites_of_tls_are_those_of_the_partners_file(estate: Estate):
    """With this partner nothing else is spoken."""
    suite = "ECDHE-RSA-AES256-GCM-SHA384"
    edit_partner(estate, tls={"anchors": "certificates/demo-ca.pem", "versions": ["1.2"], "suites": [suite]})
    context = hospital(estate).tls
    assert context is not None
    assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert {c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"} == {suite}


def test_without_anchors_the_systems_own_are_asked_and_without_https_nobody(estate: Estate):
    """Plain HTTP has no TLS context at all."""
    edit_partner(estate, tls={})
    context = hospital(estate).tls
    assert context is not None and context.verify_mode == ssl.CERT_REQUIRED
    edit_partner(estate, url="http://127.0.0.1:1/as4")
    assert hospital(estate).tls is None


# --- channels and evidence --------------------------------------------------------------------------------------------

CHANNEL = "urn:demo:channels:hospital"


def _pull(direction: str, integration: str = FILES, **channel: object) -> dict[str, object]:
    service = {"value": SERVICE, "type": SERVICE_TYPE}
    pull = {"mpc": CHANNEL, **channel}
    return {"integration": integration, "service": service, "action": "a", "direction": direction, "pull": pull}


def _push(integration: str = INTEGRATION) -> dict[str, object]:
    return {"integration": integration, "service": {"value": SERVICE, "type": SERVICE_TYPE}, "action": ACTION}


def test_whoever_pulls_begins(estate: Estate):
    """The receiver is the initiator, the channel is in the header, and nothing of it is pushed or pinged with."""
    edit_partner(estate, exchanges=[_pull("send"), _pull("receive", INTEGRATION)])
    neighbour = hospital(estate)
    given, taken = neighbour.pmodes
    assert (given.us.role, given.them.role) == (names.RESPONDER, names.INITIATOR)
    assert (taken.us.role, taken.them.role) == (names.INITIATOR, names.RESPONDER)
    assert [(p.pulled, p.mpc) for p in (given, taken)] == [(True, CHANNEL)] * 2
    assert (neighbour.pulled_pmode(FILES), neighbour.pulled_pmode(INTEGRATION)) == (given, None)
    assert neighbour.pmode_for(FILES) is None
    assert neighbour.ping_pmode() is None
    assert neighbour.profile.name == "edelivery-1.15"
    edit_partner(estate, exchanges=[_pull("send"), _push()])
    pushed = hospital(estate).ping_pmode()
    assert pushed is not None and (pushed.integration, pushed.pulled) == (INTEGRATION, False)


def test_a_channel_is_found_by_its_name_with_all_that_waits_in_it(estate: Estate):
    """Those that partners pull from us, not those that we pull; sub-channels where they are agreed."""
    edit_partner(estate, exchanges=[_push(), _pull("send"), _pull("send", INTEGRATION, sub_channels=True)])
    partners = built(estate)
    found = partners.channel(CHANNEL)
    assert found is not None and found[0].partner.id == "hospital"
    assert [p.integration for p in found[1]] == [FILES, INTEGRATION]
    below = partners.channel(f"{CHANNEL}/ward")
    assert below is not None and [p.integration for p in below[1]] == [INTEGRATION]
    assert partners.channel(names.DEFAULT_MPC) is None
    edit_partner(estate, exchanges=[_pull("receive")])
    assert built(estate).channel(CHANNEL) is None


def _delivery(gateway: str, destination: str, receiver: str = "ward-record") -> Delivery:
    return Delivery("d", "p", receiver, gateway, State.READY, 0, destination=destination)


def test_evidence_is_judged_by_what_was_agreed_for_its_delivery(estate: Estate):
    """A pushed one by its partner, a pulled one by its system; by any P-Mode of theirs when the exchange has gone."""
    edit_partner(estate, exchanges=[_push(), _pull("send")])
    partners = built(estate)
    neighbour = partners.by_id["hospital"]
    push, pull, first = neighbour.pmode_for(INTEGRATION), neighbour.pulled_pmode(FILES), neighbour.pmodes[0]
    pushed, pulled = _delivery("as4", "hospital"), _delivery("", "")
    assert partners.sent_under(pushed, INTEGRATION) == (neighbour, push)
    assert partners.sent_under(pulled, FILES) == (neighbour, pull)
    assert partners.sent_under(pushed, FILES) == (neighbour, first)
    assert partners.sent_under(pulled, INTEGRATION) == (neighbour, first)
    assert partners.sent_under(_delivery("as4", "clinic"), INTEGRATION) is None
    assert partners.sent_under(_delivery("", "", "clinic-record"), FILES) is None
