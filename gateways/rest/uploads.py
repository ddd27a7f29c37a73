"""Uploads that can be resumed, by tus 1.0.0: core, creation, creation with upload, checksum, expiration, termination.

Rules:

1. What is answered is durable: after any interruption HEAD says where to go on, and nothing before that is sent again.
2. An upload is its system's alone; nobody else learns that it exists. It ends with its handover, or when its time is over.
3. Every answer names the protocol's version, refusals included.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import format_datetime
from functools import wraps
from typing import Final

from core import limits
from core.clock import to_datetime
from core.desk.uploads import ALGORITHMS, Checksum
from core.errors import NotFound, StafetError, TooLarge, WrongState
from core.ledger.uploads import Upload
from gateways.rest import problems
from gateways.rest.endpoint import OWN, TRACED, Answer, Ask, Body, Endpoint, Reply
from gateways.rest.gate import Acting, Gate
from gateways.rest.parts import file_name, media_type
from gateways.rest.problems import Flaw, Problem, ProblemError, invalid_request, problem_of

_TAG: Final = "Upload"
_OCTETS: Final = "application/offset+octet-stream"
_VERSION: Final = "1.0.0"
_TUS: Final = {"Tus-Resumable": _VERSION}
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_ONE: Final = "/v1/uploads/{upload}"
_SAYS: Final = {
    "Upload-Offset": "How many octets have come and are durable.",
    "Upload-Expires": "When it is deleted unless more comes before.",
}
_SPEAKS: Final = {"Tus-Resumable": "Needed: `1.0.0`."}
_CHECKS: Final = {"Upload-Checksum": f"The body's checksum in Base64 after its algorithm ({', '.join(ALGORITHMS)})."}

_Handler = Callable[["Uploads", Ask], Awaitable[Reply]]


def _speaking(handler: _Handler) -> _Handler:
    """The protocol's version is asked for, and named in every answer."""

    @wraps(handler)
    async def speak(self: Uploads, ask: Ask) -> Reply:
        try:
            if ask.headers.get("tus-resumable", "") != _VERSION:
                raise ProblemError(
                    Problem(problems.TUS, "Tus-Resumable: is not 1.0.0", headers={"Tus-Version": _VERSION})
                )
            reply = await handler(self, ask)
        except StafetError as error:
            problem = problem_of(error)
            raise ProblemError(replace(problem, headers={**problem.headers, **_TUS})) from error
        return replace(reply, headers={**reply.headers, **_TUS, "Cache-Control": "no-store"})

    return speak


