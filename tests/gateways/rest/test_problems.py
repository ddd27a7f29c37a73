"""Problems: each documented, each error of the kernel mapped, and nothing said that a caller may not know."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from core import limits
from core.clock import SECOND
from core.deciding import check_allowed
from core.errors import (
    BadChecksum,
    ConfigError,
    Conflict,
    DescriptionError,
    IllegalTransition,
    NotAllowed,
    NotFound,
    Overloaded,
    PayloadError,
    Refused,
    StaleLease,
    TooLarge,
    Unfit,
    UsageError,
    WrongOffset,
    WrongState,
)
from gateways.rest.problems import (
    CATALOGUE,
    INTERNAL,
    INVALID,
    NOT_FOUND,
    QUOTA,
    Flaw,
    Problem,
    ProblemError,
    Unauthenticated,
    absent,
    forbidden,
    invalid_request,
    pointer,
    problem_of,
    problems_page,
)
from tests.core.making import NOW, a_parcel
from tests.gateways.rest.callers import configuration


def test_every_type_has_a_word_a_status_and_a_way_out():
    """Words are stable and for machines; the page lists them all."""
    page = problems_page("made")
    assert len(CATALOGUE) > 20
    for word, one in CATALOGUE.items():
        assert re.fullmatch(r"[a-z-]+", word)
        assert 400 <= one.status < 600
        assert one.title
        assert one.remedy
        assert one.uri == f"urn:stafet:problem:{word}"
        assert f"| `{word}` | {one.status} |" in page
    assert len({one.title for one in CATALOGUE.values()}) == len(CATALOGUE)


def test_a_body_is_as_the_standard_has_it():
    """Members that say nothing are left out; errors name their places."""
    assert Problem(NOT_FOUND).body() == {
        "type": "urn:stafet:problem:not-found",
        "title": NOT_FOUND.title,
        "status": 404,
    }
    flaws = (Flaw("/data/id", "is missing"), Flaw("limit", "is no number", "parameter"))
    body = json.loads(Problem(INVALID, "two things", flaws).octets("urn:uuid:7"))
    assert (body["detail"], body["instance"]) == ("two things", "urn:uuid:7")
    assert body["errors"] == [
        {"pointer": "/data/id", "cause": "is missing"},
        {"parameter": "limit", "cause": "is no number"},
    ]


@pytest.mark.parametrize(("wait", "said"), [(5 * SECOND, "5"), (1, "1"), (SECOND + 1, "2"), (0, "1")])
def test_a_wait_is_said_in_whole_seconds(wait: int, said: str):
    """Rounded up, and never nothing: who comes back at once comes in vain."""
    headers = Problem(QUOTA, retry_after=wait).all_headers()
    assert headers["Retry-After"] == said
    assert Problem(QUOTA, retry_after=wait).body()["retry_after"] == int(said)
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Cache-Control"] == "no-store"
    assert "Retry-After" not in Problem(QUOTA).all_headers()


@pytest.mark.parametrize(
    ("error", "word", "status"),
    [
        (Conflict("x"), "conflict", 409),
        (TooLarge("x"), "too-large", 413),
        (NotAllowed("x"), "not-allowed", 403),
        (Overloaded("x"), "overloaded", 503),
        (Refused("x"), "refused", 422),
        (DescriptionError("references.0.id", "x"), "invalid-description", 422),
        (ConfigError("x.yaml", "to.0", "x"), "invalid-document", 422),
        (NotFound("x"), "not-found", 404),
        (UsageError("x"), "invalid-request", 400),
        (StaleLease("x"), "stale-lease", 409),
        (WrongState("x"), "wrong-state", 409),
        (Unfit([]), "invalid-document", 422),
        (WrongOffset(7), "wrong-offset", 409),
        (BadChecksum("x"), "checksum-mismatch", 460),
        (PayloadError("x"), "damaged", 500),
        (IllegalTransition("x"), "internal", 500),
        (KeyError("x"), "internal", 500),
        (forbidden("x"), "not-allowed", 403),
        (absent(), "not-found", 404),
        (invalid_request([Flaw("/x", "y")]), "invalid-request", 400),
        (Unauthenticated("x"), "unauthenticated", 401),
    ],
)
def test_each_error_is_one_problem(error: Exception, word: str, status: int):
    """What the kernel raises has one answer."""
    problem = problem_of(error)
    assert (problem.type.word, problem.type.status) == (word, status)


def test_an_error_names_the_field_and_the_cause():
    """As a JSON pointer; a remedy belongs to the cause."""
    (flaw,) = problem_of(DescriptionError("references.0.id", "is empty")).errors
    assert (flaw.pointer, flaw.cause) == ("/references/0/id", "is empty")
    (flaw,) = problem_of(ConfigError("a.yaml", "when", "is no condition", "see the how-to")).errors
    assert (flaw.pointer, flaw.cause) == ("/when", "is no condition (see the how-to)")
    assert problem_of(ConfigError("a.yaml", "", "is empty")).errors == (Flaw("", "is empty"),)
    assert [pointer(name) for name in ("", "/a/b", "a/b.~c")] == ["", "/a/b", "/a~1b/~0c"]


def test_findings_of_the_content_become_errors():
    """A refusal that lists what is wrong has all of it in the answer."""

    @dataclass
    class Finding:
        field: str
        cause: str

    class Invalid(Refused):
        code = "invalid"
        findings = (Finding("/letter/date", "is no date"), Finding("/letter", "has no sender"))

    problem = problem_of(Invalid("the payload breaks its contract"))
    assert problem.type is INVALID
    assert problem.errors == (Flaw("/letter/date", "is no date"), Flaw("/letter", "has no sender"))


def test_a_quota_is_told_from_an_overload():
    """The caller's own limit is 429, the node's trouble 503; both say when to come back."""

    class OverQuota(Overloaded):
        code = "quota"

    problem = problem_of(OverQuota("parcels per second", 2 * SECOND))
    assert (problem.type, problem.detail, problem.retry_after) == (QUOTA, "parcels per second", 2 * SECOND)
    full = problem_of(Overloaded("7 deliveries wait for egedal-journal", 60 * SECOND))
    assert (full.detail, full.retry_after) == ("", 60 * SECOND)


def test_what_nobody_documents_says_nothing():
    """A bug's words stay in the log; the caller is told to come back."""
    problem = problem_of(RuntimeError("secret of the house"))
    assert (problem.type, problem.detail, problem.retry_after) == (INTERNAL, "", limits.COME_BACK)
    for error in (NotFound("no parcel p1 of egedal"), StaleLease("p1"), PayloadError("key k1")):
        assert problem_of(error).detail == ""


