"""What the words of a Domibus P-Mode mean in ours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accesspoint import names
from accesspoint.ebms import Typed
from accesspoint.profiles import ALGORITHMS, PROFILES
from core import limits
from gateways.as4.moving.domibus import Leg, Payload, PayloadProfile
from gateways.as4.moving.terms import (
    Plan,
    also_accept,
    comes_with_pull,
    community_of,
    corners_of,
    key_reference,
    leg_findings,
    payload_bounds,
    profile_of,
    refusal,
    retry_plan,
)
from tests.gateways.as4.moving.making import read

LEG = read().legs[0]


def _said(leg: Leg) -> list[tuple[str, str]]:
    return [(f.level, f.reason) for f in leg_findings(leg)]


def test_a_leg_as_edelivery_has_it_goes_over_in_silence():
    """Nothing is said where nothing differs."""
    assert refusal(LEG) is None
    assert _said(LEG) == []


def test_pull_is_said_in_one_place():
    """A process that pulls is left out, and the finding says until when."""
    (finding,) = comes_with_pull(replace(read().processes[0], binding="pull"))
    assert (finding.level, finding.element) == ("left out", "process announcing")
    assert "oneway with pull: comes with pull" in finding.reason


@pytest.mark.parametrize(
    ("policy", "reference"),
    [
        ("eDeliveryAS4Policy.xml", "subject-key-identifier"),
        ("eDeliveryAS4Policy_SKI.xml", "subject-key-identifier"),
        ("eDeliveryAS4Policy_BST.xml", "binary-security-token"),
        ("eDeliveryAS4Policy_BST_PKIP.xml", "binary-security-token"),
        ("eDeliveryAS4Policy_IS.xml", "issuer-serial"),
        ("policies/EDELIVERYAS4POLICY_IS.XML", "issuer-serial"),
        ("ourOwn.xml", "binary-security-token"),
    ],
)
def test_a_policy_says_how_certificates_are_referred_to(policy, reference):
    """By its file name, in whatever folder and case."""
    assert key_reference(replace(LEG, policy=policy)) == reference


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("doNothingPolicy.xml", "neither signs nor encrypts"),
        ("signOnly.xml", "does not encrypt"),
        ("encryptAll.xml", "does not sign"),
    ],
)
def test_a_leg_without_full_security_is_refused(policy, words):
    """No profile here sends or takes such a message."""
    finding = refusal(replace(LEG, policy=policy))
    assert finding is not None
    assert (finding.level, finding.element) == ("left out", "legConfiguration announceLeg")
    assert f"{policy} {words}" in finding.reason


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"signature_method": "RSA_SHA1"}, "left out", "signatureMethod RSA_SHA1 is not accepted"),
        ({"mpc": "urn:fictitious:side"}, "left out", "message channel is urn:fictitious:side"),
        ({"mpc": names.DEFAULT_MPC.lower()}, "left out", "message channel is"),
        ({"service": Typed(names.TEST_SERVICE), "action": names.TEST_ACTION}, "note", "is the test service"),
    ],
)
def test_a_leg_that_is_no_exchange_says_why(change, level, words):
    """The finding says whether something is lost by it."""
    finding = refusal(replace(LEG, **change))
    assert finding is not None
    assert finding.level == level
    assert words in finding.reason


@pytest.mark.parametrize("change", [{"mpc": ""}, {"action": names.TEST_ACTION}, {"service": Typed(names.TEST_SERVICE)}])
def test_a_leg_that_only_looks_so_is_an_exchange(change):
    """An unset channel is the default one, and half of the test service is not the test service."""
    assert refusal(replace(LEG, **change)) is None


@pytest.mark.parametrize(
    ("change", "profile", "accepted"),
    [
        ({}, "edelivery-1.15", ""),
        ({"signature_method": ""}, "edelivery-1.15", ""),
        ({"security_profile": "RSA", "signature_method": ""}, "edelivery-1.15", ""),
        ({"signature_method": "rsa_sha512"}, "edelivery-1.15", "rsa-sha512"),
        ({"signature_method": "RSA_SHA384"}, "edelivery-1.15", "rsa-sha384"),
        ({"security_profile": "ecc", "signature_method": ""}, "edelivery-2.0-ec", ""),
        ({"signature_method": "ECDSA_SHA256"}, "edelivery-2.0-ec", ""),
    ],
)
def test_the_profile_follows_from_the_algorithms(change, profile, accepted):
    """Both are names that a partner's document takes."""
    leg = replace(LEG, **change)
    assert (profile_of(leg), also_accept(leg)) == (profile, accepted)
    assert profile in PROFILES
    assert accepted in ("", *ALGORITHMS)


