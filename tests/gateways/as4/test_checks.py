"""What can be wrong between documents, and what the codes mean."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from accesspoint.errors import CATALOGUE
from accesspoint.names import PEPPOL_PARTY
from conformance.estate import FILES, INTEGRATION, PARTY_TYPE, SERVICE, SERVICE_TYPE, Estate
from conformance.peppol import PeppolEstate
from conformance.pki import Authority, Identity, Kind, Use, write
from core.config import Configuration, Problem
from gateways.as4 import checks
from gateways.as4.settings import Partner
from tests.core.answers import points_to
from tests.gateways.as4.making import authority, configuration, edit


def _exchange(integration: str, **fields: Any) -> dict[str, Any]:
    return {"integration": integration, "service": {"value": SERVICE, "type": SERVICE_TYPE}, "action": "a", **fields}


def _home(estate: Estate) -> Path:
    return estate.municipality.home


def _add(home: Path, file: str, kind: str, **fields: Any) -> None:
    """A second document beside the first of its kind."""
    path = home / "config" / file
    documents = list(yaml.safe_load_all(path.read_text()))
    first = next(d for d in documents if d["kind"] == kind)
    path.write_text(yaml.safe_dump_all([*documents, {**first, **fields}], sort_keys=False))


def _problems(home: Path) -> list[str]:
    """What is wrong with a home's configuration, each as one text."""
    with pytest.raises(ExceptionGroup) as caught:
        configuration(home)
    return [str(problem) for problem in caught.value.exceptions]


def _one(home: Path, *words: str) -> None:
    """Exactly one thing is wrong, and its text names file and line, and all of ``words``."""
    (problem,) = _problems(home)
    assert problem.startswith("as4.yaml:")
    for word in words:
        assert word in problem


def test_what_the_estate_is_made_with_fits(estate: Estate):
    """Two organisations' documents have no problem."""
    for one in estate.both:
        loaded = configuration(one.home)
        assert list(checks.check(loaded)) == []
        assert set(loaded.all("as4.partner")) == {estate.other(one).name}


def test_a_message_must_be_known_as_long_as_it_may_be_repeated(estate: Estate):
    """Else one that comes again after it was forgotten is delivered twice; the days that are needed are said."""
    day = 86_400
    edit(_home(estate), "as4.yaml", "as4.partner", duplicate_window=6)
    assert list(checks.check(configuration(_home(estate)))) == []
    retry = {"attempts": 6, "first_wait": day, "longest_wait": day}
    edit(_home(estate), "as4.yaml", "as4.partner", retry=retry)
    _one(_home(estate), "duplicate_window: is 6, shorter than the 7 days that the retry plan takes", "say at least 7")
    edit(_home(estate), "as4.yaml", "as4.partner", duplicate_window=7)
    assert list(checks.check(configuration(_home(estate)))) == []


@pytest.mark.parametrize(
    ("field", "cause", "known"),
    [
        ("party", "no as4.party is called 'nobody'", "known: municipality"),
        ("system", "no system is called 'nobody'", "known: care-record, ward-record"),
    ],
)
def test_a_partner_names_a_party_and_a_system_that_exist(estate: Estate, field: str, cause: str, known: str):
    """Else the field is named together with what there is."""
    edit(_home(estate), "as4.yaml", "as4.partner", **{field: "nobody"})
    _one(_home(estate), field, cause, known)


def test_a_name_is_missed_where_there_is_none_at_all():
    """Without a single document of the kind, that is said."""
    partner = _partner_alone()
    problems = list(checks.check(Configuration({"as4.partner": {partner.id: partner}})))
    assert (
        Problem("as4.partner", "hospital", "party", "no as4.party is called 'me'", "known: there are none") in problems
    )


def _partner_alone() -> Partner:
    return Partner.model_validate(
        {
            "id": "hospital",
            "party": "me",
            "party_id": {"value": "urn:demo:hospital"},
            "system": "ward-record",
            "url": "https://hospital.example/as4",
            "signing_certificates": ["a.pem"],
            "encryption_certificate": "b.pem",
            "exchanges": [{"integration": "homecare", "service": {"value": "urn:demo:homecare"}, "action": "x"}],
        }
    )


