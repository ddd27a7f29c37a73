"""What every subject's endpoints have at hand: who a caller speaks for, and which documents it may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from core.asking import Kernel
from core.config import Configuration
from gateways.rest.access import Caller
from gateways.rest.gate import Acting, Gate
from gateways.rest.problems import Problem, ProblemError
from gateways.rest.settings import Role
from tests.gateways.rest.callers import configuration

NO_KERNEL = cast(Kernel, None)
"""None of this asks the kernel anything."""


def moved(name: str, *types: str, capability: str = "notification") -> dict[str, Any]:
    """An integration that moves these types."""
    return {"kind": "integration", "id": name, "capability": capability, "types": list(types)}


def version() -> Configuration:
    """Three integrations of two capabilities, subscriptions of two authorities, and a value list of each."""
    return configuration(
        moved("stays", "stay.began", "stay.ended"),
        moved("moves", "stay.ended"),
        moved("cases", "case.note", capability="handover"),
        {"kind": "subscription", "id": "journal-stays", "system": "birkelund-journal", "integration": "stays"},
        {"kind": "subscription", "id": "egedal-stays", "system": "egedal-journal", "integration": "stays"},
        {"kind": "value-list", "id": "children", "owner": "birkelund-post"},
        {"kind": "value-list", "id": "elderly", "owner": "egedal-journal"},
    )


def gate() -> Gate:
    """The gate of these documents."""
    made = version()
    return Gate(NO_KERNEL, lambda: made)


def caller(*systems: str, roles: tuple[Role, ...] = (Role.SYSTEM,), authority: str = "birkelund") -> Caller:
    """Somebody who stands for these systems."""
    return Caller("somebody", "system", frozenset(systems), authority, frozenset(roles), "certificate")


POST = caller("birkelund-post")
BOTH = caller("birkelund-post", "birkelund-journal")
OPERATOR = caller(roles=(Role.OPERATOR,))
ADMINISTRATOR = caller(roles=(Role.ADMINISTRATOR,), authority="")


def refused(asked: Callable[[], object]) -> Problem:
    """The problem it ends in."""
    with pytest.raises(ProblemError) as caught:
        asked()
    return caught.value.problem


# --- who one acts as --------------------------------------------------------------------------------------------------


def test_who_has_one_system_need_not_name_it():
    """And who names one of its own acts as that."""
    assert gate().acting(POST, None) == "birkelund-post"
    assert gate().acting(BOTH, "birkelund-journal") == "birkelund-journal"


def test_who_has_several_systems_says_which():
    """The parameter that is missing is named."""
    problem = refused(lambda: gate().acting(BOTH, None))
    assert (problem.type.word, problem.errors[0].pointer) == ("invalid-request", "system")


@pytest.mark.parametrize("who", [OPERATOR, ADMINISTRATOR, caller("birkelund-post", roles=(Role.SUPPLIER,)), caller()])
def test_who_is_no_system_acts_as_none(who: Caller):
    """Not an operator, not an administrator, not a supplier of one, and not a system that has none."""
    assert refused(lambda: gate().acting(who, None)).type.word == "not-allowed"


@pytest.mark.parametrize("name", ["egedal-journal", "no-such-system", "", "birkelund-post\x00", "../birkelund-post"])
def test_somebody_elses_system_is_not_there(name: str):
    """Another authority's system and one that nobody has are told alike."""
    assert refused(lambda: gate().acting(POST, name)) == refused(lambda: gate().acting(POST, "nobody"))
    assert refused(lambda: gate().acting(POST, name)).type.word == "not-found"


# --- integrations -----------------------------------------------------------------------------------------------------


def test_an_integration_is_found_by_its_name_or_by_the_only_type():
    """What two integrations move must be named; a further capability will do where it is asked for."""
    assert gate().integration("stays", "stay.ended", "notification", "/integration").id == "stays"
    assert gate().integration("", "stay.began", "notification", "/type").id == "stays"
    assert gate().integration("", "case.note", "file", "/type", "handover").id == "cases"


