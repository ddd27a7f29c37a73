"""Asking only for what has changed, and changing only what one has seen: ETags [RFC 9110 §8.8.3, §13].

Rules:

1. A tag is made of what is said, so that nodes of one ledger give the same.
2. A change without ``If-Match`` is made; one with a tag that is not the present one is refused, and nothing is changed.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import BaseModel

from gateways.rest import problems
from gateways.rest.endpoint import Ask, Reply
from gateways.rest.problems import Problem, ProblemError

IF_MATCH: Final = {"If-Match": "The ETag of what you saw last: when it has changed since, nothing is done."}
IF_NONE_MATCH: Final = {
    "If-None-Match": "The ETag of what you have: when it is still that, the answer is 304 and empty."
}
ETAG: Final = {"ETag": "Names this state of it."}


def tagged(octets: bytes) -> str:
    """The ETag of an answer's octets."""
    return f'"{hashlib.sha256(octets).hexdigest()[:32]}"'


def _listed(header: str) -> set[str]:
    return {one.strip().removeprefix("W/") for one in header.split(",")}


def demand_match(ask: Ask, tag: str) -> None:
    """Raises 412 when the caller has seen another state."""
    wanted = ask.headers.get("if-match")
    if wanted is not None and not _listed(wanted) & {"*", tag}:
        raise ProblemError(Problem(problems.PRECONDITION))


def reply(ask: Ask, body: BaseModel | bytes, media_type: str = "application/json") -> Reply:
    """The answer with its tag; 304 without a body when the caller has it already."""
    octets = body if isinstance(body, bytes) else body.model_dump_json(exclude_none=True, by_alias=True).encode()
    tag = tagged(octets)
    known = ask.headers.get("if-none-match")
    if known is not None and _listed(known) & {"*", tag}:
        return Reply(None, 304, {"ETag": tag})
    return Reply(octets, 200, {"ETag": tag}, media_type)
