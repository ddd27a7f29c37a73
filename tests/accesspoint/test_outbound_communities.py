"""What a community demands of a document is asked before anything is signed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from accesspoint import names
from accesspoint.compression import compress
from accesspoint.ebms import Property, Typed
from accesspoint.errors import EbmsError
from accesspoint.outbound import Part, build
from accesspoint.profiles import EDELIVERY_1_15_SBDH
from accesspoint.sbdh import FIELD, Header
from tests.accesspoint.documents import RECEIVER, SENDER
from tests.fuzz import world as w

HEADER = Header(False, Typed(SENDER), Typed(RECEIVER))
CORNERS = (Property(names.ORIGINAL_SENDER, SENDER), Property(names.FINAL_RECIPIENT, RECEIVER))


@pytest.mark.parametrize(
    ("header", "code", "field", "cause"),
    [
        (None, "EBMS:0010", FIELD, "is missing"),
        (replace(HEADER, sender=Typed(RECEIVER)), "EBMS:0003", "MessageProperties/originalSender", "is not the Sender"),
    ],
)
def test_a_message_that_is_not_as_its_document_says_is_not_signed(header, code, field, cause):
    """With the words that the receiver would have for it; a test message has no document."""
    world = w.world()
    mode = replace(world.pinned, profile=EDELIVERY_1_15_SBDH)
    octets = compress(b"<StandardBusinessDocument/>")
    part = Part("part-1@stafet", "application/xml", True, len(octets), hashlib.sha256(octets).digest())
    said = w.header(mode, properties=CORNERS)
    never = lambda info: pytest.fail("was signed")  # noqa: E731
    with pytest.raises(EbmsError) as caught:
        build(mode, said, [part], world.theirs.certificate, never, header=header)
    assert (caught.value.error.code, caught.value.field) == (code, field)
    assert caught.value.cause.startswith(cause)
    sign, signer = w.sign_as(world.theirs), world.theirs.certificate
    assert build(mode, said, [part], signer, sign, header=HEADER).parts
    ping = replace(said, service=Typed(names.TEST_SERVICE), action=names.TEST_ACTION, properties=())
    assert build(mode, ping, [], signer, sign).parts == ()
