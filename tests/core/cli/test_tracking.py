"""find, failures, statistics, looked, retention: as people and scripts ask."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from sqlalchemy import create_engine

from core.cli.tracking import moment
from core.clock import DAY, HOUR, SystemClock
from core.errors import UsageError
from core.integration import Integration
from core.ledger import looking, statistics
from core.ledger.looking import Look
from core.ledger.trace import Chain, Entry, append
from core.parcel import new_id
from core.retention import STATEMENT
from core.settings import NodeSettings
from tests.core.cli.conftest import Call
from tests.core.making import NOW


@pytest.fixture
def sent(applied: Call, tmp_path: Path) -> Call:
    """Two parcels for a receiver that pulls."""
    note = tmp_path / "note.txt"
    note.write_text("remember")
    for sender, key in (("sender", "key-1"), ("sender", "key-2")):
        words = ("--from", sender, "--integration", "notes", "--key", key, "--correlation-id", f"case-{key}")
        assert applied("send", str(note), *words).code == 0
    return applied


def ledger(home: Path) -> object:
    """The node's ledger, to put in what no command makes."""
    return create_engine(f"sqlite:///{home / 'data' / 'ledger.db'}")


@pytest.mark.requirement("R75", "R130")
def test_parcels_are_found_by_any_side_and_name(sent: Call):
    """As a table for people, as one document for scripts, page by page."""
    found = json.loads(sent("find", "--sender", "sender", "--since", "1h", "--json").out)
    assert [one["type"] for one in found["items"]] == ["note", "note"]
    assert found["items"][0]["deliveries"][0]["receiver"] == "receiver"
    newest, oldest = (one["parcel_id"] for one in found["items"])
    for name in ("key-1", "case-key-1", oldest):
        (one,) = json.loads(sent("find", name, "--json").out)["items"]
        assert one["parcel_id"] == oldest
    shown = sent("find", "--limit", "1", "--receiver", "receiver", "--state", "ready,held")
    assert newest in shown.out
    assert oldest not in shown.out
    assert f"there is more: --before {newest}" in shown.out
    assert oldest in sent("find", "--before", newest).out
    assert "parcels: none" in sent("find", "--until", "2001-01-01").out


@pytest.mark.requirement("R79", "R131")
def test_failures_are_listed(sent: Call, home: Path):
    """With why; nothing is there when all is well."""
    assert "failures: none" in sent("failures").out
    with ledger(home).begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql(
            "UPDATE delivery SET state = 'failed', last_code = 'wet', last_reason = 'in the rain'"
        )
    assert "wet in the rain" in sent("failures", "--since", "1h").out
    assert len(json.loads(sent("failures", "--state", "failed", "--json").out)["items"]) == 2
    assert sent("failures", "--state", "delivered").code == 2


@pytest.mark.requirement("R76", "R133")
def test_figures_are_shown_and_rules_nobody_uses(sent: Call, home: Path):
    """By what was asked; the hour as people read it."""
    hour = SystemClock().now() // HOUR * HOUR
    with ledger(home).begin() as connection:  # type: ignore[attr-defined]
        statistics.replace(connection, {at: statistics.compute(connection, at) for at in (hour - HOUR, hour)})
    (one,) = json.loads(sent("statistics", "--by", "sender", "--json").out)["sums"]
    assert one == {"sender": "sender", "parcels": 2, "octets": 16}
    assert "to-receiver" in sent("statistics", "--by", "rule", "--sender", "sender").out
    assert ":00" in sent("statistics", "--by", "hour,integration").out
    assert "unused: none" in sent("statistics", "--by", "rule", "--unused").out
    later = sent("statistics", "--by", "rule", "--since", "2001-01-01", "--until", "2001-01-02", "--json", "--unused")
    assert json.loads(later.out)["sums"] == []
    assert sent("statistics", "--by", "colour").code == 2


