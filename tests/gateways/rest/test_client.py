"""The Python client against a running node, one that is killed and comes back among them."""

from __future__ import annotations

import io
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from conformance.estate import free_port
from conformance.town import AUTHORITY, Town, agreement, notification, subscription
from gateways.rest.client import Client, File, Loan, Refused, Unreachable

CARE, JOURNAL, ROBOT = "birkelund-care", "birkelund-journal", "birkelund-robot"
SOURCE = "/birkelund/care"
LIMIT = 1_000_000

DOCUMENTS: list[dict[str, Any]] = [
    notification("stays", "stay.began", "stay.ended", owner=AUTHORITY),
    agreement("stays", CARE, "send"),
    agreement("stays", ROBOT, "send"),
    agreement("stays", JOURNAL, "receive"),
    subscription("journal-stays", JOURNAL, "stays", match={"sender": CARE}),
    {"kind": "integration", "id": "notes", "types": ["note"], "owner": AUTHORITY},
    {"kind": "integration", "id": "small-notes", "types": ["small-note"], "owner": AUTHORITY, "max_size": LIMIT},
    *(agreement(name, *side) for name in ("notes", "small-notes") for side in ((CARE, "send"), (JOURNAL, "receive"))),
    {"kind": "route", "id": "to-journal", "to": [{"system": JOURNAL}]},
    {"kind": "quota", "id": "robot-slowly", "system": ROBOT, "rate": 1, "burst": 1},
]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A node in a process of its own, for all tests of this module."""
    made = Town(tmp_path_factory.mktemp("town"), dict.fromkeys((CARE, JOURNAL, ROBOT), AUTHORITY)).make(DOCUMENTS)
    made.start()
    yield made
    made.kill()


def client(town: Town, system: str, **more: Any) -> Client:
    """A system's client."""
    return Client(town.url, town.root / "clients" / f"{system}.pem", town.root / "ca.pem", **more)


@pytest.fixture
def care(town: Town) -> Iterator[Client]:
    """Who sends."""
    with client(town, CARE) as made:
        yield made


@pytest.fixture
def journal(town: Town) -> Iterator[Client]:
    """Who receives; what a test leaves behind is taken away."""
    with client(town, JOURNAL) as made:
        yield made
        for box in ("journal-stays", ""):
            while left := made.pull(box):
                made.ack(*left, subscription=box)


def tell(care: Client, *names: str) -> None:
    """One event under each name."""
    for name in names:
        care.publish("stay.began", {"name": name}, source=SOURCE, id=name)


def names(loans: list[Loan]) -> list[str]:
    """The events' ids."""
    return [loan.event["id"] for loan in loans]


@pytest.mark.requirement("R97")
def test_an_event_counts_once(care: Client, journal: Client):
    """Under its id, by whichever way it comes; what is wrong with one of several is said of it alone."""
    given = {"source": SOURCE, "id": "once", "correlationid": "case-1"}
    first = care.publish("stay.began", {"ward": "K4"}, **given)
    again = care.publish("stay.began", {"ward": "K4"}, **given)
    assert (first["status"], again["status"], again["parcel"]) == ("accepted", "known", first["parcel"])
    whole = {"specversion": "1.0", "source": SOURCE, "type": "stay.began"}
    said = care.publish_all([{**whole, "id": "second"}, {**whole, "id": "third", "type": "unheard-of"}])
    assert [one["status"] for one in said] == ["accepted", "refused"]
    assert care.publish("stay.began", source=SOURCE)["status"] == "accepted"
    loans = journal.pull("journal-stays", wait=5)
    assert names(loans)[:2] == ["once", "second"]
    assert (loans[0].data, loans[0].event["correlationid"], loans[1].data) == ({"ward": "K4"}, "case-1", None)
    assert journal.ack(*loans, subscription="journal-stays") == ["done"] * 3


def test_what_is_followed_is_acknowledged_after_the_work(care: Client, journal: Client):
    """When the next is asked for, not before; ``ending`` says when to stop."""
    tell(care, "f-1", "f-2", "f-3")
    seen: list[Loan] = []
    for loan in journal.follow("journal-stays", most=2, ending=lambda: len(seen) == 3):
        seen.append(loan)
    assert names(seen) == ["f-1", "f-2", "f-3"]
    assert journal.pull("journal-stays") == []


