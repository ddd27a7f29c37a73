"""A configuration: what a directory of documents says, checked as a whole, immutable, and comparable with another.

Rules:

1. A directory with one wrong document starts nothing half-way: everything is checked before anything is applied.
2. A version is the documents *and* the certificates they name. Addresses to listen on and private keys are the node's own and
   never enter a version or a plan.
3. A plan is said in terms of documents and fields, not of lines.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from cryptography import x509
from pydantic import BaseModel, ValidationError

from core import expectation, limits
from core.agreement import ServiceAgreement
from core.clock import Micros, from_datetime
from core.content import Contents
from core.description import Description
from core.documents import SCHEMA_SUFFIXES, Read, read_directory
from core.enrichment import Enrichments, Table
from core.errors import ConfigError, DescriptionError
from core.integration import Integration
from core.lists import ValueList
from core.quota import Quota
from core.route import Route, Routes
from core.subscription import Subscription, Subscriptions
from core.system import RESIDUAL, Function, System
from core.trust import fingerprint, subject

KERNEL_KINDS: Final[dict[str, type[BaseModel]]] = {
    "system": System,
    "integration": Integration,
    "route": Route,
    "service-agreement": ServiceAgreement,
    "subscription": Subscription,
    "function": Function,
    "table": Table,
    "value-list": ValueList,
    "quota": Quota,
}


@dataclass(frozen=True)
class Problem:
    """Something wrong between documents: ``kind`` and ``id`` say which one has to change."""

    kind: str
    id: str
    field: str
    cause: str
    remedy: str = ""


@dataclass(frozen=True)
class Configuration:
    """Documents by kind and id, and the files they name. ``number`` is the version, 0 for one not applied."""

    documents: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, bytes] = field(default_factory=dict)
    number: int = 0
    places: Mapping[tuple[str, str], Read] = field(default_factory=dict, compare=False, repr=False)
    """Where each document stands, by kind and id, when it was read from a directory."""

    def where(self, kind: str, name: str, path: str = "") -> str:
        """``file:line`` of a document's field, or "" for a document that came from elsewhere."""
        read = self.places.get((kind, name))
        return read.where(path.split(".")) if read is not None else ""

    def all(self, kind: str) -> Mapping[str, Any]:
        """The documents of one kind by id."""
        return self.documents.get(kind, {})

    @cached_property
    def routes(self) -> Routes:
        """The routes, indexed."""
        return Routes(list(self.all("route").values()))

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """The subscriptions, indexed."""
        return Subscriptions(list(self.all("subscription").values()))

    @cached_property
    def contents(self) -> Contents:
        """What each integration demands of payloads."""
        return Contents(self.all("integration"), self.files)

    @cached_property
    def enrichments(self) -> Enrichments:
        """What is added to descriptions before they are routed."""
        return Enrichments(self.all("integration"), self.all("table"))

    @cached_property
    def _lists_asked(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self.all("subscription").values():
            if one.subjects_in is not None:
                found.setdefault(one.integration, []).append(one.subjects_in)
        return found

    def lists_asked(self, integration: str) -> Sequence[str]:
        """The value lists that subscriptions of an integration ask of."""
        return self._lists_asked.get(integration, ())

    @cached_property
    def _agreements(self) -> dict[tuple[str, str], list[ServiceAgreement]]:
        found: dict[tuple[str, str], list[ServiceAgreement]] = {}
        for item in self.all("service-agreement").values():
            found.setdefault((item.integration, item.system), []).append(item)
        return found

    def agreed(self, integration: str, system: str, direction: Literal["send", "receive"], at: Micros) -> str:
        """The id of a service agreement that allows it now, or ""."""
        for item in self._agreements.get((integration, system), ()):
            if item.covers(direction, at):
                return item.id
        return ""

    def to_json(self) -> str:
        """The canonical text that becomes a version."""
        documents = [
            item.model_dump(mode="json", exclude_defaults=False)
            for kind in sorted(self.documents)
            for _, item in sorted(self.documents[kind].items())
        ]
        files = {name: base64.b64encode(octets).decode() for name, octets in sorted(self.files.items())}
        return json.dumps({"documents": documents, "files": files}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, kinds: Mapping[str, type[BaseModel]], number: int) -> Configuration:
        """A stored version. Raises `ConfigError` for a document that this program cannot read."""
        content = json.loads(text)
        documents: dict[str, dict[str, Any]] = {}
        for value in content["documents"]:
            model = kinds.get(value["kind"])
            where = f"version {number}"
            if model is None:
                raise ConfigError(where, value["kind"], "no installed part of Stafet knows this kind")
            try:
                item = model.model_validate(value)
            except ValidationError as error:
                first = error.errors()[0]
                raise ConfigError(where, f"{value['kind']} {value['id']}", first["msg"]) from None
            documents.setdefault(value["kind"], {})[value["id"]] = item
        files = {name: base64.b64decode(octets) for name, octets in content["files"].items()}
        return cls(documents, files, number)


EMPTY: Final = Configuration({}, {}, 0)

Check = Callable[[Configuration], Iterable[Problem]]
"""A gateway's own check of a whole configuration."""


def load(root: Path, kinds: Mapping[str, type[BaseModel]], checks: Sequence[Check]) -> Configuration:
    """Read and check a directory. Raises an `ExceptionGroup` of `ConfigError` with everything that is wrong."""
    directory = read_directory(root, kinds)
    documents: dict[str, dict[str, Any]] = {}
    places: dict[tuple[str, str], Read] = {}
    for read in directory.documents:
        kind, name = read.model.kind, read.model.id
        if name in documents.setdefault(kind, {}):
            other = places[kind, name].where(())
            directory.problems.append(ConfigError(read.where(("id",)), "id", f"{name!r} is used by {other} already"))
            continue
        documents[kind][name] = read.model
        places[kind, name] = read
    configuration = Configuration(documents, directory.files, places=places)
    problems = list(directory.problems)
    if not problems:
        for problem in (p for check in (check_kernel, *checks) for p in check(configuration)):
            where = configuration.where(problem.kind, problem.id, problem.field)
            whole = ": ".join(filter(None, (f"{problem.kind} {problem.id}".strip(), problem.field)))
            words = problem.field if where else whole
            problems.append(ConfigError(where or str(root), words, problem.cause, problem.remedy))
    if problems:
        raise ExceptionGroup("the configuration is not applied", problems)
    return configuration


def check_kernel(configuration: Configuration) -> Iterable[Problem]:
    """That the kernel's documents fit each other, and that every integration's examples go where they say."""
    systems, integrations = configuration.all("system"), configuration.all("integration")
    routes = configuration.all("route")
    if len(routes) > limits.ROUTES:
        yield Problem("route", "", "", f"{len(routes)} routes; at most {limits.ROUTES}")
    for name in systems:
        if name == RESIDUAL:
            yield Problem("system", name, "id", "is the name of the residual mailbox", "choose another id")
    for item in configuration.all("service-agreement").values():
        if item.integration not in integrations:
            yield _unknown("service-agreement", item.id, "integration", item.integration, integrations)
        if item.system not in systems:
            yield _unknown("service-agreement", item.id, "system", item.system, systems)
    for route in routes.values():
        if route.integration is not None and route.integration not in integrations:
            yield _unknown("route", route.id, "integration", route.integration, integrations)
        for index, target in enumerate(route.to):
            if target.system not in systems and target.system != RESIDUAL:
                yield _unknown("route", route.id, f"to.{index}.system", target.system, systems)
    lists = configuration.all("value-list")
    for item in lists.values():
        if item.owner not in systems:
            yield _unknown("value-list", item.id, "owner", item.owner, systems)
    for item in configuration.all("subscription").values():
        if item.system not in systems:
            yield _unknown("subscription", item.id, "system", item.system, systems)
        if item.integration not in integrations:
            yield _unknown("subscription", item.id, "integration", item.integration, integrations)
        if item.subjects_in is not None and item.subjects_in not in lists:
            yield _unknown("subscription", item.id, "subjects_in", item.subjects_in, lists)
    for system in systems.values():
        yield from _check_certificates(configuration, system)
    for mistake in configuration.contents.mistakes():
        yield Problem("integration", mistake.integration, mistake.field, mistake.cause, mistake.remedy)
    wrong = [Problem("integration", *mistake) for mistake in configuration.enrichments.mistakes()]
    yield from wrong
    for integration in integrations.values():
        yield from _check_what_it_names(configuration, integration)
    for integration in () if wrong else integrations.values():
        yield from _run_tests(configuration, integration)
    yield from _check_quotas(configuration)


def _check_quotas(configuration: Configuration) -> Iterable[Problem]:
    seen: dict[tuple[Any, ...], str] = {}
    for quota in configuration.all("quota").values():
        if quota.system is not None and quota.system not in configuration.all("system"):
            yield _unknown("quota", quota.id, "system", quota.system, configuration.all("system"))
        other = seen.setdefault((quota.system, quota.authority, quota.each), quota.id)
        if other != quota.id:
            yield Problem("quota", quota.id, "id", f"quota {other} is for the same", "say all limits in one of them")


def _check_certificates(configuration: Configuration, system: System) -> Iterable[Problem]:
    """That the files a system names are there and hold certificates."""
    for field_name in ("certificates", "sealing_certificates"):
        for index, name in enumerate(getattr(system, field_name)):
            try:
                certificates_in(configuration.files, name)
            except ValueError as error:
                remedy = "put it beside the documents, as PEM or DER, and name it from their directory on"
                yield Problem("system", system.id, f"{field_name}.{index}", str(error), remedy)


def _check_what_it_names(configuration: Configuration, integration: Integration) -> Iterable[Problem]:
    """That the schema, the systems and the functions an integration speaks of are there."""
    systems, functions = configuration.all("system"), configuration.all("function")
    if integration.contract is not None and integration.contract.file:
        wanted = integration.contract.file
        if wanted not in configuration.files:
            schemas = sorted(name for name in configuration.files if name.endswith(SCHEMA_SUFFIXES))
            known = ", ".join(schemas[:8]) or "there are no schemas"
            cause = f"there is no file {wanted!r} in the configuration directory"
            yield Problem("integration", integration.id, "contract.file", cause, f"known: {known}")
    for index, expected in enumerate(integration.receipts):
        if expected.system is not None and expected.system not in systems:
            yield _unknown("integration", integration.id, f"receipts.{index}.system", expected.system, systems)
        if expected.function is not None and expected.function not in functions:
            yield _unknown("integration", integration.id, f"receipts.{index}.function", expected.function, functions)
    for wrong in expectation.problems(integration):
        yield Problem("integration", integration.id, *wrong)


def _unknown(kind: str, name: str, where: str, value: str, known: Iterable[str]) -> Problem:
    listed = ", ".join(sorted(known)[:8]) or "there are none"
    return Problem(kind, name, where, f"nothing is called {value!r}", f"known: {listed}")


def _run_tests(configuration: Configuration, integration: Integration) -> Iterable[Problem]:
    for index, test in enumerate(integration.tests):
        where = f"tests.{index}"
        try:
            description = integration.describe({"sender": "example", **test.description})
        except DescriptionError as error:
            yield Problem("integration", integration.id, f"{where}.description.{error.field}", error.cause)
            continue
        enriched = configuration.enrichments.run(description, integration.id)
        if enriched.residual:
            got, why = [RESIDUAL], enriched.residual
        else:
            got, why = _receivers(configuration, enriched.description, integration)
        if got != sorted(test.expect):
            cause = f"goes to {', '.join(got) or 'nobody'} ({why}), expected {', '.join(test.expect) or 'nobody'}"
            filters = "subscriptions" if integration.capability == "notification" else "routes"
            remedy = f"change the {filters} or the example"
            yield Problem("integration", integration.id, f"{where}.expect", cause, remedy)


def _receivers(
    configuration: Configuration, description: Description, integration: Integration
) -> tuple[list[str], str]:
    """Who would get it, and which rules say so."""
    if integration.capability == "notification":
        matched, _ = configuration.subscriptions.matching(description, integration.id)
        why = f"subscriptions {', '.join(one.id for one in matched)}" if matched else "no subscription matches"
        return sorted({one.system for one in matched}), why
    decision = configuration.routes.choose(description, integration.id)
    why = f"route {decision.route}" if decision.route else decision.cause
    return sorted(t.system for t in decision.targets), why


# --- plan -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One difference between two configurations: ``what`` added, removed or changed; ``fields`` as (path, old, new)."""

    what: Literal["added", "removed", "changed"]
    kind: str
    id: str
    fields: tuple[tuple[str, str, str], ...] = ()


def plan(old: Configuration, new: Configuration) -> list[Change]:
    """What applying ``new`` over ``old`` would change, by document and field."""
    changes: list[Change] = []
    for kind in sorted({*old.documents, *new.documents}):
        before, after = old.all(kind), new.all(kind)
        for name in sorted({*before, *after}):
            if name not in after:
                changes.append(Change("removed", kind, name))
            elif name not in before:
                changes.append(Change("added", kind, name))
            elif before[name] != after[name]:
                left, right = before[name].model_dump(mode="json"), after[name].model_dump(mode="json")
                changes.append(Change("changed", kind, name, tuple(_differences(left, right, ""))))
    for name in sorted({*old.files, *new.files}):
        left_file, right_file = old.files.get(name), new.files.get(name)
        if left_file != right_file:
            what: Literal["added", "removed", "changed"] = (
                "added" if left_file is None else "removed" if right_file is None else "changed"
            )
            fields = (("certificate", _describe(left_file), _describe(right_file)),)
            changes.append(Change(what, "file", name, fields))
    return changes


def _differences(left: Any, right: Any, path: str) -> Iterable[tuple[str, str, str]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            yield from _differences(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            yield from _differences(a, b, f"{path}.{index}")
    elif left != right:
        yield path, _short(left), _short(right)


def _short(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."


def _describe(octets: bytes | None) -> str:
    """A file in words: of each certificate subject, end and fingerprint."""
    if octets is None:
        return "-"
    try:
        return ", ".join(_in_words(certificate) for certificate in _certificates(octets))
    except ValueError:
        return f"SHA-256 {hashlib.sha256(octets).hexdigest()[:16]}"


def _in_words(certificate: x509.Certificate) -> str:
    end = certificate.not_valid_after_utc.date().isoformat()
    return f"{subject(certificate)} until {end} (SHA-256 {fingerprint(certificate)[:16]})"


def _certificates(octets: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN" in octets:
        return x509.load_pem_x509_certificates(octets)
    return [x509.load_der_x509_certificate(octets)]


def certificates_in(files: Mapping[str, bytes], name: str) -> list[x509.Certificate]:
    """The certificates of a file, PEM (one or more) or DER. Raises `ValueError` naming what is wrong."""
    octets = files.get(name)
    if octets is None:
        raise ValueError(f"there is no file {name!r} in the configuration directory")
    try:
        return _certificates(octets)
    except ValueError:
        raise ValueError(f"{name!r} holds no certificate that can be read") from None


def expiry(certificate: x509.Certificate) -> Micros:
    """When a certificate ends."""
    return from_datetime(certificate.not_valid_after_utc)
