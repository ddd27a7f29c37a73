"""Second opinions on received samples. Nothing here uses the access point's code for what it judges.

- `schema_says`: the official XSD of the envelope and everything in it.
- `xmlsec_says`: the signature by the C library xmlsec, for messages without signed attachments (it has no transform for those).
- `eddsa_says`: an Ed25519 signature by lxml's canonicalisation and `cryptography` alone.
- `digests_say`: digests of elements by lxml's canonicalisation alone, where the signer's certificate is not at hand.
- `plain_payloads`: payloads by splitting, decrypting and unpacking in one go.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import xmlsec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from lxml import etree

NS: Final = {
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "ec": "http://www.w3.org/2001/10/xml-exc-c14n#",
    "eb": "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/",
    "wsse": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
    "wsu": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd",
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
}


@functools.cache
def _schema(path: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(path)))


def schema_says(shared: Path, soap: bytes) -> bool:
    """Whether the envelope fits the official schemas."""
    return bool(_schema(shared / "schemas" / "umbrella" / "as4.xsd").validate(etree.fromstring(soap)))


def xmlsec_says(soap: bytes, certificate: x509.Certificate) -> bool:
    """Whether xmlsec verifies the one signature with the certificate's key."""
    root = etree.fromstring(soap)
    xmlsec.tree.add_ids(root, ["Id", "id"])
    key = certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(key, xmlsec.KeyFormat.PEM)
    try:
        context.verify(root.find(".//ds:Signature", NS))
    except xmlsec.Error:
        return False
    return True


def eddsa_says(soap: bytes, certificate: x509.Certificate) -> bool:
    """Whether lxml's canonical SignedInfo and the certificate's Ed25519 key fit the signature value."""
    info = etree.fromstring(soap).find(".//ds:Signature/ds:SignedInfo", NS)
    listed = info.find("ds:CanonicalizationMethod/ec:InclusiveNamespaces", NS)
    prefixes = (listed.get("PrefixList") or "").split() if listed is not None else None
    octets = etree.tostring(info, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=prefixes)
    value = b64decode(etree.fromstring(soap).findtext(".//ds:Signature/ds:SignatureValue", "", NS))
    key = certificate.public_key()
    assert isinstance(key, ed25519.Ed25519PublicKey)
    try:
        key.verify(value, octets)
    except InvalidSignature:
        return False
    return True


def digests_say(soap: bytes) -> dict[str, bool]:
    """For each element the signature refers to, by its local name, whether its digest fits."""
    root = etree.fromstring(soap)
    found = {}
    for reference in root.iterfind(".//ds:Signature/ds:SignedInfo/ds:Reference", NS):
        if not (reference.get("URI") or "").startswith("#"):
            continue
        wanted = (reference.get("URI") or "").removeprefix("#")
        (element,) = root.xpath("//*[@wsu:Id=$wanted]", namespaces=NS, wanted=wanted)
        prefixes = reference.find("ds:Transforms/ds:Transform/ec:InclusiveNamespaces", NS)
        listed = (prefixes.get("PrefixList") or "").split() if prefixes is not None else None
        octets = etree.tostring(
            element, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=listed
        )
        digest = b64decode(reference.findtext("ds:DigestValue", "", NS))
        found[etree.QName(element).localname] = hashlib.sha256(octets).digest() == digest
    return found


def _split(content_type: str, body: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The SOAP part and the other parts by Content-ID; for parts whose transfer encoding is binary."""
    found = re.search(r'boundary="([^"]+)"', content_type)
    assert found is not None
    parts = []
    for piece in body.split(b"--" + found.group(1).encode())[1:-1]:
        head, _, octets = piece.partition(b"\r\n\r\n")
        content_id = re.search(rb"(?im)^Content-ID:\s*<([^>]+)>", head)
        parts.append((content_id.group(1).decode() if content_id else "", octets.removesuffix(b"\r\n")))
    return parts[0][1], dict(parts[1:])


def _content_key(root: Any, keys: Sequence[Any]) -> bytes:
    value = b64decode(root.findtext(".//xenc:EncryptedKey/xenc:CipherData/xenc:CipherValue", "", NS))
    if root.find(".//xenc:AgreementMethod", NS) is not None:
        return aes_key_unwrap(_agreed(root, keys[0]), value)
    method = root.find(".//xenc:EncryptedKey/xenc:EncryptionMethod", NS).get("Algorithm")
    mask = hashes.SHA1() if method.endswith("#rsa-oaep-mgf1p") else hashes.SHA256()
    oaep = padding.OAEP(padding.MGF1(mask), hashes.SHA256(), None)
    for key in keys:
        try:
            return bytes(key.decrypt(value, oaep))
        except ValueError:
            continue
    raise AssertionError("no key unwraps the content key")


def _agreed(root: Any, key: Any) -> bytes:
    """The key-wrapping key that HKDF makes of the agreement with the originator's key."""
    found = {etree.QName(e).localname: e.text for e in root.find(".//xenc:AgreementMethod", NS).iter()}
    if "DEREncodedKeyValue" in found:
        secret = key.exchange(serialization.load_der_public_key(b64decode(found["DEREncodedKeyValue"])))
    else:
        point = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, b64decode(found["PublicKey"]))
        secret = key.exchange(ec.ECDH(), point)
    return HKDF(hashes.SHA256(), 16, b64decode(found["Salt"]), b64decode(found.get("Info") or "")).derive(secret)


def plain_payloads(content_type: str, body: bytes, keys: Sequence[Any]) -> list[list[Any]]:
    """Octets and SHA-256 of each payload, in the order of PartInfo."""
    soap, parts = _split(content_type, body)
    root = etree.fromstring(soap)
    if root.find(".//xenc:EncryptedKey", NS) is not None:
        cipher = AESGCM(_content_key(root, keys))
        for reference in root.iterfind(".//xenc:CipherReference", NS):
            cid = reference.get("URI").removeprefix("cid:")
            parts[cid] = cipher.decrypt(parts[cid][:12], parts[cid][12:], None)
    found = []
    for info in root.iterfind(".//eb:PartInfo", NS):
        octets = parts[info.get("href").removeprefix("cid:")]
        if info.find("eb:PartProperties/eb:Property[@name='CompressionType']", NS) is not None:
            octets = gzip.decompress(octets)
        found.append([len(octets), hashlib.sha256(octets).hexdigest()])
    return found
