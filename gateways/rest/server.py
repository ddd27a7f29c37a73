"""The HTTP server: from a request to an endpoint's handler, and from what it gives or raises to an answer.

Rules:

1. Who calls is known before a body is read. A body that is read whole has a limit and a deadline; one that is streamed has a
   deadline for each piece.
2. Every refusal is a problem of the catalogue. An exception nobody documents is logged with the request's id, and answered
   without detail.
3. Two fields of one name, duplicate keys and what is no UTF-8 are refused: what is read twice must read the same.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import HttpVersion11, web
from pydantic import BaseModel, ValidationError

from core import limits, log
from core.clock import Clock
from core.desk.desks import Desks
from core.parcel import new_id
from gateways.rest import problems, ratelimit
from gateways.rest.access import Access, Caller
from gateways.rest.auditing import Auditing
from gateways.rest.endpoint import Ask, Body, Endpoint, Reply
from gateways.rest.problems import Flaw, Problem, ProblemError, Unauthenticated, absent, invalid_request, problem_of
from gateways.rest.settings import Settings

_log = log.get("rest")
_STOPPING: Final = 5_000_000
_PIECE: Final = 256 * 1024


class Server:
    """Serves endpoints. ``access`` is asked of every request that is not open to all, and may be replaced while it serves."""

    def __init__(
        self, endpoints: Iterable[Endpoint], settings: Settings, clock: Clock, desks: Callable[[], Desks]
    ) -> None:
        self._settings, self._clock, self._desks = settings, clock, desks
        self._auditing = Auditing(lambda: desks().looking, clock)
        self.access: Access | None = None
        self._running, self._stopping = 0, False
        self._idle = asyncio.Event()
        self._idle.set()
        self._app = web.Application(client_max_size=settings.max_body, handler_args={"auto_decompress": False})
        paths: dict[str, dict[str, Endpoint]] = {}
        for one in endpoints:
            paths.setdefault(one.path, {})[one.method] = one
        for path, methods in paths.items():
            self._app.router.add_route("*", path, self._for(methods), expect_handler=self._expected)
        self._app.router.add_route("*", "/{rest:.*}", self._nothing, expect_handler=self._expected)
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self.port = settings.port

    # -- one request

    def _for(self, methods: Mapping[str, Endpoint]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            one = methods.get(request.method)
            if one is None and request.method == "HEAD":
                one = methods.get("GET")
            if one is None:
                return self._problem(request, Problem(problems.METHOD, headers={"Allow": ", ".join(sorted(methods))}))
            return await self._handle(request, one)

        return handle

    async def _expected(self, request: web.Request) -> web.StreamResponse | None:
        """``Expect``: the one there is is met, any other is refused as whatever cannot be read."""
        if request.headers.get("Expect", "").strip().lower() == "100-continue":
            if request.version >= HttpVersion11:
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # the answer itself has not begun
            return None
        return self._problem(request, Problem(problems.UNREADABLE, "Expect: only 100-continue is taken"))

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        return self._problem(request, Problem(problems.NOT_FOUND))

    async def _handle(self, request: web.Request, one: Endpoint) -> web.StreamResponse:
        if self._stopping or self._running >= self._settings.max_requests:
            words = "this node is stopping" if self._stopping else "too many requests are being worked on"
            return self._problem(request, Problem(problems.OVERLOADED, words, retry_after=_STOPPING))
        if self._connections() > self._settings.max_connections:
            words = "this node has more connections than it may have"
            later = self._problem(request, Problem(problems.OVERLOADED, words, retry_after=_STOPPING))
            later.force_close()
            return later
        self._running += 1
        self._idle.clear()
        caller = _ANYBODY
        try:
            caller = await self._caller(request, one)
            with self._desks().quotas.connection(caller.name):
                reply = await self._audited(request, one, caller)
                return await self._respond(request, reply, self._left(caller))
        except ConnectionError:
            raise
        except Exception as error:  # whatever it is, the caller gets a problem
            problem = problem_of(error)
            response = self._problem(request, problem)
            response.headers.update(self._left(caller))
            if isinstance(error, Unauthenticated):
                instance = response.headers["X-Request-Id"]
                _log.warning("not let in", request=instance, path=one.path, peer=request.remote, cause=problem.detail)
            if problem.type is problems.INTERNAL:
                instance = response.headers["X-Request-Id"]
                _log.error("a request met an error nobody documents", request=instance, path=one.path, exc_info=error)
            return response
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _audited(self, request: web.Request, one: Endpoint, caller: Caller) -> Reply:
        """What the handler gives, once the usage log has what it declares."""
        path, query = dict(request.match_info), None
        try:
            ask = await self._ask(request, one, caller)
            query = ask.query
            reply = await one.handler(ask)
        except Exception as error:  # it goes on to the caller; first the log says who was turned away
            await self._auditing.refused(one, caller, path, query, problem_of(error).type)
            raise
        await self._auditing.answered(one, caller, path, query, reply)
        return reply

    def _connections(self) -> int:
        server = self._runner.server if self._runner is not None else None
        return len(server.connections) if server is not None else 0

    def _left(self, caller: Caller) -> dict[str, str]:
        """Header fields with what is left of the caller's quotas."""
        return ratelimit.fields(self._desks().quotas.allowances(caller.name, self._clock.now()))

    async def _caller(self, request: web.Request, one: Endpoint) -> Caller:
        if one.open:
            return _ANYBODY
        if self.access is None:
            raise ProblemError(
                Problem(problems.OVERLOADED, "this node has no configuration yet", retry_after=_STOPPING)
            )
        transport = request.transport
        ssl_object = transport.get_extra_info("ssl_object") if transport is not None else None
        certificate = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
        shown = request.headers.getall("Authorization", [])
        if len(shown) > 1:
            raise Unauthenticated("Authorization stands more than once", "invalid_request")
        return await self.access.identify(certificate, shown[0] if shown else None, self._clock.now())

    async def _ask(self, request: web.Request, one: Endpoint, caller: Caller) -> Ask:
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = _parameters(one.query, request) if one.query is not None else None
        path, body, stream = dict(request.match_info), None, None
        if not all(value.isprintable() for value in path.values()):
            raise absent()  # nothing has such a name, and no database need be asked
        if one.body is not None:
            has_body = request.body_exists
            if not has_body and not one.body.required:
                return Ask(caller, path, query, None, headers, None, 0)
            media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            _check_media(media_type, one.body)
            if one.body.streamed:
                stream = self._pieces(request)
            else:
                octets = await self._whole(request)
                body = _parsed(octets, one.body.model) if one.body.model is not None else octets
        return Ask(caller, path, query, body, headers, stream, request.content_length)

    async def _whole(self, request: web.Request) -> bytes:
        most, taken = self._settings.max_body, bytearray()
        if request.content_length is not None and request.content_length > most:
            raise ProblemError(Problem(problems.TOO_LARGE, f"the body is larger than {most} octets"))
        async for piece in self._pieces(request):
            taken += piece
            if len(taken) > most:
                raise ProblemError(Problem(problems.TOO_LARGE, f"the body is larger than {most} octets"))
        return bytes(taken)

    async def _pieces(self, request: web.Request) -> AsyncIterator[bytes]:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ProblemError(Problem(problems.MEDIA, "Content-Encoding is not taken: send the octets as they are"))
        while True:
            try:
                async with asyncio.timeout(self._settings.read_timeout):
                    piece = await request.content.read(_PIECE)
            except TimeoutError:
                raise ProblemError(Problem(problems.TIMEOUT, headers={"Connection": "close"})) from None
            except (web.HTTPException, ConnectionError):
                raise
            except Exception as error:  # aiohttp raises several private kinds for a broken chunked body
                raise ProblemError(
                    Problem(problems.UNREADABLE, f"the body is broken: {type(error).__name__}")
                ) from None
            if not piece:
                return
            yield piece

    # -- answers

    def _problem(self, request: web.Request, problem: Problem) -> web.StreamResponse:
        instance = new_id(self._clock.now())
        headers = {**problem.all_headers(), "X-Request-Id": instance}
        body = problem.octets(f"urn:stafet:request:{instance}")
        response = web.Response(status=problem.type.status, body=body, headers=headers)
        if request.body_exists and not request.content.at_eof():
            response.force_close()
        return response

    async def _respond(self, request: web.Request, reply: Reply, left: Mapping[str, str]) -> web.StreamResponse:
        headers = {**left, **reply.headers}
        if reply.stream is not None:
            return await self._stream(request, reply, headers)
        if isinstance(reply.body, BaseModel):
            octets = reply.body.model_dump_json(exclude_none=True, by_alias=True).encode()
        else:
            octets = reply.body or b""
        if octets:
            headers.setdefault("Content-Type", reply.media_type)
        return web.Response(status=reply.status, body=octets or None, headers=headers)

    async def _stream(self, request: web.Request, reply: Reply, headers: dict[str, str]) -> web.StreamResponse:
        assert reply.stream is not None
        response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.media_type, **headers})
        response.content_length = reply.length
        try:
            await response.prepare(request)
            if request.method != "HEAD":
                async for piece in reply.stream:
                    async with asyncio.timeout(self._settings.read_timeout):
                        await response.write(piece)
            await response.write_eof()
        except BaseException as error:  # whatever it was, half a payload must not look like a whole one
            if not isinstance(error, OSError | asyncio.CancelledError | TimeoutError):
                _log.error("a long answer was not finished", exc_info=error)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("a long answer was not finished") from None
        return response

    # -- its life

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Bind and begin to serve. Raises `OSError` when the address is taken."""
        self._runner = web.AppRunner(
            self._app,
            access_log=None,
            keepalive_timeout=self._settings.idle_timeout,
            handle_signals=False,
            max_line_size=limits.HTTP_LINE,
            max_field_size=limits.HTTP_LINE,
        )
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, self._settings.host, self._settings.port, ssl_context=tls, backlog=1024)
        await self._site.start()
        server = self._site._server
        if server is not None and getattr(server, "sockets", None):
            self.port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self, at_most: float) -> None:
        """Take nothing new, let what has begun finish for ``at_most`` seconds, then close."""
        self._stopping = True
        if self._site:
            await self._site.stop()
        try:
            async with asyncio.timeout(at_most):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("requests were cut off", count=self._running)
        if self._runner:
            await self._runner.cleanup()


_ANYBODY: Final = Caller("", "person", frozenset(), "", frozenset(), "certificate")


def _check_media(media_type: str, body: Body) -> None:
    if media_type not in body.media_types and "*/*" not in body.media_types:
        words = f"Content-Type is {media_type or 'missing'!r}; taken: {', '.join(body.media_types)}"
        raise ProblemError(Problem(problems.MEDIA, words))


def _parameters(model: type[BaseModel], request: web.Request) -> BaseModel:
    """The query as a model; a name that stands twice is a list where the model has one, and wrong elsewhere."""
    given: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        listed = name in model.model_fields and "tuple" in str(model.model_fields[name].annotation)
        if len(values) > 1 and not listed:
            raise invalid_request([Flaw(name, "stands more than once", "parameter")])
        given[name] = values if listed else values[0]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        flaws = [Flaw(".".join(map(str, e["loc"])), _words(e["msg"]), "parameter") for e in error.errors()[:_MOST]]
        raise invalid_request(flaws) from None


def parse_json(octets: bytes) -> Any:
    """JSON that reads the same twice: UTF-8, no duplicate names, no NaN. Raises `ProblemError`."""
    try:
        return json.loads(octets.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        words = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise ProblemError(Problem(problems.UNREADABLE, f"the body is no JSON: {words}")) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _parsed(octets: bytes, model: type[BaseModel]) -> Any:
    return checked(parse_json(octets), model)


def checked(value: Any, model: type[BaseModel]) -> Any:
    """A value as a model. Raises `ProblemError` naming every field that is wrong, without quoting what it holds."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[:_MOST]
        flaws = [Flaw("".join(f"/{part}" for part in e["loc"]), _words(e["msg"])) for e in found]
        raise invalid_request(flaws) from None


_MOST: Final = 20


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")[:300]
