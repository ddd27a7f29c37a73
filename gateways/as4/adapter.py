"""The AS4 gateway: the kernel on one side, one access point's protocol on the other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel

from accesspoint.client import Client
from accesspoint.server import Server, server_context
from core import limits, log
from core.asking import Kernel
from core.clock import DAY, SECOND, Micros
from core.config import EMPTY, Configuration, Problem
from core.delivery import Delivery
from core.errors import ConfigError
from core.gateway import Outcome
from core.local import Operation, Progress
from core.pace import Pace
from core.parcel import Parcel
from core.radar import Watched
from core.schedule import RetryPlan
from core.trust import Identity
from gateways.as4 import checks
from gateways.as4.callbacks import Callbacks
from gateways.as4.endpoint import Endpoint
from gateways.as4.fetching import Fetcher
from gateways.as4.inventory import inventory
from gateways.as4.packing import Packer
from gateways.as4.partners import Partners, build, pace_of, scope_of
from gateways.as4.pulling import Channels, Puller
from gateways.as4.receiving import Reception
from gateways.as4.sending import Sender
from gateways.as4.settings import Listen, Partner, Party
from gateways.as4.signals import Evidence
from gateways.as4.speaking import Speaker
from gateways.as4.workers import Workers

_log = log.get("as4")
_FINISH: Final = limits.DRAIN / 2 / SECOND
"""Seconds that requests in flight have to finish: half of what the node waits, so that connections are closed in order."""


class As4Gateway:
    """Serves one endpoint and sends to all partners; see `core.gateway.Gateway`."""

    name: ClassVar[str] = "as4"
    kinds: ClassVar[Mapping[str, type[BaseModel]]] = {"as4.party": Party, "as4.partner": Partner}
    Settings: ClassVar[type[BaseModel]] = Listen

    def __init__(self, kernel: Kernel, settings: Listen) -> None:
        if settings.tls_key is None and not settings.behind_proxy:
            raise ConfigError(
                "node.yaml",
                "gateways.as4.tls_key",
                "is missing: the endpoint would be plain HTTP",
                "name the server key, or say behind_proxy: true when TLS ends in front of this node",
            )
        self._kernel, self._settings = kernel, settings
        self._configuration, self._partners = EMPTY, Partners((), kernel.clock)
        self._workers = Workers()
        self._server: Server | None = None
        self._sender: Sender | None = None
        self._client: Client | None = None
        self._callbacks: Callbacks | None = None
        self._started = asyncio.Event()
        self._fetcher = Fetcher(kernel.clock, settings.revocation_hosts, kernel.folder, kernel.alarm)

    @classmethod
    def check(cls, configuration: Configuration) -> Iterable[Problem]:
        """What is wrong between documents."""
        return checks.check(configuration)

    @classmethod
    def explain(cls, code: str) -> str:
        """What a code means to a newcomer."""
        return checks.explain(code)

    @classmethod
    def certificates(
        cls, configuration: Configuration, settings: Listen, identity: Callable[[str], Identity]
    ) -> Iterable[Watched]:
        """Keys, certificates and lists in use."""
        return inventory(configuration, settings, identity)

    @classmethod
    def pace(cls, configuration: Configuration, destination: str, integration: str) -> Pace:
        """What the partner's file says of pace and order."""
        return pace_of(configuration, destination, integration)

    @classmethod
    def windows(cls, configuration: Configuration) -> Mapping[str, Micros]:
        """How long each partner's messages are known again."""
        return {scope_of(p.id): p.duplicate_window * DAY for p in configuration.all("as4.partner").values()}

    def configure(self, configuration: Configuration) -> None:
        """Make all partners anew; the old ones stay in force when one cannot be made."""
        self._partners = build(configuration, self._kernel.identity, self._kernel.clock, self._fetcher.about)
        self._configuration = configuration
        self._fetcher.configure(self._partners.known())

    @property
    def port(self) -> int:
        """The port it listens on, once it does."""
        return self._server.port if self._server else 0

    def _tls(self) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.tls_key is None:
            return None
        path = str(self._kernel.identity(settings.tls_key).path)
        if settings.client_anchors and not Path(settings.client_anchors).exists():
            raise ConfigError("node.yaml", "gateways.as4.client_anchors", f"{settings.client_anchors} is not there")
        return server_context(
            path,
            path,
            settings.client_anchors,
            demand_client=settings.demand_client_certificate,
            versions=settings.tls_versions,
            suites=settings.tls_suites,
        )

    async def run(self) -> None:
        """Serve and pull until cancelled; what has begun is finished first."""
        settings, kernel, workers = self._settings, self._kernel, self._workers
        self._client = client = Client()
        self._callbacks = callbacks = Callbacks(client)
        packer = Packer(kernel, workers)
        speaker = Speaker(kernel.clock, self._current, workers)
        reception = Reception(kernel, self._current, lambda: self._configuration, speaker, callbacks, workers)
        evidence = Evidence(kernel, self._current, packer, workers)
        channels = Channels(kernel, self._current, packer, speaker, workers)
        endpoint = Endpoint(settings.path, reception, evidence, channels)
        self._server = Server(endpoint.handle, settings.host, settings.port, self._tls(), self._bug)
        self._sender = Sender(kernel, client, self._current, packer, workers)
        puller = Puller(client, self._current, reception, callbacks, speaker)
        fetching = await self._fetch()
        try:
            await self._serve(settings, fetching, puller)
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _fetch(self) -> asyncio.Task[None]:
        """Begin to fetch; what is known from the start is asked once before the first message, unless that takes too long."""
        asked = asyncio.Event()
        fetching = asyncio.create_task(self._fetcher.run(asked))
        first = asyncio.create_task(asked.wait())
        await asyncio.wait(
            [first, fetching], timeout=limits.REVOCATION_FIRST / SECOND, return_when=asyncio.FIRST_COMPLETED
        )
        first.cancel()
        return fetching

    async def _serve(self, settings: Listen, fetching: asyncio.Task[None], puller: Puller) -> None:
        assert self._server is not None
        try:
            await self._server.start()
        except OSError as error:
            cause = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
            raise ConfigError("node.yaml", "gateways.as4.port", cause, "choose another port") from None
        _log.info("listening", host=settings.host, port=self._server.port, path=settings.path)
        self._started.set()
        try:
            await self._both(fetching, asyncio.create_task(puller.run()))
        finally:
            await asyncio.shield(self._server.stop(_FINISH))

    @staticmethod
    async def _both(fetching: asyncio.Task[None], pulling: asyncio.Task[None]) -> None:
        """Until either ends, which neither does unless it fails."""
        try:
            done, _ = await asyncio.wait([fetching, pulling], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)

    async def listening(self) -> None:
        """Return once the port is open."""
        await self._started.wait()

    def _current(self) -> Partners:
        return self._partners

    def operations(self) -> Mapping[str, Operation]:
        """What people can ask: `ping`."""
        return {"ping": self._ping}

    async def _ping(self, args: Mapping[str, Any], _progress: Progress) -> dict[str, str]:
        await self._started.wait()
        assert self._sender is not None
        return await self._sender.ping(str(args["partner"]))

    async def close(self) -> None:
        """Everything has drained: let go of the connections to partners."""
        if self._callbacks:
            await self._callbacks.finish(_FINISH)
        if self._client:
            await self._client.close()
        self._workers.close()

    def _bug(self, error: BaseException) -> None:
        _log.error("a request met an error nobody documents", exc_info=error)

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """One attempt."""
        await self._started.wait()
        assert self._sender is not None
        return await self._sender.deliver(delivery, parcel)

    def retry_plan(self, delivery: Delivery) -> RetryPlan:
        """The partner's own plan."""
        neighbour = self._partners.by_id.get(delivery.destination)
        return neighbour.retry if neighbour else RetryPlan()
