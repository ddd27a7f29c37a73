"""What a gateway may ask of the kernel on the way in: stage, accept, recall, and what is said of refusals."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from core import limits
from core.agreement import ServiceAgreement
from core.clock import SECOND
from core.config import Configuration
from core.deciding import check_allowed, decide, deliveries_for
from core.delivery import State
from core.description import Description
from core.errors import DurabilityLost, NotAllowed, Overloaded, TooLarge
from core.integration import Integration
from core.kernel import refusal_id
from core.keys import unseal
from core.ledger import parcels
from core.ledger.tables import further_answer, idempotency, parcel
from core.parcel import Judgement, Key, new_id
from core.system import RESIDUAL
from tests.core.making import NOW, a_parcel, a_payload, unhurried
from tests.core.nodes import ARCHIVE, JOURNAL, LARGE, SENDER, Gate, Site, make_settings


def count(site: Site, table: Any) -> int:
    """How many rows are committed."""
    return int(site.runtime.read_now(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one()))


# --- accepting --------------------------------------------------------------------------------------------------------


async def test_a_new_parcel_is_stored_whole(site: Site):
    """Parcel, payloads, delivery, key, answer and trace are there when its acceptance is."""
    acceptance = await site.accept(b"Dear neighbour,", LARGE, key="k-1", note={"by": "hand"})
    assert (acceptance.judgement, acceptance.answer) == (Judgement.NEW, b"answer")
    one = site.delivery()
    assert (one.parcel_id, one.receiver, one.gateway, one.destination) == (
        acceptance.parcel_id,
        JOURNAL,
        "paper",
        "egedal",
    )
    assert (one.state, one.due_at, one.epoch, one.attempts) == (State.READY, NOW, 0, 0)
    assert (one.rule, one.config_version) == ("to-journal", 1)
    answered = await site.kernel.recall(Key(f"paper/{SENDER}", "k-1"))
    assert answered is not None
    assert (answered.parcel_id, answered.fingerprint, answered.answer) == (acceptance.parcel_id, b"print", b"answer")
    ((event, facts),) = site.trace(acceptance.parcel_id)
    assert (event, facts["gateway"], facts["sender"], facts["route"]) == ("accepted", "paper", SENDER, "to-journal")
    assert (facts["agreement"], facts["version"], facts["by"], facts["receivers"]) == ("sends", 1, "hand", [JOURNAL])
    assert [size for _, size, _ in facts["payloads"]] == [15, len(LARGE)]
    assert site.chain_fault() is None


@pytest.mark.requirement("R45")
async def test_every_target_of_a_route_gets_a_delivery_of_its_own(site: Site):
    """One goes through the gateway, the other waits to be pulled."""
    await site.accept(kind="circular")
    assert [(d.receiver, d.gateway, d.state) for d in site.deliveries()] == [
        (JOURNAL, "paper", State.READY),
        (ARCHIVE, "", State.READY),
    ]


async def test_a_repetition_gets_the_first_answer_and_leaves_nothing(site: Site):
    """The same key and fingerprint: the first parcel and answer come back, the octets that came again are removed."""
    first = await site.accept(LARGE, key="k-1", answer=b"first")
    kept = site.objects()
    again = await site.accept(LARGE, key="k-1", answer=b"second")
    assert (again.judgement, again.parcel_id, again.answer) == (Judgement.KNOWN, first.parcel_id, b"first")
    site.runtime.deletions.shutdown()
    assert (site.parcels(), site.objects(), len(site.deliveries())) == ([first.parcel_id], kept, 1)
    assert [event for event, _ in site.trace(first.parcel_id)] == ["accepted", "repeated"]
    assert site.alarms() == []


async def test_other_content_under_a_key_is_a_conflict(site: Site):
    """Nothing is stored, the first answer is not given away, people are told and the trace says so."""
    first = await site.accept(key="k-1")
    other = await site.accept(LARGE, key="k-1", fingerprint=b"other")
    assert (other.judgement, other.parcel_id, other.answer) == (Judgement.CONFLICT, first.parcel_id, b"")
    site.runtime.deletions.shutdown()
    assert (site.parcels(), site.objects()) == ([first.parcel_id], [])
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.parcel_id) == ("conflict", first.parcel_id)
    assert alarm.text == f"paper/{SENDER}: k-1 came again with other content and was refused"
    assert [event for event, _ in site.trace(first.parcel_id)] == ["accepted", "conflict"]


async def test_items_handed_over_together_are_judged_one_by_one(site: Site):
    """New, known and conflict in one call; one without a key is always new."""
    items = [
        site.item(key="k-1", answer=b"one"),
        site.item(key="k-1", answer=b"two"),
        site.item(key="k-1", fingerprint=b"other"),
        site.item(),
        site.item(),
    ]
    judged = await site.kernel.accept(*items)
    new, known, conflict = Judgement.NEW, Judgement.KNOWN, Judgement.CONFLICT
    assert [a.judgement for a in judged] == [new, known, conflict, new, new]
    assert [a.answer for a in judged[:3]] == [b"one", b"one", b""]
    assert {a.parcel_id for a in judged[:3]} == {items[0].parcel.id}
    assert site.parcels() == sorted(items[i].parcel.id for i in (0, 3, 4))


async def test_a_key_belongs_to_one_gateway_and_one_sender(site: Site):
    """Nobody can occupy another's keys: the same value in another scope is another key."""
    scopes = [f"paper/{SENDER}", "paper/egedal-journal", f"pigeon/{SENDER}"]
    judged = [await site.accept(key="k-1", scope=scope) for scope in scopes]
    assert [a.judgement for a in judged] == [Judgement.NEW] * 3
    assert len(site.parcels()) == 3


