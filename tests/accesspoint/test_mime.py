"""MIME packaging: read the same however it arrives, bounded, and written as everyone reads it."""

from __future__ import annotations

import base64
import json
import quopri
import tracemalloc
from email import message_from_bytes
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accesspoint import limits, mime
from accesspoint.errors import MIME_INCONSISTENCY, EbmsError, HttpRefusal
from accesspoint.mime import ContentType, PartBegin, PartData
from tests.accesspoint.multipart import cut, events, outcome, part, parts_of, read, refused

# --- the Content-Type of an exchange ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("application/soap+xml", ContentType("application/soap+xml")),
        ("Application/SOAP+XML; charset=UTF-8; action=x", ContentType("application/soap+xml")),
        ("text/xml", ContentType("text/xml")),
        ("multipart/related; boundary=b", ContentType("multipart/related", "b")),
        (
            'Multipart/Related;TYPE="Application/SOAP+XML; a=b";Boundary="=-M9aw.../x==";start="<root@x.example>"',
            ContentType("multipart/related", "=-M9aw.../x==", "root@x.example", "application/soap+xml"),
        ),
        (
            'multipart/related;\r\n\tboundary="----=_Part_0_5.1";\r\n type=text/xml; start=root',
            ContentType("multipart/related", "----=_Part_0_5.1", "root", "text/xml"),
        ),
        ('multipart/related; boundary="a  b"', ContentType("multipart/related", "a  b")),
        (r'multipart/related; boundary="a\b"; boundary=c', ContentType("multipart/related", "ab")),
        ('multipart/related ; boundary = b ; start=""', ContentType("multipart/related", "b")),
        ('multipart/related; boundary=b; odd "; type=text/html', ContentType("multipart/related", "b")),
        (f"multipart/related; boundary={'x' * 70}", ContentType("multipart/related", "x" * 70)),
    ],
)
def test_a_content_type_is_understood_as_peers_write_it(value, meaning):
    """Quoted or bare, folded, in any case and order; of a repeated parameter the first counts."""
    assert mime.parse_content_type(value) == meaning


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "send application/soap+xml"),
        ("text/html", "send application/soap+xml"),
        ("application/xml", "send application/soap+xml"),
        ("multipart/mixed; boundary=b", "send application/soap+xml"),
        ("multipart/related", "boundary of 1 to 70"),
        ("multipart/related; boundary=", "boundary of 1 to 70"),
        ('multipart/related; boundary=""', "boundary of 1 to 70"),
        ('multipart/related; boundary="ends in a space "', "boundary of 1 to 70"),
        ('multipart/related; boundary="a\nb"', "boundary of 1 to 70"),
        ('multipart/related; boundary="b\n"', "boundary of 1 to 70"),
        ('multipart/related; boundary="a*b"', "boundary of 1 to 70"),
        (f"multipart/related; boundary={'x' * 71}", "boundary of 1 to 70"),
        ("multipart/related; boundary=b; type=text/html", "'text/html' is not AS4"),
        ("application/soap+xml; name=\u00e6", "not ASCII"),
        ("application/soap+xml; name=\udcff", "not ASCII"),
        ("application/soap+xml;" + "x" * limits.MIME_LINE, "too long"),
    ],
)
def test_another_content_type_is_415(value, reason):
    """Without a word of ebMS; the reason says what to send."""
    with pytest.raises(HttpRefusal) as refusal:
        mime.parse_content_type(value)
    assert refusal.value.status == 415
    assert reason in refusal.value.reason


def test_a_content_type_of_thousands_of_parameters_is_read_in_no_time():
    """The last of them still counts."""
    value = "multipart/related" + ";a=b" * 2000 + "; boundary=b"
    assert mime.parse_content_type(value).boundary == "b"


# --- Content-IDs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "present", "found"),
    [
        ("a@x.example", "a@x.example", "a@x.example"),
        ("a%40x.example", "a@x.example", "a@x.example"),
        ("a%40x.example", "a%40x.example", "a%40x.example"),
        ("<a@x.example>", "a@x.example", "a@x.example"),
        ("%3Ca@x.example%3E", "a@x.example", "a@x.example"),
        ("a+b", "a+b", "a+b"),
        ("a b", "a+b", None),
        ("A@x.example", "a@x.example", None),
        ("", "a", None),
    ],
)
def test_a_reference_finds_its_part(wanted, present, found):
    """As it stands, percent-decoded, without brackets; a plus is a plus, and capitals differ."""
    assert mime.match_cid(wanted, {present: 1, "other@x.example": 2}) == found


