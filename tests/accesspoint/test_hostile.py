"""Everything a hostile sender can do, as whole messages: each is refused with its own code, at a bounded cost.

The table is the list of threats to an access point. Each row is received twice: by a receiver alone, where memory is measured,
and over TLS by a server whose payloads go to the node's own store, where nothing may ever become visible.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from accesspoint import limits, names
from accesspoint.client import Client
from accesspoint.compression import compress
from accesspoint.ebms import PartInfo
from accesspoint.errors import EbmsError, HttpRefusal, SoapFault
from accesspoint.inbound import Accepted, Agreements, Receiver
from accesspoint.pmode import PMode
from tests.accesspoint import attacks as a
from tests.accesspoint.attacks import at, reencrypted, resigned, right, said, without
from tests.accesspoint.gate import guarded
from tests.accesspoint.messages import CIDS, JSON, Agreed, cut, flipped, other_content, rooted, swapped
from tests.accesspoint.sockets import pki
from tests.fuzz import world as w

PLAIN, PINNED = w.world().plain, w.world().pinned
MEMORY = 8 * 1024 * 1024
"""What refusing may cost: a header of a mebibyte, a few times over while it is parsed."""

EXC, OAEP, GCM = names.EXC_C14N.encode(), names.RSA_OAEP.encode(), names.AES128_GCM.encode()
SHA256, SHA1, RSA = names.SHA256.encode(), names.SHA1.encode(), names.RSA_SHA256.encode()
OAEP_OLD, PKCS, RSA_SHA1 = names.RSA_OAEP_MGF1P.encode(), names.RSA_1_5.encode(), names.RSA_SHA1.encode()
MORE = b"http://www.w3.org/2001/04/xmldsig-more#"
METHOD = b'<ds:CanonicalizationMethod Algorithm="%s">' % EXC
PREFIXES = METHOD + b'<ec:InclusiveNamespaces xmlns:ec="%s" PrefixList="%s"></ec:InclusiveNamespaces>' % (
    EXC,
    b"p " * 999,
)
KEY_VALUE = b"<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue></ds:RSAKeyValue></ds:KeyValue></ds:KeyInfo>"
WEB, FILE = b"http://192.0.2.254/", b"file:///etc/hostname"
MESSAGING, BODY, HEADER_END, BODY_END = b"eb:Messaging", b"S12:Body", b"</S12:Header>", b"</S12:Body>"
COVERS_HEADER, COVERS_BODY, MIME_ID = "signature over Messaging", "signature over Body", "Content-ID"
DATA, METHOD_OF, KEY = "EncryptedData", "EncryptedData/EncryptionMethod", "EncryptedKey"
CANONICAL, HOP = "CanonicalizationMethod", b'<eb:Messaging S12:role="%s" ' % names.NEXT_MSH.encode()
PARTY, VALUE = b">municipality</eb:PartyId>", b">municipality<"
ENTITY = b'<!DOCTYPE a [<!ENTITY e "%s">]>'
LAUGHS = b"<!DOCTYPE a [%s]>" % b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 30))
ATTRIBUTES = b"<a %s/>" % b" ".join(b'a%d=""' % n for n in range(5000))
NAMESPACES = b"<S12:Envelope %s " % b" ".join(b'xmlns:p%d="urn:p"' % n for n in range(5000))
PROPERTIES = (
    b"".join(b'<eb:Property name="p%d">x</eb:Property>' % n for n in range(10_000)) + b"</eb:MessageProperties>"
)
IN_UTF16 = lambda root: b"\xff\xfe" + root.decode().replace("?>\n", "?><!DOCTYPE a>").encode("utf-16-le")  # noqa: E731
ROOT, LONG = b"--stafet-fuzz\r\n", b"x" * 65_536
FRAGMENT = b'<f:MessageFragment xmlns:f="%s"/>' % names.MF.encode()
TWIN = b'<q xmlns:wsu="%s" %%s="messaging"/>' % names.WSU.encode()

# What is done: name, code, field, then how the message is made.
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "signature wrapping": [
        ("a fake header, the signed one aside", "0103", COVERS_HEADER, a.wrapped, MESSAGING, b'wsu:Id="fake"'),
        ("a fake header without an id", "0103", COVERS_HEADER, a.wrapped, MESSAGING, b""),
        ("the true header in the signature", "0103", COVERS_HEADER, a.wrapped, MESSAGING, b"", b"</ds:Signature>"),
        ("the true header in the body", "0101", "digest of Body", a.wrapped, MESSAGING, b"", BODY_END),
        ("a fake header under the same id", "0101", "id", a.wrapped, MESSAGING, b'wsu:Id="messaging"'),
        ("a fake body, the signed one aside", "0103", COVERS_BODY, a.wrapped, BODY, b'wsu:Id="fake"'),
        ("two bodies", "0009", "Envelope", a.doubled, BODY),
        ("two SOAP headers", "0009", "Envelope", a.doubled, b"S12:Header"),
        ("two headers", "0009", "Header", a.doubled, MESSAGING),
        ("two security headers", "0009", "Header", a.doubled, b"wsse:Security"),
        ("two signatures", "0103", "Signature", a.doubled, b"ds:Signature"),
        ("an envelope in the body", "0101", "digest of Body", rooted, at(BODY_END, b"<S12:Envelope></S12:Envelope>")),
        ("something behind the body", "0009", "Envelope", rooted, at(b"</S12:Envelope>", b"<q/>")),
    ],
    "one id twice, spelled": [
        (spelled.decode(), "0101", "id", rooted, at(b"<ds:Signature ", TWIN % spelled))
        for spelled in (b"wsu:Id", b"Id", b"ID", b"id", b"xml:id")
    ],
    "transforms": [
        ("the enveloped signature", "0101", "Transforms", a.transform, names.DS + "enveloped-signature"),
        ("XPath", "0101", "Transforms", a.transform, "http://www.w3.org/TR/1999/REC-xpath-19991116"),
        ("XSLT", "0101", "Transforms", a.transform, "http://www.w3.org/TR/1999/REC-xslt-19991116"),
        ("Base64", "0101", "Transforms", a.transform, names.DS + "base64"),
        ("an attachment's on an element", "0101", "Transforms", a.transform, names.ATTACHMENT_SIGNATURE),
        ("the right one twice", "0101", "Transforms", a.transform, names.EXC_C14N, names.EXC_C14N),
        ("none", "0101", "Transforms", a.transform),
    ],
    "references": [
        ("to the whole document", "0101", "Reference/@URI", resigned, (b'URI="#messaging"', b'URI=""')),
        ("to the web", "0101", "Reference/@URI", resigned, (b'URI="#messaging"', b'URI="%s"' % WEB)),
        ("to a file", "0101", "Reference/@URI", resigned, (b'URI="#messaging"', b'URI="%s"' % FILE)),
        ("by XPointer", "0101", "Reference/@URI", resigned, (b'URI="#messaging"', b'URI="#xpointer(/)"')),
        ("to nothing", "0101", "Reference/@URI", resigned, (b'URI="#messaging"', b'URI="#nowhere"')),
        ("to one target twice", "0101", "SignedInfo", resigned, (b'URI="#messaging"', b'URI="#body"')),
        ("very many", "0101", "SignedInfo", a.very_many_references),
        ("with very many prefixes", "0101", "InclusiveNamespaces", resigned, (METHOD, PREFIXES)),
    ],
    "not covered": [
        ("the header", "0103", COVERS_HEADER, a.uncovered, b"#messaging"),
        ("the body", "0103", COVERS_BODY, a.uncovered, b"#body"),
        ("an attachment", "0103", "signature over attachments", a.uncovered, b"cid:part-2@stafet"),
        ("a part nobody names", "0007", MIME_ID, a.more_part),
        ("a payload in the body", "0103", "PayloadInfo", said, (b"</eb:PayloadInfo>", b"<eb:PartInfo/></eb:PayloadInfo>")),
    ],
    "changed on the way": [
        ("the header", "0101", "digest of Messaging", rooted, swapped((b"c-1<", b"c-2<"))),
        ("the body", "0101", "digest of Body", rooted, at(BODY_END, b"x")),
        ("what was signed", "0101", "SignatureValue", rooted, swapped((b"<ds:DigestValue>", b"<ds:DigestValue>\n"))),
        ("the signature", "0101", "SignatureValue", rooted, swapped((b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"))),
        ("a part under the right key", "0101", "digest of attachment", other_content, PINNED, (1, b"other")),
        ("two parts change places", "0101", "digest of attachment", a.swapped_parts),
        ("a comment in a value", "0009", "SOAP part", rooted, swapped((VALUE, b">munici<!--x-->pality<"))),
        ("an instruction in a value", "0009", "SOAP part", rooted, swapped((VALUE, b">munici<?x?>pality<"))),
        ("an element in a value", "0009", "ConversationId", rooted, swapped((b">c-1<", b"><q/>c-1<"))),
    ],
    "ciphertext": [
        ("its IV", "0102", DATA, lambda: flipped(right(), 0, 0)),
        ("its first octet", "0102", DATA, lambda: flipped(right(), 0, 12)),
        ("its gzip trailer", "0102", DATA, lambda: flipped(right(), 0, -17)),
        ("its tag", "0102", DATA, lambda: flipped(right(), 1, -1)),
        ("cut short", "0102", DATA, a.clear_part, bytes(27)),
        ("empty", "0102", DATA, a.clear_part, b""),
        ("none where some was said", "0102", DATA, a.clear_part, b"plain" * 20),
        ("a bomb under a wrong tag", "0102", DATA, lambda: flipped(a.zipped(a.zeros(64)), 0, -1)),
        ("a broken key", "0102", DATA, rooted, swapped((b"<xenc:CipherValue>", b"<xenc:CipherValue>AAAA"))),
        ("no key", "0102", DATA, reencrypted, without(b"xenc:CipherValue", b"<xenc:CipherValue/>")),
    ],
    "encrypted otherwise": [
        ("not at all", "0103", "encryption", reencrypted, lambda xml: b""),
        ("one part in clear", "0103", "ReferenceList", reencrypted, without(b"xenc:EncryptedData")),
        ("two keys", "0103", KEY, reencrypted, a.another_key),
        ("parts without a key", "0103", KEY, reencrypted, without(b"xenc:EncryptedKey")),
        ("a key inside the key", "0101", "KeyInfo", reencrypted, a.nested_key),
        ("an element", "0103", DATA, reencrypted, swapped((b"xenc:CipherReference", b"xenc:CipherOther"))),
        ("ciphertext from the web", "0103", "CipherReference", reencrypted, swapped((b"cid:part-1@stafet", WEB))),
        ("RSA PKCS1 v1.5", "0103", KEY + "/EncryptionMethod", reencrypted, swapped((b'"%s"' % OAEP, b'"%s"' % PKCS))),
        ("OAEP of old", "0103", KEY + "/EncryptionMethod", reencrypted, swapped((b'"%s"' % OAEP, b'"%s"' % OAEP_OLD))),
        ("OAEP with SHA-1", "0103", KEY + "/DigestMethod", reencrypted, swapped((SHA256, SHA1))),
        ("MGF1 with SHA-1", "0103", KEY + "/MGF", reencrypted, swapped((b"mgf1sha256", b"mgf1sha1"))),
        ("CBC", "0103", METHOD_OF, reencrypted, swapped((GCM, names.XENC.encode() + b"aes128-cbc"))),
        ("a key length not agreed", "0103", METHOD_OF, reencrypted, swapped((b"aes128-gcm", b"aes256-gcm"))),
    ],
    "signed otherwise": [
        ("no security header", "0103", "Security", a.unsigned),
        ("an empty security header", "0103", "Signature", a.unsigned, a.SECURITY),
        ("RSA with SHA-1", "0103", "SignatureMethod", resigned, (RSA, RSA_SHA1)),
        ("RSA with SHA-512, not agreed", "0103", "SignatureMethod", resigned, (b"rsa-sha256", b"rsa-sha512")),
        ("the public key as a secret", "0101", "SignatureMethod", resigned, (RSA, MORE + b"hmac-sha256")),
        ("digests with SHA-1", "0103", "DigestMethod", resigned, (SHA256, SHA1)),
        ("digests with MD5", "0101", "DigestMethod", resigned, (SHA256, MORE + b"md5")),
        ("inclusive canonicalisation", "0101", CANONICAL, resigned, (METHOD, METHOD.replace(b"/10/", b"/09/"))),
        ("comments canonicalised", "0101", CANONICAL, resigned, (METHOD, METHOD.replace(b'#"', b'#WithComments"'))),
    ],
    "somebody else": [
        ("a stranger who sends a certificate", "0101", "certificate", lambda: a.signed_by(a.identity(a.issued()))),
        ("another partner in their name", "0101", "certificate", lambda: a.signed_by(w.world().ours)),
        ("a bare key", "0101", "KeyInfo", a.key_info, KEY_VALUE),
        ("no key", "0101", "KeyInfo", a.key_info, b""),
        ("a token that is not there", "0101", "KeyInfo", rooted, swapped((b'URI="#token"', b'URI="#nothing"'))),
        ("a party nobody knows", "0010", "From/PartyId", said, (PARTY, b">village</eb:PartyId>")),
        ("a party that looks the same", "0010", "From/PartyId", said, (PARTY, ">municipality\u200b</eb:PartyId>".encode())),
        ("a party of another type", "0010", "From/PartyId", said, (b":stafet-fuzz" + b'"' + VALUE, b':other"' + VALUE)),
        ("a role that is not theirs", "0003", "Role", said, (names.INITIATOR.encode(), b"urn:admin")),
        ("another action than agreed", "0001", "Action", said, (b">deliver<", b">delete<")),
    ],
    "XML": [
        ("a DOCTYPE", "0009", "SOAP part", a.opened, b"<!DOCTYPE a>"),
        ("an entity", "0009", "SOAP part", a.opened, ENTITY % b"x"),
        ("a billion laughs", "0009", "SOAP part", lambda: swapped((b">c-1<", b">&a29;<"))(a.opened(LAUGHS))),
        ("a quadratic blowup", "0009", "SOAP part", a.opened, ENTITY % (b"x" * 500_000)),
        ("a file of this machine", "0009", "SOAP part", a.opened, b'<!DOCTYPE a [<!ENTITY e SYSTEM "%s">]>' % FILE),
        ("a definition from the web", "0009", "SOAP part", a.opened, b'<!DOCTYPE a SYSTEM "%s">' % WEB),
        ("a parameter entity", "0009", "SOAP part", a.opened, b'<!DOCTYPE a [<!ENTITY %% e SYSTEM "%s">%%e;]>' % WEB),
        ("an undeclared entity", "0009", "SOAP part", rooted, swapped((b">c-1<", b">&e;<"))),
        ("a DOCTYPE in UTF-16", "0009", "SOAP part", rooted, IN_UTF16),
        ("another encoding", "0009", "SOAP part", rooted, swapped((b'"UTF-8"', b'"UTF-7"'))),
        ("very deep", "0009", "SOAP part", rooted, at(HEADER_END, b"<a>" * 200 + b"</a>" * 200)),
        ("deeper than any stack", "0009", "SOAP part", rooted, at(HEADER_END, b"<a>" * 100_000)),
        ("very many elements", "0009", "SOAP part", rooted, at(HEADER_END, b"<a/>" * 100_000)),
        ("very many attributes", "0009", "SOAP part", rooted, at(HEADER_END, ATTRIBUTES)),
        ("very many namespaces", "0009", "SOAP part", rooted, swapped((b"<S12:Envelope ", NAMESPACES))),
        ("without end", "0009", "SOAP part", a.endless, ROOT + b"\r\n<a>", LONG),
        ("no XML", "0009", "SOAP part", rooted, lambda root: b"\x00\x01\x02"),
        ("a NUL", "0009", "SOAP part", rooted, swapped((b">c-1<", b">c\x00<"))),
        ("an entity in a payload", "0009", "attachment", a.xml_part, ENTITY % b"x" + b"<a>&e;</a>"),
        ("a payload that must be whole", "0103", "attachment", a.xml_part, b"<a>" + b"x" * 200_000 + b"</a>"),
        ("SOAP 1.1", "VersionMismatch", "", rooted, swapped((names.S12.encode(), names.S11.encode()))),
        ("an unknown order", "MustUnderstand", "", rooted, at(HEADER_END, b'<q:Do xmlns:q="urn:q" S12:mustUnderstand="1"/>')),
    ],
    "gzip": [
        ("more than agreed", "0303", "attachment", lambda: a.zipped(a.zeros(64))),
        ("more than agreed, member by member", "0303", "attachment", lambda: a.zipped(a.zeros(1, members=64))),
        ("very many empty members", "0303", "attachment", a.zipped, compress(b"") * 2000),
        ("cut short", "0303", "attachment", a.zipped, compress(JSON)[:-1]),
        ("something behind it", "0303", "attachment", a.zipped, compress(JSON) + b"<script/>"),
        ("another format", "0303", "attachment", a.zipped, b"PK\x03\x04"),
        ("another name", "0003", "PartProperties/CompressionType", said, (b">application/gzip<", b">application/zip<")),
    ],
    "MIME": [
        ("ten thousand parts", "0007", MIME_ID, a.many_parts, 10_000),
        ("a part without end", "0003", "payload", a.endless_part),
        ("ten thousand parts in the header", "0003", "PayloadInfo", a.many_infos, 10_000),
        ("very many header lines", "0007", "MIME", a.more_part, b"A: b\r\n" * 1000),
        ("a very long header line", "0007", "MIME", a.more_part, b"A: %s\r\n" % (b"b" * 9000)),
        ("a header line without end", "0007", "MIME", a.endless, ROOT + b"A: ", LONG),
        ("a header line folded without end", "0007", "MIME", a.endless, ROOT + b"A: b\r\n", b" c\r\n" * 8192),
        ("a preamble without end", "0007", "MIME", a.endless, b"", LONG),
        ("an epilogue without end", "0007", "MIME", lambda: a.endless(right(), LONG)),
        ("a boundary line without end", "0007", "MIME", a.endless, ROOT.strip(), b" " * 65_536),
        ("MIME inside MIME", "0007", "MIME", a.more_part, b"", b"multipart/mixed; boundary=x"),
        ("one Content-ID twice", "0007", MIME_ID, a.more_part, b"", b"image/png", CIDS[0]),
        ("an unknown transfer encoding", "0007", "Content-Transfer-Encoding", a.changed, (b"binary", b"x-uuencode")),
        ("broken Base64", "0007", "MIME", a.changed, (b"binary", b"base64")),
        ("another boundary", "0007", "MIME", a.changed, (b"--stafet-fuzz", b"--other")),
        ("cut short in a part", "0007", "MIME", a.cut_at, b"part-2@stafet>", 24),
        ("cut short before the last line", "0007", "MIME", a.cut_at, b"\r\n--stafet-fuzz"),
        ("empty", "0007", "MIME", lambda: b""),
        ("a part that is not there", "0011", "PartInfo/@href", a.without_part, 1),
    ],
    "made to reach out": [
        ("a payload on the web", "0011", "PayloadInfo", said, (b'href="cid:part-2@stafet"', b'href="%s"' % WEB)),
        ("a payload in a file", "0011", "PayloadInfo", said, (b'href="cid:part-2@stafet"', b'href="%s"' % FILE)),
    ],
    "values": [
        ("a line end in an id", "0003", "MessageInfo/MessageId", said, (b"m-0001@", b"m-0001&#13;&#10;X: y@")),
        ("an id without end", "0009", "MessageInfo/MessageId", said, (b"m-0001@", b"m" * 5000 + b"@")),
        ("a property without end", "0009", "MessageProperties", said, (b">A-7<", b">%s<" % (b"A" * 5000))),
        ("ten thousand properties", "0009", "MessageProperties", said, (b"</eb:MessageProperties>", PROPERTIES)),
    ],
    "not spoken here": [
        ("a split message", "0008", "MessageFragment", rooted, at(b"<eb:Messaging", FRAGMENT)),
        ("several hops", "0008", "Messaging/@role", rooted, swapped((b"<eb:Messaging ", HOP))),
        ("leave to pull", "0008", "Security", rooted, swapped((b"<wsse:Security ", b'<wsse:Security S12:role="ebms" '))),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """One message, and under which agreements and Content-Type it comes."""

    code: str
    field: str
    make: Callable[[], bytes | Iterable[bytes]]
    agreements: Callable[[], Agreements] = a.partners
    content_type: str = w.CONTENT_TYPE

    def pieces(self) -> Iterable[bytes]:
        """The body as a network gives it."""
        body = self.make()
        return cut(body, 65_536) if isinstance(body, bytes) else body


def by_certificate() -> dict[str, Attack]:
    """Messages that are right but for their signer's certificate, under agreements with anchors where not said otherwise."""
    under = partial(partial, a.partners, anchors=a.our_anchors())
    made: dict[str, tuple[Any, Any]] = {
        "expired, pinned": (right, partial(a.partners, a.LATER)),
        "not valid yet, pinned": (right, partial(a.partners, a.EARLIER)),
        "expired": (partial(a.chained, days=-1), under()),
        "not valid yet": (partial(a.chained, days=500), under()),
        "revoked": (a.chained, lambda: a.partners(anchors=a.our_anchors(), revoked=[a.issued().certificate])),
        "a revocation list out of date": (a.chained, under(at=w.NOW + 60 * a.DAY)),
        "an unknown issuer": (a.chained, a.partners),
        "another name": (partial(a.chained, name="village"), under()),
        "not for signing": (partial(a.chained, use="encryption"), under()),
    }
    found = {name: Attack("0101", "certificate", make, agreements) for name, (make, agreements) in made.items()}
    return {**found, "a small key": Attack("0103", "certificate", lambda: a.weak()[0], lambda: a.weak()[1])}


