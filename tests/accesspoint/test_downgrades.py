"""Who agreed on one profile and sends another: nothing is guessed and nothing weaker is taken, in both directions.

The receiver here knows all of the partner's certificates and has a key of its own for every way of encryption: nothing but the
agreement stands between a message and its acceptance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import Any

import pytest
from cryptography import x509

from accesspoint import ebms, names
from accesspoint.inbound import Accepted, Receiver
from accesspoint.outbound import Part, build
from accesspoint.pmode import PMode
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_2_0, EDELIVERY_2_0_EC, Profile
from accesspoint.soap import parse_envelope
from accesspoint.wss import Trust
from accesspoint.xmlenc import DecryptionKey, encryption_xml, parse_encryption, wrap_key
from tests.accesspoint import signing as s
from tests.accesspoint.signing import refused, replacing
from tests.fuzz import world as w

PROFILES = {
    "1.15": (EDELIVERY_1_15, "rsa", "rsa"),
    "2.0": (EDELIVERY_2_0, "ed25519", "x25519"),
    "2.0 ec": (EDELIVERY_2_0_EC, "p256", "p256"),
}
"""Each profile with the kinds of key for signing and for encryption."""
OTHERS = tuple(permutations(PROFILES, 2))
TEXT = b'{"observation": 37.2}'


# --- whole messages ---------------------------------------------------------------------------------------------------


def pmode(profile: Profile, encryption: Any = "rsa") -> PMode:
    """How the hospital receives from the municipality; to send as the municipality, the same with a certificate of theirs."""
    them, us = ebms.Typed("municipality", "urn:demo:parties"), ebms.Typed("hospital", "urn:demo:parties")
    return PMode(
        "deliver",
        "municipality",
        profile,
        ebms.Party(us, names.RESPONDER),
        ebms.Party(them, names.INITIATOR),
        ebms.Typed("homecare", "urn:demo:services"),
        "deliver",
        their_encryption_certificate=s.holder(encryption).certificate,
    )


@cache
def sent(name: str, payloads: int) -> tuple[str, bytes]:
    """Content-Type and octets of a message under a profile."""
    profile, signing, encryption = PROFILES[name]
    digest = hashlib.sha256(TEXT).digest()
    parts = [Part(f"part-{n}@stafet", "application/json", False, len(TEXT), digest, ()) for n in range(payloads)]
    agreed, signer = pmode(profile, encryption), s.holder(signing)  # type: ignore[arg-type]
    message = build(agreed, w.header(agreed), parts, signer.certificate, w.sign_as(signer))
    return message.content_type, message.whole([TEXT] * payloads)


class Hospital:
    """A receiver that has one agreement and every key."""

    def __init__(self, profile: Profile) -> None:
        self._pmode = pmode(profile)
        self.taken: list[w.Buffer] = []

    def pmodes(self) -> Sequence[PMode]:
        """The one."""
        return [self._pmode]

    def trust(self, pmode: PMode) -> Trust:
        """All that they may sign with."""
        return s.trusting(*(s.holder(signing).certificate for _, signing, _ in PROFILES.values()))  # type: ignore[arg-type]

    def decryption_keys(self, pmode: PMode) -> Sequence[tuple[x509.Certificate, DecryptionKey]]:
        """All that they may encrypt for."""
        held = [s.holder(encryption) for _, _, encryption in PROFILES.values()]  # type: ignore[arg-type]
        return [(one.certificate, one.key) for one in held]  # type: ignore[misc]

    def sink(self, info: ebms.PartInfo, pmode: PMode) -> w.Buffer:
        """Keeps what comes."""
        self.taken.append(w.Buffer())
        return self.taken[-1]

    def take(self, content_type: str, octets: bytes) -> Accepted:
        """Receive a message as it comes over the wire."""
        receiver = Receiver(content_type, self, self.sink)
        receiver.feed(octets)
        said = receiver.finish()
        assert isinstance(said, Accepted)
        return said


@pytest.mark.parametrize("payloads", [0, 1, 2])
@pytest.mark.parametrize("name", PROFILES)
def test_what_is_agreed_is_taken(name, payloads):
    """Under each profile, with payloads and without; and it is told by which algorithms it came."""
    profile = PROFILES[name][0]
    hospital = Hospital(profile)
    said = hospital.take(*sent(name, payloads))
    way = {"key transport": (profile.key_agreements or profile.key_transports)[0]} if payloads else {}
    assert (said.message.action, said.algorithms) == ("deliver", {"signature": profile.signatures[0], **way})
    assert [bytes(one.octets) for one in hospital.taken] == [TEXT] * payloads


@pytest.mark.parametrize(("name", "agreed"), OTHERS)
def test_what_is_signed_otherwise_is_refused(name, agreed):
    """A good signature by a key that is known, with a method that is not agreed: 0103 with the one to use."""
    (came,), (wanted,) = PROFILES[name][0].signatures, PROFILES[agreed][0].signatures
    with refused("0103", "SignatureMethod", f"{came} is not agreed") as caught:
        Hospital(PROFILES[agreed][0]).take(*sent(name, 0))
    assert caught.value.remedy == f"use {wanted}"


@pytest.mark.parametrize(("name", "agreed"), OTHERS)
def test_what_is_encrypted_otherwise_is_refused(name, agreed):
    """A content key that our keys could unwrap, in a way that is not agreed: 0103, and not an octet reaches the sink."""
    hospital = Hospital(PROFILES[agreed][0])
    with refused("0103", "AgreementMethod" if "1.15" not in (name, agreed) else "EncryptedKey/EncryptionMethod"):
        hospital.take(*sent(name, 2))
    assert hospital.taken == []


@pytest.mark.parametrize(
    ("agreed", "kind", "cause"),
    [
        ("1.15", "x25519", "is not for rsa-oaep"),
        ("1.15", "p256", "is not for rsa-oaep"),
        ("2.0", "rsa", "is not for x25519"),
        ("2.0", "p256", "is not for x25519"),
        ("2.0", "ed25519", "is not for x25519"),
        ("2.0 ec", "x25519", "is not for ECDH-ES"),
        ("2.0 ec", "rsa", "is not for ECDH-ES"),
    ],
)
def test_we_encrypt_for_no_other_kind_of_certificate_than_agreed(agreed, kind, cause):
    """Whatever stands in the partner's file, what leaves is what the profile says, or nothing does."""
    profile, signing, _ = PROFILES[agreed]
    signer, mode = s.holder(signing), pmode(profile, kind)  # type: ignore[arg-type]
    part = Part("part@stafet", "application/json", False, len(TEXT), hashlib.sha256(TEXT).digest(), ())
    with refused("0103", "encryption_certificate", cause):
        build(mode, w.header(mode), [part], signer.certificate, lambda info: pytest.fail("was signed"))
    assert build(mode, w.header(mode), [], signer.certificate, w.sign_as(signer)).key == b"", "nothing to encrypt"


