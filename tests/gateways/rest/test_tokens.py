"""Tokens: what is taken, and every way in which one is not."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, RSAKey

from core import limits
from core.clock import MINUTE, SECOND
from gateways.rest.settings import Issuer, Role
from gateways.rest.tokens import BadToken, Seen, Token, UnknownKey, candidates, check_bond, look, read_keys, verify
from tests.core.certificates import NOW
from tests.gateways.rest.callers import LOGIN, SECONDS, certificate_of, claims, der
from tests.gateways.rest.issuer import AUDIENCE, SIGNING, key_set, sign

KEYS = read_keys(key_set("es-1", "es-384", "rs-1"))


def issuer(**changes: Any) -> Issuer:
    """The document of the invented login service."""
    said = {"id": "login", "issuer": LOGIN, "audience": AUDIENCE, "jwks": "login.json"} | changes
    return Issuer.model_validate(said)


def why_not(token: str, document: Issuer | None = None, at: int = NOW) -> str:
    """Why a token is not taken; the cause repeats none of its values."""
    with pytest.raises(BadToken) as caught:
        verify(token, document or issuer(), KEYS, at)
    assert token not in caught.value.cause
    return caught.value.cause


def part(said: Any) -> str:
    """One part of a token as somebody else might write it."""
    octets = said if isinstance(said, bytes) else json.dumps(said).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


# --- taken ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R86")
@pytest.mark.parametrize("key", ["es-1", "rs-1"])
def test_a_good_token_says_who_it_is(key: str):
    """Program, subject, authority and our roles come out, and what it is bound to."""
    token = verify(sign(claims(authority="birkelund", roles=["operator", "cook"], sub="kim"), key), issuer(), KEYS, NOW)
    assert (token.client, token.subject, token.authority) == ("post-program", "kim", "birkelund")
    assert token.roles == {Role.OPERATOR}
    assert (token.begin, token.end) == ((SECONDS - 70) * SECOND, (SECONDS + 350) * SECOND)
    check_bond(token, der(certificate_of("post")))


def test_a_pss_signature_is_taken_from_the_same_key():
    """PS256 and RS256 are one kind of key."""
    assert verify(sign(claims(), "rs-1", alg="PS256"), issuer(), KEYS, NOW).client == "post-program"


def test_claims_are_where_the_document_says():
    """Nested claims, names that are addresses, and roles as one text."""
    named = {"client": "azp", "roles": ["realm_access", "roles"], "authority": "https://birkelund.example/cvr"}
    document = issuer(claims=named, role_names={"urn:birkelund:drift": "operator"})
    said = claims(
        client_id=None,
        azp="portal",
        realm_access={"roles": "urn:birkelund:drift auditor other"},
        **{"https://birkelund.example/cvr": "birkelund"},
    )
    token = verify(sign(said), document, KEYS, NOW)
    assert (token.client, token.authority) == ("portal", "birkelund")
    assert token.roles == {Role.OPERATOR, Role.AUDITOR}
    assert not verify(sign(claims()), issuer(claims={"roles": ["sub", "roles"]}), KEYS, NOW).roles


def test_the_audience_may_be_one_of_several():
    """A list of audiences is as good as one."""
    assert verify(sign(claims(aud=["https://other.example", AUDIENCE])), issuer(), KEYS, NOW)


@pytest.mark.parametrize("kind", ["AT+JWT", "application/at+jwt", "jwt", None])
def test_a_type_is_one_however_it_is_written(kind: str | None):
    """Case and the prefix make no difference, and no type means JWT."""
    assert verify(sign(claims(), typ=kind), issuer(), KEYS, NOW)


def test_a_clock_may_be_off_by_the_leeway():
    """Just within it is taken, at either end."""
    assert verify(sign(claims(exp=SECONDS - 59, iat=SECONDS - 300)), issuer(), KEYS, NOW)
    assert verify(sign(claims(iat=SECONDS + 60, nbf=SECONDS + 60)), issuer(), KEYS, NOW)


def test_without_a_key_id_the_only_fitting_key_is_tried():
    """An issuer with one key per algorithm need not name it; with two it must."""
    assert verify(sign(claims(), kid=None), issuer(), KEYS, NOW)
    with pytest.raises(BadToken, match=r"^kid: is missing"):
        verify(sign(claims(), kid=None), issuer(), read_keys(key_set("es-1", "es-2")), NOW)


# --- hostile ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_a_token_that_nobody_signed_is_not_taken(name: str):
    """``alg: none`` in any spelling, with and without something where the signature stands."""
    unsigned = f"{part({'alg': name, 'kid': 'es-1', 'typ': 'at+jwt'})}.{part(claims())}."
    assert why_not(unsigned).startswith("alg: is not among")
    assert why_not(unsigned + "AAAA").startswith("alg: is not among")


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_the_public_key_is_no_shared_secret(form: str):
    """A token signed by HMAC with the issuer's public key as the secret is not taken, however the key is written."""
    key = SIGNING["rs-1"]
    assert isinstance(key, RSAKey)
    octets = {
        "pem": key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(key.as_dict()).encode(),
    }[form]
    signed = f"{part({'alg': 'HS256', 'kid': 'rs-1', 'typ': 'at+jwt'})}.{part(claims())}"
    forged = f"{signed}.{part(hmac.digest(octets, signed.encode(), 'sha256'))}"
    assert why_not(forged).startswith("alg: is not among")


