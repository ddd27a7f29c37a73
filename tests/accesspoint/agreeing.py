"""Key agreement for these tests: a second implementation from the documents alone, and the XML of other makers."""

from __future__ import annotations

import hmac
from base64 import b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from accesspoint import names
from accesspoint.names import DS, DSIG11, DSIG_MORE, XENC, XENC11
from accesspoint.soap import parse_xml

KEY = bytes(range(100, 116))
SALT = bytes(range(16))
CURVES = {
    "urn:oid:1.2.840.10045.3.1.7": ec.SECP256R1(),
    "urn:oid:1.3.132.0.34": ec.SECP384R1(),
    "urn:oid:1.3.132.0.35": ec.SECP521R1(),
    "urn:oid:1.3.36.3.3.2.8.1.1.7": ec.BrainpoolP256R1(),
    "urn:oid:1.3.36.3.3.2.8.1.1.11": ec.BrainpoolP384R1(),
    "urn:oid:1.3.36.3.3.2.8.1.1.13": ec.BrainpoolP512R1(),
}
P256 = next(iter(CURVES))

# --- a second implementation, from the documents alone ----------------------------------------------------------------


def ladder(scalar: bytes, point: bytes) -> bytes:
    """X25519 as RFC 7748 §5 writes it."""
    p, a24 = 2**255 - 19, 121665
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | 1 << 254
    x1 = int.from_bytes(point, "little") & ~(1 << 255)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % p, c * b % p, a * a % p, b * b % p
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, (aa - bb) * (aa + a24 * (aa - bb)) % p
    if swap:
        x2, z2 = x3, z3
    return int.to_bytes(x2 * pow(z2, p - 2, p) % p, 32, "little")


def times(scalar: int, x: int, y: int) -> int:
    """The x of a multiple of a point on P-256, by doubling and adding."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    sum_: tuple[int, int] | None = None
    doubled: tuple[int, int] = (x, y)

    def add(one: tuple[int, int] | None, other: tuple[int, int]) -> tuple[int, int]:
        if one is None:
            return other
        (x1, y1), (x2, y2) = one, other
        rise, run = (3 * x1 * x1 - 3, 2 * y1) if one == other else (y2 - y1, x2 - x1)
        slope = rise * pow(run, -1, p)
        x3 = (slope * slope - x1 - x2) % p
        return x3, (slope * (x1 - x3) - y1) % p

    while scalar:
        sum_ = add(sum_, doubled) if scalar & 1 else sum_
        doubled, scalar = add(doubled, doubled), scalar >> 1
    assert sum_ is not None
    return sum_[0]


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int = 16) -> bytes:
    """HKDF with SHA-256 as RFC 5869 §2 writes it."""
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    octets, block, count = b"", b"", 0
    while len(octets) < size:
        count += 1
        block = hmac.digest(key, block + info + bytes([count]), "sha256")
        octets += block
    return octets[:size]


def key_wrap(kek: bytes, key: bytes) -> bytes:
    """AES key wrap as RFC 3394 §2.2.1 writes it."""
    block = Cipher(algorithms.AES(kek), modes.ECB()).encryptor()
    a, r = b"\xa6" * 8, [key[at : at + 8] for at in range(0, len(key), 8)]
    for t in range(1, 6 * len(r) + 1):
        i = (t - 1) % len(r)
        b = block.update(a + r[i])
        a, r[i] = (int.from_bytes(b[:8], "big") ^ t).to_bytes(8, "big"), b[8:]
    return a + b"".join(r)


ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")


# --- the XML of others ------------------------------------------------------------------------------------------------


def spki(key: Any) -> bytes:
    """A public key in DER."""
    octets: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return octets


def der_value(octets: bytes) -> str:
    """An originator's key in DER."""
    return f"<d:DEREncodedKeyValue>{b64encode(octets).decode()}</d:DEREncodedKeyValue>"


def point_value(octets: bytes, curve: str = f'<d:NamedCurve URI="{P256}"/>') -> str:
    """An originator's key as a point."""
    point = f"<d:PublicKey>{b64encode(octets).decode()}</d:PublicKey>"
    return f"<ds:KeyValue><d:ECKeyValue>{curve}{point}</d:ECKeyValue></ds:KeyValue>"


def point_of(key: Any, form: Any = serialization.PublicFormat.UncompressedPoint) -> bytes:
    """The octets of a point."""
    octets: bytes = key.public_bytes(serialization.Encoding.X962, form)
    return octets


PRF = f'<m:PRF Algorithm="{names.HMAC_SHA256}"/>'
LENGTH = "<m:KeyLength> 16\n</m:KeyLength>"


def salted(octets: bytes) -> str:
    """A salt."""
    return f"<m:Salt>{b64encode(octets).decode()}</m:Salt>"


def derivation(parameters: str = PRF + salted(SALT) + LENGTH, algorithm: str = names.HKDF) -> str:
    """How the key-wrapping key is derived."""
    return f'<x:KeyDerivationMethod Algorithm="{algorithm}"><m:HKDFParams>{parameters}</m:HKDFParams></x:KeyDerivationMethod>'


def method(originator: str, derived: str | None = None, algorithm: str = names.X25519) -> Any:
    """An AgreementMethod in somebody else's prefixes."""
    return parse_xml(
        f'<e:AgreementMethod xmlns:e="{XENC}" xmlns:x="{XENC11}" xmlns:m="{DSIG_MORE}" xmlns:d="{DSIG11}" xmlns:ds="{DS}" '
        f'Algorithm="{algorithm}">{derivation() if derived is None else derived}'
        f"<e:OriginatorKeyInfo>{originator}</e:OriginatorKeyInfo>"
        f"<e:RecipientKeyInfo><ds:KeyName>ours</ds:KeyName></e:RecipientKeyInfo></e:AgreementMethod>".encode()
    )


@cache
def montgomery(scalar: bytes = BOB) -> x25519.X25519PrivateKey:
    """A key of ours for X25519."""
    return x25519.X25519PrivateKey.from_private_bytes(scalar)


@cache
def elliptic(uri: str = P256) -> ec.EllipticCurvePrivateKey:
    """A key of ours on a curve."""
    return ec.generate_private_key(CURVES[uri])


def theirs() -> str:
    """Alice's public key."""
    return der_value(spki(montgomery(ALICE).public_key()))


def kek(salt: bytes = SALT, info: bytes = b"") -> bytes:
    """What Alice and Bob derive."""
    return hkdf(ladder(ALICE, montgomery().public_key().public_bytes_raw()), salt, info)