def test_the_exact_part_is_preferred():
    """Where one id is another's percent-encoding, each reference finds its own."""
    both = {"a%40b": 1, "a@b": 2}
    assert [mime.match_cid(wanted, both) for wanted in ("a%40b", "a@b")] == ["a%40b", "a@b"]


@pytest.mark.parametrize(
    ("header", "content_id"),
    [
        ("Content-ID: <a@x.example>", "a@x.example"),
        ("content-id:<a@x.example>", "a@x.example"),
        ("Content-Id: a@x.example", "a@x.example"),
        ("CONTENT-ID :  < a@x.example > ", "a@x.example"),
        ("Content-ID:\r\n\t<a@x.example>", "a@x.example"),
        ("Content-ID: <message>", "message"),
        ("Content-ID: <a\u0085b\u2028c@x.example>", "a\u0085b\u2028c@x.example"),
        ("Content-ID: <first>\r\nContent-ID: <second>", "first"),
        ("Content-ID:", ""),
        ("Content-Type: text/plain", ""),
    ],
)
def test_a_content_id_is_read_as_peers_spell_it(header, content_id):
    """Any case, brackets or none, folded; what looks like a line end to a text editor is none."""
    ((found, _, body),) = read(part(b"x", header) + b"--b--")
    assert (found, body) == (content_id, b"x")


def test_two_parts_are_never_called_the_same():
    """Else a reference would mean either; parts without an id are no pair."""
    twice = part(b"x", "Content-ID: <a>") + part(b"y", "Content-Id: a") + b"--b--"
    with pytest.raises(EbmsError) as refusal:
        events([twice])
    assert (refusal.value.field, refusal.value.cause) == ("Content-ID", "two parts have the same Content-ID")
    assert [body for _, _, body in read(part(b"x") + part(b"y") + b"--b--")] == [b"x", b"y"]


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"\r\n", b"\n"])
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n", b"\xef\xbb\xbf\r\n", b"for older readers\r\n"])
@pytest.mark.parametrize("after", [b"", b"\r\n", b"\n", b"   \r\n--b--\r\n--b\r\n\r\nmore"])
def test_a_message_is_its_parts(line, before, after):
    """With either line end, whatever stands before and after, also a byte order mark or further delimiters."""
    octets = part(b"<root/>", "Content-Type: application/soap+xml", "Content-ID: <r>", line=line)
    octets += part(b"", line=line) + part(b"\r\n\r\n- -\n--c\r\n", "Content-Type: image/png", line=line)
    assert read(before + octets + b"--b--" + after) == [
        ("r", "application/soap+xml", b"<root/>"),
        ("", "application/octet-stream", b""),
        ("", "image/png", b"\r\n\r\n- -\n--c\r\n"),
    ]


@pytest.mark.parametrize(
    ("octets", "bodies"),
    [
        (b"--b\r\n\r\n--b--", [b""]),
        (b"--b\r\n\r\n\r\n--b--", [b""]),
        (b"--b\r\n\r\n\r\n\r\n--b--", [b"\r\n"]),
        (b"--b\n\n--b--", [b""]),
        (b"--b\r\nA: b\r\n\r\n--b\r\nA: b\n\n--b--", [b"", b""]),
        (b"--b \t \r\n\r\nx\r\n--b\t\r\n\r\ny\r\n--b--", [b"x", b"y"]),
        (b"--b\r\n\r\n--\r\n--\r\n-b\r\n--b--", [b"--\r\n--\r\n-b"]),
        (b"--b\r\n\r\nx--b\r\n--b--", [b"x--b"]),
        (b"--b\r\n\r\n\r\r\n--b--", [b"\r"]),
        (b"--b\r\n\r\n\r\n\r\n\r\n--b--", [b"\r\n\r\n"]),
        (b"--b--", []),
        (b"junk--b\r\n--b\r\n\r\nx\r\n--b--", [b"x"]),
    ],
)
def test_the_line_end_before_a_delimiter_belongs_to_it(octets, bodies):
    """To the octet: two too many break a gzip stream or a seal."""
    assert [body for _, _, body in read(octets)] == bodies


