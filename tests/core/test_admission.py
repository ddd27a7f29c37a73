"""The door: content and enrichment of what a node accepts, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from core import enrichment, limits
from core.admission import Admission
from core.clock import MINUTE
from core.config import KERNEL_KINDS, Configuration
from core.delivery import State
from core.description import Classification, Description
from core.enrichment import Additions, Context, Table
from core.errors import EnrichmentFailed, Invalid, NotAllowed, PayloadError
from core.integration import Integration
from core.lists import ValueList
from core.operations import Operations
from core.parcel import Parcel
from core.seal.sealing import seal
from core.subscription import Subscription
from tests.core.nodes import ARCHIVE, JOURNAL, SENDER, Site
from tests.core.seal.holders import holder

CANARY = "Canary-7"
XSD = (
    b'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="a"><xs:complexType><xs:sequence>'
    b'<xs:element name="n" type="xs:int" maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element></xs:schema>'
)
SEALED = b"".join(seal([b"Dear neighbour,"], [holder("p256").certificate]))
KNOWN = {"degree": "known", "contract": {"format": "xsd", "file": "a.xsd", "version": "3"}}
TABLE = {
    "id": "units",
    "key": {"field": "type"},
    "rows": {"stray": {"classifications": [{"scheme": "unit", "code": "751"}], "attributes": {"unit.name": CANARY}}},
}
ROUTE = {"kind": "route", "id": "by-unit", "match": {"classification": {"unit": "751"}}, "to": [{"system": ARCHIVE}]}
BY_TABLE = {"enrichment": [{"step": "table", "settings": {"table": "units"}}]}


def change(site: Site, *documents: dict[str, Any], **integration: Any) -> Configuration:
    """The configuration in force with the integration changed and more documents."""
    old = site.runtime.configuration
    made = {kind: dict(held) for kind, held in old.documents.items()}
    letters = made["integration"]["letters"].model_dump() | integration
    made["integration"]["letters"] = Integration.model_validate(letters)
    for document in documents:
        made.setdefault(document["kind"], {})[document["id"]] = KERNEL_KINDS[document["kind"]].model_validate(document)
    made["table"] = {"units": Table.model_validate(TABLE)}
    site.runtime.configuration = Configuration(made, {"a.xsd": XSD}, old.number + 1)
    return site.runtime.configuration


def a_letter(site: Site, *payloads: bytes, kind: str = "leaflet", degree: str = "declared", **changes: Any) -> Parcel:
    """A parcel whose description says its degree."""
    return site.make(*payloads, description=Description(type=kind, sender=SENDER, degree=degree, **changes))


async def accept(site: Site, parcel: Parcel) -> str:
    """Accept it; gives its id."""
    (acceptance,) = await site.kernel.accept(site.item(parcel))
    return acceptance.parcel_id


def events(site: Site, parcel_id: str, *names: str) -> list[dict[str, Any]]:
    """Facts of some events of a parcel."""
    return [facts for event, facts in site.trace(parcel_id) if event in names]


class Register:
    """A step of another package that asks something slow."""

    name: ClassVar[str] = "register"
    quick: ClassVar[bool] = False

    class Settings(BaseModel):
        """None."""

    def __init__(self, gives: Any = ()) -> None:
        self.gives, self.seen = gives, list[Context]()
        self.thread = ""
        self.may_end = threading.Event()
        self.may_end.set()

    def check(self, settings: Any, tables: Any) -> str:
        """Nothing is wrong."""
        return ""

    def enrich(self, description: Description, settings: Any, context: Context) -> Sequence[Additions]:
        """What it is told, when it is let."""
        self.seen.append(context)
        self.thread = threading.current_thread().name
        assert self.may_end.wait(10)
        if isinstance(self.gives, Exception):
            raise self.gives
        return list(self.gives)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """An installed step of another package."""
    made = Register([Additions("register of units", (Classification(scheme="unit", code="751"),))])
    monkeypatch.setattr(enrichment, "installed", lambda: {"register": made, "table": enrichment.TableStep()})
    return made


# --- content ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R22", "R58")
async def test_what_does_not_conform_is_refused_before_anything_is_stored(site: Site):
    """Small or large; nothing is kept of it, and nothing of it is said."""
    change(site, **KNOWN)
    for filling in (0, limits.CHECKED_AT_ONCE, limits.INLINE_PAYLOAD):
        octets = f"<a>{'<n>1</n>' * (filling // 8)}<n>{CANARY}</n></a>".encode()
        with pytest.raises(Invalid, match=r"is no value of the type xs:int") as caught:
            await accept(site, a_letter(site, octets, degree="known"))
        assert CANARY not in str(caught.value)
    assert (site.parcels(), site.alarms()) == ([], [])
    async with asyncio.timeout(5):
        while site.objects():
            await asyncio.sleep(0.01)


@pytest.mark.requirement("R58", "R61")
async def test_what_conforms_is_accepted_with_its_degree_and_contract_in_the_trace(site: Site):
    """Also a large one, which is judged in a thread, and one beside another in one call."""
    change(site, **KNOWN)
    large = f"<a>{'<n>1</n>' * 40_000}</a>".encode()
    for octets in (b"<a><n>1</n></a>", large):
        (facts,) = events(site, await accept(site, a_letter(site, octets, degree="known")), "accepted")
        assert (facts["degree"], facts["contract"], "warnings" in facts) == ("known", "a.xsd 3", False)
    items = [site.item(a_letter(site, octets, degree="known")) for octets in (b"<a><n>1</n></a>", b"<b/>")]
    with pytest.raises(Invalid):
        await site.kernel.accept(*items)
    assert len(site.parcels()) == 2


@pytest.mark.requirement("R61")
async def test_every_item_says_who_answers_for_it(site: Site):
    """Degree, declaration and responsible party, also where nothing is checked."""
    declaration = {"by": "Birkelund Kommune", "reference": "https://birkelund.example/declarations/7"}
    change(site, declaration=declaration, responsible={"name": "Case handling"})
    (facts,) = events(site, await accept(site, a_letter(site, b"x")), "accepted")
    assert (facts["degree"], facts["declaration"]) == ("declared", declaration["reference"])
    assert (facts["responsible"], "contract" in facts) == ("Case handling", False)
    change(site, declaration={"by": "Birkelund Kommune"})
    (facts,) = events(site, await accept(site, a_letter(site, b"x")), "accepted")
    assert facts["declaration"] == "Birkelund Kommune"


@pytest.mark.requirement("R59")
async def test_what_breaks_a_declared_schema_is_a_warning_in_the_trace(site: Site):
    """The parcel goes its way."""
    change(site, degree="declared", contract={"format": "xsd", "file": "a.xsd"})
    (facts,) = events(site, await accept(site, a_letter(site, f"<a><n>{CANARY}</n></a>".encode())), "accepted")
    assert facts["warnings"] == ["/a/n: line 1: is no value of the type xs:int"]
    assert site.delivery().receiver == ARCHIVE


@pytest.mark.requirement("R65")
async def test_a_sealed_payload_is_not_looked_into(site: Site):
    """Its degree is in the trace, and a parcel that says another is refused."""
    change(site, degree="encrypted")
    (facts,) = events(site, await accept(site, a_letter(site, SEALED, degree="encrypted")), "accepted")
    assert facts["degree"] == "encrypted"
    with pytest.raises(Invalid, match="degree: is declared in the description; letters moves encrypted payloads"):
        await accept(site, a_letter(site, b"in clear"))


async def test_no_payload_is_read_for_who_may_not_send(site: Site):
    """The cheap refusal comes first."""
    change(site, **KNOWN)
    stranger = replace(a_letter(site, b"<b/>", degree="known"), sender=JOURNAL)
    with pytest.raises(NotAllowed, match="may not send"):
        await accept(site, stranger)


async def test_a_payload_that_is_not_what_was_stored_is_not_accepted(site: Site):
    """It is compared with its digest while it is judged."""
    change(site, **KNOWN)
    parcel = a_letter(site, b"<a><n>1</n></a>", degree="known")
    payload = replace(parcel.payloads[0], sha256=bytes(32))
    with pytest.raises(PayloadError, match="does not have the digest"):
        await accept(site, replace(parcel, payloads=(payload,)))


async def test_a_contract_that_this_node_cannot_use_refuses(site: Site):
    """Nothing passes because its check could not be made."""
    change(site, degree="known", contract={"format": "xsd", "file": "gone.xsd"})
    with pytest.raises(Invalid, match=r"contract: cannot be used by this node: gone\.xsd: is no file"):
        await accept(site, a_letter(site, b"<a/>", degree="known"))


# --- enrichment -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R39", "R75", "R127")
async def test_routes_and_receivers_see_what_was_added(site: Site):
    """The trace says which rule added it, by name, and the receiver gets the values."""
    change(site, ROUTE, **BY_TABLE)
    parcel_id = await accept(site, a_letter(site, b"x", kind="stray"))
    assert [d.receiver for d in site.deliveries()] == [ARCHIVE]
    (lease,) = await site.kernel.pull(ARCHIVE, limit=1, wait=0)
    assert lease.parcel.description.attributes == {"unit.name": CANARY}
    assert lease.parcel.description.classifications == (Classification(scheme="unit", code="751"),)
    assert events(site, parcel_id, "enriched") == [
        {
            "step": "table",
            "origin": "table units: row stray",
            "added": ["classification unit 751", "attribute unit.name"],
        }
    ]
    assert CANARY not in str(site.trace(parcel_id))
    assert site.chain_fault() is None


@pytest.mark.requirement("R39")
async def test_a_step_that_fails_leads_to_the_residual_mailbox(site: Site, register: Register):
    """With an alarm and its cause; sent again when the step works, the parcel is enriched and goes its way."""
    register.gives = EnrichmentFailed("the register is closed")
    change(site, ROUTE, enrichment=[{"step": "register"}])
    parcel_id = await accept(site, a_letter(site, b"x"))
    assert (site.delivery().receiver, site.delivery().state) == ("residual", State.HELD)
    (alarm,) = site.alarms()
    assert alarm.code == "residual"
    assert "enrichment register: the register is closed" in alarm.text
    assert events(site, parcel_id, "not-enriched") == [
        {"step": "register", "cause": "the register is closed", "on_failure": "residual"}
    ]
    operations = Operations(site.runtime, site.kernel, lambda configuration: None)
    again = {"reference": parcel_id, "who": "kim"}
    (still,) = await operations.resend(again, lambda facts: None)
    assert (still["state"], still["cause"]) == ("held", "enrichment register: the register is closed")
    register.gives = [Additions("register of units", (Classification(scheme="unit", code="751"),))]
    (done,) = await operations.resend(again, lambda facts: None)
    assert (done["receiver"], done["state"]) == (ARCHIVE, "ready")
    (lease,) = await site.kernel.pull(ARCHIVE, limit=1, wait=0)
    assert lease.parcel.description.classifications == (Classification(scheme="unit", code="751"),)
    assert len(events(site, parcel_id, "enriched")) == 1


@pytest.mark.requirement("R39")
async def test_a_step_that_fails_may_let_parcels_go_on(site: Site, register: Register):
    """People are told once an hour, and each parcel's trace says so."""
    register.gives = ValueError(CANARY)
    change(site, enrichment=[{"step": "register", "on_failure": "route"}])
    ids = [await accept(site, a_letter(site, b"x")) for _ in range(3)]
    assert {d.receiver for d in site.deliveries()} == {ARCHIVE}
    (alarm,) = site.alarms()
    assert alarm.code == "enrichment"
    assert alarm.text == "enrichment register of letters: failed with ValueError; parcels go on without what it adds"
    assert all(len(events(site, one, "not-enriched")) == 1 for one in ids)
    assert CANARY not in str([site.trace(one) for one in ids])


