"""CloudEvents 1.0: a notification as its sender says it, and a delivery as its receiver gets it.

Rules:

1. What CloudEvents has a word for is said with it; the rest of the payload description is in extension attributes, listed in
   docs/reference/payload-description.md.
2. ``source`` and ``id`` together are the key under which an event counts once [CloudEvents 1.0 §3.1].
3. ``data`` is kept octet for octet where it was octets, and as compact JSON where it was JSON; nothing is added to it.
4. ``subjects`` (persons) travel under encryption and are kept sealed; the attribute ``subject`` is for routing and is not.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, unquote

from core.clock import from_datetime, to_datetime
from core.description import Description
from core.errors import DescriptionError
from core.integration import Integration
from core.parcel import Parcel
from gateways.rest import problems
from gateways.rest.problems import Flaw, Problem, ProblemError

ONE: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_OWN: Final = "rest."
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]{1,20}")
_CORE: Final = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
_MAPPED: Final = frozenset(
    {
        *("integration", "typeversion", "priority", "sensitivity", "correlationid", "processid", "expires"),
        *("classifications", "references", "subjects"),
    }
)
_TEXT: Final = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """A notification as it came: its key, what it says of itself, and its data."""

    id: str
    source: str
    integration: str
    """As it named it; "" where the type alone says so."""
    fields: Mapping[str, Any]
    """Of the payload description, without what the integration decides."""
    media_type: str
    data: bytes

    @property
    def key(self) -> str:
        """What it counts once by."""
        return f"{self.source}#{self.id}"


def read(value: Any, where: str = "") -> Event:
    """An event in the JSON format. Raises `ProblemError` naming every attribute that is wrong; ``where`` is its JSON pointer."""
    if not isinstance(value, dict):
        raise _wrong([Flaw(where, "is no object")])
    flaws: list[Flaw] = []
    data, media_type = _data(value, where, flaws)
    attributes = {k: v for k, v in value.items() if k not in ("data", "data_base64")}
    return _event(attributes, data, media_type, where, flaws)


def read_binary(headers: Mapping[str, str], data: bytes) -> Event:
    """An event in the HTTP binary mode: attributes in ``ce-`` headers, data in the body [CloudEvents HTTP §3.1]."""
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    media_type = headers.get("content-type", "application/octet-stream")
    return _event(attributes, data, media_type, "", [])


def _data(value: Mapping[str, Any], where: str, flaws: list[Flaw]) -> tuple[bytes, str]:
    media_type = value.get("datacontenttype", "application/json")
    if not isinstance(media_type, str) or not media_type:
        flaws.append(Flaw(f"{where}/datacontenttype", "is no media type"))
        media_type = "application/json"
    if "data" in value and "data_base64" in value:
        flaws.append(Flaw(f"{where}/data_base64", "stands beside data: one of them"))
    if "data_base64" in value:
        try:
            return base64.b64decode(value["data_base64"], validate=True), media_type
        except (TypeError, ValueError, binascii.Error):
            flaws.append(Flaw(f"{where}/data_base64", "is no Base64"))
            return b"", media_type
    if "data" not in value:
        return b"", media_type
    data = value["data"]
    if isinstance(data, str) and not _is_json(media_type):
        return data.encode(), media_type
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(), media_type


def _is_json(media_type: str) -> bool:
    plain = media_type.partition(";")[0].strip().lower()
    return plain.endswith(("/json", "+json"))


def _event(attributes: Mapping[str, Any], data: bytes, media_type: str, where: str, flaws: list[Flaw]) -> Event:
    said: dict[str, str] = {}
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name):
            flaws.append(Flaw(f"{where}/{name[:40]}", "is no attribute name: 1 to 20 lower case letters and digits"))
        elif isinstance(value, bool | int):
            said[name] = str(value).lower() if isinstance(value, bool) else str(value)
        elif not isinstance(value, str) or not value or len(value) > _TEXT:
            flaws.append(Flaw(f"{where}/{name}", f"is no text of 1 to {_TEXT} characters"))
        else:
            said[name] = value
    flaws += [Flaw(f"{where}/{name}", "is missing") for name in ("id", "source", "type") if name not in attributes]
    if attributes.get("specversion") != "1.0":
        flaws.append(Flaw(f"{where}/specversion", "is not 1.0"))
    fields = _fields(said, where, flaws)
    if len(said.get("source", "") + said.get("id", "")) > _KEY:
        flaws.append(Flaw(f"{where}/id", f"source and id together are longer than {_KEY} characters"))
    if flaws:
        raise _wrong(flaws)
    return Event(said["id"], said["source"], said.get("integration", ""), fields, media_type, data)


_KEY: Final = 500


def _fields(said: Mapping[str, str], where: str, flaws: list[Flaw]) -> dict[str, Any]:
    """The payload description's fields that the event gives."""
    fields: dict[str, Any] = {"type": said.get("type", "")}
    for attribute, name in _PLAIN.items():
        if attribute in said:
            fields[name] = said[attribute]
    for attribute, name in (("time", "occurred"), ("expires", "expires")):
        if attribute in said:
            try:
                fields[name] = _micros(said[attribute])
            except ValueError:
                flaws.append(Flaw(f"{where}/{attribute}", "is no time as 2026-03-01T12:00:00Z"))
    for attribute, (name, first, second) in _PAIRS.items():
        if attribute in said:
            pairs = [item.partition("=") for item in said[attribute].split()]
            if all(left and right for left, _, right in pairs):
                fields[name] = [{first: unquote(left), second: unquote(right)} for left, _, right in pairs]
            else:
                flaws.append(Flaw(f"{where}/{attribute}", f"is no list as {first}={second}, with spaces between"))
    if "subjects" in said:
        fields["subjects"] = [unquote(one) for one in said["subjects"].split()]
    kept = {
        k: v
        for k, v in said.items()
        if k not in _MAPPED and k not in ("type", "time", "specversion", "datacontenttype")
    }
    fields["attributes"] = {_OWN + name: value for name, value in kept.items()}
    return fields