BODIES = st.lists(
    st.binary(max_size=60) | st.text("\r\n-bA:= ", max_size=40).map(str.encode), min_size=1, max_size=4
).filter(lambda bodies: all(b"\n--b" not in b"\n" + body for body in bodies))


@settings(max_examples=80, deadline=None)
@given(BODIES, st.binary(max_size=20), st.lists(st.integers(1, 30), max_size=15), st.sampled_from([b"\r\n", b"\n"]))
@example([b"\r\n-", b"\r"], b"", [1] * 15, b"\r\n")
def test_any_split_gives_the_same_parts(bodies, after, sizes, line):
    """Bodies that tease the delimiter, in pieces of any size and one octet at a time."""
    if line == b"\n":
        bodies = [body.rstrip(b"\r") for body in bodies]  # a bare LF cannot be told from the end of CRLF
    octets = b"".join(part(body, f"Content-ID: <{index}>", line=line) for index, body in enumerate(bodies))
    octets += b"--b--" + after
    rest, pieces = octets, []
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert parts_of(events([*pieces, rest])) == read(octets)
    assert [body for _, _, body in read(octets)] == bodies


TEASING = st.lists(
    st.sampled_from(
        [
            b"--b",
            b"--",
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"b",
            b"Content-ID: <a>",
            b"A: b",
            b":",
            b"\xff",
            b"YQ==",
            b"=",
            b"YWFh",
        ]
        + [b"Content-Transfer-Encoding: " + name for name in (b"base64", b"quoted-printable", b"x")]
    ),
    max_size=24,
).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), TEASING, st.integers(1, 9))
@example(True, b"Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\nYQ==\r\n--b--", 1)
@example(True, b"Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n\r\n--b--", 1)
def test_any_octets_give_the_same_result_however_they_come(begun, octets, size):
    """The same parts or a refusal, and never another error."""
    octets = (b"--b\r\n" if begun else b"") + octets
    whole = outcome([octets])
    assert whole == "EBMS:0007" or isinstance(whole, list)
    assert outcome(cut(octets, 1)) == outcome(cut(octets, size)) == whole


# --- transfer encodings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [b"", b"a", b"ab", b"abc", bytes(range(256)) * 9])
@pytest.mark.parametrize("width", [4, 76, 1 << 30])
def test_base64_is_undone(plain, width):
    """In lines of any length, with spaces and an empty line at the end, before anything is hashed."""
    lines = b"\r\n".join(cut(base64.b64encode(plain), width)) + b" \t\r\n"
    ((_, _, body),) = read(part(lines, "Content-Transfer-Encoding: BASE64") + b"--b--")
    assert body == plain


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (b"YQ", "base64 is cut short"),
        (b"YWFh\r\nY", "base64 is cut short"),
        (b"YQ==YQ==", "base64 goes on after its end"),
        (b"YQ==\r\nYQ==", "base64 goes on after its end"),
        (b"YWE=\r\n\r\n \r\nYWFh", "base64 goes on after its end"),
        (b"Y*==", "a part is not valid base64"),
        (b"Y=Q=", "a part is not valid base64"),
        (b"====", "a part is not valid base64"),
        (b"YW\xc3\xa6", "a part is not valid base64"),
    ],
)
def test_base64_that_is_none_is_refused(lines, cause):
    """Nothing is skipped and nothing is guessed, however it arrives."""
    assert refused(part(lines, "Content-Transfer-Encoding: base64") + b"--b--") == cause


@pytest.mark.parametrize(
    ("lines", "plain"),
    [
        (b"", b""),
        (b"a=3Db", b"a=b"),
        (b"soft=\r\n line=\n end", b"soft line end"),
        (b"hard\r\nline=C3=A6\n", "hard\r\nline\u00e6\n".encode()),
        (b"=", b""),
    ],
)
def test_quoted_printable_is_undone(lines, plain):
    """Soft line ends disappear, hard ones stay."""
    ((_, _, body),) = read(part(lines, "Content-Transfer-Encoding: Quoted-Printable") + b"--b--")
    assert body == plain
    assert quopri.decodestring(lines) == plain


def test_a_quoted_printable_line_is_bounded():
    """A line is kept until it ends, so it must."""

    def message(length: int) -> bytes:
        return part(b"x\r\n" + b"y" * length, "Content-Transfer-Encoding: quoted-printable") + b"--b--"

    assert parts_of(events([message(limits.MIME_LINE)]))[0][2] == b"x\r\n" + b"y" * limits.MIME_LINE
    assert refused(message(limits.MIME_LINE + 1), sizes=(1 << 30, 1000)) == "a quoted-printable line is too long"