def test_leaving_the_loop_gives_back(care: Client, journal: Client):
    """The one in hand, and those that were lent with it."""
    tell(care, "l-1", "l-2")
    with closing(journal.follow("journal-stays", delay=0)) as loans:
        assert next(loans).event["id"] == "l-1"
    again = journal.pull("journal-stays", wait=5)
    assert sorted(names(again)) == ["l-1", "l-2"]
    assert {loan.attempt for loan in again} == {2}


def test_work_that_raises_gives_back(care: Client, journal: Client):
    """The error goes on; the loan comes again, and when the work ends well it is done."""
    tell(care, "w-1")
    (loan,) = journal.pull("journal-stays", wait=5)
    with pytest.raises(KeyError), journal.working(loan, subscription="journal-stays", delay=0):
        raise KeyError("a bug")
    (loan,) = journal.pull("journal-stays", wait=5)
    with journal.working(loan, subscription="journal-stays"):
        assert loan.attempt == 2
    assert journal.ack(loan, subscription="journal-stays") == ["done"], "saying it twice does no harm"
    assert journal.pull("journal-stays") == []


def test_more_time_not_now_and_never(care: Client, journal: Client):
    """The words for a loan, and what each is answered."""
    tell(care, "v-1")
    (loan,) = journal.pull("journal-stays", wait=5, lease=2)
    assert journal.extend(loan, subscription="journal-stays", lease=60) == ["done"]
    assert journal.nack(loan, subscription="journal-stays", reason="busy") == ["done"]
    (loan,) = journal.pull("journal-stays", wait=5)
    assert journal.reject(loan, subscription="journal-stays", code="no-such-ward") == ["done"]
    assert journal.pull("journal-stays") == []


@pytest.mark.requirement("R29", "R97")
def test_a_handover_there_and_its_receipt_back(care: Client, journal: Client, tmp_path: Path):
    """Files under their names, compared by SHA-256; the same key counts once; the sender reads the verdict in its feed."""
    small, large = tmp_path / 'båd "x".txt', tmp_path / "large.bin"
    small.write_bytes(b"a note")
    large.write_bytes(secrets.token_bytes(3_000_000))
    files = [File(small, "text/plain"), File(large, name="renamed.bin"), File(small)]
    description = {"integration": "notes", "subjects": ["a person"]}
    given = care.hand_over(description, files, key="note-1")
    assert care.hand_over(description, files, key="note-1")["parcel"] == given["parcel"]
    (loan,) = journal.pull(wait=5)
    assert [one["name"] for one in loan.data["payloads"]] == ['båd "x".txt', "renamed.bin", 'båd "x".txt']
    assert loan.data["description"]["subjects"] == ["a person"]
    for payload, sent in zip(loan.data["payloads"], (small, large, small), strict=True):
        journal.fetch(payload, target := io.BytesIO())
        assert target.getvalue() == sent.read_bytes()
    assert journal.ack(loan) == ["done"]
    _, after = care.receipts()
    told = journal.receipt(given["parcel"], "rejected", code="unreadable", text="the page is blank")
    assert told["state"] == "rejected"
    (receipt,), following = care.receipts(after, wait=5)
    assert (receipt["parcel"], receipt["verdict"], receipt["code"]) == (given["parcel"], "rejected", "unreadable")
    assert care.receipts(following) == ([], following)
    assert care.handover(given["parcel"])["deliveries"][0]["state"] == "rejected"


def test_a_name_that_would_end_a_header_is_not_sent(care: Client, tmp_path: Path):
    """Nor is anything else then."""
    (tmp_path / "note").write_bytes(b"a note")
    with pytest.raises(ValueError, match="cannot be seen"):
        care.hand_over({"integration": "notes"}, [File(tmp_path / "note", name="a\r\nb")])


def test_other_octets_than_announced_are_not_used(care: Client, journal: Client, tmp_path: Path):
    """Whoever trusts an announcement gets what it says, or an error."""
    (tmp_path / "note").write_bytes(b"a note")
    care.hand_over({"integration": "notes"}, [File(tmp_path / "note")])
    (loan,) = journal.pull(wait=5)
    with pytest.raises(ValueError, match="another SHA-256"):
        journal.fetch({**loan.data["payloads"][0], "digest": "0" * 64}, io.BytesIO())


