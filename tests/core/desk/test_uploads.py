"""The uploads desk: pieces that are durable, cuts, checksums, and what breaks off."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest

from core import limits
from core.clock import DAY, FrozenClock
from core.desk import uploads as desk
from core.desk.uploads import Checksum, Uploads, sweep
from core.errors import BadChecksum, NotFound, Overloaded, PayloadError, Refused, TooLarge, WrongOffset, WrongState
from core.ledger.uploads import Bounds, Upload
from core.retention import unreferenced
from tests.core.nodes import JOURNAL, SENDER, Site
from tests.gateways.as4.running import until


@pytest.fixture
def uploads(site: Site) -> Uploads:
    """A desk."""
    return Uploads(site.runtime)


async def pieces(*given: bytes | Exception) -> AsyncIterator[bytes]:
    """Octets as they come; an exception is how a connection breaks."""
    for one in given:
        if isinstance(one, Exception):
            raise one
        yield one


async def begin(uploads: Uploads, size: int) -> Upload:
    """An upload of the post system's."""
    return await uploads.begin(SENDER, name="letter.txt", media_type="text/plain", size=size)


async def take(uploads: Uploads, one: Upload, *given: bytes | Exception, check: Checksum | None = None) -> Upload:
    """Send octets on."""
    return await uploads.take(SENDER, one.id, one.received, pieces(*given), check)


async def test_it_comes_in_pieces_and_reads_back_whole(site: Site, uploads: Uploads):
    """Each is an object of its own, sealed; nothing of it is in the store as it came."""
    one = await begin(uploads, 11)
    for octets in ((b"hello ", b""), (), (b"wo", b"rld")):
        one = await take(uploads, one, *octets)
    assert (one.finished, [piece.size for piece in one.pieces]) == (True, [6, 5])
    assert b"".join(uploads.read_now(one)) == b"hello world"
    assert await uploads.look(SENDER, one.id) == one
    for name in site.objects():
        assert b"hello" not in site.runtime.store.path(name).read_bytes()


async def test_a_long_piece_is_cut_so_that_a_crash_costs_one_cut(
    site: Site, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
):
    """While it still comes, what was cut counts; what was not is forgotten."""
    monkeypatch.setattr(limits, "UPLOAD_PIECE", 4)
    one, came, goes_on = await begin(uploads, 100), [], asyncio.Event()

    async def coming() -> AsyncIterator[bytes]:
        for octets in (b"abcd", b"efgh", b"ij"):
            yield octets
            came.append((await uploads.look(SENDER, one.id)).received)
        await goes_on.wait()

    taking = asyncio.create_task(uploads.take(SENDER, one.id, 0, coming()))
    await until(lambda: len(came) == 3, "all has come")
    assert came == [4, 8, 8]
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert (await uploads.look(SENDER, one.id)).received == 8
    assert site.incoming() == []
    assert not uploads.busy


async def test_what_breaks_off_is_kept_and_the_cause_is_raised(site: Site, uploads: Uploads):
    """The next goes on from it; under a checksum nothing is kept."""
    one = await begin(uploads, 10)
    with pytest.raises(ConnectionResetError):
        await take(uploads, one, b"abc", ConnectionResetError())
    one = await uploads.look(SENDER, one.id)
    assert one.received == 3
    with pytest.raises(ConnectionResetError):
        await take(uploads, one, b"def", ConnectionResetError(), check=Checksum("sha1", b""))
    assert (await uploads.look(SENDER, one.id)).received == 3
    await until(lambda: len(site.objects()) == 1, "what was not kept is gone")
    assert site.incoming() == []


@pytest.mark.parametrize("algorithm", desk.ALGORITHMS)
async def test_a_checksum_covers_the_whole_piece_over_its_cuts(
    site: Site, uploads: Uploads, algorithm: str, monkeypatch: pytest.MonkeyPatch
):
    """Nothing counts before it was compared."""
    monkeypatch.setattr(limits, "UPLOAD_PIECE", 4)
    octets = os.urandom(4)
    right = Checksum(algorithm, hashlib.new(algorithm, octets * 3).digest())
    one = await begin(uploads, 12)
    with pytest.raises(BadChecksum, match=algorithm):
        await take(uploads, one, octets, octets, check=right)
    await until(lambda: site.objects() == [], "nothing is kept")
    one = await take(uploads, one, octets, octets, octets, check=right)
    assert (one.finished, len(one.pieces)) == (True, 3)


