"""The cryptographic floor of one exchange: what both sides must do at the least, and nothing else.

The sender digests header and payload, compresses, signs, wraps a content key and encrypts; the receiver verifies, unwraps,
decrypts, digests, unpacks and signs a receipt; the sender verifies it. No XML, no HTTP, no disk, no certificates: `cryptography`,
`hashlib` and ISA-L on octets in memory.

Rules:

1. Two processes share this machine's cores, each an organisation that sends to the other and receives from it, so that no core
   waits because one half of an exchange costs more than the other. A product is measured against all that the cores can do.
2. What would travel is made beforehand; an exchange is handed over as a count alone. Neither side runs ahead of the other by more
   than `AHEAD`.
3. An exchange counts when its receiver's half is done.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from isal import igzip, isal_zlib

PAYLOAD: Final = 5_000
"""Octets of the payload: hexadecimal digits, which compress to little more than half."""
HEADER: Final = 3_000
"""Octets of a header that are digested: Messaging and Body in canonical form."""
SIGNED_INFO: Final = 1_500
"""Octets of a canonical SignedInfo with three references."""
AHEAD: Final = 64
"""Exchanges one side may be ahead of the other: a full pipe, not a head start."""

_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()

Half = Callable[[], None]
"""One side's share of one exchange."""


def halves(ours: rsa.RSAPrivateKey, theirs: rsa.RSAPrivateKey) -> tuple[Half, Half]:
    """The sender's (``ours``) and the receiver's (``theirs``) share of an exchange, each checked once against the other."""
    payload = os.urandom(PAYLOAD // 2).hex().encode()
    header, info = os.urandom(HEADER), os.urandom(SIGNED_INFO)
    them, us = theirs.public_key(), ours.public_key()
    receipt = theirs.sign(info, _PKCS1, _SHA256)

    def send() -> tuple[bytes, bytes, bytes, bytes]:
        packed = igzip.compress(payload, 1)
        hashlib.sha256(header).digest()
        digest = hashlib.sha256(packed).digest()
        signature = ours.sign(info, _PKCS1, _SHA256)
        key, nonce = os.urandom(16), os.urandom(12)
        wrapped = them.encrypt(key, _OAEP)
        return nonce + AESGCM(key).encrypt(nonce, packed, None), wrapped, signature, digest

    wire, wrapped, signature, digest = send()

    def sender() -> None:
        send()
        hashlib.sha256(header).digest()
        them.verify(receipt, info, _PKCS1, _SHA256)

    def receiver() -> None:
        hashlib.sha256(header).digest()
        us.verify(signature, info, _PKCS1, _SHA256)
        key = theirs.decrypt(wrapped, _OAEP)
        packed = AESGCM(key).decrypt(wire[:12], wire[12:], None)
        if hashlib.sha256(packed).digest() != digest or isal_zlib.decompress(packed, 31) != payload:
            raise AssertionError("what arrives is not what was sent: the figure would be worthless")
        hashlib.sha256(header).digest()
        theirs.sign(info, _PKCS1, _SHA256)

    sender()
    receiver()
    return sender, receiver


def _organisation(send: Half, receive: Half, counts: tuple[Any, Any, Any, Any], begin: float, end: float) -> None:
    """Send to the other and receive from it until ``end``. ``counts``: sent and received here, sent and received there."""
    sent, received, their_sent, their_received = counts
    while time.monotonic() < begin:
        time.sleep(0.001)
    while time.monotonic() < end:
        idle = True
        if received.value < their_sent.value:
            receive()
            received.value, idle = received.value + 1, False
        if sent.value - their_received.value < AHEAD:
            send()
            sent.value, idle = sent.value + 1, False
        if idle:
            time.sleep(0.0001)


def floor(bits: int, seconds: float) -> float:
    """Exchanges per second that two processes reach with RSA keys of ``bits``, measured over ``seconds``."""
    context = multiprocessing.get_context("fork")
    keys = [rsa.generate_private_key(65537, bits) for _ in range(2)]
    forth, back = halves(keys[0], keys[1]), halves(keys[1], keys[0])
    sent, received = (
        [context.Value("q", 0, lock=False) for _ in keys],
        [context.Value("q", 0, lock=False) for _ in keys],
    )
    begin = time.monotonic() + 0.1
    sides = [
        context.Process(
            target=_organisation,
            args=(send, receive, (sent[i], received[i], sent[1 - i], received[1 - i]), begin, begin + seconds),
            daemon=True,
        )
        for i, (send, receive) in enumerate(((forth[0], back[1]), (back[0], forth[1])))
    ]
    for side in sides:
        side.start()
    for side in sides:
        side.join()
    if any(side.exitcode for side in sides):
        raise RuntimeError("a side of the floor ended before its time")
    return float(sum(count.value for count in received)) / seconds


def costs(bits: int, seconds: float = 0.5) -> tuple[float, float]:
    """Microseconds of CPU of the sender's and of the receiver's share, one process alone."""
    found = []
    for half in halves(rsa.generate_private_key(65537, bits), rsa.generate_private_key(65537, bits)):
        count, begun = 0, time.process_time()
        while (took := time.process_time() - begun) < seconds:
            half()
            count += 1
        found.append(took / count * 1e6)
    return found[0], found[1]


if __name__ == "__main__":
    for size in (2048, 3072):
        ours, theirs = costs(size)
        print(f"RSA-{size}: {floor(size, 3.0):7.1f} exchanges/s; sender {ours:.0f} µs, receiver {theirs:.0f} µs of CPU")
