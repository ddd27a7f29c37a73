"""Alarms by mail: a real mail server takes them, refuses them, is away; none is lost and none is mailed twice in peace."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session

from conformance.pki import Authority
from core import commands, limits
from core.clock import DAY, MINUTE, SECOND, SystemClock, to_datetime
from core.commands import Call
from core.desk import mailing as module
from core.desk.mailing import Account, Mailing
from core.errors import ConfigError
from core.ledger import alarms, turns
from core.ledger.alarms import Alarm
from core.settings import NodeSettings
from tests.core.nodes import Site

TO = "vagt@birkelund.example"


class Box:
    """What a mail server got, and what it says."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.secure: list[bool] = []
        self.says: list[str] = []
        self.refuses: dict[str, str] = {}

    async def handle_RCPT(
        self, _server: Any, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        """Take a mailbox or refuse it."""
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Session, envelope: Envelope) -> str:
        """Take a mail, unless it is to say something else first."""
        if self.says:
            return self.says.pop(0)
        self.secure.append(session.ssl is not None)
        content = envelope.original_content
        assert content is not None
        self.mails.append(message_from_bytes(content, policy=default))  # type: ignore[arg-type]
        return "250 OK"


@contextmanager
def serving(box: Box, **options: Any) -> Iterator[int]:
    """A mail server on this machine; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port, **options)
    server.start()
    try:
        yield port
    finally:
        server.stop()


def settings(site: Site, port: int, **changes: Any) -> NodeSettings:
    """The node's settings with a section mail."""
    mail = {"host": "127.0.0.1", "port": port, "tls": "none", "from": "stafet@birkelund.example", "to": [TO]} | changes
    return NodeSettings.model_validate({**site.runtime.settings.model_dump(exclude={"home", "mail"}), "mail": mail})


def mailing(site: Site, port: int, **changes: Any) -> Mailing:
    """The mailing of a node that says so."""
    return Mailing(site.runtime, Account.of(settings(site, port, **changes)))


async def alarm(site: Site, code: str = "failed", text: str = "words of theirs", **changes: Any) -> Alarm:
    """Raise one."""
    now = site.clock.now()
    made = Alarm(changes.pop("id", f"{code}-{now}-{id(text)}"), now, code, text, changes.pop("parcel_id", "p-1"))
    await site.runtime.do(commands.ALARM, made)
    site.clock.tick(1)
    return made


def bodies(box: Box) -> list[str]:
    """The text of each mail."""
    return [str(mail.get_content()).replace("\r\n", "\n") for mail in box.mails]


@pytest.mark.requirement("R79", "R131")
async def test_a_shared_mailbox_is_told_of_failures(site: Site):
    """At once, with kind, time, parcel and what to do, from a machine to people; and never again of the same."""
    box = Box()
    with serving(box) as port:
        desk = mailing(site, port, to=[TO, "drift@birkelund.example"])
        assert await desk.send() == 0
        await alarm(site, code="residual", parcel_id="p-17")
        assert [await desk.send() for _ in range(2)] == [1, 0]
    (mail,) = box.mails
    assert (mail["From"], mail["To"]) == ("stafet@birkelund.example", f"{TO}, drift@birkelund.example")
    assert mail["Subject"] == "[Stafet birkelund-a] residual: 1 alarm"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith(".stafet@birkelund.example>")
    (body,) = bodies(box)
    assert "2026-03-01 13:00:00.000  parcel p-17\n" in body
    assert "add or correct a route" in body
    assert "stafet explain PARCEL" in body


@pytest.mark.requirement("R79", "R104")
async def test_words_of_others_are_not_mailed(site: Site):
    """A far side's reason or a key may hold anything; the kernel's own sentences are mailed whole."""
    box = Box()
    with serving(box) as port:
        await alarm(site, code="failed", text="egedal-journal: was not delivered: unknown Kim Fiktiv")
        await alarm(site, code="conflict", text="paper/x: Kim-Fiktiv.xml came again")
        await alarm(site, code="idle", text="subscription hears: nobody came")
        assert await mailing(site, port).send() == 3
    everything = "".join(map(str, box.mails)) + "".join(bodies(box))
    assert "Fiktiv" not in everything
    assert "subscription hears: nobody came" in everything


@pytest.mark.requirement("R79")
async def test_one_mail_a_kind_within_the_quiet_time(site: Site):
    """What comes meanwhile is one list in the next mail, cut where it is long; another kind is mailed at once."""
    box = Box()
    with serving(box) as port:
        desk = mailing(site, port, quiet=600)
        await alarm(site)
        await desk.send()
        for number in range(limits.MAIL_LISTED + 3):
            await alarm(site, parcel_id=f"p-{number}")
        await alarm(site, code="clock", text="the clock is off", parcel_id="")
        assert await desk.send() == 1
        site.clock.tick(600 * SECOND)
        assert await desk.send() == limits.MAIL_LISTED + 3
    assert [mail["Subject"].split("] ")[1] for mail in box.mails] == [
        "failed: 1 alarm",
        "clock: 1 alarm",
        f"failed: {limits.MAIL_LISTED + 3} alarms",
    ]
    last = bodies(box)[-1]
    assert last.count("parcel p-") == limits.MAIL_LISTED
    assert "and 3 more" in last