KEYED = st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from([b"1", b"2"]))


@given(calls=st.lists(st.lists(KEYED, min_size=1, max_size=4), min_size=1, max_size=4))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_comes_in_whatever_order_is_accepted_once_per_key(
    site: Site, calls: list[list[tuple[str, str, bytes]]]
):
    """The kernel agrees with a dictionary: the first content under a key counts, whatever comes beside or after it."""
    run, before, first = new_id(NOW), len(site.parcels()), dict[tuple[str, str], tuple[bytes, str]]()
    for call in calls:
        items = [site.item(key=value, scope=f"{run}/{scope}", fingerprint=print_) for scope, value, print_ in call]
        judged = await site.kernel.accept(*items)
        for (scope, value, print_), item, acceptance in zip(call, items, judged, strict=True):
            known = first.setdefault((scope, value), (print_, item.parcel.id))
            same = Judgement.NEW if known[1] == item.parcel.id else Judgement.KNOWN
            assert acceptance.judgement is (same if known[0] == print_ else Judgement.CONFLICT)
            assert acceptance.parcel_id == known[1]
    assert len(site.parcels()) == before + len(first)


async def test_nothing_is_visible_before_the_commit(site: Site):
    """While its transaction is open nobody sees parcel, key or delivery, and no answer is given."""
    first, gate = Gate(), Gate()
    held = site.runtime.writer.submit(first.kind, None)
    await asyncio.to_thread(first.reached.wait, 10)
    accepting = asyncio.create_task(site.accept(key="k-1"))
    await asyncio.sleep(0.05)
    site.runtime.writer.submit(gate.kind, None)
    first.open.set()
    held.result(10)
    await asyncio.to_thread(gate.reached.wait, 10)
    assert (site.parcels(), site.deliveries()) == ([], [])
    assert await site.kernel.recall(Key(f"paper/{SENDER}", "k-1")) is None
    assert not accepting.done()
    gate.open.set()
    assert (await accepting).judgement is Judgement.NEW
    assert len(site.parcels()) == len(site.deliveries()) == 1


async def test_after_the_writer_has_stopped_nothing_is_accepted(site: Site):
    """A node that lost its disk gives no answer; what it was handed is not stored."""
    item = site.item()
    site.runtime.writer.close()
    with pytest.raises(DurabilityLost):
        await site.kernel.accept(item)
    assert site.parcels() == []


async def test_a_further_answer_is_kept_beside_the_first(site: Site):
    """A repetition that was signed afresh gets a receipt of its own; the first answer stays what it was."""
    await site.accept(key="k-1")
    key = Key(f"paper/{SENDER}", "k-1")
    await site.kernel.answer_again(key, b"signed afresh")
    answered = await site.kernel.recall(key)
    assert answered is not None
    assert answered.answer == b"answer"
    assert site.runtime.read_now(lambda c: c.execute(select(further_answer.c.answer)).scalars().all()) == [
        b"signed afresh"
    ]


# --- what may come in -------------------------------------------------------------------------------------------------


