"""What happened to a parcel, in words: the kernel's own codes, the trace's events, and what a newcomer must change.

Rule: an explanation ends in something to do. A code of a gateway is explained by that gateway; this file knows the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from core.clock import local
from core.system import RESIDUAL

CODES: Final[dict[str, str]] = {
    "conflict": "the same key or message id came again with other content. What to do: the sender gives every new message a new"
    " id; look at both contents before believing either",
    "residual": "no route sends this anywhere, or its receiver has no service agreement. What to do: add or correct a route or a"
    " service-agreement, `stafet apply`, then `stafet resend` the parcel",
    "quarantined": "its attempts ended time after time without a word: the work itself may kill the process. What to do: look at"
    " the node's log of those times before `stafet resend`",
    "died": "its attempts ended time after time without a word. What to do: look at the node's log, then `stafet resend`",
    "no-receipt": "the evidence that is agreed or expected has not come in time. What to do: ask the receiver's operator",
    "idle": "a subscription's system has not come for its mail within the agreed time; nothing is lost meanwhile. What to do: ask"
    " its operator whether it runs",
    "unreachable": "a destination could not be reached several times in a row, so nothing but one attempt now and then is made"
    " until it answers; waiting costs nothing of the retry plan. What to do: ask its operator, or correct its address; `stafet"
    " status` says when it is asked next",
    "no-gateway": "the route names a gateway that this node does not run. What to do: name it under gateways in node.yaml",
    "payload": "the stored octets are not what was stored. What to do: restore the object from a backup; the disk may be failing",
    "restored": "it was open when the backup was made; what happened since is unknown. What to do: ask the receiver whether it"
    " arrived, then `stafet resend`",
    "invalid": "the payload is not what its integration's contract says; each finding names a place and a rule. What to do: the"
    " sender corrects the payload, or the owner of the integration its contract",
    "enrichment": "a step between accept and route failed, and parcels go on without what it adds. What to do: look at the cause"
    " and the node's log; set on_failure: residual where they must not go on",
    "not-allowed": "no service agreement allows it now. What to do: add or extend a document of kind service-agreement",
    "too-large": "a limit of the integration was met. What to do: raise max_size, or send less",
    "overloaded": "the queue or the disk is full for now. What to do: free space, or try again later",
    "quota": "its system or authority has used up what a document of kind quota gives it. What to do: its sender tries again when"
    " it was told to; give it more, if it should have it",
    "clock": "this node's clock differs from the database's. What to do: set the clock (NTP); leases depend on it",
    "expiry": "a key, a certificate or a revocation list that is in use ends soon, or has ended. What to do: look at"
    " `stafet certificates`, get the next one in time, and roll over as docs/how-to/change-keys.md says",
    "misdelivered": "the receiving system said that it is for somebody else, and sent it on; nobody refused it. What to"
    " do: nothing; the trace says where it went",
    "nack": "the receiving system could not take it just now; it is offered again",
    "bug": "a gateway failed in a way it does not document. What to do: the node's log has the detail; report it",
}
"""The kernel's codes: what they mean and what to do."""

_EVENTS: Final[dict[str, str]] = {
    "accepted": "accepted from {sender} under {integration}",
    "enriched": "enriched by the step {step}",
    "not-enriched": "not enriched: the step {step} failed",
    "repeated": "came again with the same content; not delivered again",
    "conflict": "came again with other content; refused",
    "frozen": "signed and frozen, ready to send",
    "retry": "attempt {attempt} failed",
    "sent": "taken by the far side; its receipt comes later",
    "exhausted": "attempt {attempt} failed, and it was the last",
    "refused": "refused for good",
    "acknowledged": "delivered: {receiver} has it",
    "business-accepted": "accepted by the receiver's application",
    "business-rejected": "rejected by the receiver's application",
    "business-failed": "failed in the receiver's application",
    "quarantined": "set aside: its attempts killed the process",
    "hold": "held",
    "release": "released",
    "resend": "sent again by {by}",
    "skipped": "passed by: {by} let what comes after it go on",
    "redirected": "routed again",
    "fetched": "{receiver} has begun to fetch it",
    "redistributed": "{from} sent it on: it was not for them",
    "reported": "they report an error that may pass: {code} {reason}",
    "not-believed": "a signal about it came that proves nothing; not believed",
    "expected": "the {level} receipt that is expected of {of}: {expected}",
    "overdue": "the {level} receipt that is expected of {of} has not come in time",
    "retention": "deleted what was kept long enough",
    "late": "an attempt reported after its lease had ended; nothing was changed",
}


