"""What a partner's file says of a partner who does it otherwise: how repetitions are answered, how long an answer takes, names.

A `Peer` stands where the hospital should be, and answers what it is told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from accesspoint import ebms, limits, names
from accesspoint.errors import CATALOGUE, OTHER, CatalogueEntry, EbmsError
from accesspoint.profiles import EDELIVERY_1_15
from accesspoint.receipts import error_xml
from accesspoint.signals import unsigned_error
from conformance.estate import FILES, INTEGRATION, SERVICE, SERVICE_TYPE
from conformance.pki import write
from core.clock import SystemClock
from core.ledger import parcels
from core.ledger.tables import frozen, receipt
from core.receipt import Level, Verdict
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, authority, count, edit, stranger
from tests.gateways.as4.running import (
    SMALL,
    Door,
    Line,
    Peer,
    Request,
    Script,
    applied,
    busy,
    failed_with,
    handed_over,
    in_state,
    mailbox,
    plain_http,
    response,
    row,
    running,
    told,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DUPLICATE = CATALOGUE["EBMS:4001"]
ALREADY = "Not invoking SPIs, because the message was already handled (this is a duplicate)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_file(tmp_path_factory: pytest.TempPathFactory, template) -> AsyncIterator[Line]:
    """A municipality whose partner answers repetitions with an error."""
    estate = CopiedEstate(tmp_path_factory.mktemp("line"), retry_first=0.05, retry_longest=0.1, template=template)
    estate.make()
    plain_http(estate, answers_duplicates="error")
    peer = Peer(estate)
    async with peer.listening(), running(estate.municipality.home) as (node,):
        yield Line(estate, node, peer)


# --- repetitions that are answered with an error ----------------------------------------------------------------------


def _errors(peer: Peer, request: Request, *errors: tuple[CatalogueEntry, str], **how: object) -> bytes:
    """A signed signal with these errors about a request, each with its cause."""
    message_id = str(how.pop("about", "")) or peer.read(request)[0].message.message_id
    content = b"".join(
        error_xml(EbmsError(e, field="message", cause=c, ref_to_message_id=message_id)) for e, c in errors
    )
    return peer.signal(content, message_id, **how)  # type: ignore[arg-type]


def _have_it(peer: Peer) -> Script:
    return lambda request: response(_errors(peer, request, (DUPLICATE, "they have it")))


@pytest.mark.parametrize(
    ("entry", "cause"), [(DUPLICATE, "a duplicate"), (OTHER, ALREADY), (OTHER, "ALREADY received"), (DUPLICATE, "")]
)
async def test_that_they_have_it_already_settles_what_was_sent_before(line: Line, entry: CatalogueEntry, cause: str):
    """Their signed error is the evidence, kept octet for octet, and the trace says why it counts."""
    peer, said = line.peer, list[bytes]()

    def again(request: Request) -> bytes:
        said.append(_errors(peer, request, (entry, cause)))
        return response(said[-1])

    peer.script = [busy, again]
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    assert (delivery.attempts, len(said)) == (2, 1)
    (kept,) = line.kept(receipt, delivery.id)
    assert (kept.raw, kept.level, kept.verdict) == (said[0], Level.TRANSPORT.value, Verdict.ACCEPTED.value)
    assert kept.outside_id == peer.read(peer.requests[0])[0].message.message_id
    (facts,) = told(line.node.runtime, parcel, "acknowledged")
    assert "have this message already" in facts["cause"]


async def test_a_first_attempt_is_never_settled_by_it(line: Line):
    """Nobody can have what was not sent before; said again of the second attempt, it counts."""
    peer = line.peer
    peer.script = [_have_it(peer), peer.accept]
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    assert told(line.node.runtime, parcel, "retry")[0]["code"] == "EBMS:4001"
    (kept,) = line.kept(receipt, delivery.id)
    assert b":Receipt" in kept.raw
    peer.script = [_have_it(peer)]
    delivery = await in_state(line.node, await line.hand_over(), "delivered")
    assert delivery.attempts == 2


def _unsigned(peer: Peer, request: Request) -> bytes:
    message_id = peer.read(request)[0].message.message_id
    error = EbmsError(DUPLICATE, field="message", cause="", ref_to_message_id=message_id)
    return unsigned_error(error, message_id="e@hospital.example", timestamp=SystemClock().now())


NOT_ENOUGH: dict[str, tuple[str, Callable[[Peer, Request], bytes]]] = {
    "unsigned": ("EBMS:4001", _unsigned),
    "signed by a stranger": ("EBMS:4001", lambda p, r: _errors(p, r, (DUPLICATE, ""), identity=stranger())),
    "about another message": ("EBMS:4001", lambda p, r: _errors(p, r, (DUPLICATE, ""), about="m-0@x.example")),
    "with another error behind it": (
        "EBMS:4001",
        lambda p, r: _errors(p, r, (DUPLICATE, ""), (CATALOGUE["EBMS:0102"], "x")),
    ),
    "with another error before it": (
        "EBMS:0102",
        lambda p, r: _errors(p, r, (CATALOGUE["EBMS:0102"], "x"), (OTHER, ALREADY)),
    ),
    "another word for it": ("EBMS:0004", lambda p, r: _errors(p, r, (OTHER, "the store is full"))),
    "another code with the word": ("EBMS:0202", lambda p, r: _errors(p, r, (CATALOGUE["EBMS:0202"], ALREADY))),
}


@pytest.mark.parametrize("what", NOT_ENOUGH)
async def test_nothing_less_than_that_settles(line: Line, what: str):
    """It is tried again, and what settles it is the receipt."""
    code, make = NOT_ENOUGH[what]
    peer = line.peer
    peer.script = [busy, lambda r: response(make(peer, r))]
    parcel = await line.hand_over()
    delivery = await failed_with(line.node, parcel, code)
    assert (delivery.state, line.kept(receipt, delivery.id)) == ("ready", [])
    peer.script = [peer.accept]
    delivery = await in_state(line.node, parcel, "delivered")
    (kept,) = line.kept(receipt, delivery.id)
    assert b":Receipt" in kept.raw


async def test_after_another_error_of_theirs_it_is_doubted(line: Line):
    """They may have noted the id of what they then could not keep: only a receipt settles, however often they say it."""
    peer = line.peer
    peer.script = [lambda r: response(_errors(peer, r, (OTHER, "the store is full"))), _have_it(peer)]
    parcel = await line.hand_over()
    await failed_with(line.node, parcel, "EBMS:4001")
    await until(lambda: row(line.node.runtime, parcel).attempts > 3, "further attempts")
    delivery = row(line.node.runtime, parcel)
    assert (delivery.state, line.kept(receipt, delivery.id)) == ("ready", [])
    assert len(line.kept(frozen, delivery.id)) == 2, "it is written down once"
    assert "will not count as a receipt" in told(line.node.runtime, parcel, "frozen")[1]["cause"]
    assert len({(request.content_type, request.body) for request in peer.requests}) == 1, "no octet changes for it"
    peer.script = [peer.accept]
    await in_state(line.node, parcel, "delivered")


async def test_a_doubt_outlives_a_restart(estate: CopiedEstate):
    """It lies with what was frozen."""
    plain_http(estate, answers_duplicates="error")
    peer = Peer(estate)
    peer.script = [lambda r: response(_errors(peer, r, (CATALOGUE["EBMS:0202"], "the system is away"))), busy]
    async with peer.listening():
        async with running(estate.municipality.home) as (node,):
            parcel = await handed_over(node, SMALL)
            await until(lambda: len(peer.requests) >= 2, "two attempts")
        peer.script = [_have_it(peer)]
        async with running(estate.municipality.home) as (node,):
            await failed_with(node, parcel, "EBMS:4001")
            assert count(node.runtime, "receipt") == 0
            peer.script = [peer.accept]
            await in_state(node, parcel, "delivered")


async def test_where_it_is_not_agreed_an_error_is_never_a_receipt(estate: CopiedEstate):
    """What holds when a partner's file says nothing."""
    plain_http(estate)
    peer = Peer(estate)
    peer.script = [busy, _have_it(peer)]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        await until(lambda: row(node.runtime, parcel).attempts > 3, "further attempts")
        assert row(node.runtime, parcel).state == "ready"
        assert (count(node.runtime, "receipt"), count(node.runtime, "frozen")) == (0, 1)
        peer.script = [peer.accept]
        await in_state(node, parcel, "delivered")