async def test_a_slow_step_runs_in_a_thread_and_sees_the_payloads(site: Site, register: Register):
    """In clear where they are in clear."""
    change(site, ROUTE, enrichment=[{"step": "register"}])
    await accept(site, a_letter(site, b"Dear neighbour,"))
    assert register.thread == "enrichment"
    (context,) = register.seen
    assert [(c.media_type, b"".join(c.opened())) for c in context.payloads] == [("text/plain", b"Dear neighbour,")]


@pytest.mark.requirement("R65")
async def test_a_step_gets_no_payload_that_is_sealed(site: Site, register: Register):
    """It has the description alone."""
    change(site, ROUTE, enrichment=[{"step": "register"}], degree="encrypted")
    await accept(site, a_letter(site, SEALED, degree="encrypted"))
    assert register.seen[0].payloads == ()
    assert site.delivery().receiver == ARCHIVE


async def test_a_step_that_takes_too_long_is_left_behind(
    site: Site, register: Register, monkeypatch: pytest.MonkeyPatch
):
    """Those that never end are counted, and when there are too many no more are begun."""
    monkeypatch.setattr(limits, "ENRICHMENT_TIME", 50_000)
    monkeypatch.setattr(limits, "ENRICHMENTS", 1)
    admission = Admission(site.runtime)
    site.kernel.admission = admission
    change(site, enrichment=[{"step": "register"}])
    register.may_end.clear()
    first = await accept(site, a_letter(site, b"x"))
    second = await accept(site, a_letter(site, b"x"))
    assert events(site, first, "not-enriched")[0]["cause"] == "took longer than 0 seconds"
    assert events(site, second, "not-enriched")[0]["cause"] == "1 steps are under way already, and none has ended"
    assert {d.receiver for d in site.deliveries()} == {"residual"}
    register.may_end.set()
    monkeypatch.setattr(limits, "ENRICHMENT_TIME", MINUTE)
    async with asyncio.timeout(10):
        while (await admission.again(site.runtime.configuration, site.make())).entries[0].event != "enriched":
            await asyncio.sleep(0.02)


