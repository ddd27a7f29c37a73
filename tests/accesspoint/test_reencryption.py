"""A frozen message for another encryption certificate: what was signed stays octet for octet."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import cast

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from accesspoint import ebms, names, outbound
from accesspoint.ebms import PartInfo, Property
from accesspoint.errors import EbmsError
from accesspoint.inbound import Accepted, Receiver
from accesspoint.pmode import PMode
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_2_0, EDELIVERY_2_0_EC, Profile
from accesspoint.reencryption import reencrypt
from accesspoint.tokens import Form, candidates
from accesspoint.wss import SigningKey, Trust, sign
from accesspoint.xmlenc import DecryptionKey
from conformance.pki import Authority, Identity, Kind

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
US = ebms.Party(ebms.Typed("demo-municipality", "urn:demo:parties"), names.INITIATOR)
THEM = ebms.Party(ebms.Typed("demo-hospital", "urn:demo:parties"), names.RESPONDER)
SERVICE = ebms.Typed("urn:demo:service", "urn:demo:services")
AGREED: dict[Profile, tuple[Kind, Kind]] = {
    EDELIVERY_1_15: ("rsa", "rsa"),
    EDELIVERY_2_0: ("ed25519", "x25519"),
    EDELIVERY_2_0_EC: ("p256", "p256"),
}
"""The kinds of key for signing and for encryption under each profile."""


@functools.cache
def authority() -> Authority:
    """Who issues all certificates here."""
    return Authority("Demo CA of frozen messages", NOON)


def identity(name: str, profile: Profile = EDELIVERY_1_15) -> Identity:
    """A key and certificate made once, of the kind the profile has for it."""
    signing, encryption = AGREED[profile]
    return _made(name, signing if name == "signing" else encryption)


@functools.cache
def _made(name: str, kind: Kind) -> Identity:
    return authority().issue(f"Demo {name}", "both", kind=kind)


def pmode(us: ebms.Party = US, them: ebms.Party = THEM, profile: Profile = EDELIVERY_1_15) -> PMode:
    """The agreement, from either side."""
    old = identity("old key", profile).certificate
    return PMode("p", "x", profile, us, them, SERVICE, "tell", their_encryption_certificate=old)


def frozen(
    payloads: Sequence[bytes], properties: tuple[Property, ...] = (), profile: Profile = EDELIVERY_1_15
) -> outbound.Message:
    """A message signed by the municipality and encrypted for the hospital's old key."""
    by = identity("signing", profile)
    header = ebms.UserMessage(
        "message-1@municipality.example", 0, US, THEM, SERVICE, "tell", "c-1", None, None, None, properties=properties
    )
    parts = [
        outbound.Part(f"part-{n}@municipality.example", "application/json", False, len(p), sha256(p).digest())
        for n, p in enumerate(payloads)
    ]
    signing = functools.partial(sign, cast(SigningKey, by.key))
    return outbound.build(pmode(profile=profile), header, parts, by.certificate, signing)


class Hospital:
    """The receiving side, with one decryption key."""

    def __init__(self, key: str, profile: Profile = EDELIVERY_1_15) -> None:
        self._own, self._profile = identity(key, profile), profile
        self.taken: list[bytearray] = []

    def pmodes(self) -> Sequence[PMode]:
        return [pmode(THEM, US, self._profile)]

    def trust(self, _pmode: PMode) -> Trust:
        return lambda reference: candidates(reference, [identity("signing", self._profile).certificate])

    def decryption_keys(self, _pmode: PMode) -> Sequence[tuple[x509.Certificate, DecryptionKey]]:
        return [(self._own.certificate, cast(DecryptionKey, self._own.key))]

    def sink(self, _info: PartInfo, _pmode: PMode) -> _Taken:
        self.taken.append(made := _Taken())
        return made

    def take(self, message: outbound.Message, payloads: Sequence[bytes]) -> Accepted:
        """Receive it as it goes over the wire."""
        receiver = Receiver(message.content_type, self, self.sink)
        receiver.feed(message.whole(payloads))
        said = receiver.finish()
        assert isinstance(said, Accepted)
        return said


class _Taken(bytearray):
    def write(self, data: bytes) -> None:
        """Keep them."""
        self.extend(data)