async def test_it_goes_on_from_where_it_is(uploads: Uploads):
    """Another offset is refused with the right one; another system's is not there; and one writes at a time."""
    one = await begin(uploads, 10)
    one = await take(uploads, one, b"abc")
    with pytest.raises(WrongOffset) as caught:
        await uploads.take(SENDER, one.id, 0, pieces(b"x"))
    assert caught.value.received == 3
    for name, system in ((one.id, JOURNAL), ("0" * 32, SENDER)):
        with pytest.raises(NotFound):
            await uploads.take(system, name, 3, pieces(b"x"))
        with pytest.raises(NotFound):
            await uploads.forget(system, name)
    uploads.busy.add(one.id)
    with pytest.raises(WrongState):
        await take(uploads, one, b"x")
    with pytest.raises(WrongState):
        await uploads.forget(SENDER, one.id)


async def test_two_nodes_that_write_at_once_do_not_both_count(site: Site, uploads: Uploads):
    """The second sees that it has moved on, and its object goes."""
    other, one = Uploads(site.runtime), await begin(uploads, 10)

    async def meanwhile() -> AsyncIterator[bytes]:
        yield b"abc"
        await other.take(SENDER, one.id, 0, pieces(b"defg"))

    with pytest.raises(WrongState, match="moved on"):
        await uploads.take(SENDER, one.id, 0, meanwhile())
    assert (await uploads.look(SENDER, one.id)).received == 4
    await until(lambda: len(site.objects()) == 1, "the second's object is gone")


async def test_what_is_too_much_is_refused(site: Site, uploads: Uploads, monkeypatch: pytest.MonkeyPatch):
    """More than was said, more than there is at all, too many pieces, one too many, and a full disk."""
    one = await begin(uploads, 3)
    with pytest.raises(TooLarge, match="the 3 octets"):
        await take(uploads, one, b"ab", b"cd")
    with pytest.raises(TooLarge):
        await begin(uploads, limits.PAYLOAD_SIZE + 1)
    monkeypatch.setattr(limits, "UPLOAD_PIECES", 1)
    one = await take(uploads, one, b"a")
    with pytest.raises(Refused, match="more than 1 pieces"):
        await take(uploads, one, b"b")
    monkeypatch.setattr(desk, "BOUNDS", Bounds(1, 100))
    with pytest.raises(Refused, match="under way"):
        await begin(uploads, 1)

    def full() -> None:
        raise Overloaded("no room")

    monkeypatch.setattr(site.runtime, "demand_space", full)
    with pytest.raises(Overloaded):
        await begin(uploads, 1)
    with pytest.raises(Overloaded):
        await take(uploads, one, b"b")
    assert not uploads.busy
    assert site.incoming() == []


async def test_a_damaged_or_shortened_upload_is_not_read(site: Site, uploads: Uploads):
    """What was stored is not there any more."""
    one = await take(uploads, await begin(uploads, 3), b"abc")
    path = site.runtime.store.path(one.pieces[0].object_id)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(PayloadError):
        b"".join(uploads.read_now(one))


async def test_its_objects_are_nobodys_only_when_its_time_is_over(site: Site, uploads: Uploads, clock: FrozenClock):
    """The sweep of unreferenced objects leaves them; afterwards the sweep of uploads takes them."""
    one = await take(uploads, await begin(uploads, 3), b"abc")
    path = site.runtime.store.path(one.pieces[0].object_id)
    os.utime(path, (1, 1))
    assert site.runtime.read_now(unreferenced, site.runtime.store, site.clock.now()) == []
    assert await sweep(site.runtime) == (0, [])
    clock.tick(DAY + 1)
    with pytest.raises(NotFound):
        await uploads.look(SENDER, one.id)
    assert await sweep(site.runtime) == (1, [one.pieces[0].object_id])
    assert site.objects() == []


async def test_what_is_given_up_goes(site: Site, uploads: Uploads):
    """Row and objects."""
    one = await take(uploads, await begin(uploads, 3), b"abc")
    await uploads.forget(SENDER, one.id)
    await until(lambda: site.objects() == [], "its object is gone")
    with pytest.raises(NotFound):
        await uploads.look(SENDER, one.id)
