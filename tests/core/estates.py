"""Made-up configurations: a small one to break, and an estate of any number of routes in which all is well."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from core.config import KERNEL_KINDS, Configuration

SMALL: tuple[dict[str, Any], ...] = (
    {"kind": "system", "id": "birkelund-post", "authority": "dk-birkelund"},
    {"kind": "system", "id": "egedal-journal", "authority": "dk-egedal", "functions": ["benefits"]},
    {"kind": "function", "id": "benefits", "authority": "dk-egedal"},
    {"kind": "integration", "id": "letters", "types": ["letter", "form"]},
    {"kind": "integration", "id": "moves", "types": ["move"], "capability": "notification"},
    {"kind": "service-agreement", "id": "post-sends", "integration": "letters", "system": "birkelund-post", "may": "send"},
    {"kind": "service-agreement", "id": "journal", "integration": "letters", "system": "egedal-journal", "may": "receive"},
    {"kind": "service-agreement", "id": "post-tells", "integration": "moves", "system": "birkelund-post", "may": "send"},
    {"kind": "service-agreement", "id": "told", "integration": "moves", "system": "egedal-journal", "may": "receive"},
    {"kind": "route", "id": "to-journal", "integration": "letters", "to": [{"system": "egedal-journal"}]},
    {"kind": "subscription", "id": "journal-moves", "system": "egedal-journal", "integration": "moves"},
)  # fmt: skip
"""Two systems, a handover and a notification; nothing is odd about it."""


def configuration(documents: Iterable[dict[str, Any]], files: dict[str, bytes] | None = None) -> Configuration:
    """Documents as they stand in files, as a configuration."""
    made: dict[str, dict[str, Any]] = {}
    for value in documents:
        made.setdefault(value["kind"], {})[value["id"]] = KERNEL_KINDS[value["kind"]].model_validate(value)
    return Configuration(made, files or {})


def small(*more: dict[str, Any], without: str = "", files: dict[str, bytes] | None = None) -> Configuration:
    """`SMALL` with documents added or, where kind and id are known, changed field by field; ``without`` one id."""
    documents = {(d["kind"], d["id"]): d for d in SMALL if d["id"] != without}
    for value in more:
        key = value["kind"], value["id"]
        documents[key] = documents.get(key, {}) | value
    return configuration(documents.values(), files)


def an_estate(routes: int) -> dict[str, dict[str, Any]]:
    """Documents by id: ten routes an integration, which tell senders, classes and sizes apart, the broadest last."""
    made: list[dict[str, Any]] = []
    systems = max(20, routes // 10)
    for number in range(systems):
        made.append({"kind": "system", "id": f"system-{number}", "authority": f"dk-{number % 98}"})
    for number in range(routes // 10):
        name = f"integration-{number}"
        made.append({"kind": "integration", "id": name, "types": [f"{name}.new", f"{name}.changed"]})
        sender, receivers = number % systems, [(number * 7 + i + 1) % systems for i in range(3)]
        for system, may in ((sender, "send"), *((receiver, "receive") for receiver in receivers)):
            made.append(_agreement(name, f"system-{system}", may))
        for index in range(10):
            made.append(_route(name, index, f"system-{receivers[index % 3]}"))
    return {one["id"]: one for one in made}


def _agreement(integration: str, system: str, may: str) -> dict[str, Any]:
    name = f"{integration}.{system}.{may}"
    return {
        **{"kind": "service-agreement", "id": name, "integration": integration, "system": system, "may": may},
        "until": date(2030, 12, 31).isoformat(),
    }


def _route(integration: str, index: int, system: str) -> dict[str, Any]:
    value: dict[str, Any] = {"kind": "route", "id": f"{integration}.{index}", "integration": integration}
    value |= {"order": 10 * index, "to": [{"system": system}]}
    if index < 6:
        value["match"] = {"classification": {"topic": f"{index:02}"}, "type": f"{integration}.new"}
    elif index < 9:
        value["match"] = {"type": f"{integration}.changed"}
        value["when"] = f"parcel.size < {10 ** (index - 2)}"
    return value
