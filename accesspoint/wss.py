"""WS-Security signatures over header, body and attachments [WSS-SMS §8, WSS-SwA §5].

Rules:

1. `verify` raises or returns exactly what it covered; nobody can forget to look at a flag.
2. A reference into the envelope must resolve to *the* Messaging and *the* Body element objects of `soap.Envelope`; a signed copy
   elsewhere covers nothing.
3. Transforms, canonicalisation, digests and signature methods are those of the profile; every other is refused before any octet
   is hashed. Known but unagreed is 0103, unknown or wrong is 0101.
4. Everything that can be judged from the root part is judged before the first attachment octet; attachments are hashed as they
   stream by and compared at the end.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from accesspoint import limits, names
from accesspoint.errors import FAILED_AUTHENTICATION, POLICY_NONCOMPLIANCE, EbmsError
from accesspoint.names import DS, EC, EXC_C14N, S12, WSSE, tag
from accesspoint.profiles import Profile
from accesspoint.references import Reference, Transform, reference_xml
from accesspoint.soap import Element, Envelope, c14n, parse_xml
from accesspoint.tokens import Form, KeyReference, decode64, is_token, parse_key_info, reference_to, token_xml
from accesspoint.xmltext import attribute

_HASHES: Final[dict[str, Callable[..., Any]]] = {
    names.SHA256: hashlib.sha256,
    names.SHA384: hashlib.sha384,
    names.SHA512: hashlib.sha512,
}
_RSA: Final[dict[str, hashes.HashAlgorithm]] = {
    names.RSA_SHA256: hashes.SHA256(),
    names.RSA_SHA384: hashes.SHA384(),
    names.RSA_SHA512: hashes.SHA512(),
}
_SPACE: Final = " \t\r\n"
_TRANSFORMS: Final = tag(DS, "Transforms")
_TRANSFORM: Final = tag(DS, "Transform")
_DIGEST_METHOD: Final = tag(DS, "DigestMethod")
_DIGEST_VALUE: Final = tag(DS, "DigestValue")
_SIGNATURES: Final = frozenset({*_RSA, names.RSA_PSS_SHA256, names.ECDSA_SHA256, names.ED25519, names.RSA_SHA1})
_DIGESTS: Final = frozenset({*_HASHES, names.SHA1})

Trust = Callable[[KeyReference], Sequence[x509.Certificate]]
"""Given what KeyInfo says, the certificates believed for this partner now that it may mean; raises 0101 with the reason."""


@dataclass(frozen=True)
class Verified:
    """What a signature was found to cover. ``references`` in document order; ``attachments`` by Content-ID as written."""

    certificate: x509.Certificate
    references: tuple[Reference, ...]
    attachments: Mapping[str, Reference]
    signature_method: str


def _fail(field: str, cause: str) -> EbmsError:
    return EbmsError(FAILED_AUTHENTICATION, field=field, cause=cause)


def _policy(field: str, cause: str, remedy: str = "") -> EbmsError:
    return EbmsError(POLICY_NONCOMPLIANCE, field=field, cause=cause, remedy=remedy)


def _one(parent: Element, name: str, field: str) -> Element:
    found = [child for child in parent if child.tag == name]
    if len(found) != 1:
        raise _fail(field, "is missing" if not found else "occurs more than once")
    return found[0]


def _prefixes(element: Element) -> tuple[str, ...] | None:
    children = list(element)
    if not children:
        return None
    if len(children) != 1 or children[0].tag != tag(EC, "InclusiveNamespaces"):
        raise _fail("Transform", "has parameters that are not supported")
    prefixes = tuple((children[0].get("PrefixList") or "").split())
    if len(prefixes) > limits.PREFIX_LIST:
        raise _fail("InclusiveNamespaces", "lists too many prefixes")
    return prefixes


def parse_reference(element: Element) -> Reference:
    """A ``ds:Reference`` as it stands. Raises 0101 for one that is not well-shaped."""
    transforms: list[Transform] = []
    methods: list[Element] = []
    values: list[Element] = []
    for child in element:
        if child.tag == _TRANSFORMS:
            transforms += [Transform(t.get("Algorithm") or "", _prefixes(t)) for t in child if t.tag == _TRANSFORM]
        elif child.tag == _DIGEST_METHOD:
            methods.append(child)
        elif child.tag == _DIGEST_VALUE:
            values.append(child)
    for found, name in ((methods, "DigestMethod"), (values, "DigestValue")):
        if len(found) != 1:
            raise _fail(name, "is missing" if not found else "occurs more than once")
    digest = decode64(values[0].text, "DigestValue")
    return Reference(element.get("URI") or "", tuple(transforms), methods[0].get("Algorithm") or "", digest)


def _check_reference(reference: Reference, profile: Profile) -> None:
    if reference.digest_algorithm not in profile.digests:
        if reference.digest_algorithm in _DIGESTS:
            raise _policy("DigestMethod", f"{reference.digest_algorithm} is not agreed", "use SHA-256")
        raise _fail("DigestMethod", "is not an algorithm known here")
    if reference.uri.startswith("#"):
        wanted, what = EXC_C14N, "exclusive canonicalisation"
    elif reference.uri.startswith("cid:"):
        wanted, what = names.ATTACHMENT_SIGNATURE, "the Attachment-Content-Signature-Transform"
    else:
        raise _fail("Reference/@URI", "is neither #id nor cid:")
    if [t.algorithm for t in reference.transforms] != [wanted]:
        raise _fail("Transforms", f"a {reference.uri[:4]} reference takes {what} and nothing else")


def _verify_value(certificate: x509.Certificate, method: str, value: bytes, signed: bytes) -> bool:
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and method in _RSA:
            key.verify(value, signed, padding.PKCS1v15(), _RSA[method])
        elif isinstance(key, rsa.RSAPublicKey) and method == names.RSA_PSS_SHA256:
            digest = hashes.SHA256()
            key.verify(value, signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and method == names.ECDSA_SHA256:
            half = (key.curve.key_size + 7) // 8
            if len(value) != 2 * half:
                return False
            r, s = int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big")
            key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey) and method == names.ED25519:
            key.verify(value, signed)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def methods_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The signature methods that a certificate's key can have signed with; none for a key that cannot sign."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return (*_RSA, names.RSA_PSS_SHA256)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return (names.ED25519,)
    return (names.ECDSA_SHA256,) if isinstance(key, ec.EllipticCurvePublicKey) else ()


def check_strength(certificate: x509.Certificate, profile: Profile, field: str = "certificate") -> None:
    """Raises 0103 for an RSA key below the profile's floor, or a curve below 256 bits."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < profile.rsa_bits:
        raise _policy(field, f"an RSA key of {key.key_size} bits; at least {profile.rsa_bits} are demanded")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < limits.CURVE_BITS:
        raise _policy(field, f"a curve of {key.key_size} bits; at least {limits.CURVE_BITS} are demanded")


