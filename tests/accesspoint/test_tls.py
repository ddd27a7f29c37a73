"""Versions and cipher suites of TLS: what can be named, and what a name means."""

import ssl

import pytest

from accesspoint.client import client_context
from accesspoint.tls import SUITES, VERSIONS, spoken
from tests.accesspoint.sockets import pki

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def suites_of(made: ssl.SSLContext) -> set[str]:
    """The suites of TLS 1.2 that a context offers."""
    return {c["name"] for c in made.get_ciphers() if c["protocol"] != "TLSv1.3"}


@pytest.mark.parametrize(
    ("versions", "least", "most"),
    [
        ((), V12, V13),
        (("1.2", "1.3"), V12, V13),
        (("1.3", "1.2"), V12, V13),
        (("1.2",), V12, V12),
        (("1.3",), V13, V13),
    ],
)
def test_a_context_speaks_the_versions_that_are_named(versions, least, most):
    """In any order; without a name both. The suites stay."""
    assert spoken(versions) == (least, most)
    made = client_context(pki().anchors, versions=versions)
    assert (made.minimum_version, made.maximum_version) == (least, most)
    assert suites_of(made) == suites_of(client_context(pki().anchors))


def test_a_context_offers_the_suites_that_are_named():
    """And no other of TLS 1.2."""
    made = client_context(pki().anchors, versions=["1.2"], suites=SUITES[3:5])
    assert suites_of(made) == {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"}


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_that_can_be_named_is_known_and_strong(suite):
    """Ephemeral keys and authenticated encryption, under a name of OpenSSL's."""
    made = client_context(pki().anchors, suites=[suite])
    (found,) = [c for c in made.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert (found["name"], found["aead"]) == (suite, True)
    assert suite.startswith("ECDHE-")


def test_no_older_version_has_a_name():
    """Nothing below 1.2 can be asked for."""
    assert set(VERSIONS) == {"1.2", "1.3"}
    with pytest.raises(KeyError):
        spoken(("1.1",))
