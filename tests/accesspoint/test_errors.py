"""The error catalogue, row by row, and the tree of what can go wrong in an exchange."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from accesspoint import client, errors
from accesspoint.errors import (
    CATALOGUE,
    As4Error,
    CatalogueEntry,
    EbmsError,
    HttpRefusal,
    RemoteError,
    ReportedError,
    SoapFault,
)

ROWS = """
0001 ValueNotRecognized failure Content ebms
0002 FeatureNotSupported warning Content ebms
0003 ValueInconsistent failure Content ebms
0004 Other failure Content ebms
0005 ConnectionFailure failure Communication ebms
0006 EmptyMessagePartitionChannel warning Communication ebms
0007 MimeInconsistency failure Unpackaging ebms
0008 FeatureNotSupported failure Unpackaging ebms
0009 InvalidHeader failure Unpackaging ebms
0010 ProcessingModeMismatch failure Processing ebms
0011 ExternalPayloadError failure Content ebms
0020 RoutingFailure failure Processing ebms
0021 MPCCapacityExceeded failure Processing ebms
0022 MessagePersistenceTimeout failure Processing ebms
0023 MessageExpired warning Processing ebms
0030 BundlingError failure Content ebms
0031 RelatedMessageFailed failure Processing ebms
0040 BadFragmentGroup failure Content ebms
0041 DuplicateMessageSize failure Content ebms
0042 DuplicateFragmentCount failure Content ebms
0043 DuplicateMessageHeader failure Content ebms
0044 DuplicateAction failure Content ebms
0045 DuplicateCompressionInfo failure Content ebms
0046 DuplicateFragment failure Content ebms
0047 BadFragmentStructure failure Unpackaging ebms
0048 BadFragmentNum failure Content ebms
0049 BadFragmentCount failure Content ebms
0050 FragmentSizeExceeded warning Unpackaging ebms
0051 ReceiveIntervalExceeded failure Unpackaging ebms
0052 BadProperties warning Unpackaging ebms
0053 HeaderMismatch failure Unpackaging ebms
0054 OutOfStorageSpace failure Unpackaging ebms
0055 DecompressionError failure Processing ebms
0060 ResponseUsingAlternateMEP warning Processing ebms
0101 FailedAuthentication failure Processing security
0102 FailedDecryption failure Processing security
0103 PolicyNoncompliance failure Processing security
0201 DysfunctionalReliability failure Processing reliability
0202 DeliveryFailure failure Communication reliability
0301 MissingReceipt failure Communication ebms
0302 InvalidReceipt failure Communication ebms
0303 DecompressionFailure failure Communication ebms
4001 DuplicateDetected failure Content ebms
"""
"""Code, short description, severity, category and origin as the three specifications have them, and one peer's own code."""


def test_the_catalogue_is_that_of_the_specifications():
    """Every code with exactly the words a peer compares, and no other."""
    rows = {f"EBMS:{code}": (f"EBMS:{code}", *words) for code, *words in map(str.split, ROWS.split("\n")[1:-1])}
    ours = {
        code: (row.code, row.short_description, row.severity, row.category, row.origin)
        for code, row in CATALOGUE.items()
    }
    assert ours == rows


def test_the_reference_agrees(shared: Path):
    """The table the catalogue was taken from has the same rows."""
    table = re.findall(
        r"^\| (EBMS:\d{4}) \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|", (shared / "reference" / "as4.md").read_text(), re.M
    )
    assert len(table) == len(CATALOGUE)
    for code, *words in table:
        row = CATALOGUE[code]
        assert [row.short_description, row.severity, row.category, row.origin] == words


