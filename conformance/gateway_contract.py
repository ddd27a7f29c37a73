"""The contract for gateway authors: a test class that proves what the kernel relies on.

Subclass `GatewayContract` in a test module, give it the fixture ``world``, and run pytest. A `conformance.workbench.World` says
how to make the gateway active, how a neighbour brings something in, how it behaves when something is sent to it, and what it
then has.

Rules it proves:

1. Accepted once per key; other content under a known key is refused, and somebody is told.
2. An attempt may be repeated: the neighbour has one thing under one name, however often it was sent.
3. An attempt says exactly one thing, in codes that are explained; only evidence settles.
4. A cancelled attempt ends at once and leaves nothing, here or there; what goes wrong inside is never called delivered.
5. Unknown settings are refused. ``run`` serves until it is cancelled, and then ends.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
import pytest_asyncio
from pydantic import BaseModel, ValidationError

from conformance.workbench import PATIENCE, Bench, World, opened
from core import commands, explain, limits
from core.delivery import Delivery
from core.description import Description
from core.errors import PayloadError, StafetError
from core.gateway import Outcome
from core.kernel import NodeKernel
from core.ledger import alarms
from core.ledger.claiming import Claim
from core.parcel import Item, Parcel, Payload


class GatewayContract:
    """Subclass it and give the fixture ``world``."""

    @pytest.fixture
    def world(self) -> World:
        """The gateway's surroundings."""
        pytest.fail("give your test class a fixture `world`; see conformance/gateway_contract.py")

    @pytest_asyncio.fixture
    async def bench(self, world: World) -> AsyncIterator[Bench]:
        """The gateway, serving."""
        async with opened(world) as bench:
            yield bench

    # -- what the tests do in the dispatcher's place

    async def _taken(self, world: World, bench: Bench, octets: bytes) -> tuple[Delivery, Parcel]:
        """A parcel with one payload, accepted, routed through the gateway, and claimed for its first attempt."""
        staging = bench.kernel.stage(size_limit=1 << 30)
        sink = staging.sink()
        sink.write(octets)
        payload = sink.finish(name="contract.bin", media_type="application/octet-stream")
        kind = bench.runtime.configuration.all("integration")[world.integration].types[0]
        now, number = bench.runtime.clock.now(), bench.runtime.configuration.number
        described = Description(type=kind, sender=world.sender)
        facts = (world.sender, world.integration, described, (payload,), now, staging.key_id, staging.wrapped_key)
        await bench.kernel.accept(Item(Parcel(staging.parcel_id, *facts, number)))
        now = bench.runtime.clock.now()
        claim = Claim(1, bench.runtime.boot, now, now + limits.LEASE)
        work: commands.Work = await bench.runtime.do(commands.CLAIM, claim)
        assert [d.gateway for d in work.deliveries] == [bench.gateway.name], "the world's route leads elsewhere"
        return work.deliveries[0], work.parcels[staging.parcel_id]

    async def _attempt(self, bench: Bench, delivery: Delivery, parcel: Parcel) -> Outcome:
        outcome = await asyncio.wait_for(bench.gateway.deliver(delivery, parcel), PATIENCE)
        said = [outcome.receipt is not None, outcome.sent, outcome.refused].count(True)
        assert said <= 1, "an attempt says one thing: a receipt, sent, refused, or (none of them) try again"
        if outcome.receipt is None and not outcome.sent:
            assert explain.code(outcome.code, bench.gateway.explain), f"nothing explains the code {outcome.code!r}"
            assert outcome.reason, "a reason in safe words belongs to every failure"
        if outcome.receipt is not None:
            assert outcome.receipt.delivery_id == delivery.id, "evidence is about the delivery it came for"
            assert outcome.receipt.raw, "evidence is kept as the octets that came"
        return outcome

    # -- in

    async def test_an_item_counts_once_per_key(self, world: World, bench: Bench) -> None:
        """Whoever says the same again hears "accepted" again, and one parcel is there."""
        octets = bytes(range(256)) * 400
        for _ in range(3):
            assert await world.bring_in(bench, "key-1", octets)
        assert (bench.count("parcel"), bench.count("delivery")) == (1, 1), "one key is one parcel with one delivery"
        assert await world.bring_in(bench, "key-2", octets)
        assert bench.count("parcel") == 2, "another key is another item, whatever its content"

    async def test_other_content_under_a_known_key_is_refused(self, world: World, bench: Bench) -> None:
        """Nothing is overwritten, nothing of it stays, and an alarm is raised."""
        assert await world.bring_in(bench, "key-1", b"first")
        assert not await world.bring_in(bench, "key-1", b"other" * 50_000), "other content was called accepted"
        assert bench.count("parcel") == 1
        assert [a.code for a in bench.runtime.read_now(alarms.open_alarms)] == ["conflict"]
        await self._until(lambda: bench.files() == [], "octets of what was refused are still in the store")

    async def _until(self, met: Callable[[], bool], otherwise: str) -> None:
        for _ in range(int(PATIENCE * 50)):
            if met():
                return
            await asyncio.sleep(0.02)
        pytest.fail(otherwise)

    # -- out

    @pytest.mark.parametrize("size", [5, 300_000])
    async def test_an_attempt_may_be_repeated(self, world: World, bench: Bench, size: int) -> None:
        """A process may die after the neighbour has it and before that is known: the second time changes nothing there."""
        octets = hashlib.sha256(b"contract").digest() * (size // 32 + 1)
        await world.neighbour("up")
        delivery, parcel = await self._taken(world, bench, octets)
        first = await self._attempt(bench, delivery, parcel)
        assert first.receipt or first.sent, f"the neighbour is up, and yet: {first.code}: {first.reason}"
        once = dict(await world.left())
        assert list(once.values()) == [octets], "the neighbour has not what was sent"
        again = await self._attempt(bench, replace(delivery, attempts=2, epoch=delivery.epoch + 1), parcel)
        assert again.receipt or again.sent
        assert dict(await world.left()) == once, "the second attempt came under another name, or with other octets"

    async def test_a_neighbour_that_is_away_is_tried_again(self, world: World, bench: Bench) -> None:
        """It is no refusal: the delivery waits for its next attempt, which succeeds."""
        await world.neighbour("down")
        delivery, parcel = await self._taken(world, bench, b"later")
        failed = await self._attempt(bench, delivery, parcel)
        assert not (failed.receipt or failed.sent or failed.refused), "nobody took it, and nobody refused it"
        plan = bench.gateway.retry_plan(delivery)
        now = bench.runtime.clock.now()
        assert plan.attempts > 1 and (plan.next_attempt(1, now, delivery.id) or 0) > now
        await world.neighbour("up")
        then = await self._attempt(bench, replace(delivery, attempts=2, epoch=delivery.epoch + 1), parcel)
        assert then.receipt or then.sent

    async def test_a_cancelled_attempt_leaves_nothing(self, world: World, bench: Bench) -> None:
        """A lease that is lost or a node that stops cancels what is in flight; another node goes on with it."""
        await world.neighbour("silent")
        delivery, parcel = await self._taken(world, bench, b"x" * 300_000)
        attempt = asyncio.create_task(bench.gateway.deliver(delivery, parcel))
        done, _ = await asyncio.wait([attempt], timeout=0.5)
        assert not done, "the world's silent neighbour has let an attempt end"
        attempt.cancel()
        await asyncio.wait([attempt], timeout=PATIENCE)
        assert attempt.done(), "an attempt goes on though it was cancelled"
        assert attempt.cancelled(), "cancellation was swallowed: let CancelledError pass"
        await world.neighbour("up")
        assert dict(await world.left()) == {}, "something half-made was left with the neighbour"
        half = bench.runtime.store.root / "incoming"
        assert not [p for p in half.rglob("*") if p.is_file()], "something half-made was left in the store"
        then = await self._attempt(bench, replace(delivery, attempts=2, epoch=delivery.epoch + 1), parcel)
        assert then.receipt or then.sent

    async def test_what_goes_wrong_inside_is_never_delivered(
        self, world: World, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stored octets that are damaged, or a bug: the exception is let through or told, and the neighbour has nothing."""
        await world.neighbour("up")
        delivery, parcel = await self._taken(world, bench, b"x" * 300_000)

        def damaged(_self: NodeKernel, _parcel: Parcel, _payload: Payload) -> Iterator[bytes]:
            yield b"x" * 1000
            raise PayloadError("stored octets are not what was stored")

        monkeypatch.setattr(NodeKernel, "read_now", damaged)
        with suppress(StafetError):
            outcome = await self._attempt(bench, delivery, parcel)
            assert not (outcome.receipt or outcome.sent), "half a payload was called delivered"
        assert dict(await world.left()) == {}, "half a payload was left with the neighbour"

    # -- settings, beginning and end

    def test_unknown_settings_are_refused(self, world: World) -> None:
        """A misspelt field is never a default in silence, in ``node.yaml`` and in documents."""
        models: dict[str, type[BaseModel]] = {"node.yaml": world.gateway.Settings, **world.gateway.kinds}
        for where, model in models.items():
            with pytest.raises(ValidationError) as caught:
                model.model_validate({"no_such_field_anywhere": 1})
            kinds = {error["type"] for error in caught.value.errors() if error["loc"] == ("no_such_field_anywhere",)}
            assert kinds == {"extra_forbidden"}, f"{where}: set extra='forbid'"

    async def test_it_serves_until_it_is_cancelled(self, bench: Bench) -> None:
        """An end that nobody asked for stops the node; one that was asked for comes soon."""
        done, _ = await asyncio.wait([bench.serving], timeout=0.3)
        assert not done, "run ended by itself"
        bench.serving.cancel()
        await asyncio.wait([bench.serving], timeout=PATIENCE)
        assert bench.serving.done(), "run goes on though it was cancelled"
        assert bench.serving.cancelled() or bench.serving.exception() is None
