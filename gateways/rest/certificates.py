"""Where to send: the certificates that payloads are sealed with for a system, and the functions that systems serve.

Rules:

1. A system is shown to those of its authority and to those it exchanges with: both have a service agreement under one integration
   that holds now. For anybody else it is not there.
2. Only what holds now is given, the newest first: nobody seals with a certificate that has ended or has not begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.clock import Micros, from_datetime
from core.config import Configuration, certificates_in
from core.system import Function, System
from core.trust import fingerprint, subject
from gateways.rest import problems
from gateways.rest.accepting import chosen
from gateways.rest.access import Caller
from gateways.rest.conditional import ETAG, IF_NONE_MATCH, reply
from gateways.rest.endpoint import Answer, Ask, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.problems import Problem, ProblemError, absent

_TAG: Final = "Certificates"
PEM: Final = "application/pem-certificate-chain"
_JSON: Final = "application/json"
_ADDRESSES: Final = "who sends asks it time and again, and sees addresses and public keys alone"
_SAME: Final = Answer("It is still what you have.", headers=ETAG)


class CertificateView(Shape):
    """A certificate that holds now."""

    fingerprint: str
    """SHA-256 of the DER form."""
    subject: str
    begins: str
    ends: str
    pem: str


class SealingCertificates(Shape):
    """With which certificates payloads are sealed for a system; the first is the one to take."""

    system: str
    certificates: list[CertificateView]


class ServingSystem(Shape):
    """A system that serves a function."""

    system: str
    title: str
    certificates_at: str
    """Where its sealing certificates are."""


class FunctionView(Shape):
    """A function, and the systems that serve it, as far as you exchange with them."""

    id: str
    title: str
    authority: str
    sensitivity: str
    """The most sensitive that may be sent to it."""
    systems: list[ServingSystem]


class Certificates:
    """Endpoints of whom one can send to."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        found = Answer("The certificates.", SealingCertificates, headers=ETAG, others=(PEM,))
        function = Answer("The function.", FunctionView, headers=ETAG)
        return (
            Endpoint("GET", "/v1/systems/{system}/certificates", self.of_system, "Fetch a system's sealing certificates",
                     _TAG, {200: found, 304: _SAME}, headers=IF_NONE_MATCH, unaudited=_ADDRESSES),
            Endpoint("GET", "/v1/functions/{function}", self.function, "See who serves a function", _TAG,
                     {200: function, 304: _SAME}, headers=IF_NONE_MATCH, unaudited=_ADDRESSES),
        )  # fmt: skip

    async def of_system(self, ask: Ask) -> Reply:
        """As JSON, or by `Accept` as PEM. Ask now and then, and take the first: certificates are renewed."""
        form = chosen(ask.headers.get("accept", ""), (_JSON, PEM))
        found = self._gate.configuration().all("system").get(ask.path["system"])
        if not isinstance(found, System) or not self._shown(ask.caller, found):
            raise absent()
        held = self._holding(found)
        if form == PEM:
            return reply(ask, b"".join(one.public_bytes(Encoding.PEM) for one in held), PEM)
        return reply(ask, SealingCertificates(system=found.id, certificates=[_view(one) for one in held]))

    def _holding(self, found: System) -> list[x509.Certificate]:
        configuration, now = self._gate.configuration(), self._gate.kernel.clock.now()
        try:
            made = [one for name in found.sealing_certificates for one in certificates_in(configuration.files, name)]
        except ValueError:
            raise ProblemError(Problem(problems.DAMAGED)) from None
        held = [one for one in made if _begin(one) <= now <= from_datetime(one.not_valid_after_utc)]
        return sorted(held, key=_begin, reverse=True)

    async def function(self, ask: Ask) -> Reply:
        """What may be sent to it, and where its systems' certificates are."""
        configuration, caller = self._gate.configuration(), ask.caller
        found = configuration.all("function").get(ask.path["function"])
        if not isinstance(found, Function):
            raise absent()
        serving = [
            one
            for _, one in sorted(configuration.all("system").items())
            if found.id in one.functions and self._shown(caller, one)
        ]
        if not serving and found.authority != caller.authority and not caller.administers:
            raise absent()
        systems = [
            ServingSystem(system=one.id, title=one.title, certificates_at=f"/v1/systems/{one.id}/certificates")
            for one in serving
        ]
        said = {"id": found.id, "title": found.title, "authority": found.authority, "sensitivity": found.sensitivity}
        return reply(ask, FunctionView(**said, systems=systems))

    def _shown(self, caller: Caller, system: System) -> bool:
        if caller.administers or system.id in caller.systems or system.authority == caller.authority:
            return True
        return exchanges(self._gate.configuration(), caller.systems, system.id, self._gate.kernel.clock.now())


def exchanges(configuration: Configuration, systems: frozenset[str], other: str, now: Micros) -> bool:
    """Whether one of these and another system send to each other under some integration now."""
    agreed = configuration.agreed
    for one in configuration.all("service-agreement").values():
        if one.system not in systems:
            continue
        if one.covers("send", now) and agreed(one.integration, other, "receive", now):
            return True
        if one.covers("receive", now) and agreed(one.integration, other, "send", now):
            return True
    return False


def _begin(one: x509.Certificate) -> Micros:
    return from_datetime(one.not_valid_before_utc)


def _view(one: x509.Certificate) -> CertificateView:
    said: dict[str, Any] = {"fingerprint": fingerprint(one), "subject": subject(one)}
    ends = rfc3339(from_datetime(one.not_valid_after_utc))
    pem = one.public_bytes(Encoding.PEM).decode()
    return CertificateView(**said, begins=rfc3339(_begin(one)), ends=ends, pem=pem)