def by_media_type() -> dict[str, Attack]:
    """A right message under a Content-Type that is none of ours."""
    kinds = {
        "no boundary": "multipart/related",
        "a boundary without end": f"multipart/related; boundary={'x' * 5000}",
        "an odd boundary": 'multipart/related; boundary="a\\"b"',
        "a page": "text/html",
        "a form": f"multipart/form-data; boundary={w.BOUNDARY}",
        "pages": f'multipart/related; type="text/html"; boundary={w.BOUNDARY}',
    }
    last = Attack("0007", "start", right, content_type=f'{w.CONTENT_TYPE}; start="<{CIDS[1]}>"')
    return {**{n: Attack("415", "", right, content_type=k) for n, k in kinds.items()}, "the SOAP part last": last}


ATTACKS: dict[str, Attack] = {
    **{f"{t} - {n}": Attack(c, f, partial(*make)) for t, rows in ROWS.items() for n, c, f, *make in rows},
    "gzip - a thousand to one": Attack(
        "0303", "attachment", lambda: a.zipped(a.zeros(80)), lambda: Agreed([a.large(PINNED)])
    ),
    **{f"certificate - {name}": attack for name, attack in by_certificate().items()},
    **{f"media type - {name}": attack for name, attack in by_media_type().items()},
}


