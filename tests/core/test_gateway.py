"""Gateways are found by entry point, a stranger's the way ours is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import BaseModel

from core import gateway
from core.config import EMPTY
from core.errors import ConfigError
from core.gateway import Gateway, Outcome, load_gateways, watched
from core.radar import Watched


def point(name: str, value: str) -> EntryPoint:
    """An entry point as an installed package has it."""
    return EntryPoint(name, value, "stafet.gateways")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that these gateways and no others are installed."""

    def install(*points: EntryPoint) -> None:
        def entry_points(*, group: str) -> tuple[EntryPoint, ...]:
            assert group == "stafet.gateways"
            return points

        monkeypatch.setattr(gateway, "entry_points", entry_points)

    return install


@pytest.mark.requirement("R96")
def test_installed_gateways_are_found_by_name(installed: Callable[..., None]):
    """Whatever the entry point names is loaded, whoever made it; none installed is none found."""
    installed(point("paper", "core.gateway:Outcome"), point("pigeon", "core.gateway:Answered"))
    assert load_gateways() == {"paper": Outcome, "pigeon": gateway.Answered}
    installed()
    assert load_gateways() == {}


@pytest.mark.parametrize(
    "value", ["nothing_of_that_name:Gateway", "core.gateway:NoSuchClass", "broken_gateway:Gateway"]
)
def test_a_gateway_that_cannot_be_loaded_is_named(
    installed: Callable[..., None],
    value: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
):
    """A missing module, a missing class and a module that fails while it is imported are one documented error."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "broken_gateway.py").write_text("raise RuntimeError('a library is too old')\n")
    monkeypatch.syspath_prepend(folder)
    installed(point("paper", value))
    with pytest.raises(ConfigError, match=r"gateway paper.*cannot be loaded"):
        load_gateways()


def test_an_outcome_says_nothing_unless_told():
    """The default is a failure that is tried again: nothing is claimed that a gateway did not say."""
    outcome = Outcome()
    assert (outcome.receipt, outcome.sent, outcome.refused, outcome.retry_after) == (None, False, False, None)


def test_a_gateway_lists_what_ends_or_leaves_it_out():
    """It is given its settings as a model, whatever node.yaml held; one without the method has nothing."""

    class Colours(BaseModel):
        colour: str = "white"

    class Silent:
        """A stranger's gateway of before."""

        Settings = Colours

    class Listing(Silent):
        """One that says what ends."""

        @classmethod
        def certificates(cls, configuration: Any, settings: Any, identity: Any) -> Iterator[Watched]:
            yield Watched(identity("owner"), settings.colour, str(configuration.number), "", "", 0, 1)

    assert watched(Silent, EMPTY, {}, lambda name: None) == []  # type: ignore[arg-type, return-value]
    found = watched(Listing, EMPTY, {"colour": "red"}, lambda name: name)  # type: ignore[arg-type, return-value]
    assert found == [Watched("owner", "red", "0", "", "", 0, 1)]
    assert list(Gateway.certificates(EMPTY, None, lambda name: name)) == []  # type: ignore[arg-type, return-value]
