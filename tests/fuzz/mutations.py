"""Changes to octets: plain ones, and ones that keep XML and header lines mostly in shape, so that a parser is passed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

_TOKEN: Final = re.compile(rb"<[^<>]*>|[^<>]+|[<>]")
_ATTRIBUTE: Final = re.compile(rb"(\s[^\s=\"'<>/]+)=(\"[^\"]*\"|'[^']*')")

VALUES: Final[tuple[bytes, ...]] = (
    b"",
    b" ",
    b"0",
    b"-1",
    b"--5",
    b"1" * 90,
    b"9" * 5000,
    "²٣".encode(),
    b"true",
    b"\x7f",
    b"&#10;",
    b"&#x0;",
    b"&#xD800;",
    b"&amp;",
    b"&nowhere;",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"\x00",
    b"a" * 300,
    b"a" * 1100,
    b"%41%00%ff",
    b"cid:",
    b"cid:part-1%40stafet",
    b"#",
    b"#m-1",
    b"AAAA",
    b"AA=A",
    b"=" * 8,
    b"2026-03-01T12:00:00Z",
    b"0001-01-01T00:00:00+14:00",
    b"9999-12-31T23:59:60.9999999999-14:00",
    b"application/gzip",
    b"application/xml",
    b"text/plain",
    b"CN=x+C=DK,O=\\,\\2C\\+",
    b"2.5.4.3=#0c0161",
    b"1e400",
    b"1:59" + b":0" * 200 + b".5",
    b"!!int ",
    b"!!timestamp x",
    b"2026-13-41",
    b"https://as4.example/",
)
"""Values that have broken parsers somewhere."""

NAMESPACES: Final[tuple[bytes, ...]] = (
    b' xmlns:q="relative"',
    b' xmlns:q="a:b"',
    b' xmlns=""',
    b' xmlns:S12="urn:other"',
    b' xml:id="m-1"',
    b' Id="m-1"',
    b' xml:space="preserve"',
    b' xml:base="../"',
)


def _byte_level(rng: random.Random, octets: bytearray) -> bytearray:
    at = rng.randrange(len(octets) + 1)
    end = min(len(octets), at + rng.choice((1, 1, 2, 4, 16, 64, 1024)))
    kind = rng.randrange(7)
    if kind == 0 and octets:
        octets[at % len(octets)] ^= 1 << rng.randrange(8)
    elif kind == 1:
        octets[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16)))
    elif kind == 2:
        del octets[at:end]
    elif kind == 3:
        octets[at:at] = octets[at:end] * rng.choice((1, 2, 40))
    elif kind == 4:
        octets[at:end] = rng.choice(VALUES)
    elif kind == 5:
        octets[at:at] = rng.choice((b"\r\n", b"\n", b"\r", b"--", b"\r\n--stafet-fuzz", b"\r\n\r\n", b"\x00", b"="))
    elif octets:
        octets[at % len(octets)] = rng.randrange(256)
    return octets


def _token_level(rng: random.Random, octets: bytearray) -> bytearray:
    tokens = _TOKEN.findall(bytes(octets))
    if len(tokens) < 3:
        return _byte_level(rng, octets)
    at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    kind = rng.randrange(7)
    if kind == 0:
        tokens[at] = _attribute_level(rng, tokens[at])
    elif kind == 1 and not tokens[at].startswith(b"<"):
        tokens[at] = rng.choice(VALUES)
    elif kind == 2:
        tokens[at], tokens[other] = tokens[other], tokens[at]
    elif kind == 3:
        begin, end = _element(tokens, at)
        del tokens[begin:end]
    elif kind == 4:
        begin, end = _element(tokens, at)
        tokens[other:other] = tokens[begin:end] * rng.choice((1, 1, 2, 110))
    elif kind == 5:
        tokens[at] += rng.choice((b"<!--x-->", b"<?x y?>", b"<![CDATA[x]]>", b"<x/>", b"text", *VALUES))
    else:
        tokens[at] = _attribute_level(rng, tokens[at])
    return bytearray(b"".join(tokens))


def _element(tokens: list[bytes], at: int) -> tuple[int, int]:
    """The tokens of the whole element that begins at ``at``; a text alone is itself."""
    if not tokens[at].startswith(b"<") or tokens[at].startswith((b"</", b"<?", b"<!")) or tokens[at].endswith(b"/>"):
        return at, at + 1
    depth = 0
    for index in range(at, len(tokens)):
        token = tokens[index]
        if token.startswith(b"</"):
            depth -= 1
        elif token.startswith(b"<") and not token.endswith(b"/>"):
            depth += 1
        if depth == 0:
            return at, index + 1
    return at, at + 1


def _attribute_level(rng: random.Random, token: bytes) -> bytes:
    if not token.startswith(b"<") or token.startswith((b"</", b"<?", b"<!")):
        return token
    found = list(_ATTRIBUTE.finditer(token))
    if not found or rng.random() < 0.3:
        close = -2 if token.endswith(b"/>") else -1
        return token[:close] + rng.choice(NAMESPACES) + token[close:]
    one = rng.choice(found)
    replacement = b"" if rng.random() < 0.3 else one.group(1) + b'="' + rng.choice(VALUES).replace(b'"', b"") + b'"'
    return token[: one.start()] + replacement + token[one.end() :]


def mutate(octets: bytes, max_size: int, seed: int, plain: Callable[[bytes, int], bytes] | None = None) -> bytes:
    """A changed copy. ``plain`` is an engine's own way of changing octets, taken half of the time."""
    rng = random.Random(seed)
    if plain is not None and rng.random() < 0.5:
        return plain(octets, max_size)
    changed = bytearray(octets)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        changed = (_token_level if rng.random() < 0.6 else _byte_level)(rng, changed)[:max_size]
    return bytes(changed)
