"""The redistribution desk: sending on, sealed anew, and the residual mailbox, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from core.agreement import ServiceAgreement
from core.config import Configuration
from core.delivery import State
from core.description import Description, Reference
from core.desk.handing import Handing, Said, Seen
from core.desk.redistribution import RESEAL, Goal, Redistribution, SentOn, Why
from core.desk.uploads import Uploads
from core.errors import Invalid, NotFound, Refused, TooLarge, WrongState
from core.integration import Integration
from core.ledger.uploads import Upload
from core.mailroom import Box
from core.receipt import Level, Verdict
from core.route import Route
from core.seal.sealing import seal
from core.system import RESIDUAL, System
from tests.core.nodes import ARCHIVE, JOURNAL, SENDER, Site
from tests.core.seal.holders import holder
from tests.gateways.as4.running import until

WHY = Why(ARCHIVE, "wrong-office", "for another office")


def change(site: Site, *documents: Any, without: Mapping[str, str] | None = None) -> None:
    """Documents that are added to the configuration, or taken out of it by kind and id."""
    old = site.runtime.configuration
    made = {kind: dict(old.all(kind)) for kind in {*old.documents, *(one.kind for one in documents)}}
    for one in documents:
        made[one.kind][one.id] = one
    for kind, name in (without or {}).items():
        del made[kind][name]
    site.runtime.configuration = Configuration(made, old.files, old.number + 1)


@pytest.fixture
def desk(site: Site) -> Redistribution:
    """A desk."""
    return Redistribution(site.runtime, Uploads(site.runtime))


async def hand(site: Site, kind: str = "leaflet", **changes: Any) -> Seen:
    """A leaflet for the archive, as everybody sees it."""
    description = Description(type=kind, sender=SENDER, **changes)
    (one,) = await site.kernel.accept(site.item(site.make(description=description)))
    return await Handing(site.runtime).look(one.parcel_id, None)


async def send_on(desk: Redistribution, seen: Seen, upload: Upload | None = None, **goal: Any) -> SentOn:
    """The archive sends it on."""
    return await desk.send_on(seen, seen.of(ARCHIVE), Goal(**goal), WHY, upload)


async def uploaded(site: Site, octets: bytes, finished: bool = True) -> Upload:
    """What the archive sealed anew."""
    uploads = Uploads(site.runtime)
    size = len(octets) + (not finished)
    one = await uploads.begin(ARCHIVE, name="anew.p7m", media_type="application/pkcs7-mime", size=size)

    async def coming() -> AsyncIterator[bytes]:
        yield octets

    return await uploads.take(ARCHIVE, one.id, 0, coming())


async def test_a_named_system_gets_it_as_routes_reach_it(site: Site, desk: Redistribution):
    """The journal is reached through a gateway, so it is pushed there; trace and rows say who, where and why."""
    seen = await hand(site)
    sent = await send_on(desk, seen, system=JOURNAL)
    (one,) = sent.deliveries
    assert (one.receiver, one.gateway, one.rule) == (JOURNAL, "paper", "redistributed")
    assert {d.receiver: d.state for d in site.deliveries()} == {ARCHIVE: State.REJECTED, JOURNAL: State.READY}
    event, facts = site.trace(seen.parcel.id)[-1]
    assert event == "redistributed"
    assert (facts["from"], facts["receivers"], facts["by"]) == (ARCHIVE, [JOURNAL], ARCHIVE)
    assert (facts["code"], facts["reason"]) == ("wrong-office", "for another office")
    assert site.alarms() == []
    assert site.chain_fault() is None


async def test_who_comes_for_it_is_told_at_once(site: Site, desk: Redistribution):
    """A system that no route reaches comes for it."""
    told: list[Box] = []
    site.runtime.on_mail = told.extend
    change(
        site,
        ServiceAgreement(id="posts", integration="letters", system=SENDER, may="receive"),
    )
    seen = await hand(site)
    await send_on(desk, seen, system=SENDER)
    assert (SENDER, "") in told


async def test_by_the_rules_it_goes_to_nobody_who_had_it(site: Site, desk: Redistribution):
    """With none left it is held in the residual mailbox, with an alarm in the same commit."""
    seen = await hand(site)
    sent = await send_on(desk, seen)
    assert [d.receiver for d in sent.deliveries] == [RESIDUAL]
    assert sent.cause == "no route matches"
    assert [a.code for a in site.alarms()] == ["residual"]
    change(site, Route.model_validate({"id": "towards", "match": {"type": "leaflet"}, "to": [{"system": JOURNAL}]}))
    (second,) = (await send_on(desk, await hand(site))).deliveries
    assert (second.receiver, second.rule) == (JOURNAL, "towards")


async def test_a_function_needs_one_system_that_serves_it(site: Site, desk: Redistribution):
    """None, several, and only whoever has it, are refused."""
    seen = await hand(site)
    for functions in ({ARCHIVE: ("forms",)}, {SENDER: ("forms",)}):
        change(site, *(System(id=n, authority="birkelund", functions=f) for n, f in functions.items()))
        with pytest.raises(Refused, match="no other system"):
            await send_on(desk, seen, function="forms")
    change(site, System(id=JOURNAL, authority="birkelund", functions=("forms",)))
    assert [d.receiver for d in (await send_on(desk, seen, function="forms")).deliveries] == [JOURNAL]
    change(site, ServiceAgreement(id="posts", integration="letters", system=SENDER, may="receive"))
    with pytest.raises(Refused, match="several systems"):
        await send_on(desk, await hand(site), function="forms")


async def test_what_cannot_go_on_is_refused_with_the_cause(site: Site, desk: Redistribution):
    """To oneself, without an agreement, twice, and with an upload that nobody needs."""
    seen = await hand(site)
    with pytest.raises(Refused, match="is who has it"):
        await send_on(desk, seen, system=ARCHIVE)
    for name in (SENDER, "nobody"):
        with pytest.raises(Refused, match="no system of that name has a service agreement"):
            await send_on(desk, seen, system=name)
    with pytest.raises(Refused, match="leave the upload out"):
        await send_on(desk, seen, await uploaded(site, b"x"), system=JOURNAL)
    await send_on(desk, seen, system=JOURNAL)
    with pytest.raises(WrongState, match="meanwhile"):  # by what was seen before
        await send_on(desk, seen, system=JOURNAL)
    with pytest.raises(WrongState, match="rejected"):
        await send_on(desk, await Handing(site.runtime).look(seen.parcel.id, None), system=JOURNAL)


@pytest.mark.requirement("R40")
async def test_what_belongs_to_it_goes_with_it(site: Site, desk: Redistribution):
    """In the same commit, to the same system; what that one has already is not sent twice, and what is settled stays."""
    mine, both = await hand(site), await hand(site, kind="circular")
    references = tuple(Reference(kind="parcel", id=one.parcel.id) for one in (mine, both))
    form = await hand(site, references=references)
    await send_on(desk, form, system=JOURNAL)
    stand = {(d.parcel_id, d.receiver): d.state for d in site.deliveries()}
    for one in (mine, form, both):
        assert (stand[one.parcel.id, ARCHIVE], stand[one.parcel.id, JOURNAL]) == (State.REJECTED, State.READY)
    assert len(stand) == 6
    assert site.trace(both.parcel.id)[-1][1]["receivers"] == []
    change(site, Integration.model_validate({"id": "others", "types": ["stray"]}))
    for name, may in ((SENDER, "send"), (ARCHIVE, "receive")):
        change(site, ServiceAgreement(id=f"others-{name}", integration="others", system=name, may=may))
    change(site, Route.model_validate({"id": "strays", "match": {"type": "stray"}, "to": [{"system": ARCHIVE}]}))
    stray = site.make(description=Description(type="stray", sender=SENDER), integration="others")
    await site.kernel.accept(site.item(stray))
    with_it = await hand(site, references=(Reference(kind="parcel", id=stray.id),))
    with pytest.raises(Refused, match="under others"):  # the journal may have the form, and not what belongs to it
        await send_on(desk, with_it, system=JOURNAL)
    settled = await hand(site)
    await Handing(site.runtime).say(settled, settled.of(ARCHIVE), Level.BUSINESS, Verdict.ACCEPTED, b"", Said("x"))
    other = await hand(site, references=(Reference(kind="parcel", id=settled.parcel.id),))
    await send_on(desk, other, system=JOURNAL)
    assert (await Handing(site.runtime).look(settled.parcel.id, None)).rows[0].state == "accepted"


@pytest.mark.requirement("R65")
async def test_what_is_sealed_is_sealed_anew_or_stays(site: Site, desk: Redistribution):
    """The new parcel has the subjects, refers to the first, and is from whoever could open it; the upload is gone."""
    seen = await hand(site, degree="encrypted", subjects=("person-1",), correlation_id="c-1")
    with pytest.raises(Refused) as caught:
        await send_on(desk, seen, system=JOURNAL)
    assert str(caught.value) == RESEAL
    with pytest.raises(WrongState, match="not finished"):
        await send_on(desk, seen, await uploaded(site, b"x", finished=False), system=JOURNAL)
    with pytest.raises(Invalid, match="upload: is not sealed"):
        await send_on(desk, seen, await uploaded(site, b"in clear"), system=JOURNAL)
    first, second = (
        b"".join(seal([octets * 20_000], [holder("p256").certificate])) for octets in (b"anew ", b"again ")
    )
    anew = await uploaded(site, first)
    sent = await send_on(desk, seen, anew, system=JOURNAL)
    found = (await Handing(site.runtime).look(sent.parcel_id, None)).parcel
    description = found.description
    assert (found.sender, description.correlation_id, description.degree) == (ARCHIVE, "c-1", "encrypted")
    assert [(one.kind, one.id) for one in description.references] == [("redistributed", seen.parcel.id)]
    assert site.kernel.subjects(found) == ("person-1",)
    assert b"".join(site.kernel.read_now(found, found.payloads[0])) == first
    assert site.trace(sent.parcel_id)[0][1]["redistributes"] == seen.parcel.id
    assert site.trace(seen.parcel.id)[-1][1]["as"] == sent.parcel_id
    with pytest.raises(NotFound):
        await Uploads(site.runtime).look(ARCHIVE, anew.id)
    before = len(site.objects())
    more = await uploaded(site, second)
    with pytest.raises(WrongState):
        await send_on(desk, seen, more, system=JOURNAL)
    await until(lambda: len(site.objects()) == before + 1, "what was put together for nothing is gone")


async def test_sealed_anew_it_keeps_to_its_integration(site: Site, desk: Redistribution):
    """No larger than it allows; and one that is gone allows nothing."""
    seen, anew = await hand(site, degree="encrypted"), await uploaded(site, b"12345678")
    change(site, Integration.model_validate({"id": "letters", "types": ["leaflet"], "max_size": 7}))
    with pytest.raises(TooLarge):
        await send_on(desk, seen, anew, system=JOURNAL)
    change(site, without={"integration": "letters"})
    with pytest.raises(Refused, match="no longer"):
        await send_on(desk, seen, anew, system=JOURNAL)
    assert site.incoming() == []


# --- the residual mailbox ---------------------------------------------------------------------------------------------


async def test_the_residual_mailbox_says_what_each_rule_thinks(site: Site, desk: Redistribution):
    """Of the rules that may be about it, under the configuration of now."""
    change(site, Route.model_validate({"id": "others", "integration": "others", "to": [{"system": JOURNAL}]}))
    seen = await hand(site, kind="stray")
    (left,) = await desk.residual(None, "", 10)
    assert left.parcel.id == seen.parcel.id
    said = {one.route: one.matched for one in left.verdicts}
    assert (said["to-journal"], "others" in said) == (False, False)
    assert await desk.residual(["others"], "", 10) == []
    assert await desk.residual(None, left.row.id, 10) == []


async def test_out_of_the_residual_mailbox_by_the_rules_or_by_name(site: Site, desk: Redistribution):
    """Nothing happens where nobody takes it; the trace says who; and of two operators one is told that it has gone."""
    parcel = (await hand(site, kind="stray")).parcel
    (left,) = await desk.residual(None, "", 10)
    row, held = await desk.held(left.row.id)
    assert held == parcel or held.id == parcel.id
    sent = await desk.route(row, held, Goal(), WHY)
    assert (sent.deliveries, sent.cause) == ((), "no route matches")
    change(site, Route.model_validate({"id": "strays", "match": {"type": "stray"}, "to": [{"system": ARCHIVE}]}))
    (one,) = (await desk.route(row, held, Goal(), WHY)).deliveries
    assert (one.receiver, one.rule) == (ARCHIVE, "strays")
    event, facts = site.trace(parcel.id)[-1]
    assert (event, facts["by"], facts["reason"]) == ("redirected", ARCHIVE, "for another office")
    with pytest.raises(WrongState):
        await desk.route(row, held, Goal(system=JOURNAL), WHY)
    with pytest.raises(NotFound):
        await desk.held(row.id)
    with pytest.raises(NotFound):
        await desk.held("0" * 32)
    (second,) = [left for left in [await hand(site, kind="astray")] if left.rows[0].receiver == RESIDUAL]
    row, held = await desk.held(second.rows[0].id)
    assert [d.receiver for d in (await desk.route(row, held, Goal(system=JOURNAL), WHY)).deliveries] == [JOURNAL]
