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
from pathlib import Path
from typing import Any, BinaryIO

from core import backup, commands, limits
from core.applying import Applying
from core.asking import Lease
from core.clock import Micros
from core.commands import Settlement, SettlementResult, Skip
from core.config import Configuration
from core.delivery import Event, State
from core.description import Description
from core.desk.looking import Looking
from core.desk.redistribution import Goal, Why
from core.errors import NotFound, PayloadError, StafetError, StaleLease, UsageError, WrongState
from core.kernel import NodeKernel
from core.ledger import alarms, parcels, unreachable, uploads
from core.ledger import deliveries as queue
from core.ledger.deliveries import Settle
from core.local import Operation, Progress
from core.pace import Pause
from core.parcel import Item, Key, Parcel, new_id
from core.runtime import Runtime
from core.store import Stage
from core.system import RESIDUAL

_CHUNK = 1024 * 1024
_OBJECTS = {
    **{"send": "sender", "take": "system", "apply": "", "rollback": "number", "resend": "reference"},
    **{"skip": "reference", "clear": "", "backup": "", "rewrap": ""},
}
"""What the usage log has, and which argument says about what; a path of this machine says nothing."""


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
        self._looking = Looking(runtime)

    def table(self) -> Mapping[str, Operation]:
        """All operations by name; what changes something, or hands something out, is in the usage log."""
        operations: dict[str, Operation] = {
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
        return {n: self._noted(n, _OBJECTS[n], op) if n in _OBJECTS else op for n, op in operations.items()}

    def _noted(self, name: str, field: str, operation: Operation) -> Operation:
        """The operation, with who asked for it and what it came to in the usage log."""

        async def noted(args: Mapping[str, Any], progress: Progress) -> Any:
            outcome = "failed"
            try:
                result = await operation(args, progress)
                outcome = "ok"
            except StafetError as error:
                outcome = type(error).__name__
                raise
            finally:
                self._looking.saw(str(args.get("who", "")), "", f"command {name}", str(args.get(field, "")), outcome)
            return result

        return noted

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
                done.append(await self._route_again(row, Why(args["who"], "", args.get("why", ""))))
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

    async def _route_again(self, row: Any, why: Why) -> Any:
        desk, parcel = self._kernel.desks.redistribution, await self._runtime.read(parcels.load, row.parcel_id)
        try:
            sent = await desk.route(row, parcel, Goal(), why)
        except WrongState:
            return {"delivery": row.id, "receiver": RESIDUAL, "state": "unknown"}  # somebody was quicker
        if not sent.deliveries:
            return {"delivery": row.id, "receiver": RESIDUAL, "state": "held", "cause": sent.cause}
        first = sent.deliveries[0]
        return {"delivery": row.id, "receiver": first.receiver, "state": "ready", "route": first.rule}

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
        while rows := await self._runtime.read(uploads.under_older_keys, self._runtime.ring.current, 500):
            fresh = [(r.id, *self._runtime.ring.rewrap(r.wrapped_key, r.key_id)) for r in rows]
            await self._runtime.do(commands.CALL, commands.Call(uploads.rewrap, (fresh,)))
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