async def test_what_people_have_seen_to_is_not_mailed(site: Site):
    """A cleared alarm needs no mail; neither does one where no mail server is named."""
    box = Box()
    with serving(box) as port:
        made = await alarm(site)
        await site.runtime.do(commands.CALL, Call(alarms.clear, ([made.id], site.clock.now())))
        assert await mailing(site, port).send() == 0
        await alarm(site)
        assert await Mailing(site.runtime, Account.of(site.runtime.settings)).send() == 0
    assert box.mails == []


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the log says, with its level first."""
    lines: list[tuple[str, dict[str, Any]]] = []
    for level in ("warning", "error"):
        monkeypatch.setattr(module._log, level, lambda text, level=level, **facts: lines.append((level, facts)))
    return lines


@pytest.mark.requirement("R79")
async def test_later_is_asked_again_with_growing_waits(site: Site, said: list[Any]):
    """Nothing is lost: the mail goes once the server takes it, and the next refusal begins with a short wait again."""
    box = Box()
    with serving(box) as port:
        desk = mailing(site, port)
        await alarm(site)
        box.says = ["451 later", "421 later"]
        assert await desk.send() == 0
        site.clock.tick(limits.MAIL_LOOK - 1)
        assert (await desk.send(), len(box.says)) == (0, 1)
        site.clock.tick(1)
        assert await desk.send() == 0
        site.clock.tick(2 * limits.MAIL_LOOK)
        assert await desk.send() == 1
    assert [(level, facts["cause"], facts["again_in_seconds"]) for level, facts in said] == [
        ("warning", "SMTPDataError 451", 15),
        ("warning", "SMTPDataError 421", 30),
    ]


@pytest.mark.requirement("R79")
async def test_never_is_an_error_in_the_log_and_loses_nothing(site: Site, said: list[Any]):
    """A refusal for good; once the setting is right, the alarm is mailed."""
    box = Box()
    box.refuses = {TO: "550 nobody of that name"}
    with serving(box) as port:
        desk = mailing(site, port)
        await alarm(site)
        for _ in range(20):
            await desk.send()
            site.clock.tick(limits.MAIL_CEILING)
        assert {level for level, _ in said} == {"error"}
        assert said[-1][1] == {"cause": "SMTPRecipientsRefused 550", "again_in_seconds": limits.MAIL_CEILING // SECOND}
        box.refuses = {}
        assert await desk.send() == 1
    assert TO not in repr(said)


async def test_one_mailbox_that_is_refused_does_not_stop_the_others(site: Site, said: list[Any]):
    """The mail goes to those that are taken; the log says that some were not."""
    box = Box()
    box.refuses = {TO: "550 nobody of that name"}
    with serving(box) as port:
        await alarm(site)
        assert await mailing(site, port, to=[TO, "drift@birkelund.example"]).send() == 1
    assert said == [("error", {"number": 1, "codes": [550]})]


async def test_a_server_that_is_not_there_is_asked_again(site: Site, said: list[Any]):
    """As one that says later."""
    with serving(Box()) as port:
        pass
    desk = mailing(site, port)
    await alarm(site)
    assert await desk.send() == 0
    assert [(level, facts["cause"]) for level, facts in said] == [
        ("warning", "ConnectionRefusedError: Connection refused")
    ]
    box = Box()
    with serving(box) as port:
        assert await mailing(site, port).send() == 1


async def test_a_kind_with_strange_letters_stays_one_line(site: Site):
    """A gateway chooses the words of its codes; a header stays a header."""
    box = Box()
    with serving(box) as port:
        await alarm(site, code="odd\r\nBcc: all@birkelund.example")
        assert await mailing(site, port).send() == 1
    (mail,) = box.mails
    assert mail["Bcc"] is None
    assert "odd Bcc: all@birkelund.example: 1 alarm" in mail["Subject"]


# --- several nodes, crashes -------------------------------------------------------------------------------------------


@pytest.mark.requirement("R79")
async def test_of_several_nodes_one_mails(live: Site, neighbour: Site):
    """However they look at the same time."""
    box = Box()
    with serving(box) as port:
        await alarm_live(live)
        desks = [mailing(live, port), mailing(neighbour, port)]
        told = [n for _ in range(3) for n in await asyncio.gather(*(desk.send() for desk in desks))]
    assert (sum(told), len(box.mails)) == (1, 1)


async def alarm_live(site: Site) -> None:
    """Raise one on a node whose clock runs."""
    await site.runtime.do(commands.ALARM, Alarm("failed-1", site.clock.now(), "failed", "words"))


@pytest.mark.requirement("R79")
async def test_a_node_that_dies_before_it_has_noted_a_mail_loses_none(site: Site, monkeypatch: pytest.MonkeyPatch):
    """The mail may come twice, under the same id; the turn of the dead ends by itself."""
    box = Box()

    async def dies(kind: Any, item: Any, *rest: Any) -> Any:
        if getattr(item, "function", None) in (alarms.mailed, turns.end):
            raise asyncio.CancelledError
        return await site.runtime.writer.do(kind, item, *rest)

    with serving(box) as port:
        await alarm(site)
        with monkeypatch.context() as patch:
            patch.setattr(site.runtime, "do", dies)
            with pytest.raises(asyncio.CancelledError):
                await mailing(site, port).send()
        site.runtime.boot = "another"
        other = mailing(site, port)
        assert await other.send() == 0
        site.clock.tick(limits.MAIL_TURN)
        assert await other.send() == 1
    first, second = box.mails
    assert first["Message-ID"] == second["Message-ID"]


async def test_a_slow_server_does_not_outlast_the_turn(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Kinds that cannot be mailed in time wait for the next look."""
    box = Box()
    hand_over: Callable[..., None] = module._hand_over

    def slowly(*arguments: Any) -> None:
        hand_over(*arguments)
        site.clock.tick(limits.MAIL_TURN // 2)

    monkeypatch.setattr(module, "_hand_over", slowly)
    with serving(box) as port:
        await alarm(site, code="failed")
        await alarm(site, code="rejected")
        await alarm(site, code="held")
        desk = mailing(site, port)
        assert [await desk.send() for _ in range(3)] == [2, 1, 0]


# --- TLS and signing in -----------------------------------------------------------------------------------------------


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file with the authority its certificate is under."""
    authority = Authority("Birkelund mail demonstration CA", to_datetime(SystemClock().now() - DAY))
    identity = authority.issue("mail demonstration", "tls-server")
    chain, trust = tmp_path / "server.pem", tmp_path / "trust.pem"
    chain.write_bytes(identity.key_pem() + identity.chain_pem())
    trust.write_bytes(authority.pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, trust


@asynccontextmanager
async def signing_in(box: Box, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that wants STARTTLS and one user."""

    def known(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"stafet", b"very secret"), handled=False)

    options = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": known}
    with serving(box, **options) as port:
        yield port