def under(**changes: Any) -> Configuration:
    """A configuration with one integration and one agreement, some things changed."""
    agreement = {"id": "sends", "integration": "letters", "system": SENDER, "may": "send"} | changes
    integration = Integration(id="letters", types=("letter",), max_size=10)
    return Configuration(
        {
            "integration": {"letters": integration},
            "service-agreement": {"sends": ServiceAgreement.model_validate(agreement)},
        }
    )


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"integration": "parcels"}, NotAllowed, "integration: nothing is called 'parcels'; known: letters"),
        (
            {"description": Description(type="bill", sender=SENDER)},
            NotAllowed,
            "type: 'bill' is not moved under letters; its types: letter",
        ),
        ({"payloads": (a_payload(),) * 101}, TooLarge, "payloads: more than 100"),
        ({"payloads": (a_payload(b"x" * 11),)}, TooLarge, "payload: larger than 10 octets, the limit of letters"),
        (
            {"sender": "somebody"},
            NotAllowed,
            "service agreement: somebody may not send under letters now; add or extend a document of kind"
            " service-agreement",
        ),
    ],
)
def test_what_may_not_come_in_is_refused_with_what_to_change(
    changes: dict[str, Any], error: type[Exception], words: str
):
    """Integration, type, number, size and service agreement are each named."""
    with pytest.raises(error) as caught:
        check_allowed(under(), a_parcel(**changes), NOW)
    assert (type(caught.value), str(caught.value)) == (error, words)


def test_without_any_integration_that_is_what_it_says():
    """A node that has no configuration says so instead of an empty list."""
    with pytest.raises(NotAllowed, match="known: none"):
        check_allowed(Configuration({}), a_parcel(), NOW)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, True),
        ({"may": "both"}, True),
        ({"may": "receive"}, False),
        ({"system": "egedal-journal"}, False),
        ({"since": date(2026, 3, 1)}, True),
        ({"since": date(2026, 3, 2)}, False),
        ({"until": date(2026, 3, 1)}, True),
        ({"until": date(2026, 2, 28)}, False),
    ],
)
def test_nothing_moves_without_a_service_agreement_that_holds_today(changes: dict[str, Any], allowed: bool):
    """Direction, system and dates count; the last day is the last on which it holds."""
    if allowed:
        assert check_allowed(under(**changes), a_parcel(), NOW) == "sends"
    else:
        with pytest.raises(NotAllowed, match="may not send"):
            check_allowed(under(**changes), a_parcel(), NOW)


async def test_a_refusal_stores_nothing_of_the_whole_call(site: Site):
    """Items are judged before any is stored: one that is not allowed keeps its neighbours out as well."""
    stranger = site.item(site.make(sender="somebody"), key="k-2")
    with pytest.raises(NotAllowed):
        await site.kernel.accept(site.item(key="k-1"), stranger)
    assert (site.parcels(), count(site, idempotency)) == ([], 0)


# --- where it goes ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R135")
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("stray", "no route matches"),
        (
            "astray",
            f"route to-a-stranger names {SENDER}, which has no service agreement to receive under letters",
        ),
    ],
)
async def test_what_no_route_takes_lies_in_the_residual_mailbox(site: Site, kind: str, cause: str):
    """It is held, nobody can pull it, and people are told why: never silence."""
    acceptance = await site.accept(kind=kind)
    one = site.delivery()
    assert (one.receiver, one.gateway, one.state, one.rule) == (RESIDUAL, "", State.HELD, "")
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.parcel_id) == ("residual", acceptance.parcel_id)
    assert alarm.text == f"parcel {acceptance.parcel_id} lies in the residual mailbox: {cause}"
    assert site.trace(acceptance.parcel_id)[0][1]["cause"] == cause
    assert await site.kernel.pull(RESIDUAL, limit=1, wait=0) == []


def test_a_delivery_is_born_under_a_lease_only_when_its_attempt_is_claimed_with_it(site: Site):
    """Claimed: first attempt, first epoch, due when the lease ends. Not claimed: due now."""
    one = site.make()
    decision = decide(site.runtime.configuration, one, NOW)
    (plain,) = deliveries_for(one, decision, 7, NOW, unhurried)
    (claimed,) = deliveries_for(one, decision, 7, NOW, unhurried, leased_until=NOW + 5)
    assert (plain.due_at, plain.epoch, plain.attempts, plain.config_version) == (NOW, 0, 0, 7)
    assert (claimed.due_at, claimed.epoch, claimed.attempts, claimed.config_version) == (NOW + 5, 1, 1, 7)


async def test_subjects_are_stored_sealed_under_the_parcels_key(site: Site):
    """Personal data is nowhere in clear; whoever has the data key can read it."""
    description = Description(type="letter", sender=SENDER, subjects=("Kim Fiktiv",))
    one = site.make(description=description)
    await site.kernel.accept(site.item(one))
    row = site.runtime.read_now(lambda c: c.execute(select(parcel)).one())
    assert "Fiktiv" not in str(row._mapping)
    opened = unseal(site.kernel.data_key(one), row.sealed_subjects, b"subjects/" + one.id.encode())
    assert opened == b'["Kim Fiktiv"]'
    assert "Fiktiv" not in str(site.trace(one.id))