@pytest.mark.requirement("R81", "R132")
def test_who_looked_is_shown(sent: Call, home: Path):
    """By who and by what."""
    now = SystemClock().now()
    with ledger(home).begin() as connection:  # type: ignore[attr-defined]
        rows = [Look(new_id(now), now, f"clerk-{n}", "birkelund", "read", f"p-{n}") for n in (1, 2)]
        looking.add_many(connection, rows)
    (one,) = json.loads(sent("looked", "--who", "clerk-1", "--json").out)["items"]
    assert (one["object"], one["action"], one["outcome"]) == ("p-1", "read", "ok")
    assert "clerk-2" in sent("looked", "--object", "p-2", "--since", "1d").out
    assert "looked: none" in sent("looked", "--since", "2100-01-01").out


@pytest.mark.requirement("R106", "R129")
def test_what_was_deleted_is_shown(sent: Call, home: Path):
    """A line for each integration and each other thing, as the trace has it."""
    facts = {"parcels": {"notes": [7, NOW - 90 * DAY]}, "looks": [3, NOW - 90 * DAY]}
    with ledger(home).begin() as connection:  # type: ignore[attr-defined]
        rows, _, _ = Chain("test-node.1").rows([Entry(STATEMENT, NOW, "retention", facts)])
        append(connection, rows)
    shown = sent("retention").out
    assert "parcels of notes" in shown
    assert "2025-12-01 13:00:00.000" in shown
    (line,) = json.loads(sent("retention", "--json").out)
    assert (line["parcels"], line["looks"]) == ({"notes": [7, NOW - 90 * DAY]}, [3, NOW - 90 * DAY])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("find", "--since", "yesterday"), "--since: 'yesterday' is no time; write 7d"),
        (("find", "--state", "lost"), "--state: 'lost' is none of ready"),
        (("find", "a\x01b"), "reference: holds a character"),
        (("looked", "--who", "a\x01b"), "who: holds a character"),
        (("find", "--since", "1h", "--until", "2h"), "until: does not lie after since"),
    ],
)
def test_a_wrong_question_is_one_sentence(applied: Call, words: tuple[str, ...], said: str):
    """It names what was wrong."""
    result = applied(*words)
    assert result.code == 2
    assert said in result.err


def test_times_as_people_type_them():
    """Ago, a date, a time: Danish unless it says otherwise."""
    assert moment("since", "", NOW) is None
    assert [moment("since", text, NOW) for text in ("2d", "3h", "1m")] == [
        NOW - 2 * DAY,
        NOW - 3 * HOUR,
        NOW - HOUR // 60,
    ]
    assert moment("since", "2026-03-01T13:00", 0) == moment("since", "2026-03-01T12:00Z", 0) == NOW
    assert moment("since", "2026-03-01", 0) == NOW - 13 * HOUR
    for wrong in ("1w", "0001-01-01T00:00+99:00", "x"):
        with pytest.raises(UsageError, match=r"^--until: "):
            moment("until", wrong, NOW)


# --- the pages about it -----------------------------------------------------------------------------------------------

PAGES = Path(__file__).parents[3] / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)


def test_every_command_of_the_pages_can_be_typed(sent: Call):
    """With names put in the place of the capitals, each does what it is asked."""
    (parcel, *_) = json.loads(sent("find", "--json").out)["items"]
    names = {"PARCEL": parcel["parcel_id"], "SENDER": "sender", "RECEIVER": "receiver", "INTEGRATION": "notes"}
    typed = [block for page in ("find-a-parcel.md", "alarms-by-mail.md") for block in blocks(page, "sh")]
    lines = [line.split() for line in "".join(typed).splitlines() if line.startswith("stafet ")]  # others ask over REST
    tried = [[names.get(word, word) for word in words[1:]] for words in lines]
    assert len(tried) > 12
    for words in tried:
        result = sent(*words)
        nothing_held = words[:1] == ["resend"] and "nothing to send again" in result.err
        assert result.code == 0 or nothing_held, (words, result.err)


def test_the_settings_and_documents_of_the_pages_are_right():
    """As a node and as `stafet check` read them."""
    (mail,) = blocks("alarms-by-mail.md", "yaml")
    assert NodeSettings.model_validate(yaml.safe_load(mail)).mail is not None
    (document,) = blocks("find-a-parcel.md", "yaml")
    assert len(Integration.model_validate(yaml.safe_load(document)).receipts) == 2
