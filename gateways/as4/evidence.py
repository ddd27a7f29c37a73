"""What a partner's answer comes to for the kernel: a receipt, a refusal, or a reason to try again.

Rule: only what is authenticated ends anything. Words of a partner are shown as theirs.
"""

from __future__ import annotations

import hashlib
from typing import Final

from accesspoint.errors import EbmsError, RemoteError, SoapFault
from core.clock import Micros
from core.gateway import Outcome
from core.receipt import Level, Receipt, Verdict

_FINAL: Final = frozenset(
    f"EBMS:{code}" for code in ("0001", "0003", "0007", "0008", "0009", "0010", "0011", "0103", "0303")
)
"""Authenticated errors about what we sent: sending the same octets again cannot help.

Not among them: 0101 and 0102, which a certificate that is being rolled over mends, and 0004 and 0202, which may pass.
"""


def receipt_of(delivery_id: str, message_id: str, raw: bytes, at: Micros) -> Receipt:
    """The next machine has it: ``raw`` is the signed signal that proves it."""
    digest = hashlib.sha256(raw).digest()
    return Receipt(delivery_id, Level.TRANSPORT, Verdict.ACCEPTED, at, raw, outside_id=message_id, digest=digest)


def is_duplicate(error: RemoteError) -> bool:
    """Whether a signed error says nothing but that they have this message already."""
    return error.authenticated and says_already(error)


def says_already(error: RemoteError) -> bool:
    """Whether all of its errors say so, signed or not."""
    return all(
        e.code == "EBMS:4001" or (e.code == "EBMS:0004" and "already" in f"{e.description} {e.detail}".lower())
        for e in error.errors
    )


def refusal_of(error: RemoteError, wait: int | None, spent: tuple[str, ...]) -> Outcome:
    """An error signal: final only when it is authenticated and about what we sent."""
    failures = [e for e in error.errors if e.severity == "failure"]
    first = (failures or list(error.errors))[0]
    reason = f"they say: {first.short_description}: {first.description or first.detail}"
    if not error.authenticated:
        reason += " (not signed by them, so it is not believed; trying again)"
    final = error.authenticated and bool(failures) and first.code in _FINAL
    return Outcome(refused=final, code=first.code, reason=reason, retry_after=wait, spent=spent)


def code_of(error: EbmsError | SoapFault) -> str:
    """The code of an answer that proves nothing."""
    return error.error.code if isinstance(error, EbmsError) else f"SOAP {error.code}"


def reason_of(error: EbmsError | SoapFault) -> str:
    """What was wrong with it, in one line; the code stands beside it."""
    if isinstance(error, SoapFault):
        return error.reason
    return f"{error.field}: {error.cause}" + (f". {error.remedy}" if error.remedy else "")