@pytest.mark.requirement("R83")
def test_an_exchange_names_an_integration_and_one_of_its_types(estate: Estate):
    """The number of the exchange is part of the field."""
    exchanges = [_exchange(INTEGRATION), _exchange("nothing")]
    edit(_home(estate), "as4.yaml", "as4.partner", exchanges=exchanges)
    known = f"known: {FILES}, {INTEGRATION}"
    _one(_home(estate), "exchanges.1.integration", "no integration is called 'nothing'", known)
    edit(_home(estate), "as4.yaml", "as4.partner", exchanges=[_exchange(FILES, type="letter")])
    _one(_home(estate), "exchanges.0.type", f"'letter' is no type of {FILES}")
    edit(_home(estate), "as4.yaml", "as4.partner", exchanges=[_exchange(FILES, type="file")])
    assert configuration(_home(estate)).all("as4.partner")["hospital"].exchanges[0].type == "file"


def test_a_route_over_as4_leads_to_a_partner(estate: Estate):
    """A destination that is no partner is found before anything is applied; a route to a pulling system has none."""
    target = [{"system": "care-record"}, {"system": "ward-record", "gateway": "as4", "destination": "clinic"}]
    path = _home(estate) / "config" / "routes.yaml"
    documents = list(yaml.safe_load_all(path.read_text()))
    documents[0]["to"] = target
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    found = [p for p in _problems(_home(estate)) if "clinic" in p]
    assert len(found) == 1
    assert "to.1.destination" in found[0] and "no as4.partner is called 'clinic'" in found[0]


@pytest.mark.parametrize("field", ["encryption_certificate", "signing_certificates", "tls"])
def test_a_certificate_that_is_not_there_is_named(estate: Estate, field: str):
    """The file's name is in the reason."""
    name = "certificates/absent.pem"
    value: Any = {"signing_certificates": [name], "tls": {"anchors": name}}.get(field, name)
    edit(_home(estate), "as4.yaml", "as4.partner", **{field: value})
    assert any(name in problem and field in problem for problem in _problems(_home(estate)))


def test_a_file_that_holds_no_certificate_is_refused(estate: Estate):
    """Whatever stands in it."""
    write(_home(estate) / "config" / "certificates" / "junk.pem", b"-----BEGIN CERTIFICATE-----\nx\n")
    edit(_home(estate), "as4.yaml", "as4.partner", signing_certificates=["certificates/junk.pem"])
    _one(_home(estate), "signing_certificates.0", "holds no certificate that can be read", "beside the documents")


def test_a_weak_key_is_refused_before_the_first_message(estate: Estate):
    """An RSA key below the profile's floor, in any of the fields."""
    weak = authority().issue("Demo Weak", "both", bits=1024)
    write(_home(estate) / "config" / "certificates" / "weak.pem", weak.certificate_pem())
    name = "certificates/weak.pem"
    edit(_home(estate), "as4.yaml", "as4.partner", signing_certificates=[name], encryption_certificate=name)
    found = _problems(_home(estate))
    assert len(found) == 2
    assert all("an RSA key of 1024 bits; at least 2048" in problem for problem in found)


def _put(home: Path, name: str, identity: Identity) -> str:
    """A certificate beside the documents; gives its name in them."""
    write(home / "config" / "certificates" / f"{name}.pem", identity.certificate_pem())
    return f"certificates/{name}.pem"


