"""Whether a payload is what its integration says it is: validation by degree, before anything is accepted.

Rules:

1. ``known``: the payload must conform to the contract's schema. ``declared``: its media type must be one that is declared; what
   breaks a schema that lies beside is a warning in the trace and no refusal, because the format may change. ``encrypted``:
   nothing is looked at but whether it looks sealed.
2. A schema is compiled once for each version of the configuration; one that cannot be compiled is found by `stafet check`.
3. The first payload of a parcel is judged by the schema whatever it is called; the others are when their media type says that
   they are of the schema's sort. Attachments of another sort are held to the media types alone.
4. A finding names the place and the rule, never a value: values may be personal.
5. Checks are technical. What a field may mean is for the receiver's application to say, with a business receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core import limits
from core.content_json import JsonSchema
from core.content_xml import XmlSchema
from core.errors import ConfigError, Finding, Invalid, SealError
from core.integration import Integration
from core.seal.header import peek


def no_seal(head: bytes) -> str:
    """Why octets do not begin a sealed payload, "" when they do. Nothing is opened."""
    try:
        peek(head)
    except SealError as error:
        return f"is not sealed: {error}"
    return ""


@dataclass(frozen=True, slots=True)
class Content:
    """One payload to be judged; ``opened`` gives its octets from the beginning, as often as it is asked."""

    media_type: str
    size: int
    opened: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with an integration's contract."""

    integration: str
    field: str
    cause: str
    remedy: str = ""


class Checker:
    """What one integration demands of payloads. Raises `ConfigError` when its schema cannot be compiled."""

    def __init__(self, integration: Integration, files: Mapping[str, bytes]) -> None:
        self._integration = integration
        self._schema: XmlSchema | JsonSchema | None = None
        contract = integration.contract
        if contract is None or contract.format == "declared":
            return
        if contract.file not in files:
            raise ConfigError(contract.file, "", "is no file of the configuration directory", "put the schema there")
        if contract.format == "xsd":
            self._schema = XmlSchema(contract.file, contract.part, files)
        else:
            self._schema = JsonSchema(contract.file, contract.part if contract.format == "openapi" else "", files)

    @property
    def sorts(self) -> str:
        """What media types of the schema's sort end with, "" when there is no schema."""
        return "" if self._schema is None else "xml" if isinstance(self._schema, XmlSchema) else "json"

    def judge(self, degree: str, contents: Sequence[Content]) -> tuple[str, ...]:
        """The warnings. Raises `Invalid` for payloads that are not what the integration says; ``degree`` is the sender's word."""
        findings, warnings = list(self._misdeclared(degree)), []
        if not findings:
            for number, content in enumerate(contents):
                place = f"payload {number + 1}" if len(contents) > 1 else ""
                wrong, warned = self._one(content, first=number == 0)
                findings += _placed(place, wrong)
                warnings += _placed(place, warned)
        if findings:
            raise Invalid(self._integration.id, findings[: limits.FINDINGS])
        return tuple(str(warning) for warning in warnings[: limits.FINDINGS])

    def _misdeclared(self, degree: str) -> Iterator[Finding]:
        agreed = self._integration.degree
        if degree != agreed:
            yield Finding("degree", f"is {degree} in the description; {self._integration.id} moves {agreed} payloads")

    def _one(self, content: Content, *, first: bool) -> tuple[list[Finding], list[Finding]]:
        """What is wrong with a payload, and what is only worth a word."""
        if self._integration.degree == "encrypted":
            cause = no_seal(_head(content))
            return ([Finding("/", cause)] if cause else []), []
        wrong = self._of_other_type(content)
        found = self._by_schema(content) if first or self._is_of_its_sort(content) else []
        return ([*wrong, *found], []) if self._integration.degree == "known" else (wrong, found)

    def _of_other_type(self, content: Content) -> list[Finding]:
        contract = self._integration.contract
        allowed = contract.media_types if contract is not None else ()
        essence = _essence(content.media_type)
        if not allowed or any(_covers(_essence(pattern), essence) for pattern in allowed):
            return []
        return [Finding("media_type", f"is {essence}; declared: {', '.join(allowed)}")]

    def _is_of_its_sort(self, content: Content) -> bool:
        return bool(self.sorts) and _essence(content.media_type).endswith((f"/{self.sorts}", f"+{self.sorts}"))

    def _by_schema(self, content: Content) -> list[Finding]:
        match self._schema:
            case XmlSchema():
                return self._schema.judge(content.opened)
            case JsonSchema():
                if content.size > limits.VALIDATED_SIZE:
                    return [Finding("/", f"is larger than {limits.VALIDATED_SIZE} octets, and is not checked")]
                return self._schema.judge(b"".join(content.opened()))
        return []