_PLAIN: Final = {
    "typeversion": "version",
    "priority": "priority",
    "sensitivity": "sensitivity",
    "correlationid": "correlation_id",
    "processid": "process_id",
}
_PAIRS: Final = {"classifications": ("classifications", "scheme", "code"), "references": ("references", "kind", "id")}


def describe(event: Event, integration: Integration, sender: str, digest: str) -> Description:
    """The payload description; what the event leaves out is what the integration says. Raises `ProblemError`."""
    base = {
        "sender": sender,
        "sensitivity": integration.sensitivity,
        "priority": integration.priority,
        "degree": integration.degree,
        "media_type": event.media_type,
        "size": len(event.data),
        "digest": digest,
    }
    try:
        return Description.parse(json.dumps({**base, **event.fields}))
    except DescriptionError as error:
        raise ProblemError(
            Problem(problems.INVALID_DESCRIPTION, str(error), (Flaw(f"/{error.field}", error.cause),))
        ) from None


def write(parcel: Parcel, subjects: Sequence[str], data: bytes) -> dict[str, Any]:
    """A delivery as its receiver gets it."""
    d = parcel.description
    own = {k.removeprefix(_OWN): v for k, v in d.attributes.items() if k.startswith(_OWN)}
    said: dict[str, Any] = {
        "specversion": "1.0",
        "id": own.pop("id", parcel.id),
        "source": own.pop("source", f"/systems/{parcel.sender}"),
        "type": d.type,
        "time": rfc3339(d.occurred if d.occurred is not None else parcel.accepted_at),
        **own,
        "integration": parcel.integration,
        "parcelid": parcel.id,
        "sender": parcel.sender,
    }
    for attribute, name in _PLAIN.items():
        if (value := getattr(d, name)) is not None:
            said[attribute] = value
    if d.expires is not None:
        said["expires"] = rfc3339(d.expires)
    for attribute, (name, first, second) in _PAIRS.items():
        if pairs := getattr(d, name):
            said[attribute] = " ".join(f"{_quoted(getattr(p, first))}={_quoted(getattr(p, second))}" for p in pairs)
    if subjects:
        said["subjects"] = " ".join(map(_quoted, subjects))
    return {**said, **_written(d.media_type, data)}


def _written(media_type: str, data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    if _is_json(media_type):
        try:
            return {"datacontenttype": media_type, "data": json.loads(data)}
        except ValueError:
            pass  # it came as octets under a name that promised more
    return {"datacontenttype": media_type, "data_base64": base64.b64encode(data).decode()}


def _quoted(value: str) -> str:
    return quote(value, safe=":/.-_~")


def _micros(text: str) -> int:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("no zone")
    return from_datetime(found.astimezone(UTC))


def rfc3339(at: int) -> str:
    """A time as the wire has it."""
    return to_datetime(at).replace(tzinfo=None).isoformat() + "Z"


def _wrong(flaws: Sequence[Flaw]) -> ProblemError:
    return ProblemError(
        Problem(problems.INVALID_REQUEST, "the event is not what CloudEvents 1.0 asks for", tuple(flaws[:20]))
    )
