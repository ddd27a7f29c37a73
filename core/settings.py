"""Node-local settings: ``node.yaml``, what one machine says of itself and no version holds.

Rule: paths are relative to the file's folder, so that a home folder can be moved and copied whole. Unknown fields are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError
from core.limits import FREE_SPACE_RESERVE, IN_FLIGHT
from core.system import Name

FILE = "node.yaml"


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
    free_space_reserve: Annotated[int, Field(ge=0)] = FREE_SPACE_RESERVE
    """Octets below which new parcels are refused."""
    in_flight: Annotated[int, Field(ge=1, le=1024)] = IN_FLIGHT
    """Deliveries this node attempts at once."""
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
        """The ledger's URL with the environment's values filled in."""
        return os.path.expandvars(self.database) if self.database else f"sqlite:///{self.data_path / 'ledger.db'}"

    @property
    def socket_path(self) -> Path:
        """The node's local socket."""
        return self.data_path / "node.sock"

    @property
    def lock_path(self) -> Path:
        """The node's lock file."""
        return self.data_path / "node.lock"


def load_settings(home: Path) -> NodeSettings:
    """Read ``home/node.yaml``. Raises `ConfigError` naming the field."""
    path = home / FILE
    try:
        value = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(str(path), "", "is not there", "name a home folder with --home") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"is no plain YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise ConfigError(str(path), "", "is no mapping")
    try:
        settings = NodeSettings.model_validate({**value, "home": home.resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(str(path), ".".join(map(str, first["loc"])), first["msg"]) from None
    if settings.keys_path.is_relative_to(settings.data_path):
        cause = "lies inside data, where every backup would take it"
        raise ConfigError(str(path), "keys", cause, "choose a folder outside data")
    return settings
