"""Fetching revocation lists and answers of responders, beside the judging of messages and never within it.

Rules:

1. Asked is only whom `hosts.Hosts` allows, without proxies, redirects, cookies or decompression, within limits of size and time.
2. What was taken is kept in memory for `Fetcher.about`, and as files, so that a restart has it; a file is judged like any answer.
3. A failure keeps what we have until it ends by itself. People are told when less than an hour of it is left.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import AddressFamily
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core import limits, log
from core.clock import DAY, HOUR, SECOND, Clock, Micros, from_datetime
from core.revocation import Evidence, Unusable, Window
from core.trust import fingerprint
from gateways.as4.hosts import Hosts, NotAllowed
from gateways.as4.questions import Held, Known, Question, each_once, evidence, questions, take

_log = log.get("as4")
_NEAR: Final = HOUR
_LONGEST_WAIT: Final = 30 * limits.REVOCATION_PAUSE
_CHAIN: Final = ".chain.pem"
_PIECE: Final = 65_536
Alarm = Callable[[str, str], Awaitable[None]]
"""Tells people: a code and a sentence."""


@dataclass
class _Chain:
    """A chain somebody signed with under anchors."""

    known: Known
    asked: dict[str, Question]
    used: Micros
    stored: bool = False


@dataclass
class _State:
    """How it goes with one question."""

    due: Micros = 0
    held: Held | None = None
    failures: int = 0
    told: bool = False
    recalled: bool = False


class Fetcher:
    """Keeps what is known about certificates fresh while `run` runs. `about` may be called from any thread."""

    def __init__(self, clock: Clock, hosts: Sequence[str], folder: Callable[[], Path], alarm: Alarm) -> None:
        self._clock, self._hosts, self._folder, self._alarm = clock, Hosts(hosts), folder, alarm
        self._lock = threading.Lock()
        self._known: dict[str, Question] = {}
        self._chains: dict[str, _Chain] = {}
        self._states: dict[str, _State] = {}
        self._wake, self._turn = asyncio.Event(), asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    # -- what is asked about

    def configure(self, known: Iterable[Known]) -> None:
        """What a configuration speaks of; chains that were seen stay."""
        asked = each_once(question for one in known for question in questions(one))
        with self._lock:
            self._known = asked
        self._hurry()

    def about(self, path: Sequence[x509.Certificate], window: Window) -> Evidence:
        """What is known about a path (leaf first) now; from now on it is kept fresh."""
        now, name = self._clock.now(), fingerprint(path[0])
        with self._lock:
            chain = self._chains.get(name)
            if chain is None or chain.known.path != tuple(path) or chain.known.window != window:
                chain = self._remember(name, Known(tuple(path), (), window), now)
                self._hurry()
            chain.used = now
            issuers = [certificate.issuer for certificate in path]
            found = [s.held for key in chain.asked if (s := self._states.get(key)) and s.held]
            lists = [
                s.held for s in self._states.values() if s.held and getattr(s.held.what, "issuer", None) in issuers
            ]
        return evidence({id(held): held for held in (*found, *lists)}.values())

    def _remember(self, name: str, known: Known, now: Micros) -> _Chain:
        if name not in self._chains and len(self._chains) >= limits.REVOCATION_CHAINS:
            del self._chains[min(self._chains, key=lambda n: self._chains[n].used)]
        chain = _Chain(known, {q.key: q for q in questions(known)}, now)
        self._chains[name] = chain
        return chain

    def _hurry(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended: nobody fetches any more
                self._loop.call_soon_threadsafe(self._wake.set)

    def _asked(self) -> dict[str, Question]:
        """Everything to ask now; what nobody needs any more is forgotten."""
        now = self._clock.now()
        with self._lock:
            for name, chain in list(self._chains.items()):
                over = from_datetime(chain.known.path[0].not_valid_after_utc) < now
                if over or chain.used < now - limits.REVOCATION_UNUSED:
                    del self._chains[name]
            seen = [question for chain in self._chains.values() for question in chain.asked.values()]
            asked = each_once([*self._known.values(), *seen])
            self._states = {key: self._states.get(key) or _State() for key in asked}
        return asked

    # -- the work

    async def run(self, ready: asyncio.Event) -> None:
        """Fetch until cancelled; ``ready`` is set when everything that was known at the start has been asked once."""
        self._loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._hosts), use_dns_cache=False, limit=limits.REVOCATION_FETCHES, force_close=True
        )
        async with aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        ) as self._session:
            recalled = False
            while True:
                self._wake.clear()
                try:
                    if not recalled:
                        await asyncio.to_thread(self._recall_chains)
                        recalled = True
                    due = await self.round()
                except Exception as error:  # a disk or a ledger is away for a while: messages are judged all the same
                    _log.error("a round of asking about revocation failed; it is tried again", exc_info=error)
                    due = self._clock.now() + limits.REVOCATION_PAUSE
                ready.set()
                wait = min(limits.REVOCATION_PAUSE, max(0, due - self._clock.now()))
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait / SECOND):
                        await self._wake.wait()

    async def round(self) -> Micros:
        """Ask all that is due; gives when something is due next."""
        async with self._turn:
            return await self._round()

    async def _round(self) -> Micros:
        asked = self._asked()
        await asyncio.to_thread(self._store_chains)
        room = asyncio.Semaphore(limits.REVOCATION_FETCHES)

        async def one(question: Question) -> None:
            async with room:
                await self._refresh(question, self._states[question.key])

        now = self._clock.now()
        due = [question for key, question in asked.items() if self._states[key].due <= now]
        await asyncio.gather(*(one(question) for question in due))
        await asyncio.to_thread(self._tidy, set(asked))
        return min((state.due for state in self._states.values()), default=now + DAY)

    async def _refresh(self, question: Question, state: _State) -> None:
        if not state.recalled:
            state.recalled = True
            state.held = await asyncio.to_thread(self._recall, question)
            if state.held is not None and state.held.again(self._clock.now()) > self._clock.now() + _NEAR:
                state.due = state.held.again(self._clock.now())
                return
        try:
            nonce = os.urandom(16) if question.certificate else None
            octets = await self._fetch(question, nonce)
            held = await asyncio.to_thread(take, question, octets, state.held, self._clock.now(), nonce)
        except (Unusable, NotAllowed, aiohttp.ClientError, OSError, TimeoutError) as error:
            await self._failed(question, state, _words(error))
            return
        except Exception as error:  # whatever a certificate or an answer brings about, the others are still asked
            _log.error("asking about revocation failed in a way nobody documents", url=question.url, exc_info=error)
            await self._failed(question, state, f"a bug ({type(error).__name__})")
            return
        state.held, state.failures, state.told = held, 0, False
        state.due = held.again(self._clock.now())
        await asyncio.to_thread(self._write, question.key + ".der", octets)

    async def _fetch(self, question: Question, nonce: bytes | None) -> bytes:
        assert self._session is not None
        url = self._hosts.check(question.url)
        body = question.request(nonce) if nonce is not None else None
        headers = {"Content-Type": "application/ocsp-request"} if body is not None else {}
        got = bytearray()
        async with (
            asyncio.timeout(limits.REVOCATION_TIMEOUT / SECOND),
            self._session.request(
                "GET" if body is None else "POST",
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as response,
        ):
            if response.status != 200:
                raise Unusable(f"the answer is {response.status}")
            async for piece in response.content.iter_chunked(_PIECE):
                got += piece
                if len(got) > question.limit:
                    raise Unusable(f"more than {question.limit} octets")
        return bytes(got)

    async def _failed(self, question: Question, state: _State, words: str) -> None:
        now = self._clock.now()
        wait = min(_LONGEST_WAIT, limits.REVOCATION_PAUSE * 2 ** min(state.failures, 10))
        state.failures, state.due = state.failures + 1, now + wait
        _log.warning("revocation could not be asked about", url=question.url, cause=words, failures=state.failures)
        if not state.told and (state.held is None or state.held.end < now + _NEAR):
            left = (
                "nothing fresh is left" if state.held is None or state.held.end < now else "less than an hour is left"
            )
            remedy = "see that this node may reach it, and revocation_hosts in node.yaml"
            await self._alarm("revocation", f"{question.url}: {words}; {left}. What to do: {remedy}")
            state.told = True

    # -- the disk

    def _recall(self, question: Question) -> Held | None:
        try:
            return take(question, (self._place() / f"{question.key}.der").read_bytes(), None, self._clock.now())
        except (OSError, Unusable):
            return None

    def _recall_chains(self) -> None:
        """The chains of before the start; whoever reads this folder can add none that is believed."""
        now = self._clock.now()
        for path in sorted(self._place().glob(f"*{_CHAIN}"))[: limits.REVOCATION_CHAINS]:
            try:
                chain = tuple(x509.load_pem_x509_certificates(path.read_bytes()))
            except (OSError, ValueError):
                continue
            with self._lock:
                self._remember(fingerprint(chain[0]), Known(chain, (), Window()), now).stored = True

    def _store_chains(self) -> None:
        with self._lock:
            new = {name: chain for name, chain in self._chains.items() if not chain.stored}
        for name, chain in new.items():
            octets = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain.known.path)
            self._write(name + _CHAIN, octets)
            chain.stored = True

    def _write(self, name: str, octets: bytes) -> None:
        """Whole or not at all; what a crash takes is fetched anew."""
        path = self._place() / name
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(octets)
            fresh.replace(path)
        except OSError as error:
            _log.warning("an answer could not be kept for the next start", cause=error.strerror)

    def _tidy(self, keys: set[str]) -> None:
        """Remove the files of what is not asked any more."""
        with self._lock:
            kept = {f"{key}.der" for key in keys} | {f"{name}{_CHAIN}" for name in self._chains}
        for path in self._place().iterdir():
            if path.name not in kept:
                with suppress(OSError):
                    path.unlink()

    def _place(self) -> Path:
        place = self._folder() / "revocation"
        place.mkdir(mode=0o700, exist_ok=True)
        return place


def _words(error: Exception) -> str:
    if isinstance(error, Unusable | NotAllowed):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"cannot be reached ({type(error).__name__})"


class _Resolver(AbstractResolver):
    """Gives only addresses that may be connected to."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts, self._inner = hosts, aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        allowed = [one for one in found if self._hosts.reaches(one["host"])]
        if not allowed:
            raise NotAllowed(f"{host} leads to no public address, and revocation_hosts names none of its addresses")
        return allowed

    async def close(self) -> None:
        """Threads of the loop's own look names up: there is nothing to let go of."""