@pytest.mark.requirement("R9", "R97")
def test_a_node_that_is_killed_and_comes_back(town: Town, care: Client, journal: Client):
    """In between, one publishes and acknowledges as ever: it takes longer, and nothing is lost or twice."""
    tell(care, "k-1")
    (loan,) = journal.pull("journal-stays", wait=5, lease=600)
    town.kill()
    starting = threading.Timer(1, town.start)
    starting.start()
    tell(care, "k-2")
    assert journal.ack(loan, subscription="journal-stays") == ["done"]
    starting.join()
    assert names(journal.pull("journal-stays", wait=5)) == ["k-2"]


class Killing(io.BytesIO):
    """A target that kills the node when the first octets come, and starts it again."""

    town: Town | None = None

    def write(self, octets: Any) -> int:
        """Write, after the accident."""
        if self.town is not None:
            town, self.town = self.town, None
            town.kill()
            town.start()
        return super().write(octets)


def test_a_transfer_that_breaks_off_goes_on(town: Town, care: Client, journal: Client, tmp_path: Path):
    """From the octet where it stopped, and is compared as a whole."""
    sent = secrets.token_bytes(24_000_000)
    (tmp_path / "scan.bin").write_bytes(sent)
    care.hand_over({"integration": "notes"}, [File(tmp_path / "scan.bin")])
    (loan,) = journal.pull(wait=5, lease=600)
    target = Killing()
    target.town = town
    journal.fetch(loan.data["payloads"][0], target)
    assert target.town is None
    assert target.getvalue() == sent


def test_a_refusal_is_an_error_with_its_places(care: Client, journal: Client, tmp_path: Path):
    """With the problem's word, for programs, and field and cause, for people."""
    with pytest.raises(Refused) as caught:
        care.publish("stay.began", source=SOURCE, sensitivity="secret")
    assert (caught.value.status, caught.value.errors[0]["pointer"]) == (422, "/sensitivity")
    assert "/sensitivity" in str(caught.value)
    with pytest.raises(Refused) as caught:
        care.pull("journal-stays")
    assert (caught.value.status, caught.value.word) == (404, "not-found")
    (tmp_path / "large.bin").write_bytes(bytes(12 * LIMIT))
    with pytest.raises(Refused) as caught:
        care.hand_over({"integration": "small-notes"}, [File(tmp_path / "large.bin")])
    assert (caught.value.status, caught.value.word) == (413, "too-large")
    assert str(LIMIT) in caught.value.detail
    assert journal.pull() == []


def test_who_is_asked_to_come_back_does(town: Town):
    """After the time that the node says, unless that is longer than one has patience for."""
    with client(town, ROBOT) as robot:
        robot.publish("stay.began", source=SOURCE, id="r-1")
        began = time.monotonic()
        assert robot.publish("stay.began", source=SOURCE, id="r-2")["status"] == "accepted"
        assert time.monotonic() - began >= 0.5
        robot.patience = 0
        with pytest.raises(Unreachable, match="POST"):
            robot.publish("stay.began", source=SOURCE, id="r-3")


def test_a_node_that_stays_away_or_is_another(town: Town):
    """The first is an error when patience ends; the second at once, for waiting does not make it the right one."""
    with (
        Client(f"https://localhost:{free_port()}", authority=town.root / "ca.pem", patience=0.3) as lost,
        pytest.raises(Unreachable, match="ConnectionRefused"),
    ):
        lost.pull("journal-stays")
    with Client(town.url) as stranger, pytest.raises(ssl.SSLCertVerificationError):
        stranger.pull("journal-stays")


class Moody(BaseHTTPRequestHandler):
    """Says "later" once without saying when, breaks off in its answer once, then answers with what it was told."""

    asked = 0

    def do_POST(self) -> None:
        """One request."""
        self.rfile.read(int(self.headers["Content-Length"]))
        Moody.asked += 1
        if Moody.asked == 1:
            self.send_error(503)
            return
        said = b'{"status": "' + self.headers["Authorization"].encode() + b'"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said if Moody.asked > 2 else said[:5])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def test_a_token_is_asked_for_each_time():
    """It may have ended between two attempts; an answer that breaks off is no answer."""
    server = HTTPServer(("127.0.0.1", 0), Moody)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tokens = iter(("one", "two", "three"))
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", token=lambda: next(tokens)) as caller:
            assert caller.publish("x", source="/x")["status"] == "Bearer three"
    finally:
        server.shutdown()
        server.server_close()
