"""What can go wrong in an exchange, and the catalogue of ebMS errors [ebMS3 §6.7 and Part 2 §H, AS4 §3.6].

::

    As4Error
    ├── EbmsError      refused with a catalogued code: theirs when receiving, ours to the producer when sending
    ├── SoapFault      not even an ebMS message: VersionMismatch, MustUnderstand            (HTTP 500)
    ├── HttpRefusal    not even SOAP: wrong method, media type, size, pace                  (HTTP 4xx)
    ├── RemoteError    the peer answered with errors; ``authenticated`` says whether we may believe them
    └── Unreachable    no answer at all (accesspoint.client)

Rule: ``field`` and ``cause`` are safe words. They go to the peer, to logs and to people, so they never hold payload octets,
key material, file names or policy details, and decryption failures all read alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One row of the catalogue: what goes into ``eb:Error`` and what it means to a newcomer."""

    code: str
    short_description: str
    severity: str
    category: str
    origin: str
    meaning: str


def _row(code: str, short: str, category: str, origin: str, meaning: str, severity: str = "failure") -> CatalogueEntry:
    return CatalogueEntry(f"EBMS:{code}", short, severity, category, origin, meaning)


VALUE_NOT_RECOGNIZED: Final = _row(
    "0001",
    "ValueNotRecognized",
    "Content",
    "ebms",
    "a value in the header is unknown here: agreement, service, action or MPC",
)
FEATURE_NOT_SUPPORTED_WARNING: Final = _row(
    "0002",
    "FeatureNotSupported",
    "Content",
    "ebms",
    "an optional feature is not supported; processing went on",
    "warning",
)
VALUE_INCONSISTENT: Final = _row(
    "0003",
    "ValueInconsistent",
    "Content",
    "ebms",
    "a value conflicts with another one, the agreement or the specification",
)
OTHER: Final = _row("0004", "Other", "Content", "ebms", "something no other code names")
CONNECTION_FAILURE: Final = _row(
    "0005", "ConnectionFailure", "Communication", "ebms", "no connection could be opened; never sent to a peer"
)
EMPTY_CHANNEL: Final = _row(
    "0006",
    "EmptyMessagePartitionChannel",
    "Communication",
    "ebms",
    "nothing waits on the channel that was pulled",
    "warning",
)
MIME_INCONSISTENCY: Final = _row(
    "0007", "MimeInconsistency", "Unpackaging", "ebms", "the MIME packaging is broken or cut short"
)
FEATURE_NOT_SUPPORTED: Final = _row(
    "0008",
    "FeatureNotSupported",
    "Unpackaging",
    "ebms",
    "an element is present or missing in a way that is not supported",
)
INVALID_HEADER: Final = _row(
    "0009", "InvalidHeader", "Unpackaging", "ebms", "the header is not well-formed or breaks its schema"
)
PROCESSING_MODE_MISMATCH: Final = _row(
    "0010", "ProcessingModeMismatch", "Processing", "ebms", "no agreement with a partner fits this header"
)
EXTERNAL_PAYLOAD_ERROR: Final = _row(
    "0011", "ExternalPayloadError", "Content", "ebms", "a payload reference leads to no part of this message"
)
ROUTING_FAILURE: Final = _row("0020", "RoutingFailure", "Processing", "ebms", "an intermediary could not route")
MPC_CAPACITY_EXCEEDED: Final = _row(
    "0021", "MPCCapacityExceeded", "Processing", "ebms", "an intermediary's channel is full"
)
MESSAGE_PERSISTENCE_TIMEOUT: Final = _row(
    "0022", "MessagePersistenceTimeout", "Processing", "ebms", "an intermediary kept the message too long"
)
MESSAGE_EXPIRED: Final = _row(
    "0023", "MessageExpired", "Processing", "ebms", "an intermediary found it expired", "warning"
)
BUNDLING_ERROR: Final = _row("0030", "BundlingError", "Content", "ebms", "a bundle is put together wrongly")
RELATED_MESSAGE_FAILED: Final = _row("0031", "RelatedMessageFailed", "Processing", "ebms", "a related unit failed")
FAILED_AUTHENTICATION: Final = _row(
    "0101",
    "FailedAuthentication",
    "Processing",
    "security",
    "the signature is wrong, or its certificate is not trusted for this party",
)
FAILED_DECRYPTION: Final = _row(
    "0102",
    "FailedDecryption",
    "Processing",
    "security",
    "it could not be decrypted: another key, or changed on the way",
)
POLICY_NONCOMPLIANCE: Final = _row(
    "0103",
    "PolicyNoncompliance",
    "Processing",
    "security",
    "unsigned, unencrypted, not covered, or an algorithm not agreed",
)
DYSFUNCTIONAL_RELIABILITY: Final = _row(
    "0201", "DysfunctionalReliability", "Processing", "reliability", "a reliability module failed"
)
DELIVERY_FAILURE: Final = _row(
    "0202", "DeliveryFailure", "Communication", "reliability", "the receiver could not complete the delivery"
)
MISSING_RECEIPT: Final = _row(
    "0301", "MissingReceipt", "Communication", "ebms", "no receipt came in time; told to the producer only"
)
INVALID_RECEIPT: Final = _row(
    "0302",
    "InvalidReceipt",
    "Communication",
    "ebms",
    "the receipt does not match what was sent; told to the producer only",
)
DECOMPRESSION_FAILURE: Final = _row(
    "0303", "DecompressionFailure", "Communication", "ebms", "a part could not be decompressed"
)
DUPLICATE_DETECTED: Final = _row(
    "4001", "DuplicateDetected", "Content", "ebms", "phase4's private code for a message it has already"
)

