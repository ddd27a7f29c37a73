"""Signed envelopes for these tests: genuine ones, and ones whose signature is genuine over something it should not say.

An edit of the SignedInfo happens *before* signing, so that what is refused is what was edited and not a broken signature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from lxml import etree

from accesspoint import ebms, names, wss
from accesspoint.errors import EbmsError
from accesspoint.names import DS, EB, WSSE, WSU
from accesspoint.profiles import EDELIVERY_1_15, Profile
from accesspoint.references import Reference
from accesspoint.soap import Element, Envelope, parse_envelope
from accesspoint.tokens import KeyReference, reference_to, token_xml
from accesspoint.wss import Verified
from conformance.pki import Authority, Identity, Kind
from tests.fuzz import world as w

NS: Final = {"S12": names.S12, "eb": EB, "wsse": WSSE, "wsu": WSU, "ds": DS, "xenc": names.XENC, "xenc11": names.XENC11}
WIDE: Final = EDELIVERY_1_15.accepting(
    (names.RSA_SHA384, names.RSA_SHA512, names.RSA_PSS_SHA256, names.ECDSA_SHA256, names.ED25519)
).accepting((names.SHA384, names.SHA512))
"""The profile and everything an agreement may add to it for signatures."""

Sign = Callable[[bytes], bytes]


@contextmanager
def refused(code: str, field: str, cause: str = "") -> Iterator[pytest.ExceptionInfo[EbmsError]]:
    """What happens inside is refused with this ebMS code, about this field, for this cause."""
    with pytest.raises(EbmsError) as caught:
        yield caught
    error = caught.value
    assert (error.error.code, error.field) == (f"EBMS:{code}", field), str(error)
    assert error.cause, "a refusal says why"
    assert cause in error.cause, str(error)


@cache
def authority() -> Authority:
    """An authority nobody has agreed on."""
    return Authority("Stafet Test CA", datetime.fromtimestamp(w.NOW / 1e6, UTC))


@cache
def stranger(bits: int = 2048) -> Identity:
    """Somebody with a valid certificate whom nobody knows."""
    return authority().issue("Demo Stranger signing", "signing", bits=bits)


def self_signed(key: Any, *extensions: x509.ExtensionType, issuer: x509.Name | None = None, serial: int = 7) -> Any:
    """A certificate over any kind of key; ``issuer`` may be any name."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Demo")])
    at = datetime.fromtimestamp(w.NOW / 1e6, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name if issuer is None else issuer)
    builder = builder.public_key(key.public_key()).serial_number(serial).not_valid_before(at).not_valid_after(at)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


@cache
def elliptic() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A key on P-256 and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, self_signed(key)


@cache
def edwards() -> tuple[ed25519.Ed25519PrivateKey, x509.Certificate]:
    """An Ed25519 key and its certificate."""
    key = ed25519.Ed25519PrivateKey.generate()
    return key, self_signed(key)


@cache
def holder(kind: Kind) -> Identity:
    """Somebody with a key of this kind, for signing or for encryption as it can be used."""
    return authority().issue(f"Demo {kind}", "signing" if kind == "ed25519" else "both", kind=kind)


def theirs() -> x509.Certificate:
    """The certificate of the partner who signs."""
    return w.world().theirs.certificate


def their_key() -> rsa.RSAPrivateKey:
    """The partner's private key."""
    key = w.world().theirs.key
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def pinned(reference: KeyReference) -> Sequence[x509.Certificate]:
    """The gateway's own judgement for a partner whose certificate is pinned."""
    return w.world().partners.trust(w.world().pinned)(reference)


def trusting(*certificates: x509.Certificate) -> wss.Trust:
    """Belief in these certificates whatever the message says."""
    return lambda reference: certificates


# --- making -----------------------------------------------------------------------------------------------------------

BODY: Final = ebms.body_xml("b-1")


@cache
def messaging() -> bytes:
    """The header of a user message without payloads."""
    return w.messaging_of(w.world().plain, ())


