"""What the two documents of the gateway take, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from accesspoint import names
from accesspoint.names import DEFAULT_MPC
from accesspoint.profiles import ALGORITHMS, PROFILES
from core import limits
from gateways.as4.settings import Agreement, Listen, Partner, Party

PARTY: dict[str, Any] = {
    "id": "municipality",
    "party_id": {"value": "demo-municipality", "type": "urn:demo:parties"},
    "signing_key": "signing",
    "decryption_keys": ["decryption"],
}
PARTNER: dict[str, Any] = {
    "id": "hospital",
    "party": "municipality",
    "party_id": {"value": "demo-hospital", "type": "urn:demo:parties"},
    "system": "ward-record",
    "url": "https://hospital.example/as4",
    "signing_certificates": ["certificates/hospital-signing.pem"],
    "encryption_certificate": "certificates/hospital-decryption.pem",
    "exchanges": [{"integration": "homecare", "service": {"value": "urn:demo:homecare"}, "action": "deliver"}],
}
CORNERS = {"original_sender": {"value": "urn:a"}, "final_recipient": {"value": "urn:b"}}


def _words(model: type, values: dict[str, Any]) -> tuple[str, str]:
    """Field and words of the first thing that is refused."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    first = caught.value.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"]


@pytest.mark.requirement("R82", "R85")
def test_a_short_partner_file_is_enough_and_what_it_leaves_out_is_safe():
    """Signing certificates, encryption and the strict profile are there without being asked for."""
    partner = Partner.model_validate(PARTNER)
    assert partner.profile == "edelivery-1.15"
    assert partner.key_reference == "binary-security-token"
    assert partner.exchanges[0].direction == "both"
    assert (partner.retry.attempts, partner.max_size) == (limits.ATTEMPTS, limits.PAYLOAD_SIZE)
    assert partner.retry.first_wait == limits.RETRY_FIRST / 1_000_000


def test_a_partner_cannot_be_written_without_certificates():
    """There is no way to say that a partner's messages need no signature or no encryption."""
    without = {k: v for k, v in PARTNER.items() if k != "encryption_certificate"}
    assert _words(Partner, without)[0] == "encryption_certificate"
    assert "whom to believe" in _words(Partner, {**PARTNER, "signing_certificates": []})[1]
    for switch in ("sign", "encrypt", "demand_encryption"):
        assert _words(Partner, {**PARTNER, switch: False}) == (switch, "Extra inputs are not permitted")


def test_order_is_for_what_is_pushed():
    """Who pulls, or sends to us, decides the order: an agreement about it would not be kept."""
    exchange = {**PARTNER["exchanges"][0], "ordered": True}
    assert Partner.model_validate({**PARTNER, "exchanges": [exchange]}).exchanges[0].on_failure == "stop"
    pulled = {"direction": "send", "pull": {"mpc": "urn:demo:channel"}}
    for change in ({"direction": "receive"}, pulled):
        field, words = _words(Partner, {**PARTNER, "exchanges": [{**exchange, **change}]})
        assert (field, "ordered is for what is pushed" in words) == ("", True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("at_once", 0), ("at_once", 1025), ("pause_after", -1), ("waiting", 0), ("duplicate_window", 0)],
)
def test_a_pace_that_would_never_send_is_refused(field: str, value: int):
    """The field is named; the defaults are the kernel's."""
    assert _words(Partner, {**PARTNER, field: value})[0] == field
    made = Partner.model_validate(PARTNER)
    assert (made.at_once, made.pause_after) == (limits.AT_ONCE, limits.PAUSE_AFTER)
    assert (made.waiting, made.duplicate_window) == (limits.WAITING_FOR_ONE, 90)


def test_pinned_certificates_and_anchors_exclude_each_other():
    """One of them says whom to believe, and anchors alone would believe everybody under them."""
    both = {**PARTNER, "anchors": ["certificates/ca.pem"], "signing_subject": "Demo Hospital"}
    assert "either signing_certificates or anchors" in _words(Partner, both)[1]
    anchors = {**PARTNER, "signing_certificates": [], "anchors": ["certificates/ca.pem"]}
    assert "anchors need signing_subject" in _words(Partner, anchors)[1]
    assert Partner.model_validate({**anchors, "signing_subject": "Demo Hospital"}).anchors == ("certificates/ca.pem",)
    organisation = Partner.model_validate({**anchors, "signing_organisation": "NTRDK-demo-1"})
    assert (organisation.signing_subject, organisation.signing_organisation) == (None, "NTRDK-demo-1")


