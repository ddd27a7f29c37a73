"""Makers of hostile messages: pieces of right ones taken apart, changed, and put together again.

``rooted`` changes a message as somebody on the way can; ``resigned`` as a partner can who signs it himself.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint import ebms, mime, names
from accesspoint.compression import compress
from accesspoint.inbound import Agreements
from accesspoint.pmode import PMode
from accesspoint.wss import sign
from conformance.pki import Authority
from conformance.pki import Identity as Issued
from core.clock import DAY, FrozenClock, Micros, to_datetime
from core.trust import Identity, Trust, lists_in
from gateways.as4.partners import Partners
from tests.accesspoint.messages import (
    CIDS,
    NAMED,
    Agreed,
    build,
    part_body,
    pieces,
    plain_part,
    rooted,
    swapped,
    with_parts,
)
from tests.fuzz import world as w

Change = Callable[[bytes], bytes]
EVIL: Final = b"<eb:ConversationId>evil</eb:ConversationId>"


def pinned() -> PMode:
    """The agreement everything here pretends to follow."""
    return w.world().pinned


def element(name: bytes, octets: bytes) -> bytes:
    """The first element of that (prefixed) name, as written."""
    found = re.search(rb"<%s[ >].*?</%s>" % (name, name), octets, re.DOTALL)
    assert found, name
    return found.group()


def at(place: bytes, new: bytes, *, behind: bool = False) -> Change:
    """Puts octets before or behind the first occurrence of others."""

    def change(octets: bytes) -> bytes:
        assert place in octets, place
        return octets.replace(place, place + new if behind else new + place, 1)

    return change


def _same(octets: bytes) -> bytes:
    return octets


def right() -> bytes:
    """A message nothing is wrong with."""
    return rooted(_same)


def opened(new: bytes) -> bytes:
    """A message with octets right behind its XML declaration."""
    return rooted(at(b"?>\n", new, behind=True))


def signed_again(root: bytes, change: Change, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """A root part whose SignedInfo is changed and then signed; what is changed must stay canonical."""
    info = element(b"ds:SignedInfo", root)
    new = change(info)
    value = b64encode(sign(key or cast(rsa.RSAPrivateKey, w.world().theirs.key), new))
    root = root.replace(element(b"ds:SignatureValue", root), b"<ds:SignatureValue>%s</ds:SignatureValue>" % value)
    return root.replace(info, new)


def resigned(*pairs: tuple[bytes, bytes]) -> bytes:
    """A message whose SignedInfo says something else, signed by the partner himself."""
    return rooted(lambda root: signed_again(root, swapped(*pairs)))


def reference(uri: bytes) -> Change:
    """Takes the reference to ``uri`` out."""

    def change(info: bytes) -> bytes:
        new = re.sub(rb'<ds:Reference URI="%s">.*?</ds:Reference>' % re.escape(uri), b"", info)
        assert new != info
        return new

    return change


def transform(*algorithms: str) -> bytes:
    """A message whose partner signed a reference to the header with these transforms instead of its own."""
    own = b'<ds:Transform Algorithm="%s"></ds:Transform>' % names.EXC_C14N.encode()
    new = b"".join(b'<ds:Transform Algorithm="%s"></ds:Transform>' % x.encode() for x in algorithms)
    return rooted(lambda root: signed_again(root, lambda info: info.replace(own, new, 1)))


def very_many_references() -> bytes:
    """A message whose partner signed the same thing two hundred times."""
    return rooted(lambda root: signed_again(root, lambda info: at(b"</ds:SignedInfo>", _many(info))(info)))


def _many(info: bytes) -> bytes:
    return element(b"ds:Reference", info) * 200


def key_info(new: bytes) -> bytes:
    """A message that names its signer in another way."""
    return rooted(lambda root: root.replace(root[root.rindex(b"<ds:KeyInfo>") : root.rindex(b"</ds:Signature>")], new))


def uncovered(uri: bytes) -> bytes:
    """A message whose partner did not sign one thing."""
    return rooted(lambda root: signed_again(root, reference(uri)))


def said(*pairs: tuple[bytes, bytes]) -> bytes:
    """A message whose header says something else, signed by the partner himself."""
    return w.assemble(pinned(), swapped(*pairs)(w.messaging_of(pinned(), NAMED)), pieces())


# --- wrapping ---------------------------------------------------------------------------------------------------------


def wrapped(name: bytes, fake_id: bytes, where: bytes = b"</S12:Header>") -> bytes:
    """The signed element moved aside, and a fake one (with another id, or the same) in its place."""

    def change(root: bytes) -> bytes:
        true = element(name, root)
        fake = re.sub(rb'wsu:Id="\w+"', fake_id, true).replace(b"<eb:ConversationId>c-1</eb:ConversationId>", EVIL)
        root = root.replace(true, fake)
        return at(where, b'<q:Kept xmlns:q="urn:q">%s</q:Kept>' % true)(root)

    return rooted(change)


def doubled(name: bytes) -> bytes:
    """An element twice, the second without ids."""
    return rooted(lambda root: at(element(name, root), re.sub(rb' (wsu:)?Id="[^"]*"', b"", element(name, root)))(root))


# --- encryption -------------------------------------------------------------------------------------------------------


def reencrypted(change: Change) -> bytes:
    """A message whose XML about encryption (which nobody signs) is changed."""
    return w.assemble(
        pinned(), w.messaging_of(pinned(), NAMED), pieces(), encryption=change(w.encrypted_for_us(pinned(), pieces()))
    )


def swapped_parts() -> bytes:
    """Two ciphertexts under the same key, each in the other's place."""
    body = w.assemble(pinned(), w.messaging_of(pinned(), NAMED), pieces())
    first, second = (b"Content-ID: <%s>" % cid.encode() for cid in CIDS)
    return body.replace(first, b"<between>").replace(second, first).replace(b"<between>", second)