@pytest.mark.parametrize(
    ("properties", "corners"),
    [
        ((), "none"),
        ((("originalSender", True),), "none"),
        ((("originalSender", True), ("finalRecipient", True)), "demanded"),
        ((("originalSender", True), ("finalRecipient", False)), "known"),
        ((("originalsender", True), ("finalRecipient", True)), "none"),
    ],
)
def test_corners_are_two_properties(properties, corners):
    """Both must be there, under exactly these names."""
    assert corners_of(replace(LEG, properties=properties)) == corners


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": "eDeliveryAS4Policy_BST_PKIP.xml"}, "sends the certificate with its chain"),
        ({"policy": "ourOwn.xml"}, "the policy ourOwn.xml is not known here"),
        ({"signature_method": "RSA_SHA512"}, "what we send is signed with RSA_SHA256"),
        ({"security_profile": "ECC", "signature_method": ""}, "edelivery-2.0-ec"),
        ({"retry": "often"}, "retry is 'often'"),
        ({"duplicate_detection": False}, "a message is never delivered twice"),
        ({"reply_pattern": "callback"}, "replyPattern is callback"),
        ({"non_repudiation": False}, "nonRepudiation is off"),
        ({"error_as_response": False}, "errorAsResponse is off"),
        ({"properties": (("berth", True), ("quay", False))}, "the message property berth is required"),
    ],
)
def test_what_differs_is_said(change, words):
    """One finding for one difference, and the exchange is kept."""
    ((level, reason),) = _said(replace(LEG, **change))
    assert level == "changed"
    assert words in reason


def test_splitting_is_left_out():
    """The leg is carried, splitting is not."""
    ((level, reason),) = _said(replace(LEG, splitting="large"))
    assert level == "left out"
    assert "splitting large" in reason


def test_payloads_by_name_and_in_the_body_are_said():
    """A counterpart that insists on Content-IDs would refuse ours."""
    payloads = (Payload("manifest", "cid:manifest", False, 1), Payload("cover", "", True, 1))
    said = _said(replace(LEG, payload_profile=PayloadProfile("manifests", 1, payloads)))
    assert [level for level, _ in said] == ["changed", "changed"]
    assert "payloadProfile manifests names payloads by Content-ID (cid:manifest)" in said[0][1]
    assert "its payload cover lies in the SOAP body" in said[1][1]
    assert _said(replace(LEG, payload_profile=PayloadProfile("any", 1, (Payload("any", "", False, 1),)))) == []


# --- numbers ----------------------------------------------------------------------------------------------------------

ONCE = Plan(1, 5.0, 1800.0)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        (None, ONCE),
        ("1;1;SEND_ONCE", ONCE),
        ("send_once", ONCE),
        ("12;4;CONSTANT", Plan(5, 180.0, 180.0)),
        (" 12 ; 4 ; constant ", Plan(5, 180.0, 180.0)),
        ("1;3;CONSTANT", Plan(4, 20.0, 20.0)),
        ("14;2;2;PROGRESSIVE", Plan(4, 120.0, 480.0)),
        ("3;2;9;PROGRESSIVE", Plan(2, 120.0, 120.0)),
        ("1;999;CONSTANT", Plan(1000, 60 / 999, 60 / 999)),
    ],
)
def test_a_retry_string_is_a_plan(text, plan):
    """Domibus counts what comes after the first attempt, and minutes."""
    assert retry_plan(text) == plan


