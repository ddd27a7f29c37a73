"""How risky each change of a configuration is, and the reason that is given."""

from __future__ import annotations

from typing import Any

import pytest

from core.config import Change, Configuration, plan
from core.risk import Level, Risk, Waiting, WaitingGroup, assess, total
from tests.core.estates import small

LETTERS = {"kind": "integration", "id": "letters"}
ROUTE = {"kind": "route", "id": "to-journal"}
TOLD = {"kind": "subscription", "id": "journal-moves"}
MAY = {"kind": "service-agreement", "id": "journal"}
SENDS = {"kind": "service-agreement", "id": "post-sends"}
POST = {"kind": "system", "id": "birkelund-post"}


def risks(old: Configuration, new: Configuration, *waiting: WaitingGroup) -> list[Risk]:
    """The risk of each change between two configurations."""
    return assess(old, new, plan(old, new), Waiting(waiting))


def the_risk(before: dict[str, Any], after: dict[str, Any]) -> Risk:
    """The risk of changing one document of the small configuration."""
    (risk,) = risks(small(before), small(before, after))
    return risk


def test_a_plan_is_as_risky_as_its_riskiest_change():
    """Nothing is low; otherwise the highest counts."""
    assert total([]) == "low"
    assert total([Risk("low", ""), Risk("high", ""), Risk("medium", "")]) == "high"


@pytest.mark.parametrize(
    ("before", "after", "level", "said"),
    [
        (LETTERS, LETTERS | {"title": "Letters", "summary": "x"}, "low", "is for people"),
        (LETTERS, LETTERS | {"legal_basis": "§ 1"}, "medium", "legal_basis changes"),
        (LETTERS, LETTERS | {"owner": "dk-egedal"}, "high", "its owner is dk-egedal"),
        (LETTERS | {"owner": "dk-egedal"}, LETTERS | {"owner": ""}, "high", "whoever administers"),
        (LETTERS, LETTERS | {"sensitivity": "internal"}, "high", "lowered from confidential to internal"),
        (LETTERS, LETTERS | {"sensitivity": "sensitive"}, "medium", "sensitivity changes"),
        (LETTERS | {"degree": "encrypted"}, LETTERS | {"degree": "declared"}, "high", "from encrypted to declared"),
        (LETTERS, LETTERS | {"degree": "encrypted"}, "medium", "degree changes"),
        (LETTERS, LETTERS | {"retention_days": 10}, "high", "older than 10 days is deleted"),
        (LETTERS, LETTERS | {"retention_days": 1000}, "medium", "retention_days changes"),
        (LETTERS | {"receipt": "business"}, LETTERS | {"receipt": "transport"}, "high", "less evidence"),
        (LETTERS, LETTERS | {"capability": "file"}, "high", "as a file instead of a handover"),
        (LETTERS, LETTERS | {"types": ["letter"]}, "medium", "form is not accepted any more"),
        (SENDS, SENDS | {"until": "2030-01-01"}, "medium", "until changes"),
        (SENDS, SENDS | {"may": "both"}, "high", "birkelund-post may receive under letters"),
        (MAY, MAY | {"system": "birkelund-post"}, "high", "birkelund-post may receive under letters"),
        (MAY | {"until": "2026-12-31"}, MAY | {"until": None}, "high", "for a longer time"),
        (MAY | {"since": "2026-12-31"}, MAY | {"since": "2026-01-01"}, "high", "for a longer time"),
        (MAY, MAY | {"until": "2026-12-31"}, "medium", "until changes"),
        (MAY, MAY | {"on_behalf_of": "dk-egedal"}, "high", "on behalf of dk-egedal"),
        (MAY | {"on_behalf_of": "dk-egedal"}, MAY | {"on_behalf_of": ""}, "high", "its own authority"),
        (ROUTE, ROUTE | {"to": [{"system": "birkelund-post"}]}, "high", "birkelund-post receives what it did not"),
        (ROUTE, ROUTE | {"to": [{"system": "egedal-journal", "gateway": "x"}]}, "medium", "to changes"),
        (ROUTE, ROUTE | {"match": {"type": "letter"}}, "medium", "match changes"),
        (ROUTE | {"match": {"type": "letter"}}, ROUTE | {"match": {}}, "high", "it takes more than it did"),
        (ROUTE | {"match": {"classification": {"a": "1"}}}, ROUTE | {"match": {}}, "high", "takes more"),
        (ROUTE, ROUTE | {"integration": None}, "high", "it takes more than it did"),
        (ROUTE, ROUTE | {"when": "parcel.size > 1"}, "medium", "when changes"),
        (ROUTE | {"when": "parcel.size > 1"}, ROUTE | {"when": "parcel.size > 0"}, "high", "takes more"),
        (ROUTE, ROUTE | {"order": 7}, "medium", "order changes"),
        (TOLD, TOLD | {"paused": True}, "medium", "paused changes"),
        (TOLD, TOLD | {"system": "birkelund-post"}, "high", "birkelund-post is told of moves"),
        (TOLD | {"subjects_in": "ours"}, TOLD | {"subjects_in": "all"}, "high", "is told of more"),
        (TOLD | {"match": {"type": "move"}}, TOLD | {"match": {}}, "high", "is told of more"),
        (TOLD, TOLD | {"subjects_in": "ours"}, "medium", "subjects_in changes"),
        (POST, POST | {"authority": "dk-egedal"}, "high", "another authority's: dk-egedal"),
        (POST, POST | {"functions": ["benefits"]}, "high", "addressed to benefits"),
        (POST, POST | {"certificates": ["new.pem"]}, "high", "certificates: others are believed"),
        (
            {"kind": "function", "id": "benefits"},
            {"kind": "function", "id": "benefits", "sensitivity": "sensitive"},
            "high",
            "more sensitive things may be sent to it",
        ),
        (
            {"kind": "function", "id": "benefits"},
            {"kind": "function", "id": "benefits", "sensitivity": "public"},
            "medium",
            "sensitivity changes",
        ),
    ],
)
def test_a_changed_field(before: dict[str, Any], after: dict[str, Any], level: Level, said: str):
    """Each field has its level and its reason."""
    risk = the_risk(before, after)
    assert (risk.level, said in risk.reason) == (level, True), risk


