"""The audit of the trace: signed checkpoints of every chain's head, and proof that nothing was changed since.

Rules:

1. A checkpoint names each chain's last entry and its hash; the node signs it with a key of its own (Ed25519, made at first
   start, in the key folder). Whoever keeps a checkpoint can later show that an entry was changed, removed or put in.
2. Checking needs only the ledger and the node's public key.
"""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sqlalchemy import Connection, func, insert, select

from core.clock import Micros
from core.disk import write_secret
from core.ledger.tables import checkpoint, trace
from core.ledger.trace import chains, verify_chain

_FILE = "audit.key"


def audit_key(folder: Path) -> Ed25519PrivateKey:
    """The node's signing key for checkpoints, made when there is none."""
    path = folder / _FILE
    if not path.exists():
        fresh = Ed25519PrivateKey.generate()
        write_secret(path, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey), f"{path} is not an Ed25519 key"
    return key


def heads(connection: Connection) -> dict[str, tuple[int, str]]:
    """Each chain's last sequence number and hash."""
    last = select(trace.c.chain, func.max(trace.c.seq).label("seq")).group_by(trace.c.chain).subquery()
    query = select(trace.c.chain, trace.c.seq, trace.c.hash).join(
        last, (trace.c.chain == last.c.chain) & (trace.c.seq == last.c.seq)
    )
    return {row.chain: (row.seq, row.hash.hex()) for row in connection.execute(query)}


def add_checkpoint(connection: Connection, node: str, at: Micros, key: Ed25519PrivateKey) -> None:
    """Sign all heads and store them."""
    text = json.dumps([node, at, heads(connection)], sort_keys=True, separators=(",", ":"))
    values = {"at": at, "node": node, "heads": text, "signature": key.sign(text.encode())}
    connection.execute(insert(checkpoint).values(**values))


def verify_all(connection: Connection, public: Ed25519PublicKey) -> list[str]:
    """What is wrong with the trace, in words; empty when every chain is whole and agrees with every checkpoint."""
    problems = [f"chain {name}: {cause}" for name in chains(connection) if (cause := verify_chain(connection, name))]
    for row in connection.execute(select(checkpoint).order_by(checkpoint.c.at)):
        try:
            public.verify(row.signature, row.heads.encode())
        except InvalidSignature:
            problems.append(f"checkpoint {row.at}: its signature is not this node's")
            continue
        for chain, (seq, digest) in json.loads(row.heads)[2].items():
            query = select(trace.c.hash).where(trace.c.chain == chain, trace.c.seq == seq)
            found = connection.execute(query).scalar_one_or_none()
            if found is None or found.hex() != digest:
                problems.append(f"chain {chain}: entry {seq} is not what the checkpoint of {row.at} says")
    return problems


def public_octets(key: Ed25519PublicKey) -> bytes:
    """A public key in PEM, to be kept elsewhere."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
