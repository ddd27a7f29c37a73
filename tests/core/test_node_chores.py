"""What a whole node does by itself about receipts, figures, mail and retention."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from core import limits
from core.clock import DAY, SECOND
from core.errors import ConfigError
from core.gateway import Outcome
from core.ledger import statistics
from core.ledger.alarms import open_alarms
from core.ledger.engine import NodeLock
from core.ledger.statistics import Asked
from core.local import ask
from core.schedule import RetryPlan
from tests.core.desk.test_mailing import TO, Box, serving
from tests.core.nodes import DOCUMENTS, SENDER, Paper, giving, make_node, make_settings, running
from tests.core.test_node import states, until


def expecting(folder: Path, **said: object) -> None:
    """The documents, with this said of the integration."""
    documents = [d | said if d["kind"] == "integration" else d for d in DOCUMENTS]
    (folder / "config" / "all.yaml").write_text(yaml.safe_dump_all(documents))


@pytest.mark.requirement("R71", "R76", "R79", "R131")
async def test_a_receipt_that_does_not_come_reaches_the_shared_mailbox(
    tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch
):
    """From the deadline in a document, over the alarm, to the mail; and the figures have counted it."""
    for name in ("OVERDUE_LOOK", "MAIL_LOOK", "STATISTIC_LOOK"):
        monkeypatch.setattr(limits, name, SECOND // 10)
    box = Box()
    with serving(box) as port:
        mail = {"host": "localhost", "port": port, "tls": "none", "from": "stafet@birkelund.example", "to": [TO]}
        settings = make_settings(tmp_path / "home", ledger_url, mail=mail)
        expecting(tmp_path / "home", receipts=[{"level": "business", "system": "egedal-journal", "within": 1}])
        async with running(make_node(settings)) as node:
            gateway = node.gateways["paper"]
            assert isinstance(gateway, Paper)
            gateway.plan = RetryPlan(first=DAY, ceiling=DAY)
            gateway.act = giving(Outcome(sent=True))
            letter = tmp_path / "letter.txt"
            letter.write_text("Dear neighbour,")
            said = {"paths": [str(letter)], "sender": SENDER, "integration": "letters"}
            await asyncio.to_thread(ask, settings.socket_path, "send", said)
            await until(lambda: states(node) == {"awaiting": 1})
            await until(lambda: [a.code for a in node.runtime.read_now(open_alarms)] == ["no-receipt"])
            await until(lambda: len(box.mails) == 1)
            asked = Asked(("state",), 0, 2**62, {})
            await until(lambda: bool(node.runtime.read_now(statistics.sums, asked, 10)))
    assert "egedal-journal: no business receipt for a parcel of letters" in str(box.mails[0].get_content())


def test_a_node_whose_mail_password_is_nowhere_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The setting and the name are said, and the node's lock is not kept."""
    monkeypatch.delenv("MAIL_WORD", raising=False)
    mail = {"host": "localhost", "user": "stafet", "password": "${MAIL_WORD}", "from": "a@b.example", "to": [TO]}
    settings = make_settings(tmp_path / "home", mail=mail)
    with pytest.raises(ConfigError, match=r"mail\.password: the environment has no MAIL_WORD"):
        make_node(settings)
    settings.data_path.mkdir(parents=True, exist_ok=True)
    NodeLock(settings.lock_path).release()
