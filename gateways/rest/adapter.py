"""The REST gateway: for systems that speak HTTP and JSON. It pushes nothing; whoever receives comes for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import ClassVar, Final

from pydantic import BaseModel

from core import log
from core.asking import Kernel
from core.config import EMPTY, Configuration, Problem
from core.delivery import Delivery
from core.errors import ConfigError
from core.gateway import Outcome
from core.parcel import Parcel
from core.radar import Watched
from core.schedule import RetryPlan
from core.trust import Identity
from gateways.rest import checks
from gateways.rest.access import Access
from gateways.rest.administering import Administering
from gateways.rest.catalogue import Catalogue
from gateways.rest.certificates import Certificates
from gateways.rest.endpoint import Answer, Ask, Endpoint, Handler, Reply
from gateways.rest.figures import Figures
from gateways.rest.gate import Gate
from gateways.rest.handovers import Handovers
from gateways.rest.insight import InsightEndpoints
from gateways.rest.inventory import inventory
from gateways.rest.issuers import KeySets
from gateways.rest.managing import Managing
from gateways.rest.notifications import Notifications
from gateways.rest.openapi import document
from gateways.rest.overseeing import Overseeing
from gateways.rest.payloads import Payloads
from gateways.rest.receipts import Receipts
from gateways.rest.redistribution import Redistributions
from gateways.rest.requests import RequestEndpoints
from gateways.rest.server import Server
from gateways.rest.settings import Client, Issuer
from gateways.rest.settings import Settings as Listen
from gateways.rest.subscriptions import Subscriptions
from gateways.rest.tls import Door
from gateways.rest.tracking import Tracking
from gateways.rest.uploads import Uploads
from gateways.rest.values import ValueLists

_log = log.get("rest")
_FINISH: Final = 25.0


class RestGateway:
    """Serves the endpoints of every subject."""

    name: ClassVar[str] = "rest"
    kinds: ClassVar[Mapping[str, type[BaseModel]]] = {"rest.issuer": Issuer, "rest.client": Client}
    Settings: ClassVar[type[BaseModel]] = Listen

    def __init__(self, kernel: Kernel, settings: Listen) -> None:
        self._kernel, self._settings = kernel, settings
        self._configuration = EMPTY
        self._keys = KeySets(kernel.clock, kernel.alarm)
        self._door: Door | None = None
        self._started = asyncio.Event()
        gate = Gate(kernel, lambda: self._configuration)
        self.endpoints = [*served(gate), about(self.openapi)]
        self._server = Server(self.endpoints, settings, kernel.clock, lambda: kernel.desks)

    @classmethod
    def check(cls, configuration: Configuration) -> Iterable[Problem]:
        """What is wrong between documents."""
        return checks.check(configuration)

    @classmethod
    def explain(cls, code: str) -> str:
        """What a code of this gateway means."""
        return _CODES.get(code, "")

    @classmethod
    def certificates(
        cls, configuration: Configuration, settings: Listen, identity: Callable[[str], Identity]
    ) -> Iterable[Watched]:
        """What ends some day."""
        return inventory(configuration, settings, identity)

    def configure(self, configuration: Configuration) -> None:
        """Who is known from now on."""
        self._keys.configure(configuration)
        access = Access(configuration, self._keys)
        if self._settings.certificate is not None:
            if self._door is None:
                self._door = Door(self._settings, self._kernel.identity(self._settings.certificate).path)
            self._door.renew(access.pinned)
        self._server.access, self._configuration = access, configuration

    @property
    def port(self) -> int:
        """The port it listens on, once it does."""
        return self._server.port

    async def openapi(self, ask: Ask) -> Reply:
        """All endpoints, with what they take and give."""
        made = document(self.endpoints, url=self._settings.base_url, version=version("stafet"))
        return Reply(json.dumps(made, ensure_ascii=False).encode())

    async def run(self) -> None:
        """Serve until cancelled; what has begun is finished first."""
        try:
            await self._server.start(self._door.context if self._door else None)
        except OSError as error:
            cause = f"cannot listen on {self._settings.host}:{self._settings.port}: {error.strerror}"
            raise ConfigError("node.yaml", "gateways.rest.port", cause, "choose another port") from None
        _log.info("listening", host=self._settings.host, port=self._server.port)
        self._started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.shield(self._server.stop(_FINISH))

    async def listening(self) -> None:
        """Return once the port is open."""
        await self._started.wait()

    async def close(self) -> None:
        """Let go of what is fetched."""
        await self._keys.close()

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Nothing is pushed: a route that names this gateway is wrong, and says so."""
        return Outcome(
            refused=True, code="pull-only", reason="the REST gateway pushes nothing; leave gateway out of the route"
        )

    def retry_plan(self, delivery: Delivery) -> RetryPlan:
        """Of no use: nothing is pushed."""
        return RetryPlan()


def about(handler: Handler) -> Endpoint:
    """The endpoint of the OpenAPI document."""
    words = Answer("The OpenAPI 3.1 document.", media_type="application/json")
    return Endpoint(
        "GET",
        "/v1/openapi.json",
        handler,
        "This document",
        "About",
        {200: words},
        open=True,
        unaudited="it is open to all",
    )


def served(gate: Gate) -> Sequence[Endpoint]:
    """Every subject's endpoints."""
    return [
        *Notifications(gate).endpoints(),
        *Managing(gate).endpoints(),
        *Subscriptions(gate).endpoints(),
        *RequestEndpoints(gate).endpoints(),
        *Catalogue(gate).endpoints(),
        *Certificates(gate).endpoints(),
        *Administering(gate).endpoints(),
        *ValueLists(gate).endpoints(),
        *Handovers(gate).endpoints(),
        *Payloads(gate).endpoints(),
        *Receipts(gate).endpoints(),
        *Redistributions(gate).endpoints(),
        *Uploads(gate).endpoints(),
        *InsightEndpoints(gate).endpoints(),
        *Tracking(gate).endpoints(),
        *Figures(gate).endpoints(),
        *Overseeing(gate).endpoints(),
    ]


_CODES: Final = {
    "issuer-keys": "an issuer of tokens cannot be asked for its keys; those we have count for some hours more, and then its"
    " tokens let nobody in. What to do: see that this node reaches its jwks_uri, and that jwks_anchors has the right authority",
    "pull-only": "the REST gateway pushes nothing: its receivers come for what they get. Leave `gateway` out of the route.",
}
