"""What the gateway is told: where it listens (node-local), who issues tokens (`rest.issuer`), who may do what (`rest.client`).

Rules:

1. What is left out is safe: TLS 1.2 or newer, tokens bound to the certificate of the connection, asymmetric signatures only.
2. A role that no document gives is not there, whatever a token says; of people, the token must name it as well.
3. Keys of issuers and certificates of clients are files of the configuration directory and become part of the version; the
   server's own key is named by its name in the node's key folder and never does.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from core import limits
from core.clock import SECOND
from core.system import Document, Name

CertificatePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+\.(pem|crt|cer)$")]
"""A certificate file, relative to the configuration directory."""
KeySetPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+\.json$")]
"""A file with an issuer's public keys (a JWK set), relative to the configuration directory."""
Value = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A printable value of at most 255 characters."""
Algorithm = Literal["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]
"""A signature algorithm of RFC 7518. There is no symmetric one and no ``none``: they cannot be asked for."""


class Role(StrEnum):
    """What a caller may do, within its authority and its systems."""

    SYSTEM = "system"
    """Sends and receives as the systems it stands for."""
    SUPPLIER = "supplier"
    """Asks for service agreements and subscriptions on behalf of its systems."""
    OWNER = "owner"
    """Approves what is asked of integrations whose data its authority owns."""
    OPERATOR = "operator"
    """Sees all traffic of its authority's systems, and sends again what failed."""
    AUDITOR = "auditor"
    """Sees who looked at or changed what in its authority."""
    ADMINISTRATOR = "administrator"
    """Everything on this node, of every authority."""


def _path(value: object) -> object:
    return (value,) if isinstance(value, str) else value


ClaimPath = Annotated[tuple[Value, ...], BeforeValidator(_path), Field(min_length=1, max_length=8)]
"""Where a claim is: its name, or the names from the outermost to the innermost."""


class Claims(Document):
    """Which claims of an issuer's tokens say what."""

    client: ClaimPath = ("client_id",)
    """The program that was given the token."""
    subject: ClaimPath = ("sub",)
    """The person, where a client stands for people."""
    roles: ClaimPath = ("roles",)
    """A list of texts, or one text with spaces between."""
    authority: ClaimPath = ("authority",)
    """The authority a person works for."""


class Issuer(Document):
    """Kind ``rest.issuer``: who issues tokens that are taken here: a local login service, or that of a shared infrastructure."""

    kind: Literal["rest.issuer"] = "rest.issuer"
    id: Name
    title: str = ""
    issuer: Value
    """The value of ``iss``, to the letter."""
    audience: Value
    """The value of ``aud`` that stands for this node: a token for somebody else is not taken."""
    jwks: KeySetPath | None = None
    """File with its public keys. Give this, or `jwks_uri`."""
    jwks_uri: Annotated[str, StringConstraints(pattern=r"^https://[^\s/@]+(/\S*)?$", max_length=1024)] | None = None
    """Where its public keys are fetched."""
    jwks_anchors: CertificatePath | None = None
    """The authority of that server's certificate; the system's own list when left out."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("ES256", "RS256", "PS256")
    """Signature algorithms that are taken."""
    types: Annotated[tuple[Value, ...], Field(min_length=1)] = ("at+jwt", "JWT")
    """Values of ``typ`` that are taken; upper and lower case are one. A token without it counts as ``JWT``."""
    certificate_bound: Literal["required", "optional"] = "required"
    """Whether a token must be bound to the certificate of the connection it comes over [RFC 8705 §3]. One that is bound is always
    checked; with ``optional``, one that is not can be used by whoever has it."""
    leeway: Annotated[float, Field(ge=0, le=300)] = limits.TOKEN_LEEWAY / SECOND
    """Seconds that its clock may be off."""
    longest_life: Annotated[float, Field(ge=60, le=86_400)] = limits.TOKEN_LIFE / SECOND
    """Seconds from issue to end above which a token is not taken."""
    claims: Claims = Claims()
    role_names: Annotated[dict[Value, Role], Field(default_factory=dict)]
    """What its tokens call our roles, such as the names of *brugersystemroller*. A word that is left out, and is not itself one
    of ours, is no role here."""

    @model_validator(mode="after")
    def _has_keys(self) -> Issuer:
        if (self.jwks is None) == (self.jwks_uri is None):
            raise ValueError("give either jwks (a file) or jwks_uri (an address): one of them has the issuer's keys")
        if self.jwks_anchors is not None and self.jwks_uri is None:
            raise ValueError("jwks_anchors are for the server of jwks_uri: leave them out beside jwks")
        return self


class Client(Document):
    """Kind ``rest.client``: somebody who may call, by token or by certificate, and what they may do.

    A system that only sends and receives with the certificates of its own document needs none.
    """

    kind: Literal["rest.client"] = "rest.client"
    id: Name
    title: str = ""
    system: Name | None = None
    """The system that calls. Give this, or `person`."""
    person: bool = False
    """People call through it: who it is, is what the token says of its subject."""
    issuer: Name | None = None
    """Whose tokens name it (`rest.issuer`)."""
    client_ids: tuple[Value, ...] = ()
    """What those tokens call the program."""
    subjects: tuple[Value, ...] = ()
    """Only these people, by the token's subject; all that the issuer gives a token when left out."""
    certificates: tuple[CertificatePath, ...] = ()
    """Certificates it connects with instead of a token; several while one replaces another. With neither these nor `client_ids`,
    a system is known by those of its own document."""
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = (Role.SYSTEM,)
    """What it may do. Of a person, those of them that the token names as well."""
    authority: Annotated[str, StringConstraints(max_length=255)] = ""
    """Within which authority; left out, that of its system, or for people the one the token names."""
    serves: tuple[Name, ...] = ()
    """Further systems it stands for: a supplier's, or those behind a shared integration platform."""

    @model_validator(mode="after")
    def _is_one_of(self) -> Client:
        if (self.system is None) != self.person:
            raise ValueError("say either system (which one calls) or person: true (people do)")
        if self.client_ids and self.issuer is None:
            raise ValueError("client_ids need issuer: two issuers may give one name to two programs")
        if self.issuer is not None and not self.client_ids:
            raise ValueError("issuer needs client_ids: which of its programs this is")
        if self.subjects and not (self.person and self.client_ids):
            raise ValueError("subjects are people that tokens name: they need person: true, issuer and client_ids")
        if self.person and not (self.client_ids or self.certificates):
            raise ValueError("give client_ids with issuer, or certificates: else nobody can be it")
        if self.person and self.certificates and not self.authority:
            raise ValueError("a certificate names no authority: say authority beside certificates")
        if self.person and Role.SYSTEM in self.roles:
            raise ValueError("a person is no system: say roles, and leave system out")
        return self