def test_a_key_is_used_for_its_own_kind_alone():
    """A token that names the RSA key for an elliptic curve signature, or a curve for another, is not taken."""
    assert why_not(sign(claims(), "es-1", kid="rs-1")).startswith("alg: is not what")
    assert why_not(sign(claims(), "rs-1", kid="es-1")).startswith("alg: is not what")
    wide = issuer(algorithms=["ES256", "ES384"])
    assert why_not(sign(claims(), "es-384", kid="es-1"), wide).startswith("alg: is not what")
    assert verify(sign(claims(), "es-384"), wide, KEYS, NOW)


def test_a_key_that_names_its_algorithm_is_for_no_other():
    """A key published for PS256 does not check RS256."""
    said = json.loads(key_set("rs-1"))
    said["keys"][0]["alg"] = "PS256"
    keys = read_keys(json.dumps(said).encode())
    assert verify(sign(claims(), "rs-1", alg="PS256"), issuer(), keys, NOW)
    with pytest.raises(BadToken, match=r"^alg: is not what"):
        verify(sign(claims(), "rs-1"), issuer(), keys, NOW)


def test_an_algorithm_that_the_document_leaves_out_is_not_taken():
    """The document decides, not the token."""
    assert why_not(sign(claims(), "rs-1"), issuer(algorithms=["ES256"])).startswith("alg: is not among")


def test_an_unknown_key_is_told_from_a_bad_signature():
    """The first may be worth another question to the issuer; the second never is."""
    with pytest.raises(UnknownKey, match=r"^kid: the issuer has no such key"):
        verify(sign(claims(), "es-2"), issuer(), KEYS, NOW)
    cause = why_not(sign(claims(), "es-2", kid="es-1"))
    assert cause == "the signature is not that of the issuer's key"


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_changed_octet_is_seen_wherever_it_is(where: int):
    """Header, claims and signature are all covered."""
    parts = sign(claims()).split(".")
    middle = len(parts[where]) // 2
    other = "A" if parts[where][middle] != "A" else "B"
    parts[where] = parts[where][:middle] + other + parts[where][middle + 1 :]
    assert why_not(".".join(parts))


