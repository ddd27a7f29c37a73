"""How an endpoint is declared: the server and the OpenAPI document are both made from these declarations.

Rules:

1. What is not declared is neither served nor answered: method, path, parameters, body, answers and problems.
2. A handler gets what was declared, checked: parameters and body as models. It gives a `Reply`, or raises; what it raises becomes
   a problem in one place (`gateways.rest.problems`).
3. Every endpoint knows its caller before it begins, except those that say they are open to all.
4. Every endpoint says whether the usage log tells who asked it, or why not (`gateways.rest.auditing`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from gateways.rest.access import Caller
from gateways.rest.problems import ProblemType


class Shape(BaseModel):
    """What goes over the wire: strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, as its endpoint declared it."""

    caller: Caller
    path: Mapping[str, str]
    query: Any = None
    """The query parameters as the endpoint's model."""
    body: Any = None
    """The body as the endpoint's model, or its octets where it is read raw."""
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    """The body as it comes, where the endpoint reads it itself."""
    length: int | None = None
    """What ``Content-Length`` says."""

    @property
    def media_type(self) -> str:
        """The body's media type, without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: a model, octets, or a stream of ``length`` octets."""

    body: BaseModel | bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"
    stream: AsyncIterator[bytes] | None = None
    length: int | None = None
    about: tuple[str, ...] = ()
    """Ids of what it shows or changed, for the usage log, where the request did not name it."""


Handler = Callable[[Ask], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: a ``model`` for JSON, else raw octets of one of ``media_types``; streamed where it is large."""

    media_types: tuple[str, ...] = ("application/json",)
    model: type[BaseModel] | None = None
    streamed: bool = False
    required: bool = True
    schema: Mapping[str, Any] | None = None
    """How the OpenAPI document describes it, where no model does."""
    speaks_of: tuple[type[BaseModel], ...] = ()
    """Models that ``schema`` refers to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One documented answer."""

    says: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header → what it says."""
    others: tuple[str, ...] = ()
    """Further media types it may come in, without a model."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. ``problems`` are those beside the ones that any endpoint has."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    answers: Mapping[int, Answer]
    query: type[BaseModel] | None = None
    body: Body | None = None
    problems: tuple[ProblemType, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers it takes → what they are for."""
    open: bool = False
    """Whether anybody may ask, known or not."""
    audited: Literal["saw", "changed"] | None = None
    """What the usage log says of who asks it: that it saw something, or changed something."""
    unaudited: str = ""
    """Why it need not be in the usage log. Beside `audited`: what a system does as itself, or reads of its own."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in its path."""
        return tuple(_IN_PATH.findall(self.path))

    @property
    def name(self) -> str:
        """An id of its own, for the OpenAPI document and the generated clients."""
        words = [part.strip("{}") for part in self.path.strip("/").split("/")[1:]]
        return "_".join([self.method.lower(), *words]).replace("-", "_")


TRACED: Final = "a system does it as itself, and the trace of what it moves tells of it"
OWN: Final = "a system with no other role reads nothing but what is its own"
"""Reasons that many endpoints give."""
_IN_PATH: Final = re.compile(r"\{([a-z_]+)\}")
