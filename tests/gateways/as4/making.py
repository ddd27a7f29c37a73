"""What the gateway's tests are made of: two organisations whose keys are made once, and a sender written by hand.

`OtherSender` stands for a foreign access point: it builds messages with `accesspoint` alone, and each step can be done wrongly.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509

from accesspoint import ebms, names, outbound
from accesspoint.compression import compress
from accesspoint.pmode import PMode
from accesspoint.profiles import PROFILES
from accesspoint.tokens import KeyReference, candidates
from accesspoint.wss import Trust
from conformance.estate import ACTION, FILES, INTEGRATION, PARTY_TYPE, SERVICE, SERVICE_TYPE, TYPE, Estate
from conformance.pki import Authority, Identity
from core.clock import SystemClock, to_datetime
from core.config import Configuration, load
from core.description import Description
from core.ledger.tables import metadata
from core.node import Node
from core.parcel import Item, Parcel, new_id
from core.runtime import Catalogue, Runtime
from core.settings import load_settings
from core.store import Stage
from core.trust import load_identity
from gateways.as4.adapter import As4Gateway
from gateways.as4.partners import signer

CATALOGUE: Final = Catalogue({"as4": As4Gateway})
OBSERVATION: Final = b'{"resourceType": "Observation", "status": "final"}'


@functools.cache
def authority() -> Authority:
    """The authority of identities made beside those of an estate."""
    return Authority("Stafet Test CA", to_datetime(SystemClock().now()))


@functools.cache
def stranger(name: str = "Demo Stranger signing") -> Identity:
    """Somebody whose certificate is valid and agreed with nobody."""
    return authority().issue(name, "signing")


def edit(home: Path, file: str, kind: str, **fields: Any) -> None:
    """Change fields of the documents of one kind in a configuration file."""
    path = home / "config" / file
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        if document["kind"] == kind:
            document.update(fields)
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))


def edit_node(home: Path, **fields: Any) -> None:
    """Change fields of ``node.yaml``."""
    path = home / "node.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}, sort_keys=False))


def configuration(home: Path) -> Configuration:
    """A home's configuration directory, checked."""
    return load(home / "config", CATALOGUE.kinds, CATALOGUE.checks)


# --- parcels ----------------------------------------------------------------------------------------------------------


def stage_parcel(
    runtime: Runtime,
    sender: str,
    payloads: Sequence[tuple[str, str, bytes]],
    *,
    integration: str = FILES,
    attributes: dict[str, str] | None = None,
    correlation_id: str | None = None,
) -> Item:
    """A parcel of payloads (name, media type, octets), staged in a node's store; blocking."""
    stage = Stage(runtime.store, runtime.ring, new_id(runtime.clock.now()), 1 << 40)
    made = []
    for name, media_type, octets in payloads:
        sink = stage.sink()
        for start in range(0, len(octets), 1 << 20):
            sink.write(octets[start : start + (1 << 20)])
        made.append(sink.finish(name=name, media_type=media_type))
    kind = TYPE if integration == INTEGRATION else "file"
    parcel = Parcel(
        stage.parcel_id,
        sender,
        integration,
        Description(type=kind, sender=sender, correlation_id=correlation_id, attributes=attributes or {}),
        tuple(made),
        runtime.clock.now(),
        stage.key_id,
        stage.wrapped_key,
        runtime.configuration.number,
    )
    return Item(parcel)


def count(runtime: Runtime, table: str) -> int:
    """Rows of a table of a node's ledger."""
    return len(runtime.read_now(lambda c: c.execute(metadata.tables[table].select()).all()))


def objects(runtime: Runtime) -> list[str]:
    """Files of a node's payload store, durable or half-made."""
    return sorted(p.name for p in runtime.store.root.rglob("*") if p.is_file())


def stored(runtime: Runtime) -> tuple[int, int, int]:
    """How many parcels, keys and objects a node has."""
    return count(runtime, "parcel"), count(runtime, "idempotency"), len(objects(runtime))


# --- a sender of another make -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """What a foreign sender posts."""

    message: outbound.Message
    body: bytes
    pmode: PMode

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers."""
        return {"Content-Type": self.message.content_type}


class OtherSender:
    """The municipality's access point, if it were not Stafet: same keys, same agreement, other program."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        keys = estate.municipality.settings().keys_path
        own = load_identity(keys, "signing")
        self.identity = Identity(own.key, own.certificate)  # type: ignore[arg-type]
        theirs = load_identity(estate.hospital.settings().keys_path, "decryption").certificate
        self.pmode = PMode(
            "test",
            "hospital",
            PROFILES[estate.profile],
            ebms.Party(ebms.Typed(estate.municipality.authority, PARTY_TYPE), names.INITIATOR),
            ebms.Party(ebms.Typed(estate.hospital.authority, PARTY_TYPE), names.RESPONDER),
            ebms.Typed(SERVICE, SERVICE_TYPE),
            ACTION,
            their_encryption_certificate=theirs,
        )

    def trust(self) -> Trust:
        """The hospital's signing certificate and no other."""
        theirs = load_identity(self.estate.hospital.settings().keys_path, "signing").certificate
        return lambda reference: believed(reference, theirs)

    def message(
        self,
        payloads: Sequence[bytes] = (OBSERVATION,),
        *,
        message_id: str = "",
        ping: bool = False,
        identity: Identity | None = None,
        pmode: PMode | None = None,
        properties: tuple[ebms.Property, ...] = (),
        conversation: str = "conversation-1",
        prepare: Callable[[bytes], bytes] = compress,
    ) -> Sent:
        """A message built afresh; signed by ``identity``, under ``pmode``; ``prepare`` is called compression."""
        pmode, identity = pmode or self.pmode, identity or self.identity
        if ping:
            service, action = ebms.Typed(names.TEST_SERVICE), names.TEST_ACTION
            pmode = replace(pmode, service=service, action=action)
        header = ebms.UserMessage(
            message_id or outbound.new_cid().replace("@stafet", "@municipality.example"),
            SystemClock().now(),
            pmode.us,
            pmode.them,
            pmode.service,
            pmode.action,
            conversation,
            pmode.agreement,
            None,
            None,
            pmode.mpc,
            properties,
        )
        bodies = [prepare(octets) for octets in payloads]
        parts = [
            outbound.Part(outbound.new_cid(), "application/json", True, len(b), hashlib.sha256(b).digest())
            for b in bodies
        ]
        message = outbound.build(pmode, header, parts, identity.certificate, sign_with(identity))
        return Sent(message, message.whole(bodies), pmode)


def sign_with(identity: Identity) -> outbound.Sign:
    """The private-key operation of an identity."""
    return signer(identity)  # type: ignore[arg-type]


def believed(reference: KeyReference, certificate: x509.Certificate) -> Sequence[x509.Certificate]:
    """What ``reference`` means, if it means this certificate."""
    return candidates(reference, [certificate])


def node_of(home: Path) -> Node:
    """A node on a home."""
    return Node(load_settings(home), catalogue=CATALOGUE)
