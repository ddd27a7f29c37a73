"""Receipts and error signals: made, read, matched [AS4 §5.1.8, ebMS3 §6].

Rules:

1. A receipt repeats each reference of the message's signature, digest by digest; it is signed and refers to the message's id.
2. A receipt proves something only if its references are exactly those we sent: unordered, all present, none more.
3. Receipts and errors are never themselves acknowledged.
4. Errors are read leniently (case of severity, missing attributes) and written strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from accesspoint.ebms import Signal
from accesspoint.errors import INVALID_RECEIPT, EbmsError, ReportedError
from accesspoint.names import DS, EB, EBBP, tag
from accesspoint.references import Reference, reference_xml
from accesspoint.soap import Element
from accesspoint.wss import parse_reference
from accesspoint.xmltext import attribute, text

_PART: Final = f"{tag(EBBP, 'NonRepudiationInformation')}/{tag(EBBP, 'MessagePartNRInformation')}"


def receipt_xml(references: Sequence[Reference]) -> bytes:
    """``eb:Receipt`` with non-repudiation information, as canonical octets inside an ``eb`` context."""
    parts = b"".join(
        b"<ebbp:MessagePartNRInformation>%s</ebbp:MessagePartNRInformation>" % reference_xml(r, declare=True)
        for r in references
    )
    return (
        b'<eb:Receipt><ebbp:NonRepudiationInformation xmlns:ebbp="%s">%s</ebbp:NonRepudiationInformation></eb:Receipt>'
        % (EBBP.encode(), parts)
    )


def parse_receipt(signal: Signal) -> tuple[Reference, ...]:
    """The references a non-repudiation receipt repeats. Raises 0302 when it holds none."""
    found: list[Reference] = []
    if signal.receipt is not None:
        for part in signal.receipt.iterfind(_PART):
            for element in part.findall(tag(DS, "Reference")):
                try:
                    found.append(parse_reference(element))
                except EbmsError as error:
                    raise EbmsError(INVALID_RECEIPT, field=f"Receipt/{error.field}", cause=error.cause) from None
    if not found:
        raise EbmsError(
            INVALID_RECEIPT,
            field="Receipt",
            cause="repeats no reference of the message: no non-repudiation information",
        )
    return tuple(found)


def match_receipt(sent: Sequence[Reference], received: Sequence[Reference]) -> None:
    """Raises `EbmsError` 0302 unless both name the same targets with the same digests."""
    ours, theirs = {r.key() for r in sent}, {r.key() for r in received}
    if ours == theirs:
        return
    missing = {k[0] for k in ours} - {k[0] for k in theirs}
    extra = {k[0] for k in theirs} - {k[0] for k in ours}
    if missing:
        cause = f"{len(missing)} of {len(ours)} signed parts are not acknowledged"
    elif extra:
        cause = f"{len(extra)} parts are acknowledged that were not sent"
    else:
        cause = "a digest differs: they received other octets than we sent"
    raise EbmsError(INVALID_RECEIPT, field="Receipt", cause=cause)


def error_xml(error: EbmsError) -> bytes:
    """``eb:Error`` as canonical octets: code, field, cause and remedy in safe words."""
    row = error.error
    reference = b' refToMessageInError="%s"' % attribute(error.ref_to_message_id) if error.ref_to_message_id else b""
    words = f"{error.field}: {error.told}" + (f". {error.remedy}" if error.remedy else "")
    return (
        b'<eb:Error category="%s" errorCode="%s" origin="%s"%s severity="%s" shortDescription="%s">'
        b'<eb:Description xml:lang="en">%s</eb:Description><eb:ErrorDetail>%s</eb:ErrorDetail></eb:Error>'
        % (
            attribute(row.category),
            attribute(row.code),
            attribute(row.origin),
            reference,
            attribute(row.severity),
            attribute(row.short_description),
            text(_safe(words)),
            text(_safe(error.detail)),
        )
    )


def _safe(words: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in words)[:500]


def parse_errors(signal: Signal) -> tuple[ReportedError, ...]:
    """Errors as the peer wrote them, cut to printable lengths."""
    return tuple(_reported(element) for element in signal.errors)


def _reported(element: Element) -> ReportedError:
    def child(name: str) -> str:
        found = element.find(tag(EB, name))
        return _safe(" ".join("".join(str(t) for t in found.itertext()).split())) if found is not None else ""

    return ReportedError(
        _safe(element.get("errorCode") or "")[:20],
        _safe((element.get("severity") or "failure").lower())[:20],
        _safe(element.get("shortDescription") or "")[:100],
        child("Description"),
        child("ErrorDetail"),
        _safe(element.get("refToMessageInError") or "")[:255],
    )