def clear_part(octets: bytes) -> bytes:
    """A message whose second part is not ciphertext but this."""
    body = right()
    begin, end = part_body(body, 1)
    return body[:begin] + octets + body[end:]


def without(name: bytes, new: bytes = b"") -> Change:
    """Takes the first element of that name out, or puts another in its place."""
    return lambda octets: octets.replace(element(name, octets), new, 1)


def another_key(octets: bytes) -> bytes:
    """A second EncryptedKey behind the XML about encryption."""
    return octets + element(b"xenc:EncryptedKey", octets).replace(b' Id="', b' Id="x')


def nested_key(octets: bytes) -> bytes:
    """An EncryptedKey whose own key is an EncryptedKey."""
    key = without(b"xenc:ReferenceList")(element(b"xenc:EncryptedKey", octets)).replace(b' Id="', b' Id="x')
    return without(b"ds:KeyInfo", b'<ds:KeyInfo xmlns:ds="%s">%s</ds:KeyInfo>' % (names.DS.encode(), key))(octets)


# --- content ----------------------------------------------------------------------------------------------------------


@cache
def zeros(mebibytes: int, members: int = 1) -> bytes:
    """A gzip stream of very many zeros, in so many members."""
    return compress(bytes(mebibytes << 20)) * members


def zipped(octets: bytes, pmode: PMode | None = None) -> bytes:
    """A message whose first payload is this, said to be gzip, and signed so."""
    pmode = pmode or pinned()
    return w.assemble(pmode, w.messaging_of(pmode, NAMED), pieces(octets))


def xml_part(octets: bytes) -> bytes:
    """A message of one uncompressed XML payload."""
    plain = w.world().plain
    messaging = w.messaging_of(plain, ((CIDS[0], "application/xml", False),))
    return w.assemble(plain, messaging, [w.Piece(CIDS[0], "application/xml", octets)])


def many_parts(count: int) -> Iterator[bytes]:
    """A right message with so many more parts, made as they are read."""
    body = right()
    ending = mime.closing(w.BOUNDARY)
    yield body[: -len(ending)]
    for number in range(count):
        yield plain_part(f"more-{number}@x", b"x")
    yield ending


def endless(before: bytes, piece: bytes, count: int = 300, after: bytes = b"") -> Iterator[bytes]:
    """Octets that go on for a long time, made as they are read."""
    yield before
    for _ in range(count):
        yield piece
    yield after


def more_part(head: bytes = b"", kind: bytes = b"image/png", cid: str = "c@x") -> bytes:
    """A right message and one more part with these header lines."""
    return with_parts(right(), plain_part(cid, b"c", head).replace(b"image/png", kind))


