"""The public keys of issuers: from a file of the configuration, or fetched from the issuer and kept for a while.

Rules:

1. Only addresses that a document names are asked, over https, without proxies, redirects, cookies or decompression, within limits
   of size and time.
2. One question at a time to an issuer, and none within `limits.KEY_SET_PAUSE` of the last: unknown keys cannot make us flood it.
3. A failure keeps what we have for `limits.KEY_SET_STALE`, and people are told once; after that nobody is let in by it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding

from core import limits, log
from core.clock import SECOND, Clock, Micros
from core.config import Configuration, certificates_in
from core.errors import Overloaded
from gateways.rest.settings import Issuer
from gateways.rest.tokens import PublicKey, read_keys

_log = log.get("rest")
_PIECE: Final = 65_536
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,;])", re.IGNORECASE)
Alarm = Callable[[str, str], Awaitable[None]]
"""Tells people: a code and a sentence."""


@dataclass
class _State:
    """How it goes with one issuer that is asked."""

    keys: tuple[PublicKey, ...] = ()
    etag: str = ""
    asked: Micros | None = None
    fresh_until: Micros = 0
    stale_until: Micros = 0
    failures: int = 0
    asking: asyncio.Task[None] | None = None


_Source = tuple[str, bytes]
"""Where keys are fetched, and the authorities of its certificate in DER: if either changes, what is kept is of somebody else."""


class KeySets:
    """The keys of all issuers; lives longer than a configuration version."""

    def __init__(self, clock: Clock, alarm: Alarm) -> None:
        self._clock, self._alarm = clock, alarm
        self._files: dict[str, tuple[PublicKey, ...]] = {}
        self._sources: dict[str, _Source] = {}
        self._states: dict[_Source, _State] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def configure(self, configuration: Configuration) -> None:
        """Take the issuers of a version; what was fetched stays. Raises `ValueError` for a file that cannot be read."""
        files: dict[str, tuple[PublicKey, ...]] = {}
        sources: dict[str, _Source] = {}
        for issuer in configuration.all("rest.issuer").values():
            if issuer.jwks is not None:
                files[issuer.id] = keys_in(configuration, issuer.jwks)
            else:
                sources[issuer.id] = (issuer.jwks_uri, _anchors(configuration, issuer))
        self._files, self._sources = files, sources
        for gone in self._states.keys() - set(sources.values()):
            del self._states[gone]  # who waits for its answer still gets it

    async def of(self, issuer: Issuer, kid: str | None) -> Sequence[PublicKey]:
        """The keys of an issuer, asked for again when they are old or ``kid`` is not among them. Raises `Overloaded`."""
        if issuer.id in self._files:
            return self._files[issuer.id]
        source = self._sources.get(issuer.id)
        if source is None:  # a request that began before the version that takes the issuer out
            raise Overloaded("the configuration has changed meanwhile; try again", limits.KEY_SET_PAUSE)
        state = self._states.setdefault(source, _State())
        now = self._clock.now()
        known = bool(state.keys) and (kid is None or any(key.kid == kid for key in state.keys))
        due = state.asked is None or now >= state.asked + limits.KEY_SET_PAUSE
        if state.asking is not None or (due and (not known or now >= state.fresh_until)):
            if state.asking is None:
                state.asked = now
                state.asking = asyncio.create_task(self._ask(issuer, source, state))
                self._tasks.add(state.asking)
                state.asking.add_done_callback(self._tasks.discard)
            # While the issuer is away, whoever has a key that is known need not wait for its silence.
            if not (known and state.failures and now < state.stale_until):
                await asyncio.shield(state.asking)
        if not state.keys or self._clock.now() >= state.stale_until:
            raise Overloaded(
                "the keys of the token's issuer cannot be had now; try again shortly", limits.KEY_SET_PAUSE
            )
        return state.keys

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- asking

    async def _ask(self, issuer: Issuer, source: _Source, state: _State) -> None:
        try:
            await self._refresh(source, state)
        except (ValueError, aiohttp.ClientError, OSError, TimeoutError) as error:
            words = _words(error)
            state.failures += 1
            _log.warning(
                "an issuer's keys could not be fetched", issuer=issuer.id, cause=words, failures=state.failures
            )
            if state.failures == 1:
                remedy = f"see that this node may reach it, and compare rest.issuer {issuer.id}"
                await self._alarm("issuer-keys", f"{source[0]}: {words}. What to do: {remedy}")
        finally:
            state.asking = None

    async def _refresh(self, source: _Source, state: _State) -> None:
        url, anchors = source
        context = ssl.create_default_context(cadata=anchors or None)
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        headers = {"Accept": "application/jwk-set+json, application/json"}
        if state.etag and state.keys:
            headers["If-None-Match"] = state.etag
        async with (
            asyncio.timeout(limits.KEY_SET_TIMEOUT / SECOND),
            aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
            ) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status == 200:
                state.keys = read_keys(await _octets(response))
                state.etag = response.headers.get("ETag", "")
            elif response.status != 304 or "If-None-Match" not in headers:
                raise ValueError(f"the answer is {response.status}")
            age = _age(response.headers.get("Cache-Control", ""))
        now = self._clock.now()
        state.failures, state.fresh_until = 0, now + age
        state.stale_until = state.fresh_until + limits.KEY_SET_STALE


async def _octets(response: aiohttp.ClientResponse) -> bytes:
    got = bytearray()
    async for piece in response.content.iter_chunked(_PIECE):
        got += piece
        if len(got) > limits.KEY_SET_SIZE:
            raise ValueError(f"larger than {limits.KEY_SET_SIZE} octets")
    return bytes(got)


def _age(said: str) -> Micros:
    """How long an answer holds, by ``Cache-Control``, within our own bounds."""
    found = _MAX_AGE.search(said)
    if re.search(r"\bno-(?:store|cache)\b", said, re.IGNORECASE):
        age = 0
    else:
        age = int(found[1]) * SECOND if found else limits.KEY_SET_AGE
    return min(max(age, limits.KEY_SET_PAUSE), limits.KEY_SET_LONGEST)


def _words(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return f"the keys cannot be used: {error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"cannot be reached ({type(error).__name__})"


def keys_in(configuration: Configuration, name: str) -> tuple[PublicKey, ...]:
    """The keys of a file of the configuration. Raises `ValueError` naming it."""
    octets = configuration.files.get(name)
    if octets is None:
        raise ValueError(f"there is no file {name!r} in the configuration directory")
    try:
        return read_keys(octets)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _anchors(configuration: Configuration, issuer: Issuer) -> bytes:
    if issuer.jwks_anchors is None:
        return b""
    made = certificates_in(configuration.files, issuer.jwks_anchors)
    return b"".join(one.public_bytes(Encoding.DER) for one in made)
