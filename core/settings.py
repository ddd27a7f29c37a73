"""Node-local settings: ``node.yaml``, what one machine says of itself and no version holds.

Rules:

1. Paths are relative to the file's folder, so that a home folder can be moved and copied whole.
2. Plain YAML by the rules of `core.documents`. Unknown fields are refused, and so is a setting that is not safe, by its name.
3. A secret is named, not written: ``${NAME}`` is taken from the environment when it is needed, and must be there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from core.documents import read_value
from core.errors import ConfigError
from core.limits import (
    ACCESS_KEPT,
    DOCUMENT_SIZE,
    FREE_SPACE_RESERVE,
    IN_FLIGHT,
    MAIL_QUIET,
    STATISTIC_KEPT,
    WAITING_IN_ALL,
)
from core.system import Name

FILE = "node.yaml"
_NAMED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Operations(_Section):
    """Where health and metrics are served: ``/live``, ``/ready``, ``/metrics``. Port 0 = not served."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0


class Log(_Section):
    """How the node talks."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    style: Literal["json", "console", "auto"] = "auto"


_ADDRESS = r"^[^@\s<>,;:\x00-\x1f]+@[^@\s<>,;:\x00-\x1f]+$"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
Address = Annotated[str, StringConstraints(pattern=_ADDRESS, max_length=254)]


class Mail(_Section):
    """Where alarms are mailed to."""

    host: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """The mail server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """``none`` only for a server on this machine."""
    trust: Path | None = None
    """A file with the authorities that the server's certificate is under; left out = those of the machine."""
    user: str = ""
    """Who we sign in as; left out = we do not. ``${NAME}`` is taken from the environment."""
    password: Annotated[str, StringConstraints(pattern=r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\})?$")] = ""
    """``${NAME}``: taken from the environment, never written here."""
    sender: Address = Field(alias="from")
    """Who the mail is from."""
    to: Annotated[tuple[Address, ...], Field(min_length=1, max_length=20)]
    """A shared mailbox, or several."""
    quiet: Annotated[float, Field(ge=0, le=86_400)] = MAIL_QUIET / 1_000_000
    """Seconds between two mails about the same kind of alarm; what comes meanwhile is listed in the next."""

    @model_validator(mode="after")
    def _is_safe(self) -> Mail:
        if self.tls == "none" and self.host not in _LOOPBACK:
            raise ValueError("tls: none is for a server on this machine alone; choose starttls or tls")
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password come together")
        return self


class Keep(_Section):
    """How long what belongs to no integration is kept."""

    access_days: Annotated[int, Field(ge=1, le=36_500)] = ACCESS_KEPT // 86_400_000_000
    """Days for who looked at what."""
    statistics_days: Annotated[int, Field(ge=1, le=36_500)] = STATISTIC_KEPT // 86_400_000_000
    """Days for the figures of use."""