ENCRYPTION, SIGNING = "encryption_certificate", "signing_certificates"
UNFIT: list[tuple[str, str, Kind, str]] = [
    ("edelivery-1.15", ENCRYPTION, "x25519", "rsa-oaep"),
    ("edelivery-1.15", ENCRYPTION, "p256", "rsa-oaep"),
    ("edelivery-1.15", ENCRYPTION, "ed25519", "rsa-oaep"),
    ("edelivery-1.15", SIGNING, "ed25519", "rsa-sha256"),
    ("edelivery-1.15", SIGNING, "p256", "rsa-sha256"),
    ("edelivery-1.15", SIGNING, "x25519", "rsa-sha256"),
    ("edelivery-2.0", ENCRYPTION, "rsa", "x25519"),
    ("edelivery-2.0", ENCRYPTION, "p256", "x25519"),
    ("edelivery-2.0", ENCRYPTION, "ed25519", "x25519"),
    ("edelivery-2.0", SIGNING, "rsa", "eddsa-ed25519"),
    ("edelivery-2.0", SIGNING, "p256", "eddsa-ed25519"),
    ("edelivery-2.0", SIGNING, "x25519", "eddsa-ed25519"),
    ("edelivery-2.0-ec", ENCRYPTION, "rsa", "ECDH-ES"),
    ("edelivery-2.0-ec", ENCRYPTION, "x25519", "ECDH-ES"),
    ("edelivery-2.0-ec", ENCRYPTION, "ed25519", "ECDH-ES"),
    ("edelivery-2.0-ec", SIGNING, "rsa", "ecdsa-sha256"),
    ("edelivery-2.0-ec", SIGNING, "ed25519", "ecdsa-sha256"),
    ("edelivery-2.0-ec", SIGNING, "x25519", "ecdsa-sha256"),
]
FIT: dict[str, tuple[Kind, Kind]] = {
    "edelivery-1.15": ("rsa", "rsa"),
    "edelivery-2.0": ("ed25519", "x25519"),
    "edelivery-2.0-ec": ("p256", "p256"),
}
"""What partners sign with and are encrypted for, by profile."""


def _agree(home: Path, profile: str, signing: Identity, encryption: Identity, **fields: Any) -> None:
    certificates = {SIGNING: [_put(home, "signs", signing)], ENCRYPTION: _put(home, "decrypts", encryption)}
    edit(home, "as4.yaml", "as4.partner", profile=profile, **certificates, **fields)


@pytest.mark.parametrize("profile", FIT)
def test_a_partners_certificates_are_of_the_profiles_kind(estate: Estate, profile: str):
    """Nothing is wrong with them then."""
    signing, encryption = FIT[profile]
    _agree(_home(estate), profile, _made("signing", signing), _made("encryption", encryption))
    assert configuration(_home(estate)).all("as4.partner")["hospital"].profile == profile


@pytest.mark.parametrize(("profile", "field", "kind", "wanted"), UNFIT)
def test_a_certificate_of_another_kind_is_found_before_the_first_message(
    estate: Estate, profile: str, field: str, kind: Kind, wanted: str
):
    """The field, what its key is not for, and the profile that demands it."""
    signing, encryption = FIT[profile]
    if field == SIGNING:
        signing = kind
    else:
        encryption = kind
    _agree(_home(estate), profile, _made("signing", signing), _made("encryption", encryption))
    where = f"{field}.0" if field == SIGNING else field
    _one(_home(estate), where, f"has no key for {wanted}, which {profile} demands")


@cache
def _made(use: Use, kind: Kind) -> Identity:
    """A certificate with a key of that kind."""
    return authority().issue(f"Demo {use} {kind}", use, kind=kind)


def test_a_signature_that_is_also_accepted_fits(estate: Estate):
    """Whoever may sign otherwise has another key for it."""
    signing, encryption = _made("signing", "ed25519"), _made("encryption", "rsa")
    _agree(_home(estate), "edelivery-1.15", signing, encryption, also_accept=["eddsa-ed25519"])
    assert configuration(_home(estate)).all("as4.partner")["hospital"].also_accept == ("eddsa-ed25519",)


def test_a_weak_curve_or_one_without_a_name_is_found(estate: Estate):
    """One is too short for anything, nothing can be encrypted for the other."""
    weak = authority().issue("Demo Weak", "signing", key=ec.generate_private_key(ec.SECP224R1()))
    nameless = authority().issue("Demo Nameless", "encryption", key=ec.generate_private_key(ec.SECP256K1()))
    _agree(_home(estate), "edelivery-2.0-ec", weak, nameless)
    found = {problem.partition(": ")[2] for problem in _problems(_home(estate))}
    assert found == {
        "encryption_certificate: has no key for ECDH-ES, which edelivery-2.0-ec demands",
        "signing_certificates.0: a curve of 224 bits; at least 256 are demanded",
    }


