"""Enrichment: the configured steps between accept and route that add metadata to a description, each traced with its origin.

Rules:

1. A step may add classifications, references and attributes. What is there stays as it is: who sends, who receives, what it is
   and how sensitive it is are not a step's to change, and an attribute that would get another value is a failure of the step.
2. Each addition names its origin, so that people see which rule added what. The trace holds schemes with codes, kinds of
   references and names of attributes; what a reference or an attribute says stays in the description, which is deleted in time.
3. A sealed payload is enriched from its description alone: the step is handed no payload.
4. A step that fails or takes too long is never silence: an alarm is raised, and the parcel goes to the residual mailbox, or on
   without the addition where the integration says ``on_failure: route``.
5. A step is an installed class, found by the entry point group ``stafet.enrichments``; `TableStep` is built in. A step that only
   looks into memory says ``quick`` and is run at once; any other runs in a thread of its own, left behind when it takes too long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from core import limits
from core.content import Content
from core.description import Classification, Description, Reference, Text
from core.errors import ConfigError, DescriptionError, EnrichmentFailed
from core.integration import Enriching, Integration
from core.system import Document, Name


@dataclass(frozen=True, slots=True)
class Additions:
    """What one rule adds. ``origin`` names it for people, as "table municipal-units: row 751"."""

    origin: str
    classifications: tuple[Classification, ...] = ()
    references: tuple[Reference, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a step may look at beside the description. ``payloads`` is empty when they are sealed, and for an example."""

    integration: str
    tables: Mapping[str, Table]
    payloads: Sequence[Content] = ()


class Step(Protocol):
    """One way of enriching. Made once, without arguments."""

    name: ClassVar[str]
    Settings: ClassVar[type[BaseModel]]
    quick: ClassVar[bool]
    """Whether it only looks into memory."""

    def check(self, settings: Any, tables: Mapping[str, Table]) -> str:
        """What is wrong with its settings under a configuration, or ""."""
        ...

    def enrich(self, description: Description, settings: Any, context: Context) -> Sequence[Additions]:
        """What to add, one for each origin. Raises `EnrichmentFailed` with safe words. ``description`` has no subjects."""
        ...


# --- the table step ---------------------------------------------------------------------------------------------------

_FIELDS = Literal[
    "type",
    "version",
    "sender",
    "receiver",
    "function",
    "priority",
    "sensitivity",
    "correlation_id",
    "process_id",
    "media_type",
]
_Attribute = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9-]+\.[\x21-\x7e]+$", max_length=limits.DESCRIPTION_VALUE)
]


class TableKey(Document):
    """What of a description is looked up: one of these."""

    field: _FIELDS | None = None
    classification: Text | None = None
    """A scheme: every code of it that a parcel has is looked up."""
    reference: Text | None = None
    """A kind of reference."""
    attribute: Text | None = None

    @model_validator(mode="after")
    def _is_one(self) -> TableKey:
        if sum(value is not None for value in (self.field, self.classification, self.reference, self.attribute)) != 1:
            raise ValueError("say one of field, classification, reference, attribute")
        return self

    def values(self, description: Description) -> list[str]:
        """What there is to look up."""
        if self.classification is not None:
            return [c.code for c in description.classifications if c.scheme == self.classification]
        if self.reference is not None:
            return [r.id for r in description.references if r.kind == self.reference]
        if self.attribute is not None:
            found = description.attributes.get(self.attribute)
        elif self.field == "receiver":
            found = description.receiver.system
        elif self.field == "function":
            found = description.receiver.function
        else:
            found = getattr(description, str(self.field))
        return [found] if found else []


class Row(Document):
    """What one row of a table adds."""

    classifications: Annotated[tuple[Classification, ...], Field(max_length=limits.DESCRIPTION_ITEMS)] = ()
    references: Annotated[tuple[Reference, ...], Field(max_length=limits.DESCRIPTION_ITEMS)] = ()
    attributes: Annotated[dict[_Attribute, Text], Field(default_factory=dict, max_length=limits.DESCRIPTION_ITEMS)]
    """Each name begins with a word and a dot, as ``unit.name``."""

    @model_validator(mode="after")
    def _adds(self) -> Row:
        if not (self.classifications or self.references or self.attributes):
            raise ValueError("adds nothing: name classifications, references or attributes")
        return self


class Table(Document):
    """Kind ``table``: what the built-in step looks up."""

    kind: Literal["table"] = "table"
    id: Name
    title: str = ""
    key: TableKey
    rows: Annotated[dict[Text, Row], Field(min_length=1)]
    """Value of the key → what is added where it occurs."""


class TableSettings(Document):
    """What the step ``table`` is told."""

    table: Name
    required: bool = False
    """Whether a parcel that no row speaks of is a failure; else nothing is added."""


class TableStep:
    """Adds what the row of a table says."""

    name: ClassVar[str] = "table"
    Settings: ClassVar[type[BaseModel]] = TableSettings
    quick: ClassVar[bool] = True

    def check(self, settings: TableSettings, tables: Mapping[str, Table]) -> str:
        """That the table is there."""
        if settings.table in tables:
            return ""
        return f"no table is called {settings.table!r}; known: {', '.join(sorted(tables)) or 'none'}"

    def enrich(self, description: Description, settings: TableSettings, context: Context) -> Sequence[Additions]:
        """The rows that speak of this parcel."""
        table = context.tables.get(settings.table)
        if table is None:
            raise EnrichmentFailed(f"there is no table {settings.table!r}")
        rows = [(value, table.rows[value]) for value in table.key.values(description) if value in table.rows]
        if settings.required and not rows:
            raise EnrichmentFailed(f"table {table.id} has no row for it")
        return [
            Additions(f"table {table.id}: row {value}", row.classifications, row.references, row.attributes)
            for value, row in rows
        ]


