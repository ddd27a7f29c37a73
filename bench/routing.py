"""What more rules cost: choosing a route, finding the subscriptions of a notification, and accepting one, by CPU time.

Rules:

1. The rules are of the kinds that municipalities have: a receiver, a type and a sender, a classification, a priority and a
   function, some with a condition besides. A parcel meets a handful of them, however many there are.
2. What is compared is the CPU time of one and the same parcels at 10 and at 10,000 rules, in one process and one run.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench.rows import Row, ratio_row
from conformance.town import AUTHORITY, Town, agreement, notification
from core.config import Configuration
from core.description import Address, Classification, Description
from core.kernel import NodeKernel
from core.mailroom import Mailroom
from core.parcel import Item, Parcel
from core.route import Route, Routes
from core.runtime import Runtime
from core.subscription import Subscription, Subscriptions

SIZES: Final = (10, 1_000, 10_000)
FLAT: Final = 2.0
"""Times the cost at the fewest rules that the cost at the most may be."""
CONDITION: Final = "parcel.size < 1000000 && parcel.sensitivity != 'secret'"
SENDERS: Final = 20


def filter_of(number: int) -> dict[str, Any]:
    """The filter of a rule: five kinds in turn, each with a value of its own, the last with a condition besides."""
    kinds: tuple[dict[str, Any], ...] = (
        {"receiver": f"journal-{number}", "priority": "normal"},
        {"sender": f"sender-{number % SENDERS}", "type": f"type-{number}"},
        {"classification": {"form": f"F{number}"}},
        {"priority": "normal", "sensitivity": "confidential", "function": f"function-{number}"},
        {"sender": f"sender-{number % SENDERS}", "classification": {"form": f"F{number}", "area": f"{number % 7}"}},
    )
    return {"match": kinds[number % 5]} | ({"when": CONDITION} if number % 5 == 4 else {})


def asked_of(count: int) -> list[Description]:
    """Ten parcels for rules all over, two of each kind at every size."""
    return [parcel_of(index * (count // 10 + 1) % count) for index in range(10)]


def parcel_of(number: int) -> Description:
    """What the rule of that number takes, and no other."""
    return Description(
        type=f"type-{number}",
        sender=f"sender-{number % SENDERS}",
        receiver=Address(system=f"journal-{number}", function=f"function-{number}"),
        classifications=(
            Classification(scheme="form", code=f"F{number}"),
            Classification(scheme="area", code=f"{number % 7}"),
        ),
    )


def routes(count: int) -> Routes:
    """So many routes."""
    to = [{"system": "journal"}]
    made = [
        {"kind": "route", "id": f"r-{n}", "order": n % 100, "integration": "news", "to": to, **filter_of(n)}
        for n in range(count)
    ]
    return Routes([Route.model_validate(one) for one in made])


def subscriptions(count: int) -> list[Subscription]:
    """So many subscriptions of one integration."""
    made = [
        {"kind": "subscription", "id": f"s-{n}", "system": "journal", "integration": "news", **filter_of(n)}
        for n in range(count)
    ]
    return [Subscription.model_validate(one) for one in made]


def _cost(seconds: float, ask: Callable[[Description], object], count: int) -> float:
    """Microseconds of CPU for each of the same ten parcels of rules that are spread over all."""
    begun = time.process_time()
    for done, description in enumerate(itertools.cycle(asked_of(count)), start=1):
        ask(description)
        if done % 10 == 0 and time.process_time() - begun > seconds:
            return 1_000_000 * (time.process_time() - begun) / done
    raise AssertionError("a cycle ends nowhere")


def _choosing(count: int, seconds: float) -> float:
    made = routes(count)
    assert all(made.choose(parcel_of(n), "news").route == f"r-{n}" for n in range(min(count, 10)))
    return _cost(seconds, lambda description: made.choose(description, "news"), count)


def _matching(count: int, seconds: float) -> float:
    made = Subscriptions(subscriptions(count))
    assert all([one.id for one in made.matching(parcel_of(n), "news")[0]] == [f"s-{n}"] for n in range(min(count, 10)))
    return _cost(seconds, lambda description: made.matching(description, "news"), count)


async def _accept(runtime: Runtime, count: int, seconds: float) -> float:
    """CPU of the whole process for one notification, writer included, in batches of 50."""
    kernel, asked = NodeKernel(runtime, "rest", Mailroom(runtime)), itertools.cycle(asked_of(count))
    done, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        items = []
        for _ in range(50):
            staging = kernel.stage(size_limit=1000)
            description, keys = next(asked), (staging.key_id, staging.wrapped_key)
            now, sender = kernel.clock.now(), description.sender
            items.append(Item(Parcel(staging.parcel_id, sender, "news", description, (), now, *keys)))
        await kernel.accept(*items)
        done += len(items)
    return 1_000_000 * (time.process_time() - begun) / done


def _accepting(folder: Path, count: int, seconds: float) -> float:
    senders = [f"sender-{number}" for number in range(SENDERS)]
    documents = [
        notification("news", *dict.fromkeys(description.type for description in asked_of(count))),
        *(agreement("news", sender, "send") for sender in senders),
        agreement("news", "journal", "receive"),
    ]
    place = Town(folder / str(count), dict.fromkeys((*senders, "journal"), AUTHORITY)).make(documents)
    runtime = Runtime.open(place.settings())
    try:
        first = Configuration.from_json(json.dumps({"documents": documents, "files": {}}), runtime.catalogue.kinds, 1)
        every = {one.id: one for one in subscriptions(count)}
        runtime.configuration = Configuration({**first.documents, "subscription": every}, {}, 1)
        asyncio.run(_accept(runtime, count, seconds / 10))  # the index is made once a version, not once a parcel
        return asyncio.run(_accept(runtime, count, seconds))
    finally:
        runtime.close()


def rows(folder: Path, seconds: float) -> Iterator[Row]:
    """Each of the three at every size, and the largest beside the smallest."""
    asked: dict[str, Callable[[int], float]] = {
        "choosing a route": lambda count: _choosing(count, seconds),
        "finding the subscriptions of a notification": lambda count: _matching(count, seconds),
        "accepting a notification, to its commit": lambda count: _accepting(folder, count, seconds),
    }
    for what, measure in asked.items():
        found = {count: measure(count) for count in SIZES}
        for count in SIZES[:-1]:
            yield Row(f"{what}: {count:,} rules", found[count], "µs of CPU")
        most, least = SIZES[-1], SIZES[0]
        against = f"the same with {least} rules"
        yield ratio_row(f"{what}: {most:,} rules", found[most], "µs of CPU", against, found[least], FLAT, least=False)