LOOPBACK: Final = "localhost"


class Settings(BaseModel):
    """Node-local: where the gateway listens, and what one node can bear."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8444
    certificate: Name | None = None
    """Name of the server's key with its certificate chain in the node's key folder."""
    plain: bool = False
    """HTTP without TLS, on a loopback address alone: for trying out, and behind a proxy on the same machine. Nobody can then show
    a certificate."""
    client_certificates: Literal["required", "optional", "off"] = "optional"
    """Whether who connects must, may or cannot show a certificate."""
    client_anchors: str | None = None
    """PEM file (with its whole path) of authorities under which clients' certificates may be, beside those that documents name
    one by one. Who they are is said by documents and tokens all the same."""
    tls_versions: Annotated[tuple[Literal["1.2", "1.3"], ...], Field(min_length=1)] = ("1.2", "1.3")
    """Versions of TLS that are taken; the newest that both sides know is spoken."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$", max_length=512)] | None = None
    """How others reach it, in links and in the OpenAPI document; left out, host and port."""
    max_connections: Annotated[int, Field(ge=1, le=65_536)] = limits.HTTP_CONNECTIONS
    """Connections at once. A request on one more is asked to come back, and the connection is closed."""
    max_requests: Annotated[int, Field(ge=1, le=65_536)] = limits.HTTP_REQUESTS
    """Requests under way at once, pulls that wait included; more are asked to come back."""
    max_body: Annotated[int, Field(ge=1024, le=64 * 1024**2)] = limits.HTTP_BODY
    """Octets of a body that is read as a whole; payloads that are streamed have their integration's limit."""
    read_timeout: Annotated[float, Field(ge=1, le=600)] = limits.HTTP_READ / SECOND
    """Seconds to wait for the next octets of a request."""
    idle_timeout: Annotated[float, Field(ge=1, le=3600)] = limits.HTTP_IDLE / SECOND
    """Seconds a connection may be idle between two requests."""

    @model_validator(mode="after")
    def _is_safe(self) -> Settings:
        if self.plain == (self.certificate is not None):
            raise ValueError("name certificate (the server's key), or say plain: true for HTTP on a loopback address")
        if self.plain and not _is_loopback(self.host):
            raise ValueError(
                f"plain: {self.host!r} is no loopback address, so tokens would cross the network in the open"
            )
        if self.plain and self.client_certificates == "required":
            raise ValueError("client_certificates: required needs TLS: name certificate instead of plain")
        if self.client_anchors is not None and self.client_certificates == "off":
            raise ValueError("client_anchors: no certificate is asked for while client_certificates is off")
        return self

    @property
    def base_url(self) -> str:
        """How others reach it, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = f"{'http' if self.plain else 'https'}://{host}:{self.port}"
        return (self.url or own).rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == LOOPBACK
