"""What the tests of assertions share: headers signed as they are wrong, and requests read without the access point's reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from lxml import etree

from accesspoint import names, outbound
from accesspoint.ebms import user_message_xml
from tests.gateways.as4.running import Request


@contextmanager
def header_changed(monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """While it lasts, headers are signed as ``change`` makes them."""
    with monkeypatch.context() as patched:
        patched.setattr(outbound, "user_message_xml", lambda message, name: change(user_message_xml(message, name)))
        yield


def soap_part(request: Request) -> bytes:
    """The envelope of a request, as it came."""
    return request.body[request.body.index(b"<S12:Envelope") : request.body.index(b"</S12:Envelope>") + 15]


def envelope(request: Request) -> etree._Element:
    """The envelope of a request."""
    return etree.fromstring(soap_part(request))


def texts(root: etree._Element, local: str) -> list[str | None]:
    """The texts of every ebMS element of that name."""
    return [element.text for element in root.iter(names.tag(names.EB, local))]


def part_properties(root: etree._Element) -> list[dict[str, str]]:
    """The part properties of each PartInfo."""
    infos = root.iter(names.tag(names.EB, "PartInfo"))
    return [{e.get("name"): e.text for e in info.iter(names.tag(names.EB, "Property"))} for info in infos]


def content_ids(request: Request) -> list[str]:
    """The Content-IDs of a request's MIME parts after the SOAP part."""
    return [found.decode() for found in re.findall(rb"Content-ID: <([^>]+)>", request.body)][1:]


def algorithms(root: etree._Element) -> dict[str, set[str]]:
    """Every algorithm that an envelope names, by the element that names it."""
    found: dict[str, set[str]] = {}
    for element in root.iter():
        if isinstance(element.tag, str) and element.get("Algorithm"):
            parent = element.getparent()
            inside = etree.QName(parent).localname if parent is not None else ""
            found.setdefault(f"{inside}/{etree.QName(element).localname}", set()).add(element.get("Algorithm"))
    return found
