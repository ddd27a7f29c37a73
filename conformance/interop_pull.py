"""The cells of `make interop` in which the receiver asks, or in which a message is answered by another: pull and two-way.

Rules:

1. Whoever gives a message is asked what it made of the receipt; whoever takes one is asked what it stored.
2. Where phase4's own code ends, its harness goes on with phase4's client code (``peers/phase4``); a cell that leaves phase4 alone
   shows what comes of that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from conformance.channels import EVERY, IN, OUT, Channels, agreed_otherwise, estate_of, until
from conformance.estate import INTEGRATION
from conformance.pairs import Case, Cell, Deviates, Failed, Pair, cells, large_file
from conformance.peers.phase4 import Phase4
from conformance.wire import Captures
from core.ledger import parcels, trace

# --- Stafet pulls -----------------------------------------------------------------------------------------------------


def _pulled(pair: Pair, messages: Sequence[Sequence[Path]], **wanted: str) -> Channels:
    """Let the peer offer ``messages``, and compare what arrived, in which order, and what became of the receipts."""
    channels = Channels(pair)
    names = [channels.offer(files, **wanted) for files in messages]
    found = [payloads for _, payloads in channels.arrived(len(messages))]
    if found != [[f.read_bytes() for f in files] for files in messages]:
        raise Failed(f"{len(found)} parcels arrived, or other octets than were offered")
    for name in names:
        channels.receipt_held(name)
    return channels


def _one_pulled(pair: Pair) -> str:
    _pulled(pair, [Channels(pair).files()])
    return "1 payload equal; the receipt we sent on its own holds at the peer: signed, every digest repeated"


def _three_pulled(pair: Pair) -> str:
    _pulled(pair, [Channels(pair).files(3)])
    return "3 payloads equal, receipt verified by the peer"


def _large_pulled(pair: Pair) -> str:
    _pulled(pair, [large_file(pair)], media="application/octet-stream")
    return "1 payload equal, receipt verified by the peer"


def _several_pulled(pair: Pair) -> str:
    channels = Channels(pair)
    _pulled(pair, [channels.files() for _ in range(5)])
    return "five messages came one after the other, in order, each with its receipt"


def _nothing_pulled(pair: Pair) -> str:
    """The peer's EBMS:0006 is no reason to complain, and the question is put again."""
    channels = Channels(pair)
    asked = int(channels.told()["asked"])
    until("three more questions", lambda: int(channels.told()["asked"]) >= asked + 3, 30)
    if complaints := channels.logged("a partner refuses a pull") + channels.logged("pulling failed; it is tried again"):
        raise Failed(f"our log says {complaints[0]}")
    return "answered with EBMS:0006, taken as nothing waiting, asked again as agreed"


def _unknown_pulled(pair: Pair) -> str:
    channels = Channels(pair)
    with agreed_otherwise(pair, IN, f"{IN}:nobody"):
        (line, *_) = until("a line in our log", lambda: channels.logged("a partner refuses a pull"), 30)
    if line["code"] != "EBMS:0001":
        raise Failed(f"our log says {line}")
    return "answered with EBMS:0001, which our log tells with the channel and the peer's words"


def _stranger_pulls(pair: Pair) -> str:
    """We sign the question with a key that the peer was never told of."""
    channels = Channels(pair)
    keys = pair.us.home / "keys"
    shutil.copy(pair.estate.hospital.home / "keys" / "signing.pem", keys / "stranger.pem")
    try:
        with agreed_otherwise(pair, "signing_key: signing", "signing_key: stranger"):
            time.sleep(3 * EVERY)
            channels.offer(channels.files())
            handed_out = _handed_out(channels)
    finally:
        (keys / "stranger.pem").unlink()
    channels.arrived(1)
    if handed_out:
        raise Deviates(
            "hands its message to whoever signs with any certificate under its anchors: phase4 does not know which certificate"
            " belongs to which party, nor which party to a channel"
        )
    return "refused; what waits there stays there"


def _handed_out(channels: Channels) -> bool:
    asked = int(channels.told()["asked"])
    end = time.monotonic() + 5
    while time.monotonic() < end:
        said = channels.told()
        if said["waiting"] == "0":
            return True
        if int(said["asked"]) >= asked + 3:
            return False
        time.sleep(0.05)
    return False


def _native_pulled(pair: Pair) -> str:
    """phase4's own answer to a request to pull, without the harness's help."""
    channels = Channels(pair)
    name = channels.offer(channels.files(), native="true")
    said = until("our refusal at the peer", lambda: channels.told(name).get("errors"))
    raise Deviates(
        "its own answer to a pull is an unsigned, unencrypted SOAP envelope without the attachment; we refuse it:"
        f" {said}. In the other cells its client code builds the answer"
    )


