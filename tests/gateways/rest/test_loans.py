"""What systems say of loans: the same words for subscriptions and handovers, and codes that are the receiver's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateways.rest.loans import GivenBack, Pull, Rejected
from tests.gateways.rest.handing import fetch, hand, handing
from tests.gateways.rest.running import event, place


def test_a_receiver_gives_codes_of_its_own():
    """Words for programs; sending on is said by sending on."""
    assert Rejected(leases=["x"], code="no-such.case_1").code == "no-such.case_1"
    for code in ("", "a b", "x" * 65, "é", "misdelivered"):
        with pytest.raises(ValidationError):
            Rejected(leases=["x"], code=code)


def test_times_and_numbers_are_bounded():
    """A pull waits and lends so long, and so many."""
    for wrong in ({"max": 0}, {"max": 65}, {"wait": 51}, {"lease": 0}, {"lease": 43_201}):
        with pytest.raises(ValidationError):
            Pull.model_validate(wrong)
    with pytest.raises(ValidationError):
        GivenBack(leases=["x"], delay=-1)
    with pytest.raises(ValidationError):
        GivenBack(leases=[], delay=0)


async def test_a_token_counts_where_it_was_lent(tmp_path: Path):
    """A subscription's loan is unknown among the handovers, and the other way round, and for another system."""
    async with place(tmp_path, handing()) as found:
        care, journal, robot = (found.system(f"birkelund-{name}") for name in ("care", "journal", "robot"))
        await care.publish(event())
        await hand(care)
        (told,), (handed,) = await journal.pull("journal-stays"), await fetch(journal)
        for verb, more in (("ack", {}), ("nack", {}), ("reject", {"code": "x"})):
            _, said = await journal.ask("POST", f"/v1/handovers/{verb}", {"leases": [told["lease"]], **more})
            assert said["results"] == [{"lease": told["lease"], "result": "unknown"}]
            assert await journal.say("journal-stays", verb, handed["lease"], **more) == ["unknown"]
            _, said = await robot.ask("POST", f"/v1/handovers/{verb}", {"leases": [handed["lease"]], **more})
            assert said["results"][0]["result"] == "unknown"
        for lease, result in ((told["lease"], "stale"), ("x", "unknown"), (handed["lease"], "done")):
            _, said = await journal.ask("POST", "/v1/handovers/extend", {"leases": [lease], "lease": 60})
            assert said["results"][0]["result"] == result
        _, said = await journal.ask("POST", "/v1/handovers/ack", {"leases": [handed["lease"]]})
        assert said["results"][0]["result"] == "done"
        assert await journal.say("journal-stays", "ack", told["lease"]) == ["done"]
