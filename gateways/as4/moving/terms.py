"""What the words of a Domibus P-Mode mean in ours: policies, retries, sizes, corners; and what has no word here.

Rule: pure translation of one leg or one process. What a word means, and what is said where there is none, stands here alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from accesspoint import names
from accesspoint.ebms import Typed
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_2_0_EC, ENTSOG_3, ENTSOG_4_EC, PEPPOL
from core import limits
from gateways.as4.moving.domibus import Leg, Process
from gateways.as4.moving.shape import Finding

KeyReference = Literal["binary-security-token", "subject-key-identifier", "issuer-serial"]

_POLICIES: Final[dict[str, KeyReference]] = {
    "edeliveryas4policy": "subject-key-identifier",
    "edeliveryas4policy_ski": "subject-key-identifier",
    "edeliveryas4policy_bst": "binary-security-token",
    "edeliveryas4policy_bst_pkip": "binary-security-token",
    "edeliveryas4policy_is": "issuer-serial",
}
_PATH: Final = "edeliveryas4policy_bst_pkip"
_WEAK: Final = {
    "donothingpolicy": "neither signs nor encrypts",
    "signonly": "does not encrypt",
    "encryptall": "does not sign",
}
_METHODS: Final = {
    "": "",
    "RSA_SHA256": "",
    "RSA_SHA384": "rsa-sha384",
    "RSA_SHA512": "rsa-sha512",
    "ECDSA_SHA256": "",
}
"""signatureMethod → what a partner's ``also_accept`` must name."""
CORNERS: Final = (names.ORIGINAL_SENDER, names.FINAL_RECIPIENT)


def comes_with_pull(process: Process) -> list[Finding]:
    """What is said of a process that pulls. The one place to change once partners can pull."""
    reason = f"{process.mep} with {process.binding}: comes with pull, which a partner document cannot say yet"
    remedy = "agree on push with the counterpart, or keep this process in Domibus until pull is there"
    return [Finding("left out", process.label, reason, remedy)]


def _policy(leg: Leg) -> str:
    return leg.policy.rpartition("/")[2].lower().removesuffix(".xml")


def key_reference(leg: Leg) -> KeyReference:
    """How the leg's policy refers to a certificate."""
    return _POLICIES.get(_policy(leg), "binary-security-token")


def profile_of(leg: Leg) -> str:
    """The profile whose algorithms the leg uses, without regard to corners."""
    elliptic = leg.security_profile.upper() == "ECC" or leg.signature_method.upper() == "ECDSA_SHA256"
    return "edelivery-2.0-ec" if elliptic else "edelivery-1.15"


def community_of(profile: str, parties: Sequence[Typed], services: Sequence[Typed]) -> str:
    """The profile of the community whose identifiers these are, or "": header values are all that a P-Mode shows of it."""
    if all(party.type == names.PEPPOL_PARTY for party in parties):
        return PEPPOL.name
    if all(service.type == names.EDIGAS_SERVICE for service in services):
        return {EDELIVERY_1_15.name: ENTSOG_3.name, EDELIVERY_2_0_EC.name: ENTSOG_4_EC.name}.get(profile, "")
    return ""


def also_accept(leg: Leg) -> str:
    """The signature algorithm the leg uses beside the profile's own, or ""."""
    return _METHODS.get(leg.signature_method.upper(), "")


def corners_of(leg: Leg) -> Literal["demanded", "known", "none"]:
    """Whether original sender and final recipient must be there, may be there, or are not spoken of."""
    required = dict(leg.properties)
    if not all(name in required for name in CORNERS):
        return "none"
    return "demanded" if all(required[name] for name in CORNERS) else "known"


def refusal(leg: Leg) -> Finding | None:
    """Why a leg cannot be an exchange at all, or None."""
    weak = _WEAK.get(_policy(leg))
    if weak:
        reason = f"its security policy {leg.policy} {weak}; every profile here demands both"
        return Finding("left out", leg.label, reason, "agree on eDeliveryAS4Policy_BST.xml with the counterpart")
    if leg.signature_method.upper() not in _METHODS:
        reason = f"its signatureMethod {leg.signature_method} is not accepted here"
        return Finding("left out", leg.label, reason, "agree on RSA_SHA256 with the counterpart")
    if leg.mpc not in ("", names.DEFAULT_MPC):
        reason = f"its message channel is {leg.mpc}; exchanges are on the default channel"
        return Finding("left out", leg.label, reason, f"agree on {names.DEFAULT_MPC} with the counterpart")
    if leg.service.value == names.TEST_SERVICE and leg.action == names.TEST_ACTION:
        return Finding("note", leg.label, "is the test service, which every partner may use without an exchange")
    return None


# --- what goes over, but differs --------------------------------------------------------------------------------------


def leg_findings(leg: Leg) -> Iterator[Finding]:
    """What is said of a leg that becomes an exchange."""
    yield from _security_findings(leg)
    yield from _reliability_findings(leg)
    yield from _payload_findings(leg)