def _alone_with_receipt(pair: Pair) -> str:
    """Our receipt, given to phase4's endpoint instead of to its client code."""
    channels = Channels(pair)
    name = channels.offer(channels.files(), alone="true")
    channels.arrived(1)
    said = until("an answer to our receipt", lambda: (t := channels.told(name)).get("status") and t)
    if said["heard"] == "true":
        return "its endpoint takes a receipt that comes on its own"
    raise Deviates(
        f"its endpoint answers HTTP {said['status']} to a signed receipt that comes on its own and tells its application nothing,"
        " for it knows no P-Mode for signals. In the cells above phase4's client code judges our receipts"
    )


def _unnamed_pulled(pair: Pair) -> str:
    """phase4's client code cannot say which channel a message comes from, and a message without @mpc is one of the default."""
    channels = Channels(pair)
    name = channels.offer(channels.files(), said="")
    said = until("our refusal at the peer", lambda: channels.told(name).get("errors"))
    raise Deviates(f"leaves UserMessage/@mpc out, which means the default channel; we refuse it: {said}")


# --- the peer pulls ---------------------------------------------------------------------------------------------------


def _gives(pair: Pair, files: Sequence[Path], media: str = "application/json") -> str:
    channels = Channels(pair)
    parcel = channels.give(files, media)
    channels.same(channels.message(), files)
    channels.settled(parcel)
    return f"{len(files)} payload{'s' * (len(files) != 1)} equal; its receipt, sent on its own, settles the delivery"


def _one_given(pair: Pair) -> str:
    return _gives(pair, Channels(pair).files())


def _three_given(pair: Pair) -> str:
    return _gives(pair, Channels(pair).files(3))


def _large_given(pair: Pair) -> str:
    return _gives(pair, large_file(pair), "application/octet-stream")


def _several_given(pair: Pair) -> str:
    channels = Channels(pair)
    sent = [channels.files() for _ in range(5)]
    given = [channels.give(files) for files in sent]
    for files in sent:
        channels.same(channels.message(), files)
    channels.refused("EBMS:0006", signed="true")
    for parcel in given:
        channels.settled(parcel)
    return "five messages, one a question and in order, then EBMS:0006; each settled by its receipt"


def _nothing_given(pair: Pair) -> str:
    Channels(pair).refused("EBMS:0006", signed="true")
    return "answered with EBMS:0006; the peer reads our signed error"


def _unknown_given(pair: Pair) -> str:
    """The peer demands that a channel it asks for is known to itself too, so a channel of its own is asked for here."""
    Channels(pair).refused("EBMS:0001", signed="false", mpc=IN)
    return "a channel that is not one of ours is refused with EBMS:0001, unsigned: strangers get no signature"


def _stranger_given(pair: Pair) -> str:
    channels = Channels(pair)
    files = channels.files()
    parcel = channels.give(files)
    channels.refused("EBMS:0001", signed="false", signing=str(pair.us.home / "keys" / "signing.pem"))
    if channels.state(parcel) == "delivered":
        raise Failed("the message left its channel")
    channels.same(channels.message(), files)
    channels.settled(parcel)
    return "refused with EBMS:0001 as if there were no channel; the message stays for its owner"


def _silent_given(pair: Pair) -> str:
    """What is not acknowledged is there again, under the same id; the receipt for the second counts."""
    channels = Channels(pair)
    files = channels.files()
    parcel = channels.give(files)
    first = channels.message(receipt="false")
    second = until("the second offer", lambda: channels.pull().get("message"), 20)
    channels.settled(parcel)
    if first != second:
        raise Failed(f"offered as {first}, then as {second}")
    return "without a receipt it is offered again, the same message; then its receipt settles the delivery"


# --- two-way ----------------------------------------------------------------------------------------------------------


def _frozen(pair: Pair, parcel: str) -> str:
    """The MessageId of a parcel that we sent."""
    lines = pair.look(trace.of_parcel, parcel)
    return next(str(x.facts["message"]) for x in lines if x.event == "frozen")


def _believed(channels: Channels, parcel: str, ref: str, conversation: str) -> None:
    """Raises `Failed` unless what arrived says to which message and conversation it belongs."""
    said = channels.pair.look(parcels.load, parcel).description
    found = (said.attributes.get("as4.ref-to-message-id"), said.correlation_id)
    if found != (ref, conversation):
        raise Failed(f"the reply refers to {found}, not to {(ref, conversation)}")


def _noted(channels: Channels, message: str, ref: str, conversation: str) -> None:
    said = channels.peer.facts(message)
    if (said["ref"], said["conversation"]) != (ref, conversation):
        raise Failed(f"the peer says of our reply {said}")


def _asked_by_us(channels: Channels) -> tuple[str, str]:
    """A request that we push; gives its MessageId and conversation."""
    pair, files = channels.pair, channels.files()
    message, state = pair.send(files)
    if state != "delivered":
        raise Failed(f"the request was not delivered: {state}")
    return message, channels.peer.facts(message)["conversation"]


