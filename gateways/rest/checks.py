"""What can be wrong between the documents that say who may call.

Rule: one certificate, and one name in one issuer's tokens, stands for one caller; two would be two answers to who this is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.config import Configuration, Problem, certificates_in
from core.trust import Untrusted, check_usage, fingerprint
from gateways.rest.access import Pin, pins, programs
from gateways.rest.issuers import keys_in
from gateways.rest.settings import Client


def check(configuration: Configuration) -> Iterable[Problem]:
    """That clients name systems, issuers and files that are there, and that nobody can be taken for somebody else."""
    yield from _issuers(configuration)
    unreadable = list(_files(configuration))
    yield from unreadable
    for client in configuration.all("rest.client").values():
        yield from _references(configuration, client)
    yield from _same_program(configuration)
    yield from _same_documents(configuration)
    if not unreadable:
        yield from _same_certificate(pins(configuration))


def _issuers(configuration: Configuration) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for issuer in configuration.all("rest.issuer").values():
        other = seen.setdefault(issuer.issuer, issuer.id)
        if other != issuer.id:
            cause = f"rest.issuer {other} has the same: whose keys count would be chance"
            yield Problem("rest.issuer", issuer.id, "issuer", cause, "keep one of the two")
        try:
            if issuer.jwks is not None:
                keys_in(configuration, issuer.jwks)
            elif issuer.jwks_anchors is not None:
                certificates_in(configuration.files, issuer.jwks_anchors)
        except ValueError as error:
            where = "jwks" if issuer.jwks is not None else "jwks_anchors"
            yield Problem("rest.issuer", issuer.id, where, str(error), "put the issuer's public keys there")


def _files(configuration: Configuration) -> Iterator[Problem]:
    for kind in ("system", "rest.client"):
        for document in configuration.all(kind).values():
            for index, file in enumerate(document.certificates):
                try:
                    for made in certificates_in(configuration.files, file):
                        check_usage(made)
                except (ValueError, Untrusted) as error:
                    yield Problem(kind, document.id, f"certificates.{index}", str(error))


def _references(configuration: Configuration, client: Client) -> Iterator[Problem]:
    systems = configuration.all("system")
    named = [("issuer", "rest.issuer", client.issuer), ("system", "system", client.system)]
    named += [(f"serves.{index}", "system", name) for index, name in enumerate(client.serves)]
    for where, kind, name in named:
        if name is not None and name not in configuration.all(kind):
            known = ", ".join(sorted(configuration.all(kind))[:8]) or "there are none"
            yield Problem("rest.client", client.id, where, f"no {kind} is called {name!r}", f"known: {known}")
    own = systems.get(client.system) if client.system is not None else None
    if own is not None and not (client.client_ids or client.certificates or own.certificates):
        cause = f"nobody can be it: neither it nor system {client.system} has a certificate or a token's name"
        yield Problem("rest.client", client.id, "certificates", cause, "give certificates, or client_ids with issuer")


def _same_program(configuration: Configuration) -> Iterator[Problem]:
    seen: dict[tuple[str, str, str], str] = {}
    for client in configuration.all("rest.client").values():
        for program in programs(client):
            other = seen.setdefault(program, client.id)
            if other != client.id:
                cause = f"{program[1]!r} stands for rest.client {other} already"
                yield Problem("rest.client", client.id, "client_ids", cause, "one name in a token is one caller")


def _same_documents(configuration: Configuration) -> Iterator[Problem]:
    """Two documents that both speak for a system's own certificates."""
    seen: dict[str, str] = {}
    for client in configuration.all("rest.client").values():
        if client.system is not None and not client.certificates and not client.client_ids:
            other = seen.setdefault(client.system, client.id)
            if other != client.id:
                cause = f"rest.client {other} says what the certificates of system {client.system} may do already"
                yield Problem("rest.client", client.id, "system", cause, "keep one of the two")


def _same_certificate(found: Iterable[Pin]) -> Iterator[Problem]:
    seen: dict[str, Pin] = {}
    for pin in found:
        other = seen.setdefault(fingerprint(pin.certificate), pin)
        if (other.kind, other.id) != (pin.kind, pin.id):
            cause = f"the certificate in {pin.file} stands for {other.kind} {other.id} already ({other.file})"
            remedy = "one certificate is one caller: get another one, or let a rest.client with serves speak for both"
            yield Problem(pin.kind, pin.id, "certificates", cause, remedy)