@pytest.mark.parametrize(
    ("added", "level", "said"),
    [
        ({"kind": "system", "id": "new", "authority": "dk-egedal"}, "low", "nothing uses it"),
        (SENDS | {"id": "more", "system": "egedal-journal", "may": "send"}, "medium", "egedal-journal may send"),
        (SENDS | {"id": "more", "may": "receive"}, "high", "birkelund-post may receive under letters"),
        (ROUTE | {"id": "more", "to": [{"system": "residual"}]}, "medium", "other routes"),
        (TOLD | {"id": "more", "system": "birkelund-post"}, "medium", "is told more of moves"),
    ],
)
def test_an_added_document(added: dict[str, Any], level: Level, said: str):
    """What is new is risky as far as something that is there is given to somebody by it."""
    base = {
        "service-agreement": {"integration": "letters", "system": "birkelund-post"},
        "subscription": {"integration": "moves"},
    }
    (risk,) = risks(small(), small(base.get(added["kind"], {}) | added))
    assert (risk.level, said in risk.reason) == (level, True), risk


def test_a_new_integration_with_all_its_own_is_no_high_risk():
    """Who may receive it, and where it goes, is as new as what is moved."""
    may = {"kind": "service-agreement", "id": "n", "integration": "new", "system": "egedal-journal", "may": "receive"}
    route = {"kind": "route", "id": "n", "integration": "new", "to": [{"system": "egedal-journal"}]}
    new = small({"kind": "integration", "id": "new", "types": ["new"]}, may, route)
    assert [r.level for r in risks(small(), new)] == ["low", "low", "medium"]


A_GROUP = WaitingGroup("to-journal", "egedal-journal", "letters", "as4", "egedal", 2)


@pytest.mark.parametrize(
    ("name", "count"), [("to-journal", 2), ("egedal-journal", 2), ("letters", 2), ("journal", 2), ("journal-moves", 1)]
)
def test_what_deliveries_wait_for_is_not_removed_lightly(name: str, count: int):
    """A route, a system, an integration, an agreement to receive, a subscription: the number is in the reason."""
    told = WaitingGroup("journal-moves", "somebody", "moves", "", "journal-moves", 1)
    changes = [Change("removed", next(k for k, d in small().documents.items() if name in d), name)]
    (risk,) = assess(small(), small(without=name), changes, Waiting([A_GROUP, told]))
    assert risk.level == "high"
    assert risk.reason == f"{count} open {'deliveries wait' if count > 1 else 'delivery waits'} for it"


def test_what_nothing_waits_for_is_removed_at_medium_risk():
    """An integration is the exception: nothing is accepted any more."""
    assert [r.level for r in risks(small(), small(without="to-journal"))] == ["medium"]
    assert [r.level for r in risks(small(), small(without="post-sends"), A_GROUP)] == ["medium"]
    assert [r.level for r in risks(small(), small(without="letters"))] == ["high"]
    assert [r.level for r in risks(small(), small(without="benefits"), A_GROUP)] == ["medium"]


class _Partner:
    """A gateway's document."""

    id = "egedal"

    def __init__(self, url: str) -> None:
        self.url = url


def test_a_gateways_documents_are_judged_by_what_is_known():
    """New and changed ones are medium, keys high, and one that deliveries wait for too."""
    old, new = Configuration({"as4.partner": {"egedal": _Partner("a")}}), Configuration({})

    def risk(change: Change, before: Configuration, after: Configuration) -> Risk:
        return assess(before, after, [change], Waiting([A_GROUP]))[0]

    assert risk(Change("removed", "as4.partner", "egedal"), old, new).reason == "2 open deliveries wait for it"
    assert risk(Change("added", "as4.partner", "egedal"), new, old).level == "medium"
    assert risk(Change("changed", "as4.partner", "egedal", (("url", "a", "b"),)), old, old).level == "medium"
    signing = (("signing_certificates.0", "a.pem", "b.pem"),)
    assert risk(Change("changed", "as4.partner", "egedal", signing), old, old).level == "high"
    assert risk(Change("changed", "as4.partner", "egedal"), old, old) == Risk("medium", "it is written otherwise")


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        (Change("added", "file", "a.pem", (("certificate", "-", "CN=a until"),)), "low", "was not there"),
        (Change("changed", "file", "a.pem", (("certificate", "CN=a", "CN=b"),)), "high", "certificates are replaced"),
        (Change("removed", "file", "a.pem", (("certificate", "CN=a", "-"),)), "high", "certificates are removed"),
        (Change("changed", "file", "a.xsd", (("certificate", "SHA-256 1", "SHA-256 2"),)), "medium", "replaced"),
        (Change("removed", "file", "a.xsd", (("certificate", "SHA-256 1", "-"),)), "medium", "removed"),
    ],
)
def test_files(change: Change, level: Level, said: str):
    """Certificates that others are known by are another thing than schemas."""
    (risk,) = assess(small(), small(), [change], Waiting())
    assert (risk.level, said in risk.reason) == (level, True)
