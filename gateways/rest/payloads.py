"""Payloads of handovers: fetched whole or from where one stopped, as often as needed, until they are deleted.

Rules:

1. Who may fetch is the sender, and a system with a delivery that it neither refused nor sent on.
2. A payload is streamed, whatever its size; a range opens only the chunks it lies in [RFC 9110 §14]. Several ranges at once are
   answered with the whole.
3. A name is said so that no program can take it for a path or a header [RFC 6266].
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import quote

from core.delivery import State
from core.errors import NotFound
from core.parcel import Parcel, Payload
from gateways.rest import problems
from gateways.rest.endpoint import OWN, TRACED, Answer, Ask, Endpoint, Reply
from gateways.rest.gate import Gate
from gateways.rest.handovers import TAG, look
from gateways.rest.problems import Problem, ProblemError, absent, forbidden
from gateways.rest.settings import Role

_PATH: Final = "/v1/handovers/{parcel}/payloads/{number}"
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_TOLD: Final = {
    "ETag": "The SHA-256 in hexadecimal digits.",
    "Repr-Digest": "The same as RFC 9530 has it.",
    "Content-Disposition": "Its name.",
}


class Payloads:
    """Endpoints of octets."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        any_kind = "*/*"
        whole = Answer("Its octets.", media_type=any_kind, headers=_TOLD)
        part = Answer("A part of its octets.", media_type=any_kind, headers=_TOLD)
        nothing_new = Answer("It is what `If-None-Match` names.", media_type=any_kind)
        asked = {
            "Range": "One range, as `bytes=1048576-`.",
            "If-Range": "The ETag that the range is of.",
            "If-None-Match": "ETags that the caller has.",
        }
        found = (problems.RANGE, problems.GONE, problems.DAMAGED)
        return (
            Endpoint(
                "GET",
                _PATH,
                self.fetch,
                "Fetch a payload",
                TAG,
                {200: whole, 206: part, 304: nothing_new},
                problems=found,
                headers=asked,
                audited="saw",
                unaudited=TRACED,
            ),
            Endpoint(
                "HEAD",
                _PATH,
                self.ask,
                "Ask for a payload's size",
                TAG,
                {200: whole},
                problems=(problems.GONE,),
                audited="saw",
                unaudited=OWN,
            ),
        )

    async def fetch(self, ask: Ask) -> Reply:
        """A payload's octets, streamed. The first time that a receiver fetches is noted, and its sender sees it.

        With `Range` it goes on where it stopped. Compare what came with `Repr-Digest`.
        """
        parcel, number, rows = await self._entitled(ask)
        payload = parcel.payloads[number]
        headers = _headers(payload)
        if headers["ETag"] in [one.strip() for one in ask.headers.get("if-none-match", "").split(",")]:
            return Reply(None, 304, {"ETag": headers["ETag"]})
        handing, status = self._gate.kernel.desks.handing, 200
        begin, end = 0, payload.size
        if (wanted := _range(ask, headers["ETag"], payload.size)) is not None:
            (begin, end), status = wanted, 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{payload.size}"
            stream = handing.part(parcel, number, begin, end)
        else:
            stream = self._gate.kernel.read(parcel, payload)
        first = await anext(stream, b"")  # what is damaged at once is said in words
        for row in rows:
            await handing.fetched(row)
        return Reply(None, status, headers, _kind(payload), _with(first, stream), end - begin)

    async def ask(self, ask: Ask) -> Reply:
        """Its size, name and digest, without its octets. Nobody is told."""
        parcel, number, _ = await self._entitled(ask)
        payload = parcel.payloads[number]
        return Reply(None, 200, _headers(payload), _kind(payload), _nothing(), payload.size)

    async def _entitled(self, ask: Ask) -> tuple[Parcel, int, Sequence[object]]:
        """The parcel, which payload, and the deliveries it is fetched for. Raises `ProblemError`, `NotFound`."""
        seen = await look(self._gate, ask)
        if not _NUMBER.fullmatch(ask.path["number"]):
            raise absent()
        number, mine = int(ask.path["number"]), [row for row in seen.rows if ask.caller.may_act_as(row.receiver)]
        having = [row for row in mine if row.state != State.REJECTED.value]
        if not ask.caller.may_act_as(seen.parcel.sender) and not having:
            words = (
                "it was refused or sent on, and is not fetched any more"
                if mine
                else f"this takes the role {Role.SYSTEM.value}"
            )
            raise forbidden(words)
        if number >= len(seen.parcel.payloads):
            raise NotFound(f"no payload {number}")
        if not seen.parcel.wrapped_key:
            raise ProblemError(Problem(problems.GONE))
        return seen.parcel, number, having


async def _with(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in others:
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _kind(payload: Payload) -> str:
    safe = payload.media_type.isascii() and payload.media_type.isprintable() and "/" in payload.media_type
    return payload.media_type if safe else "application/octet-stream"


def _headers(payload: Payload) -> dict[str, str]:
    return {
        "ETag": f'"{payload.sha256.hex()}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(payload.sha256).decode()}:",
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(payload.name),
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }


def disposition(name: str) -> str:
    """A file's name for a program to save it under, whatever is in it."""
    plain = name.replace("\\", "/").rpartition("/")[2]
    simple = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in plain).strip(" .") or "payload"
    return f"attachment; filename=\"{simple}\"; filename*=UTF-8''{quote(plain, safe='', errors='replace')}"


def _range(ask: Ask, etag: str, size: int) -> tuple[int, int] | None:
    """The octets asked for; None for all. Raises `ProblemError` for what is not there."""
    said = _RANGE.fullmatch(ask.headers.get("range", "").replace(" ", ""))
    if said is None or said[0] == "bytes=-" or ask.headers.get("if-range", etag) != etag:
        return None
    first, last = said[1], said[2]
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < begin:
            return None  # no range at all [RFC 9110 §14.1.1]
    if begin >= size or begin >= end:
        raise ProblemError(Problem(problems.RANGE, headers={"Content-Range": f"bytes */{size}"}))
    return begin, end