ANCHORED = {
    **PARTNER,
    "signing_certificates": [],
    "anchors": ["certificates/ca.pem"],
    "signing_subject": "Demo Hospital",
}


def test_policies_are_demanded_of_chains_alone():
    """A pinned certificate is believed for itself; an identifier is written in dots."""
    policies = {"certificate_policies": ["1.3.6.1.4.1.99999.2.1", "2.5.29.32.0"]}
    assert len(Partner.model_validate({**ANCHORED, **policies}).certificate_policies) == 2
    assert "certificate_policies need anchors" in _words(Partner, {**PARTNER, **policies})[1]
    for wrong in ("qualified", "3.1", "1", "1.02", "1..2", "1.2.", "2.5.29.32.0\n"):
        where, _ = _words(Partner, {**ANCHORED, "certificate_policies": [wrong]})
        assert where == "certificate_policies.0", wrong


@pytest.mark.parametrize("base", [PARTNER, ANCHORED])
def test_revocation_is_asked_of_lists_that_are_given_and_of_nobody_else_unless_told(base: dict[str, Any]):
    """Left out, lists that are there are used; what contradicts itself is refused."""
    base = {**base, "issuers": ["certificates/issuing.pem"]}
    lists = {"revocation_lists": ["certificates/a.crl"]}
    for fields, asks in (
        ({}, "none"),
        (lists, "lists"),
        ({**lists, "revocation": "lists"}, "lists"),
        ({"revocation": "fetch"}, "fetch"),
        ({**lists, "revocation": "fetch", "revocation_urls": ["http://lists.example/a"]}, "fetch"),
        ({"revocation": "none"}, "none"),
    ):
        assert Partner.model_validate({**base, **fields}).asks == asks
    for fields, words in (
        ({"revocation": "lists"}, "revocation: lists needs revocation_lists"),
        ({**lists, "revocation": "none"}, "asks nothing, and revocation_lists are given"),
        ({"revocation_urls": ["http://lists.example/a"]}, "revocation_urls need revocation: fetch"),
    ):
        assert words in _words(Partner, {**base, **fields})[1]


def test_revocation_of_a_pinned_certificate_needs_its_issuer():
    """Lists that were given beside pinned certificates alone were never asked; now that is said."""
    for fields in ({"revocation": "fetch"}, {"revocation_lists": ["certificates/a.crl"]}):
        assert "revocation of signing_certificates needs issuers" in _words(Partner, {**PARTNER, **fields})[1]
        Partner.model_validate({**ANCHORED, **fields})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("revocation", "soft"),
        ("revocation_urls", ["ldap://lists.example/a"]),
        ("revocation_urls", ["http://me@lists.example/a"]),
        ("revocation_urls", ["http://lists.example/a"] * 17),
        ("revocation_window", 0),
        ("revocation_window", 337),
        ("revocation_grace", -1),
        ("revocation_grace", 337),
    ],
)
def test_revocation_has_bounds(field: str, value: Any):
    """A window or a grace of more than two weeks would be no revocation."""
    where, _ = _words(Partner, {**ANCHORED, "revocation": "fetch", field: value})
    assert where.split(".")[0] == field
    partner = Partner.model_validate(ANCHORED)
    assert (partner.revocation_window, partner.revocation_grace) == (24, 0)


def test_nobody_is_asked_about_revocation_unless_the_node_says_so():
    """The list of hosts is empty, and an entry that is none is refused."""
    assert Listen().revocation_hosts == ()
    hosts = ("lists.example", "ocsp.example:8080", "10.0.0.0/8")
    assert Listen.model_validate({"revocation_hosts": hosts}).revocation_hosts == hosts
    where, words = _words(Listen, {"revocation_hosts": ["http://lists.example/"]})
    assert (where, "is no host, host:port, address or network" in words) == ("revocation_hosts.0", True)


