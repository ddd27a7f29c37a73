"""What `stafet check` says of documents that do not fit each other."""

from __future__ import annotations

import json
from typing import Any

from conformance.pki import Authority
from gateways.rest.checks import check
from tests.core.certificates import AT
from tests.gateways.rest.callers import certificate_of, configuration
from tests.gateways.rest.issuer import SIGNING, key_set
from tests.gateways.rest.test_access import HUB, PORTAL, POST


def found(*more: dict[str, Any], files: dict[str, bytes] | None = None) -> list[tuple[str, str, str]]:
    """Where something is wrong: kind, id and field."""
    problems = list(check(configuration(*more, files=files)))
    assert all(problem.cause for problem in problems)
    return [(problem.kind, problem.id, problem.field) for problem in problems]


def test_documents_that_fit_are_let_through():
    """All kinds of clients beside each other."""
    named = {**PORTAL, "id": "chief", "subjects": ["kim"]}
    assert found(POST, PORTAL, HUB, named) == []


def test_one_certificate_is_one_caller():
    """The same certificate under two systems, or a system and a client, is refused, in whatever file it lies."""
    same = certificate_of("post").certificate_pem()
    assert found(files={"egedal.pem": same}) == [("system", "egedal-journal", "certificates")]
    (problem,) = check(configuration(HUB, files={"hub.pem": same}))
    assert problem.cause == "the certificate in post.pem stands for rest.client hub already (hub.pem)"
    assert "rest.client with serves" in problem.remedy


def test_a_certificate_may_stand_twice_under_one_caller():
    """A roll-over that repeats the old one harms nobody."""
    both = certificate_of("post").certificate_pem() * 2
    assert found(files={"post.pem": both}) == []


def test_one_name_in_a_token_is_one_caller():
    """Two clients with one client id, and for one person, are refused; with other people they are not."""
    assert found(POST, {**POST, "id": "second"}) == [("rest.client", "second", "client_ids")]
    twice = [{**PORTAL, "id": name, "subjects": ["kim"]} for name in ("a", "b")]
    assert found(*twice) == [("rest.client", "b", "client_ids")]
    assert found(twice[0], {**twice[1], "subjects": ["robin"]}) == []


def test_one_document_speaks_for_a_systems_own_certificates():
    """Two would be two answers to what it may do."""
    own = {"kind": "rest.client", "id": "a", "system": "birkelund-post"}
    assert found(own) == []
    assert found(own, {**own, "id": "b"}) == [("rest.client", "b", "system")]


def test_what_is_named_is_there():
    """System, issuer, those it serves, and every file."""
    assert found({**POST, "system": "gone"}) == [("rest.client", "post-program", "system")]
    assert found({**POST, "issuer": "gone"}) == [("rest.client", "post-program", "issuer")]
    assert found({**HUB, "serves": ["egedal-journal", "gone"]}) == [("rest.client", "hub", "serves.1")]
    assert found({**HUB, "certificates": ["gone.pem"]}) == [("rest.client", "hub", "certificates.0")]


def test_a_client_that_nobody_can_be_is_told():
    """A system without any certificate, and a client that gives it none."""
    alone = {"kind": "rest.client", "id": "alone", "system": "birkelund-journal"}
    assert found(alone) == [("rest.client", "alone", "certificates")]


def test_a_file_without_a_certificate_to_connect_with_is_told():
    """Junk, and a certificate that is not for signing."""
    assert found(files={"post.pem": b"junk"}) == [("system", "birkelund-post", "certificates.0")]
    sealing = Authority("Birkelund demonstration CA", AT).issue("sealing", "encryption").certificate_pem()
    assert found(files={"post.pem": sealing}) == [("system", "birkelund-post", "certificates.0")]


def test_an_issuers_keys_are_public_and_there():
    """A missing file, junk, and a private key that lay beside the documents."""
    private = json.dumps({"keys": [SIGNING["es-1"].as_dict(private=True)]}).encode()
    for octets in (b"junk", b'{"keys": []}', private):
        assert found(files={"login.json": octets}) == [("rest.issuer", "login", "jwks")]
    other = {"kind": "rest.issuer", "id": "b", "issuer": "https://b.example", "audience": "us"}
    assert found({**other, "jwks": "gone.json"}) == [("rest.issuer", "b", "jwks")]
    asked = {**other, "jwks_uri": "https://b.example/jwks"}
    assert found(asked) == []
    assert found({**asked, "jwks_anchors": "gone.pem"}) == [("rest.issuer", "b", "jwks_anchors")]
    assert found({**asked, "jwks_anchors": "post.pem"}) == []


def test_an_issuer_has_one_document():
    """Two documents for one iss: whose keys count would be chance."""
    twin = {"kind": "rest.issuer", "id": "twin", "issuer": "https://login.birkelund.example", "audience": "us"}
    (problem,) = check(configuration({**twin, "jwks": "twin.json"}, files={"twin.json": key_set("es-2")}))
    assert (problem.id, problem.field) == ("twin", "issuer")
