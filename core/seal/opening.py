"""Opening: a sealed payload in, plaintext out, chunk by chunk.

Rules:

1. **What comes out is not to be believed before the last of it has come out.** Only then is the tag checked over all of it;
   `SealError` means that everything before it is worthless. Whoever keeps pieces keeps them where nobody looks until the iterator
   has ended, as `core.seal.files` does. ``b"".join(open_sealed(...))`` is safe by itself.
2. The last chunk is held back until the tag is checked, so that a small payload is given whole or not at all.
3. What has no tag (EnvelopedData) opens too, unless ``authenticated`` demands one; `SealedFacts.authenticated` says so. That
   nothing was altered is then not shown, and whoever carries a payload can take its tag away: who expects one should demand it.
4. Nothing may stand behind the end: octets nobody looks at are a place to hide things.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from core import limits
from core.errors import SealError
from core.seal import ber
from core.seal.algorithms import Decryption
from core.seal.header import SealedFacts, read_header
from core.seal.recipients import KeyPair, content_key


class Opened(Iterator[bytes]):
    """Plaintext that is not to be believed before it has ended (rule 1). ``facts`` says how it was sealed."""

    def __init__(self, facts: SealedFacts, plaintext: Iterator[bytes]) -> None:
        self.facts, self._plaintext = facts, plaintext

    def __next__(self) -> bytes:
        return next(self._plaintext)


def open_sealed(chunks: Iterable[bytes], pairs: Sequence[KeyPair], *, authenticated: bool = False) -> Opened:
    """The plaintext, under the first of ``pairs`` it is sealed for. Raises `SealError`: about the header at once, about the
    content when it has been read. Read rule 1 before you use a piece of it.
    """
    reader = ber.Reader(chunks)
    facts = read_header(reader)
    if authenticated and not facts.authenticated:
        raise SealError("contentType", f"{facts.cipher} shows no alteration, which is demanded; ask for aes-256-gcm")
    key = content_key(facts.recipients, pairs, facts.encrypted.key_size)
    return Opened(facts, _plaintext(reader, facts, Decryption(facts.encrypted, key)))


def _plaintext(reader: ber.Reader, facts: SealedFacts, decryption: Decryption) -> Iterator[bytes]:
    held: list[bytes] = []
    waiting = size = 0
    for piece in reader.octets(0, "encryptedContent"):
        if waiting >= limits.SEAL_CHUNK:
            yield decryption.update(b"".join(held))
            held.clear()
            waiting = 0
        held.append(piece)
        waiting += len(piece)
        size += len(piece)
        if size > limits.SEAL_SIZE:
            raise SealError(
                "encryptedContent", f"it has more than {limits.SEAL_SIZE} octets, which one key is not safe for"
            )
    tag = _tail(reader, facts)
    last = decryption.update(b"".join(held))
    last += decryption.finish(tag)
    if last:
        yield last


def _tail(reader: ber.Reader, facts: SealedFacts) -> bytes:
    """Everything behind the content; gives the tag."""
    until = reader.position + limits.SEAL_HEADER
    reader.leave("encryptedContentInfo")
    tag = b""
    if facts.authenticated:
        if reader.next_tag("mac") == ber.explicit(1):
            raise SealError(
                "authAttrs", "authenticated attributes stand behind what they change, so they are not accepted"
            )
        tag = reader.whole(ber.OCTET_STRING, "mac", until)[2:]
        if len(tag) != facts.encrypted.tag_size:
            raise SealError("mac", f"the tag has {len(tag)} octets, announced are {facts.encrypted.tag_size}")
    unprotected = ber.explicit(2 if facts.authenticated else 1)
    if reader.next_tag("unprotectedAttrs") == unprotected:
        reader.whole(unprotected, "unprotectedAttrs", until)
    for field in ("content", "content", "ContentInfo"):
        reader.leave(field)
    if not reader.at_end():
        raise SealError("ContentInfo", "octets follow behind its end")
    return tag