@pytest.mark.parametrize(
    ("named", "kind", "cause"),
    [
        ("", "stay.ended", "more than one notification moves this type: name its integration"),
        ("", "nothing", "no notification is called or moves that"),
        ("no-such", "stay.began", "no notification is called or moves that"),
        ("cases", "case.note", "no notification is called or moves that"),
    ],
)
def test_an_integration_that_is_not_found_is_named_by_its_place(named: str, kind: str, cause: str):
    """Two that fit, none that fits, an unknown name, and one of another capability."""
    problem = refused(lambda: gate().integration(named, kind, "notification", "/events/3/type"))
    (flaw,) = problem.errors
    assert (problem.type.word, flaw.pointer, flaw.cause) == ("invalid-request", "/events/3/type", cause)


# --- subscriptions ----------------------------------------------------------------------------------------------------


def test_a_subscription_is_seen_by_its_system_and_its_authoritys_operators():
    """And by administrators; only the system itself takes what is in it."""
    for who in (BOTH, OPERATOR, ADMINISTRATOR):
        assert gate().subscription(who, "journal-stays").system == "birkelund-journal"
    assert gate().own_subscription(BOTH, "journal-stays").id == "journal-stays"
    for who in (OPERATOR, ADMINISTRATOR):
        assert refused(lambda who=who: gate().own_subscription(who, "journal-stays")).type.word == "not-allowed"  # type: ignore[misc]


@pytest.mark.requirement("R102")
def test_somebody_elses_subscription_is_not_there():
    """As if it had never been made."""
    nothing = refused(lambda: gate().subscription(POST, "nothing"))
    assert nothing.type.word == "not-found"
    for name in ("journal-stays", "egedal-stays"):
        assert refused(lambda name=name: gate().subscription(POST, name)) == nothing  # type: ignore[misc]
        assert refused(lambda name=name: gate().own_subscription(POST, name)) == nothing  # type: ignore[misc]


# --- documents --------------------------------------------------------------------------------------------------------


def test_documents_are_read_by_those_they_are_about_and_those_who_may_ask_for_them():
    """Everything by administrators; a supplier reads what is of the systems it serves, without seeing their traffic."""
    supplier = caller("egedal-journal", roles=(Role.SUPPLIER,), authority="supplier")
    assert gate().documents_of(ADMINISTRATOR) is None
    assert gate().documents_of(supplier) == {"egedal-journal"}
    assert supplier.scope(version()) == frozenset()
    assert gate().documents_of(OPERATOR) == {"birkelund-post", "birkelund-journal"}


def test_documents_are_asked_for_by_the_system_or_its_supplier():
    """Nothing is raised for them, nor for an administrator."""
    gate().demand_asking(POST, "birkelund-post")
    gate().demand_asking(ADMINISTRATOR, "egedal-journal")
    gate().demand_asking(caller("egedal-journal", roles=(Role.SUPPLIER,)), "egedal-journal")


@pytest.mark.parametrize(
    ("who", "system", "word"),
    [
        (OPERATOR, "birkelund-post", "not-allowed"),
        (caller("birkelund-post", roles=(Role.OWNER,)), "birkelund-post", "not-allowed"),
        (POST, "birkelund-journal", "not-found"),
        (POST, "egedal-journal", "not-found"),
        (OPERATOR, "egedal-journal", "not-found"),
        (ADMINISTRATOR, "no-such-system", "not-found"),
    ],
)
def test_who_may_not_ask_learns_no_more_than_before(who: Caller, system: str, word: str):
    """Within what one sees a role is missing; beyond it there is nothing."""
    assert refused(lambda: gate().demand_asking(who, system)).type.word == word


def test_a_subscription_filters_by_lists_of_its_own_authority():
    """Those of its own system or of another one there; without a list nothing is asked."""
    gate().demand_list("birkelund-journal", None, "/list")
    gate().demand_list("birkelund-journal", "children", "/list")


@pytest.mark.parametrize(
    ("system", "named"),
    [("birkelund-journal", "elderly"), ("birkelund-journal", "no-such"), ("no-such", "children")],
)
def test_a_list_of_others_is_told_like_none(system: str, named: str):
    """The place is named, and nothing of who has what."""
    problem = refused(lambda: gate().demand_list(system, named, "/list"))
    assert [(flaw.pointer, flaw.cause) for flaw in problem.errors] == [
        ("/list", "there is no such value list of your authority")
    ]


def test_a_name_that_could_be_none_is_not_asked_about():
    """A system's name has an end."""
    assert Acting(system="birkelund-post").system == "birkelund-post"
    with pytest.raises(ValueError, match="at most 64"):
        Acting(system="x" * 65)
