"""Certificates out of a Java truststore, by the aliases that Domibus gives them."""

from __future__ import annotations

import functools
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from core.errors import UsageError
from gateways.as4.moving.importing import Wanted
from gateways.as4.moving.shape import Finding
from gateways.as4.moving.truststore import certificates_of, placed
from tests.gateways.as4.making import authority, stranger

SIGNING = Wanted("certificates/south-signing.pem", "South_Valley", "signing")
ENCRYPTION = Wanted("certificates/south-encryption.pem", "South_Valley", "encryption")


@functools.cache
def _certificate(name: str) -> x509.Certificate:
    return authority().issue(name, "signing").certificate


def _truststore(*aliases: str, password: bytes = b"tide") -> bytes:
    entries = [pkcs12.PKCS12Certificate(_certificate(alias), alias.encode()) for alias in aliases]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(password))


def _common_names(files: dict[str, bytes]) -> dict[str, str]:
    return {
        name: str(x509.load_pem_x509_certificate(pem).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        for name, pem in files.items()
    }


def test_aliases_lead_to_certificates():
    """Without regard to case, as Java has it."""
    found = certificates_of(_truststore("South_Valley", "east_ridge"), b"tide")
    assert found == {"south_valley": _certificate("South_Valley"), "east_ridge": _certificate("east_ridge")}


def test_a_keystore_of_their_own_gives_its_certificate_and_no_key():
    """Somebody may hand out a file with a key in it: the certificate is taken alone."""
    identity = stranger()
    octets = pkcs12.serialize_key_and_certificates(
        b"South_Valley",
        identity.key,  # type: ignore[arg-type]
        identity.certificate,
        None,
        BestAvailableEncryption(b"tide"),
    )
    found = certificates_of(octets, b"tide")
    assert found == {"south_valley": identity.certificate}
    files, missing = placed([SIGNING], found)
    assert missing == []
    assert b"PRIVATE" not in files[SIGNING.file]


def test_an_entry_without_an_alias_is_nobodys():
    """It cannot be told whose it is."""
    octets = pkcs12.serialize_java_truststore(
        [pkcs12.PKCS12Certificate(_certificate("a"), None)], BestAvailableEncryption(b"tide")
    )
    assert certificates_of(octets, b"tide") == {}


@pytest.mark.parametrize(
    ("octets", "password", "words"),
    [
        (b"", b"", "another password, or no PKCS#12 file"),
        (b"\x30\x82\x00\x10 no file", b"tide", "another password, or no PKCS#12 file"),
        (b"\xfe\xed\xfe\xed\x00\x00\x00\x02", b"tide", "keytool -importkeystore"),
    ],
)
def test_what_does_not_open_says_what_to_do(octets, password, words):
    """A JKS file is told apart, and how it is converted."""
    with pytest.raises(UsageError) as caught:
        certificates_of(octets, password)
    assert words in str(caught.value)


def test_a_wrong_password_does_not_open_it():
    """And the message holds no password."""
    with pytest.raises(UsageError) as caught:
        certificates_of(_truststore("a"), b"ebb")
    assert "another password" in str(caught.value)
    assert "ebb" not in str(caught.value)


def test_one_certificate_serves_for_both():
    """Before security profiles Domibus had one for each party."""
    files, missing = placed([SIGNING, ENCRYPTION], certificates_of(_truststore("SOUTH_valley"), b"tide"))
    assert missing == []
    assert _common_names(files) == {SIGNING.file: "SOUTH_valley", ENCRYPTION.file: "SOUTH_valley"}


def test_the_more_exact_alias_wins():
    """With security profiles the alias says what the certificate is for."""
    aliases = ("south_valley", "south_valley_rsa_sign", "south_valley_rsa_encrypt", "south_valley_other")
    files, _ = placed([SIGNING, ENCRYPTION], certificates_of(_truststore(*aliases), b"tide"))
    assert _common_names(files) == {
        SIGNING.file: "south_valley_rsa_sign",
        ENCRYPTION.file: "south_valley_rsa_encrypt",
    }


@pytest.mark.parametrize("alias", ["south_valley2", "south_valley2_rsa_sign", "south_valley_east_rsa_sign", "valley"])
def test_somebody_elses_alias_that_begins_alike_is_not_taken(alias):
    """``south_valley2`` and ``south_valley_east`` are other parties: their certificates would be believed for this one."""
    files, missing = placed([SIGNING], certificates_of(_truststore(alias), b"tide"))
    assert files == {}
    assert missing == [
        Finding(
            "to do",
            "party South_Valley",
            "the truststore has no signing certificate under South_Valley",
            "put it into certificates/south-signing.pem",
        )
    ]


def test_a_truststore_that_keytool_made_opens(tmp_path, shared):
    """The real thing: a JKS truststore of a Domibus installation, converted as the message says."""
    if shutil.which("keytool") is None:
        pytest.skip("keytool is not installed")
    old, new = shared / "samples" / "as4" / "keys" / "domibus-gateway_truststore.jks", tmp_path / "new.p12"
    with pytest.raises(UsageError, match="keytool -importkeystore"):
        certificates_of(old.read_bytes(), b"test123")
    command = ["keytool", "-importkeystore", "-srckeystore", old, "-srcstorepass", "test123", "-destkeystore", new]
    command += ["-deststoretype", "PKCS12", "-deststorepass", "test123", "-noprompt"]
    subprocess.run(command, check=True, capture_output=True)
    assert set(certificates_of(new.read_bytes(), b"test123")) == {"blue_gw", "red_gw"}