def test_what_else_is_known_here_is_not_told_over_the_network():
    """The kernel lists integrations for its operators; a caller only hears of the one it named."""
    integration = {"kind": "integration", "id": "egedal-secret", "types": ["letter"]}
    with pytest.raises(NotAllowed, match="egedal-secret") as caught:
        check_allowed(configuration(integration), a_parcel(integration="letters"), NOW)
    detail = problem_of(caught.value).detail
    assert detail == "integration: nothing is called 'letters'"


def test_a_problem_can_be_raised():
    """Its words are for the log."""
    assert str(ProblemError(Problem(NOT_FOUND))) == f"not-found: {NOT_FOUND.title}"
    assert str(forbidden("this takes the role owner")) == "not-allowed: this takes the role owner"


def test_a_challenge_is_as_the_standard_has_it():
    """Who tried nothing is told no error; who tried is, in plain characters."""
    assert Unauthenticated("x").problem.headers == {"WWW-Authenticate": 'Bearer realm="stafet"'}
    said = Unauthenticated('a "b" \r\nø\\', "invalid_token").problem.headers["WWW-Authenticate"]
    assert said == 'Bearer realm="stafet", error="invalid_token", error_description="a b "'


def test_an_upload_is_told_where_it_goes_on():
    """As the protocol has it, beside the words."""
    assert problem_of(WrongOffset(7)).all_headers()["Upload-Offset"] == "7"
