"""What there is to ask about a chain, and which answers are taken: all of fetching but the network and the disk.

Rules:

1. An answer is judged before it takes the place of the one before. What is wrong, out of date or older than what we have, is not
   taken, so that nobody on the way can make us forget.
2. The time to ask again is half of what is left, so that an outage has the other half to end in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from core import limits
from core.clock import Micros, from_datetime
from core.revocation import (
    UNREADABLE,
    Evidence,
    Unusable,
    Window,
    answer_begin,
    answer_end,
    check_nonce,
    issuer_of,
    list_end,
    list_urls,
    responder_urls,
    said_of,
    signed_by,
)
from core.trust import fingerprint, lists_in


@dataclass(frozen=True)
class Known:
    """What a configuration says beforehand: a path that will be asked about, lists to hold, and who is believed about them."""

    path: tuple[x509.Certificate, ...]
    authorities: tuple[x509.Certificate, ...]
    window: Window
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A list at ``url``, or what the responder there says about ``certificate``. Believed is what ``authorities`` have signed."""

    url: str
    certificate: x509.Certificate | None
    authorities: tuple[x509.Certificate, ...]
    window: Window

    @cached_property
    def key(self) -> str:
        """A file name; the same for the same question under the same authorities alone: none stands in another's way."""
        about = fingerprint(self.certificate) if self.certificate else ""
        believed = " ".join(sorted({fingerprint(authority) for authority in self.authorities}))
        return hashlib.sha256(f"{believed} {about} {self.url}".encode()).hexdigest()

    @property
    def limit(self) -> int:
        """Octets an answer may have."""
        return limits.RESPONSE_SIZE if self.certificate else limits.REVOCATION_LIST_SIZE

    def request(self, nonce: bytes) -> bytes:
        """What the responder is sent. The certificate is named with SHA-1, as all responders understand; nothing rests on it."""
        issuer = issuer_of(self.certificate, self.authorities) if self.certificate else None
        if self.certificate is None or issuer is None:
            raise Unusable("nobody believed has issued the certificate")
        builder = ocsp.OCSPRequestBuilder().add_certificate(self.certificate, issuer, hashes.SHA1())  # noqa: S303
        request = builder.add_extension(x509.OCSPNonce(nonce), critical=False).build()
        return request.public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Held:
    """An answer that was taken: what it is, since when it speaks, until when it counts."""

    what: x509.CertificateRevocationList | ocsp.OCSPResponse
    begin: Micros
    end: Micros

    def again(self, at: Micros) -> Micros:
        """When to ask again, if it was got at ``at``."""
        return at + max(limits.REVOCATION_PAUSE, min(limits.REVOCATION_REFRESH, (self.end - at) // 2))


def questions(known: Known) -> list[Question]:
    """All there is to ask about a path and the lists beside it, each once."""
    found = [Question(url, None, known.authorities, known.window) for url in known.urls]
    found += _about(known.path, (*known.path[1:], *known.authorities), known.window)
    return list(each_once(found).values())


def each_once(found: Iterable[Question]) -> dict[str, Question]:
    """By key; of two that differ in their window alone the stricter one, which is asked more often."""
    kept: dict[str, Question] = {}
    for question in found:
        other = kept.get(question.key)
        if other is None or question.window.age < other.window.age:
            kept[question.key] = question
    return kept


def _about(
    path: Sequence[x509.Certificate], authorities: tuple[x509.Certificate, ...], window: Window
) -> Iterator[Question]:
    for certificate in path:
        issuer = issuer_of(certificate, authorities)
        if issuer is None or issuer == certificate:
            continue
        named = tuple(a for a in authorities if a.subject == issuer.subject)  # a renewed one may sign the list
        for url in list_urls(certificate):
            yield Question(url, None, named, window)
        for url in responder_urls(certificate):
            yield Question(url, certificate, named, window)


def take(question: Question, octets: bytes, before: Held | None, at: Micros, nonce: bytes | None = None) -> Held:
    """Judge what came. Raises `Unusable` with the reason why the answer before stays."""
    if len(octets) > question.limit:
        raise Unusable(f"more than {question.limit} octets")
    held = _list(question, octets) if question.certificate is None else _answer(question, octets, at, nonce)
    if held.end < at:
        raise Unusable("it is out of date")
    if held.begin > at + limits.RESPONSE_SKEW:
        raise Unusable("it is from the future; compare the clocks")
    if before is not None and held.begin < before.begin:
        raise Unusable("it is older than the one we have")
    return held


def _list(question: Question, octets: bytes) -> Held:
    try:
        (item,) = lists_in(octets)
        if not signed_by(item, question.authorities):
            raise Unusable("the list is not signed by an authority that is believed here")
        return Held(item, from_datetime(item.last_update_utc), list_end(item, question.window))
    except UNREADABLE as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable("it is no revocation list that can be read") from None


def _answer(question: Question, octets: bytes, at: Micros, nonce: bytes | None) -> Held:
    assert question.certificate is not None
    try:
        answer = ocsp.load_der_ocsp_response(octets)
    except UNREADABLE:
        raise Unusable("it is no answer of a responder") from None
    single = said_of(answer, question.certificate, question.authorities, (), at)
    if nonce is not None:
        check_nonce(answer, nonce)
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise Unusable("the responder does not know the certificate")
    begin = answer_begin(single) + limits.RESPONSE_SKEW
    return Held(answer, begin, answer_end(single, question.window))


def evidence(held: Iterable[Held]) -> Evidence:
    """Answers as they are judged."""
    whole = [item.what for item in held]
    return Evidence(
        tuple(item for item in whole if isinstance(item, x509.CertificateRevocationList)),
        tuple(item for item in whole if isinstance(item, ocsp.OCSPResponse)),
    )