def _signature_method(info: Element, profile: Profile) -> str:
    method = _one(info, tag(DS, "SignatureMethod"), "SignatureMethod").get("Algorithm") or ""
    if method in profile.signatures:
        return method
    if method in _SIGNATURES:
        raise _policy("SignatureMethod", f"{method} is not agreed", f"use {profile.signatures[0]}")
    raise _fail("SignatureMethod", "is not an algorithm known here")


def verify(envelope: Envelope, profile: Profile, trust: Trust, *, signal: bool = False) -> Verified:
    """Check a signature from the root part alone: method, certificate, value, and the digests of Messaging and Body.

    Attachment digests are returned, not checked: `check_attachments` compares them when their octets have streamed by. The empty
    Body of a ``signal`` need not be signed: it says nothing, and not every product signs it.
    Raises `EbmsError` 0103 when unsigned, not covering or not agreed, 0101 when wrong or not trusted.
    """
    if envelope.security is None:
        raise _policy("Security", "the message is not signed", "sign Messaging, Body and every attachment")
    signatures = envelope.security.findall(tag(DS, "Signature"))
    if len(signatures) != 1:
        problem = "the message is not signed" if not signatures else "more than one signature"
        raise _policy("Signature", problem, "send exactly one signature")
    signature = signatures[0]
    info = _one(signature, tag(DS, "SignedInfo"), "SignedInfo")
    canonicalization = _one(info, tag(DS, "CanonicalizationMethod"), "CanonicalizationMethod")
    if canonicalization.get("Algorithm") != EXC_C14N:
        raise _fail("CanonicalizationMethod", "is not exclusive canonicalisation without comments")
    method = _signature_method(info, profile)
    elements = info.findall(tag(DS, "Reference"))
    if not 1 <= len(elements) <= limits.REFERENCES:
        raise _fail("SignedInfo", f"has {len(elements)} references")
    references = tuple(parse_reference(e) for e in elements)
    if len({r.uri for r in references}) != len(references):
        raise _fail("SignedInfo", "refers to one target twice")
    for reference in references:
        _check_reference(reference, profile)
    value = decode64(_one(signature, tag(DS, "SignatureValue"), "SignatureValue").text, "SignatureValue")
    said = signature.find(tag(DS, "KeyInfo"))
    key_info = parse_key_info(said, envelope.by_id)
    if profile.demands.tokens and not is_token(said, envelope.by_id):
        raise _policy("KeyInfo", f"refers to a certificate; {profile.name} demands a BinarySecurityToken X509v3")
    signed = c14n(info, _prefixes(canonicalization))
    for certificate in trust(key_info):
        if _verify_value(certificate, method, value, signed):
            break
    else:
        raise _fail(
            "SignatureValue", "does not verify with the certificate: changed on the way, or another key signed it"
        )
    check_strength(certificate, profile)
    _check_elements(envelope, references, empty_body=signal)
    attachments = {r.uri[4:]: r for r in references if r.uri.startswith("cid:")}
    return Verified(certificate, references, attachments, method)