async def test_a_caller_that_goes_away_takes_no_room_with_it(site: Site, register: Register):
    """The step ends by itself, and its place is free again."""
    admission = Admission(site.runtime)
    configuration = change(site, enrichment=[{"step": "register"}])
    register.may_end.clear()
    waiting = asyncio.create_task(admission.admit(configuration, site.item(a_letter(site, b"x"))))
    while not register.seen:
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    register.may_end.set()
    assert (await admission.admit(configuration, site.item(a_letter(site, b"x")))).residual == ""


async def test_a_step_that_is_no_longer_installed_refuses_and_keeps(site: Site):
    """What comes is refused, and what lies in the residual mailbox stays there."""
    configuration = change(site, enrichment=[{"step": "register"}])
    with pytest.raises(Invalid, match=r"cannot be used by this node: letters: enrichment\.0\.step: no installed step"):
        await accept(site, a_letter(site, b"x"))
    again = await site.kernel.admission.again(configuration, site.make())
    assert again.residual.startswith("enrichment cannot be used by this node: ")


# --- notifications ----------------------------------------------------------------------------------------------------


def subscribed(site: Site, **changes: Any) -> None:
    """Letters are notifications, and the archive subscribes to those of unit 751 about somebody on a list."""
    subscription = {
        "kind": "subscription",
        "id": "archive-751",
        "system": ARCHIVE,
        "integration": "letters",
        "match": {"classification": {"unit": "751"}},
        "subjects_in": "affected",
    }
    listed = {"kind": "value-list", "id": "affected", "owner": ARCHIVE}
    assert {Subscription, ValueList} <= set(KERNEL_KINDS.values())
    change(site, subscription, listed, **({"capability": "notification", **BY_TABLE} | changes))


