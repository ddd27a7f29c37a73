"""Enrichment: what a step may add, what it may not, and what becomes of a parcel when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ValidationError

from core import enrichment, limits
from core.content import Content
from core.description import Classification, Description, Reference
from core.enrichment import (
    Additions,
    Context,
    Enriched,
    Enrichments,
    Ready,
    Row,
    Table,
    TableKey,
    TableSettings,
    TableStep,
    attempt,
    enriched_by,
    installed,
)
from core.errors import ConfigError, EnrichmentFailed
from core.integration import Enriching, Integration

CANARY = "Canary-7"
UNITS = Table.model_validate(
    {
        "id": "units",
        "key": {"classification": "subject"},
        "rows": {
            "27.00": {
                "classifications": [{"scheme": "unit", "code": "751"}],
                "references": [{"kind": "desk", "id": "north"}],
                "attributes": {"unit.name": "North"},
            },
            "28.00": {"attributes": {"unit.other": "South"}},
        },
    }
)


def described(**changes: Any) -> Description:
    """A letter."""
    facts: dict[str, Any] = {"type": "letter", "sender": "birkelund-post", "subjects": (CANARY,)} | changes
    return Description(**facts)


def classed(*codes: str) -> Description:
    """A letter of these subjects."""
    return described(classifications=tuple(Classification(scheme="subject", code=code) for code in codes))


def integration(*steps: dict[str, Any]) -> dict[str, Integration]:
    """One integration with steps."""
    made = Integration.model_validate({"id": "letters", "types": ["letter"], "enrichment": list(steps)})
    return {"letters": made}


def by_table(table: str = "units", **changes: Any) -> dict[str, Any]:
    """The step ``table`` as an integration names it."""
    return {"step": "table", "settings": {"table": table}, **changes}


class Stranger:
    """A step of another package that does what its test tells it to."""

    name: ClassVar[str] = "stranger"
    quick: ClassVar[bool] = True

    class Settings(BaseModel):
        """None."""

    seen: ClassVar[list[tuple[Description, Context]]] = []
    gives: ClassVar[Any] = ()

    def check(self, settings: Any, tables: Any) -> str:
        """Nothing is ever wrong."""
        return ""

    def enrich(self, description: Description, settings: Any, context: Context) -> Sequence[Additions]:
        """What the test says."""
        self.seen.append((description, context))
        if isinstance(self.gives, Exception):
            raise self.gives
        return list(self.gives)


def stranger(gives: Any, on_failure: str = "residual", description: Description | None = None) -> Enriched:
    """What comes of a stranger's step."""
    Stranger.gives = gives
    ready, state = Ready(Stranger(), None, on_failure), Enriched(description or described())
    return enriched_by(state, ready, attempt(ready, state, Context("letters", {})))


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R39", "R127")
def test_a_table_adds_what_its_row_says():
    """Each row that speaks of the parcel is an origin of its own, and what no row speaks of is left as it is."""
    run = Enrichments(integration(by_table()), {"units": UNITS}).run
    state = run(classed("27.00", "28.00", "99.00"), "letters")
    assert Classification(scheme="unit", code="751") in state.description.classifications
    assert state.description.references == (Reference(kind="desk", id="north"),)
    assert state.description.attributes == {"unit.name": "North", "unit.other": "South"}
    assert state.description.subjects == (CANARY,)
    assert state.added == (
        {
            "step": "table",
            "origin": "table units: row 27.00",
            "added": ["classification unit 751", "reference desk", "attribute unit.name"],
        },
        {"step": "table", "origin": "table units: row 28.00", "added": ["attribute unit.other"]},
    )
    assert (state.failures, state.residual) == ((), "")
    assert run(classed("99.00"), "letters") == Enriched(classed("99.00"))
    assert run(classed("27.00"), "unknown") == Enriched(classed("27.00"))


@pytest.mark.parametrize(
    ("key", "description", "values"),
    [
        ({"field": "type"}, described(), ["letter"]),
        ({"field": "correlation_id"}, described(), []),
        ({"field": "correlation_id"}, described(correlation_id="c"), ["c"]),
        ({"field": "receiver"}, described(receiver={"system": "s"}), ["s"]),
        ({"field": "function"}, described(receiver={"function": "f"}), ["f"]),
        ({"classification": "subject"}, classed("1", "2"), ["1", "2"]),
        (
            {"reference": "case"},
            described(references=(Reference(kind="case", id="7"), Reference(kind="x", id="8"))),
            ["7"],
        ),
        ({"attribute": "post.kind"}, described(attributes={"post.kind": "k"}), ["k"]),
        ({"attribute": "post.kind"}, described(), []),
    ],
)
def test_a_key_is_one_thing_of_a_description(key: dict[str, str], description: Description, values: list[str]):
    """A field, the codes of a scheme, the ids of a kind, or an attribute; never a subject."""
    assert TableKey.model_validate(key).values(description) == values