def test_our_own_name_needs_a_type_where_the_partner_writes_proper_names(estate: Estate):
    """What they would have to write to reach us would be refused."""
    edit(_home(estate), "as4.yaml", "as4.party", party_id={"value": "demo-municipality"})
    cause = "party_id of as4.party municipality: 'demo-municipality' has no type and is no URI: give its type"
    _one(_home(estate), "party", cause)
    edit(_home(estate), "as4.yaml", "as4.partner", untyped_names=True)
    assert configuration(_home(estate)).all("as4.partner")["hospital"].untyped_names


def test_revocation_lists_are_read_when_they_are_configured(estate: Estate):
    """A list that is there and readable passes; an unreadable or absent one is named."""
    folder = _home(estate) / "config" / "certificates"
    write(folder / "good.crl", authority().revocation_list([]))
    write(folder / "junk.crl", b"junk")
    write(folder / "ca.pem", authority().pem())
    chain = {
        "signing_certificates": [],
        "anchors": ["certificates/ca.pem"],
        "signing_subject": "Demo Hospital signing",
        "tls": {},
    }
    edit(_home(estate), "as4.yaml", "as4.partner", **chain, revocation_lists=["certificates/good.crl"])
    assert configuration(_home(estate)).all("as4.partner")["hospital"].tls.anchors is None
    edit(_home(estate), "as4.yaml", "as4.partner", revocation_lists=["certificates/good.crl", "certificates/junk.crl"])
    _one(_home(estate), "revocation_lists.1", "is no revocation list that can be read")


def test_a_revocation_list_that_is_missing_is_named():
    """Also in a version whose files were lost."""
    partner = _partner_alone().model_copy(update={"revocation_lists": ("gone.crl",)})
    problems = list(checks.check(Configuration({"as4.partner": {partner.id: partner}})))
    cause = "'gone.crl' is no revocation list that can be read"
    assert Problem("as4.partner", "hospital", "revocation_lists.0", cause) in problems


def _issued(estate: Estate, *, extensions: list[x509.ExtensionType] | None = None) -> dict[str, object]:
    """A pinned certificate with its issuer, as files, and the fields that name them."""
    folder = _home(estate) / "config" / "certificates"
    made = authority().issue("Demo Hospital signing", "signing", extensions=extensions or ())
    write(folder / "pinned.pem", made.certificate_pem())
    write(folder / "ca.pem", authority().pem())
    return {"signing_certificates": ["certificates/pinned.pem"], "issuers": ["certificates/ca.pem"], "tls": {}}


def test_a_pinned_certificate_whose_revocation_is_asked_needs_its_issuer(estate: Estate):
    """Nobody else could say it; where nothing is asked, nothing is needed."""
    folder = _home(estate) / "config" / "certificates"
    write(folder / "good.crl", authority().revocation_list([]))
    lists = {"revocation_lists": ["certificates/good.crl"]}
    edit(_home(estate), "as4.yaml", "as4.partner", **_issued(estate), **lists)
    assert configuration(_home(estate)).all("as4.partner")["hospital"].asks == "lists"
    write(folder / "ca.pem", Authority("Stafet Other CA", authority().at).pem())
    _one(_home(estate), "signing_certificates.0", "was issued by none of issuers", "add its issuer, or say revocation")
    edit(_home(estate), "as4.yaml", "as4.partner", revocation_lists=[])
    assert configuration(_home(estate)).all("as4.partner")["hospital"].asks == "none"
    write(folder / "ca.pem", b"junk")
    _one(_home(estate), "issuers.0", "holds no certificate that can be read")
    edit(_home(estate), "as4.yaml", "as4.partner", **lists)
    _one(_home(estate), "issuers.0", "holds no certificate that can be read")


