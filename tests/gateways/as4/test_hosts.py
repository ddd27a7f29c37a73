"""Who may be asked: a certificate may name any address, and a name server may say anything about it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.as4.hosts import Hosts, NotAllowed

LISTED = Hosts(["lists.example", "ocsp.example:8080", "10.1.2.3", "[fd00::7]:81", "10.9.0.0/16", "Upper.Example."])


@pytest.mark.parametrize(
    "url",
    [
        "http://lists.example/all.crl",
        "https://LISTS.example./all.crl?a=b",
        "http://lists.example",
        "http://upper.example/x",
        "http://ocsp.example:8080/",
        "http://10.1.2.3/x",
        "https://10.1.2.3/x",
        "http://[fd00::7]:81/x",
    ],
)
def test_a_listed_host_is_asked_at_its_ports(url: str):
    """Without a port those of http and https; names are compared without regard to case or a last dot."""
    assert LISTED.check(url).scheme == url.partition(":")[0]


def test_what_follows_the_number_sign_is_not_sent():
    """It is nothing to a server."""
    assert str(LISTED.check("http://lists.example/a#b")) == "http://lists.example/a"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://other.example/all.crl", "other.example:80 is not in revocation_hosts"),
        ("http://lists.example.evil.example/", "is not in revocation_hosts"),
        ("http://lists.example:8080/", "lists.example:8080 is not in revocation_hosts"),
        ("http://ocsp.example/", "ocsp.example:80 is not in revocation_hosts"),
        ("http://lists.example@other.example/", "is no plain http or https address"),
        ("http://me:word@lists.example/", "is no plain http or https address"),
        ("ldap://lists.example/cn=all", "is no plain http or https address"),
        ("file:///etc/hosts", "is no plain http or https address"),
        ("lists.example/all.crl", "is no plain http or https address"),
        ("http:///all.crl", "is no"),
        ("http://lists.example:99999/", "is no address"),
        ("http://[::1/", "is no address"),
        ("http://10.9.0.1/", "is not in revocation_hosts"),
        ("http://10.1.2.3:8080/", "is not in revocation_hosts"),
        ("http://127.0.0.1/", "is not in revocation_hosts"),
        ("http://0x7f000001/", "is not in revocation_hosts"),
    ],
)
def test_nobody_else_is_asked(url: str, words: str):
    """Another host, another port, a name in front of an at-sign, another scheme, an address written oddly."""
    with pytest.raises(NotAllowed) as caught:
        LISTED.check(url)
    assert words in str(caught.value)


def test_a_public_address_is_reached_and_a_private_one_is_not():
    """Whatever name led there: loopback, private, link-local, multicast and unspecified, also inside an IPv6 address."""
    none = Hosts(["lists.example"])
    for address in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"):
        assert none.reaches(address), address
    for address in (
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"),
        *("255.255.255.255", "100.64.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "no address", ""),
    ):
        assert not none.reaches(address), address


def test_a_private_address_is_reached_when_it_or_its_network_is_listed():
    """And no neighbour of it; one written inside an IPv6 address counts as the address."""
    for address in ("10.1.2.3", "10.9.200.1", "fd00::7", "::ffff:10.1.2.3", "64:ff9b::a09:1"):
        assert LISTED.reaches(address), address
    for address in ("10.1.2.4", "10.10.0.1", "fd00::8", "127.0.0.1"):
        assert not LISTED.reaches(address), address


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "http://lists.example",
        "lists.example/all.crl",
        "a b",
        "me@lists.example",
        "x:port",
        "10.0.0.1/8",
        "x:0x",
        "x?y",
    ],
)
def test_an_entry_that_is_none_is_refused(entry: str):
    """A slip of the pen must not leave a host out, or let another in."""
    with pytest.raises(ValueError, match="is no host, host:port, address or network"):
        Hosts([entry])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["", "http://", "http://lists.example", "http://lists.example:80"]))
def test_whatever_is_written_only_listed_hosts_are_asked(text: str, before: str):
    """Any text is refused, or leads to the one host there is."""
    try:
        url = Hosts(["lists.example"]).check(before + text)
    except NotAllowed:
        return
    assert (url.host or "").lower().rstrip(".") == "lists.example"
    assert url.port in (80, 443)
    assert url.user is None
