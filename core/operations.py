"""What people can ask of a node from the command line, whether it runs (through its local socket) or not (under its lock).

Rule: an operation takes JSON and gives JSON; files go by path. Long ones call ``progress``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from core import backup, commands, limits
from core.admission import Admitted
from core.applying import Applying
from core.clock import Micros
from core.commands import Redirect, Settlement, SettlementResult, Skip
from core.config import Configuration
from core.deciding import decide, deliveries_for, fan_out, told
from core.delivery import Delivery, Event, State
from core.description import Description
from core.errors import NotFound, PayloadError, StaleLease, UsageError
from core.gateway import Lease
from core.kernel import NodeKernel
from core.ledger import alarms, parcels, unreachable
from core.ledger import deliveries as queue
from core.ledger.deliveries import Settle
from core.local import Operation, Progress
from core.mailroom import boxes_of
from core.pace import Pause
from core.parcel import Item, Key, Parcel, new_id
from core.runtime import Runtime
from core.store import Stage
from core.system import RESIDUAL

_CHUNK = 1024 * 1024


class Operations:
    """The operations of one node. ``changed`` is told of a configuration that has just been stored; ``reasons`` gives why
    the node is not ready."""

    def __init__(
        self,
        runtime: Runtime,
        kernel: NodeKernel,
        changed: Callable[[Configuration], None],
        reasons: Callable[[], list[str]] = list,
    ) -> None:
        self._runtime, self._kernel, self._changed, self._reasons = runtime, kernel, changed, reasons

    def table(self) -> Mapping[str, Operation]:
        """All operations by name."""
        return {
            "status": self.status,
            "send": self.send,
            "take": self.take,
            **Applying(self._runtime, self._changed).table(),
            "approve-request": self.approve_request,
            "refuse-request": self.refuse_request,
            "resend": self.resend,
            "skip": self.skip,
            "backup": self.backup,
            "rewrap": self.rewrap,
            "clear": self.clear,
            "values": self.values,
        }

    async def status(self, _args: Mapping[str, Any], _progress: Progress) -> Any:
        """Who the node is and what it has to do."""
        counts = await self._runtime.read(queue.count_by_state)
        paused = await self._runtime.read(unreachable.all_paused)
        statistics = self._runtime.writer.statistics
        return {
            "node": self._runtime.settings.node,
            "version": self._runtime.configuration.number,
            "deliveries": counts,
            "paused": [_pause(one) for one in paused],
            "commits": statistics.commits,
            "commands": statistics.commands,
            "ledger_cpu": statistics.cpu,
            "pid": os.getpid(),
            "not_ready": self._reasons(),
        }

    # -- parcels

    async def send(self, args: Mapping[str, Any], progress: Progress) -> Any:
        """Accept a parcel made of files: ``paths``, ``sender``, ``integration``, description fields, ``key``."""
        integration = self._runtime.configuration.all("integration").get(args["integration"])
        if integration is None:
            known = ", ".join(sorted(self._runtime.configuration.all("integration"))) or "none"
            raise UsageError(f"integration: nothing is called {args['integration']!r}; known: {known}")
        self._runtime.demand_space()
        self._runtime.demand_queue()
        stage = Stage(self._runtime.store, self._runtime.ring, new_id(self._runtime.clock.now()), integration.max_size)
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(self._runtime.bulk, self._stage_files, stage, args, integration, progress)
            parcel, fingerprint = made
            key = Key(f"local:{parcel.sender}", args["key"]) if args.get("key") else None
            item = Item(parcel, key, fingerprint, parcel.id.encode(), {"by": "command line"})
            (acceptance,) = await self._kernel.accept(item)
        except BaseException:  # cancelled or refused: nothing half-made stays
            stage.abort()
            raise
        return {"parcel": acceptance.parcel_id, "judgement": acceptance.judgement.value}

    def _stage_files(
        self, stage: Stage, args: Mapping[str, Any], integration: Any, progress: Progress
    ) -> tuple[Parcel, bytes]:
        paths = [Path(p) for p in args["paths"]]
        media_type = args.get("media_type") or "application/octet-stream"
        total, done, digest = sum(_size(p) for p in paths), 0, hashlib.sha256()
        payloads = []
        for path in paths:
            sink = stage.sink()
            with _opened(path) as file:
                while octets := file.read(_CHUNK):
                    sink.write(octets)
                    done += len(octets)
                    progress({"what": "reading", "done": done, "of": total})
            payloads.append(sink.finish(name=path.name, media_type=media_type))
            digest.update(payloads[-1].sha256)
        fields = {
            "type": integration.types[0],
            "sender": args["sender"],
            "sensitivity": integration.sensitivity,
            "priority": integration.priority,
            "degree": integration.degree,
            **args.get("description", {}),
            "media_type": media_type,
            "size": done,
            "digest": payloads[0].sha256.hex(),
        }
        description = Description.parse(json.dumps(fields))
        now, number = self._runtime.clock.now(), self._runtime.configuration.number
        parcel = Parcel(
            stage.parcel_id,
            args["sender"],
            args["integration"],
            description,
            tuple(payloads),
            now,
            stage.key_id,
            stage.wrapped_key,
            number,
        )
        return parcel, digest.digest() + description.model_dump_json(exclude={"size", "digest"}).encode()

    async def take(self, args: Mapping[str, Any], progress: Progress) -> Any:
        """Pull parcels for ``system`` into the folder ``out`` and acknowledge each once its files are there."""
        system = args["system"]
        if system not in self._runtime.configuration.all("system"):
            known = ", ".join(sorted(self._runtime.configuration.all("system"))) or "none"
            raise UsageError(f"system: nothing is called {system!r}; known: {known}")
        wait = int(args.get("wait", 0) * 1_000_000)
        leases = await self._kernel.pull(system, limit=int(args.get("limit", 10)), wait=wait)
        loop, out = asyncio.get_running_loop(), Path(args["out"])
        taken, damaged = [], []
        for position, lease in enumerate(leases):
            try:
                files = await loop.run_in_executor(self._runtime.bulk, self._write_files, lease, out, progress)
            except PayloadError as error:  # it stands in nobody else's way
                damaged.append(error)
                await self._put_back([lease], limits.LEASE, str(error))
                await self._kernel.alarm("payload", str(error), parcel_id=lease.parcel.id)
                continue
            except OSError as error:
                await self._put_back(leases[position:], 0, "the folder cannot be written")
                raise UsageError(f"{error.filename or out}: {error.strerror or error}") from None
            try:
                await self._kernel.ack(lease)
            except StaleLease:
                continue
            taken.append({"parcel": lease.parcel.id, "integration": lease.parcel.integration, "files": files})
        if damaged and not taken:
            raise damaged[0]
        return taken

    async def _put_back(self, leases: Sequence[Lease], delay: Micros, reason: str) -> None:
        for lease in leases:
            with suppress(StaleLease):
                await self._kernel.nack(lease, delay=delay, reason=reason)

    def _write_files(self, lease: Lease, out: Path, progress: Progress) -> list[str]:
        """Write payloads beside each other; the parcel's id goes first, so that names never clash."""
        out.mkdir(parents=True, exist_ok=True)
        files = []
        for index, payload in enumerate(lease.parcel.payloads):
            name = "".join(c if c.isalnum() or c in "._-" else "_" for c in Path(payload.name).name)[-120:]
            target = out / f"{lease.parcel.id}-{index}-{name or 'payload'}"
            part, done = target.with_suffix(target.suffix + ".part"), 0
            try:
                with part.open("wb") as file:
                    for chunk in self._kernel.read_now(lease.parcel, payload):
                        file.write(chunk)
                        done += len(chunk)
                        progress({"what": "writing", "done": done, "of": payload.size})
                part.rename(target)
            finally:
                part.unlink(missing_ok=True)
            files.append(str(target))
        return files

    async def resend(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Send a parcel's or delivery's failed deliveries again, or everything ``held``; residual ones are routed anew."""
        rows = await self._runtime.read(_resendable, args.get("reference", ""), bool(args.get("held")))
        if not rows:
            raise NotFound(
                f"nothing to send again: no parcel or delivery {args.get('reference', '')!r} in such a state"
            )
        done, now = [], self._runtime.clock.now()
        for row in rows:
            if row.receiver == RESIDUAL:
                done.append(await self._route_again(row))
                continue
            event = Event.RELEASE if row.state == State.HELD.value else Event.RESEND
            settle = Settle(row.id, event, now, due_at=now, code="", reason=args.get("why", ""))
            result: SettlementResult = await self._runtime.do(commands.SETTLE, Settlement(settle, {"by": args["who"]}))
            state = result.settled.after.value if result.settled else "unknown"
            done.append({"delivery": row.id, "receiver": row.receiver, "state": state})
        self._runtime.on_work()
        return done

    async def skip(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Let those behind a parcel's or delivery's failed deliveries go on without them."""
        rows = await self._runtime.read(_resendable, args["reference"], False)
        facts = {"by": args["who"], **({"reason": args["why"]} if args.get("why") else {})}
        wanted = Skip(tuple(row.id for row in rows), self._runtime.clock.now(), facts)
        skipped = await self._runtime.do(commands.SKIP, wanted)
        if not skipped:
            raise NotFound(f"nothing to skip: no failed delivery of {args['reference']!r} keeps others waiting")
        self._runtime.on_work()
        return [{"delivery": row.id, "receiver": row.receiver, "state": row.state} for row in skipped]

    async def _route_again(self, row: Any) -> Any:
        parcel, now = await self._runtime.read(parcels.load, row.parcel_id), self._runtime.clock.now()
        admitted = await self._kernel.admission.again(self._runtime.configuration, parcel)
        made, cause = self._made_again(admitted, now)
        if not made:
            return {"delivery": row.id, "receiver": RESIDUAL, "state": "held", "cause": cause}
        described = admitted.item.parcel.description
        changed = described if described != parcel.description else None
        entries = tuple(replace(entry, at=now) for entry in admitted.entries)
        if not await self._runtime.do(commands.REDIRECT, Redirect(row.id, made, now, changed, entries)):
            return {"delivery": row.id, "receiver": RESIDUAL, "state": "unknown"}  # somebody was quicker
        self._runtime.remember(admitted.item.parcel)
        self._runtime.on_mail(boxes_of(made))
        return {"delivery": row.id, "receiver": made[0].receiver, "state": "ready", "route": made[0].rule}

    def _made_again(self, admitted: Admitted, now: Micros) -> tuple[tuple[Delivery, ...], str]:
        """The deliveries that a parcel of the residual mailbox gets by now, or why it stays."""
        configuration, parcel = self._runtime.configuration, admitted.item.parcel
        if admitted.residual:
            return (), admitted.residual
        integration = configuration.all("integration").get(parcel.integration)
        if integration is not None and integration.capability == "notification":
            subjects = parcel.description.model_copy(update={"subjects": self._kernel.subjects(parcel)})
            found = fan_out(configuration, replace(parcel, description=subjects), now, self._runtime.on_list)
            return told(parcel, found.matched, configuration.number, now), "no subscription matches"
        decision = decide(configuration, parcel, now)
        if not decision.route:
            return (), decision.cause
        return deliveries_for(parcel, decision, configuration.number, now, self._runtime.pace), ""

    # -- people

    async def approve_request(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """What a ``request`` asks for becomes the next version, decided here for the owner of the data."""
        made = await self._kernel.desks.requests.approve(args["request"], args["who"], "", args["why"])
        return {"request": made.id, "state": made.state.value, "version": made.config_version}

    async def refuse_request(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Say no to a ``request``."""
        made = await self._kernel.desks.requests.refuse(args["request"], args["who"], args["why"])
        return {"request": made.id, "state": made.state.value}

    async def clear(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Somebody has seen to these ``alarms``."""
        arguments = (list(args["alarms"]), self._runtime.clock.now())
        await self._runtime.do(commands.CALL, commands.Call(alarms.clear, arguments))
        return {"cleared": len(args["alarms"])}

    async def values(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Change the value list ``list``: ``add``, ``remove`` or ``replace`` name a file of one value a line; say its length."""
        desk, list_id = self._kernel.desks.values, args["list"]
        loop = asyncio.get_running_loop()
        for word, change in (("add", desk.add), ("remove", desk.remove), ("replace", desk.replace)):
            if args.get(word):
                values = await loop.run_in_executor(self._runtime.bulk, _values_in, Path(args[word]))
                done = await change(list_id, values)
                return {"list": list_id, "added": done.added, "removed": done.removed, "count": done.count}
        return {"list": list_id, "added": 0, "removed": 0, "count": await desk.count(list_id)}

    async def backup(self, args: Mapping[str, Any], progress: Progress) -> Any:
        """Copy ledger and store into ``directory`` while work goes on; deletion pauses."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, backup.make, self._runtime, Path(args["directory"]), progress)

    async def rewrap(self, _args: Mapping[str, Any], progress: Progress) -> Any:
        """Wrap every data key under the newest key-encryption key."""
        done = 0
        while rows := await self._runtime.read(parcels.under_older_keys, self._runtime.ring.current, 500):
            fresh = [(r.id, *self._runtime.ring.rewrap(r.wrapped_key, r.key_id)) for r in rows]
            await self._runtime.do(commands.CALL, commands.Call(parcels.rewrap, (fresh,)))
            done += len(rows)
            progress({"what": "rewrapping", "done": done, "of": 0})
        return {"rewrapped": done, "key": self._runtime.ring.current}


def _resendable(connection: Any, reference: str, held: bool) -> Sequence[Any]:
    if held:
        return queue.in_state(connection, State.HELD, limits.CLAIM_BATCH * 1000)
    rows = queue.of_parcel(connection, reference)
    if not rows:
        one = queue.row(connection, reference)
        rows = [one] if one is not None else []
    states = {State.FAILED, State.REJECTED, State.QUARANTINED, State.HELD, State.DELIVERED}
    return [row for row in rows if State(row.state) in states]


def _pause(one: Pause) -> dict[str, Any]:
    gateway, destination = one.where
    times = {"since": one.since, "next": one.probe_at}
    return {"gateway": gateway, "destination": destination, **times, "code": one.code, "reason": one.reason}


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _values_in(path: Path) -> list[str]:
    """The lines of a file that are not blank. Raises `UsageError`."""
    most = limits.LIST_VALUES * (limits.LIST_VALUE + 2)
    with _opened(path) as file:
        octets = file.read(most + 1)
    if len(octets) > most:
        raise UsageError(f"{path}: larger than {most} octets")
    try:
        return [line for line in octets.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 at octet {error.start}") from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
