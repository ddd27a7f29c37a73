"""A client for systems written in Python: publish, fetch, hand over, acknowledge. One file, the standard library alone.

Rules:

1. Whatever may be sent twice is sent again by itself when the connection breaks or the node asks to come back (`Retry-After`):
   events have their id, handovers their key, and what is said of loans is harmless when it is said twice.
2. What was lent is acknowledged after the work is done, never before; work that raises gives it back.
3. Payloads are streamed, both ways; one that breaks off goes on where it stopped, and what was fetched is compared with its
   SHA-256 before anybody uses it.

::

    with Client("https://node.example:8444", certificate="care.pem", authority="node.crt") as care:
        care.publish("stay.ended", {"ward": "K4"}, source="/care", correlationid="case-42")
"""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

_PIECE: Final = 256 * 1024
_EVENT: Final = "application/cloudevents+json"
_BATCH: Final = "application/cloudevents-batch+json"
Outcome = Literal["received", "delivered", "accepted", "rejected", "failed"]
Body = bytes | Iterable[bytes] | None
T = TypeVar("T")


class Refused(Exception):
    """The node said no. ``word`` is the last part of the problem's type, as in docs/reference/problems.md."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.word = str(problem.get("type", "")).rpartition(":")[2]
        self.detail = str(problem.get("detail", problem.get("title", "")))
        self.errors: Sequence[Mapping[str, str]] = problem.get("errors", ())
        places = "; ".join(f"{one.get('pointer', '')}: {one.get('cause', '')}" for one in self.errors)
        super().__init__(f"{status} {self.word}: {self.detail}" + (f" ({places})" if places else ""))


class Unreachable(Exception):
    """The node could not be reached, or would not take it, in all the time that was given."""


@dataclass(frozen=True)
class Loan:
    """One delivery that was lent: an event, or the announcement of a handover."""

    lease: str
    until: str
    attempt: int
    event: Mapping[str, Any]

    @property
    def data(self) -> Any:
        """What the event carries."""
        return self.event.get("data")


@dataclass(frozen=True)
class File:
    """A payload to hand over: a file of this machine."""

    path: Path
    media_type: str = "application/octet-stream"
    name: str = ""


@dataclass
class Client:
    """One system's connection to a node. ``certificate`` is a PEM file of key and certificate; ``token`` gives a bearer token.

    Not thread-safe: one client a thread. ``patience`` is how many seconds a node may be away before `Unreachable` is raised.
    """

    url: str
    certificate: str | Path | None = None
    authority: str | Path | None = None
    token: Callable[[], str] | None = None
    timeout: float = 75.0
    patience: float = 120.0
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- notifications

    def publish(
        self, kind: str, data: Any = None, *, source: str, id: str = "", **attributes: str | int | bool
    ) -> dict[str, Any]:
        """Publish one event; gives its ``status`` and ``parcel``. Without an id it gets a random one."""
        event = {"specversion": "1.0", "id": id or secrets.token_hex(16), "source": source, "type": kind, **attributes}
        if data is not None:
            event["data"] = data
        return dict(self._json("POST", "/v1/notifications", event, {"Content-Type": _EVENT}))

    def publish_all(self, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Publish whole CloudEvents in one commit; each is judged for itself, in their order."""
        said = self._json("POST", "/v1/notifications/batch", list(events), {"Content-Type": _BATCH})
        return list(said["events"])

    # -- loans

    def pull(
        self, subscription: str = "", *, most: int = 10, wait: float = 0, lease: float | None = None
    ) -> list[Loan]:
        """Fetch what waits: of a subscription, or the handovers that have come."""
        body: dict[str, Any] = {"max": most, "wait": wait}
        if lease is not None:
            body["lease"] = lease
        said = self._json("POST", f"{_box(subscription)}/pull", body)
        return [Loan(one["lease"], one["until"], one["attempt"], one["event"]) for one in said["deliveries"]]

    def ack(self, *loans: Loan, subscription: str = "") -> list[str]:
        """The system has them; gives ``done``, ``stale`` or ``unknown`` for each."""
        return self._say(subscription, "ack", loans)

    def nack(self, *loans: Loan, subscription: str = "", delay: float = 0, reason: str = "") -> list[str]:
        """Not now."""
        return self._say(subscription, "nack", loans, delay=delay, reason=reason)

    def extend(self, *loans: Loan, subscription: str = "", lease: float) -> list[str]:
        """More time."""
        return self._say(subscription, "extend", loans, lease=lease)

    def reject(self, *loans: Loan, subscription: str = "", code: str, reason: str = "") -> list[str]:
        """Never."""
        return self._say(subscription, "reject", loans, code=code, reason=reason)

    def follow(
        self, subscription: str = "", *, most: int = 10, delay: float = 5, ending: Callable[[], bool] = lambda: False
    ) -> Iterator[Loan]:
        """Everything that comes, one by one; what was worked on is acknowledged when the next is asked for. Up to ``most`` are
        lent at once: choose as many as can be worked on within the time of a loan, or somebody else may get the last of them.

        Leaving the loop gives the one in hand back, with those that were fetched with it; use `contextlib.closing`, or let
        ``ending`` say when to stop. Wrap the work in `working` where an error shall give one back and not end the loop.
        """
        while not ending():
            waiting = self.pull(subscription, most=most, wait=20)
            while waiting:
                one = waiting[0]
                try:
                    yield one
                except GeneratorExit:
                    self.nack(*waiting, subscription=subscription, delay=delay, reason="the system stopped")
                    raise
                waiting.pop(0)
                self.ack(one, subscription=subscription)

    @contextmanager
    def working(self, loan: Loan, *, subscription: str = "", delay: float = 5) -> Iterator[None]:
        """Acknowledge when the block ends well; give back, and raise on, when it does not."""
        try:
            yield
        except Exception as error:  # whatever the work raises, the loan goes back; it is raised on
            self.nack(loan, subscription=subscription, delay=delay, reason=type(error).__name__)
            raise
        self.ack(loan, subscription=subscription)

    def _say(self, subscription: str, verb: str, loans: Sequence[Loan], **more: Any) -> list[str]:
        body = {"leases": [loan.lease for loan in loans], **more}
        return [one["result"] for one in self._json("POST", f"{_box(subscription)}/{verb}", body)["results"]]

    # -- handovers

    def hand_over(self, description: Mapping[str, Any], files: Sequence[File], *, key: str = "") -> dict[str, Any]:
        """Hand over files as one item; gives its ``parcel``. The same ``key`` counts once; without one it gets a random one."""
        form = _Form(description, files)
        headers = {"Content-Type": form.content_type, "Content-Length": str(form.length)}
        headers["Idempotency-Key"] = key or secrets.token_hex(16)
        return dict(self._said("POST", "/v1/handovers", form.pieces, headers))

    def fetch(self, payload: Mapping[str, Any], target: IO[bytes]) -> None:
        """Write a payload of an announcement (``loan.data["payloads"][n]``). Raises `ValueError` when its digest differs."""
        digest, come, until = hashlib.sha256(), 0, time.monotonic() + self.patience
        while come < payload["size"]:
            before = come
            where = {"Range": f"bytes={come}-"}
            for piece in self._ask("GET", payload["href"], lambda: None, where, _read):
                digest.update(piece)
                target.write(piece)
                come += len(piece)
            if come < payload["size"]:  # it broke off
                self.close()
                if come > before:
                    until = time.monotonic() + self.patience
                elif time.monotonic() > until:
                    raise Unreachable(f"GET {payload['href']}: breaks off after {come} octets, again and again")
        if digest.hexdigest() != payload["digest"]:
            raise ValueError(f"{payload['href']}: what came has another SHA-256 than what was announced")

    def receipt(self, parcel: str, outcome: Outcome, *, code: str = "", text: str = "") -> dict[str, Any]:
        """Say what the system made of a handover."""
        body = {"outcome": outcome, "text": text, **({"code": code} if code else {})}
        return dict(self._json("POST", f"/v1/handovers/{quote(parcel, safe='')}/receipt", body))

    def handover(self, parcel: str) -> dict[str, Any]:
        """What became of one."""
        return dict(self._json("GET", f"/v1/handovers/{quote(parcel, safe='')}"))

    def receipts(self, after: str = "0", *, wait: float = 0) -> tuple[list[dict[str, Any]], str]:
        """What was said of all one sent since ``after``, and what to ask for next."""
        said = self._json("POST", "/v1/receipts/pull", {"after": after, "wait": wait})
        return list(said["receipts"]), str(said["next"])

    # -- the wire

    def _json(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        octets = json.dumps(body, ensure_ascii=False).encode() if body is not None else None
        said = {"Content-Type": "application/json"} if body is not None else {}
        return self._said(method, path, lambda: octets, {**said, **(headers or {})})

    def _said(self, method: str, path: str, body: Callable[[], Body], headers: Mapping[str, str]) -> Any:
        """An answer's JSON, which has come whole."""
        return self._ask(method, path, body, headers, lambda answer: json.loads(answer.read()))

    def _ask(
        self,
        method: str,
        path: str,
        body: Callable[[], Body],
        headers: Mapping[str, str],
        taking: Callable[[http.client.HTTPResponse], T],
    ) -> T:
        """What was made of an answer that says yes; a node that is away, breaks off or asks to come back is asked again for as
        long as there is patience."""
        until, pause = time.monotonic() + self.patience, 0.2
        while True:
            try:
                answer = self._once(method, path, body(), headers)
                if answer.status < 400:
                    return taking(answer)
                wait, cause = self._refused(answer, pause)
            except ssl.SSLCertVerificationError:
                self.close()
                raise
            except (OSError, http.client.HTTPException) as error:
                self.close()
                wait, cause = pause, f"{type(error).__name__}: {error}"
            if time.monotonic() + wait > until:
                raise Unreachable(f"{method} {path}: {cause}")
            time.sleep(wait)
            pause = min(pause * 2, 10)

    def _once(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._connect()
        said = {"Accept": "application/json, */*", **headers}
        if self.token is not None:
            said["Authorization"] = f"Bearer {self.token()}"
        try:
            self._connection.request(method, path, body=body, headers=said)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            # Who refuses a large body does not read it all: what it says of it counts, where it has said something.
            return self._connection.getresponse()
        return self._connection.getresponse()

    def _refused(self, answer: http.client.HTTPResponse, pause: float) -> tuple[float, str]:
        """How long to wait before asking again, and why. Raises `Refused` for what no waiting mends."""
        octets, again = answer.read(), answer.getheader("Retry-After")
        if answer.getheader("Connection", "").lower() == "close":
            self.close()
        problem: Mapping[str, Any] = {}
        with suppress(ValueError):
            problem = json.loads(octets)
        if answer.status not in (429, 503) and not (answer.status >= 500 and again):
            raise Refused(answer.status, problem)
        return float(again) if again and again.isdigit() else pause, str(problem.get("detail", answer.status))

    def _connect(self) -> http.client.HTTPConnection:
        where = urlsplit(self.url)
        assert where.hostname, "the url names no host"
        if where.scheme == "http":
            return http.client.HTTPConnection(where.hostname, where.port, timeout=self.timeout)
        context = ssl.create_default_context(cafile=str(self.authority) if self.authority else None)
        if self.certificate:
            context.load_cert_chain(self.certificate)
        return http.client.HTTPSConnection(where.hostname, where.port, timeout=self.timeout, context=context)


def _read(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """An answer's octets, as far as they come."""
    with suppress(OSError, http.client.HTTPException):
        while piece := answer.read(_PIECE):
            yield piece


def _box(subscription: str) -> str:
    return f"/v1/subscriptions/{quote(subscription, safe='')}" if subscription else "/v1/handovers"


class _Form:
    """A description and files as multipart/form-data [RFC 7578], whose length is known before it is sent."""

    def __init__(self, description: Mapping[str, Any], files: Sequence[File]) -> None:
        self._boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={self._boundary}"
        first = self._head('name="description"', "application/json") + json.dumps(dict(description)).encode()
        self._parts: list[bytes | Path] = [first]
        for one in files:
            name = one.name or one.path.name
            if not name.isprintable():
                raise ValueError(f"{name!r}: a name has no characters that cannot be seen")
            escaped = name.replace("\\", "\\\\").replace('"', '\\"')
            self._parts += [b"\r\n" + self._head(f'name="payload"; filename="{escaped}"', one.media_type), one.path]
        self._parts.append(f"\r\n--{self._boundary}--\r\n".encode())
        self.length = sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in self._parts)

    def _head(self, disposition: str, media_type: str) -> bytes:
        lines = (f"--{self._boundary}", f"Content-Disposition: form-data; {disposition}", f"Content-Type: {media_type}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def pieces(self) -> Iterator[bytes]:
        """The octets, read from the files anew each time."""
        for one in self._parts:
            if isinstance(one, bytes):
                yield one
                continue
            with one.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
