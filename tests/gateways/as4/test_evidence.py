"""What a partner's signal comes to: final, to be tried again, or known already."""

from __future__ import annotations

import hashlib

import pytest

from accesspoint.errors import CATALOGUE, INVALID_RECEIPT, EbmsError, RemoteError, ReportedError, SoapFault
from core.receipt import Level, Verdict
from gateways.as4.evidence import code_of, is_duplicate, reason_of, receipt_of, refusal_of

FINAL = ("0001", "0003", "0007", "0008", "0009", "0010", "0011", "0103", "0303")


def reported(code: str, *, severity: str = "failure", description: str = "", detail: str = "") -> ReportedError:
    """An error as they wrote it."""
    return ReportedError(code, severity, "Short", description, detail, "m@one.example")


def remote(*errors: ReportedError, authenticated: bool = True) -> RemoteError:
    """A signal with errors."""
    return RemoteError(errors, authenticated=authenticated)


def test_a_receipt_is_the_signal_with_its_digest():
    """What the ledger keeps: who it is about, the octets, and their SHA-256."""
    receipt = receipt_of("d", "m@one.example", b"<signal/>", 7)
    assert (receipt.delivery_id, receipt.outside_id, receipt.raw, receipt.at) == ("d", "m@one.example", b"<signal/>", 7)
    assert (receipt.level, receipt.verdict) == (Level.TRANSPORT, Verdict.ACCEPTED)
    assert receipt.digest == hashlib.sha256(b"<signal/>").digest()


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_only_a_signed_error_about_what_was_sent_is_final(code: str):
    """Each code of the catalogue: what the same octets cannot mend ends it, all else is tried again."""
    outcome = refusal_of(remote(reported(code, description="why")), 5, ("kept",))
    assert outcome.refused is (code.removeprefix("EBMS:") in FINAL)
    assert (outcome.code, outcome.reason) == (code, "they say: Short: why")
    assert (outcome.retry_after, outcome.spent) == (5, ("kept",))
    unsigned = refusal_of(remote(reported(code), authenticated=False), None, ())
    assert (unsigned.refused, unsigned.code) == (False, code)
    assert unsigned.reason.endswith("(not signed by them, so it is not believed; trying again)")


def test_the_first_failure_speaks_for_the_signal():
    """Warnings beside it say less; warnings alone end nothing, whatever their code."""
    warning, failure = reported("EBMS:0010", severity="warning"), reported("EBMS:0303", detail="the detail")
    outcome = refusal_of(remote(warning, failure), None, ())
    assert (outcome.refused, outcome.code, outcome.reason) == (True, "EBMS:0303", "they say: Short: the detail")
    alone = refusal_of(remote(warning), None, ())
    assert (alone.refused, alone.code) == (False, "EBMS:0010")


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (remote(reported("EBMS:4001")), True),
        (remote(reported("EBMS:0004", description="Message ALREADY received")), True),
        (remote(reported("EBMS:0004", detail="has already been received")), True),
        (remote(reported("EBMS:0004", description="no room")), False),
        (remote(reported("EBMS:0010", description="already")), False),
        (remote(reported("EBMS:4001"), reported("EBMS:0303")), False),
        (remote(reported("EBMS:4001"), authenticated=False), False),
    ],
)
def test_a_duplicate_is_one_that_is_signed_and_says_nothing_else(error: RemoteError, known: bool):
    """Another error beside it, or no signature, and it is not one."""
    assert is_duplicate(error) is known


def test_what_proves_nothing_is_told_by_code_and_reason():
    """In one line, with the remedy where there is one."""
    plain = EbmsError(INVALID_RECEIPT, field="Receipt", cause="is wrong")
    helped = EbmsError(INVALID_RECEIPT, field="Receipt", cause="is wrong", remedy="mend it")
    fault = SoapFault("MustUnderstand", "what is x")
    assert [code_of(e) for e in (plain, fault)] == ["EBMS:0302", "SOAP MustUnderstand"]
    assert [reason_of(e) for e in (plain, helped, fault)] == [
        "Receipt: is wrong",
        "Receipt: is wrong. mend it",
        "what is x",
    ]
