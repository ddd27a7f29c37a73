"""certificates: what is in use and ends some day, with where it is used and how long it lasts."""

from __future__ import annotations

from functools import cache

import typer

from core.cli import talk
from core.cli.output import Json, say_json, table
from core.clock import SystemClock, local, rfc3339
from core.gateway import watched
from core.radar import Watched, days_left
from core.runtime import Catalogue
from core.trust import Identity, load_identity


def _in_use() -> list[Watched]:
    """Of every active gateway, under the configuration that is in force."""
    mine, catalogue = talk.settings(), Catalogue()
    with talk.looking() as connection:
        configuration = talk.stored(connection, catalogue)

    @cache
    def identity(name: str) -> Identity:
        return load_identity(mine.keys_path, name)

    active = [(catalogue.gateways[n], values) for n, values in mine.gateways.items() if n in catalogue.gateways]
    return [item for gateway, values in active for item in watched(gateway, configuration, values, identity)]


def certificates(as_json: Json = False) -> None:
    """List our keys, the partners' certificates and revocation lists that are in use: the next to end first."""
    now = SystemClock().now()
    found = sorted(_in_use(), key=lambda item: (item.end, item.owner, item.use, item.name))
    if as_json:
        say_json(
            [
                {
                    "owner": item.owner,
                    "use": item.use,
                    "name": item.name,
                    "subject": item.subject,
                    "sha256": item.fingerprint,
                    "until": rfc3339(item.end),
                    "days_left": days_left(item, now),
                }
                for item in found
            ]
        )
        return
    rows = [(days_left(i, now), local(i.end)[:10], i.owner, i.use, i.name, i.subject) for i in found]
    table("certificates in use", ("days left", "until", "owner", "used for", "name", "subject"), rows)


def add_to(app: typer.Typer) -> None:
    """Register this module's command."""
    app.command()(certificates)