@pytest.mark.parametrize("key", [{}, {"field": "type", "attribute": "a.b"}, {"field": "subjects"}, {"field": "size"}])
def test_a_key_that_is_not_one_of_these_is_refused(key: dict[str, str]):
    """Also the subjects: tables are no place for people."""
    with pytest.raises(ValidationError):
        TableKey.model_validate(key)


@pytest.mark.parametrize("row", [{}, {"attributes": {"name": "x"}}, {"attributes": {"unit.name": ""}}, {"sender": "x"}])
def test_a_row_that_adds_nothing_or_something_else_is_refused(row: dict[str, Any]):
    """An attribute's name begins with a word and a dot, so that it is no gateway's by accident."""
    with pytest.raises(ValidationError):
        Row.model_validate(row)


def test_a_parcel_without_a_row_may_be_a_failure():
    """Where the integration says that the table is required."""
    step = TableStep()
    settings = TableSettings(table="units", required=True)
    with pytest.raises(EnrichmentFailed, match=r"^table units has no row for it$"):
        step.enrich(classed("99.00"), settings, Context("letters", {"units": UNITS}))
    with pytest.raises(EnrichmentFailed, match=r"^there is no table 'units'$"):
        step.enrich(classed("27.00"), settings, Context("letters", {}))


# --- only adding ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R39")
def test_what_is_there_stays_and_is_not_added_twice():
    """The same again is nothing; an attribute that would get another value is a failure."""
    there = described(
        classifications=(Classification(scheme="a", code="1"),),
        references=(Reference(kind="case", id="7"),),
        attributes={"x.y": "1"},
    )
    same = Additions("here", there.classifications, there.references, {"x.y": "1"})
    assert stranger([same], description=there) == Enriched(there)
    changed = stranger([Additions("here", attributes={"x.y": CANARY})], description=there)
    assert changed.description == there
    assert changed.residual == "enrichment stranger: here: would change the attribute x.y; a step may only add"


def test_a_step_adds_all_or_nothing():
    """What it gave before it failed does not stay."""
    state = stranger([Additions("one", attributes={"a.b": "1"}), Additions("two", attributes={"a.b": "2"})])
    assert (state.description, state.added) == (described(), ())
    assert state.failures[0]["cause"].startswith("two: would change")


@pytest.mark.parametrize(
    "additions",
    [
        Additions("here", attributes={f"a.{i}": "x" for i in range(limits.DESCRIPTION_ITEMS + 1)}),
        Additions("here", attributes={"a.b": f"{CANARY}\n"}),
        Additions("here", references=tuple(Reference(kind="k", id=f"{i:03}" * 300) for i in range(1, 100))),
    ],
)
def test_additions_are_held_to_the_limits_of_a_description(additions: Additions):
    """And are not quoted."""
    state = stranger([additions])
    assert state.description == described()
    assert state.failures[0]["cause"].endswith("too much, or no text of one line")
    assert CANARY not in str(state.failures)


@pytest.mark.requirement("R75")
def test_the_trace_holds_no_value_of_a_reference_or_an_attribute():
    """Their names are enough to see what was added; the values stay where they are deleted in time."""
    state = stranger([Additions("here", references=(Reference(kind="case", id=CANARY),), attributes={"a.b": CANARY})])
    assert state.added[0]["added"] == ["reference case", "attribute a.b"]
    assert CANARY not in str(state.added)


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R39")
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (EnrichmentFailed("the register is closed"), "the register is closed"),
        (ValueError(f"no such person: {CANARY}"), "failed with ValueError"),
    ],
)
def test_a_step_that_fails_is_never_silence(error: Exception, cause: str):
    """To the residual mailbox, or on without the addition; a stranger's words may quote, so its kind of error is said."""
    held = stranger(error)
    assert held.residual == f"enrichment stranger: {cause}"
    assert held.failures == ({"step": "stranger", "cause": cause, "on_failure": "residual"},)
    going_on = stranger(error, "route")
    assert (going_on.residual, going_on.description) == ("", described())
    assert going_on.failures == ({"step": "stranger", "cause": cause, "on_failure": "route"},)
    assert CANARY not in str((held.failures, held.residual))


@pytest.mark.parametrize("gives", [[None], [3], 3])
def test_what_is_no_addition_is_a_failure(gives: Any):
    """Whatever a stranger's step gives."""
    assert stranger(gives).residual.startswith("enrichment stranger: failed with ")


