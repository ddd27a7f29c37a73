"""Receiving: what a whole message comes to, however it is cut; and each refusal, with its place in the order of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from accesspoint import ebms, limits, mime, names
from accesspoint.compression import compress
from accesspoint.ebms import Party, Property, Signal, Typed
from accesspoint.errors import EbmsError
from accesspoint.inbound import Accepted, Receiver
from accesspoint.pmode import PMode
from accesspoint.signals import unsigned_error
from tests.accesspoint.messages import (
    CIDS,
    JSON,
    NAMED,
    PNG,
    Agreed,
    Reception,
    build,
    cut,
    encrypted,
    part_body,
    pieces,
    plain_part,
    rooted,
    sha256,
    swapped,
    with_parts,
)
from tests.fuzz import world as w

WORLD = w.world()
PARTNERS = WORLD.partners
PINNED, PLAIN = WORLD.pinned, WORLD.plain
TRUSTING = replace(PLAIN, profile=replace(PLAIN.profile, demand_signature=False))
"""A P-Mode that demands nothing."""


def accept(body: bytes, agreements: Any = PARTNERS, content_type: str = w.CONTENT_TYPE) -> Accepted:
    """What is accepted of a body that must be."""
    said = Reception(agreements, content_type).take([body])
    assert isinstance(said, Accepted)
    return said


def refusal(code: str, field: str = "", cause: str = "") -> Any:
    """The refusal with this code; field and cause begin like this."""
    return pytest.raises(EbmsError, match=f"^EBMS:{code} \\w+: {field}.*{cause}")


@cache
def right(name: str = "pinned") -> bytes:
    """A right message under the P-Mode of this name."""
    message, octets = build(getattr(WORLD, name))
    return message.whole(octets)


# --- accepted ---------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA38")
@pytest.mark.parametrize("name", ["pinned", "plain", "anchored"])
def test_a_right_message_is_accepted_with_all_that_its_signature_covers(name):
    """P-Mode, signer, references in their order, algorithms; each payload with its own type, size and digest."""
    message, _ = build(getattr(WORLD, name))
    said = accept(right(name))
    assert (said.message.message_id, said.pmode.id) == ("m-0001@municipality.example", name)
    assert said.certificate == WORLD.theirs.certificate
    assert said.references == message.references and len(said.references) == 4
    transport = {"key transport": names.RSA_OAEP} if name != "plain" else {}
    assert said.algorithms == {"signature": names.RSA_SHA256, **transport}
    assert [(p.info.cid, p.media_type, p.size, p.sha256) for p in said.parts] == [
        (CIDS[0], "application/json", len(JSON), sha256(JSON)),
        (CIDS[1], "image/png", len(PNG), sha256(PNG)),
    ]
    assert [bytes(p.sink.octets) for p in said.parts] == [JSON, PNG]


def test_payloads_come_in_the_order_of_the_header_however_they_travelled():
    """The MIME order is free; Content-IDs may be percent-encoded in the header and without brackets in the part."""
    messaging = w.messaging_of(PLAIN, (("a%40x", "image/png", False), ("b@x", "image/png", False)))
    body = w.assemble(PLAIN, messaging, [w.Piece("b@x", "image/png", b"B"), w.Piece("a@x", "image/png", b"A")])
    body = body.replace(b"Content-ID: <a@x>", b"Content-Id: a@x")
    assert [(p.info.cid, bytes(p.sink.octets)) for p in accept(body).parts] == [("a%40x", b"A"), ("b@x", b"B")]


@pytest.mark.parametrize("multipart", [True, False])
def test_a_message_without_payloads_is_plain_soap_or_one_part(multipart):
    """Both forms of a ping are taken."""
    message, _ = build(PINNED, [])
    head, end = (mime.root_head(w.BOUNDARY, "r@x"), mime.closing(w.BOUNDARY)) if multipart else (b"", b"")
    said = accept(head + message.root + end, content_type=w.CONTENT_TYPE if multipart else "application/soap+xml")
    assert (said.parts, len(said.references)) == ((), 2)


def test_a_key_that_encrypts_nothing_is_no_fault():
    """Some stacks write an EncryptedKey also where there is no attachment."""
    encryption = w.encrypted_for_us(PINNED, [])
    body = w.assemble(PINNED, w.messaging_of(PINNED, ()), (), encryption=encryption)
    assert accept(body).algorithms["key transport"] == names.RSA_OAEP


def test_where_encryption_is_not_demanded_each_part_is_as_it_says():
    """One part encrypted, the other in clear: both are read."""
    first, second = pieces(second=b"clear")
    encryption = w.encrypted_for_us(PLAIN, [first])
    body = w.assemble(PINNED, w.messaging_of(PLAIN, NAMED), (first, second), encryption=encryption)
    begin, end = part_body(body, 1)
    said = accept(body[:begin] + b"clear" + body[end:])
    assert [bytes(p.sink.octets) for p in said.parts] == [JSON, b"clear"]


def test_an_unsigned_message_is_accepted_where_an_agreement_says_so_and_nowhere_else():
    """Nothing is then said about a signer; a signature that is there is verified all the same."""
    _, octets = build(TRUSTING)
    messaging = w.messaging_of(TRUSTING, NAMED)
    root = ebms.envelope_xml(b"", messaging, ebms.body_xml("b"))
    parts = [plain_part(cid, o) for cid, o in zip(CIDS, octets, strict=True)]
    body = with_parts(mime.root_head(w.BOUNDARY, "r@x") + root + mime.closing(w.BOUNDARY), *parts)
    said = accept(body, Agreed([TRUSTING]))
    assert (said.certificate, said.references, said.algorithms) == (None, (), {})
    assert [p.sha256 for p in said.parts] == [sha256(JSON), sha256(PNG)]
    with refusal("0103", "Security", "not signed"):
        accept(body)
    signed = rooted(swapped((b"c-1<", b"c-2<")), TRUSTING)
    with refusal("0101", "digest of Messaging"):
        accept(signed, Agreed([TRUSTING]))
    with refusal("0303", "attachment"):
        accept(body.replace(octets[0], b"no gzip"), Agreed([TRUSTING]))


def test_a_signal_is_given_back_as_one():
    """Whether it comes as SOAP or in MIME; it may bring no attachment."""
    error = EbmsError(ebms.INVALID_HEADER, field="x", cause="y", ref_to_message_id="m-1")
    octets = unsigned_error(error, message_id="e-1@municipality.example", timestamp=w.NOW)
    wrapped = mime.root_head(w.BOUNDARY, "r@x") + octets + mime.closing(w.BOUNDARY)
    for body, kind in ((octets, "application/soap+xml"), (wrapped, w.CONTENT_TYPE)):
        reception = Reception(PARTNERS, kind)
        said = reception.take([body])
        assert isinstance(said, Signal)
        assert (said.message_id, said.ref_to_message_id) == ("e-1@municipality.example", "m-1")
        assert reception.receiver is not None and reception.receiver.root == octets
    with refusal("0008", "MIME", "a signal with attachments"):
        Reception(PARTNERS).take([with_parts(wrapped, plain_part("a@x", b"a"))])


# --- the root part decides first --------------------------------------------------------------------------------------

ROOTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "no partner": ("EBMS:0010", lambda: rooted(swapped((b">municipality</eb:PartyId>", b">village</eb:PartyId>")))),
    "signature value": ("EBMS:0101", lambda: rooted(swapped((b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA")))),
    "not encrypted": ("EBMS:0103", lambda: w.assemble(PINNED, w.messaging_of(PINNED, NAMED), pieces(), encryption=b"")),
    "for another": ("EBMS:0102", lambda: w.assemble(PINNED, _messaging(), pieces(), encryption=_for_them())),
    "no content key": ("EBMS:0102", lambda: rooted(swapped((b"<xenc:CipherValue>", b"<xenc:CipherValue>AAAA")))),
    "a character set": ("EBMS:0003", lambda: _described(Property(names.CHARACTER_SET, "utf 8"))),
    "a compression": ("EBMS:0003", lambda: _described(Property(names.COMPRESSION_TYPE, "application/zip"))),
    "no type": ("EBMS:0003", lambda: _described(Property(names.COMPRESSION_TYPE, names.GZIP))),
}
"""Faults of the root part: code, and a body with right attachments behind it."""


def _messaging() -> bytes:
    return w.messaging_of(PINNED, NAMED)


def _described(*properties: Property) -> bytes:
    """A message whose first PartInfo has exactly these properties."""
    infos = (ebms.PartInfo(CIDS[0], properties), ebms.PartInfo(CIDS[1]))
    return w.assemble(PINNED, ebms.user_message_xml(replace(w.header(PINNED), parts=infos), "m-1"), pieces())


def _for_them() -> bytes:
    listed = [(p.cid, p.media_type) for p in pieces()]
    wrapped = w.wrap_key(WORLD.theirs.certificate, w.entropy(16), w.entropy)
    return w.encryption_xml(WORLD.theirs.certificate, PINNED.key_reference, wrapped, listed, "e-1")


@pytest.mark.parametrize("name", ROOTS)
def test_what_the_root_can_decide_is_decided_before_any_attachment(name):
    """The refusal comes as soon as the root part has ended: no sink is made, and the receiver still says what it is about."""
    code, make = ROOTS[name]
    body = make()
    until = body.index(b"Content-ID: <part-1@stafet>")
    reception = Reception(PARTNERS)
    with pytest.raises(EbmsError) as refused:
        reception.take([body[:until]])
    assert refused.value.error.code == code
    assert reception.sinks == []
    assert refused.value.ref_to_message_id == "m-0001@municipality.example"
    assert reception.receiver and reception.receiver.message and reception.receiver.envelope
    assert (reception.receiver.pmode is None) == (code == "EBMS:0010")


def test_every_character_set_name_is_taken():
    """CharacterSet is only looked at for its shape."""
    infos = (ebms.PartInfo(CIDS[0], (Property(names.CHARACTER_SET, "ISO-8859-15"),)), ebms.PartInfo(CIDS[1]))
    body = w.assemble(PINNED, ebms.user_message_xml(replace(w.header(PINNED), parts=infos), "m-1"), pieces(JSON))
    assert [(p.media_type, p.size) for p in accept(body).parts] == [
        ("application/octet-stream", len(JSON)),
        ("application/octet-stream", 256),
    ]


@pytest.mark.parametrize("kind", [w.CONTENT_TYPE, "application/soap+xml"])
def test_a_root_that_is_too_large_is_refused_while_it_comes(kind):
    """Not a mebibyte more than allowed is kept, though the sender never stops."""
    receiver = Receiver(kind, PARTNERS, lambda info, pmode: w.Buffer())
    receiver.feed(mime.root_head(w.BOUNDARY, "r@x") if kind == w.CONTENT_TYPE else b"<a>")
    fed = 0
    with refusal("0009", "SOAP part", "larger than"):
        for _ in range(1000):
            fed += 65_536
            receiver.feed(b"x" * 65_536)
    assert fed <= limits.HEADER_SIZE + 131_072


# --- keys -------------------------------------------------------------------------------------------------------------


def test_any_of_our_keys_may_be_meant():
    """An old and a new certificate may both be ours; which is meant is said by the message."""
    for keys in ((WORLD.ours,), (WORLD.theirs, WORLD.ours), (WORLD.ours, WORLD.theirs)):
        assert accept(right(), Agreed([PINNED], keys=keys)).message.message_id == "m-0001@municipality.example"
    with refusal("0102", "EncryptedKey", "another certificate"):
        accept(right(), Agreed([PINNED], keys=[WORLD.theirs]))


def test_two_keys_behind_one_certificate_are_both_tried():
    """A key that does not open it is no verdict while another may."""
    wrong = replace(WORLD.theirs, chain=WORLD.ours.chain)
    for keys in ((wrong, WORLD.ours), (WORLD.ours, wrong)):
        assert accept(right(), Agreed([PINNED], keys=keys)).parts
    with refusal("0102", "EncryptedData", "could not be decrypted"):
        accept(right(), Agreed([PINNED], keys=[wrong]))


# --- parts ------------------------------------------------------------------------------------------------------------


def _without_part(index: int) -> bytes:
    body = right()
    begin, end = part_body(body, index)
    return body[: body.rindex(b"\r\n--", 0, begin)] + body[end:]


PACKAGING: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "a part nobody names": ("0007", "Content-ID", lambda: with_parts(right(), plain_part("c@x", b"c"))),
    "a part without a name": ("0007", "Content-ID", lambda: with_parts(right(), plain_part("", b"c"))),
    "the same part, spelled otherwise": (
        "0007",
        "Content-ID",
        lambda: rooted(lambda r: r).replace(b"Content-ID: <part-2@", b"Content-ID: <<part-1@stafet>>\r\nX: <part-2@"),
    ),
    "a part that did not come": ("0011", "PartInfo/@href", lambda: _without_part(1)),
    "no part at all": ("0007", "MIME", lambda: b"--" + w.BOUNDARY.encode() + b"--"),
    "nothing": ("0007", "MIME", lambda: b""),
    "another boundary": ("0007", "MIME", lambda: right().replace(b"--stafet-fuzz", b"--stafet-other")),
}


@pytest.mark.parametrize("name", PACKAGING)
def test_header_and_mime_parts_agree_one_to_one(name):
    """Each PartInfo has its part and each part its PartInfo; else 0007 or 0011, naming the message where it is known."""
    code, field, make = PACKAGING[name]
    with refusal(code, field) as refused:
        accept(make())
    assert refused.value.ref_to_message_id == ("m-0001@municipality.example" if code == "0011" else "")


def test_the_start_parameter_may_name_the_first_part_alone():
    """Named or not, with or without a Content-ID, the SOAP part is the first one; another one is refused."""
    body = right()
    root_id = b"root-stafet-fuzz@stafet"
    assert root_id in body
    for start, sent in ((root_id.decode(), body), ("x@y", body.replace(b"Content-ID: <%s>\r\n" % root_id, b"", 1))):
        assert accept(sent, content_type=f'{w.CONTENT_TYPE}; start="<{start}>"').parts
    with refusal("0007", "start"):
        accept(body, content_type=f'{w.CONTENT_TYPE}; start="<{CIDS[0]}>"')


@pytest.mark.parametrize("signed", [CIDS[:1], (*CIDS, "part-3@stafet"), (CIDS[0], "part-3@stafet")])
def test_the_signature_covers_exactly_the_payloads(signed):
    """A payload without a reference, and a reference without a payload, are 0103 from the header alone."""
    shown = [w.Piece(cid, "image/png", PNG) for cid in signed]
    body = w.assemble(PINNED, _messaging(), shown, encryption=w.encrypted_for_us(PINNED, pieces()))
    with refusal("0103", "signature over attachments"):
        accept(body[: body.index(b"Content-ID: <part-1@stafet>")])


@pytest.mark.parametrize("pmode", [PINNED, PLAIN])
def test_two_payloads_cannot_share_one_reference(pmode):
    """``a@x`` and ``a%40x`` both mean the reference to ``cid:a@x``; one of the two would be covered by nothing."""
    messaging = w.messaging_of(pmode, (("a@x", "image/png", False), ("a%40x", "image/png", False)))
    encryption = None
    if pmode is PINNED:
        encryption = w.encrypted_for_us(pmode, [w.Piece(cid, "image/png", b"") for cid in ("a@x", "a%40x")])
    body = w.assemble(pmode, messaging, [w.Piece("a@x", "image/png", b"signed")], encryption=encryption)
    octets = encrypted(b"never signed") if pmode is PINNED else b"never signed"
    begin = body.index(b"\r\n--stafet-fuzz\r\n", 10)
    body = with_parts(body[:begin] + plain_part("a@x", octets) + body[begin:].replace(b"<a@x>", b"<a%40x>"))
    with refusal("0103", "signature over attachments"):
        accept(body)


def test_every_payload_is_encrypted_and_nothing_else_is():
    """A part left in clear is 0103; EncryptedData about a part nobody names is 0007."""
    first, second = pieces()
    with refusal("0103", "encryption", "not encrypted"):
        accept(w.assemble(PINNED, _messaging(), (first, second), encryption=w.encrypted_for_us(PINNED, [first])))
    stray = w.encrypted_for_us(PINNED, [first, second, w.Piece("c@x", "image/png", b"")])
    with refusal("0007", "EncryptedData", "no PartInfo names"):
        accept(w.assemble(PINNED, _messaging(), (first, second), encryption=stray))


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("over", "code"), [(0, None), (1, "0003")])
def test_the_agreed_size_is_the_limit(over, code):
    """A payload of exactly that size is accepted; with one octet more it is 0003, and the sink never has more."""
    pmode = replace(PINNED, max_size=1000, compress=False)
    message, octets = build(pmode, [(b"x" * (1000 + over), "image/png", False)])
    reception = Reception(Agreed([pmode]))
    if code is None:
        assert reception.take(cut(message.whole(octets), 100))
    else:
        with refusal(code, "payload", "larger than 1000 octets"):
            reception.take(cut(message.whole(octets), 100))
    assert len(reception.sinks[0].octets) <= 1000


def test_a_payload_that_never_ends_is_not_read_to_its_end():
    """A header may be right and its ciphertext endless: soon after the agreed size it is 0003, whatever its tag would be."""
    pmode, fed = replace(PINNED, max_size=1000), 0
    message, octets = build(pmode)
    body = message.whole(octets)
    reception = Reception(Agreed([pmode]))

    def without_end() -> Iterator[bytes]:
        nonlocal fed
        yield body[: part_body(body, 1)[0]]
        while True:
            fed += 1000
            yield bytes(1000)

    with refusal("0003", "payload", "larger than 1000 octets"):
        reception.take(without_end())
    assert 1000 < fed <= 1000 + 10 + limits.PART_OVERHEAD + 1000
    assert len(reception.sinks[1].octets) <= 1000


def test_the_agreed_size_holds_for_what_was_compressed():
    """More plain octets than agreed are 0303, and the sink never has more."""
    pmode = replace(PINNED, max_size=1000)
    message, octets = build(pmode, [(b"x" * 1001, "text/plain", True)])
    reception = Reception(Agreed([pmode]))
    with refusal("0303", "attachment", "more than 1000 octets"):
        reception.take([message.whole(octets)])
    assert len(reception.sinks[0].octets) <= 1000


@pytest.mark.parametrize("octets", [b"no gzip", compress(JSON)[:-1], b"", compress(JSON) + b"more"])
def test_what_says_it_is_gzip_unpacks_to_its_end(octets):
    """Another format, one octet too few, none at all or some behind it: signed like that, it is 0303."""
    with refusal("0303", "attachment"):
        accept(w.assemble(PINNED, _messaging(), pieces(octets)))


def _xml(octets: bytes) -> bytes:
    messaging = w.messaging_of(PLAIN, ((CIDS[0], "application/xml", False),))
    return w.assemble(PLAIN, messaging, [w.Piece(CIDS[0], "application/xml", octets)])


def test_an_uncompressed_xml_part_is_digested_in_canonical_form_up_to_a_size(monkeypatch):
    """Spelled otherwise it is the same; above the size it is 0103, which tells what to change, and not "was changed"."""
    monkeypatch.setattr(limits, "CANONICAL_PART", 1000)
    body = _xml(b"<a><b></b></a>")
    assert accept(body.replace(b"<a><b></b></a>", b"<a><b/></a>")).parts[0].size == 11
    large = _xml(b"<a>" + b"x" * 1000 + b"</a>")
    for step in (100, len(large)):
        with refusal("0103", "attachment", "above 1000 octets") as refused:
            Reception(PARTNERS).take(cut(large, step))
        assert refused.value.remedy == "compress the part"


def test_what_says_it_is_xml_and_is_not_is_told_so():
    """There is no digest of it, so it is 0009 and not "was changed"; other content in right form is 0101."""
    with refusal("0009", "attachment", "not well-formed"):
        accept(_xml(b"no XML"))
    with refusal("0101", "digest of attachment", "was changed"):
        accept(_xml(b"<a>1</a>").replace(b"<a>1</a>", b"<a>2</a>"))


# --- sinks ------------------------------------------------------------------------------------------------------------


def test_a_sink_that_fails_is_no_refusal_of_the_message():
    """A full disk is not the sender's fault: the caller's own error comes through."""

    class Full:
        def write(self, data: bytes) -> None:
            raise OSError("the disk is full")

    receiver = Receiver(w.CONTENT_TYPE, PARTNERS, lambda info, pmode: Full())
    with pytest.raises(OSError, match="the disk is full"):
        receiver.feed(right())


# --- the fingerprint --------------------------------------------------------------------------------------------------


def _fingerprint(pmode: PMode = PINNED, payloads: Any = w.PAYLOADS, **header: Any) -> bytes:
    message, octets = build(pmode, payloads, header=replace(w.header(pmode), **header))
    modes = [replace(pmode, them=message_from) for message_from in {pmode.them, header.get("from_", pmode.them)}]
    modes = [replace(m, action=header.get("action", m.action), service=header.get("service", m.service)) for m in modes]
    modes = [replace(m, us=header.get("to", m.us), mpc=header.get("mpc", m.mpc)) for m in modes]
    return accept(message.whole(octets), Agreed(modes)).fingerprint()


def test_a_repetition_signed_afresh_has_the_same_fingerprint():
    """Time stamp, order of properties, key reference, Content-IDs and compression are no content."""
    first = _fingerprint()
    assert len(first) == 32
    assert _fingerprint(timestamp=w.NOW + 60_000_000) == first
    assert _fingerprint(properties=w.header(PINNED).properties[::-1]) == first
    assert _fingerprint(replace(PINNED, key_reference="issuer-serial")) == first
    again = w.assemble(
        PINNED,
        w.messaging_of(PINNED, (("x@y", "application/json", True), ("z@y", "image/png", False))),
        [w.Piece("x@y", names.GZIP, compress(JSON)), w.Piece("z@y", "image/png", PNG)],
    )
    assert accept(again).fingerprint() == first


OTHERS: dict[str, dict[str, Any]] = {
    "from": {"from_": Party(Typed("village", "urn:t"), PINNED.them.role)},
    "from role": {"from_": Party(PINNED.them.id, "urn:role")},
    "to": {"to": Party(Typed("clinic", "urn:t"), PINNED.us.role)},
    "agreement": {"agreement": Typed("urn:agreement")},
    "service": {"service": Typed("urn:other")},
    "action": {"action": "other"},
    "conversation": {"conversation_id": "c-2"},
    "reference": {"ref_to_message_id": "m-0"},
    "channel": {"mpc": "urn:mpc"},
    "property value": {"properties": (Property("case", "A-8"),)},
    "property type": {"properties": (Property("case", "A-7", "urn:t"),)},
    "property": {"properties": (Property("case", "A-7"),)},
    "payload": {"payloads": [(JSON, "application/json", True), (PNG[::-1], "image/png", False)]},
    "payload type": {"payloads": [(JSON, "application/json", True), (PNG, "image/gif", False)]},
    "payload order": {"payloads": [(PNG, "image/png", False), (JSON, "application/json", True)]},
    "one payload": {"payloads": [(JSON, "application/json", True)]},
}


def test_any_other_content_has_another_fingerprint():
    """Each business value and each payload counts."""
    found = {name: _fingerprint(**fields) for name, fields in OTHERS.items()}
    assert len({_fingerprint(), *found.values()}) == len(found) + 1