def test_what_an_agreement_adds_is_taken_while_a_partner_moves():
    """RSA-SHA256 beside Ed25519, where both say so; the content key still travels as the profile says."""
    wider = EDELIVERY_2_0.accepting((names.RSA_SHA256,))
    assert Hospital(wider).take(*sent("1.15", 0)).message.action == "deliver"
    assert Hospital(wider).take(*sent("2.0", 1)).message.action == "deliver"
    with refused("0103", "EncryptedKey/EncryptionMethod"):
        Hospital(wider).take(*sent("1.15", 1))


# --- content keys -----------------------------------------------------------------------------------------------------


@cache
def key_for(kind: Any) -> bytes:
    """The XML about encryption for the holder of such a key."""
    certificate = s.holder(kind).certificate
    wrapped = wrap_key(certificate, w.entropy(16), w.entropy)
    return encryption_xml(certificate, "issuer-serial", wrapped, [("a@stafet", "image/png")], "e-1")


FOREIGN = replacing(names.HKDF, names.XENC11 + "ConcatKDF")
UNNAMED = replacing(f'<xenc:AgreementMethod Algorithm="{names.X25519}">', "<xenc:AgreementMethod>")
DOWNGRADES = {
    "2.0 to 1.15": (EDELIVERY_1_15, lambda: key_for("x25519"), "kw-aes128", names.RSA_OAEP),
    "2.0 ec to 1.15": (EDELIVERY_1_15, lambda: key_for("p256"), "kw-aes128", names.RSA_OAEP),
    "2.0 otherwise to 1.15": (EDELIVERY_1_15, lambda: FOREIGN(key_for("x25519")), "kw-aes128", names.RSA_OAEP),
    "1.15 to 2.0": (EDELIVERY_2_0, lambda: key_for("rsa"), "rsa-oaep", names.KW_AES128),
    "1.15 to 2.0 ec": (EDELIVERY_2_0_EC, lambda: key_for("rsa"), "rsa-oaep", names.KW_AES128),
    "an agreement called RSA": (
        EDELIVERY_2_0,
        lambda: replacing(names.KW_AES128, names.RSA_OAEP)(key_for("x25519")),
        "rsa-oaep",
        names.KW_AES128,
    ),
    "ec to 2.0": (EDELIVERY_2_0, lambda: key_for("p256"), "ECDH-ES", names.X25519),
    "2.0 to ec": (EDELIVERY_2_0_EC, lambda: key_for("x25519"), "x25519", names.ECDH_ES),
    "unnamed": (EDELIVERY_2_0, lambda: UNNAMED(key_for("x25519")), "", names.X25519),
    "no agreement": (
        EDELIVERY_2_0,
        lambda: replacing(names.RSA_OAEP, names.KW_AES128)(key_for("rsa")),
        "no key agreement",
        names.X25519,
    ),
}


@pytest.mark.parametrize("name", DOWNGRADES)
def test_a_content_key_that_comes_another_way_than_agreed_is_refused(name):
    """From the older profile to the newer and back, and between the two of the newer: 0103 says what came and what to use."""
    profile, octets, came, instead = DOWNGRADES[name]
    field = "EncryptedKey/EncryptionMethod" if instead in (names.RSA_OAEP, names.KW_AES128) else "AgreementMethod"
    with refused("0103", field, f"{came} is not agreed") as caught:
        parse_encryption(parse_envelope(s.enveloped(octets())), profile)
    assert caught.value.remedy == f"use {instead}"