@pytest.fixture(autouse=True)
def small_canonical_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of XML that must be whole in memory, so low that no test needs a hundred megabytes."""
    monkeypatch.setattr(limits, "CANONICAL_PART", 100_000)


class Counted:
    """A sink that only counts."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> None:
        """The next octets."""
        self.size += len(data)


def receive(attack: Attack, new_sink: Callable[[PartInfo, PMode], Any]) -> Accepted:
    """Put a message through a receiver."""
    receiver = Receiver(attack.content_type, attack.agreements(), new_sink)
    for piece in attack.pieces():
        receiver.feed(piece)
    accepted = receiver.finish()
    assert isinstance(accepted, Accepted)
    return accepted


@pytest.mark.parametrize("name", ATTACKS)
def test_each_is_refused_with_its_code_at_a_bounded_cost(name):
    """Code and field as in the table; no more memory than a few headers take, no more in a sink than was agreed."""
    attack, sinks = ATTACKS[name], []
    made = Attack(attack.code, attack.field, partial(_kept, attack.make()), partial(_kept, attack.agreements()))

    def new_sink(info: PartInfo, pmode: PMode) -> Counted:
        sinks.append((Counted(), pmode.max_size))
        return sinks[-1][0]

    tracemalloc.start()
    try:
        with pytest.raises((EbmsError, SoapFault, HttpRefusal)) as refused:
            receive(replace(made, content_type=attack.content_type), new_sink)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    words = str(refused.value)
    if isinstance(refused.value, EbmsError):
        assert (refused.value.error.code, refused.value.field[: len(attack.field)]) == (
            f"EBMS:{attack.code}",
            attack.field,
        )
    else:
        assert words.startswith(f"{attack.code}: ")
    assert len(words) < 1000 and JSON.decode() not in words
    assert peak < MEMORY
    assert all(sink.size <= agreed for sink, agreed in sinks)


