"""Tokens (JWT): whether one is genuine, for us, for now, and over the connection it is bound to [RFC 7519, 8705, 8725, 9068].

Rules:

1. Pure: a token, its issuer's document and keys, and a time in; a `Token` or `BadToken` out. The keys: `gateways.rest.issuers`.
2. The document says which algorithms are taken, never the token. A key is used for its own kind alone, and a symmetric one never.
3. What is read before the signature is checked (issuer, algorithm, key id) only chooses among what documents name.
4. A cause says which claim was wrong and holds none of the token's values: a log that everybody reads must not hold a token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from core import limits
from core.clock import SECOND, Micros
from gateways.rest.settings import Issuer, Role

_KINDS: Final[dict[str, type[RSAKey] | type[ECKey]]] = {"RSA": RSAKey, "EC": ECKey}
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})
_LEAST_BITS: Final = 2048
_NEVER: Final = 1e12
"""Seconds: no time that a calendar can hold, nor infinity."""
_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class BadToken(ValueError):
    """A token that is not taken. ``cause`` is safe to say to whoever sent it."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)


class UnknownKey(BadToken):
    """Signed under a key that its issuer had not shown when its keys were read last."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of an issuer. ``algorithm`` is the only one it is for, "" for all that fit."""

    kid: str
    kind: str
    algorithm: str
    key: RSAKey | ECKey

    def fits(self, algorithm: str) -> bool:
        """Whether it can be used with an algorithm."""
        if self.algorithm not in ("", algorithm):
            return False
        if isinstance(self.key, ECKey):
            return _CURVES.get(algorithm) == self.key.curve_name
        return algorithm[:2] in ("RS", "PS")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a token says of itself before anybody has checked it."""

    issuer: str
    algorithm: str
    kid: str | None


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was checked. ``roles`` are ours, by the issuer's document; ``bound_to`` is the SHA-256 of a certificate.

    It holds from ``begin`` to before ``end``, the leeway included.
    """

    client: str
    subject: str
    authority: str
    roles: frozenset[Role]
    bound_to: bytes | None
    begin: Micros
    end: Micros


# --- keys -------------------------------------------------------------------------------------------------------------


def read_keys(octets: bytes) -> tuple[PublicKey, ...]:
    """The signature keys of a JWK set. Raises `ValueError` for what is none, or holds what must not be shown."""
    if len(octets) > limits.KEY_SET_SIZE:
        raise ValueError(f"larger than {limits.KEY_SET_SIZE} octets")
    found = _object(octets).get("keys")
    if not isinstance(found, list):
        raise ValueError("is no JWK set: it has no list called keys")
    if len(found) > limits.KEY_SET_KEYS:
        raise ValueError(f"more than {limits.KEY_SET_KEYS} keys")
    keys = [key for index, one in enumerate(found) if (key := _key(index, one)) is not None]
    if not keys:
        raise ValueError(f"no key in it is for signatures and an RSA key of {_LEAST_BITS} bits or a NIST curve")
    return tuple(keys)


def _key(index: int, said: Any) -> PublicKey | None:
    """A key, None for one that is for something else [RFC 7517 §5]. Raises `ValueError`."""
    if not isinstance(said, dict):
        raise ValueError(f"keys.{index} is no object")
    if _PRIVATE & said.keys():
        raise ValueError(f"keys.{index} is a private or secret key: whoever has read it can sign as this issuer")
    kind, kid, algorithm = said.get("kty"), said.get("kid", ""), said.get("alg", "")
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        raise ValueError(f"keys.{index}: kid and alg are texts")
    if not isinstance(kind, str) or kind not in _KINDS or said.get("use", "sig") != "sig":
        return None
    try:
        # Only what makes the key: key_ops, x5c and what else a set may say decide nothing here.
        key = _KINDS[kind].import_key({k: v for k, v in said.items() if k in ("kty", "n", "e", "crv", "x", "y")})
        public = key.public_key
    except (JoseError, ValueError, TypeError, KeyError):
        raise ValueError(f"keys.{index} cannot be read as a key of type {kind}") from None
    if isinstance(public, RSAPublicKey) and public.key_size < _LEAST_BITS:
        return None
    if isinstance(key, ECKey) and key.curve_name not in _CURVES.values():
        return None
    return PublicKey(kid, kind, algorithm, key)


