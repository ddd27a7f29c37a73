"""A frozen message for a partner whose encryption certificate has changed: only the encryption layer is made anew.

Rules:

1. What was signed stays octet for octet: header, body, digests of the parts, the signature itself. A receipt for the message as
   it was and one for the message as it is prove the same.
2. Content key and IVs are new: no key is wrapped for two certificates, and no IV is used for two texts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography import x509

from accesspoint.ebms import KEY_ID
from accesspoint.entropy import entropy as system_entropy
from accesspoint.outbound import Entropy, Message
from accesspoint.tokens import Form
from accesspoint.xmlenc import IV, encryption_xml, wrap_key

_OPEN: Final = b"<wsse:Security "
_CLOSE: Final = b"</xenc:EncryptedData>"


def reencrypt(
    message: Message, certificate: x509.Certificate, form: Form, *, entropy: Entropy = system_entropy
) -> Message:
    """The same message for another certificate. Raises `ValueError` for one in which nothing is encrypted."""
    root, key = message.root, entropy(16)
    listed = [(cid, wire_type) for cid, wire_type, _, _ in message.parts]
    wrapped = wrap_key(certificate, key, entropy)
    # The encryption stands first in the header, and a "<" in a value is never written as such: both marks are ours.
    start = root.index(b">", root.index(_OPEN)) + 1
    end = root.rindex(_CLOSE) + len(_CLOSE)
    return replace(
        message,
        root=root[:start] + encryption_xml(certificate, form, wrapped, listed, KEY_ID) + root[end:],
        key=key,
        parts=tuple((cid, wire_type, length, entropy(IV)) for cid, wire_type, length, _ in message.parts),
    )