def _placed(place: str, findings: Iterable[Finding]) -> list[Finding]:
    return [Finding(one.field, f"{place}: {one.cause}" if place else one.cause) for one in findings]


def _head(content: Content) -> bytes:
    head = b""
    for chunk in content.opened():
        head += chunk[: limits.SEAL_HEADER - len(head)]
        if len(head) == limits.SEAL_HEADER:
            break
    return head


def _essence(media_type: str) -> str:
    """Type and subtype, without parameters."""
    return media_type.partition(";")[0].strip().lower()


def _covers(pattern: str, media_type: str) -> bool:
    return media_type.startswith(pattern[:-1]) if pattern.endswith("/*") else media_type == pattern


_FILES: Final = {"xsd": ".xsd", "json-schema": ".json", "openapi": ".json"}


class Contents:
    """The checkers of a configuration's integrations, each made when it is first asked for."""

    def __init__(
        self,
        integrations: Mapping[str, Integration],
        files: Mapping[str, bytes],
    ) -> None:
        self._integrations, self._files = integrations, files
        self._made: dict[str, Checker | ConfigError] = {}

    def of(self, name: str) -> Checker | None:
        """An integration's checker, None for one that demands nothing. Raises `ConfigError` for a schema that cannot be used."""
        integration = self._integrations.get(name)
        if integration is None or (integration.contract is None and integration.degree != "encrypted"):
            return None
        if name not in self._made:
            try:
                self._made[name] = Checker(integration, self._files)
            except ConfigError as error:
                self._made[name] = error
        made = self._made[name]
        if isinstance(made, ConfigError):
            raise made
        return made

    def mistakes(self) -> Iterator[Mistake]:
        """Every contract that cannot be held, with the file and line of the mistake in its schema."""
        for name, integration in self._integrations.items():
            contract = integration.contract
            if contract is None:
                continue
            for index, pattern in enumerate(contract.media_types):
                if _essence(pattern).count("/") != 1:
                    yield Mistake(
                        name, f"contract.media_types.{index}", f"{pattern!r} is no media type", "as text/xml or text/*"
                    )
            if contract.file and contract.file not in self._files:
                continue  # core.config says so, with the schemas that are there
            suffix = _FILES.get(contract.format, "")
            if contract.file and not contract.file.lower().endswith(suffix):
                yield Mistake(name, "contract.file", f"a schema of format {contract.format} is a {suffix} file")
                continue
            if contract.format == "openapi" and not contract.part:
                remedy = "name a component under components/schemas"
                yield Mistake(name, "contract.part", "is missing: an OpenAPI document has many schemas", remedy)
                continue
            yield from self._unusable(name, integration)

    def _unusable(self, name: str, integration: Integration) -> Iterator[Mistake]:
        try:
            checker = self.of(name)
        except ConfigError as error:
            yield Mistake(name, "contract.part" if error.field == "part" else "contract.file", str(error))
            return
        too_large = integration.degree == "known" and integration.max_size > limits.VALIDATED_SIZE
        if checker is not None and checker.sorts == "json" and too_large:
            cause = f"is {integration.max_size}; JSON of degree known is checked up to {limits.VALIDATED_SIZE} octets"
            yield Mistake(name, "max_size", cause, "say a smaller max_size, or degree declared")