def _object(octets: bytes) -> dict[str, Any]:
    """A JSON object in which nothing can be read in two ways. Raises `ValueError`."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):
            raise ValueError("a name stands twice")
        return made

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(octets.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    return value


# --- one token --------------------------------------------------------------------------------------------------------


def look(token: str) -> Seen:
    """What a token says of itself, to find its issuer and key. Raises `BadToken`."""
    if len(token) > limits.TOKEN_SIZE:
        raise BadToken(f"the token is longer than {limits.TOKEN_SIZE} octets")
    if not _SHAPE.fullmatch(token):
        raise BadToken("the token is no signed JWT: three parts of base64url with dots between")
    header, payload, _ = token.split(".")
    if len(header) > limits.TOKEN_HEADER:
        raise BadToken(f"the token's header is longer than {limits.TOKEN_HEADER} octets")
    named, claims = _decoded(header, "header"), _decoded(payload, "claims")
    algorithm, kid, issuer = named.get("alg"), named.get("kid"), claims.get("iss")
    if not isinstance(algorithm, str):
        raise BadToken("alg: is missing")
    if not isinstance(issuer, str):
        raise BadToken("iss: is missing")
    if kid is not None and not isinstance(kid, str):
        raise BadToken("kid: is no text")
    return Seen(issuer, algorithm, kid)


def _decoded(part: str, what: str) -> dict[str, Any]:
    try:
        return _object(urlsafe_b64decode(part.encode()))
    except ValueError:
        raise BadToken(f"the token's {what} cannot be read as JSON in base64url") from None


def candidates(keys: Sequence[PublicKey], seen: Seen) -> list[PublicKey]:
    """The keys a token may be signed under: that of its kid; without one, the only one that fits. Raises `BadToken`."""
    fitting = [key for key in keys if key.fits(seen.algorithm)]
    if seen.kid is None:
        if len(fitting) != 1:
            raise BadToken("kid: is missing, and the issuer has not exactly one key for this algorithm")
        return fitting
    if not any(key.kid == seen.kid for key in keys):
        raise UnknownKey("kid: the issuer has no such key")
    found = [key for key in fitting if key.kid == seen.kid]
    if not found:
        raise BadToken("alg: is not what the issuer's key of this kid is for")
    return found


def verify(token: str, issuer: Issuer, keys: Sequence[PublicKey], now: Micros) -> Token:
    """Check a token of this issuer. Raises `BadToken`; `UnknownKey` when asking the issuer again may help."""
    seen = look(token)
    if seen.issuer != issuer.issuer:
        raise BadToken("iss: is another issuer")
    if seen.algorithm not in issuer.algorithms:
        raise BadToken("alg: is not among those that are taken from this issuer")
    header = _decoded(token.partition(".")[0], "header")
    if {"crit", "b64"} & header.keys():
        raise BadToken("crit, b64: no extension is understood here")
    _check_type(header.get("typ", "JWT"), issuer)
    claims = _signed(token, issuer, candidates(keys, seen))
    begin, end = _times(claims, issuer)
    if now >= end:
        raise BadToken("exp: the token has expired")
    if now < begin:
        raise BadToken("nbf, iat: the token is not valid yet; compare the clocks")
    _check_audience(claims.get("aud"), issuer)
    client = _text(claims, issuer.claims.client)
    if not client:
        raise BadToken(f"{'.'.join(issuer.claims.client)}: is missing")
    return Token(
        client,
        _text(claims, issuer.claims.subject),
        _text(claims, issuer.claims.authority),
        _roles(claims, issuer),
        _confirmation(claims.get("cnf"), issuer),
        begin,
        end,
    )


def _signed(token: str, issuer: Issuer, keys: Sequence[PublicKey]) -> dict[str, Any]:
    """The claims, if one of the keys has signed them."""
    registry = JWSRegistry(algorithms=list(issuer.algorithms), strict_check_header=False)
    registry.max_header_length = limits.TOKEN_HEADER
    for key in keys:
        try:
            return _object(jws.deserialize_compact(token, key.key, registry=registry).payload)
        except (JoseError, ValueError, TypeError):
            continue
    raise BadToken("the signature is not that of the issuer's key")


def _check_type(said: Any, issuer: Issuer) -> None:
    """A token made for something else (identity, logout) is not taken for one that opens doors [RFC 8725 §3.11]."""
    taken = {name.lower() for name in issuer.types}
    if not isinstance(said, str) or said.lower().removeprefix("application/") not in taken:
        raise BadToken("typ: is not among those that are taken from this issuer")


def _times(claims: dict[str, Any], issuer: Issuer) -> tuple[Micros, Micros]:
    """When a token holds, the leeway included."""
    end, issued = _time(claims, "exp"), _time(claims, "iat")
    if end is None or issued is None:
        raise BadToken(f"{'exp' if end is None else 'iat'}: is missing")
    if end - issued > issuer.longest_life:
        raise BadToken(f"exp: the token holds for longer than {issuer.longest_life:.0f} seconds")
    begin = max(issued, _time(claims, "nbf") or issued)
    return round((begin - issuer.leeway) * SECOND), round((end + issuer.leeway) * SECOND)


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _NEVER:
        raise BadToken(f"{name}: is no time")
    return float(value)


def _check_audience(said: Any, issuer: Issuer) -> None:
    listed = said if isinstance(said, list) else [said]
    if issuer.audience not in listed:
        raise BadToken("aud: the token is for somebody else")


def _at(claims: dict[str, Any], path: Sequence[str]) -> Any:
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(claims: dict[str, Any], path: Sequence[str]) -> str:
    value = _at(claims, path)
    if value is None:
        return ""
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise BadToken(f"{'.'.join(path)}: is no printable text of at most 255 characters")
    return value


def _roles(claims: dict[str, Any], issuer: Issuer) -> frozenset[Role]:
    value = _at(claims, issuer.claims.roles)
    words = value.split() if isinstance(value, str) else [] if value is None else value
    if not isinstance(words, list) or len(words) > limits.TOKEN_ROLES:
        raise BadToken(f"{'.'.join(issuer.claims.roles)}: is no list of at most {limits.TOKEN_ROLES} roles")
    own = {role.value: role for role in Role}
    return frozenset(
        role
        for word in words
        if isinstance(word, str) and (role := issuer.role_names.get(word) or own.get(word)) is not None
    )


def _confirmation(said: Any, issuer: Issuer) -> bytes | None:
    """The digest of the certificate a token is bound to. Raises `BadToken` for a bond that cannot be checked."""
    if said is None:
        if issuer.certificate_bound == "required":
            raise BadToken("cnf: the token is bound to no certificate, and this issuer's must be")
        return None
    digest = said.get("x5t#S256") if isinstance(said, dict) and len(said) == 1 else None
    try:
        octets = urlsafe_b64decode(digest.encode()) if isinstance(digest, str) else b""
    except ValueError:
        octets = b""
    if len(octets) != hashlib.sha256().digest_size:
        raise BadToken("cnf: only x5t#S256, the SHA-256 of a certificate, can be checked here")
    return octets


def check_bond(token: Token, certificate: bytes | None) -> None:
    """Raises `BadToken` unless the connection's certificate (DER) is the one the token is bound to [RFC 8705 §3.1]."""
    if token.bound_to is None:
        return
    if certificate is None:
        raise BadToken("cnf: the token is bound to a certificate, and the connection has none")
    if not hmac.compare_digest(token.bound_to, hashlib.sha256(certificate).digest()):
        raise BadToken("cnf: the token is bound to another certificate than the connection's")
