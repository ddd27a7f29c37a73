"""Writing text the way canonical XML does [XML-C14N §2.3], so that what we send needs no second canonicalisation.

Rule: a template escapes every value through `text` or `attribute`; both refuse what XML 1.0 cannot hold.
"""

from __future__ import annotations

import re
from typing import Final

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN: Final = re.compile(r"[ !#-%'-;=?-~]*")
"""Printable ASCII that is written as it is, in text and in attributes: nearly every value."""
_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_ATTRIBUTE: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)


def _check(value: str) -> str:
    if found := _ILLEGAL.search(value):
        raise ValueError(f"character U+{ord(found.group()):04X} cannot be written in XML")
    return value


def text(value: str) -> bytes:
    """``value`` as element content. Raises `ValueError` for a character XML 1.0 does not have."""
    if _PLAIN.fullmatch(value):
        return value.encode()
    return _check(value).translate(_TEXT).encode()


def attribute(value: str) -> bytes:
    """``value`` as attribute content, without the quotes. Raises `ValueError` as `text` does."""
    if _PLAIN.fullmatch(value):
        return value.encode()
    return _check(value).translate(_ATTRIBUTE).encode()