@pytest.mark.parametrize("name", ["binary", "8BIT", "7bit"])
def test_other_encodings_are_none(name):
    """The octets pass as they are."""
    assert read(part(b"=3D\xff", f"Content-Transfer-Encoding: {name}") + b"--b--")[0][2] == b"=3D\xff"


def test_an_unknown_encoding_is_refused():
    """And the header is named."""
    with pytest.raises(EbmsError) as refusal:
        events([part(b"x", "Content-Transfer-Encoding: gzip")])
    assert refusal.value.error is MIME_INCONSISTENCY
    assert refusal.value.field == "Content-Transfer-Encoding"


# --- hostile packaging ------------------------------------------------------------------------------------------------

WHOLE = part(b"<root/>", "Content-ID: <r>") + part(b"payload", "Content-ID: <p>") + b"--b--"


def test_a_message_that_is_cut_short_is_refused():
    """At every place before the last hyphen: what came is never all there was."""
    for end in range(len(WHOLE)):
        assert "cut short" in refused(WHOLE[:end], sizes=(1 << 30, 1))
    assert len(read(WHOLE)) == 2
    assert "cut short" in refused(WHOLE.removesuffix(b"--") + b"\r\n\r\nmore")


@pytest.mark.parametrize("boundary", ["B", "c", "-b", "b" * 70])
def test_another_boundary_finds_nothing(boundary):
    """Neither in another case nor a longer one."""
    assert "cut short" in refused(WHOLE, boundary)
    assert "names another one" in refused(WHOLE + bytes(limits.MIME_MARGIN + 100), boundary, (1 << 30, 1000))


@pytest.mark.parametrize("line", [b"--bc", b"--b-", b"--b -- ", b"--b: x"])
def test_a_boundary_line_holds_nothing_else(line):
    """One boundary that begins another would else be both."""
    assert refused(line + b"\r\n\r\nx\r\n--b--") == "a boundary line goes on after the boundary"
    assert refused(part(b"x") + line + b"\r\n\r\n--b--") == "a boundary line goes on after the boundary"


def test_a_boundary_line_ends():
    """Padding is read over up to the length of a line."""
    assert parts_of(events([b"--b" + b" " * limits.MIME_LINE + b"\n\nx\n--b--"]))[0][2] == b"x"
    for end in (b"", b"\n\nx\n--b--"):
        octets = b"--b" + b" " * (limits.MIME_LINE + 1) + end
        assert refused(octets, sizes=(1 << 30, 1000, 8000)) == "a boundary line does not end"


