"""What the writer can be asked to do with requests and configuration versions that come over an API.

Rules:

1. A change is made from the newest version, and is stored only while that is the newest: who was overtaken begins anew.
2. A decision and the version it makes are one commit. A request is decided once; whoever comes second is told the state.
3. A request is counted, keyed and stored in one commit: a repetition is the same request, and nobody has more than allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from core.ledger import parcels, requests, unreachable, versions
from core.ledger.requests import Decision, Request, RequestState
from core.ledger.versions import Version
from core.parcel import Judgement, Key
from core.writer import Kind


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to store, unless its asker has ``most`` already. Under a key it counts once."""

    request: Request
    most: int
    key: Key | None = None
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of it: the request that stands under its key, None for one too many or a key used for something else."""

    judgement: Judgement
    request: str | None


def _ask(connection: Connection, batch: Sequence[Ask]) -> Sequence[Asked]:
    return [_ask_one(connection, item) for item in batch]


def _ask_one(connection: Connection, item: Ask) -> Asked:
    wanted = item.request
    if item.key is not None and (first := parcels.recall(connection, item.key)) is not None:
        same = first.fingerprint == item.fingerprint
        return Asked(Judgement.KNOWN, first.parcel_id) if same else Asked(Judgement.CONFLICT, None)
    if requests.pending_of(connection, wanted.asked_by) >= item.most:
        return Asked(Judgement.NEW, None)
    if item.key is not None:
        claimed = parcels.claim_key(connection, item.key, item.fingerprint, wanted.id, b"", wanted.asked_at)
        if claimed.judgement is not Judgement.NEW:  # another node was quicker
            known = claimed.judgement is Judgement.KNOWN
            return Asked(claimed.judgement, claimed.parcel_id if known else None)
    requests.add(connection, wanted)
    return Asked(Judgement.NEW, wanted.id)


ASK: Final = Kind("ask", _ask, order=71)


@dataclass(frozen=True, slots=True)
class Change:
    """The next version, made from number ``based_on``; None where a decision changes nothing. Or a decision, or both."""

    version: Version | None
    based_on: int = 0
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """``number`` of the version that was stored, 0 where none was to be. None: nothing was changed, because the request is in
    ``state``, or, without one, because the configuration has moved on."""

    number: int | None
    state: RequestState | None = None


def _change(connection: Connection, batch: Sequence[Change]) -> Sequence[Changed]:
    return [_change_one(connection, item) for item in batch]


def _change_one(connection: Connection, item: Change) -> Changed:
    if item.decision is not None:
        found = requests.hold(connection, item.decision.request)
        if found is None or found.state is not RequestState.PENDING:
            return Changed(None, found.state if found else RequestState.WITHDRAWN)
    number = 0
    if item.version is not None:
        stored = versions.add_next(connection, item.version, item.based_on)
        if stored is None:
            return Changed(None)
        number = stored
        unreachable.probe_all(connection, item.version.at)  # an address or a certificate may have been corrected
    if item.decision is not None:
        requests.decide(connection, item.decision, number)
    return Changed(number)


CHANGE: Final = Kind("change", _change, order=72, always=True)
