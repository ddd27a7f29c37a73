"""Alarms by mail to a shared mailbox.

Rules:

1. The first alarm of a kind is mailed at once; what comes of that kind within the quiet time is one list in the next mail.
2. An alarm counts as mailed when the mail server has taken the mail, never before: a crash in between mails it twice, and loses
   none. Of several nodes one has the turn.
3. A mail says kind, time, parcel id and what to do. Of the alarm's own words only those of kinds whose words are all the kernel's
   (`OWN_WORDS`): a far side's words may hold anything, and mail is read by many.
4. A server that cannot be reached or says "later" (4xx) is asked again with growing waits; one that says "never" (5xx) as well,
   and the log says so as an error: whoever corrects the setting loses no alarm.
"""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from core import commands, explain, limits, log
from core.clock import SECOND, Micros, local, to_datetime
from core.commands import Call
from core.ledger import alarms, turns
from core.ledger.alarms import Alarm
from core.runtime import Runtime
from core.settings import Mail, NodeSettings

OWN_WORDS: Final = frozenset({"expiry", "clock", "idle", "no-receipt"})
_log = log.get("mailing")


@dataclass(frozen=True, slots=True)
class Account:
    """A mail server and how we speak to it, with the environment's values filled in."""

    mail: Mail
    user: str
    password: str
    trust: Path | None

    @classmethod
    def of(cls, settings: NodeSettings) -> Account | None:
        """What ``node.yaml`` says; None when it says nothing. Raises `ConfigError` naming what the environment lacks."""
        mail = settings.mail
        if mail is None:
            return None
        user, password = (
            settings.from_environment(f"mail.{name}", getattr(mail, name)) for name in ("user", "password")
        )
        return cls(mail, user, password, settings.path(mail.trust) if mail.trust else None)

    def open(self) -> smtplib.SMTP:
        """A connection that is signed in; blocking."""
        mail, seconds = self.mail, limits.MAIL_TIMEOUT / SECOND
        if mail.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=seconds, context=self._context())
        else:
            server = smtplib.SMTP(mail.host, mail.port, timeout=seconds)
        try:
            if mail.tls == "starttls":
                server.starttls(context=self._context())
            if self.user:
                server.login(self.user, self.password)
        except BaseException:  # whatever went wrong, the connection is not kept
            server.close()
            raise
        return server

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.trust)


class Mailing:
    """The mailing of one node. Without an account nothing is mailed."""

    def __init__(self, runtime: Runtime, account: Account | None) -> None:
        self._runtime, self._account = runtime, account
        self._wait: Micros = 0
        self._not_before: Micros = 0

    async def send(self) -> int:
        """Mail what is due; gives how many alarms were told of."""
        account, runtime, now = self._account, self._runtime, self._runtime.clock.now()
        if account is None or now < self._not_before or not await runtime.read(self._due, account, now):
            return 0
        turn = ("mail", runtime.boot, now, now + limits.MAIL_TURN)
        if not await runtime.do(commands.CALL, Call(turns.take, turn)):
            return 0
        told = 0
        try:
            for code, found in await runtime.read(self._due, account, now):
                if runtime.clock.now() > now + limits.MAIL_TURN // 2:
                    break  # another node may soon think that we have died
                message = self._message(account, code, found)
                await asyncio.to_thread(_hand_over, account, message)
                ids = [alarm.id for alarm in found]
                await runtime.do(commands.CALL, Call(alarms.mailed, (code, ids, runtime.clock.now())))
                told += len(ids)
            self._wait = self._not_before = 0
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._later(error)
        finally:
            await runtime.do(commands.CALL, Call(turns.end, ("mail", runtime.boot)))
        return told

    def _due(self, connection: Connection, account: Account, now: Micros) -> list[tuple[str, list[Alarm]]]:
        """The kinds that may be mailed now, with their alarms."""
        kinds: dict[str, list[Alarm]] = {}
        for alarm in alarms.unmailed(connection, limits.MAIL_BATCH):
            kinds.setdefault(alarm.code, []).append(alarm)
        last, quiet = alarms.last_mails(connection), int(account.mail.quiet * SECOND)
        return [(code, found) for code, found in kinds.items() if code not in last or last[code] + quiet <= now]

    def _later(self, error: Exception) -> None:
        self._wait = min(max(2 * self._wait, limits.MAIL_LOOK), limits.MAIL_CEILING)
        self._not_before = self._runtime.clock.now() + self._wait
        said = {"cause": _words(error), "again_in_seconds": self._wait // SECOND}
        if _for_good(error):
            _log.error("the mail server refuses alarms for good; correct the section mail of node.yaml", **said)
        else:
            _log.warning("alarms cannot be mailed now", **said)

    def _message(self, account: Account, code: str, found: Sequence[Alarm]) -> EmailMessage:
        node, mail = self._runtime.settings.node, account.mail
        shown = " ".join(code.split())
        made = EmailMessage()
        made["From"], made["To"] = mail.sender, ", ".join(mail.to)
        number = f"{len(found)} alarms" if len(found) > 1 else "1 alarm"
        made["Subject"] = f"[Stafet {node}] {shown}: {number}"
        made["Date"] = format_datetime(to_datetime(self._runtime.clock.now()))
        digest = hashlib.sha256("\n".join(alarm.id for alarm in found).encode()).hexdigest()[:32]
        made["Message-ID"] = f"<{digest}.stafet@{mail.sender.partition('@')[2]}>"
        made["Auto-Submitted"] = "auto-generated"
        made.set_content(self._body(code, found))
        return made

    def _body(self, code: str, found: Sequence[Alarm]) -> str:
        meaning = explain.code(code, self._runtime.catalogue.explain)
        lines = [meaning] if meaning else []
        lines += ["", *(_line(alarm) for alarm in found[: limits.MAIL_LISTED])]
        if len(found) > limits.MAIL_LISTED:
            lines.append(f"and {len(found) - limits.MAIL_LISTED} more")
        lines += ["", "`stafet alarms` lists them; `stafet explain PARCEL` says where a parcel stands and what to do."]
        return "\n".join(lines).lstrip("\n") + "\n"


def _line(alarm: Alarm) -> str:
    words = [local(alarm.at)]
    if alarm.parcel_id:
        words.append(f"parcel {alarm.parcel_id}")
    if alarm.code in OWN_WORDS:
        words.append(alarm.text)
    return "  ".join(words)


def _hand_over(account: Account, message: EmailMessage) -> None:
    """Give one mail to the server; blocking. A mailbox that is refused beside others that are not is said in the log."""
    with account.open() as server:
        refused = server.send_message(message)
    if refused:
        codes = sorted({code for code, _ in refused.values()})
        _log.error("the mail server refuses some of the mailboxes", number=len(refused), codes=codes)


def _codes(error: Exception) -> list[int]:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return [code for code, _ in error.recipients.values()]
    return [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else []


def _for_good(error: Exception) -> bool:
    codes = _codes(error)
    return isinstance(error, ValueError | smtplib.SMTPNotSupportedError) or (bool(codes) and min(codes) >= 500)


def _words(error: Exception) -> str:
    """What went wrong, without what the server says: it may repeat addresses."""
    codes = ", ".join(map(str, sorted(set(_codes(error)))))
    if codes:
        return f"{type(error).__name__} {codes}"
    return (
        f"{type(error).__name__}: {error.strerror}"
        if isinstance(error, OSError) and error.strerror
        else type(error).__name__
    )