@pytest.mark.requirement("R79")
async def test_starttls_and_a_password_from_the_environment(
    site: Site, certified: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch, said: list[Any]
):
    """The mail goes encrypted; a wrong password is an error in the log that does not repeat it."""
    box, (context, trust) = Box(), certified
    facts = {"host": "localhost", "tls": "starttls", "trust": str(trust), "user": "stafet", "password": "${MAIL_WORD}"}
    async with signing_in(box, context) as port:
        await alarm(site)
        monkeypatch.setenv("MAIL_WORD", "not the word")
        assert await mailing(site, port, **facts).send() == 0
        assert said[0][0] == "error", said
        assert "SMTPAuthenticationError 535" in said[0][1]["cause"]
        assert "not the word" not in repr(said)
        monkeypatch.setenv("MAIL_WORD", "very secret")
        assert await mailing(site, port, **facts).send() == 1
    assert box.secure == [True]


@pytest.mark.requirement("R79")
async def test_a_server_that_nobody_vouches_for_gets_no_mail(
    site: Site, certified: tuple[ssl.SSLContext, Path], said: list[Any]
):
    """Neither by STARTTLS nor where TLS comes first, nor one that offers none."""
    context, trust = certified
    box = Box()
    await alarm(site)
    with serving(box, tls_context=context) as port:
        assert await mailing(site, port, host="localhost", tls="starttls").send() == 0
    with serving(box) as port:
        assert await mailing(site, port, host="localhost", tls="starttls").send() == 0
    with serving(box, ssl_context=context) as port:
        assert await mailing(site, port, host="localhost", tls="tls").send() == 0
        assert await mailing(site, port, host="localhost", tls="tls", trust=str(trust)).send() == 1
    assert [facts["cause"].split(":")[0] for _, facts in said] == [
        "SSLCertVerificationError",
        "SMTPNotSupportedError",
        "SSLCertVerificationError",
    ]
    assert len(box.mails) == 1


def test_what_the_environment_lacks_is_named(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Before anything is mailed."""
    monkeypatch.delenv("MAIL_WORD", raising=False)
    with pytest.raises(ConfigError, match=r"mail\.password: the environment has no MAIL_WORD"):
        Account.of(settings(site, 25, user="stafet", password="${MAIL_WORD}"))


def test_minutes_are_long_enough():
    """A turn outlasts several slow answers."""
    assert 2 * limits.MAIL_TIMEOUT < limits.MAIL_TURN // 2 <= limits.MAIL_QUIET
    assert limits.MAIL_TURN >= MINUTE
