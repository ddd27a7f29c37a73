"""`stafet certificates`: what is in use and ends, the next to end first; without a running node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from conformance.pki import Authority
from core.clock import DAY, SystemClock, from_datetime, to_datetime
from core.config import Configuration
from core.radar import Watched, certificate
from core.runtime import Catalogue
from core.trust import Identity, fingerprint, store_identity
from tests.core.cli.conftest import Call
from tests.core.nodes import Paper

NOW = SystemClock().now()


class Sealed(Paper):
    """Paper with a seal."""

    class Settings(BaseModel):
        """Which one."""

        model_config = ConfigDict(extra="forbid")
        seal: str = ""

    @classmethod
    def certificates(
        cls, configuration: Configuration, settings: Any, identity: Callable[[str], Identity]
    ) -> Iterable[Watched]:
        """The seal, and a neighbour's that ends sooner."""
        yield certificate("own", "signing", settings.seal, identity(settings.seal).certificate)
        end = NOW + 3 * DAY + DAY // 2
        yield Watched("neighbour", "anchor", "certificates/[old].pem", "CN=Neighbour", "ab" * 32, NOW - DAY, end)


@pytest.fixture
def sealed(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A home whose gateway has a seal, applied."""
    monkeypatch.setattr("core.cli.certificates.Catalogue", lambda: Catalogue({"paper": Sealed}))
    assert call("apply", "--yes").code == 0
    node = yaml.safe_load((home / "node.yaml").read_text())
    (home / "node.yaml").write_text(yaml.safe_dump({**node, "gateways": {"paper": {"seal": "seal"}, "unknown": {}}}))
    made = Authority("Fictitious CA", to_datetime(NOW)).issue("Fictitious Town", "signing")
    store_identity(home / "keys", "seal", made.key, [made.certificate])
    return call


def test_what_is_in_use_is_listed_the_next_to_end_first(sealed: Call, home: Path):
    """With days left, where it is used, and whose it is; scripts get the fingerprint too; never a key."""
    result = sealed("certificates")
    assert result.code == 0
    heads, first, second = (line for line in result.out.splitlines() if line.strip() and "in use" not in line)
    assert heads.split() == ["days", "left", "until", "owner", "used", "for", "name", "subject"]
    assert first.split()[0] == "3"
    assert first.split()[2:] == ["neighbour", "anchor", "certificates/[old].pem", "CN=Neighbour"]
    assert second.split()[0] in ("824", "825")
    assert "CN=Fictitious Town" in second
    found = json.loads(sealed("certificates", "--json").out)
    assert [item["owner"] for item in found] == ["neighbour", "own"]
    assert found[1] | {"days_left": 825, "until": ""} == {
        "owner": "own",
        "use": "signing",
        "name": "seal",
        "subject": "CN=Fictitious Town,O=Stafet demonstration,C=DK",
        "sha256": fingerprint(_certificate(home)),
        "until": "",
        "days_left": 825,
    }
    assert found[1]["until"][:10] == _certificate(home).not_valid_after_utc.date().isoformat()
    assert found[1]["days_left"] == (from_datetime(_certificate(home).not_valid_after_utc) - SystemClock().now()) // DAY
    assert "PRIVATE" not in result.out


def _certificate(home: Path) -> Any:
    from core.trust import load_identity

    return load_identity(home / "keys", "seal").certificate


def test_a_key_that_is_gone_is_named(sealed: Call, home: Path):
    """With what to do."""
    (home / "keys" / "seal.pem").unlink()
    result = sealed("certificates")
    assert (result.code, "no such key; import it with" in result.err) == (5, True)


def test_a_home_without_gateways_has_none(applied: Call):
    """And one without a ledger says so."""
    assert "certificates in use: none" in applied("certificates").out
    assert json.loads(applied("certificates", "--json").out) == []


def test_a_home_without_a_ledger_is_told_to_start(call: Call):
    """There is no configuration yet."""
    result = call("certificates")
    assert (result.code, "has no ledger yet" in result.err) == (2, True)