def test_the_token_brings_no_key_of_its_own():
    """A key, an address or a certificate in the token's header is not looked at."""
    stranger = SIGNING["es-2"].as_dict()
    for header in ({"jwk": stranger}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/x"}):
        forged = sign(claims(), "es-2", kid="es-1", **header)
        assert why_not(forged) == "the signature is not that of the issuer's key"


def test_extensions_that_must_be_understood_are_not():
    """``crit`` and an unencoded payload would be read in two ways."""
    for header in ({"crit": ["exp"]}, {"b64": False}):
        named = {"alg": "ES256", "kid": "es-1", "typ": "at+jwt"} | header
        assert why_not(f"{part(named)}.{part(claims())}.AAAA").startswith("crit, b64")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://login.egedal.example"}, "iss: is another issuer"),
    "for somebody else": ({"aud": "https://other.example"}, "aud: "),
    "for nobody": ({"aud": None}, "aud: "),
    "for a mapping": ({"aud": {AUDIENCE: True}}, "aud: "),
    "expired": ({"exp": SECONDS - 61, "iat": SECONDS - 400}, "exp: the token has expired"),
    "just expired": ({"exp": SECONDS - 60, "iat": SECONDS - 400}, "exp: the token has expired"),
    "without an end": ({"exp": None}, "exp: is missing"),
    "without a beginning": ({"iat": None}, "iat: is missing"),
    "issued tomorrow": ({"iat": SECONDS + 61}, "nbf, iat: "),
    "not yet": ({"nbf": SECONDS + 61}, "nbf, iat: "),
    "for ever": ({"exp": SECONDS + 4000}, "exp: the token holds for longer"),
    "an end in words": ({"exp": "tomorrow"}, "exp: is no time"),
    "an end of yes": ({"exp": True}, "exp: is no time"),
    "a far end": ({"exp": 10**400}, "exp: is no time"),
    "before all time": ({"nbf": -1}, "nbf: is no time"),
    "without a program": ({"client_id": None}, "client_id: is missing"),
    "an empty program": ({"client_id": ""}, "client_id: is no printable text"),
    "a program of two lines": ({"client_id": "a\nb"}, "client_id: is no printable text"),
    "a long subject": ({"sub": "x" * 256}, "sub: is no printable text"),
    "a subject of lists": ({"sub": ["x"]}, "sub: is no printable text"),
    "roles of numbers": ({"roles": 7}, "roles: is no list"),
    "roles without end": ({"roles": ["operator"] * 257}, "roles: is no list"),
    "unbound": ({"cnf": None}, "cnf: the token is bound to no certificate"),
    "bound otherwise": ({"cnf": {"jkt": "x" * 43}}, "cnf: only x5t#S256"),
    "bound twice": ({"cnf": {"x5t#S256": "A" * 43, "jkt": "x"}}, "cnf: only x5t#S256"),
    "bound to a word": ({"cnf": "certificate"}, "cnf: only x5t#S256"),
    "bound to junk": ({"cnf": {"x5t#S256": "%%%"}}, "cnf: only x5t#S256"),
    "bound to a stump": ({"cnf": {"x5t#S256": "AAAA"}}, "cnf: only x5t#S256"),
    "bound to a number": ({"cnf": {"x5t#S256": 7}}, "cnf: only x5t#S256"),
}


@pytest.mark.requirement("R86")
@pytest.mark.parametrize("name", WRONG)
def test_a_claim_that_is_wrong_is_named(name: str):
    """Signed by the right key, and still not taken; the cause names the claim."""
    changes, cause = WRONG[name]
    assert why_not(sign(claims(**changes))).startswith(cause)


def test_a_token_made_for_something_else_is_not_taken():
    """An identity token or a logout token opens no door."""
    for kind in ("id_token", "logout+jwt", 7):
        named = {"alg": "ES256", "kid": "es-1", "typ": kind}
        assert why_not(f"{part(named)}.{part(claims())}.AAAA").startswith("typ: ")


TWICE, NAN = b'{"alg":"ES256","alg":"none"}', b'{"exp": NaN}'
SHAPES: dict[str, tuple[str, str]] = {
    "nothing": ("", "is no signed JWT"),
    "junk": ("%%%.%%%.%%%", "is no signed JWT"),
    "two parts": ("e30.e30", "is no signed JWT"),
    "encrypted": ("a.b.c.d.e", "is no signed JWT"),
    "a line break": ("e30.e30.AA\n", "is no signed JWT"),
    "long": ("a" * (limits.TOKEN_SIZE + 1), "longer than"),
    "a long header": (f"{'a' * (limits.TOKEN_HEADER + 1)}.e30.AA", "header is longer than"),
    "no base64": ("a.e30.AA", "header cannot be read"),
    "no JSON": (f"{part(b'{')}.e30.AA", "header cannot be read"),
    "no UTF-8": (f"{part(bytes([123, 255, 125]))}.e30.AA", "header cannot be read"),
    "a list": (f"{part([])}.e30.AA", "header cannot be read"),
    "twice the same": (f"{part(TWICE)}.e30.AA", "header cannot be read"),
    "no number": (f"{part({'alg': 'ES256'})}.{part(NAN)}.AA", "claims cannot be read"),
    "an abyss": (f"{part({'alg': 'ES256'})}.{part(b'[' * 8000)}.AA", "claims cannot be read"),
    "no algorithm": (f"e30.{part({'iss': LOGIN})}.AA", "alg: is missing"),
    "no issuer": (f"{part({'alg': 'ES256'})}.e30.AA", "iss: is missing"),
    "a key id of numbers": (f"{part({'alg': 'ES256', 'kid': 7})}.{part({'iss': LOGIN})}.AA", "kid: is no text"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_no_token_is_refused_before_anything_costs(name: str):
    """Octets that are no token at all get one documented cause."""
    octets, cause = SHAPES[name]
    with pytest.raises(BadToken, match=cause):
        look(octets)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda b: f"{part(b)}.{part(b)}.{part(b)}"))