def test_what_shall_be_fetched_must_be_somewhere(estate: Estate):
    """The certificate names a list or a responder, or the partner's file names a list."""
    fields = {**_issued(estate), "revocation": "fetch"}
    edit(_home(estate), "as4.yaml", "as4.partner", **fields)
    _one(_home(estate), "signing_certificates.0", "names no list and no responder", "give revocation_urls")
    edit(_home(estate), "as4.yaml", "as4.partner", revocation_urls=["http://lists.example/all.crl"])
    assert configuration(_home(estate))
    edit(_home(estate), "as4.yaml", "as4.partner", revocation_urls=[])
    for named in (points_to("http://lists.example/all.crl"), points_to(responder="http://ocsp.example/")):
        _issued(estate, extensions=named)
        assert configuration(_home(estate))
    folder = _home(estate) / "config" / "certificates"
    anchors = {"signing_certificates": [], "anchors": ["certificates/ca.pem"], "signing_subject": "Demo Hospital"}
    write(folder / "ca.pem", authority().pem())
    edit(_home(estate), "as4.yaml", "as4.partner", **anchors)
    assert configuration(_home(estate))


def test_two_partners_cannot_share_an_identifier(estate: Estate):
    """Who sent a message would be decided by chance; the first one is named."""
    _add(_home(estate), "as4.yaml", "as4.partner", id="hospital-again")
    _one(
        _home(estate), "party_id", "is the same as that of as4.partner hospital", "put both exchanges into one partner"
    )


def test_the_same_two_names_are_one_pair_whatever_our_party_is_called(estate: Estate):
    """Two parties of one PartyId may speak with different partners, but not with the same one."""
    _add(_home(estate), "as4.yaml", "as4.party", id="municipality-2")
    _add(_home(estate), "as4.yaml", "as4.partner", id="hospital-2", party="municipality-2")
    _one(_home(estate), "party_id", "is the same as that of as4.partner hospital")
    _change_last(_home(estate), party_id={"value": "urn:demo:clinic"})
    assert set(configuration(_home(estate)).all("as4.partner")) == {"hospital", "hospital-2"}
    _change_last(_home(estate), party_id={"value": "demo-hospital", "type": PARTY_TYPE}, party="municipality")
    _one(_home(estate), "party_id", "is the same as that of as4.partner hospital")


def test_one_partner_may_speak_with_two_of_our_names(estate: Estate):
    """Their messages say to whom they are."""
    _add(_home(estate), "as4.yaml", "as4.party", id="municipality-2", party_id={"value": "urn:demo:second"})
    _add(_home(estate), "as4.yaml", "as4.partner", id="hospital-2", party="municipality-2")
    assert set(configuration(_home(estate)).all("as4.partner")) == {"hospital", "hospital-2"}


def _change_last(home: Path, **fields: Any) -> None:
    """Change fields of the last document of as4.yaml."""
    path = home / "config" / "as4.yaml"
    *documents, last = yaml.safe_load_all(path.read_text())
    path.write_text(yaml.safe_dump_all([*documents, {**last, **fields}], sort_keys=False))


def test_the_same_identifier_under_another_type_is_another_partner(estate: Estate):
    """Value and type together are the name."""
    _add(_home(estate), "as4.yaml", "as4.partner", id="clinic", party_id={"value": "demo-hospital", "type": "urn:b"})
    assert set(configuration(_home(estate)).all("as4.partner")) == {"hospital", "clinic"}


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_catalogued_code_is_explained(code: str):
    """Its short description and what it means."""
    row = CATALOGUE[code]
    assert checks.explain(code).startswith(f"{row.short_description}: {row.meaning}")


@pytest.mark.parametrize(
    "code",
    [
        *("connect", "tls", "timeout", "closed", "send", "answer", "no-partner", "no-exchange", "cannot-be-sent"),
        "revocation",
    ],
)
def test_what_ends_an_attempt_without_an_answer_is_explained(code: str):
    """The gateway's own words say what to change."""
    assert checks.explain(code)


def test_an_explanation_ends_in_something_to_do():
    """Where we know what to do."""
    assert "What to do: compare the certificate" in checks.explain("EBMS:0101")
    assert "What to do" not in checks.explain("EBMS:0031")


def test_a_code_of_somebody_else_is_left_to_them():
    """Nothing is said of what is not this gateway's."""
    assert checks.explain("residual") == ""