@pytest.mark.parametrize("profile", AGREED, ids=lambda p: p.name)
@pytest.mark.parametrize("form", ["binary-security-token", "subject-key-identifier", "issuer-serial"])
def test_it_is_readable_with_the_new_key_and_no_longer_with_the_old(form: Form, profile: Profile):
    """Whatever way the certificate is named, and however the content key reaches its holder."""
    payloads = [b"first", b"second" * 1000]
    before = frozen(payloads, profile=profile)
    after = reencrypt(before, identity("new key", profile).certificate, form)
    hospital = Hospital("new key", profile)
    said = hospital.take(after, payloads)
    assert hospital.taken == payloads
    assert said.message.message_id == "message-1@municipality.example"
    with pytest.raises(EbmsError) as caught:
        Hospital("old key", profile).take(after, payloads)
    assert caught.value.error.code == "EBMS:0102"


def test_what_was_signed_is_the_same_octet_for_octet():
    """So that a receipt for either of the two proves the same."""
    payloads = [b"first", b"second"]
    before = frozen(payloads)
    after = reencrypt(before, identity("new key").certificate, "binary-security-token")
    assert Hospital("old key").take(before, payloads).references == after.references == before.references
    assert Hospital("new key").take(after, payloads).references == before.references
    signature = before.root[before.root.index(b"<ds:Signature ") :]
    assert after.root.endswith(signature)
    token = before.root.index(b"<wsse:BinarySecurityToken", before.root.rindex(b"</xenc:EncryptedData>"))
    assert before.root[token:] == after.root[-len(before.root[token:]) :]
    assert (after.boundary, after.message_id) == (before.boundary, before.message_id)
    assert len(after.whole(payloads)) == after.length


@pytest.mark.parametrize("profile", AGREED, ids=lambda p: p.name)
def test_key_and_ivs_are_new(profile: Profile):
    """No key is wrapped for two certificates, no IV is used for two texts, and no agreement is made twice."""
    before = frozen([b"first", b"second"], profile=profile)
    after = reencrypt(before, identity("new key", profile).certificate, "binary-security-token")
    again = reencrypt(before, identity("new key", profile).certificate, "binary-security-token")
    fresh = re.compile(rb"<xenc:OriginatorKeyInfo>.*</xenc:OriginatorKeyInfo>")
    agreements = {tuple(fresh.findall(m.root)) for m in (before, after, again)}
    assert len(agreements) == (1 if profile is EDELIVERY_1_15 else 3)
    assert len({before.key, after.key, again.key}) == 3
    assert len({part[3] for m in (before, after, again) for part in m.parts}) == 6
    assert [part[:3] for part in after.parts] == [part[:3] for part in before.parts]


def test_randomness_comes_from_where_it_is_told():
    """One key, what an agreement takes, then one IV for each part."""
    asked: list[int] = []

    def counted(octets: int) -> bytes:
        asked.append(octets)
        return bytes(octets)

    after = reencrypt(frozen([b"a", b"b"]), identity("new key").certificate, "issuer-serial", entropy=counted)
    assert asked == [16, 12, 12]
    assert after.key == bytes(16)
    asked.clear()
    before, new = frozen([b"a", b"b"], profile=EDELIVERY_2_0), identity("new key", EDELIVERY_2_0).certificate
    assert reencrypt(before, new, "issuer-serial", entropy=counted).key == bytes(16)
    assert asked == [16, 16, 32, 12, 12], "an agreement takes a salt and a key of its own"


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20),
            st.one_of(
                st.sampled_from(["</xenc:EncryptedData>", "<wsse:Security >", ">", "]]>", "&lt;"]),
                st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=40),
            ),
        ),
        max_size=4,
        unique_by=lambda p: p[0],
    )
)
@settings(max_examples=25, deadline=None)
def test_no_value_of_the_header_is_mistaken_for_its_own_marks(properties: list[tuple[str, str]]):
    """Whatever partners write into their properties."""
    before = frozen([b"payload"], tuple(Property(n, v) for n, v in properties))
    after = reencrypt(before, identity("new key").certificate, "binary-security-token")
    said = Hospital("new key").take(after, [b"payload"])
    assert [(p.name, p.value) for p in said.message.properties] == [(n, " ".join(v.split())) for n, v in properties]


def test_a_certificate_that_nothing_can_be_encrypted_for_is_refused():
    """A key for signing alone is not the partner's new key."""
    with pytest.raises(ValueError, match=r"^nothing can be encrypted for this key"):
        reencrypt(frozen([b"x"]), identity("signing", EDELIVERY_2_0).certificate, "issuer-serial")


def test_a_message_in_which_nothing_is_encrypted_is_refused():
    """There is no layer to make anew."""
    with pytest.raises(ValueError, match="not found"):
        reencrypt(frozen([]), identity("new key").certificate, "binary-security-token")