def _kept(value: Any) -> Any:
    return value


RIGHT: dict[str, Attack] = {
    "right": Attack("", "", right),
    "signed only": Attack("", "", partial(a.xml_part, b"<a>b</a>")),
    "said again": Attack("", "", said),
    "signed again": Attack("", "", resigned),
    "the right transform": Attack("", "", partial(a.transform, names.EXC_C14N)),
    "encrypted again": Attack("", "", partial(reencrypted, lambda xml: xml)),
    "gzip of several members": Attack("", "", partial(a.zipped, compress(JSON) * 3)),
    "a gibibyte": Attack("", "", right, lambda: Agreed([a.large(PINNED)])),
    "anchors": Attack("", "", a.chained, lambda: a.partners(anchors=a.our_anchors())),
    "anchors, others revoked": Attack(
        "", "", a.chained, lambda: a.partners(anchors=a.our_anchors(), revoked=[a.issued(name="village").certificate])
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_the_attacks_are_made_from_is_accepted(name):
    """Else the table would show nothing: every maker makes a right message when it is asked for nothing wrong."""
    assert receive(RIGHT[name], lambda info, pmode: Counted()).parts


def test_a_replay_is_the_same_message_and_no_other_content_can_be():
    """A repetition has the first one's fingerprint, by which the kernel knows it; other content has another one."""
    first, again, other = (
        receive(Attack("", "", make), lambda info, pmode: Counted())
        for make in (right, right, partial(a.zipped, compress(b"other")))
    )
    assert first.message.message_id == other.message.message_id
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


# --- over TLS, into the node's own store ------------------------------------------------------------------------------


@pytest.mark.parametrize("threat", sorted({name.partition(" - ")[0] for name in ATTACKS}))
async def test_each_is_refused_over_tls_and_leaves_nothing(threat, tmp_path):
    """The same codes through a real server and connection; no payload is visible before, during or after."""
    async with guarded(tmp_path) as (gate, port):
        client = Client()
        for name, attack in ATTACKS.items():
            if not name.startswith(f"{threat} - "):
                continue
            gate.agreements = partial(_kept, attack.agreements())
            body = b"".join(attack.pieces())
            async with asyncio.timeout(20):
                url, tls = f"https://localhost:{port}/", pki().calling()
                answer = await client.post(url, attack.content_type, body, length=len(body), tls=tls)
            got = answer.body.decode() if answer.status == 200 else str(answer.status)
            assert (name, got) == (name, attack.code)
        await client.close()


async def _open(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("localhost", port, ssl=pki().calling())


def _head(length: int) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {w.CONTENT_TYPE}\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_a_connection_that_ends_in_the_middle_leaves_nothing(tmp_path):
    """Cut in the root, in a payload, or just before the last octet: nothing is accepted, answered or kept."""
    body = right()
    async with guarded(tmp_path) as (gate, port):
        for end in (0, 1000, body.rindex(b"part-2@stafet>") + 20, len(body) - 1):
            reader, writer = await _open(port)
            writer.write(_head(len(body)) + body[:end])
            await writer.drain()
            writer.close()
            async with asyncio.timeout(10):
                assert await reader.read() == b""
        async with asyncio.timeout(10):
            while len(gate.ended) < 4:
                await asyncio.sleep(0.01)
    assert "accepted" not in gate.ended and len(gate.ended) == 4


async def test_a_slow_loris_is_ended_by_a_deadline(tmp_path, monkeypatch):
    """A whole right message, some octets at a time: 408 when the time is over, and nothing of it stays."""
    monkeypatch.setattr(limits, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(limits, "DRAIN_TIMEOUT", 0.1)
    body = right()
    slow_from = body.rindex(b"part-2@stafet>") + 20
    monkeypatch.setattr(limits, "MINIMUM_RATE", 100 * len(body))
    async with guarded(tmp_path) as (gate, port):
        reader, writer = await _open(port)
        writer.write(_head(len(body)) + body[:slow_from])
        answer = asyncio.create_task(reader.readuntil(b"\r\n"))
        for at_ in range(slow_from, slow_from + 100):
            writer.write(body[at_ : at_ + 1])
            await asyncio.sleep(0.05)
            if answer.done():
                break
        assert (await answer).startswith(b"HTTP/1.1 408")
        writer.close()
    assert gate.ended == ["HttpRefusal"]