class Uploads:
    """Endpoints of uploads."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        begun = Answer("It has begun.", headers={"Location": "Where it is sent to.", **_SAYS})
        length = {
            "Upload-Length": "Needed: its size in octets.",
            "Upload-Metadata": "`filename` and `filetype`, in Base64.",
        }
        octets = Body((_OCTETS,), streamed=True, schema={"type": "string", "format": "binary"})
        offset = {"Upload-Offset": "Needed: from which octet it goes on."}
        wrong = (problems.TUS, problems.STATE)
        return (
            Endpoint("OPTIONS", "/v1/uploads", self.speaks, "What the protocol can do here", _TAG,
                     {204: Answer("In its headers.", headers={"Tus-Extension": "The extensions there are."})},
                     open=True, unaudited="it is open to all"),
            Endpoint("POST", "/v1/uploads", self.begin, "Begin an upload", _TAG, {201: begun}, query=Acting,
                     body=replace(octets, required=False), problems=(*wrong, problems.CHECKSUM, problems.REFUSED),
                     headers={**_SPEAKS, **length, **_CHECKS}, audited="changed", unaudited=TRACED),
            Endpoint("HEAD", _ONE, self.stands, "Ask how far it has come", _TAG,
                     {200: Answer("In its headers.", headers={**_SAYS, "Upload-Length": "Its size."})}, query=Acting,
                     problems=(problems.TUS,), headers=_SPEAKS, audited="saw", unaudited=OWN),
            Endpoint("PATCH", _ONE, self.go_on, "Send the next octets", _TAG,
                     {204: Answer("They are durable.", headers=_SAYS)}, query=Acting, body=octets,
                     problems=(*wrong, problems.OFFSET, problems.CHECKSUM, problems.REFUSED),
                     headers={**_SPEAKS, **offset, **_CHECKS}, audited="changed", unaudited=TRACED),
            Endpoint("DELETE", _ONE, self.end, "Give an upload up", _TAG, {204: Answer("It is gone.")}, query=Acting,
                     problems=wrong, headers=_SPEAKS, audited="changed", unaudited=TRACED),
        )  # fmt: skip

    async def speaks(self, ask: Ask) -> Reply:
        """The version, the extensions and the largest size of the protocol tus."""
        headers = {
            **_TUS,
            "Tus-Version": _VERSION,
            "Tus-Extension": "creation,creation-with-upload,checksum,expiration,termination",
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            "Tus-Max-Size": str(limits.PAYLOAD_SIZE),
        }
        return Reply(None, 204, headers)

    @_speaking
    async def begin(self, ask: Ask) -> Reply:
        """Begin an upload of `Upload-Length` octets, with the first of them as the body if you like.

        Send the rest to `Location`. When all has come, name the upload in a handover. What is not handed over is deleted when its
        time is over.
        """
        system, desk = self._gate.acting(ask.caller, ask.query.system), self._gate.kernel.desks.uploads
        size, check = _number(ask, "Upload-Length"), _checksum(ask)
        name, kind = _metadata(ask.headers.get("upload-metadata", ""))
        if ask.stream is not None and (ask.length or 0) > size:
            raise TooLarge("upload: the body is larger than Upload-Length")
        made = await desk.begin(system, name=name, media_type=kind, size=size)
        if ask.stream is not None:
            try:
                made = await desk.take(system, made.id, 0, ask.stream, check)
            except BaseException:  # nobody was told its id
                with suppress(NotFound, WrongState):
                    await desk.forget(system, made.id)
                raise
        query = f"?system={system}" if ask.query.system is not None else ""
        return Reply(None, 201, {"Location": f"/v1/uploads/{made.id}{query}", **_standing(made)})

    @_speaking
    async def stands(self, ask: Ask) -> Reply:
        """How many octets are durable: go on from there."""
        found = await self._mine(ask)
        return Reply(None, 200, {**_standing(found), "Upload-Length": str(found.size)})

    @_speaking
    async def go_on(self, ask: Ask) -> Reply:
        """Octets from `Upload-Offset` on. What came before a connection broke is kept, unless a checksum was promised.

        With `Upload-Checksum` it is all or nothing.
        """
        assert ask.stream is not None
        system, offset, check = (
            self._gate.acting(ask.caller, ask.query.system),
            _number(ask, "Upload-Offset"),
            _checksum(ask),
        )
        found = await self._mine(ask)
        if offset + (ask.length or 0) > found.size and offset == found.received:
            raise TooLarge(f"upload: goes beyond the {found.size} octets it was begun for")
        taken = await self._gate.kernel.desks.uploads.take(system, found.id, offset, ask.stream, check)
        return Reply(None, 204, _standing(taken))

    @_speaking
    async def end(self, ask: Ask) -> Reply:
        """It is not needed: what came is deleted."""
        system = self._gate.acting(ask.caller, ask.query.system)
        await self._gate.kernel.desks.uploads.forget(system, ask.path["upload"])
        return Reply(None, 204)

    async def _mine(self, ask: Ask) -> Upload:
        system = self._gate.acting(ask.caller, ask.query.system)
        return await self._gate.kernel.desks.uploads.look(system, ask.path["upload"])


def _standing(upload: Upload) -> dict[str, str]:
    expires = format_datetime(to_datetime(upload.expires_at), usegmt=True)
    return {"Upload-Offset": str(upload.received), "Upload-Expires": expires}


def _number(ask: Ask, name: str) -> int:
    said = ask.headers.get(name.lower(), "")
    if not _NUMBER.fullmatch(said):
        raise invalid_request([Flaw(name, "is missing, or no number of octets", "header")])
    return int(said)


def _checksum(ask: Ask) -> Checksum | None:
    said = ask.headers.get("upload-checksum")
    if said is None:
        return None
    algorithm, _, text = said.partition(" ")
    if algorithm not in ALGORITHMS:
        raise invalid_request([Flaw("Upload-Checksum", f"is made by none of {', '.join(ALGORITHMS)}", "header")])
    try:
        return Checksum(algorithm, base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        raise invalid_request([Flaw("Upload-Checksum", "is no Base64", "header")]) from None


def _metadata(said: str) -> tuple[str, str]:
    """The file's name and media type. Raises `ProblemError`."""
    found: dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in said.split(","))):
        name, _, text = pair.partition(" ")
        try:
            value = base64.b64decode(text, validate=True).decode()
        except (ValueError, binascii.Error):
            raise invalid_request([Flaw("Upload-Metadata", f"{name[:40]}: is no Base64 of UTF-8", "header")]) from None
        if name in found:
            raise invalid_request([Flaw("Upload-Metadata", f"{name[:40]}: stands twice", "header")])
        found[name] = value
    name = found.get("filename") or found.get("name") or "payload"
    kind = found.get("filetype") or found.get("type") or "application/octet-stream"
    return file_name(name, "Upload-Metadata: filename"), media_type(kind, "Upload-Metadata: filetype")
