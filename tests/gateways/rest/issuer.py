"""A real issuer of tokens: discovery, keys, and tokens for programs, bound to the certificate they connect with [RFC 8705]."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from conformance.pki import Authority, write
from core.clock import SECOND, Clock

AUDIENCE = "https://stafet.birkelund.example"
SIGNING: dict[str, ECKey | RSAKey] = {
    "es-1": ECKey.generate_key("P-256", {"kid": "es-1", "use": "sig"}),
    "es-2": ECKey.generate_key("P-256", {"kid": "es-2", "use": "sig"}),
    "es-384": ECKey.generate_key("P-384", {"kid": "es-384", "use": "sig"}),
    "rs-1": RSAKey.generate_key(2048, {"kid": "rs-1", "use": "sig"}),
}
"""Made once: tests are about what is done with keys, not about making them."""


def key_set(*names: str) -> bytes:
    """The public halves as a JWK set."""
    return json.dumps(KeySet([SIGNING[name] for name in names]).as_dict()).encode()


def thumbprint(der: bytes) -> str:
    """What ``x5t#S256`` holds."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def sign(claims: Mapping[str, Any], key: str = "es-1", **header: Any) -> str:
    """A token signed as told; a header of None is left out."""
    algorithm = {"es": "ES256", "rs": "RS256"}[key[:2]] if key != "es-384" else "ES384"
    said = {"alg": algorithm, "kid": key, "typ": "at+jwt"} | header
    registry = jws.JWSRegistry(algorithms=[said["alg"]], strict_check_header=False)
    named = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(named, dict(claims), SIGNING[key], registry=registry, default_type=None)


class LoginService:
    """The issuer. ``answers`` counts what was asked of its keys; ``keys`` and ``broken`` are the test's to change."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.url = clock, ""
        self.keys = ["es-1"]
        self.answers: list[int] = []
        self.broken: web.Response | None = None
        self.cache = "max-age=600"
        self.programs: dict[str, dict[str, Any]] = {"birkelund-post": {}}

    @property
    def jwks(self) -> str:
        """Where its keys are."""
        return f"{self.url}/jwks"

    def rotate(self, *names: str) -> None:
        """Sign with other keys from now on."""
        self.keys = list(names)

    async def _discovery(self, _request: web.Request) -> web.Response:
        methods = ["tls_client_auth"]
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": self.jwks,
                "token_endpoint": f"{self.url}/token",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": methods,
                "tls_client_certificate_bound_access_tokens": True,
            }
        )

    async def _keys(self, request: web.Request) -> web.Response:
        if self.broken is not None:
            self.answers.append(self.broken.status)
            return self.broken
        body = key_set(*self.keys)
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Cache-Control": self.cache}
        if request.headers.get("If-None-Match") == etag:
            self.answers.append(304)
            return web.Response(status=304, headers=headers)
        self.answers.append(200)
        return web.Response(body=body, content_type="application/jwk-set+json", headers=headers)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        program = str(form.get("client_id", ""))
        connection = request.transport.get_extra_info("ssl_object") if request.transport else None
        certificate = connection.getpeercert(binary_form=True) if connection else None
        if form.get("grant_type") != "client_credentials" or program not in self.programs or not certificate:
            return web.json_response({"error": "invalid_client"}, status=401)
        now = self.clock.now() // SECOND
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "client_id": program,
            "sub": program,
            "iat": now,
            "exp": now + 300,
            "cnf": {"x5t#S256": thumbprint(certificate)},
            **self.programs[program],
        }
        token = sign(claims, self.keys[0])
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 300})

    @asynccontextmanager
    async def serving(self, folder: Path, authority: Authority) -> AsyncIterator[LoginService]:
        """Serve over TLS on a port of this machine, asking for certificates under the authority."""
        identity = authority.issue("login service", "tls-server")
        key = write(folder / "login.pem", identity.key_pem() + identity.chain_pem(), secret=True)
        anchors = write(folder / "login-ca.pem", authority.pem())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(anchors))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_cert_chain(key)
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/jwks", self._keys)
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"https://localhost:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()
