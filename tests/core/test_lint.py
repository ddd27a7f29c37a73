"""What is odd about a configuration: each kind of oddity alone, and all that was seeded in a large estate."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from core.clock import from_datetime
from core.config import Configuration, check_kernel
from core.lint import CODES, ERRORS, Finding, lint
from tests.core.estates import an_estate, configuration, small

AT = from_datetime(datetime(2026, 3, 1, 12, tzinfo=UTC))


def found(wanted: Configuration) -> list[tuple[str, str, str]]:
    """(code, id, field) of all that is odd."""
    return [(f.code, f.id, f.field) for f in lint(wanted, AT)]


def the_one(wanted: Configuration, code: str) -> Finding:
    """The only finding, which has this code."""
    (finding,) = lint(wanted, AT)
    assert finding.code == code
    assert finding.severity == ("error" if code in ERRORS else "warning")
    assert finding.cause
    assert finding.remedy
    return finding


def a_route(name: str = "more", **changes: Any) -> dict[str, Any]:
    """A second route of the small configuration, before its first."""
    value = {"kind": "route", "id": name, "order": 1, "to": [{"system": "egedal-journal"}]}
    return value | {"match": {"priority": "urgent"}} | changes


def test_nothing_is_odd_about_what_is_in_order():
    """A configuration in which everything is used and agreed has no findings."""
    assert found(small()) == []


def test_every_code_says_what_it_means():
    """The codes that are errors are known, and each code has a sentence."""
    assert set(CODES) >= ERRORS
    assert all(CODES.values())


# --- routes


@pytest.mark.requirement("R46")
def test_a_route_to_a_system_that_may_not_receive_is_half_a_route():
    """The finding names the target, and the service agreement that is missing."""
    finding = the_one(small(a_route(integration="letters", to=[{"system": "birkelund-post"}])), "half-route")
    assert (finding.kind, finding.id, finding.field) == ("route", "more", "to.0.system")
    assert "system birkelund-post, may receive" in finding.remedy
    finding = the_one(small(a_route(to=[{"system": "birkelund-post"}])), "half-route")
    assert "under any integration" in finding.cause


def test_an_agreement_that_has_ended_leaves_half_a_route():
    """Both are said: the agreement, and the route that leads nowhere since."""
    ended = {"kind": "service-agreement", "id": "journal", "until": "2026-02-28"}
    assert ("half-route", "to-journal", "to.0.system") in found(small(ended))
    assert ("agreement-ended", "journal", "until") in found(small(ended))
    later = {"kind": "service-agreement", "id": "journal", "since": "2026-03-02"}
    assert found(small(later)) == [("agreement-later", "to-journal", "to.0.system")]


def test_the_residual_mailbox_needs_no_agreement():
    """A route that leads to it on purpose is whole."""
    assert found(small(a_route(to=[{"system": "residual"}]))) == []


def test_a_handover_has_one_receiver():
    """A route that names two for a handover is an error; for a file it is what routes are for."""
    two = {"to": [{"system": "egedal-journal"}, {"system": "residual"}]}
    assert the_one(small(a_route(integration="letters", **two)), "several-targets").field == "to"
    file = {"kind": "integration", "id": "letters", "capability": "file"}
    assert found(small(file, a_route(integration="letters", **two))) == []


def test_a_notification_has_no_routes():
    """The route is said to be never asked, and nothing more of it."""
    the_one(small(a_route(integration="moves", to=[{"system": "birkelund-post"}])), "notification-route")


def test_a_filter_that_never_matches():
    """Types that are not moved, senders that do not exist or may not send: each is said where it stands."""
    wrong = a_route(integration="letters", match={"type": "lettr", "sender": "nobody"})
    assert found(small(wrong)) == [("unknown-sender", "more", "match.sender"), ("type-not-moved", "more", "match.type")]
    the_one(small(a_route(match={"type": "lettr"})), "type-not-moved")
    finding = the_one(small(a_route(integration="letters", match={"sender": "egedal-journal"})), "route-without-sender")
    assert "no service agreement says so" in finding.cause
    ended = {
        "kind": "service-agreement",
        "id": "old",
        "integration": "letters",
        "system": "egedal-journal",
        "may": "send",
    }
    one = small(ended | {"until": "2026-01-31"}, a_route(integration="letters", match={"sender": "egedal-journal"}))
    assert "has ended" in next(f.cause for f in lint(one, AT) if f.code == "route-without-sender")
    assert found(small(a_route(match={"sender": "birkelund-post"}))) == []
    assert found(small(a_route(integration="letters", match={"sender": "birkelund-post"}))) == []


@pytest.mark.requirement("R46")
def test_a_route_that_never_decides_says_which_one_does():
    """An earlier broader route, and one that demands the very same."""
    after = a_route(integration="letters", order=200)
    assert "route to-journal takes all" in the_one(small(after), "shadowed-route").cause
    same = a_route(integration="letters", match={}, order=100, id="zz")
    finding = the_one(small(same), "duplicate-route")
    assert (finding.id, "its id comes first" in finding.cause) == ("zz", True)


# --- functions


def test_functions_are_known_served_and_fit_to_be_told():
    """A function without a document, one that nobody serves, and one that is told more than it may be."""
    by_function = a_route(integration="letters", match={"function": "benefits"})
    assert found(small(by_function)) == []
    told = {"kind": "function", "id": "benefits", "sensitivity": "internal"}
    assert the_one(small(by_function, told), "function-sensitivity").field == "match.function"
    assert the_one(small(without="benefits"), "unknown-function").field == "functions.0"
    the_one(small({"kind": "function", "id": "taxes", "authority": "dk-egedal"}), "unserved-function")
    receipts = {"kind": "integration", "id": "letters", "receipts": [{"function": "benefits", "within": 60}]}
    assert the_one(small(told, receipts), "function-sensitivity").field == "receipts.0.function"


# --- subscriptions


def a_subscription(**changes: Any) -> dict[str, Any]:
    """A second subscription of the small configuration."""
    value = {"kind": "subscription", "id": "more", "system": "egedal-journal", "integration": "moves"}
    return value | {"match": {"priority": "urgent"}} | changes


def test_a_subscription_needs_an_agreement_a_notification_and_its_list():
    """What a subscription lacks is said of it, with what to write."""
    assert found(small(a_subscription())) == []
    the_one(small(a_subscription(system="birkelund-post")), "subscription-without-agreement")
    the_one(small(a_subscription(integration="letters")), "subscription-of-no-notification")
    assert "there are none" in the_one(small(a_subscription(subjects_in="ours")), "unknown-list").remedy
    the_one(small(a_subscription(match={"type": "mov"})), "type-not-moved")
    the_one(small(a_subscription(match={})), "duplicate-subscription")
    soon = {"kind": "service-agreement", "id": "told", "since": "2026-04-01"}
    assert found(small(soon)) == [("agreement-later", "journal-moves", "system")]


# --- integrations


def test_an_integration_that_nothing_uses():
    """It is named, whatever it says of itself."""
    the_one(small({"kind": "integration", "id": "dreams", "types": ["dream"]}), "unused-integration")


def test_an_integration_of_which_one_end_is_missing():
    """Receivers without senders, senders without receivers, and both without a route."""
    new = {"kind": "integration", "id": "new", "types": ["new"]}
    send = {"kind": "service-agreement", "id": "s", "integration": "new", "system": "birkelund-post", "may": "send"}
    receive = {
        "kind": "service-agreement",
        "id": "r",
        "integration": "new",
        "system": "egedal-journal",
        "may": "receive",
    }
    route = {"kind": "route", "id": "new", "integration": "new", "to": [{"system": "egedal-journal"}]}
    the_one(small(new, receive, route), "no-senders")
    the_one(small(new, send), "no-receivers")
    the_one(small(new, send, receive), "unrouted")
    assert found(small(new, send, receive, route)) == []
    openly = a_route("open", match={"type": "new"}, order=1)
    assert found(small(new, send, receive, openly)) == []
    assert found(small(new, send, route)) == [("half-route", "new", "to.0.system")]


def test_a_receiver_that_no_route_leads_to():
    """A system that may only receive, and that every route of its integration passes by."""
    quiet = {"kind": "system", "id": "quiet", "authority": "dk-egedal"}
    may = {"kind": "service-agreement", "id": "q", "integration": "letters", "system": "quiet", "may": "receive"}
    the_one(small(quiet, may), "unreached-receiver")
    assert found(small(quiet, may | {"may": "both"})) == []
    assert found(small(quiet, may | {"integration": "moves"})) == []


def test_a_receipt_of_a_system_that_never_receives():
    """It is said, because the alarm would come with every parcel."""
    expecting = {"kind": "integration", "id": "letters", "receipts": [{"system": "birkelund-post", "within": 60}]}
    assert the_one(small(expecting), "receipt-of-no-receiver").field == "receipts.0.system"
    expecting = {"kind": "integration", "id": "letters", "receipts": [{"system": "egedal-journal", "within": 60}]}
    assert found(small(expecting, {"kind": "integration", "id": "moves", "receipts": [{"within": 60}]})) == []


# --- agreements, systems, files


def test_agreements_that_end():
    """Thirty days before its end it is said, unless the next one is there."""
    ends = {"kind": "service-agreement", "id": "post-sends", "until": "2026-03-31"}
    assert "2026-03-31" in the_one(small(ends), "agreement-ends").cause
    assert found(small(ends | {"until": "2026-04-01"})) == []
    follows = {"kind": "service-agreement", "id": "next", "integration": "letters", "system": "birkelund-post"}
    assert found(small(ends, follows | {"may": "send", "since": "2026-04-01"})) == []
    the_one(
        small(follows | {"may": "send", "until": "2026-02-28"}, ends | {"since": "2026-03-01", "until": None}),
        "agreement-ended",
    )


def test_agreements_that_allow_the_same():
    """Two for the same system, direction and time; for another authority it is not the same."""
    again = {"kind": "service-agreement", "id": "again", "integration": "letters", "system": "birkelund-post"}
    the_one(small(again | {"may": "send", "since": "2026-02-01"}), "duplicate-agreement")
    assert found(small(again | {"may": "send", "on_behalf_of": "dk-egedal"})) == []
    both = {"kind": "service-agreement", "id": "post-sends", "may": "both", "since": "2026-01-01"}
    assert found(small(both, again | {"may": "both"})) == [("duplicate-agreement", "post-sends", "system")]
    short = {"kind": "service-agreement", "id": "post-sends", "since": "2026-01-01", "until": "2026-12-31"}
    within = again | {"may": "send", "since": "2026-02-01", "until": "2026-03-20"}
    assert found(small(short, within)) == [("duplicate-agreement", "again", "system")]


def test_a_system_without_an_agreement():
    """It may neither send nor receive."""
    the_one(small({"kind": "system", "id": "alone", "authority": "dk-egedal"}), "unagreed-system")


def test_files_that_nothing_names():
    """What a document names, and what another schema includes, is in use; the rest is said in one go."""
    contract = {"kind": "integration", "id": "letters", "contract": {"format": "xsd", "file": "letter.xsd"}}
    files = {"letter.xsd": b'<include schemaLocation="types.xsd"/>', "types.xsd": b"", "old.pem": b""}
    assert found(small(contract, files={name: files[name] for name in ("letter.xsd", "types.xsd")})) == []
    finding = the_one(small(contract, files=files), "unused-file")
    assert (finding.id, finding.cause) == ("old.pem", "no document names it")
    more = files | {f"{number:02}.json": b"" for number in range(10)}
    finding = the_one(small(contract, files=more), "unused-file")
    assert finding.id == "00.json"
    assert (
        finding.cause
        == "no document names it, nor 10 more: 01.json, 02.json, "
        + ", ".join(f"{number:02}.json" for number in range(3, 9))
        + ", …"
    )


def test_what_names_things_that_are_not_there_is_not_said_twice():
    """A route of an unknown integration is the business of the checks; nothing here falls over it."""
    lost = small(a_route(integration="nowhere"), a_subscription(integration="nowhere"), a_agreement("nowhere"))
    assert {p.field for p in check_kernel(lost)} >= {"integration"}
    assert [f.code for f in lint(lost, AT) if f.kind == "route"] == []


def a_agreement(integration: str) -> dict[str, Any]:
    """An agreement under some integration."""
    value = {"kind": "service-agreement", "id": "lost", "integration": integration, "system": "egedal-journal"}
    return value | {"may": "receive"}


# --- an estate


@pytest.mark.requirement("R46")
def test_every_fault_of_a_large_estate_is_found_and_nothing_else():
    """Five thousand routes with a half route, a missing agreement, an ended one, a shadowed and a repeated rule: all in time."""
    estate = an_estate(5000)
    assert sum(one["kind"] == "route" for one in estate.values()) == 5000
    estate["integration-7.3"]["to"] = [{"system": "system-400"}]
    gone = [name for name in estate if name.startswith("integration-77.") and name.endswith(".send")]
    for name in gone:
        del estate[name]
    (ended,) = [name for name in estate if name.startswith("integration-123.") and name.endswith(".send")]
    estate[ended]["until"] = "2026-03-11"
    estate["integration-200.9"]["order"] = 5  # the broadest of ten, before all but the first
    estate["integration-300.5"]["match"] = estate["integration-300.4"]["match"]
    made = configuration(estate.values())
    begun = time.perf_counter()
    listed = found(made)
    assert time.perf_counter() - begun < 5
    assert sorted(listed) == sorted(
        [
            ("half-route", "integration-7.3", "to.0.system"),
            ("no-senders", "integration-77", "id"),
            ("agreement-ends", ended, "until"),
            *(("shadowed-route", f"integration-200.{index}", "order") for index in range(1, 9)),
            ("duplicate-route", "integration-300.5", "order"),
        ]
    )


def test_ten_thousand_combinations_of_fields_are_no_trap():
    """An estate made to be slow, each route with a classification scheme of its own, is linted all the same."""
    routes = [a_route(f"r{i}", match={"classification": {f"s{i}": "1", f"s{i + 1}": "1"}}) for i in range(2000)]
    begun = time.perf_counter()
    assert found(small(*routes)) == []
    assert time.perf_counter() - begun < 5
