"""Parts of a multipart body, however it comes: one octet at a time as well; and what headers say."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import limits
from gateways.rest.parts import file_name, media_type, parts, promised
from gateways.rest.problems import ProblemError
from tests.gateways.rest.handing import Form, digest, form

KIND = form().headers["Content-Type"]


async def split(octets: bytes, size: int) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for at in range(0, len(octets), size):
        yield octets[at : at + size]


async def read(
    octets: bytes, size: int = 1 << 20, most: int = 10, kind: str = KIND
) -> list[tuple[str, str | None, bytes]]:
    """Every part's name, filename and octets."""
    found = []
    async for part in parts(kind, split(octets, size), most):
        found.append((part.name, part.filename, b"".join([chunk async for chunk in part.chunks()])))
    return found


def word(error: pytest.ExceptionInfo[ProblemError]) -> str:
    """Which problem it is."""
    return error.value.problem.type.word


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
async def test_any_split_of_the_body_gives_the_same_parts(size: int):
    """Octets that look like a boundary, or nearly, are octets."""
    nearly = b"\r\n------inventex\r\n--\r\n-----invented\r\n"
    made = form(("a.txt", nearly), ("", b"")).file("æ.bin", b"\r\n" * 40)
    assert (await read(made.octets, size))[1:] == [
        ("payload", "a.txt", nearly),
        ("payload", "", b""),
        ("payload", "æ.bin", b"\r\n" * 40),
    ]


async def test_a_part_says_its_media_type():
    """As it was said, or octets where nothing was."""
    octets = b'--b\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx\r\n'
    octets += b'--b\r\nContent-Disposition: form-data; name="b"\r\n\r\ny\r\n--b--\r\n'
    said = []
    async for part in parts("multipart/form-data; boundary=b", split(octets, 7), 5):
        said.append(part.media_type)
        assert [chunk async for chunk in part.chunks()]
    assert said == ["text/plain; charset=utf-8", "application/octet-stream"]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 100))
async def test_octets_come_through_as_they_are(payloads: list[bytes], size: int):
    """Whatever they are, unless they hold the boundary itself."""
    made = Form()
    for number, octets in enumerate(payloads):
        made.file(str(number), octets)
    found = await read(made.octets, size)
    assert [octets for _, _, octets in found] == payloads


async def test_a_small_part_is_read_whole_and_no_larger_one():
    """The limit is told by the part's name."""
    async for part in parts(KIND, split(form().octets, 9), 10):
        assert (await part.whole(1000)).startswith(b'{"integration"')
    with pytest.raises(ProblemError, match="part 'description' is larger than 10 octets") as caught:
        async for part in parts(KIND, split(form().octets, 9), 10):
            await part.whole(10)
    assert word(caught) == "too-large"


@pytest.mark.parametrize("said", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 71])
async def test_without_a_boundary_that_can_be_used_nothing_is_read(said: str):
    """Missing, or longer than the standard allows."""
    with pytest.raises(ProblemError) as caught:
        await read(b"", kind=said)
    assert word(caught) == "unreadable"


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        (b"", "unreadable"),
        (b"--", "unreadable"),
        (b"------invented", "unreadable"),
        (b"------invented\r\n\r\nno end", "unreadable"),
        (b"------invented\r\nX: " + b"y" * limits.PART_LINE + b"\r\n\r\n\r\n------invented--\r\n", "unreadable"),
        (b"------invented\r\n" + b"X: y\r\n" * 40 + b"\r\n\r\n------invented--\r\n", "unreadable"),
        (b"------invented\r\nno header\r\n\r\n\r\n------invented--\r\n", "unreadable"),
        (b"x" * (limits.PART_LINE + 1) + b"\r\n", "unreadable"),
        (Form().file("a", b"x", Content_Encoding="gzip").octets, "unsupported-media-type"),
        (Form().file("a", b"x", Content_Transfer_Encoding="quoted-printable").octets, "unsupported-media-type"),
        (Form().file("a", b"x", Content_Type="multipart/mixed; boundary=c").octets, "unsupported-media-type"),
        (form(*((str(n), b"") for n in range(10))).octets, "too-large"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_what_is_no_multipart_body_is_refused(octets: bytes, problem: str, size: int):
    """Broken, too long a line, too many headers or parts, parts within parts, encoded ones: a documented problem each."""
    with pytest.raises(ProblemError) as caught:
        await read(octets, size)
    assert word(caught) == problem


async def test_a_connection_that_breaks_is_no_problem_of_the_body():
    """It is what it is."""

    async def breaking() -> AsyncIterator[bytes]:
        yield form().octets[:50]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        async for part in parts(KIND, breaking(), 10):
            await part.whole(1000)


def test_a_digest_is_read_from_any_header_that_promises_one():
    """Of RFC 9530 and the older one; other algorithms are passed over; what is wrong is named."""
    octets = hashlib.sha256(b"x").digest()
    text = base64.b64encode(octets).decode()
    for headers in (
        {"repr-digest": digest(b"x")},
        {"content-digest": f"sha-512=:eA==:, {digest(b'x')}"},
        {"digest": f"SHA-256={text}"},
        {"repr-digest": "md5=:eA==:", "digest": f"SHA-256={text}"},
    ):
        assert promised(headers) == octets
    for headers in ({}, {"repr-digest": "sha-512=:eA==:"}, {"digest": "MD5=eA=="}):
        assert promised(headers) is None
    for headers in ({"repr-digest": "sha-256=x"}, {"repr-digest": "sha-256=:eA==:"}, {"digest": "SHA-256=e"}):
        with pytest.raises(ProblemError) as caught:
            promised(headers, "part 1: ")
        assert caught.value.problem.errors[0].pointer.startswith("part 1: ")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("a.txt", "a.txt"),
        ("../../a", "a"),
        ("C:\\x\\Å.pdf", "Å.pdf"),
        ("A\u030a", "Å"),
        (" a b ", "a b"),
        ("日本", "日本"),
    ],
)
def test_a_name_is_the_last_of_its_path_in_one_form(said: str, name: str):
    """Letters that are composed of two become one."""
    assert file_name(said, "x") == name


@pytest.mark.parametrize(
    "said", ["", ".", "..", "a/", "x/..", "a\x00b", "a\nb", "a\u202eb", "\udc80", "\ufffe", "x" * 256, "a\u2028b"]
)
def test_a_name_that_could_deceive_is_refused(said: str):
    """Empty, a folder, hidden characters, half characters, too long."""
    with pytest.raises(ProblemError) as caught:
        file_name(said, "part 1: filename")
    assert caught.value.problem.errors[0].pointer == "part 1: filename"


def test_a_media_type_is_one():
    """With parameters; nothing that could end a header."""
    assert media_type("text/plain; charset=utf-8", "x") == "text/plain; charset=utf-8"
    for said in ("", "text", "text/", "a/b\r\nX: y", "a/b;\x07", "a b/c", "x" * 128 + "/y", "æ/b"):
        with pytest.raises(ProblemError):
            media_type(said, "x")