def test_a_plan_that_differs_says_so():
    """Growth other than doubling, and more attempts than we make."""
    grown = retry_plan("100;2;3;PROGRESSIVE")
    assert (grown.attempts, grown.wait, grown.longest) == (5, 120.0, 54 * 60.0)
    assert grown.differs == "waits grow 3-fold in Domibus, and double here"
    many = retry_plan("1;5000;CONSTANT")
    assert (many.attempts, many.wait) == (1000, 60 / 5000)
    assert many.differs.startswith("retry counts 5000 more attempts")


@pytest.mark.parametrize(
    "text",
    [
        *("", ";;", "12;4", "12;4;SOMETIMES", "0;4;CONSTANT", "12;0;CONSTANT", "12;-4;CONSTANT", "12;4;4;CONSTANT"),
        *("10;0;2;PROGRESSIVE", "10;2;1;PROGRESSIVE", "10;2;PROGRESSIVE", "9999999999;4;CONSTANT", "١٢;4;CONSTANT"),
    ],
)
def test_a_retry_string_that_is_no_plan_leaves_ours(text):
    """The finding quotes it."""
    plan = retry_plan(text)
    assert (plan.attempts, plan.wait, plan.longest) == (limits.ATTEMPTS, 5.0, 1800.0)
    assert repr(text) in plan.differs


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=30)
    | st.from_regex(r"[0-9]{1,9}(;[0-9]{1,9}){1,2};(CONSTANT|PROGRESSIVE|SEND_ONCE)", fullmatch=True)
)
def test_every_plan_is_one_that_a_partner_takes(text):
    """Whatever stands there: at least one attempt, at most a thousand, and waits above nothing."""
    plan = retry_plan(text)
    assert 1 <= plan.attempts <= 1000
    assert 0 < plan.wait <= plan.longest


@pytest.mark.parametrize(
    ("profile", "bounds"),
    [
        (None, (0, 0)),
        (PayloadProfile("p", 0, ()), (0, 0)),
        (PayloadProfile("p", 10, ()), (10, 0)),
        (PayloadProfile("p", 10, (Payload("a", "", False, 4), Payload("b", "", False, 7))), (7, 2)),
        (PayloadProfile("p", 5, (Payload("a", "", False, 4), Payload("b", "", False, 7))), (5, 2)),
        (PayloadProfile("p", 10, (Payload("a", "", False, 4), Payload("b", "", False, 0))), (10, 2)),
        (PayloadProfile("p", 0, (Payload("a", "", False, 4),)), (4, 1)),
        (PayloadProfile("p", 0, (Payload("a", "", False, 4), Payload("b", "", False, 0))), (0, 2)),
    ],
)
def test_the_bound_of_a_payload_is_the_tightest(profile, bounds):
    """That of the largest payload, or of all together; a payload without one has that of all."""
    assert payload_bounds(replace(LEG, payload_profile=profile)) == bounds


def test_a_community_is_known_by_its_names():
    """All of them; the gas network's by the algorithms too."""
    peppol, gas, other = (Typed("x", kind) for kind in (names.PEPPOL_PARTY, names.EDIGAS_SERVICE, "urn:other"))
    assert community_of("edelivery-1.15", (peppol, peppol), (other,)) == "peppol"
    assert community_of("edelivery-1.15", (peppol, other), (other,)) == ""
    assert community_of("edelivery-1.15", (other,), (gas, gas)) == "entsog-3"
    assert community_of("edelivery-2.0-ec", (other,), (gas,)) == "entsog-4-ec"
    assert community_of("edelivery-1.15-four-corner", (other,), (gas,)) == ""
    assert community_of("edelivery-1.15", (other,), (gas, other)) == ""