def canonical(octets: bytes, prefixes: tuple[str, ...] | None = None) -> bytes:
    """lxml's own exclusive canonical form of a fragment."""
    element = etree.fromstring(octets)
    return etree.tostring(element, method="c14n", exclusive=True, inclusive_ns_prefixes=list(prefixes or ()) or None)


def local() -> tuple[Reference, Reference]:
    """What every message signs: Body and Messaging."""
    return wss.local_references(messaging(), "m-1", BODY, "b-1")


def key_info(form: Any = "binary-security-token", certificate: x509.Certificate | None = None) -> bytes:
    """The content of a KeyInfo in one of our forms."""
    return reference_to(certificate or theirs(), form, "s-1")


def signed(
    *references: Reference,
    edit: Callable[[bytes], bytes] = lambda info: info,
    sign: Sign | None = None,
    info_about_key: bytes | None = None,
    token: bytes | None = None,
    extra: bytes = b"",
    header: bytes | None = None,
    body: bytes = BODY,
) -> bytes:
    """An envelope signed by the partner over ``references`` (Body and Messaging unless told otherwise)."""
    info = edit(wss.signed_info(EDELIVERY_1_15, references or local()))
    value = (sign or w.sign_as(w.world().theirs))(canonical(info))
    about = key_info() if info_about_key is None else info_about_key
    return enveloped(
        (token_xml(theirs(), "s-1") if token is None else token) + signature(info, value, about) + extra, header, body
    )


def signature(info: bytes, value: bytes, about_key: bytes) -> bytes:
    """A ``ds:Signature`` from its pieces."""
    return (
        b'<ds:Signature xmlns:ds="%s">%s<ds:SignatureValue>%s</ds:SignatureValue><ds:KeyInfo>%s</ds:KeyInfo></ds:Signature>'
        % (
            DS.encode(),
            info,
            wss.b64encode(value),
            about_key,
        )
    )


def enveloped(security: bytes, header: bytes | None = None, body: bytes = BODY) -> bytes:
    """An envelope whose security header holds ``security``."""
    opened = b'<wsse:Security xmlns:wsse="%s">%s</wsse:Security>' % (WSSE.encode(), security)
    return ebms.envelope_xml(opened, messaging() if header is None else header, body)


def replacing(old: bytes | str, new: bytes | str, count: int = 1) -> Callable[[bytes], bytes]:
    """An edit that must find what it replaces."""
    before, after = (x.encode() if isinstance(x, str) else x for x in (old, new))

    def edit(octets: bytes) -> bytes:
        assert before in octets, f"{before!r} is not there to be replaced"
        return octets.replace(before, after, count)

    return edit


def without(element: str) -> Callable[[bytes], bytes]:
    """An edit that takes an element out."""

    def edit(octets: bytes) -> bytes:
        left = re.sub(rb"<%s[ >].*?</%s>" % (element.encode(), element.encode()), b"", octets, flags=re.DOTALL)
        assert left != octets, f"{element} is not there to be taken out"
        return left

    return edit


def doubling(element: str) -> Callable[[bytes], bytes]:
    """An edit that repeats an element."""

    def edit(octets: bytes) -> bytes:
        found = re.search(rb"<%s[ >].*?</%s>" % (element.encode(), element.encode()), octets, flags=re.DOTALL)
        assert found, f"{element} is not there to be repeated"
        return octets.replace(found[0], found[0] * 2)

    return edit


# --- judging ----------------------------------------------------------------------------------------------------------


def verify(octets: bytes, profile: Profile = EDELIVERY_1_15, trust: wss.Trust = pinned) -> Verified:
    """Judge an envelope the way the receiver does."""
    return wss.verify(parse_envelope(octets), profile, trust)


def judged(envelope: Envelope) -> Verified:
    """Judge a parsed envelope under the pinned agreement."""
    return wss.verify(envelope, EDELIVERY_1_15, pinned)


def found(root: Element, path: str) -> Element:
    """The one element at ``path``."""
    (element,) = root.xpath(path, namespaces=NS)
    return element
