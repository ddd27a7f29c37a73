"""Every answer that says no, as a value: what went wrong, and what to do about it [RFC 9457].

Rules:

1. Each type is in `CATALOGUE` and on its page (docs/reference/problems.md); nothing else is ever answered.
2. A detail names the field and the cause, in words of ours. It holds no payload, no key, and nothing the caller may not see: what
   is not the caller's is answered as what is not there, to the octet.
3. What the kernel refuses becomes a problem here, in one place; what nobody documents is ``internal``, without detail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from core import limits
from core.clock import SECOND, Micros
from core.errors import (
    BadChecksum,
    ConfigError,
    DescriptionError,
    NotFound,
    Overloaded,
    PayloadError,
    Refused,
    StafetError,
    StaleLease,
    Unfit,
    UsageError,
    WrongOffset,
    WrongState,
)

MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = "urn:stafet:problem:"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: ``title`` says what it is, ``remedy`` what the caller does."""

    word: str
    status: int
    title: str
    remedy: str

    @property
    def uri(self) -> str:
        """The ``type`` of the answer."""
        return PREFIX + self.word


UNREADABLE: Final = ProblemType(
    "unreadable",
    400,
    "The request cannot be read",
    "correct the syntax at the place named: JSON, a header or a parameter",
)
INVALID_REQUEST: Final = ProblemType(
    "invalid-request",
    400,
    "The request is not what this endpoint takes",
    "correct the fields in errors, and send it again",
)
UNAUTHENTICATED: Final = ProblemType(
    "unauthenticated",
    401,
    "Who calls is not known here",
    "come with a certificate or a token that is registered here; the detail says what was wrong with the one that came",
)
NOT_ALLOWED: Final = ProblemType(
    "not-allowed",
    403,
    "This may not be done",
    "ask for the service agreement or the role that the detail names; sending the same again changes nothing",
)
NOT_FOUND: Final = ProblemType(
    "not-found",
    404,
    "There is no such thing for this caller",
    "compare the id; what belongs to others is not shown either",
)
METHOD: Final = ProblemType(
    "method-not-allowed", 405, "This is not done to it", "use one of the methods in the header Allow"
)
NOT_ACCEPTABLE: Final = ProblemType(
    "not-acceptable",
    406,
    "No answer is in a form the caller takes",
    "accept a media type that the OpenAPI document names",
)
TIMEOUT: Final = ProblemType(
    "timeout", 408, "The request stopped coming", "send it again, on a connection that is fast enough"
)
CONFLICT: Final = ProblemType(
    "conflict",
    409,
    "The key was used before for other content",
    "use a new key (or CloudEvents id) for new content; the first content stands",
)
STALE_LEASE: Final = ProblemType(
    "stale-lease",
    409,
    "The loan has ended",
    "forget it: the delivery is lent again, to whoever comes next; ask for a longer loan if work takes longer",
)
STATE: Final = ProblemType(
    "wrong-state", 409, "It is in a state in which this cannot be done", "look at its state first; it may have moved on"
)
OFFSET: Final = ProblemType(
    "wrong-offset",
    409,
    "The upload does not go on from there",
    "ask with HEAD where it stands, and go on from that Upload-Offset",
)
GONE: Final = ProblemType(
    "gone", 410, "It was deleted when its time was over", "ask its sender; the time is the integration's retention_days"
)
LENGTH: Final = ProblemType("length-required", 411, "The length must be said", "send Content-Length")
PRECONDITION: Final = ProblemType(
    "changed-meanwhile",
    412,
    "Somebody else changed it meanwhile",
    "read it again, and repeat the change with its new ETag",
)
TUS: Final = ProblemType(
    "unsupported-tus-version", 412, "The upload protocol is spoken in another version", "send Tus-Resumable: 1.0.0"
)
TOO_LARGE: Final = ProblemType(
    "too-large", 413, "It is larger than may come", "send less, or ask for an integration with a higher limit"
)
MEDIA: Final = ProblemType(
    "unsupported-media-type", 415, "The body has a form that is not taken", "send a media type that the detail names"
)
RANGE: Final = ProblemType(
    "range-not-satisfiable", 416, "The payload has no such octets", "ask for a range within its size, or for all of it"
)
INVALID: Final = ProblemType(
    "invalid", 422, "The content is not what its integration agreed", "correct the places in errors, and send it again"
)
INVALID_DESCRIPTION: Final = ProblemType(
    "invalid-description", 422, "The payload description is wrong", "correct the field in errors, and send it again"
)
INVALID_DOCUMENT: Final = ProblemType(
    "invalid-document", 422, "A configuration document is wrong", "correct the field in errors, and ask again"
)
REFUSED: Final = ProblemType("refused", 422, "It was refused", "read the detail: it names what has to change")
QUOTA: Final = ProblemType(
    "quota",
    429,
    "A quota is used up",
    "wait as long as Retry-After says; if it happens often, ask this node's administrator for a larger quota",
)
HEADERS: Final = ProblemType(
    "headers-too-large", 431, "A header is longer than may come", "send shorter headers; a token has a limit of its own"
)
CHECKSUM: Final = ProblemType(
    "checksum-mismatch", 460, "What came is not what was promised", "send the piece again, from the same Upload-Offset"
)
INTERNAL: Final = ProblemType(
    "internal",
    500,
    "Something failed that nobody foresaw",
    "send it again later, under the same key; operators were told",
)
DAMAGED: Final = ProblemType(
    "damaged",
    500,
    "What was stored cannot be given out",
    "ask the operators: what is stored is not what was stored once",
)
OVERLOADED: Final = ProblemType(
    "overloaded", 503, "It cannot be taken now", "keep it, and send it again, under the same key, after Retry-After"
)