def test_the_four_corner_profile_needs_its_corners():
    """Without the outer corners the profile's properties could not be written."""
    four = {**PARTNER, "profile": "edelivery-1.15-four-corner"}
    assert "needs four_corner" in _words(Partner, four)[1]
    assert Partner.model_validate({**four, "four_corner": CORNERS}).four_corner is not None


UNTYPED: list[tuple[str, dict[str, Any]]] = [
    ("demo-hospital", {"party_id": {"value": "demo-hospital"}}),
    ("0088:hospital", {"party_id": {"value": "0088:hospital"}}),
    ("homecare", {"exchanges": [{**PARTNER["exchanges"][0], "service": {"value": "homecare"}}]}),
    ("agreement 1", {"agreement": {"value": "agreement 1"}}),
]


@pytest.mark.parametrize(("name", "fields"), UNTYPED)
def test_a_value_without_type_must_be_a_uri_unless_the_partner_writes_such_names(name: str, fields: dict[str, Any]):
    """A party, a service or an agreement that is a plain word needs its type; the words say both ways out."""
    words = _words(Partner, {**PARTNER, **fields})[1]
    assert f"{name!r} has no type and is no URI: give its type, or say untyped_names: true" in words
    allowed = Partner.model_validate({**PARTNER, **fields, "untyped_names": True})
    assert name in (allowed.party_id.value, allowed.exchanges[0].service.value, getattr(allowed.agreement, "value", ""))


def test_a_uri_needs_no_type():
    """It says itself what kind of name it is."""
    uri = {"value": "urn:demo:hospital"}
    partner = Partner.model_validate({**PARTNER, "party_id": uri, "agreement": uri})
    assert (partner.party_id.type, partner.agreement, partner.untyped_names) == (None, Agreement(**uri), False)


@pytest.mark.parametrize("profile", ["edelivery-1.15", "edelivery-2.0", "edelivery-2.0-ec"])
def test_a_partner_names_one_of_the_reviewed_profiles(profile: str):
    """Under each of them nothing more needs to be said."""
    assert Partner.model_validate({**PARTNER, "profile": profile}).profile == profile


def test_a_profile_nobody_reviewed_is_answered_with_those_that_are_known():
    """The field and all names."""
    field, words = _words(Partner, {**PARTNER, "profile": "edelivery-2.1"})
    assert field == "profile"
    assert words.endswith(f"'edelivery-2.1' is not a profile; known: {', '.join(PROFILES)}")


@pytest.mark.parametrize(
    ("profile", "filled"),
    [
        ("peppol", ({"value": "urn:fdc:peppol.eu:2017:agreements:tia:ap_provider", "type": None}, 1, None)),
        ("entsog-3", (None, 1, 10_000_000)),
        ("ehmi", (None, 1, None)),
        ("edelivery-1.15", (None, 28, None)),
    ],
)
def test_what_a_profile_says_for_everybody_need_not_be_in_the_file(profile, filled):
    """And what the file says is left as it is, to be found wrong by the checks."""
    bare = {name: value for name, value in PARTNER.items() if name not in ("agreement", "max_payloads", "max_size")}
    partner = Partner.model_validate({**bare, "profile": profile})
    agreement, payloads, size = filled
    assert partner.agreement == (Agreement.model_validate(agreement) if agreement else None)
    assert (partner.max_payloads, partner.max_size) == (payloads, size or limits.PAYLOAD_SIZE)
    said = Partner.model_validate({**bare, "profile": profile, "max_payloads": 3, "agreement": {"value": "urn:a"}})
    assert said.agreement is not None
    assert (said.max_payloads, said.agreement.value) == (3, "urn:a")


def test_corners_may_be_those_of_each_document():
    """Where the profile has a business document header they need not be in the partner's file."""
    for profile in ("edelivery-1.15-sbdh", "peppol", "ehmi"):
        assert Partner.model_validate({**PARTNER, "profile": profile}).four_corner is None


def test_further_algorithms_are_named_shortly():
    """Several, in the order given; none unless it is said."""
    partner = Partner.model_validate({**PARTNER, "also_accept": ["rsa-sha384", "rsa-oaep-mgf1p", "mgf1sha1"]})
    assert partner.also_accept == ("rsa-sha384", "rsa-oaep-mgf1p", "mgf1sha1")
    assert Partner.model_validate(PARTNER).also_accept == ()
    for name in ALGORITHMS:
        assert Partner.model_validate({**PARTNER, "also_accept": [name]}).also_accept == (name,)


