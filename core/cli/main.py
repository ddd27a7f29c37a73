"""The root of the command line: options for all, the commands' modules, and what other packages add."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from core import log
from core.cli import (
    approving,
    certificates,
    configuration,
    journey,
    keeping,
    keys,
    parcels,
    publishing,
    replaying,
    requests,
    sealing,
    talk,
    tracking,
    values,
)
from core.cli.output import ERR
from core.errors import Fatal, StafetError
from core.node import Node
from core.process import serve

app = typer.Typer(
    name="stafet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Moves messages and files between systems, and never drops one.",
)
_MODULES = (
    configuration,
    approving,
    publishing,
    replaying,
    parcels,
    journey,
    tracking,
    keeping,
    certificates,
    sealing,
    values,
)
for module in _MODULES:
    module.add_to(app)
app.add_typer(keys.app, name="keys")
app.add_typer(requests.app, name="requests")
app.command()(requests.agreements)


@app.callback()
def _root(
    home: Annotated[
        Path, typer.Option(help="The node's home folder, where node.yaml is.", envvar="STAFET_HOME")
    ] = Path(),
) -> None:
    """Options before the command."""
    talk.set_home(home)


@app.command()
def up() -> None:
    """Run the node until SIGTERM or Ctrl-C."""
    settings = talk.settings()
    log.configure(settings.log.level, settings.log.style)

    def ready(node: Node) -> None:
        version = node.runtime.configuration.number
        ERR.print(
            f"{settings.node} is up: configuration version {version}, gateways {', '.join(node.gateways) or 'none'}"
        )

    serve(settings, ready)


def whole() -> typer.Typer:
    """The application with the commands of other packages, found by entry point: a function, or a Typer application."""
    taken = {command.name for command in app.registered_commands}
    for point in entry_points(group="stafet.commands"):
        if point.name in taken:
            continue
        try:
            found: Any = point.load()
        except ImportError as error:
            ERR.print(f"the command {point.name!r} cannot be loaded: {error}", markup=False)
            continue
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=point.name)
        else:
            app.command(point.name)(found)
    return app


def main() -> None:
    """The entry point of ``stafet``. Ends the process with the exit code of `core.errors`."""
    warnings.filterwarnings("ignore", message="SQLite .* has the WAL-reset race")
    command = whole()
    try:
        ending = command(standalone_mode=False)  # an exit code where a command ended with one
        sys.exit(ending if isinstance(ending, int) else 0)
    except typer.Abort:
        sys.exit(130)
    except StafetError as error:
        ERR.print(str(error), markup=False)
        sys.exit(error.exit_code)
    except Exception as error:  # what click raises shares no base we may name
        usage = getattr(error, "format_message", None)  # what click raises for wrong options
        if usage is None:
            if isinstance(error, OSError):
                ERR.print(f"{error.filename or 'system'}: {error.strerror or error}", markup=False)
                sys.exit(Fatal.exit_code)
            raise
        ERR.print(f"{usage()} Try --help.", markup=False)
        sys.exit(2)