CATALOGUE: Final[Mapping[str, ProblemType]] = {
    one.word: one for one in list(globals().values()) if isinstance(one, ProblemType)
}
"""All types by their word."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong: ``pointer`` says where in the body [RFC 6901], or names a ``parameter`` or ``header``."""

    pointer: str
    cause: str
    place: str = "pointer"


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer. ``retry_after`` is in microseconds; ``headers`` go out beside it."""

    type: ProblemType
    detail: str = ""
    errors: tuple[Flaw, ...] = ()
    retry_after: Micros | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str = "") -> dict[str, Any]:
        """The JSON object. ``instance`` names this occurrence, so that operators find it in the log."""
        said: dict[str, Any] = {"type": self.type.uri, "title": self.type.title, "status": self.type.status}
        if self.detail:
            said["detail"] = self.detail
        if instance:
            said["instance"] = instance
        if (wait := self.seconds) is not None:
            said["retry_after"] = wait
        if self.errors:
            said["errors"] = [{flaw.place: flaw.pointer, "cause": flaw.cause} for flaw in self.errors]
        return said

    @property
    def seconds(self) -> int | None:
        """The wait in whole seconds, rounded up, and never nothing: who comes back at once comes in vain."""
        return None if self.retry_after is None else max(1, -(-self.retry_after // SECOND))

    def octets(self, instance: str = "") -> bytes:
        """The body as it is sent."""
        return json.dumps(self.body(instance), ensure_ascii=False).encode()

    def all_headers(self) -> dict[str, str]:
        """Everything that goes out beside the body."""
        said = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **self.headers}
        if (wait := self.seconds) is not None:
            said["Retry-After"] = str(wait)
        return said


class ProblemError(StafetError):
    """Ends a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{problem.type.word}: {problem.detail or problem.type.title}")


class Unauthenticated(ProblemError):
    """Who calls is not known: no certificate and no token, or one that is not believed."""

    def __init__(self, detail: str, error: str = "") -> None:
        # RFC 6750 §3: a request that tried nothing is told no error. A claim's name may have a quote, which would end the text.
        safe = "".join(c for c in detail if c.isascii() and c.isprintable() and c not in '"\\')
        said = f', error="{error}", error_description="{safe}"' if error else ""
        headers = {"WWW-Authenticate": f'Bearer realm="stafet"{said}'}
        super().__init__(Problem(UNAUTHENTICATED, detail, headers=headers))


def absent(what: str = "") -> ProblemError:
    """There is no such thing for this caller: the same whether it exists for others or not at all."""
    return ProblemError(Problem(NOT_FOUND, what))