@pytest.mark.parametrize("name", ["rsa-sha1", "rsa-1_5", "aes128-cbc", "kw-aes128", "RSA-SHA384", "", names.RSA_SHA384])
def test_an_algorithm_that_cannot_be_agreed_is_answered_with_those_that_can(name: str):
    """Broken ones have no name here, and a URI is not the name."""
    field, words = _words(Partner, {**PARTNER, "also_accept": ["rsa-sha512", name]})
    assert field == "also_accept.1"
    assert f"{name!r} is not an algorithm that can be agreed; known: {', '.join(ALGORITHMS)}" in words


def test_where_the_content_key_is_agreed_no_other_way_can_be_added():
    """Else it could be had without the key agreement; a further signature is no such thing."""
    two = {**PARTNER, "profile": "edelivery-2.0"}
    for name in ("rsa-oaep", "mgf1sha256"):
        words = _words(Partner, {**two, "also_accept": [name]})[1]
        assert "also_accept: " in words and f"{name} has no place in edelivery-2.0" in words
    assert Partner.model_validate({**two, "also_accept": ["ecdsa-sha256"]}).also_accept == ("ecdsa-sha256",)


def test_the_name_of_a_pmode_needs_an_agreement():
    """It is said inside the agreement's reference and nowhere else."""
    named = {**PARTNER, "exchanges": [{**PARTNER["exchanges"][0], "pmode": "homecare-1"}]}
    assert "exchanges: pmode is said within the agreement's reference" in _words(Partner, named)[1]
    partner = Partner.model_validate({**named, "agreement": {"value": "urn:demo:agreement"}})
    assert partner.exchanges[0].pmode == "homecare-1"
    wrong = {**PARTNER, "exchanges": [{**PARTNER["exchanges"][0], "pmode": "two\nlines"}]}
    assert _words(Partner, wrong)[0] == "exchanges.0.pmode"


def test_an_answer_may_take_up_to_an_hour():
    """And some time at all; left out, the limit for everybody holds."""
    assert Partner.model_validate(PARTNER).answer_within is None
    assert Partner.model_validate({**PARTNER, "answer_within": 3600}).answer_within == 3600
    for wrong in (0, -1, 3601, "soon"):
        assert _words(Partner, {**PARTNER, "answer_within": wrong})[0] == "answer_within"


def test_a_repetition_is_answered_with_a_receipt_or_an_error():
    """The receipt is what the specification demands, and what holds when nothing is said."""
    assert Partner.model_validate(PARTNER).answers_duplicates == "receipt"
    assert Partner.model_validate({**PARTNER, "answers_duplicates": "error"}).answers_duplicates == "error"
    field, words = _words(Partner, {**PARTNER, "answers_duplicates": "nothing"})
    assert field == "answers_duplicates" and "'receipt' or 'error'" in words


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "Hospital"),
        ("id", "a" * 65),
        ("url", "hospital.example/as4"),
        ("url", "ftp://hospital.example"),
        ("url", "https://hospital.example/a b"),
        ("encryption_certificate", "/keys/hospital.key"),
        ("profile", "no-security"),
        ("key_reference", "key-name"),
        ("exchanges", []),
        ("our_role", "two\nlines"),
        ("max_payloads", 0),
        ("max_payloads", limits.PAYLOADS_PER_PARCEL + 1),
        ("max_size", 0),
    ],
)
def test_a_value_of_the_wrong_shape_is_named(field: str, value: Any):
    """The message leads to the field, not only to the document."""
    assert _words(Partner, {**PARTNER, field: value})[0].split(".")[0] == field


@pytest.mark.parametrize("retry", [{"attempts": 0}, {"attempts": 1001}, {"first_wait": 0}, {"longest_wait": -1}])
def test_a_retry_plan_that_would_never_or_always_try_is_refused(retry: dict[str, Any]):
    """At least one attempt, at most a thousand, and time between them."""
    assert _words(Partner, {**PARTNER, "retry": retry})[0] == f"retry.{next(iter(retry))}"