BUILT_IN: Final[Mapping[str, Callable[[], Any]]] = {TableStep.name: TableStep}


@cache
def installed() -> Mapping[str, Any]:
    """The steps there are by name, ours and those of other packages. Raises `ConfigError` for one that cannot be loaded."""
    found = {name: made() for name, made in BUILT_IN.items()}
    for point in entry_points(group="stafet.enrichments"):
        try:
            found[point.name] = point.load()()
        except Exception as error:  # a stranger's module may fail in any way while it is imported
            raise ConfigError(
                f"enrichment {point.name}", "", f"cannot be loaded: {error}", "install its extra"
            ) from error
    return found


# --- an integration's steps -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """One step with its settings read."""

    step: Any
    settings: Any
    on_failure: str


@dataclass(frozen=True, slots=True)
class Enriched:
    """A description on its way through the steps: what was added by which rule, and what failed."""

    description: Description
    added: tuple[Mapping[str, Any], ...] = ()
    """Facts for the trace."""
    failures: tuple[Mapping[str, str], ...] = ()
    """Steps that failed, and why."""
    residual: str = ""
    """Why it may not be routed."""


def enriched_by(state: Enriched, ready: Ready, gave: Sequence[Additions] | Exception) -> Enriched:
    """The state after a step has given additions or has failed."""
    name = ready.step.name
    if not isinstance(gave, Exception):
        try:
            description, added = state.description, []
            for additions in gave:
                description, words = _add(description, additions)
                if words:
                    added.append({"step": name, "origin": additions.origin, "added": words})
        except Exception as error:  # what a stranger's step gives may be anything
            gave = error
        else:
            return replace(state, description=description, added=(*state.added, *added))
    cause = str(gave) if isinstance(gave, EnrichmentFailed) else f"failed with {type(gave).__name__}"
    residual = f"enrichment {name}: {cause}" if ready.on_failure == "residual" else ""
    failure = {"step": name, "cause": cause, "on_failure": ready.on_failure}
    return replace(state, failures=(*state.failures, failure), residual=residual)


def _add(description: Description, additions: Additions) -> tuple[Description, list[str]]:
    """The description with what is new, and that in words for the trace. Raises `EnrichmentFailed`."""
    classes = [c for c in additions.classifications if c not in description.classifications]
    references = [r for r in additions.references if r not in description.references]
    attributes = {}
    for name, value in additions.attributes.items():
        if description.attributes.get(name, value) != value:
            raise EnrichmentFailed(f"{additions.origin}: would change the attribute {name}; a step may only add")
        if name not in description.attributes:
            attributes[name] = value
    words = [f"classification {c.scheme} {c.code}" for c in classes]
    words += [f"reference {r.kind}" for r in references] + [f"attribute {name}" for name in attributes]
    if not words:
        return description, []
    changed = {
        "classifications": (*description.classifications, *classes),
        "references": (*description.references, *references),
        "attributes": {**description.attributes, **attributes},
    }
    try:
        made = Description.parse(description.model_copy(update=changed).model_dump_json())
    except DescriptionError as error:
        raise EnrichmentFailed(f"{additions.origin}: {error.field}: too much, or no text of one line") from None
    return made, words


class Enrichments:
    """The steps of a configuration's integrations, with their settings read when first asked for."""

    def __init__(self, integrations: Mapping[str, Integration], tables: Mapping[str, Table]) -> None:
        self._integrations, self.tables = integrations, tables
        self._ready: dict[str, tuple[Ready, ...]] = {}

    def of(self, name: str) -> tuple[Ready, ...]:
        """An integration's steps in order. Raises `ConfigError` for a step that is not installed or cannot read its settings."""
        found = self._ready.get(name)
        if found is None:
            integration = self._integrations.get(name)
            steps = enumerate(integration.enrichment) if integration is not None else ()
            found = self._ready[name] = tuple(_ready(name, index, one) for index, one in steps)
        return found

    def run(self, description: Description, integration: str, *, quick_only: bool = False) -> Enriched:
        """The steps here and now, without payloads: for examples and explanations."""
        state = Enriched(description)
        for ready in self.of(integration):
            if quick_only and not ready.step.quick:
                continue
            state = enriched_by(state, ready, attempt(ready, state, Context(integration, self.tables)))
            if state.residual:
                break
        return state

    def mistakes(self) -> Iterator[tuple[str, str, str, str]]:
        """What is wrong: integration, field, cause, remedy."""
        for name, integration in self._integrations.items():
            for index, one in enumerate(integration.enrichment):
                where = f"enrichment.{index}"
                try:
                    ready = _ready(name, index, one)
                except ConfigError as error:
                    yield name, error.field or f"{where}.step", error.cause, error.remedy
                    continue
                if cause := ready.step.check(ready.settings, self.tables):
                    yield name, f"{where}.settings", cause, ""


def attempt(ready: Ready, state: Enriched, context: Context) -> Sequence[Additions] | Exception:
    """What a step gives, or what it failed with."""
    try:
        return list(ready.step.enrich(state.description.without_subjects(), ready.settings, context))
    except Exception as error:  # whatever a step does, the parcel it was about is not lost
        return error


def _ready(name: str, index: int, one: Enriching) -> Ready:
    where = f"enrichment.{index}"
    step = installed().get(one.step)
    if step is None:
        known = ", ".join(sorted(installed()))
        raise ConfigError(name, f"{where}.step", f"no installed step is called {one.step!r}", f"installed: {known}")
    try:
        settings = step.Settings.model_validate(one.settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (where, "settings", *first["loc"])))
        raise ConfigError(name, place, first["msg"].removeprefix("Value error, ")) from None
    return Ready(step, settings, one.on_failure)
