"""Asks a running node everything its OpenAPI document allows, and much that it does not, and holds the answers against it.

``python -m tests.gateways.rest.exploring --seconds 60`` starts a town and asks for so long.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conformance.town import Town
from core.clock import SECOND, SystemClock
from tests.gateways.rest.offices import OFFICES, office_documents

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OVERLOADED = 503
"""The one server error that is documented: come back later."""
KNOWN = {"subscription": "robot-ends", "integration": "stays", "system": "birkelund-robot"}
"""What there is, so that not everything asked is absent."""


_WAIT = 0.05


@dataclass
class Explored:
    """What came of it."""

    asked: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Explorer:
    """Asks one node as one system."""

    def __init__(self, town: Town, system: str, *, known: Mapping[str, str] = KNOWN) -> None:
        self._town, self._known = town, known
        self.found = Explored()
        self.session = requests.Session()
        self.session.trust_env = False
        self._tls = {"cert": str(town.root / "clients" / f"{system}.pem"), "verify": str(town.root / "ca.pem")}

    def document(self) -> dict[str, Any]:
        """What the node says of itself."""
        answer = self.session.get(f"{self._town.url}/v1/openapi.json", timeout=30, **self._tls)
        assert answer.status_code == 200
        return dict(answer.json())

    def operations(self) -> Sequence[Any]:
        """Everything that can be asked, deletion last."""
        schema = schemathesis.openapi.from_dict(self.document())
        return sorted((one.ok() for one in schema.get_all_operations()), key=lambda one: one.method == "delete")

    def ask(self, operation: Any, examples: int) -> None:
        """Ask one operation so many times, in every way that may be right or wrong."""
        strategies = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=False,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(strategies), real=st.booleans())
        def once(case: Any, real: bool) -> None:
            if real:
                case.headers.pop("Authorization", None)  # no token of these is one
                for name in set(case.path_parameters) & set(self._known):
                    case.path_parameters[name] = self._known[name]
            self._once(case)

        once()

    def _once(self, case: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("wait"), int | float) and case.body["wait"] > _WAIT:
            case.body["wait"] = _WAIT  # what waits longer is right as well, and takes long
        try:
            answer = case.call(base_url=self._town.url, session=self.session, timeout=30, **self._tls)
        except (requests.exceptions.InvalidHeader, UnicodeError):
            return  # no client could send it
        self.found.asked += 1
        self.found.statuses[answer.status_code] = self.found.statuses.get(answer.status_code, 0) + 1
        checks = [one for one in CHECKS if answer.status_code != OVERLOADED or one is not not_a_server_error]
        try:
            case.validate_response(answer, checks=checks)
        except (Failure, FailureGroup) as error:
            wrong = error.exceptions if isinstance(error, FailureGroup) else [error]
            words = "; ".join(f"{one.title}: {one.message}"[:500] for one in wrong)
            self.found.failures.append(
                f"{case.operation.label}: {answer.status_code}: {words}\n{case.as_curl_command()[:900]}"
            )


def explore_for(town: Town, seconds: float, systems: Sequence[str]) -> Iterator[Explored]:
    """Ask in turn as each of the systems until the time is over."""
    clock = SystemClock()
    end = clock.now() + int(seconds * SECOND)
    explorers = [Explorer(town, one) for one in systems]
    for number in itertools.count():
        explorer = explorers[number % len(explorers)]
        for operation in explorer.operations():
            if clock.now() >= end:
                yield from (one.found for one in explorers)
                return
            explorer.ask(operation, 25)


def main(arguments: list[str] | None = None) -> int:
    """Start a town, ask, and say what was found."""
    parser = argparse.ArgumentParser(description="Holds the REST gateway's answers against its OpenAPI document.")
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args(arguments).seconds
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="stafet-api-") as folder:
        town = Town(Path(folder), OFFICES).make(office_documents())
        town.start()
        try:
            found = list(explore_for(town, seconds, ("birkelund-robot", "node-admin", "birkelund-owner")))
        finally:
            town.stop()
    failures = list(dict.fromkeys(one for each in found for one in each.failures))
    print(f"{sum(one.asked for one in found)} requests, {len(failures)} answers that differ from the document")
    for one in found:
        print("  ", dict(sorted(one.statuses.items())))
    print("\n\n".join(failures[:20]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