def test_no_code_is_written_twice():
    """A second row of one code would hide the first without a word."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(errors))) if isinstance(node, ast.Call)]
    codes = [ast.literal_eval(c.args[0]) for c in calls if isinstance(c.func, ast.Name) and c.func.id == "_row"]
    assert len(codes) == len(set(codes)) == len(CATALOGUE)


def test_names_in_the_code_are_those_of_the_catalogue():
    """A constant is called as its short description; the two that share one are told apart by their severity."""
    named = {name: row for name, row in vars(errors).items() if isinstance(row, CatalogueEntry)}
    assert len(named) > 20
    for name, row in named.items():
        assert CATALOGUE[row.code] is row
        words = name.removesuffix("_WARNING").replace("_", "").lower()
        assert row.short_description.lower().startswith(words) or words == "emptychannel"
    assert errors.FEATURE_NOT_SUPPORTED.severity == "failure"
    assert errors.FEATURE_NOT_SUPPORTED_WARNING.severity == "warning"


def test_every_row_says_what_it_means():
    """One phrase for a newcomer, no two alike; it can be put behind a colon."""
    meanings = [row.meaning for row in CATALOGUE.values()]
    assert len(set(meanings)) == len(meanings)
    for meaning in meanings:
        assert re.fullmatch(r"[a-z][^\n]{10,100}[^.\s]", meaning)


def test_a_row_is_a_value():
    """Nobody changes what a code means while it runs."""
    with pytest.raises(AttributeError):
        errors.OTHER.severity = "warning"  # type: ignore[misc]


def test_the_tree_in_the_docstring_is_the_tree():
    """Every class is drawn once, under the root; one of them lives with the client."""
    drawn = re.findall(r"^    [├└]── (\w+)", errors.__doc__ or "", re.M)
    own = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, As4Error) and c is not As4Error]
    assert sorted(drawn) == sorted([*(c.__name__ for c in own), "Unreachable"])
    for kind in (*own, client.Unreachable):
        assert kind.__bases__ == (As4Error,)


def test_a_refusal_names_code_field_and_cause():
    """In one line, and each by itself; what a newcomer should change and whom it is about stand beside it."""
    plain = EbmsError(errors.MIME_INCONSISTENCY, field="MIME", cause="a part has no end")
    assert str(plain) == "EBMS:0007 MimeInconsistency: MIME: a part has no end"
    assert (plain.error, plain.field, plain.cause) == (errors.MIME_INCONSISTENCY, "MIME", "a part has no end")
    assert (plain.remedy, plain.ref_to_message_id) == ("", "")
    full = EbmsError(errors.OTHER, field="f", cause="c", remedy="do that", ref_to_message_id="m@x.example")
    assert (full.remedy, full.ref_to_message_id) == ("do that", "m@x.example")
    assert "do that" not in str(full)


def test_a_refusal_may_have_other_words_for_the_peer():
    """They are the cause unless told otherwise; our own people read the cause in any case."""
    assert EbmsError(errors.OTHER, field="f", cause="c").told == "c"
    error = EbmsError(errors.OTHER, field="f", cause="agreed is town", told="is not agreed")
    assert (error.cause, error.told, str(error)) == (
        "agreed is town",
        "is not agreed",
        "EBMS:0004 Other: f: agreed is town",
    )


def test_what_is_below_ebms_says_so_in_its_own_words():
    """A SOAP fault by its code, an HTTP refusal by its status."""
    fault, refusal = SoapFault("VersionMismatch", "send SOAP 1.2"), HttpRefusal(415, "send SOAP")
    assert (fault.code, fault.reason, str(fault)) == (
        "VersionMismatch",
        "send SOAP 1.2",
        "VersionMismatch: send SOAP 1.2",
    )
    assert (refusal.status, refusal.reason, str(refusal)) == (415, "send SOAP", "415: send SOAP")


@pytest.mark.parametrize("authenticated", [True, False])
def test_what_a_peer_reported_is_kept_as_they_wrote_it(authenticated):
    """Several errors in one answer, odd codes included; empty words leave no empty space at the end."""
    reported = [
        ReportedError("EBMS:0004", "Failure", "Other", "no such ward", "detail", "m@x.example"),
        ReportedError("PEER:1", "failure", "", "", "", ""),
    ]
    error = RemoteError(reported, authenticated=authenticated)
    reported.clear()
    assert [e.code for e in error.errors] == ["EBMS:0004", "PEER:1"]
    assert error.errors[0].severity == "Failure"
    assert error.authenticated is authenticated
    assert str(error) == "EBMS:0004 Other no such ward; PEER:1"