def _beside(home: Path, **fields: Any) -> None:
    """A second partner, as the first but for a name, a PartyId, and what is said."""
    path = home / "config" / "as4.yaml"
    documents = list(yaml.safe_load_all(path.read_text()))
    partner = next(d for d in documents if d["kind"] == "as4.partner")
    other = {**partner, "id": "clinic", "party_id": {**partner["party_id"], "value": "demo-clinic"}, **fields}
    path.write_text(yaml.safe_dump_all([*documents, other], sort_keys=False))


def _given(mpc: str, integration: str = FILES, **channel: Any) -> dict[str, Any]:
    return {**_exchange(integration), "direction": "send", "pull": {"mpc": mpc, **channel}}


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (_given("urn:demo:a"), _given("urn:demo:a"), True),
        (_given("urn:demo:a", sub_channels=True), _given("urn:demo:a/ward"), True),
        (_given("urn:demo:a/ward"), _given("urn:demo:a", sub_channels=True), True),
        (_given("urn:demo:a"), _given("urn:demo:a/ward"), False),
        (_given("urn:demo:a"), {**_given("urn:demo:a"), "direction": "receive"}, False),
        (_given("urn:demo:a"), _exchange(FILES), False),
    ],
)
def test_a_channel_belongs_to_one_partner(estate: Estate, first: Any, second: Any, shared: bool):
    """Else one could pull what waits for the other; what we pull from two of them under one name is no matter."""
    edit(_home(estate), "as4.yaml", "as4.partner", exchanges=[first])
    _beside(_home(estate), system="care-record", exchanges=[second])
    if shared:
        cause = f"{second['pull']['mpc']!r} is a channel of as4.partner hospital too"
        _one(_home(estate), "exchanges.0.pull.mpc", cause, "a channel of its own")
    else:
        assert configuration(_home(estate)).all("as4.partner")


def test_what_waits_for_a_system_is_pulled_by_one_partner(estate: Estate):
    """Its own two exchanges may share a channel; another partner for the same system and integration may not have one."""
    both = [_given("urn:demo:a"), _given("urn:demo:a", INTEGRATION)]
    edit(_home(estate), "as4.yaml", "as4.partner", exchanges=both)
    assert configuration(_home(estate)).all("as4.partner")
    _beside(_home(estate), exchanges=[_given("urn:demo:b")])
    cause = "as4.partner hospital pulls files for ward-record too"
    _one(_home(estate), "exchanges.0.pull", cause, "have one of them pull")


# --- what a profile demands -------------------------------------------------------------------------------------------


def test_what_a_community_is_made_with_fits(tmp_path: Path):
    """Both sides of a network like Peppol."""
    made = PeppolEstate(tmp_path / "peppol")
    made.make()
    for one in made.both:
        assert list(checks.check(configuration(one.home))) == []


def test_what_is_against_the_profile_is_found_wherever_it_stands(tmp_path: Path):
    """In the partner's document, in the party's, and in certificates."""
    made = PeppolEstate(tmp_path / "peppol")
    made.make()
    home = _home(made)
    edit(home, "as4.yaml", "as4.partner", compress=False)
    _one(home, "compress: is false; peppol demands compression")
    made.make()
    edit(home, "as4.yaml", "as4.party", party_id={"value": "demo-municipality", "type": "urn:x"}, serves=[])
    found = " ".join(_problems(home))
    assert (
        "party: party_id.type of as4.party municipality is urn:x; peppol demands urn:fdc:peppol.eu:2017:ident" in found
    )
    assert "party: as4.party municipality names nobody in serves, and peppol has everything refused" in found
    made.make()
    edit(home, "as4.yaml", "as4.partner", party_id={"value": "demo-clinic", "type": PEPPOL_PARTY})
    found = " ".join(_problems(home))
    for field in ("encryption_certificate", "signing_certificates.0"):
        assert f"{field}: is of 'demo-hospital'; peppol demands that party_id is its common name" in found


def test_a_partner_of_a_party_that_is_not_there_is_named_once(tmp_path: Path):
    """Nothing more can be said of it then."""
    made = PeppolEstate(tmp_path / "peppol")
    made.make()
    edit(_home(made), "as4.yaml", "as4.partner", party="nobody")
    _one(_home(made), "no as4.party is called 'nobody'")