def test_no_text_does_more_than_be_refused(octets: str):
    """Whatever comes, the only answer is the documented one."""
    with pytest.raises(BadToken):
        verify(octets, issuer(), KEYS, NOW)


# --- the bond ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R86")
def test_a_bound_token_is_worth_nothing_over_another_connection():
    """Without a certificate, and with another, it is not taken; an unbound one is checked against nothing."""
    token = verify(sign(claims()), issuer(), KEYS, NOW)
    with pytest.raises(BadToken, match="the connection has none"):
        check_bond(token, None)
    with pytest.raises(BadToken, match="another certificate"):
        check_bond(token, der(certificate_of("egedal")))
    unbound = verify(sign(claims(cnf=None)), issuer(certificate_bound="optional"), KEYS, NOW)
    assert unbound.bound_to is None
    check_bond(unbound, None)
    assert isinstance(unbound, Token)


def test_a_token_ends_while_it_is_used():
    """The same token is taken now and not later."""
    token = sign(claims())
    assert verify(token, issuer(), KEYS, NOW + 5 * MINUTE)
    assert why_not(token, at=NOW + 350 * SECOND) == "exp: the token has expired"


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Key size")
def test_keys_for_something_else_are_passed_over():
    """Encryption keys, symmetric-free unknown kinds, small RSA keys and odd curves leave the good ones standing."""
    small = RSAKey.generate_key(1024, {"kid": "small"}).as_dict()
    odd = ECKey.generate_key("secp256k1", {"kid": "odd"}).as_dict()
    sealing = {**SIGNING["es-2"].as_dict(), "use": "enc"}
    said = {"keys": [small, odd, sealing, {"kty": "AKP"}, {"kty": 7}, SIGNING["es-1"].as_dict()]}
    assert [key.kid for key in read_keys(json.dumps(said).encode())] == ["es-1"]


def test_a_key_of_two_kinds_under_one_id_is_chosen_by_the_algorithm():
    """The same kid for an RSA and a curve key is allowed: the algorithm tells them apart."""
    both = [{**SIGNING[name].as_dict(), "kid": "k"} for name in ("es-1", "rs-1")]
    keys = read_keys(json.dumps({"keys": both}).encode())
    assert [key.kind for key in candidates(keys, Seen(LOGIN, "RS256", "k"))] == ["RSA"]
    assert verify(sign(claims(), "es-1", kid="k"), issuer(), keys, NOW)


def test_of_two_keys_under_one_id_either_may_have_signed():
    """An issuer that forgets to rename its new key is still understood."""
    both = [{**SIGNING[name].as_dict(), "kid": "k"} for name in ("es-1", "es-2")]
    keys = read_keys(json.dumps({"keys": both}).encode())
    assert verify(sign(claims(), "es-2", kid="k"), issuer(), keys, NOW)


BAD_SETS: dict[str, tuple[Any, str]] = {
    "no list": ({}, "no list called keys"),
    "no object": ([], "is no JSON object"),
    "not a key": ({"keys": [7]}, "keys.0 is no object"),
    "a number for an id": ({"keys": [{"kty": "EC", "kid": 7}]}, "kid and alg are texts"),
    "half a key": ({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA"}]}, "cannot be read as a key of type EC"),
    "no point": ({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}, "cannot be read as a key"),
    "a private key": ({"keys": [ECKey.generate_key("P-256").as_dict(private=True)]}, "is a private or secret key"),
    "a secret": ({"keys": [OctKey.generate_key(256).as_dict()]}, "is a private or secret key"),
    "too many": ({"keys": [{}] * 65}, "more than 64 keys"),
    "none that fits": ({"keys": [{"kty": "OKP"}]}, "no key in it"),
    "large": ({"keys": [], "x": "x" * limits.KEY_SET_SIZE}, "larger than"),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_a_set_that_is_none_is_refused_with_its_cause(name: str):
    """Each says which key, or what of the whole, is wrong."""
    said, cause = BAD_SETS[name]
    with pytest.raises(ValueError, match=cause):
        read_keys(json.dumps(said).encode())