def _check_elements(envelope: Envelope, references: Sequence[Reference], *, empty_body: bool) -> None:
    covered = set()
    for reference in references:
        if not reference.uri.startswith("#"):
            continue
        element = envelope.by_id.get(reference.uri[1:])
        if element is None:
            raise _fail("Reference/@URI", "leads to no element of this message")
        digest = _HASHES[reference.digest_algorithm](c14n(element, reference.transforms[0].prefix_list)).digest()
        if digest != reference.digest:
            name = element.tag.rpartition("}")[2]
            raise _fail(f"digest of {name}", f"{name} was changed after it was signed")
        covered.add(element)
    for element, name in ((envelope.messaging, "Messaging"), (envelope.body, "Body")):
        free = element is envelope.body and empty_body and not len(element) and not (element.text or "").strip(_SPACE)
        if element not in covered and not free:
            raise _policy(f"signature over {name}", f"the {name} of this message is not what was signed")


# --- attachments ------------------------------------------------------------------------------------------------------


class AttachmentDigest:
    """The digest of one attachment as WSS4J and everyone computes it, by media type.

    Raw octets for most; ``text/*`` with line ends as CRLF; XML media types canonicalised, which needs the whole part (bounded).
    """

    def __init__(self, algorithm: str, media_type: str) -> None:
        self._hash = _HASHES[algorithm]()
        kind = media_type.partition(";")[0].strip().lower()
        self._xml = bytearray() if _is_xml(kind) else None
        self._crlf = self._xml is None and kind.startswith("text/")
        self._after_cr = False

    def update(self, octets: bytes) -> None:
        """Take the next octets. Raises 0103 when an XML part is too large to be canonicalised."""
        if self._xml is not None:
            self._xml += octets
            if len(self._xml) > limits.CANONICAL_PART:
                raise _policy(
                    "attachment", f"an uncompressed XML part above {limits.CANONICAL_PART} octets", "compress the part"
                )
        elif self._crlf:
            if not octets:
                return
            if self._after_cr and octets.startswith(b"\n"):
                octets = octets[1:]  # the CR that ended the last piece was already written as CRLF
            self._after_cr = octets.endswith(b"\r")
            self._hash.update(octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n"))
        else:
            self._hash.update(octets)

    def digest(self) -> bytes:
        """The digest. Raises 0009 for an XML part that is not well-formed."""
        if self._xml is not None:
            self._hash.update(c14n(parse_xml(bytes(self._xml), what="attachment", size=limits.CANONICAL_PART)))
            self._xml = bytearray()
        digest: bytes = self._hash.digest()
        return digest


def _is_xml(kind: str) -> bool:
    head, _, tail = kind.partition("/")
    if kind.startswith(("text/xml", "application/xml")):
        return True
    return head in ("application", "image") and tail.endswith("+xml")


def check_attachments(verified: Verified, digests: Mapping[str, bytes], cids: Sequence[str]) -> None:
    """Every part signed, every signed part there, every digest equal. Raises 0103 for coverage, 0101 for a digest."""
    if set(verified.attachments) != set(cids):
        missing = sorted(set(cids) - set(verified.attachments))
        raise _policy(
            "signature over attachments",
            "an attachment is not signed" if missing else "the signature names an attachment that is not there",
            "sign every attachment",
        )
    for cid, reference in verified.attachments.items():
        if digests[cid] != reference.digest:
            raise _fail("digest of attachment", "an attachment was changed after it was signed")


# --- signing ----------------------------------------------------------------------------------------------------------

_SECURITY_OPEN: Final = b'<wsse:Security xmlns:S12="%s" xmlns:wsse="%s" S12:mustUnderstand="true">' % (
    S12.encode(),
    WSSE.encode(),
)


def signed_info(profile: Profile, references: Sequence[Reference]) -> bytes:
    """``ds:SignedInfo`` as the canonical octets that are signed."""
    return b"".join(
        (
            b'<ds:SignedInfo xmlns:ds="%s"><ds:CanonicalizationMethod Algorithm="%s"></ds:CanonicalizationMethod>'
            % (DS.encode(), EXC_C14N.encode()),
            b'<ds:SignatureMethod Algorithm="%s"></ds:SignatureMethod>' % attribute(profile.signatures[0]),
            *(reference_xml(r, declare=False) for r in references),
            b"</ds:SignedInfo>",
        )
    )


def local_references(messaging: bytes, messaging_id: str, body: bytes, body_id: str) -> tuple[Reference, Reference]:
    """References to Body and Messaging, from their canonical octets."""
    transform = (Transform(EXC_C14N),)
    return (
        Reference(f"#{body_id}", transform, names.SHA256, hashlib.sha256(body).digest()),
        Reference(f"#{messaging_id}", transform, names.SHA256, hashlib.sha256(messaging).digest()),
    )


def attachment_reference(cid: str, digest: bytes) -> Reference:
    """A reference to an attachment by the SHA-256 of its (compressed) octets."""
    return Reference(f"cid:{cid}", (Transform(names.ATTACHMENT_SIGNATURE),), names.SHA256, digest)


def security_xml(
    info: bytes, value: bytes, certificate: x509.Certificate, form: Form, token_id: str, encryption: bytes = b""
) -> bytes:
    """``wsse:Security`` around a finished signature; ``encryption`` goes first, as everyone's newest operation does."""
    token = token_xml(certificate, token_id) if form == "binary-security-token" else b""
    return b"".join(
        (
            _SECURITY_OPEN,
            encryption,
            token,
            b'<ds:Signature xmlns:ds="%s">' % DS.encode(),
            info,
            b"<ds:SignatureValue>%s</ds:SignatureValue><ds:KeyInfo>" % b64encode(value),
            reference_to(certificate, form, token_id),
            b"</ds:KeyInfo></ds:Signature></wsse:Security>",
        )
    )


SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""A private key that messages can be signed with."""


def sign(key: SigningKey, octets: bytes) -> bytes:
    """The private operation, fit for a thread: the signature value as XML Signature writes it.

    RSA: PKCS#1 v1.5 with SHA-256. Elliptic curve: ECDSA with SHA-256, r and s side by side. Ed25519: as it is.
    """
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(octets)
    half = (key.curve.key_size + 7) // 8
    r, s = utils.decode_dss_signature(key.sign(octets, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(half, "big") + s.to_bytes(half, "big")
