"""A first home and who comes to it: keys, certificates and documents that the node itself takes."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core import limits
from core.clock import to_datetime
from core.config import load
from core.errors import UsageError
from core.keys import KeyRing
from core.settings import load_settings
from gateways.rest import starting
from tests.core.certificates import NOW
from tests.gateways.rest.callers import KINDS


def parts(path: Path) -> tuple[object, x509.Certificate]:
    """Key and certificate of a PEM file that has both."""
    octets = path.read_bytes()
    return load_pem_private_key(octets, None), x509.load_pem_x509_certificate(octets)


@pytest.mark.parametrize("server", [True, False])
def test_a_certificate_signs_itself_and_serves_one_purpose(server: bool):
    """Good from an hour ago, for as long as the limits say; it is no authority, and its key fits."""
    key, octets = starting.self_signed("birkelund rest", NOW, server=server, hosts=["node.example", "127.0.0.1", "::1"])
    made = x509.load_pem_x509_certificate(octets)
    made.verify_directly_issued_by(made)
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "birkelund rest"
    own = load_pem_private_key(key, None).public_key()
    assert own == made.public_key()
    assert made.not_valid_before_utc == to_datetime(NOW) - timedelta(hours=1)
    assert made.not_valid_after_utc - to_datetime(NOW) == timedelta(microseconds=limits.OWN_CERTIFICATE)
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    (use,) = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert use == (ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["node.example", "127.0.0.1", "::1"]


def test_a_client_has_no_host():
    """A certificate that nobody connects to names none."""
    made = x509.load_pem_x509_certificate(starting.self_signed("care", NOW, server=False)[1])
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_home_is_one_that_a_node_takes(tmp_path: Path):
    """Its settings load, its keys are there and its owner's alone; the certificate for others holds no key."""
    home = tmp_path / "birkelund"
    made = starting.make_home(home, NOW, name="birkelund", port=8444, hosts=("localhost",))
    assert all(path.exists() for path in made)
    mine = load_settings(home)
    assert (mine.node, mine.gateways["rest"]) == ("birkelund", {"port": 8444, "certificate": "rest"})
    assert KeyRing(home / "keys").current == "kek-2026-03-01"
    for path in (home / "keys").iterdir():
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path
    _, certificate = parts(home / "keys" / "rest.pem")
    assert x509.load_pem_x509_certificate((home / "rest.crt").read_bytes()) == certificate
    assert b"PRIVATE" not in (home / "rest.crt").read_bytes()


def test_a_home_that_is_there_is_left_as_it_is(tmp_path: Path):
    """No key is written over, nothing is added."""
    starting.make_home(tmp_path, NOW, name="birkelund", port=8444)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"node\.yaml is there already; choose another folder"):
        starting.make_home(tmp_path, NOW, name="egedal", port=9000)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_made_is_a_configuration(tmp_path: Path):
    """A system and people with roles load as documents; each key is outside the configuration, its owner's alone."""
    home, config = tmp_path, tmp_path / "config"
    care = starting.make_system(home, config, NOW, name="care", authority="11223344", title="Care: øst & vest")
    desk = starting.make_person(
        home, config, NOW, name="desk", authority="11223344", title="", roles=["operator", "owner"]
    )
    found = load(config, KINDS, ())
    system, person = found.all("system")["care"], found.all("rest.client")["desk"]
    assert (system.title, system.authority, system.certificates) == (
        "Care: øst & vest",
        "11223344",
        ("certificates/care.pem",),
    )
    assert (person.person, person.roles, person.title) == (True, ("operator", "owner"), "")
    assert "title" not in yaml.safe_load(desk[2].read_text())
    for key_file, certificate_file, _ in (care, desk):
        assert not key_file.is_relative_to(config)
        assert not key_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        assert b"PRIVATE" not in certificate_file.read_bytes()
        assert parts(key_file)[1] == x509.load_pem_x509_certificate(certificate_file.read_bytes())


@pytest.mark.parametrize("there", ["clients/care.pem", "config/certificates/care.pem", "config/systems/care.yaml"])
def test_nothing_that_is_there_is_written_over(tmp_path: Path, there: str):
    """Whichever of the three files it is: it is named and kept, and no other comes into being."""
    kept = tmp_path / there
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    with pytest.raises(UsageError, match=rf"{kept.name} is there already; choose another id"):
        starting.make_system(tmp_path, tmp_path / "config", NOW, name="care", authority="11223344", title="")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert kept.read_bytes() == b"mine"