_OTHERS: Final = (
    _row("0040", "BadFragmentGroup", "Content", "ebms", "a fragment of a group that was refused"),
    _row("0041", "DuplicateMessageSize", "Content", "ebms", "two fragments say how large the message is"),
    _row("0042", "DuplicateFragmentCount", "Content", "ebms", "two fragments say how many there are"),
    _row("0043", "DuplicateMessageHeader", "Content", "ebms", "two fragments bring the message's MIME header"),
    _row("0044", "DuplicateAction", "Content", "ebms", "two fragments bring the message's action"),
    _row("0045", "DuplicateCompressionInfo", "Content", "ebms", "two fragments say how the message is compressed"),
    _row("0046", "DuplicateFragment", "Content", "ebms", "the same fragment came twice"),
    _row("0047", "BadFragmentStructure", "Unpackaging", "ebms", "a fragment is not one empty body and one part"),
    _row("0048", "BadFragmentNum", "Content", "ebms", "a fragment's number is above their count"),
    _row("0049", "BadFragmentCount", "Content", "ebms", "the count of fragments is below a number seen already"),
    _row("0050", "FragmentSizeExceeded", "Unpackaging", "ebms", "a fragment is larger than agreed", "warning"),
    _row("0051", "ReceiveIntervalExceeded", "Unpackaging", "ebms", "not all fragments came in the agreed time"),
    _row("0052", "BadProperties", "Unpackaging", "ebms", "a fragment has a property it may not have", "warning"),
    _row("0053", "HeaderMismatch", "Unpackaging", "ebms", "a fragment's header differs from the joined message's"),
    _row("0054", "OutOfStorageSpace", "Unpackaging", "ebms", "the receiver has no room for the fragments"),
    _row("0055", "DecompressionError", "Processing", "ebms", "the joined message could not be decompressed"),
    _row("0060", "ResponseUsingAlternateMEP", "Processing", "ebms", "the response will come another way", "warning"),
)
"""Codes for what we never do, split messages above all: a peer may send them, and then somebody wants to know what they mean."""

CATALOGUE: Final[dict[str, CatalogueEntry]] = {
    entry.code: entry for entry in (*globals().values(), *_OTHERS) if isinstance(entry, CatalogueEntry)
}
"""All rows by code."""


class As4Error(Exception):
    """Root of the tree."""


class EbmsError(As4Error):
    """Refused with a catalogued code. ``remedy`` tells a newcomer what to change, where we know.

    ``told`` is what the peer hears instead of ``cause`` where that names what is none of a stranger's business; ``detail`` is
    what a community has in ``eb:ErrorDetail`` instead of the code's meaning.
    """

    def __init__(
        self,
        error: CatalogueEntry,
        *,
        field: str,
        cause: str,
        remedy: str = "",
        ref_to_message_id: str = "",
        told: str = "",
        detail: str = "",
    ) -> None:
        self.error, self.field, self.cause, self.remedy = error, field, cause, remedy
        self.told, self.detail = told or cause, detail or error.meaning
        self.ref_to_message_id = ref_to_message_id
        super().__init__(f"{error.code} {error.short_description}: {field}: {cause}")


class SoapFault(As4Error):
    """Not an ebMS message at all. ``code`` is the local name of the SOAP 1.2 fault code."""

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"{code}: {reason}")


class HttpRefusal(As4Error):
    """Not even SOAP: answered by HTTP status alone."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(f"{status}: {reason}")


@dataclass(frozen=True, slots=True)
class ReportedError:
    """One ``eb:Error`` as a peer wrote it."""

    code: str
    severity: str
    short_description: str
    description: str
    detail: str
    ref_to_message: str


class RemoteError(As4Error):
    """The peer answered with errors. An unauthenticated one never ends the retries for good."""

    def __init__(self, errors: Sequence[ReportedError], *, authenticated: bool) -> None:
        self.errors, self.authenticated = tuple(errors), authenticated
        super().__init__("; ".join(f"{e.code} {e.short_description} {e.description}".strip() for e in errors))
