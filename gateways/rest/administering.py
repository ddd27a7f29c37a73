"""The configuration as those who administer a node see it: the version in force, the history, and whether a next one would do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from core import limits
from gateways.rest.access import demand_role
from gateways.rest.conditional import ETAG, IF_NONE_MATCH, reply
from gateways.rest.endpoint import Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.settings import Role

_TAG: Final = "Configuration"


class FileView(Shape):
    """A certificate or schema of the version, by its content's digest."""

    name: str
    sha256: str
    size: int


class ConfigurationView(Shape):
    """A configuration version."""

    version: int
    documents: list[dict[str, Any]]
    files: list[FileView]


class Proposed(Shape):
    """All documents of a configuration, as they would stand in files; certificates and schemas are those of the newest."""

    documents: Annotated[list[dict[str, Any]], Field(max_length=limits.DOCUMENTS)]


class Fault(Shape):
    """Something that is wrong: which document has to change, and where."""

    kind: str
    id: str
    field: str
    cause: str
    remedy: str | None = None


class Judged(Shape):
    """What is wrong; nothing is stored."""

    ok: bool
    problems: list[Fault]


class VersionView(Shape):
    """A version in the history."""

    number: int
    at: str
    who: str
    why: str


class Versions(Shape):
    """Versions, the newest first."""

    versions: list[VersionView]


class Sought(Shape):
    """How much of the history."""

    limit: Annotated[int, Field(ge=1, le=limits.LIST_MOST)] = limits.LIST_PAGE


class Administering:
    """Endpoints of the configuration."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        top = "/v1/configuration"
        view = {
            200: Answer("The version.", ConfigurationView, headers=ETAG),
            304: Answer("It is what you have.", headers=ETAG),
        }
        return (
            Endpoint("GET", top, self.seen, "See the configuration in force", _TAG, view, headers=IF_NONE_MATCH,
                     audited="saw"),
            Endpoint("POST", f"{top}/check", self.checked, "Check a configuration", _TAG,
                     {200: Answer("What is wrong with it.", Judged)}, body=Body(model=Proposed),
                     unaudited="it judges what the caller brought, and shows nothing else"),
            Endpoint("GET", f"{top}/history", self.history, "See the versions", _TAG,
                     {200: Answer("The newest.", Versions)}, query=Sought, audited="saw"),
        )  # fmt: skip

    async def seen(self, ask: Ask) -> Reply:
        """Its documents; of certificates and schemas the name and digest. For administrators."""
        demand_role(ask.caller, Role.ADMINISTRATOR)
        found = self._gate.configuration()
        files = [
            FileView(name=name, sha256=hashlib.sha256(octets).hexdigest(), size=len(octets))
            for name, octets in sorted(found.files.items())
        ]
        documents = json.loads(found.to_json())["documents"]
        return reply(ask, ConfigurationView(version=found.number, documents=documents, files=files))

    async def checked(self, ask: Ask) -> Reply:
        """As `stafet check` would say of a directory, without storing anything. For administrators."""
        demand_role(ask.caller, Role.ADMINISTRATOR)
        found = await self._gate.kernel.desks.requests.judge(ask.body.documents)
        faults = [
            Fault(kind=one.kind, id=one.id, field=one.field, cause=one.cause, remedy=one.remedy or None)
            for one in found[: limits.LIST_MOST]
        ]
        return Reply(Judged(ok=not found, problems=faults))

    async def history(self, ask: Ask) -> Reply:
        """Who made each version, when and why. For administrators."""
        demand_role(ask.caller, Role.ADMINISTRATOR)
        found = await self._gate.kernel.desks.requests.history(ask.query.limit)
        listed = [VersionView(number=one.number, at=rfc3339(one.at), who=one.who, why=one.why) for one in found]
        return Reply(Versions(versions=listed))
