"""Keys, signatures and content keys of other makers that are no whole message, fed to the code that reads them.

What eDelivery AS4 2.0 uses of them is taken; what it does not use is refused by its name.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import pkcs12
from lxml import etree

from accesspoint import agreement, names
from accesspoint.agreement import parse_agreement
from accesspoint.errors import EbmsError
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_2_0, EDELIVERY_2_0_EC
from accesspoint.soap import Envelope, c14n, parse_envelope
from accesspoint.tokens import candidates, decode64, parse_key_info
from accesspoint.wss import _verify_value, verify
from accesspoint.xmlenc import PartDecryptor, parse_encryption, unwrap_key
from tests.vectors import running
from tests.vectors.running import SECTIONS, SIGNATURE, rows


def _octets(samples: Path, entry: tuple[str, Any]) -> bytes:
    section, row = entry
    return (samples / SECTIONS[section] / row["file"]).read_bytes()


def _secured(security: str) -> Envelope:
    """An envelope with that in its security header."""
    return parse_envelope(
        f'<e:Envelope xmlns:e="{names.S12}"><e:Header><Messaging xmlns="{names.EB}"/>'
        f'<Security xmlns="{names.WSSE}">{security}</Security></e:Header><e:Body/></e:Envelope>'.encode()
    )


def _encrypted(ids: list[str]) -> str:
    """``xenc:EncryptedData`` about attachments of those ids."""
    return "".join(
        f'<EncryptedData xmlns="{names.XENC}" Id="{i}" Type="{names.ATTACHMENT_CONTENT_ONLY}">'
        f'<EncryptionMethod Algorithm="{names.AES128_GCM}"/><CipherData><CipherReference URI="cid:{i}"><Transforms>'
        f'<Transform xmlns="{names.DS}" Algorithm="{names.ATTACHMENT_CIPHERTEXT}"/>'
        "</Transforms></CipherReference></CipherData></EncryptedData>"
        for i in ids
    )


def _inside(octets: bytes, name: str) -> str:
    """The one element of that name, as text."""
    (found,) = etree.fromstring(octets).xpath("descendant-or-self::*[local-name()=$name]", name=name)
    return etree.tostring(found, encoding="unicode", with_tail=False)


# --- RSA --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", rows(reads=...))
def test_digest_and_mask_of_a_key_transport_are_read(samples, entry):
    """The children of EncryptionMethod, in an EncryptedKey of another make."""
    key = _octets(samples, entry).decode().strip()
    ids = re.findall(r'DataReference URI="([^"]+)"', key)
    encryption = parse_encryption(_secured(key + _encrypted(ids)), EDELIVERY_1_15)
    assert encryption is not None and len(encryption.parts) == len(ids) == 2
    read = encryption.key
    assert {"algorithm": read.algorithm, "digest": read.digest, "mask": read.mask} == entry[1]["reads"]


# --- Ed25519 ----------------------------------------------------------------------------------------------------------

EDDSA = [p for p in rows(header=...) if "Ed25519" in p.values[0][1]["file"]]


@pytest.mark.parametrize("entry", EDDSA)
def test_an_ed25519_signature_over_sha1_is_refused_before_its_value_is_looked_at(samples, entry):
    """In a security header, under the profile whose method it is and with its certificate agreed."""
    envelope = _secured(_inside(_octets(samples, entry), "Signature"))
    with pytest.raises(EbmsError) as caught:
        verify(envelope, EDELIVERY_2_0, lambda reference: reference.chain)
    assert {"answer": caught.value.error.code, "field": caught.value.field} == entry[1]["header"]


@pytest.mark.parametrize("entry", EDDSA)
def test_the_value_of_an_ed25519_signature_verifies_and_no_other_does(samples, entry):
    """With the certificate it carries, over SignedInfo in its canonical form; one changed bit on either side is enough."""
    envelope = _secured(_inside(_octets(samples, entry), "Signature"))
    assert envelope.security is not None
    signature = envelope.security.find(SIGNATURE)
    info = signature.find(names.tag(names.DS, "SignedInfo"))
    value = decode64(signature.findtext(names.tag(names.DS, "SignatureValue")), "SignatureValue")
    (certificate,) = parse_key_info(signature.find(names.tag(names.DS, "KeyInfo")), envelope.by_id).chain
    octets = c14n(info)
    assert _verify_value(certificate, names.ED25519, value, octets)
    for changed in (bytes([value[0] ^ 1]) + value[1:], value[:-1], b""):
        assert not _verify_value(certificate, names.ED25519, changed, octets)
    assert not _verify_value(certificate, names.ED25519, value, octets + b" ")
    assert not _verify_value(certificate, names.ECDSA_SHA256, value, octets)


def test_the_key_beside_the_ed25519_signatures_is_theirs(samples):
    """The certificate that they carry is the one of the PKCS#12 file, found by its key identifier or as it is."""
    folder = samples / "crypto-vectors"
    key, certificate, _ = pkcs12.load_key_and_certificates((folder / "eddsa.p12").read_bytes(), b"security")
    assert isinstance(key, ed25519.Ed25519PrivateKey) and certificate is not None
    for entry in (p.values[0] for p in EDDSA):
        envelope = _secured(_inside(_octets(samples, entry), "Signature"))
        signature = envelope.security.find(SIGNATURE)  # type: ignore[union-attr]
        reference = parse_key_info(signature.find(names.tag(names.DS, "KeyInfo")), envelope.by_id)
        assert candidates(reference, [certificate]) == [certificate]