def _asked_by_them(channels: Channels, conversation: str) -> str:
    """A request that the peer pushes; gives its MessageId as we keep it."""
    said = channels.peer.send(channels.files(), conversation=conversation, media="application/json")
    if not said.ok:
        raise Failed(f"the peer says of its request {dict(said.facts)}")
    ((parcel, _),) = channels.arrived(1)
    request = channels.pair.look(parcels.load, parcel).description
    if request.correlation_id != conversation:
        raise Failed(f"the request's conversation is kept as {request.correlation_id}")
    return str(request.attributes["as4.message-id"])


def _reply_pushed_in(pair: Pair) -> str:
    channels = Channels(pair)
    request, conversation = _asked_by_us(channels)
    said = channels.peer.send(channels.files(), ref=request, conversation=conversation, media="application/json")
    if not said.ok:
        raise Failed(f"the peer says of its reply {dict(said.facts)}")
    ((parcel, _),) = channels.arrived(1)
    _believed(channels, parcel, request, conversation)
    return "the reply names our request and its conversation; receipts both ways"


def _reply_pushed_out(pair: Pair) -> str:
    channels = Channels(pair)
    request = _asked_by_them(channels, "dialogue-1")
    args: dict[str, Any] = {"paths": [str(f) for f in channels.files()], "sender": pair.us.system}
    description = {"correlation_id": "dialogue-1", "attributes": {"as4.ref-to-message-id": request}}
    said = pair.estate.ask(pair.us, "send", **args, integration=INTEGRATION, description=description)
    channels.settled(said["parcel"])
    _noted(channels, _frozen(pair, said["parcel"]), request, "dialogue-1")
    return "our reply names its request and conversation; receipts both ways"


def _reply_pulled_in(pair: Pair) -> str:
    channels = Channels(pair)
    request, conversation = _asked_by_us(channels)
    name = channels.offer(channels.files(), ref=request, conversation=conversation)
    ((parcel, _),) = channels.arrived(1)
    _believed(channels, parcel, request, conversation)
    channels.receipt_held(name)
    return "we push the request and pull the reply, which names it and its conversation"


def _reply_pulled_out(pair: Pair) -> str:
    channels = Channels(pair)
    request = _asked_by_them(channels, "dialogue-2")
    attributes = {"as4.ref-to-message-id": request}
    parcel = channels.give(channels.files(), correlation_id="dialogue-2", attributes=attributes)
    _noted(channels, channels.message(), request, "dialogue-2")
    channels.settled(parcel)
    return "the peer pushes the request and pulls our reply, which names it and its conversation"


CASES: Final[Sequence[tuple[str, str, Case]]] = (
    ("Stafet pulls", "one payload, 3.75 kB", _one_pulled),
    ("Stafet pulls", "three payloads", _three_pulled),
    ("Stafet pulls", "100 MiB", _large_pulled),
    ("Stafet pulls", "five messages are waiting", _several_pulled),
    ("Stafet pulls", "an empty channel", _nothing_pulled),
    ("Stafet pulls", "a channel that the peer does not know", _unknown_pulled),
    ("Stafet pulls", "with another key than the agreed one", _stranger_pulls),
    ("Stafet pulls", "a message that does not say its channel", _unnamed_pulled),
    ("Stafet pulls", "phase4's own answer, left as it is", _native_pulled),
    ("Stafet pulls", "phase4's endpoint is given our receipt", _alone_with_receipt),
    ("phase4 pulls", "one payload, 3.75 kB", _one_given),
    ("phase4 pulls", "three payloads", _three_given),
    ("phase4 pulls", "100 MiB", _large_given),
    ("phase4 pulls", "five messages are waiting", _several_given),
    ("phase4 pulls", "an empty channel", _nothing_given),
    ("phase4 pulls", "a channel that was not agreed", _unknown_given),
    ("phase4 pulls", "with another key than the agreed one", _stranger_given),
    ("phase4 pulls", "and sends no receipt the first time", _silent_given),
    ("Two-way, push and push", "Stafet asks, phase4 replies", _reply_pushed_in),
    ("Two-way, push and push", "phase4 asks, Stafet replies", _reply_pushed_out),
    ("Two-way, push and pull", "Stafet asks, and pulls the reply", _reply_pulled_in),
    ("Two-way, push and pull", "phase4 asks, and pulls the reply", _reply_pulled_out),
)


def run(root: Path, profiles: Sequence[str], say: Callable[[Cell], None], shown: Path) -> list[Cell]:
    """Every cell of pull and two-way, profile by profile; as `conformance.interop_push.run`."""
    found = []
    for profile in profiles:
        estate = estate_of(root / f"pull-{profile}", profile)
        peer, captures = Phase4(estate, profile, channels=f"{OUT},{IN}"), Captures(estate, shown)
        try:
            estate.start(estate.municipality)
            pair = Pair(estate, peer)
            for cell in cells(pair, profile, CASES, captures):
                say(cell)
                found.append(cell)
        finally:
            peer.stop()
            estate.stop_all()
            captures.stop()
    return found