def changed(*pairs: tuple[bytes, bytes]) -> bytes:
    """A right message with other octets somewhere in it."""
    return swapped(*pairs)(right())


def cut_at(place: bytes, more: int = 0) -> bytes:
    """A right message that ends some octets behind the last occurrence of others."""
    return right()[: right().rindex(place) + more]


def without_part(index: int) -> bytes:
    """A right message that lacks a part it names."""
    begin, end = part_body(right(), index)
    return right()[: right().rindex(b"\r\n--", 0, begin)] + right()[end:]


def endless_part() -> Iterator[bytes]:
    """A right header and a payload that goes on and on."""
    return endless(right()[: part_body(right(), 1)[0]], bytes(65_536))


def many_infos(count: int) -> bytes:
    """A header that names very many parts."""
    infos = b"".join(b'<eb:PartInfo href="cid:p-%d@x"></eb:PartInfo>' % n for n in range(count))
    messaging = w.messaging_of(pinned(), NAMED)
    return w.assemble(pinned(), at(b"</eb:PayloadInfo>", infos)(messaging), pieces())


# --- who signs --------------------------------------------------------------------------------------------------------

_TODAY: Final = to_datetime(w.NOW)


@cache
def authority() -> Authority:
    """An authority whose key is at hand."""
    return Authority("Stafet Test CA", _TODAY)


@cache
def issued(name: str = "municipality", use: str = "signing", days: int = 365, bits: int = 2048) -> Issued:
    """A certificate of that authority."""
    until = _TODAY + timedelta(days=days)
    return authority().issue(name, use, not_after=until, not_before=until - timedelta(days=400), bits=bits)  # type: ignore[arg-type]


def identity(made: Issued) -> Identity:
    """Somebody who signs with that certificate."""
    return Identity("other", made.key, (made.certificate,), w.FOLDER)


def signed_by(signer: Identity, pmode: PMode | None = None) -> bytes:
    """A message in their name, but signed by somebody."""
    message, octets = build(pmode or pinned(), signer=signer)
    return message.whole(octets)


def partners(
    at: Micros = w.NOW, anchors: Sequence[x509.Certificate] = (), revoked: Sequence[x509.Certificate] = ()
) -> Agreements:
    """The gateway's own agreements at some time, under other anchors or with a revocation list."""
    known, chained = (w.world().partners.by_id[name] for name in ("known", "chained"))
    lists = tuple(lists_in(authority().revocation_list(revoked)))
    trust = Trust(tuple(anchors), lists, "municipality") if anchors else chained.trust
    return Partners([replace(known, _good={}), replace(chained, trust=trust, _good={})], FrozenClock(at))


def chained(**more: object) -> bytes:
    """A message under the agreement with anchors, signed with a certificate made like this."""
    return signed_by(identity(issued(**more)), w.world().anchored)  # type: ignore[arg-type]


def our_anchors() -> Sequence[x509.Certificate]:
    """The anchors of whom `issued` comes from."""
    return (authority().certificate,)


def weak() -> tuple[bytes, Agreements]:
    """A partner whose agreed certificate has a small key."""
    signer = identity(issued(bits=1024))
    return signed_by(signer), Agreed([pinned()], believed=[signer.certificate])


def large(pmode: PMode) -> PMode:
    """The same agreement about payloads of a gibibyte."""
    return replace(pmode, max_size=1 << 30)


def unsigned(security: bytes = b"") -> bytes:
    """A message without a signature, its parts in clear."""
    root = ebms.envelope_xml(security, w.messaging_of(pinned(), NAMED), ebms.body_xml("b"))
    parts = [plain_part(p.cid, p.octets) for p in pieces()]
    return b"".join((mime.root_head(w.BOUNDARY, "r@x"), root, *parts, mime.closing(w.BOUNDARY)))


SECURITY: Final = b'<wsse:Security xmlns:wsse="%s" xmlns:S12="%s" S12:mustUnderstand="true"></wsse:Security>' % (
    names.WSSE.encode(),
    names.S12.encode(),
)
LATER: Final = w.NOW + 3 * 366 * DAY
EARLIER: Final = w.NOW - 366 * DAY
