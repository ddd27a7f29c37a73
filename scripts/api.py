"""docs/reference/openapi.json: the document that every node serves, made from the same declarations, of a node nowhere."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from core.config import EMPTY

URL: Final = "https://node.example"


def document_text() -> str:
    """The whole document, in lines, so that a change is seen."""
    from gateways.rest.adapter import RestGateway, about, served
    from gateways.rest.gate import Gate
    from gateways.rest.openapi import document

    gate = Gate(cast(Any, None), lambda: EMPTY)
    endpoints = [*served(gate), about(cast(Any, RestGateway.openapi))]
    made = document(endpoints, url=URL, version="0.1.0")
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"