@pytest.mark.requirement("R39")
async def test_subscriptions_see_what_was_added_and_ask_of_lists(site: Site):
    """A list is loaded before anything is decided, so that nobody is told too little."""
    subscribed(site)
    await site.kernel.desks.values.add("affected", ["subject-1"])
    site.runtime.membership._known.clear()
    await accept(site, a_letter(site, b"x", kind="stray", subjects=("subject-1",)))
    await accept(site, a_letter(site, b"x", kind="stray", subjects=("subject-2",)))
    await accept(site, a_letter(site, b"x", subjects=("subject-1",)))
    assert [(d.receiver, d.destination) for d in site.deliveries()] == [(ARCHIVE, "archive-751")]


async def test_a_notification_whose_step_failed_waits_in_the_residual_mailbox(site: Site, register: Register):
    """Sent again, it goes to all who subscribe."""
    register.gives = EnrichmentFailed("the register is closed")
    subscribed(site, enrichment=[{"step": "register"}])
    await site.kernel.desks.values.add("affected", ["subject-1"])
    parcel_id = await accept(site, a_letter(site, b"x", subjects=("subject-1",)))
    unmatched = await accept(site, a_letter(site, b"x", subjects=("subject-2",)))
    assert [d.receiver for d in site.deliveries()] == ["residual", "residual"]
    register.gives = [Additions("register of units", (Classification(scheme="unit", code="751"),))]
    operations = Operations(site.runtime, site.kernel, lambda configuration: None)
    (done,) = await operations.resend({"reference": parcel_id, "who": "kim"}, lambda facts: None)
    assert (done["receiver"], done["state"], done["route"]) == (ARCHIVE, "ready", "archive-751")
    (still,) = await operations.resend({"reference": unmatched, "who": "kim"}, lambda facts: None)
    assert (still["state"], still["cause"]) == ("held", "no subscription matches")


async def test_a_notification_may_go_on_without(site: Site, register: Register):
    """Beside an alarm of the step."""
    register.gives = EnrichmentFailed("the register is closed")
    subscribed(site, enrichment=[{"step": "register", "on_failure": "route"}])
    await accept(site, a_letter(site, b"x", kind="stray", subjects=("subject-1",)))
    assert [alarm.code for alarm in site.alarms()] == ["enrichment"]
    assert site.deliveries() == []
