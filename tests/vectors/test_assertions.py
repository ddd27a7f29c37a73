"""Test assertions that no partner file can bring about: whole messages through the access point as a library.

Ids are those of docs/assertions.yaml; all others are shown by messages over real sockets in tests/gateways/as4/.
"""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from accesspoint import ebms, mime, names
from accesspoint.errors import EbmsError
from accesspoint.inbound import Accepted
from accesspoint.tokens import token_xml
from tests.accesspoint.messages import CIDS, JSON, NAMED, encrypted, pieces, plain_part
from tests.fuzz import world as w

PLAIN, PINNED = w.world().plain, w.world().pinned
"""Signed alone; signed and encrypted."""


@pytest.mark.assertion("CP_TA34")
def test_what_is_compressed_and_then_signed_is_taken():
    """A P-Mode without encryption: the signature covers the gzip that anybody can read on the way, and it is unpacked."""
    message, body = w.sent(PLAIN, [(JSON, "application/json", True)])
    assert message.key == b"" and b"EncryptedData" not in body
    begin = body.index(b"\r\n\r\n", body.index(b"Content-ID: <part-1@stafet>")) + 4
    assert gzip.decompress(body[begin : body.index(b"\r\n--" + w.BOUNDARY.encode(), begin)]) == JSON
    said = w.receive(body)
    assert isinstance(said, Accepted) and said.pmode is PLAIN
    (part,) = said.parts
    assert isinstance(part.sink, w.Buffer) and bytes(part.sink.octets) == JSON
    assert part.info.get(names.COMPRESSION_TYPE) == names.GZIP


@pytest.mark.parametrize("pmode", [PLAIN, PINNED], ids=["signed alone", "signed and encrypted"])
def test_what_is_encrypted_and_not_signed_is_refused(pmode):
    """Compressed, then encrypted, and nobody's: the profile demands a signature, whatever it says of encryption."""
    first, second = pieces()
    ours = w.world().ours
    security = token_xml(ours.certificate, "t-1") + w.encrypted_for_us(pmode, [first, second])
    header = b'<wsse:Security xmlns:wsse="%s">%s</wsse:Security>' % (names.WSSE.encode(), security)
    root = ebms.envelope_xml(header, w.messaging_of(pmode, NAMED), ebms.body_xml("b-1"))
    parts = [plain_part(cid, encrypted(p.octets)) for cid, p in zip(CIDS, (first, second), strict=True)]
    body = b"".join((mime.root_head(w.BOUNDARY, "r@x"), root, *parts, mime.closing(w.BOUNDARY)))
    with pytest.raises(EbmsError) as caught:
        w.receive(body)
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0103", "Signature")
    assert replace(pmode.profile, demand_signature=True) == pmode.profile