# --- how long an answer may take --------------------------------------------------------------------------------------


async def test_a_partner_may_be_given_less_time_to_answer(estate: CopiedEstate):
    """The limit for everybody is a minute; this one is given up at once and asked again."""
    plain_http(estate, answer_within=0.2)
    peer = Peer(estate, pause=30)
    peer.script = [peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        await failed_with(node, parcel, "timeout", wait=10)
        peer.pause = 0
        await in_state(node, parcel, "delivered")


async def test_a_partner_may_be_given_more_time_to_answer(estate: CopiedEstate, monkeypatch: pytest.MonkeyPatch):
    """Others are given up by then; this one is heard at the first attempt."""
    monkeypatch.setattr(limits, "READ_TIMEOUT", 0.2)
    plain_http(estate, answer_within=15)
    peer = Peer(estate, pause=0.6)
    peer.script = [peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        delivery = await in_state(node, parcel, "delivered")
        assert (delivery.attempts, len(peer.requests)) == (1, 1)


# --- names and algorithms ---------------------------------------------------------------------------------------------


def _exchanges(**fields: str) -> list[dict[str, object]]:
    services = [{"value": SERVICE, "type": SERVICE_TYPE} for _ in range(2)]
    return [
        {"integration": INTEGRATION, "service": services[0], "action": "tell"},
        {"integration": FILES, "service": services[1], "action": "deliver-file", **fields},
    ]


def _agree(estate: CopiedEstate, ours: str, theirs: str) -> None:
    for one, name in ((estate.municipality, ours), (estate.hospital, theirs)):
        edit(one.home, "as4.yaml", "as4.partner", agreement={"value": "urn:demo:a"}, exchanges=_exchanges(pmode=name))


async def test_the_name_of_a_pmode_is_sent_and_known(estate: CopiedEstate):
    """Both sides call the exchange the same: it stands in AgreementRef/@pmode, and the message is taken."""
    _agree(estate, "files-1", "files-1")
    plain_http(estate)
    peer = Peer(estate)
    peer.script = [peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        await in_state(node, await handed_over(node, SMALL), "delivered")
    said, _ = peer.read(peer.requests[0])
    assert (said.message.agreement, said.message.pmode) == (ebms.Typed("urn:demo:a"), "files-1")
    assert (said.pmode.name, said.pmode.integration) == ("files-1", FILES)


async def test_another_name_of_a_pmode_is_refused(estate: CopiedEstate):
    """With both names, for good; and one side may leave it unsaid."""
    _agree(estate, "files-1", "files-2")
    async with running(estate.municipality.home, estate.hospital.home) as (city, hospital):
        delivery = await in_state(city, await handed_over(city, SMALL), "rejected")
        assert delivery.last_code == "EBMS:0010"
        for word in ("AgreementRef/@pmode", "files-1", "files-2"):
            assert word in delivery.last_reason
        edit(estate.hospital.home, "as4.yaml", "as4.partner", exchanges=_exchanges())
        await applied(hospital)
        await in_state(city, await handed_over(city, SMALL), "delivered")


async def test_names_without_a_type_are_exchanged_where_they_are_agreed(estate: CopiedEstate):
    """Parties, service and agreement, both ways: in the header they stand as they are written in the file."""
    for one in estate.both:
        edit(one.home, "as4.yaml", "as4.party", party_id={"value": one.authority})
        exchanges = [{**e, "service": {"value": "homecare"}} for e in _exchanges()]
        more = {"party_id": {"value": estate.other(one).authority}, "agreement": {"value": "agreement 1"}}
        edit(one.home, "as4.yaml", "as4.partner", untyped_names=True, exchanges=exchanges, **more)
    async with running(estate.municipality.home, estate.hospital.home) as (city, hospital):
        parcel = await handed_over(city, SMALL)
        await in_state(city, parcel, "delivered")
        (arrived,) = mailbox(hospital.runtime)
        (facts,) = told(hospital.runtime, arrived, "accepted")
        assert facts["from"] == "demo-municipality"
        parcel = hospital.runtime.read_now(parcels.load, arrived)
        assert parcel.description.attributes["as4.service"] == "homecare"


async def test_an_algorithm_that_is_also_accepted_is_taken_and_answered_in_the_profiles_own(estate: CopiedEstate):
    """A message signed with Ed25519 beside the 1.15 profile; the receipt is signed with RSA."""
    made = authority().issue("Demo Municipality signing Ed25519", "signing", kind="ed25519")
    write(estate.hospital.home / "config" / "certificates" / "ed.pem", made.certificate_pem())
    certificates = ["certificates/ed.pem", "certificates/municipality-signing.pem"]
    edit(
        estate.hospital.home,
        "as4.yaml",
        "as4.partner",
        signing_certificates=certificates,
        also_accept=["eddsa-ed25519"],
    )
    sender = OtherSender(estate)
    otherwise = replace(sender.pmode, profile=replace(EDELIVERY_1_15, signatures=(names.ED25519,)))
    async with running(estate.hospital.home) as (node,):
        door = Door(estate, node, sender)
        sent = sender.message(identity=made, pmode=otherwise)
        got = await door.post(sent)
        door.acknowledged(replace(sent, pmode=sender.pmode), got)
        with pytest.raises(EbmsError, match="SignatureMethod"):
            door.acknowledged(sent, got)
        plain = sender.message()
        door.acknowledged(plain, await door.post(plain))


async def test_an_algorithm_that_is_not_accepted_is_refused(estate: CopiedEstate):
    """The same message where the file says nothing of it."""
    made = authority().issue("Demo Municipality signing Ed25519", "signing", kind="ed25519")
    sender = OtherSender(estate)
    otherwise = replace(sender.pmode, profile=replace(EDELIVERY_1_15, signatures=(names.ED25519,)))
    async with running(estate.hospital.home) as (node,):
        door = Door(estate, node, sender)
        sent = sender.message(identity=made, pmode=otherwise)
        error = door.refused(replace(sent, pmode=sender.pmode), await door.post(sent))
        assert error.code == "EBMS:0103" and error.description.startswith("SignatureMethod")