class NodeSettings(_Section):
    """The whole of ``node.yaml``."""

    node: Name = "node"
    """The node's name, in the trace and in logs."""
    data: Path = Path("data")
    """Ledger (SQLite) and payload store; its own folder, readable by its owner."""
    keys: Path = Path("keys")
    """Private keys and key-encryption keys; never inside ``data``, so that a backup never holds them."""
    config: Path = Path("config")
    """The configuration directory that `stafet apply` reads when none is named."""
    database: str = ""
    """SQLAlchemy URL; left out = SQLite in ``data``. ``${NAME}`` is taken from the environment."""
    store: Path | None = None
    """The payload store, when several nodes share one; left out = in ``data``."""
    gateways: dict[str, dict[str, Any]] = {}
    """Per gateway its node-local settings, such as where it listens. A gateway named here is active."""
    operations: Operations = Operations()
    log: Log = Log()
    mail: Mail | None = None
    """Where alarms are mailed to; left out = nowhere."""
    keep: Keep = Keep()
    free_space_reserve: Annotated[int, Field(ge=0)] = FREE_SPACE_RESERVE
    """Octets below which new parcels are refused."""
    in_flight: Annotated[int, Field(ge=1, le=1024)] = IN_FLIGHT
    """Deliveries this node attempts at once."""
    waiting_in_all: Annotated[int, Field(ge=1)] = WAITING_IN_ALL
    """Open deliveries at which more parcels are refused for a while."""
    second_person: bool = False
    """Whether a change of high risk, as `stafet plan` says it, is applied only when somebody else approves it."""
    home: Path = Field(default=Path(), exclude=True)

    def path(self, value: Path) -> Path:
        """A path of the settings, made absolute."""
        return (self.home / value).resolve()

    @property
    def data_path(self) -> Path:
        """The data directory."""
        return self.path(self.data)

    @property
    def keys_path(self) -> Path:
        """The key folder."""
        return self.path(self.keys)

    @property
    def config_path(self) -> Path:
        """The configuration directory."""
        return self.path(self.config)

    @property
    def store_path(self) -> Path:
        """The payload store."""
        return self.path(self.store) if self.store else self.data_path / "store"

    @property
    def database_url(self) -> str:
        """The ledger's URL with the environment's values filled in. Raises `ConfigError` naming one that is not there."""
        if not self.database:
            return f"sqlite:///{self.data_path / 'ledger.db'}"
        url = self.from_environment("database", self.database)
        if url.startswith("sqlite:///"):
            return f"sqlite:///{self.path(Path(url.removeprefix('sqlite:///')))}"
        try:
            make_url(url)
        except (ArgumentError, ValueError):
            raise ConfigError(str(self.home / FILE), "database", "is no database URL") from None
        return url

    def from_environment(self, field: str, value: str) -> str:
        """A setting with every ``${NAME}`` in it filled in. Raises `ConfigError` naming the field and what is not there."""

        def known(named: re.Match[str]) -> str:
            found = os.environ.get(named[1])
            if found is None:
                remedy = (
                    "set it, or write the URL without it" if field == "database" else "set it before the node starts"
                )
                raise ConfigError(str(self.home / FILE), field, f"the environment has no {named[1]}", remedy)
            return found

        return _NAMED.sub(known, value)

    @property
    def socket_path(self) -> Path:
        """The node's local socket."""
        return self.data_path / "node.sock"

    @property
    def lock_path(self) -> Path:
        """The node's lock file."""
        return self.data_path / "node.lock"


def load_settings(home: Path) -> NodeSettings:
    """Read ``home/node.yaml``. Raises `ConfigError` naming the field, or the file and line of what cannot be read."""
    path = home / FILE
    try:
        with path.open("rb") as file:
            octets = file.read(DOCUMENT_SIZE + 1)
    except FileNotFoundError:
        raise ConfigError(str(path), "", "is not there", "name a home folder with --home") from None
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}") from None
    if len(octets) > DOCUMENT_SIZE:
        raise ConfigError(str(path), "", f"larger than {DOCUMENT_SIZE} octets")
    value = read_value(octets, str(path))
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError(str(path), "", "is no mapping")
    if "home" in value:
        raise ConfigError(str(path), "home", "is the folder of this file; it cannot be set")
    try:
        settings = NodeSettings.model_validate({**value, "home": home.resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(str(path), ".".join(map(str, first["loc"])), first["msg"]) from None
    for name in ("data", "store", "keys", "config"):
        try:
            getattr(settings, f"{name}_path")
        except (ValueError, RuntimeError, OSError):
            raise ConfigError(str(path), name, "is no path that leads anywhere") from None
    for name, folder in (("data", settings.data_path), ("store", settings.store_path)):
        if settings.keys_path.is_relative_to(folder):
            cause = f"lies inside {name}, where every backup would take it"
            raise ConfigError(str(path), "keys", cause, f"choose a folder outside {name}")
    return settings