def forbidden(detail: str) -> ProblemError:
    """Within the caller's own authority, but a role is missing."""
    return ProblemError(Problem(NOT_ALLOWED, detail))


def invalid_request(flaws: Iterable[Flaw], detail: str = "") -> ProblemError:
    """The body or a parameter is wrong at these places."""
    return ProblemError(Problem(INVALID_REQUEST, detail, tuple(flaws)))


_BY_CODE: Final[Mapping[str, ProblemType]] = {
    one.word: one for one in (CONFLICT, TOO_LARGE, NOT_ALLOWED, OVERLOADED, QUOTA, INVALID, REFUSED)
}
_KNOWN_HERE: Final = re.compile(r"; known: .*", re.DOTALL)


def problem_of(error: BaseException) -> Problem:
    """What a caller is told of an error. Anything that is not documented is ``internal``; log it."""
    match error:
        case ProblemError():
            return error.problem
        case Overloaded():
            # Whose queue is full may be no business of the sender's; of its own quota it is told everything.
            kind = _BY_CODE.get(error.code, OVERLOADED)
            return Problem(kind, str(error) if kind is QUOTA else "", retry_after=error.retry_after)
        case Refused():
            return Problem(_BY_CODE.get(error.code, REFUSED), _without_names(str(error)), _flaws(error))
        case DescriptionError():
            return Problem(INVALID_DESCRIPTION, str(error), (Flaw(pointer(error.field), error.cause),))
        case ConfigError():
            cause = error.cause + (f" ({error.remedy})" if error.remedy else "")
            return Problem(INVALID_DOCUMENT, cause, (Flaw(pointer(error.field), cause),))
        case Unfit():
            return Problem(INVALID_DOCUMENT, "documents would not fit together")
        case WrongState():
            return Problem(STATE, str(error))
        case WrongOffset():
            return Problem(OFFSET, str(error), headers={"Upload-Offset": str(error.received)})
        case BadChecksum():
            return Problem(CHECKSUM, str(error))
        case NotFound():
            return Problem(NOT_FOUND)
        case UsageError():
            return Problem(INVALID_REQUEST, _without_names(str(error)))
        case StaleLease():
            return Problem(STALE_LEASE)
        case PayloadError():
            return Problem(DAMAGED)
        case _:
            return Problem(INTERNAL, retry_after=limits.COME_BACK)


def pointer(named: str) -> str:
    """A field as a kernel error names it (``references.0.id``) as a JSON pointer, "" for the whole."""
    if not named or named.startswith("/"):
        return named
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in named.split("."))


def _flaws(error: Refused) -> tuple[Flaw, ...]:
    """The findings of a refusal that has some, each with ``field`` and ``cause``."""
    found: Iterable[Any] = getattr(error, "findings", ())
    return tuple(Flaw(pointer(one.field), one.cause) for one in found)


def _without_names(text: str) -> str:
    """The kernel helps its operators with what else is known; a caller may be a stranger to it."""
    return _KNOWN_HERE.sub("", text)


def problems_page(made: str) -> str:
    """docs/reference/problems.md."""
    lines = [
        "# Problems",
        "",
        made,
        "",
        f"Whatever the REST gateway refuses, it answers with `{MEDIA_TYPE}` [RFC 9457]:",
        "",
        "| Member | Says |",
        "| --- | --- |",
        f"| `type` | `{PREFIX}` and one of the words below: what programs decide by |",
        "| `title` | the type in words, always the same |",
        "| `status` | the HTTP status |",
        "| `detail` | what was wrong this time |",
        "| `instance` | this occurrence: tell it to the operators, who find it in their log |",
        "| `retry_after` | seconds to wait, as in the header `Retry-After`; of each event where several came at once |",
        "| `errors` | each place that is wrong: `pointer` (into the body), `parameter` or `header`, and the `cause` |",
        "",
        "What a caller may not see is answered as what is not there, to the octet: across authorities nobody learns what exists.",
        "",
        "| Word | Status | Title | What to do |",
        "| --- | --- | --- | --- |",
    ]
    for one in sorted(CATALOGUE.values(), key=lambda each: (each.status, each.word)):
        lines.append(f"| `{one.word}` | {one.status} | {one.title} | {one.remedy} |")
    return "\n".join(lines) + "\n"
