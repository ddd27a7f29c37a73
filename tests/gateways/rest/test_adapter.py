"""The gateway as the kernel sees it: what it demands of its settings, how it begins and ends, and what it does not do."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from core.asking import Kernel
from core.config import EMPTY
from core.delivery import Delivery
from core.errors import Fatal
from core.parcel import Parcel
from core.schedule import RetryPlan
from gateways.rest.adapter import RestGateway, served
from gateways.rest.gate import Gate
from tests.gateways.as4.running import applied, failed_with, until
from tests.gateways.rest.callers import configuration
from tests.gateways.rest.handing import hand, handing, route
from tests.gateways.rest.running import documents, event, place

NO_KERNEL = cast(Kernel, None)
DELIVERY, PARCEL = cast(Delivery, None), cast(Parcel, None)
"""Not looked at."""


def test_no_two_endpoints_answer_the_same():
    """Each method of each path, and each name, is there once."""
    endpoints = served(Gate(NO_KERNEL, lambda: EMPTY))
    assert len({(one.method, one.path) for one in endpoints}) == len(endpoints) > 30
    assert len({one.name for one in endpoints}) == len(endpoints)
    assert all(one.path.startswith("/v1/") for one in endpoints)
    assert [(one.method, one.path) for one in endpoints if one.open] == [("OPTIONS", "/v1/uploads")]


def test_every_code_of_its_own_is_explained():
    """`stafet explain` says what it means; of others' codes it says nothing."""
    for code in ("issuer-keys", "pull-only"):
        assert len(RestGateway.explain(code)) > 40
    assert RestGateway.explain("no-such-code") == ""


def test_what_is_wrong_between_documents_is_found():
    """Two documents that one certificate would stand for are refused before they are in force."""
    twice = configuration({"kind": "system", "id": "twin", "authority": "birkelund", "certificates": ["post.pem"]})
    assert [problem.kind for problem in RestGateway.check(twice)] == ["system"]
    assert list(RestGateway.check(configuration())) == []


async def test_a_port_that_is_taken_stops_the_start(tmp_path: Path):
    """It is said which setting it is, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Fatal) as caught:
            async with place(tmp_path, rest={"certificate": "rest", "port": port}):
                pass
    assert f"node.yaml: gateways.rest.port: cannot listen on 127.0.0.1:{port}" in str(caught.value)
    assert "choose another port" in str(caught.value)


@pytest.mark.requirement("R58")
async def test_nothing_is_pushed(tmp_path: Path):
    """A route that names this gateway ends at once, with a code that says what is wrong with it."""
    pushed = {**route("pushed", "birkelund-journal", integration="cases", match={"type": "case.form"})}
    pushed["to"] = [{"system": "birkelund-journal", "gateway": "rest"}]
    async with place(tmp_path, handing(pushed)) as town:
        parcel = await hand(town.system("birkelund-care"), type="case.form")
        await until(lambda: failed_with(town.node, parcel, "pull-only"), "it has failed")


async def test_what_is_said_of_a_push_needs_no_delivery():
    """The answer is the same for whatever it is given, and is never to be tried again."""
    outcome = await RestGateway.deliver(cast(RestGateway, None), DELIVERY, PARCEL)
    assert (outcome.refused, outcome.code) == (True, "pull-only")
    assert RestGateway.retry_plan(cast(RestGateway, None), DELIVERY) == RetryPlan()


async def test_a_new_version_counts_for_the_next_request(tmp_path: Path):
    """A system is known, and then is not, on a connection that stays open; nothing is started anew."""
    async with place(tmp_path) as town, aiohttp.ClientSession() as session:
        url, context = f"{town.town.url}/v1/me", town.town.client_context("birkelund-robot")

        async def status() -> int:
            async with session.get(url, ssl=context) as answer:
                await answer.read()
                return answer.status

        assert await status() == 200
        kept = [one for one in town.town.system_documents() if one["id"] != "birkelund-robot"]
        others = [one for one in documents() if "birkelund-robot" not in (one.get("system"), one.get("id"))]
        town.town.write("all.yaml", [*kept, *others])
        await applied(town.node)
        await until(lambda: town.node.gateways["rest"]._configuration.number == 2, "version 2 is followed")
        assert await status() == 401


async def test_what_has_begun_is_finished(tmp_path: Path):
    """A pull that waits is answered when the node is told to stop, and the port is closed."""
    async with place(tmp_path) as town:
        journal = town.system("birkelund-journal")
        waiting = asyncio.create_task(journal.pull("journal-stays", wait=20))
        await asyncio.sleep(0.2)
        await town.system("birkelund-care").publish(event())
        assert len(await waiting) == 1
        waiting = asyncio.create_task(journal.pull("journal-stays", wait=20))
        await asyncio.sleep(0.2)
        town.node.stop()
        assert await waiting == []
        port = town.node.gateways["rest"].port
        await until(lambda: _is_closed(port), "the port is closed")


def _is_closed(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) != 0
