"""Signals we send: a receipt or an error, signed like everything else [AS4 §5.1.8, eD1.15 §1.4.2.7].

Rule: a signal is made once, as octets; the private-key operation is a callable, so that a caller can run all of it in a thread.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from accesspoint.ebms import BODY_ID, MESSAGING_ID, TOKEN_ID, body_xml, envelope_xml, signal_xml
from accesspoint.errors import EbmsError, SoapFault
from accesspoint.outbound import Sign
from accesspoint.profiles import Profile
from accesspoint.receipts import error_xml
from accesspoint.tokens import Form
from accesspoint.wss import local_references, security_xml, signed_info
from accesspoint.xmltext import text

_FAULT_CODES: Final = frozenset({"VersionMismatch", "MustUnderstand", "DataEncodingUnknown", "Sender", "Receiver"})
"""[SOAP12 §5.4.6]"""


def signed_signal(
    content: bytes,
    *,
    message_id: str,
    timestamp: int,
    reference: str | None,
    profile: Profile,
    certificate: x509.Certificate,
    form: Form,
    sign: Sign,
) -> bytes:
    """A whole SOAP envelope around ``content`` (a canonical receipt or error), signed over Messaging and Body."""
    messaging = signal_xml(message_id, timestamp, reference, content, MESSAGING_ID)
    body = body_xml(BODY_ID)
    info = signed_info(profile, local_references(messaging, MESSAGING_ID, body, BODY_ID))
    return envelope_xml(security_xml(info, sign(info), certificate, form, TOKEN_ID), messaging, body)


def unsigned_error(error: EbmsError, *, message_id: str, timestamp: int) -> bytes:
    """An error for somebody we do not know: there is no agreement to sign it under."""
    messaging = signal_xml(message_id, timestamp, error.ref_to_message_id or None, error_xml(error), MESSAGING_ID)
    return envelope_xml(b"", messaging, body_xml(BODY_ID))


def fault_envelope(fault: SoapFault) -> bytes:
    """A SOAP 1.2 fault: not even an ebMS message, so not even an ebMS error.

    What is no code of SOAP 1.2, such as a fault of theirs that is answered, is laid at the sender's door.
    """
    code = fault.code if fault.code in _FAULT_CODES else "Sender"
    body = (
        b"<S12:Body><S12:Fault><S12:Code><S12:Value>S12:%s</S12:Value></S12:Code><S12:Reason>"
        b'<S12:Text xml:lang="en">%s</S12:Text></S12:Reason></S12:Fault></S12:Body>'
    ) % (code.encode(), text(fault.reason))
    return envelope_xml(b"", b"", body).replace(b"<S12:Header></S12:Header>", b"")
