"""The only correct order, by enumeration: every order of the steps, a crash at every point, a sender that retries.

The steps of taking one message: D remember its id, P its payload is on the disk, Q it is queued for delivery, R the receipt
leaves. A step is one or more letters that become durable together. A sender that has no receipt sends again; a node that
remembers the id answers with a receipt and does nothing else, any other node goes through all steps from the first.

Safe is an order when, whatever crashes and whichever receipts are lost on the way, the sender who has a receipt in the end has
its message queued exactly once, with its payload.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

Order = tuple[str, ...]

RETRIES = 3
"""Attempts of the sender that may go wrong before one goes right: more show nothing new (a test below says so)."""


@dataclass(frozen=True)
class World:
    """What is durable on the node, and what the sender knows. Payloads and queue entries carry their attempt's number."""

    remembered: bool = False
    payloads: frozenset[int] = frozenset()
    queue: tuple[int, ...] = ()
    receipt: bool = False
    story: tuple[str, ...] = field(default=(), compare=False)

    def after(self, step: str, attempt: int, *, arrives: bool = True) -> World:
        """The world when a step is done; a receipt that leaves may not arrive."""
        return World(
            self.remembered or "D" in step,
            self.payloads | {attempt} if "P" in step else self.payloads,
            (*self.queue, attempt) if "Q" in step else self.queue,
            self.receipt or ("R" in step and arrives),
            (*self.story, step),
        )

    def fault(self) -> str:
        """What the sender's receipt wrongly promises, or ""."""
        if not self.receipt:
            return "no receipt"
        if any(entry not in self.payloads for entry in self.queue):
            return "queued without its payload"
        return {0: "lost", 1: ""}.get(len(self.queue), "delivered twice")


def steps_of(order: Order, world: World) -> Order:
    """What the node does with a message that comes in this world."""
    return ("R",) if world.remembered else order


def one_attempt(order: Order, world: World, attempt: int) -> Iterator[World]:
    """Every world in which an attempt may end: after a crash before each step or at the end, the receipt lost or not."""
    for reached in range(len(steps_of(order, world)) + 1):
        for arrives in (True, False):
            now = world
            for step in steps_of(order, world)[:reached]:
                now = now.after(step, attempt, arrives=arrives)
            yield replace(now, story=(*now.story, "crash" if arrives else "receipt lost"))


def endings(order: Order, retries: int = RETRIES) -> Iterator[World]:
    """Every world in which the sender has a receipt or has made its last attempt, which nothing disturbs."""
    worlds = {World()}
    for attempt in range(retries):
        after = {end for world in worlds for end in one_attempt(order, world, attempt)}
        yield from (world for world in after if world.receipt)
        worlds = {world for world in after if not world.receipt}
    for world in worlds:
        now = world
        for step in steps_of(order, world):
            now = now.after(step, retries)
        yield now


def fault(order: Order, retries: int = RETRIES) -> str:
    """The first fault of an order with its story, or "" for a safe one."""
    return next((f"{w.fault()}: {' '.join(w.story)}" for w in endings(order, retries) if w.fault()), "")


def orders(steps: Sequence[str]) -> list[Order]:
    """Every order of these steps."""
    return list(itertools.permutations(steps))


def test_no_order_of_four_separate_steps_is_safe():
    """Of all twenty-four, each loses a message, sends one twice or queues one without its payload."""
    assert len(orders("DPQR")) == 24
    assert [order for order in orders("DPQR") if not fault(order)] == []


def test_with_the_id_and_the_queue_in_one_transaction_one_order_of_six_is():
    """Payload first, then id and queue in one commit, then the receipt: nothing else."""
    assert len(orders(("DQ", "P", "R"))) == 6
    assert [order for order in orders(("DQ", "P", "R")) if not fault(order)] == [("P", "DQ", "R")]


def test_a_small_payload_may_share_the_commit():
    """With the payload in the database too, one commit and then the receipt is safe; the other way round is not."""
    assert [order for order in orders(("DPQ", "R")) if not fault(order)] == [("DPQ", "R")]


@pytest.mark.parametrize("pair", ["DP", "PQ", "DR", "PR", "QR"])
def test_no_other_pair_in_one_transaction_helps(pair: str):
    """Only id and queue together leave a safe order; a receipt cannot be a part of a commit anyway."""
    rest = [step for step in "DPQR" if step not in pair]
    assert [order for order in orders((pair, *rest)) if not fault(order)] == []


@pytest.mark.parametrize("order", [*orders("DPQR"), *orders(("DQ", "P", "R"))])
def test_without_crashes_and_losses_every_order_works(order: Order):
    """The faults come from the crashes: undisturbed, each order ends with one entry, its payload and a receipt."""
    assert [world.fault() for world in endings(order, retries=0)] == [""]


@pytest.mark.parametrize("order", [*orders("DPQR"), *orders(("DQ", "P", "R"))])
def test_more_retries_show_nothing_new(order: Order):
    """One disturbed attempt already condemns every order that is condemned."""
    assert bool(fault(order, 1)) is bool(fault(order, RETRIES)) is bool(fault(order, RETRIES + 1))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("DPQR", "lost"),
        ("RPQD", "lost"),
        ("PQDR", "delivered twice"),
        ("QPDR", "queued without its payload"),
    ],
)
def test_each_kind_of_fault_is_met(order: str, expected: str):
    """The model tells the ways to be wrong apart."""
    assert expected in {world.fault() for world in endings(tuple(order))}