# --- key agreement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [p for p in rows(header=...) if "ConcatKDF" in p.values[0][1]["file"]])
def test_a_content_key_under_another_derivation_is_refused(samples, entry):
    """It is named, although agreement, curve and key wrap are those of the profile."""
    key = _inside(_octets(samples, entry), "EncryptedKey")
    with pytest.raises(EbmsError) as caught:
        parse_encryption(_secured(key + _encrypted(["a"])), EDELIVERY_2_0_EC)
    assert {"answer": caught.value.error.code, "field": caught.value.field} == entry[1]["header"]
    assert "ConcatKDF" in caught.value.cause and "#hkdf" in caught.value.remedy


def _agreement(originator: str, salt: str = "", recipient: str = "") -> str:
    return (
        f'<AgreementMethod xmlns="{names.XENC}" Algorithm="{names.X25519}">'
        f'<KeyDerivationMethod xmlns="{names.XENC11}" Algorithm="{names.HKDF}">'
        f'<HKDFParams xmlns="{names.DSIG_MORE}"><PRF Algorithm="{names.HMAC_SHA256}"/><Salt>{salt}</Salt>'
        "<KeyLength>16</KeyLength></HKDFParams></KeyDerivationMethod><OriginatorKeyInfo>"
        f'<DEREncodedKeyValue xmlns="{names.DSIG11}">{originator}</DEREncodedKeyValue></OriginatorKeyInfo>'
        f"<RecipientKeyInfo>{recipient}</RecipientKeyInfo></AgreementMethod>"
    )


@pytest.mark.parametrize("entry", rows(originator=...))
def test_a_public_key_is_read_as_the_originators_when_it_can_agree(samples, entry):
    """X25519 keys are; a key that signs is refused."""
    element = etree.fromstring(_agreement(_octets(samples, entry).decode().strip()))
    try:
        read = parse_agreement(element)
    except EbmsError as error:
        found = {"answer": error.error.code, "field": error.field}
    else:
        assert isinstance(read.originator, x25519.X25519PublicKey)
        found = {"answer": "read"}
    assert found == entry[1]["originator"]


def test_the_whole_chain_of_x25519_gives_what_the_vector_says(samples):
    """Read as XML, unwrapped with the receiver's key, and decrypted; wrapped by us, it is the vector octet for octet."""
    vector = json.loads((samples / "crypto-vectors" / "x25519-hkdf-kw128-gcm128.json").read_text())
    key = (
        f'<EncryptedKey xmlns="{names.XENC}"><EncryptionMethod Algorithm="{names.KW_AES128}"/><KeyInfo xmlns="{names.DS}">'
        f"{_agreement(vector['ephemeral_spki_b64'], vector['hkdf_salt_b64'])}</KeyInfo>"
        f"<CipherData><CipherValue>{vector['wrapped_cek_b64']}</CipherValue></CipherData>"
        '<ReferenceList><DataReference URI="#a"/></ReferenceList></EncryptedKey>'
    )
    encryption = parse_encryption(_secured(key + _encrypted(["a"])), EDELIVERY_2_0)
    assert encryption is not None
    ours = x25519.X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["recipient_private_hex"]))
    content_key = unwrap_key(ours, encryption.key, 16)
    assert content_key.hex() == vector["cek_hex"]
    part = PartDecryptor(content_key)
    assert part.update(b64decode(vector["cipher_octets_b64"])).decode() == vector["plaintext"]
    part.finish()

    drawn = {16: b64decode(vector["hkdf_salt_b64"]), 32: bytes.fromhex(vector["ephemeral_private_hex"])}
    wrapped = agreement.wrap(ours.public_key(), content_key, lambda size: drawn[size])
    assert b64encode(wrapped.value).decode() == vector["wrapped_cek_b64"]
    assert vector["ephemeral_spki_b64"].encode() in wrapped.agreement
    assert b"<dsig-more:Salt>%s</dsig-more:Salt>" % vector["hkdf_salt_b64"].encode() in wrapped.agreement


@pytest.mark.parametrize("number", ["49", "51"])
def test_the_content_key_of_a_message_unwraps_with_one_key_alone(samples, number):
    """Another key of the same kind fails as everything fails (0102), and so does a key of another kind."""
    row = running.row_of(number)
    soap = running.read(samples, row["file"]).soap
    kind, profile = ("x", EDELIVERY_2_0) if number == "49" else ("ec", EDELIVERY_2_0_EC)
    encryption = parse_encryption(parse_envelope(soap), profile)
    assert encryption is not None and encryption.key.agreement is not None
    ours, own = running.key_pair(samples / "keys", f"server-{kind}")
    assert candidates(parse_key_info(encryption.key.key_info, parse_envelope(soap).by_id), [own]) == [own]
    assert len(unwrap_key(ours, encryption.key, 16)) == 16
    for name in (f"client-{kind}", "server-rsa", "server-ec" if kind == "x" else "server-x"):
        other, _ = running.key_pair(samples / "keys", name)
        with pytest.raises(EbmsError) as caught:
            unwrap_key(other, encryption.key, 16)
        assert (caught.value.error.code, caught.value.cause) == ("EBMS:0102", "could not be decrypted")


def test_the_originators_key_of_a_message_is_on_the_receivers_curve_and_fresh(samples):
    """The two messages under elliptic keys name keys of their own, none of a certificate."""
    points = set()
    for number, profile in (("49", EDELIVERY_2_0), ("51", EDELIVERY_2_0_EC)):
        soap = running.read(samples, running.row_of(number)["file"]).soap
        encryption = parse_encryption(parse_envelope(soap), profile)
        assert encryption is not None and encryption.key.agreement is not None
        points.add(
            encryption.key.agreement.originator.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    for name in ("client-x", "server-x", "client-ec", "server-ec"):
        _, certificate = running.key_pair(samples / "keys", name)
        points.discard(
            certificate.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    assert len(points) == 2
