"""Every limit of the access point, named, with its reason. Octets, counts, or seconds where the name says so."""

from __future__ import annotations

from typing import Final

#: Octets of the SOAP part: a header with a hundred references is a tenth of this.
HEADER_SIZE: Final = 1024 * 1024
#: Depth of elements in the SOAP part; a real header has twelve levels.
XML_DEPTH: Final = 64
#: Elements in the SOAP part.
XML_ELEMENTS: Final = 20_000
#: Attributes on one element.
XML_ATTRIBUTES: Final = 64
#: Namespace declarations in scope anywhere: more is a canonicalisation bomb.
XML_NAMESPACES: Final = 64
#: Prefixes in one InclusiveNamespaces list.
PREFIX_LIST: Final = 32
#: References in one signature; many peers stop at 30 themselves.
REFERENCES: Final = 103
#: Header value length seen in peers.
VALUE: Final = 255
#: Message property value length seen in peers.
PROPERTY_VALUE: Final = 1024
#: Message or part properties.
PROPERTIES: Final = 100
#: MIME parts beside the root.
PARTS: Final = 100
#: Octets of one MIME header line, folded lines joined.
MIME_LINE: Final = 8192
#: Header lines of one MIME part.
MIME_HEADERS: Final = 50
#: Octets before the first boundary and after the last that are read and ignored.
MIME_MARGIN: Final = 65_536
#: Characters of a boundary [RFC 2046 §5.1.1].
BOUNDARY: Final = 70
#: Octets a part may have beyond the agreed size and a hundredth of it: IV, tag, and gzip that gained nothing.
PART_OVERHEAD: Final = 65_536
#: Octets handed on at a time from one part.
PIECE: Final = 1024 * 1024
#: Ratio of output to input above which a gzip stream is a bomb …
GZIP_RATIO: Final = 100
#: … counted only above this much output: honest repetitive lists reach 90:1, zeros 1026:1.
GZIP_RATIO_FLOOR: Final = 64 * 1024 * 1024
#: Members of one gzip stream.
GZIP_MEMBERS: Final = 1024
#: Octets of an XML part that must be canonicalised before it is digested: it needs the whole tree.
CANONICAL_PART: Final = 16 * 1024 * 1024
#: Attributes on one element of any XML that is canonicalised: sorting them takes the square of their number.
CANONICAL_ATTRIBUTES: Final = 1024
#: Octets of a payload in which its business document header must end: one with a document reference in it is a tenth of this.
DOCUMENT_HEADER: Final = 256 * 1024
#: Smallest RSA modulus in bits that is believed.
RSA_BITS: Final = 2048
#: Smallest elliptic curve in bits that is believed.
CURVE_BITS: Final = 256
#: Octets of an answer to a message we sent: a signal, never a payload.
ANSWER_SIZE: Final = 1024 * 1024

#: Octets of an HTTP request line or header field.
HTTP_LINE: Final = 8190
#: Seconds without an octet before a body is given up.
READ_TIMEOUT: Final = 60.0
#: Seconds from the last octet of a message sent to the last octet of its answer: a peer may judge a large one for a while.
ANSWER_TIMEOUT: Final = 120.0
#: Octets a second a long body must keep up after the first minute.
MINIMUM_RATE: Final = 1024
#: Seconds to connect.
CONNECT_TIMEOUT: Final = 30.0
#: Octets read and forgotten after an early refusal, so that the peer sees the answer.
DRAIN_OCTETS: Final = 8 * 1024 * 1024
#: Seconds spent on that.
DRAIN_TIMEOUT: Final = 5.0
#: Seconds a server keeps an idle connection …
KEEP_ALIVE: Final = 75.0
#: … and a client a little less, so that it rarely writes into one that is being closed.
KEEP_ALIVE_CLIENT: Final = 60.0
#: Connections to one partner at a time.
CONNECTIONS_PER_HOST: Final = 32
#: Longest wait in seconds a partner may name in Retry-After.
RETRY_AFTER: Final = 3600