def test_a_party_needs_a_key_for_what_is_encrypted_to_it():
    """An identity that nobody could encrypt for is refused; several keys are a roll-over."""
    assert _words(Party, {**PARTY, "decryption_keys": []})[0] == "decryption_keys"
    assert Party.model_validate({**PARTY, "decryption_keys": ["new", "old"]}).decryption_keys == ("new", "old")
    assert _words(Party, {**PARTY, "message_id_domain": "a domain"})[0] == "message_id_domain"


def test_documents_do_not_change_after_they_are_read():
    """A version of the configuration stays what it is."""
    partner = Partner.model_validate(PARTNER)
    with pytest.raises(ValidationError):
        partner.url = "http://elsewhere.example/"  # type: ignore[misc]
    assert partner.url == PARTNER["url"]


def test_a_node_listens_on_loopback_unless_told_otherwise():
    """Nothing is opened to a network by leaving something out."""
    listen = Listen()
    assert (listen.host, listen.path, listen.behind_proxy) == ("127.0.0.1", "/as4", False)
    assert _words(Listen, {"port": 70000})[0] == "port"
    assert _words(Listen, {"path": "as4"})[0] == "path"


@pytest.mark.parametrize(
    ("kind", "said", "where"),
    [
        (Listen, {"tls_versions": []}, "tls_versions"),
        (Listen, {"tls_versions": ["1.1"]}, "tls_versions"),
        (Listen, {"tls_suites": ["ECDHE-RSA-AES128-SHA256"]}, "tls_suites"),
        (Partner, {**PARTNER, "tls": {"versions": ["1.1", "1.2"]}}, "tls"),
        (Partner, {**PARTNER, "tls": {"suites": ["AES128-GCM-SHA256"]}}, "tls"),
    ],
)
def test_no_weak_tls_can_be_asked_for(kind: type[Any], said: dict[str, Any], where: str):
    """Neither an old version nor a suite without forward secrecy or authenticated encryption."""
    assert _words(kind, said)[0].split(".")[0] == where


def test_tls_may_be_narrowed():
    """To one version and to some suites, by the names OpenSSL gives them."""
    assert (Listen().tls_versions, Listen().tls_suites) == (("1.2", "1.3"), ())
    suites = ["ECDHE-RSA-AES128-GCM-SHA256"]
    assert Listen.model_validate({"tls_versions": ["1.2"], "tls_suites": suites}).tls_suites == tuple(suites)
    assert Partner.model_validate({**PARTNER, "tls": {"versions": ["1.3"]}}).tls.versions == ("1.3",)
    assert "known: ECDHE-ECDSA-AES128-GCM-SHA256, " in _words(Listen, {"tls_suites": ["RC4"]})[1]


def _exchange(direction: str, mpc: str = "urn:demo:channels:one", **channel: Any) -> dict[str, Any]:
    return {**PARTNER["exchanges"][0], "direction": direction, "pull": {"mpc": mpc, **channel}}


def test_a_channel_goes_one_way_and_has_a_name_of_its_own():
    """Who pulls is who receives; the default channel is everybody's [eD1.15 §1.5.5]."""
    partner = Partner.model_validate({**PARTNER, "exchanges": [_exchange("send"), _exchange("receive")]})
    channel = partner.exchanges[0].pull
    assert channel is not None
    assert (channel.mpc, channel.sub_channels, channel.every) == ("urn:demo:channels:one", False, 10.0)
    refused = {
        "goes one way": _exchange("both"),
        "the default MPC is everybody's": _exchange("send", DEFAULT_MPC),
        "match pattern": _exchange("send", "no uri"),
        "greater than or equal to": _exchange("receive", every=0),
    }
    for words, exchange in refused.items():
        assert words in _words(Partner, {**PARTNER, "exchanges": [exchange]})[1]


def test_receipts_are_answers_unless_they_are_called_back():
    """There are two ways and no third."""
    assert Partner.model_validate(PARTNER).reply_pattern == "response"
    assert Partner.model_validate({**PARTNER, "reply_pattern": "callback"}).reply_pattern == "callback"
    assert _words(Partner, {**PARTNER, "reply_pattern": "later"})[0] == "reply_pattern"