def test_what_stands_around_the_message_is_bounded():
    """Before the first boundary and after the last, each and together."""
    most = limits.MIME_MARGIN - 4
    for before, after in ((most, 0), (0, most), (most // 2, most // 2)):
        octets = b"e" * before + b"\r\n" * (before > 0) + WHOLE + b"e" * after
        assert len(parts_of(events([octets]))) == 2
        cause = refused(b"e" * before + octets + b"e" * (after + 8), sizes=(1 << 30, 999))
        assert cause.startswith("too many octets after" if after else "no boundary at the beginning")


def header_lines(count: int, length: int) -> list[str]:
    """``count`` header lines of ``length`` octets."""
    return [f"A{index}: ".ljust(length, "x") for index in range(count)]


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        (header_lines(limits.MIME_HEADERS + 1, 10), "a part has too many or too long headers"),
        (header_lines(1, limits.MIME_LINE + 1), "a part has too many or too long headers"),
        (["A: b" + "\r\n xxxxxx" * 1300], "a part has too many or too long headers"),
        (["A: " + "\u00e6" * (limits.MIME_LINE // 2)], "a part has too many or too long headers"),
        (header_lines(3, limits.MIME_LINE - 1), "the headers of a part do not end"),
        (["no colon"], "a part header has no name"),
        ([": no name"], "a part header has no name"),
        (["Content-Type: multipart/mixed; boundary=c"], "a part is itself multipart"),
        (["Content-Type: Multipart/Related"], "a part is itself multipart"),
    ],
)
def test_headers_of_a_part_are_few_short_and_named(headers, cause):
    """Folded lines are joined before they are measured, in octets."""
    assert refused(part(b"x", *headers) + b"--b--", sizes=(1 << 30, 1000, 64)) == cause


def test_as_many_headers_as_may_be_are_read():
    """The limits themselves are allowed."""
    for headers in (header_lines(limits.MIME_HEADERS, 20), header_lines(1, limits.MIME_LINE)):
        assert parts_of(events([part(b"x", *headers) + b"--b--"]))[0][2] == b"x"


def test_a_header_is_text():
    """Octets that are no UTF-8 are no header."""
    assert refused(b"--b\r\nA: \xff\r\n\r\nx\r\n--b--") == "a part header is not text"


def test_headers_that_never_end_are_refused_early():
    """A few kilobytes after they should have ended, whatever follows."""
    reader, fed = mime.MultipartReader("b"), 0
    with pytest.raises(EbmsError, match="do not end"):
        for piece in [b"--b\r\n", *[b"A: b\r\n" * 10] * 10_000]:
            fed += len(piece)
            list(reader.feed(piece))
    assert fed < limits.MIME_LINE * 2 + 200


def test_ten_thousand_parts_are_refused_at_the_first_too_many():
    """A hundred beside the SOAP part are taken."""
    fits = part(b"x") * (limits.PARTS + 1)
    assert len(parts_of(events([fits + b"--b--"]))) == limits.PARTS + 1
    reader, begun = mime.MultipartReader("b"), 0
    with pytest.raises(EbmsError, match="more than 100 parts"):
        for event in reader.feed(part(b"x") * 10_000 + b"--b--"):
            begun += isinstance(event, PartBegin)
    assert begun == limits.PARTS + 1


@pytest.mark.parametrize("encoding", ["binary", "base64", "quoted-printable"])
def test_memory_does_not_grow_with_a_part(encoding):
    """Eighty pieces pass through; what is held meanwhile is a few of them at most."""
    reader, octets = mime.MultipartReader("b" * 70), 0
    list(reader.feed(f"--{'b' * 70}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()))
    piece = b"YWFhYWFh\r\n" * 6000
    tracemalloc.start()
    try:
        for _ in range(80):
            octets += sum(len(event.octets) for event in reader.feed(piece) if isinstance(event, PartData))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert octets > 80 * 6000 * 6 - 100
    assert peak < 20 * len(piece)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_by_us_and_by_others():
    """The standard library finds the same parts, and so do we, from the Content-Type alone."""
    boundary, body = "stafet-0123", b"\r\n--stafet\x00\xff\n"
    octets = mime.root_head(boundary, "root@x.example") + b"<root/>"
    octets += mime.part_head(boundary, "a@x.example", "application/gzip") + body + mime.closing(boundary)
    kind = mime.content_type(boundary)
    assert mime.parse_content_type(kind) == ContentType("multipart/related", boundary, None, "application/soap+xml")
    written = [
        ("root@x.example", "application/soap+xml; charset=UTF-8", b"<root/>"),
        ("a@x.example", "application/gzip", body),
    ]
    assert read(octets, boundary) == written
    theirs = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + octets).get_payload()
    assert [(p["Content-ID"], p["Content-Type"]) for p in theirs] == [(f"<{c}>", t) for c, t, _ in written]
    assert theirs[0].get_payload() == "<root/>"
    assert [p["Content-Transfer-Encoding"] for p in theirs] == ["binary", "binary"]


def test_real_messages_of_other_makers_fall_apart_the_same_way_however_they_come(shared: Path):
    """Every multipart sample: whole, and in pieces of a thousand and one octets; the one with a repeated id is refused."""
    folder, seen = shared / "samples" / "as4", 0
    for row in json.loads((folder / "index.json").read_text()):
        octets = (folder / "messages" / row["file"]).read_bytes()
        if not (row["http_content_type"] or "").startswith("multipart"):
            continue
        boundary = mime.parse_content_type(row["http_content_type"]).boundary or ""
        seen += 1
        if "duplicate-content-id" in row["file"]:
            assert "same Content-ID" in refused(octets, boundary, (1 << 30, 1001))
            continue
        parts = parts_of(events([octets], boundary))
        assert b"Envelope" in parts[0][2], row["file"]
        assert parts_of(events(cut(octets, 1001), boundary)) == parts
    assert seen > 10
