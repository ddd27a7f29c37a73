"""Pulling, both ways: what partners pull from us, and what we pull from them [ebMS3 §3.4, eD1.15 §1.5.5].

Rules:

1. What a partner may pull waits in the mailbox of their system, as it does for a system that pulls over any other protocol; a
   message that was handed out is lent until its receipt comes or its time is up, and then it is there again.
   What was handed out as often as the plan says has failed; a receipt that comes later still counts.
2. Who may pull from a channel is who can sign as the partner the channel was agreed with. An unknown channel and one of somebody
   else are answered alike.
3. What we pull is received exactly as what is pushed: judged, stored, and only then acknowledged, at the address it came from.
   Only a message that is new here is a reason to ask again at once: no partner can keep us running in circles.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

from accesspoint.client import Client, Unreachable
from accesspoint.ebms import Signal
from accesspoint.errors import MISSING_RECEIPT, EbmsError, HttpRefusal, SoapFault
from accesspoint.outbound import SUCCESS
from accesspoint.pmode import PMode
from accesspoint.profiles import Profile
from accesspoint.pull import empty_channel, no_such_channel, pull_request_xml
from accesspoint.receipts import parse_errors
from accesspoint.server import SOAP_TYPE, Answer, Streamed
from accesspoint.soap import Envelope
from accesspoint.wss import Trust, verify
from core import limits, log
from core.asking import Kernel, Lease
from core.clock import SECOND, Micros
from core.errors import PayloadError, StafetError, StaleLease
from gateways.as4.callbacks import Callbacks
from gateways.as4.packing import Packer
from gateways.as4.partners import Neighbour, Partners
from gateways.as4.receiving import Reception, Taken
from gateways.as4.settings import Channel
from gateways.as4.speaking import Speaker
from gateways.as4.workers import Workers

_EMPTY: Final = "EBMS:0006"
_log = log.get("as4")


class Channels:
    """Answers requests to pull from us."""

    def __init__(
        self,
        kernel: Kernel,
        partners: Callable[[], Partners],
        packer: Packer,
        speaker: Speaker,
        workers: Workers,
    ) -> None:
        self._kernel, self._partners, self._packer = kernel, partners, packer
        self._speaker, self._workers = speaker, workers

    async def serve(self, said: Signal, envelope: Envelope, peer: str) -> Answer:
        """The next message of a channel, or why there is none."""
        assert said.pull_mpc is not None
        found = self._partners().channel(said.pull_mpc)
        if found is None:
            return await self._refuse(said, peer, "is not a channel here", None)
        neighbour, pmodes = found
        try:
            trust = self._partners().trust(pmodes[0])
            await self._workers.small(_verified, envelope, pmodes[0].profile, trust)
        except EbmsError as error:
            return await self._refuse(said, peer, f"{error.field}: {error.cause}", neighbour)
        while (lease := await self._next(neighbour, pmodes)) is not None:
            with suppress(StaleLease):  # somebody else has it by now
                answer = await self._handed_out(lease, neighbour, pmodes)
                if answer is not None:
                    return answer
        return await self._speaker.refuse(neighbour, empty_channel(said.message_id))

    async def _next(self, neighbour: Neighbour, pmodes: tuple[PMode, ...]) -> Lease | None:
        integrations = sorted({p.integration for p in pmodes})
        leases = await self._kernel.pull(neighbour.partner.system, limit=1, wait=0, integrations=integrations)
        return leases[0] if leases else None

    async def _handed_out(self, lease: Lease, neighbour: Neighbour, pmodes: tuple[PMode, ...]) -> Answer | None:
        """One message; None for one that cannot be handed out any more, which is settled as such."""
        delivery, parcel = lease.delivery, lease.parcel
        pmode = next(p for p in pmodes if p.integration == parcel.integration)
        if delivery.attempts > neighbour.retry.attempts:
            cause = f"it was pulled {delivery.attempts - 1} times, and no receipt came"
            await self._kernel.give_up(lease, code=MISSING_RECEIPT.code, reason=cause)
            return None
        try:
            async with self._held(lease):
                wire = (await self._packer.pack(delivery, parcel, neighbour, pmode)).wire
        except PayloadError as error:
            await self._kernel.reject(lease, code="payload", reason=str(error))
            return None
        except (EbmsError, ValueError) as error:
            await self._kernel.reject(lease, code="cannot-be-sent", reason=str(error))
            return None
        interval = neighbour.retry.wait(delivery.attempts, delivery.id)
        body, kind = self._packer.body(parcel, wire), wire.message.content_type
        if isinstance(body, bytes):
            await self._kernel.extend(lease, interval)
            return Answer(200, body, kind)
        await self._kernel.extend(lease, limits.LEASE)
        return Answer(200, content_type=kind, stream=self._lent(body, lease, interval), length=wire.message.length)

    async def _lent(self, body: Streamed, lease: Lease, interval: Micros) -> Streamed:
        """A long message on its way: lent while it goes, and for ``interval`` from its end."""
        try:
            async with aclosing(body), self._held(lease):
                async for piece in body:
                    yield piece
        finally:
            with suppress(StaleLease):  # its receipt was quicker
                await self._kernel.extend(lease, interval)

    @asynccontextmanager
    async def _held(self, lease: Lease) -> AsyncIterator[None]:
        """Hold on to a lease for as long as something takes."""
        renewing = asyncio.create_task(self._renew(lease), name="renew-lent")
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew(self, lease: Lease) -> None:
        with suppress(StafetError):  # whoever holds it finds out when it ends
            while True:
                await asyncio.sleep(limits.LEASE / 3 / SECOND)
                await self._kernel.extend(lease, limits.LEASE)

    async def _refuse(self, said: Signal, peer: str, cause: str, neighbour: Neighbour | None) -> Answer:
        facts = {"field": "PullRequest/@mpc", "cause": cause, "peer": peer, "channel": said.pull_mpc or ""}
        if neighbour is not None:
            facts["from"] = neighbour.partner.id
        error = no_such_channel(said.message_id)
        await self._kernel.refusal(said.message_id, error.error.code, facts)
        return await self._speaker.refuse(None, error)


class Puller:
    """Pulls from partners, one channel after another, as often as the agreements say."""

    def __init__(
        self,
        client: Client,
        partners: Callable[[], Partners],
        reception: Reception,
        callbacks: Callbacks,
        speaker: Speaker,
    ) -> None:
        self._client, self._partners, self._reception = client, partners, reception
        self._callbacks, self._speaker = callbacks, speaker
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled: a task for each channel that the present agreements have; one that is gone ends by itself."""
        try:
            while True:
                wanted = {(n.partner.id, p.mpc) for n in self._partners().by_id.values() for p in _pulled(n)}
                self._tasks = {which: task for which, task in self._tasks.items() if not task.done()}
                for new in wanted - self._tasks.keys():
                    self._tasks[new] = asyncio.create_task(self._channel(*new), name=f"pull {new[1]}")
                await asyncio.sleep(limits.POLL / SECOND)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _channel(self, partner: str, mpc: str) -> None:
        while (found := self._find(partner, mpc)) is not None:
            try:
                more = await self.once(found[0], mpc)
            except (Unreachable, StafetError, EbmsError, SoapFault, HttpRefusal) as error:
                _log.warning("pulling failed; it is tried again", partner=partner, channel=mpc, cause=str(error))
                more = False
            except Exception as error:  # whatever one answer does, the channel is asked again
                _log.error("pulling failed in a way nobody documents", partner=partner, channel=mpc, exc_info=error)
                more = False
            if not more:
                await self._pause(partner, mpc)

    async def _pause(self, partner: str, mpc: str) -> None:
        """Until it is time to ask again, by the agreement as it is then."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while found := self._find(partner, mpc):
            left = begun + found[1].every - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, limits.POLL / SECOND))

    def _find(self, partner: str, mpc: str) -> tuple[Neighbour, Channel] | None:
        neighbour = self._partners().by_id.get(partner)
        pmode = next((p for p in _pulled(neighbour) if p.mpc == mpc), None) if neighbour else None
        channel = neighbour.by_pmode[pmode.id].pull if neighbour and pmode else None
        return (neighbour, channel) if neighbour and channel else None

    async def once(self, neighbour: Neighbour, mpc: str) -> bool:
        """Ask once; True when a new message came, so that more may wait. Raises `Unreachable` and what reading raises."""
        request = await self._speaker.say(neighbour, pull_request_xml(mpc), "")
        partner = neighbour.partner
        url, within = partner.url, partner.answer_within
        async with self._client.fetch(url, SOAP_TYPE, request, tls=neighbour.tls, answer_within=within) as fetched:
            if fetched.status not in SUCCESS and not _is_soap(fetched.content_type):
                raise Unreachable("answer", f"HTTP {fetched.status}")
            if not fetched.content_type:
                return False
            received = await self._reception.receive(fetched)
        if isinstance(received, Taken):
            if received.about:
                self._callbacks.post(neighbour, received.about)
            return received.new
        said = received.signal
        for error in parse_errors(said):
            if error.code != _EMPTY:
                words = f"{error.short_description}: {error.description or error.detail}"
                _log.warning("a partner refuses a pull", partner=partner.id, channel=mpc, code=error.code, cause=words)
        return False


def _verified(envelope: Envelope, profile: Profile, trust: Trust) -> None:
    verify(envelope, profile, trust, signal=True)


def _is_soap(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in ("application/soap+xml", "multipart/related")


def _pulled(neighbour: Neighbour) -> list[PMode]:
    return [p for p in neighbour.pmodes if p.may_receive and p.pulled]