def _security_findings(leg: Leg) -> Iterator[Finding]:
    if _policy(leg) == _PATH:
        reason = f"{leg.policy} sends the certificate with its chain; we send the certificate alone, and take both"
        yield Finding(
            "changed", leg.label, reason, "name the authority in anchors, with signing_subject, instead of certificates"
        )
    elif _policy(leg) not in _POLICIES:
        reason = f"the policy {leg.policy} is not known here and is taken for eDeliveryAS4Policy_BST.xml"
        yield Finding(
            "changed", leg.label, reason, "compare the policy file with the partner's profile and key_reference"
        )
    if also_accept(leg):
        reason = f"{leg.signature_method} is accepted from them; what we send is signed with RSA_SHA256"
        yield Finding("changed", leg.label, reason, "ask the counterpart to accept RSA_SHA256")
    if profile_of(leg) != "edelivery-1.15":
        reason = "elliptic curves: taken for the profile edelivery-2.0-ec, whose key agreement Domibus may not have"
        yield Finding("changed", leg.label, reason, "test with the counterpart before anything else is moved")


def _reliability_findings(leg: Leg) -> Iterator[Finding]:
    plan = retry_plan(leg.retry)
    if plan.differs:
        yield Finding("changed", leg.label, plan.differs, "correct retry in the partner's document")
    if not leg.duplicate_detection:
        reason = "duplicateDetection is off in Domibus; here a message is never delivered twice"
        yield Finding("changed", leg.label, reason)
    if leg.reply_pattern not in ("", "response"):
        reason = f"replyPattern is {leg.reply_pattern}; receipts come on the same connection here"
        yield Finding("changed", leg.label, reason, "agree on replyPattern response with the counterpart")
    if not leg.non_repudiation:
        reason = "nonRepudiation is off; here a receipt must repeat every digest and be signed"
        yield Finding("changed", leg.label, reason, "agree on nonRepudiation true with the counterpart")
    if not leg.error_as_response:
        reason = "errorAsResponse is off; errors are told on the same connection here"
        yield Finding("changed", leg.label, reason, "agree on errorAsResponse true with the counterpart")
    if leg.splitting:
        reason = f"splitting {leg.splitting}: split messages are not taken; a message of any size is sent whole"
        yield Finding("left out", leg.label, reason, "ask the counterpart to take splitting off this leg")


def _payload_findings(leg: Leg) -> Iterator[Finding]:
    for key, required in leg.properties:
        if required and key not in CORNERS:
            reason = f"the message property {key} is required; nothing here demands it"
            yield Finding("changed", leg.label, reason, f"have the system send the attribute as4.property.{key}")
    profile = leg.payload_profile
    if profile is None:
        return
    cids = ", ".join(p.cid for p in profile.payloads if p.cid)
    if cids:
        reason = f"payloadProfile {profile.name} names payloads by Content-ID ({cids[:200]}); we make up Content-IDs of our own"
        yield Finding("changed", leg.label, reason, "ask the counterpart to take payloadProfile off this leg")
    for payload in profile.payloads:
        if payload.in_body:
            reason = f"its payload {payload.name} lies in the SOAP body, where it cannot be encrypted"
            yield Finding("changed", leg.label, reason, "agree that every payload is an attachment")


# --- numbers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A retry plan in seconds; ``differs`` says what is not as in Domibus, "" for nothing."""

    attempts: int
    wait: float
    longest: float
    differs: str = ""


_ONCE: Final = Plan(1, limits.RETRY_FIRST / 1e6, limits.RETRY_CEILING / 1e6)
_MOST_ATTEMPTS: Final = 1000


def retry_plan(text: str | None) -> Plan:
    """``12;4;CONSTANT``: four more attempts within twelve minutes. ``100;2;3;PROGRESSIVE``: after 2, 6, 18 … minutes."""
    if text is None:
        return _ONCE
    *numbers, strategy = [word.strip() for word in text.split(";")]
    if strategy.upper() == "SEND_ONCE":
        return _ONCE
    if all(n.isascii() and n.isdigit() and 1 <= len(n) <= 9 for n in numbers):
        values = [int(n) for n in numbers]
        if strategy.upper() == "CONSTANT" and len(values) == 2 and all(values):
            return _constant(*values)
        if strategy.upper() == "PROGRESSIVE" and len(values) == 3 and values[1] > 0 and values[2] > 1:
            return _progressive(*values)
    unread = f"retry is {text[:60]!r}, which is no plan that is known here: our own takes its place"
    return Plan(limits.ATTEMPTS, _ONCE.wait, _ONCE.longest, unread)


def _constant(minutes: int, count: int) -> Plan:
    wait = minutes * 60 / count
    if count >= _MOST_ATTEMPTS:
        differs = f"retry counts {count} more attempts; {_MOST_ATTEMPTS} in all are the most here"
        return Plan(_MOST_ATTEMPTS, wait, wait, differs)
    return Plan(count + 1, wait, wait)


def _progressive(minutes: int, first: int, factor: int) -> Plan:
    waits, wait = [first], first * factor
    while sum(waits) + wait <= minutes:
        waits.append(wait)
        wait *= factor
    differs = "" if factor == 2 or len(waits) == 1 else f"waits grow {factor}-fold in Domibus, and double here"
    return Plan(len(waits) + 1, waits[0] * 60.0, waits[-1] * 60.0, differs)


def payload_bounds(leg: Leg) -> tuple[int, int]:
    """(octets of one payload, number of payloads); 0 where there is no bound."""
    profile = leg.payload_profile
    if profile is None:
        return 0, 0
    single = [p.max_size for p in profile.payloads]
    bounds = [max(single)] if single and all(single) else []
    bounds += [profile.max_size] if profile.max_size else []
    return min(bounds, default=0), len(profile.payloads)
