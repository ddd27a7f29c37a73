"""init, add-system, add-person: from an empty folder to a node that systems can come to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from core.cli import talk
from core.cli.output import say
from core.clock import SystemClock
from core.errors import UsageError
from core.system import Name
from gateways.rest import starting
from gateways.rest.settings import Role

Authority = Annotated[
    str, typer.Option("--authority", help="The authority it belongs to, by business register number (CVR).")
]
Title = Annotated[str, typer.Option("--title", help="What people call it.")]
Identifier = Annotated[str, typer.Argument(help="Its id: lower case letters, digits, dot, underscore, dash.")]
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_OF_PEOPLE = (Role.OWNER.value, Role.OPERATOR.value, Role.AUDITOR.value, Role.ADMINISTRATOR.value)
"""Roles that people have; the others are those of programs."""


def _checked(name: str) -> str:
    try:
        return _NAME.validate_python(name)
    except ValidationError:
        raise UsageError(f"{name!r} is no id; use lower case letters, digits, dot, underscore and dash") from None


def _known(roles: list[str]) -> list[str]:
    for role in roles:
        if role not in _OF_PEOPLE:
            raise UsageError(f"{role!r} is no role; known: {', '.join(_OF_PEOPLE)}")
    return roles


def _say(made: list[Path]) -> None:
    for path in made:
        say(f"made {path}")


def init(
    folder: Annotated[Path, typer.Argument(help="The home to make.")],
    port: Annotated[int, typer.Option("--port", help="Where the REST gateway listens.")] = 8444,
    host: Annotated[
        list[str] | None, typer.Option("--host", help="A name or address of this machine, for its certificate.")
    ] = None,
) -> None:
    """Make a home: settings, keys, and a REST gateway with a certificate that signs itself."""
    name = _checked(folder.resolve().name.lower())
    hosts = (*starting.HOSTS, *(host or ()))
    _say(starting.make_home(folder, SystemClock().now(), name=name, port=port, hosts=hosts))
    say(
        f"next: stafet --home {folder} add-system, write what is moved into {folder}/config, then `stafet --home {folder} up`"
    )


def add_system(
    name: Identifier,
    authority: Authority,
    title: Title = "",
    function: Annotated[
        list[str] | None, typer.Option("--function", help="A function that it serves; may be given several times.")
    ] = None,
) -> None:
    """Make a system: its document, and a key with a certificate that it connects with."""
    mine = talk.settings()
    made = starting.make_system(
        mine.home,
        mine.config_path,
        SystemClock().now(),
        name=_checked(name),
        authority=authority,
        title=title,
        functions=[_checked(one) for one in function or ()],
    )
    _say(made)
    say(f"give {made[0]} to the system; it is the only copy of its key. `stafet apply` puts the rest in force.")


def add_person(
    name: Identifier,
    authority: Authority,
    role: Annotated[
        list[str], typer.Option("--role", help="owner, operator, auditor or administrator; may be given several times.")
    ],
    title: Title = "",
) -> None:
    """Make a client for people: its document with roles, and a key with a certificate."""
    mine = talk.settings()
    made = starting.make_person(
        mine.home,
        mine.config_path,
        SystemClock().now(),
        name=_checked(name),
        authority=authority,
        title=title,
        roles=_known(role),
    )
    _say(made)