def test_a_step_sees_no_subjects():
    """Whom a parcel concerns is not for a step to know."""
    Stranger.seen.clear()
    state = stranger([Additions("here", attributes={"a.b": "1"})])
    assert Stranger.seen[0][0].subjects == ()
    assert state.description.subjects == (CANARY,)


def test_steps_go_in_order_until_one_stops_the_parcel(monkeypatch: pytest.MonkeyPatch):
    """What the first adds the second sees; after a failure that stops, nothing is asked any more."""
    monkeypatch.setattr(enrichment, "installed", lambda: {"stranger": Stranger(), "table": TableStep()})
    Stranger.seen.clear()
    Stranger.gives = [Additions("here", (Classification(scheme="subject", code="28.00"),))]
    both = integration({"step": "stranger"}, by_table())
    assert Enrichments(both, {"units": UNITS}).run(described(), "letters").description.attributes == {
        "unit.other": "South"
    }
    Stranger.gives = ValueError()
    stops = integration({"step": "stranger"}, {"step": "stranger"})
    assert len(Enrichments(stops, {}).run(described(), "letters").failures) == 1
    goes_on = integration({"step": "stranger", "on_failure": "route"}, {"step": "stranger"})
    assert len(Enrichments(goes_on, {}).run(described(), "letters").failures) == 2
    assert all(context == Context("letters", {}, ()) for _, context in Stranger.seen[1:])


def test_steps_that_ask_elsewhere_can_be_left_out(monkeypatch: pytest.MonkeyPatch):
    """Where thousands of parcels are asked about."""
    monkeypatch.setattr(enrichment, "installed", lambda: {"stranger": Stranger(), "table": TableStep()})
    monkeypatch.setattr(Stranger, "quick", False)
    Stranger.gives = [Additions("here", attributes={"a.b": "1"})]
    both = Enrichments(integration({"step": "stranger"}, by_table()), {"units": UNITS})
    assert both.run(classed("28.00"), "letters", quick_only=True).description.attributes == {"unit.other": "South"}
    assert both.run(classed("28.00"), "letters").description.attributes == {"a.b": "1", "unit.other": "South"}


# --- configuration ----------------------------------------------------------------------------------------------------


def test_where_a_step_fails_the_residual_mailbox_is_the_default():
    """Going on without is a choice."""
    assert Enriching(step="table", settings={}).on_failure == "residual"


@pytest.mark.parametrize(
    ("step", "field", "cause"),
    [
        ({"step": "tabel"}, "enrichment.0.step", "no installed step is called 'tabel'"),
        ({"step": "table"}, "enrichment.0.settings.table", "Field required"),
        (by_table("unit"), "enrichment.0.settings", "no table is called 'unit'; known: units"),
        (
            {"step": "table", "settings": {"table": "units", "x": 1}},
            "enrichment.0.settings.x",
            "Extra inputs are not permitted",
        ),
    ],
)
def test_a_step_that_cannot_be_run_is_a_mistake(step: dict[str, Any], field: str, cause: str):
    """Found by `stafet check`, with the field."""
    ((name, where, why, _),) = Enrichments(integration(step), {"units": UNITS}).mistakes()
    assert (name, where, why) == ("letters", field, cause)


def test_steps_that_can_be_run_are_no_mistake_and_are_made_ready_once():
    """Without a table none is known."""
    fits = Enrichments(integration(by_table()), {"units": UNITS})
    assert list(fits.mistakes()) == []
    assert fits.of("letters") is fits.of("letters")
    assert TableStep().check(TableSettings(table="x"), {}) == "no table is called 'x'; known: none"
    with pytest.raises(ConfigError, match="no installed step"):
        Enrichments(integration({"step": "tabel"}), {}).of("letters")


def test_steps_of_other_packages_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch):
    """One that cannot be loaded is named; what is built in is always there."""

    def fails() -> Any:
        raise ImportError("no module named register")

    points = [SimpleNamespace(name="stranger", load=lambda: Stranger)]
    monkeypatch.setattr(enrichment, "entry_points", lambda group: points if group == "stafet.enrichments" else [])
    installed.cache_clear()
    try:
        assert sorted(installed()) == ["stranger", "table"]
        assert isinstance(installed()["stranger"], Stranger)
        installed.cache_clear()
        points.append(SimpleNamespace(name="register", load=fails))
        with pytest.raises(ConfigError, match="enrichment register: cannot be loaded: no module named register"):
            installed()
    finally:
        installed.cache_clear()


def test_a_context_holds_no_payload_unless_it_is_given_one():
    """As for an example, or a sealed payload."""
    assert Context("letters", {}).payloads == ()
    assert len(Context("letters", {}, (Content("text/plain", 0, lambda: iter(())),)).payloads) == 1