async def test_names_of_files_are_not_written_where_they_can_never_be_erased(site: Site):
    """The trace is for ever, and a file may be named after a person."""
    stage = site.kernel.stage(size_limit=10)
    payload = stage.sink().finish(name="Application of Kim Fiktiv.pdf", media_type="application/pdf")
    one = a_parcel(payload, id=stage.parcel_id, key_id=stage.key_id, wrapped_key=stage.wrapped_key)
    await site.kernel.accept(site.item(one))
    assert "Fiktiv" not in str(site.trace(one.id))
    assert site.trace(one.id)[0][1]["payloads"] == [["application/pdf", 0, payload.sha256.hex()]]


# --- staging ----------------------------------------------------------------------------------------------------------


async def test_staging_that_is_aborted_leaves_nothing(site: Site):
    """Octets on their way in are removed, and nobody has seen anything."""
    stage = site.kernel.stage(size_limit=2_000_000)
    for octets in (b"small", LARGE, LARGE):
        stage.sink().write(octets)
    assert len(site.incoming()) == 2
    stage.abort()
    assert (site.incoming(), site.objects(), site.parcels()) == ([], [], [])


async def test_a_payload_above_the_limit_stops_before_it_is_stored(site: Site):
    """The limit is that of the staging, whatever the integration says."""
    sink = site.kernel.stage(size_limit=10).sink()
    sink.write(b"0123456789")
    with pytest.raises(TooLarge, match="more than 10 octets"):
        sink.write(b"a")


async def test_below_the_reserve_nothing_is_taken_in(tmp_path: Path, ledger_url: str, clock: Any):
    """Staging is refused with when to come back; the disk is looked at once a second at most."""
    site = Site(make_settings(tmp_path / "home", ledger_url, free_space_reserve=1 << 62), clock)
    with pytest.raises(Overloaded, match=r"free space .* is below the reserve of") as caught:
        site.kernel.stage(size_limit=10)
    assert caught.value.retry_after == 60 * SECOND
    assert site.incoming() == []
    site.runtime.close()


# --- words ------------------------------------------------------------------------------------------------------------


async def test_refusals_at_the_door_are_kept_and_a_flood_is_only_counted(site: Site):
    """So many a second are in the trace; the rest are in the metrics; the next second is heard again."""
    for number in range(limits.REFUSALS + 5):
        await site.kernel.refusal(f"message-{number}", "not-signed", {"from": "203.0.113.7"})
    site.clock.tick(2 * SECOND)
    await site.kernel.refusal("message-last", "not-signed", {})
    await site.kernel.note("p", "done", {})

    def kept(reference: str) -> list[tuple[str, dict[str, Any]]]:
        return site.trace(refusal_id(reference))

    assert kept("message-0") == [
        (
            "refused",
            {"gateway": "paper", "code": "not-signed", "reference": "message-0", "from": "203.0.113.7"},
        )
    ]
    assert len(kept(f"message-{limits.REFUSALS - 1}")) == 1
    assert kept(f"message-{limits.REFUSALS}") == []
    assert len(kept("message-last")) == 1
    counted = site.runtime.metrics.refused.labels("paper", "not-signed")._value.get()
    assert counted == limits.REFUSALS + 6


def test_a_refusals_name_is_safe_whatever_the_far_side_called_it():
    """Any reference gives a name of one length that an id column can hold, and different ones differ."""
    names = {refusal_id(reference) for reference in ("", "a", "b", "x" * 10_000, "æøå\x00'")}
    assert len(names) == 5
    assert {len(name) for name in names} == {48}


async def test_a_backup_in_progress_keeps_nobody_waiting(site: Site):
    """Deletion pauses; repetitions of large messages are answered all the same, and payloads can be read."""
    first = await site.accept(LARGE, key="k-1")
    with site.runtime.deleting:
        async with asyncio.timeout(10):
            for _ in range(6):
                assert (await site.accept(LARGE, key="k-1")).judgement is Judgement.KNOWN
            stored = site.runtime.read_now(parcels.load, first.parcel_id)
            chunks = [chunk async for chunk in site.kernel.read(stored, stored.payloads[0])]
        assert b"".join(chunks) == LARGE
        assert len(site.objects()) == 7
    site.runtime.deletions.shutdown()
    assert len(site.objects()) == 1
