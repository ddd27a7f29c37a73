"""`stafet ping PARTNER`: the test message that every AS4 product answers and nobody delivers [eD1.15 §1.4.2.4]."""

from __future__ import annotations

from typing import Annotated

import typer

from core.cli import talk
from core.cli.output import Json, say, say_json
from core.errors import Refused


def command(
    partner: Annotated[str, typer.Argument(help="The id of an as4.partner document.")], as_json: Json = False
) -> None:
    """Send a partner the test message, and say what came back: address, TLS, parties, certificates and clocks in one go."""
    said = talk.do("as4.ping", {"partner": partner}, "pinging")
    if as_json:
        say_json(said)
    elif "receipt" in said:
        signer = f", signed by {said['signed by']}" if "signed by" in said else ""
        say(f"{partner} at {said['url']} answers: receipt {said['receipt']}{signer}")
    else:
        say(f"{partner} at {said['url']}: {said['code']}: {said['reason']}")
        say(f"`stafet explain {said['code']}` says more; they know it as {said['message']}")
    if "receipt" not in said:
        raise typer.Exit(Refused.exit_code)
