"""What the tests of handover share: a town that hands over, and its systems' ways to do so."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from conformance.town import AUTHORITY, agreement
from tests.gateways.rest.running import System, documents

OTHER = "55667788"
RESIDUAL_TYPE = "case.unknown"


def handover(name: str, *types: str, **more: Any) -> dict[str, Any]:
    """An integration that hands over."""
    return {"kind": "integration", "id": name, "types": list(types or (name,)), "owner": AUTHORITY, **more}


def route(name: str, system: str, **more: Any) -> dict[str, Any]:
    """A route to a system that comes for it."""
    return {"kind": "route", "id": name, "to": [{"system": system}], **more}


def handing(*more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Care hands cases to the journal, sealed letters too; files go to journal and robot; Egedal has nothing to do with it."""
    made = [
        handover("cases", "case.note", "case.form", RESIDUAL_TYPE, max_size=4_000_000),
        handover("letters", "letter", degree="encrypted"),
        handover("attachments", "attachment", capability="file", max_size=64 * 1024 * 1024),
        route("cases-to-journal", "birkelund-journal", integration="cases", match={"type": "case.note"}),
        route("cases-by-name", "birkelund-robot", integration="cases", match={"receiver": "birkelund-robot"}, order=50),
        route("later-to-robot", "birkelund-robot", integration="cases", match={"type": "case.note"}, order=200),
        route("letters-to-journal", "birkelund-journal", integration="letters"),
        {
            **route("files", "birkelund-journal", integration="attachments"),
            "to": [{"system": "birkelund-journal"}, {"system": "birkelund-robot"}],
        },
        {"kind": "rest.client", "id": "ops", "system": "birkelund-desk", "roles": ["system", "operator"]},
        {"kind": "rest.client", "id": "egedal-ops", "system": "egedal-care", "roles": ["system", "operator"]},
    ]
    for name in ("cases", "letters", "attachments"):
        made.append(agreement(name, "birkelund-care", "send"))
        made += [agreement(name, one, "receive") for one in ("birkelund-journal", "birkelund-robot")]
    return [*documents(), *made, *(dict(one) for one in more)]


class Form:
    """A multipart body, octet for octet as programs like curl write it."""

    boundary = "----invented"

    def __init__(self) -> None:
        self.parts: list[tuple[dict[str, str], bytes]] = []

    def add(self, octets: bytes, disposition: str, **headers: str) -> Form:
        """A part; underscores in names of headers are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.parts.append(({"Content-Disposition": f"form-data; {disposition}", **named}, octets))
        return self

    def file(self, name: str, octets: bytes, **headers: str) -> Form:
        """A payload."""
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return self.add(octets, f'name="payload"; filename="{quoted}"', **{"Content_Type": "text/plain", **headers})

    @property
    def octets(self) -> bytes:
        """All of it."""
        said = []
        for headers, octets in self.parts:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            said.append(f"--{self.boundary}\r\n{lines}\r\n".encode() + octets + b"\r\n")
        return b"".join(said) + f"--{self.boundary}--\r\n".encode()

    @property
    def headers(self) -> dict[str, str]:
        """What goes out beside it."""
        return {"Content-Type": f"multipart/form-data; boundary={self.boundary}"}


def digest(octets: bytes) -> str:
    """As `Repr-Digest` has it."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(octets).digest()).decode()}:"


def form(*payloads: tuple[str, bytes], digests: bool = False, **said: Any) -> Form:
    """A handover."""
    described = {"integration": "cases", "type": "case.note"} | said
    made = Form().add(json.dumps(described).encode(), 'name="description"', Content_Type="application/json")
    for name, octets in payloads:
        made.file(name, octets, **({"Repr_Digest": digest(octets)} if digests else {}))
    return made


async def hand(system: System, *payloads: tuple[str, bytes], key: str = "k-1", **said: Any) -> str:
    """Hand over; it must be taken. Gives the parcel's id."""
    made = form(*(payloads or (("note.txt", b"a note"),)), **said)
    headers = {"Idempotency-Key": key, **made.headers}
    status, answer = await system.ask("POST", "/v1/handovers", data=made.octets, headers=headers)
    assert status == 201, answer
    return str(answer["parcel"])


async def fetch(system: System, **wanted: Any) -> list[Any]:
    """Pull announcements; gives the deliveries."""
    status, said = await system.ask("POST", "/v1/handovers/pull", wanted)
    assert status == 200, said
    return list(said["deliveries"])


async def upload(system: System, octets: bytes, name: str = "large.bin") -> str:
    """A finished upload; gives its id."""
    metadata = (
        f"filename {base64.b64encode(name.encode()).decode()},filetype {base64.b64encode(b'text/plain').decode()}"
    )
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(octets)), "Upload-Metadata": metadata}
    headers["Content-Type"] = "application/offset+octet-stream"
    status, said, got = await system.full("POST", "/v1/uploads", data=octets, headers=headers)
    assert status == 201, said
    return got["Location"].rpartition("/")[2]


def offices() -> list[dict[str, Any]]:
    """Two offices that may receive cases: forms alone does the form work, both do many things."""
    served = {"birkelund-forms": ["form-work", "many"], "birkelund-mail": ["many"]}
    systems = [{"kind": "system", "id": n, "authority": AUTHORITY, "functions": f} for n, f in served.items()]
    return [*systems, *(agreement("cases", name, "receive") for name in served)]