class _Blank(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


def event(name: str, facts: Mapping[str, Any]) -> str:
    """A trace event in one short sentence."""
    if name == "expected" and facts.get("expected") == "met-late":
        facts = {**facts, "expected": "it came after all, too late"}
    return _EVENTS.get(name, name).format_map(_Blank(facts))


def detail(name: str, facts: Mapping[str, Any]) -> str:
    """What is worth knowing beside the sentence: route, digest, names, causes, the next attempt."""
    parts: list[str] = []
    if facts.get("route"):
        parts.append(f"route {facts['route']} to {', '.join(facts.get('receivers', ()))}")
    elif name == "accepted" and "route" in facts:
        parts.append("residual mailbox")
    for _, size, digest in facts.get("payloads", ()):
        parts.append(f"{size} octets, SHA-256 {digest[:16]}")
    parts += [f"{name}: {', '.join(facts[name])}" for name in ("added", "warnings") if facts.get(name)]
    shown = (
        "origin",
        "declaration",
        "responsible",
        "contract",
        "message",
        "from",
        "signed by",
        "receipt",
        "code",
        "reason",
        "field",
        "cause",
        "remedy",
    )
    parts += [f"{key} {facts[key]}" for key in shown if facts.get(key)]
    if facts.get("next"):
        parts.append(f"next attempt {local(int(facts['next']))}")
    return "; ".join(parts)


def code(name: str, ask_gateways: Callable[[str], str]) -> str:
    """What a code means and what to do about it, or "" for one that nobody knows."""
    return CODES.get(name, "") or ask_gateways(name)


def standing(
    state: str, last_code: str, last_reason: str, ask_gateways: Callable[[str], str], *, pulled: bool = False
) -> list[str]:
    """Where a delivery stands and why, as sentences; ``pulled`` when the receiving system comes for it itself."""
    said = {
        "ready": "it waits until the system takes it" if pulled else "it waits for its next attempt",
        "awaiting": "the far side has taken it; its receipt is awaited",
        "held": "it is held until somebody says `stafet resend`",
        "delivered": "it is delivered; nothing is left to do",
        "accepted": "the receiver's application has accepted it; nothing is left to do",
        "rejected": "the receiver refused it, and sending the same again cannot help; correct the cause, then `stafet resend`",
        "failed": "every attempt failed; correct the cause, then `stafet resend`",
        "quarantined": "it was set aside; look at the log, then `stafet resend`",
    }
    lines = [said.get(state, state)]
    if (
        last_code and last_code != RESIDUAL and state not in ("delivered", "accepted")
    ):  # of the mailbox more is said beside
        lines.append(f"last word: {last_code}: {last_reason}")
        if meaning := code(last_code, ask_gateways):
            lines.append(meaning)
    return lines


def whither(receiver: str, gateway: str, destination: str) -> str:
    """Where a delivery goes, and how: through a gateway, or fetched by its system, be it by a subscription."""
    if gateway:
        return f"to {receiver} through {gateway}"
    return f"to {receiver} (subscription {destination}), who pulls" if destination else f"to {receiver}, who pulls"


def not_attempted(since: int, probe_at: int, last_code: str, last_reason: str) -> str:
    """Why a delivery of a paused destination waits."""
    said = f"{last_code} {last_reason}".strip()
    return (
        f"not attempted: the destination has not answered since {local(since)} ({said});"
        f" next probe {local(probe_at)}, and this costs nothing of its retry plan"
    )


def behind(parcel_id: str, state: str, *, stopped: bool) -> str:
    """Why a delivery in a line waits."""
    waits = f"not attempted: order is agreed, and parcel {parcel_id} comes first; that is {state}"
    return f"{waits}. What to do: `stafet resend {parcel_id}`, or `stafet skip {parcel_id}`" if stopped else waits
