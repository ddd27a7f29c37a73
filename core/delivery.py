"""The delivery state machine: one parcel on its way to one receiving system through one gateway.

Rules:

1. This table is the whole truth; nothing else decides a state.
2. **No state means "busy".** Work in flight is a lease with an end and an epoch; a crash never leaves "sending" behind.
3. Receipts are evidence: they move a delivery from every state but a final business one, late and out of order included.
4. An event a state does not know is a bug and raises; an event that changes nothing is in the table as itself.

::

               attempt failed ┐        ┌ sent (receipt comes later)
                              ▼        ▼
   accept ──► READY ◄──────── READY    AWAITING ──► receipt: DELIVERED ──► business: ACCEPTED | REJECTED
                │ hold/release ▲                       ▲
                ▼              │                       │ late receipt
               HELD ───────────┘   FAILED ─────────────┘      (resend: FAILED, REJECTED, QUARANTINED ──► READY)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.clock import Micros
from core.errors import IllegalTransition
from core.receipt import Level, Receipt, Verdict


class State(StrEnum):
    """Where a delivery stands."""

    READY = "ready"
    AWAITING = "awaiting"
    HELD = "held"
    DELIVERED = "delivered"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class Event(StrEnum):
    """What can happen to a delivery."""

    RETRY = "retry"
    """An attempt failed; there are attempts left."""
    SENT = "sent"
    """The far side took the bytes; its receipt comes later."""
    EXHAUSTED = "exhausted"
    """An attempt failed and it was the last, or the deadline passed."""
    REFUSED = "refused"
    """The far side refused for good, authenticated."""
    ACKNOWLEDGED = "acknowledged"
    """A transport or envelope receipt says they have it, or the pulling system acknowledged."""
    BUSINESS_ACCEPTED = "business-accepted"
    BUSINESS_REJECTED = "business-rejected"
    BUSINESS_FAILED = "business-failed"
    DIED = "died"
    """Leases ended without a word too often."""
    HOLD = "hold"
    RELEASE = "release"
    RESEND = "resend"


_S, _E = State, Event
_OPEN = (_S.READY, _S.AWAITING)
_SETTLED = (_S.DELIVERED, _S.ACCEPTED, _S.REJECTED)

TABLE: dict[tuple[State, Event], State] = {
    **{(s, _E.RETRY): _S.READY for s in _OPEN},
    **{(s, _E.SENT): _S.AWAITING for s in _OPEN},
    **{(s, _E.EXHAUSTED): _S.FAILED for s in _OPEN},
    **{(s, _E.REFUSED): _S.REJECTED for s in (*_OPEN, _S.HELD, _S.FAILED, _S.QUARANTINED)},
    **{(s, _E.DIED): _S.QUARANTINED for s in _OPEN},
    **{(s, _E.HOLD): _S.HELD for s in _OPEN},
    (_S.HELD, _E.RELEASE): _S.READY,
    **{(s, _E.RESEND): _S.READY for s in (_S.FAILED, _S.REJECTED, _S.QUARANTINED, _S.HELD, _S.DELIVERED)},
    # Evidence wins over what we believed: every open, held or failed state moves on a receipt.
    **{(s, _E.ACKNOWLEDGED): _S.DELIVERED for s in (*_OPEN, _S.HELD, _S.FAILED, _S.QUARANTINED, _S.DELIVERED)},
    **{(s, _E.BUSINESS_ACCEPTED): _S.ACCEPTED for s in State if s is not _S.REJECTED},
    **{(s, _E.BUSINESS_REJECTED): _S.REJECTED for s in State if s is not _S.ACCEPTED},
    **{(s, _E.BUSINESS_FAILED): _S.FAILED for s in State if s not in (_S.ACCEPTED, _S.REJECTED)},
    # The first business verdict stands, and nothing lesser moves a settled delivery.
    (_S.ACCEPTED, _E.BUSINESS_REJECTED): _S.ACCEPTED,
    (_S.ACCEPTED, _E.BUSINESS_FAILED): _S.ACCEPTED,
    (_S.REJECTED, _E.BUSINESS_ACCEPTED): _S.REJECTED,
    (_S.REJECTED, _E.BUSINESS_FAILED): _S.REJECTED,
    (_S.ACCEPTED, _E.ACKNOWLEDGED): _S.ACCEPTED,
    (_S.REJECTED, _E.ACKNOWLEDGED): _S.REJECTED,
    # An attempt may report after a receipt has settled or failed its delivery: the report no longer matters.
    **{(s, e): s for s in _SETTLED for e in (_E.RETRY, _E.SENT, _E.EXHAUSTED, _E.REFUSED, _E.DIED)},
    **{(_S.FAILED, e): _S.FAILED for e in (_E.RETRY, _E.SENT, _E.EXHAUSTED, _E.DIED)},
    # An attempt may report after somebody held its delivery: what was sent was sent, what failed stays held.
    (_S.HELD, _E.RETRY): _S.HELD,
    (_S.HELD, _E.SENT): _S.AWAITING,
    (_S.HELD, _E.EXHAUSTED): _S.FAILED,
    (_S.HELD, _E.DIED): _S.HELD,
}

OPEN_STATES = frozenset(_OPEN)
"""States in which somebody still has work to do."""

REPEATABLE_STATES = frozenset({*_OPEN, _S.HELD, _S.FAILED, _S.QUARANTINED})
"""States from which a delivery is sent again as it was frozen, because the far side has not spoken: its kept parts are needed."""


def advance(state: State, event: Event) -> State:
    """The state after ``event``. Raises `IllegalTransition` where the table has no row (a bug, never input)."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalTransition(f"a delivery in state {state} does not know the event {event}") from None


def event_of(receipt: Receipt) -> Event:
    """Which event a receipt is."""
    if receipt.level is Level.BUSINESS:
        return {
            Verdict.ACCEPTED: Event.BUSINESS_ACCEPTED,
            Verdict.REJECTED: Event.BUSINESS_REJECTED,
            Verdict.FAILED: Event.BUSINESS_FAILED,
        }[receipt.verdict]
    return Event.ACKNOWLEDGED if receipt.verdict is Verdict.ACCEPTED else Event.REFUSED


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the queue. ``epoch`` fences attempts; ``due_at`` is the next attempt's time, or the lease's end."""

    id: str
    parcel_id: str
    receiver: str
    gateway: str
    state: State
    due_at: Micros
    epoch: int = 0
    attempts: int = 0
    lane: str = "normal"
    rule: str = ""
    config_version: int = 0
    destination: str = ""
    """What the gateway needs to find its neighbour, as the id of a partner document."""
    line: str = ""
    """What it belongs together with where order is agreed: one of a line is attempted at a time, oldest first. "" = no order."""
    stops: bool = False
    """Whether those behind it in its line wait for a person when it fails."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What will be sent, committed before the first octet leaves; a retry sends exactly this.

    ``outside_ids`` are the names under which receipts may speak of it; ``wire`` is sealed by the gateway's own encoding
    (header octets, keys and nonces), ``objects`` are payload-store ids of prepared parts kept until the delivery settles.
    """

    delivery_id: str
    outside_ids: tuple[str, ...]
    wire: bytes
    objects: tuple[str, ...] = ()
    at: Micros = 0
