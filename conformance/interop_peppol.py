"""What is exchanged with a peer of the profile ``peppol``: documents, one each, between participants.

The peer makes documents of what it is given, so what it says it sent is compared with what arrived.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from accesspoint.ebms import Party, Property, Typed
from accesspoint.errors import RemoteError
from accesspoint.names import (
    FINAL_RECIPIENT,
    INITIATOR,
    ORIGINAL_SENDER,
    PARTICIPANTS,
    PEPPOL_AGREEMENT,
    PEPPOL_NOT_SERVICED,
    PEPPOL_PARTY,
    PEPPOL_PROCESSES,
    RESPONDER,
)
from conformance.pairs import Cell, Deviates, Failed, Pair, cells
from conformance.peer import Peer, Sent
from conformance.peers.as4_package import Answer, As4Package
from conformance.peppol import NOTE, PARTICIPANT, PROCESS, PeppolEstate, document, note
from conformance.pki import Authority, write
from conformance.wire import Captures

SIZE: Final = 1875
LARGE: Final = 10 * 1024 * 1024
XML: Final = "application/xml"


class PeppolPair(Pair):
    """Stafet and a running access point around the package."""

    peer: As4Package
    estate: PeppolEstate

    def document(self, name: str, size: int, receiver: str = "hospital") -> Path:
        """A document of ours with a fictitious note in it; ``size`` octets of noise, twice as long in it."""
        ours, theirs = PARTICIPANT["municipality"], PARTICIPANT.get(receiver, receiver)
        return self.file(name, document(ours, theirs, note(os.urandom(size)), f"document-{os.urandom(8).hex()}"))

    def content(self, name: str, size: int) -> Path:
        """What the peer puts into a document of its own."""
        return self.file(name, note(os.urandom(size)))

    def answered(self, file: Path, **wanted: str) -> Answer:
        """Have the peer send."""
        return self.peer.send([file], **wanted)

    def whole(self, name: str, size: int, **wanted: str) -> str:
        """Have the peer send a document, and compare it with what we hold."""
        said = self.answered(self.content(name, size), **wanted)
        if not said.ok:
            raise Failed(f"the peer says {dict(said.facts)}")
        if self.taken() != [[said.sent.read_bytes()]]:
            raise Failed("other octets arrived than were sent")
        return "peer verified our receipt, the document equal"

    def refused(self, code: str, file: Path, **wanted: str) -> Answer:
        """Have the peer send what must be refused; the peer has read our signed error, and nothing has arrived."""
        said = self.answered(file, **wanted)
        if (said.facts.get("state"), said.facts.get("errors")) != ("rejected", code) or self.taken():
            raise Failed(f"the peer says {dict(said.facts)}")
        return said


class OtherSender(Peer):
    """The municipality without its node: for what a node would never send."""

    def __init__(self, estate: PeppolEstate) -> None:
        super().__init__(estate)
        us, them = (Typed(one.authority, PEPPOL_PARTY) for one in estate.both)
        self.pmode = replace(
            self.pmode,
            us=Party(us, INITIATOR),
            them=Party(them, RESPONDER),
            service=Typed(PROCESS, PEPPOL_PROCESSES),
            action=f"busdox-docid-qns::{NOTE}",
            agreement=Typed(PEPPOL_AGREEMENT),
        )

    def of(self, file: Path) -> Sent:
        """A message with the document in a file."""
        pairs = ((ORIGINAL_SENDER, "municipality"), (FINAL_RECIPIENT, "hospital"))
        corners = tuple(Property(name, PARTICIPANT[one], PARTICIPANTS) for name, one in pairs)
        return self.message([file.read_bytes()], properties=corners, media_type=XML)

    def error(self, sent: Sent) -> str:
        """The code they answer ``sent`` with, which must be signed by them; "" for a receipt."""
        try:
            self.judge(sent, asyncio.run(self.post(sent)))
        except RemoteError as error:
            if not error.authenticated:
                raise Failed(f"an unsigned error: {error}") from None
            return error.errors[0].code
        return ""


# --- cases ------------------------------------------------------------------------------------------------------------


def _one_out(pair: PeppolPair) -> str:
    return pair.delivered([pair.document("note.xml", SIZE)], XML)


def _large_out(pair: PeppolPair) -> str:
    return pair.delivered([pair.document("large.xml", LARGE // 2)], XML)


def _again_out(pair: PeppolPair) -> str:
    """The same octets twice, as after a receipt that was lost."""
    sender = OtherSender(pair.estate)
    sent = sender.of(pair.document("again.xml", SIZE))
    if sender.error(sent) or sender.error(sent):
        raise Failed("the repetition is answered with an error")
    if pair.peer.times(sent.message.message_id) != 1:
        raise Deviates("answers with a receipt each time; it keeps no register of messages, and would deliver it twice")
    return "answered with a receipt again"


def _stranger_out(pair: PeppolPair) -> str:
    """They believe another authority than ours."""
    certificates = pair.us.home / "config" / "certificates"
    other = pair.estate.root / "other-authority.pem"
    write(other, Authority("Another demo CA", pair.estate.at).pem())
    pair.peer.ask("trust", path=str(other))
    try:
        _, state = pair.send([pair.document("stranger.xml", SIZE)], XML)
    finally:
        pair.peer.ask("trust", path=str(certificates / "demo-ca.pem"))
    if not state.startswith("EBMS:0101"):
        raise Failed(f"answered {state}")
    return "refused with EBMS:0101; their signed error ends the delivery"


def _tampered_out(pair: PeppolPair) -> str:
    """An octet of the encrypted payload is changed on the way."""
    sender = OtherSender(pair.estate)
    sent = sender.of(pair.document("tampered.xml", SIZE))
    at = len(sent.body) - 200
    code = sender.error(replace(sent, body=sent.body[:at] + bytes([sent.body[at] ^ 1]) + sent.body[at + 1 :]))
    if code != "EBMS:0102":
        raise Failed(f"answered {code or 'a receipt'}")
    return "refused with a signed EBMS:0102"


def _not_serviced_out(pair: PeppolPair) -> str:
    _, state = pair.send([pair.document("unknown.xml", SIZE, "0088:5790000000999")], XML)
    if not state.startswith("EBMS:0004") or "is not serviced by this access point" not in state:
        raise Failed(f"answered {state}")
    return "refused with EBMS:0004; their signed error ends the delivery"


def _ping_out(pair: PeppolPair) -> str:
    said = pair.estate.ask(pair.us, "as4.ping", partner=pair.estate.hospital.name)
    if "receipt" in said:
        return "answered with a signed receipt"
    raise Deviates(f"takes no message without a payload: answers {said['code']}: {said['reason']}")


def _one_in(pair: PeppolPair) -> str:
    return pair.whole("note.xml", SIZE)


def _large_in(pair: PeppolPair) -> str:
    return pair.whole("large.xml", LARGE // 2)


def _again_in(pair: PeppolPair) -> str:
    return pair.whole("again.xml", SIZE, repeated="yes").replace("receipt", "receipt both times")


def _reused_in(pair: PeppolPair) -> str:
    """The peer makes its document anew under the same MessageId."""
    file = pair.content("twice.xml", SIZE)
    first = pair.answered(file, id="twice@peer.example")
    if not first.ok or pair.taken() != [[first.sent.read_bytes()]]:
        raise Failed(f"the peer says {dict(first.facts)}")
    pair.refused("EBMS:0004", file, id="twice@peer.example")
    return "refused with EBMS:0004, the first content stays"


def _unknown_type_in(pair: PeppolPair) -> str:
    pair.refused("EBMS:0001", pair.content("note.xml", SIZE), type="urn:fictitious:notes::Other##urn:fictitious::1.0")
    return "refused with EBMS:0001; the peer reads our signed error"


def _stranger_in(pair: PeppolPair) -> str:
    """Signed with a key of the same name under another authority."""
    identity = Authority("Another demo CA", pair.estate.at).issue(pair.estate.hospital.authority, "both")
    path = pair.estate.root / "other-key.pem"
    write(path, identity.key_pem() + identity.chain_pem(), secret=True)
    pair.refused("EBMS:0101", pair.content("stranger.xml", SIZE), key=str(path))
    return "refused with EBMS:0101; the peer reads our signed error"


def _tampered_in(pair: PeppolPair) -> str:
    pair.refused("EBMS:0102", pair.content("tampered.xml", SIZE), tampered="yes")
    return "refused with EBMS:0102; the peer reads our signed error"


def _not_serviced_in(pair: PeppolPair) -> str:
    said = pair.refused("EBMS:0004", pair.content("unknown.xml", SIZE), recipient="0088:5790000000999")
    if said.facts["detail"] != PEPPOL_NOT_SERVICED:
        raise Failed(f"the peer says {dict(said.facts)}")
    return f"refused with EBMS:0004 {PEPPOL_NOT_SERVICED}, which the peer reads"


CASES: Final[Sequence[tuple[str, str, Callable[[PeppolPair], str]]]] = (
    ("Stafet sends", "one document, 3.75 kB of content", _one_out),
    ("Stafet sends", "10 MiB", _large_out),
    ("Stafet sends", "the same octets again", _again_out),
    ("Stafet sends", "under an authority they do not know", _stranger_out),
    ("Stafet sends", "a payload changed on the way", _tampered_out),
    ("Stafet sends", "for somebody they do not serve", _not_serviced_out),
    ("Stafet sends", "a ping", _ping_out),
    ("Stafet receives", "one document, 3.75 kB of content", _one_in),
    ("Stafet receives", "10 MiB", _large_in),
    ("Stafet receives", "the same octets again", _again_in),
    ("Stafet receives", "a MessageId used again for another document", _reused_in),
    ("Stafet receives", "a document type that was not agreed", _unknown_type_in),
    ("Stafet receives", "a certificate of another authority", _stranger_in),
    ("Stafet receives", "a payload changed on the way", _tampered_in),
    ("Stafet receives", "for somebody we do not serve", _not_serviced_in),
)


def run(root: Path, shown: Path) -> Iterator[Cell]:
    """Every case with the package; as `conformance.interop_push.run`."""
    estate = PeppolEstate(root / "peppol", doors=True)
    estate.make()
    peer, captures = As4Package(estate), Captures(estate, shown)
    try:
        estate.start(estate.municipality)
        yield from cells(PeppolPair(estate, peer), estate.profile, CASES, captures)  # type: ignore[arg-type]
    finally:
        peer.stop()
        estate.stop_all()
        captures.stop()
