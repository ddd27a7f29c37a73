"""Settings: what is safe, what contradicts itself, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core import limits
from gateways.rest.settings import Client, Issuer, Role, Settings

ISSUER = {"id": "login", "issuer": "https://login.example", "audience": "us", "jwks": "login.json"}
PROGRAM = {"id": "a", "issuer": "login", "client_ids": ["program"]}


def refused(model: Any, said: dict[str, Any]) -> str:
    """Why it is not taken."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(said)
    return str(caught.value.errors()[0]["msg"])


# --- node-local -------------------------------------------------------------------------------------------------------


def test_what_is_left_out_is_safe():
    """TLS is demanded, a certificate asked for, 1.2 the oldest, and everything bounded."""
    made = Settings.model_validate({"certificate": "server"})
    assert (made.host, made.client_certificates, made.tls_versions) == ("127.0.0.1", "optional", ("1.2", "1.3"))
    assert (made.max_connections, made.max_body) == (limits.HTTP_CONNECTIONS, limits.HTTP_BODY)
    assert "name certificate" in refused(Settings, {})


@pytest.mark.requirement("R86")
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "stafet.example", "127.0.0.1.example", ""])
def test_tokens_do_not_cross_a_network_in_the_open(host: str):
    """Plain HTTP is refused on whatever is not this machine alone."""
    assert "no loopback address" in refused(Settings, {"plain": True, "host": host})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_plain_http_is_for_this_machine(host: str):
    """For trying out, and behind a proxy here."""
    assert Settings.model_validate({"plain": True, "host": host}).plain


def test_settings_that_contradict_each_other_are_refused():
    """Both ways at once, a certificate without TLS, anchors for nobody."""
    assert "name certificate" in refused(Settings, {"plain": True, "certificate": "server"})
    assert "needs TLS" in refused(Settings, {"plain": True, "client_certificates": "required"})
    off = {"certificate": "server", "client_certificates": "off", "client_anchors": "x.pem"}
    assert "no certificate is asked for" in refused(Settings, off)
    assert "Extra inputs" in refused(Settings, {"certificate": "server", "colour": "white"})


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({"certificate": "server"}, "https://127.0.0.1:8444"),
        ({"plain": True, "host": "::1", "port": 8080}, "http://[::1]:8080"),
        ({"plain": True, "url": "https://stafet.birkelund.example/rest/"}, "https://stafet.birkelund.example/rest"),
    ],
)
def test_others_reach_it_at_its_address(said: dict[str, Any], url: str):
    """What is set, else host and port; no slash at the end."""
    assert Settings.model_validate(said).base_url == url


@pytest.mark.parametrize("url", ["stafet.example", "https://a.example/?x=1", "https://a.example/#x", "ftp://a.example"])
def test_an_address_is_one(url: str):
    """Without query and fragment, because paths are put behind it."""
    assert refused(Settings, {"certificate": "server", "url": url})


# --- issuers ----------------------------------------------------------------------------------------------------------


def test_an_issuers_tokens_are_bound_and_asymmetric_unless_said():
    """The safe way is the one that is left out."""
    made = Issuer.model_validate(ISSUER)
    assert (made.certificate_bound, made.algorithms) == ("required", ("ES256", "RS256", "PS256"))
    assert (made.claims.client, made.claims.roles) == (("client_id",), ("roles",))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "ES256K", "es256"])
def test_a_weak_algorithm_cannot_even_be_asked_for(algorithm: str):
    """No signature, a shared secret, or a curve of no standing."""
    assert refused(Issuer, {**ISSUER, "algorithms": [algorithm]})


def test_an_issuer_has_keys_in_one_place():
    """A file or an address, the latter over TLS; anchors only for the latter."""
    fetched = {**ISSUER, "jwks": None, "jwks_uri": "https://login.example/jwks"}
    assert Issuer.model_validate({**fetched, "jwks_anchors": "ca.pem"}).jwks_uri
    assert "give either" in refused(Issuer, {**ISSUER, "jwks": None})
    assert "give either" in refused(Issuer, {**ISSUER, "jwks_uri": "https://login.example/jwks"})
    assert "leave them out" in refused(Issuer, {**ISSUER, "jwks_anchors": "ca.pem"})
    for url in ("http://login.example/jwks", "https://kim:secret@login.example/", "file:///etc/keys"):
        assert refused(Issuer, {**fetched, "jwks_uri": url})


def test_a_claim_is_named_by_one_word_or_a_path():
    """A dot in a name is a dot: a path is a list."""
    made = Issuer.model_validate({**ISSUER, "claims": {"roles": ["realm_access", "roles"], "client": "a.b"}})
    assert (made.claims.roles, made.claims.client) == (("realm_access", "roles"), ("a.b",))
    assert refused(Issuer, {**ISSUER, "claims": {"roles": []}})
    assert Issuer.model_validate({**ISSUER, "role_names": {"urn:x": "owner"}}).role_names == {"urn:x": Role.OWNER}
    assert refused(Issuer, {**ISSUER, "role_names": {"urn:x": "king"}})


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"id": "a", "system": "post"},
        {**PROGRAM, "system": "post", "roles": ["system", "supplier"], "serves": ["journal"]},
        {**PROGRAM, "person": True, "roles": ["operator"], "subjects": ["kim"]},
        {"id": "a", "person": True, "roles": ["auditor"], "certificates": ["kim.pem"], "authority": "birkelund"},
    ],
)
def test_a_client_is_a_system_or_people(said: dict[str, Any]):
    """By certificate, or by token."""
    assert Client.model_validate(said).id == "a"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"id": "a"}, "say either system"),
        ({**PROGRAM, "system": "post", "person": True}, "say either system"),
        ({"id": "a", "system": "post", "client_ids": ["x"]}, "client_ids need issuer"),
        ({"id": "a", "system": "post", "issuer": "login"}, "issuer needs client_ids"),
        ({**PROGRAM, "system": "post", "subjects": ["kim"]}, "subjects are people"),
        ({"id": "a", "person": True, "roles": ["owner"]}, "else nobody can be it"),
        ({"id": "a", "person": True, "roles": ["owner"], "certificates": ["k.pem"]}, "say authority"),
        ({**PROGRAM, "person": True}, "a person is no system"),
        ({**PROGRAM, "person": True, "roles": ["king"]}, "Input should be"),
        ({**PROGRAM, "person": True, "roles": []}, "at least 1"),
        ({"id": "a", "system": "post", "certificates": ["../k.key"]}, "should match"),
    ],
)
def test_a_client_that_contradicts_itself_is_refused(said: dict[str, Any], why: str):
    """Each with what to change."""
    assert why in refused(Client, said)
