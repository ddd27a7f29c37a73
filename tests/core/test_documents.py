"""Reading a configuration directory: everything that is wrong, with file, line, field and cause; and what YAML is not taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.config import KERNEL_KINDS
from core.documents import read_directory, read_value
from core.errors import ConfigError
from core.system import System

SYSTEM = "kind: system\nid: birkelund-post\nauthority: dk-birkelund\n"
AGREEMENT = "kind: service-agreement\nid: s\nintegration: i\nsystem: x\nmay: send\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A configuration directory with one good document."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "good.yaml").write_text(SYSTEM)
    return folder


KINDS = ", ".join(sorted(KERNEL_KINDS))


def problems(root: Path) -> list[str]:
    """Everything that is wrong, as people see it."""
    return [str(problem) for problem in read_directory(root, KERNEL_KINDS).problems]


def problem(root: Path, text: str | bytes, name: str = "a.yaml") -> str:
    """The one thing that is wrong with a file."""
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    (found,) = problems(root)
    return found


# --- what is read -----------------------------------------------------------------------------------------------------


def test_documents_and_certificates_are_read_wherever_they_lie(root: Path):
    """Several documents in a file, folders in folders, both endings; what is neither or hidden is left alone."""
    (root / "more").mkdir()
    (root / "more" / "two.yml").write_text(
        f"---\n{SYSTEM.replace('post', 'forms')}---\n---\n{SYSTEM.replace('post', 'x')}...\n"
    )
    (root / "more" / "THREE.YAML").write_text("\ufeff# an empty one\n")
    (root / "more" / "them.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
    (root / "none.crl").write_bytes(b"")
    (root / "README.txt").write_bytes(b"\xff" * (limits.DOCUMENT_SIZE + 1))
    (root / ".git").mkdir()
    (root / ".git" / "x.yaml").write_text("kind: [")
    (root / ".hidden.yaml").write_text("kind: [")
    found = read_directory(root, KERNEL_KINDS)
    assert found.problems == []
    assert [(r.model.id, r.file) for r in found.documents] == [
        ("birkelund-post", "good.yaml"),
        ("birkelund-forms", "more/two.yml"),
        ("birkelund-x", "more/two.yml"),
    ]
    assert found.files == {"more/them.pem": b"-----BEGIN CERTIFICATE-----", "none.crl": b""}


def test_a_document_knows_where_its_fields_stand(root: Path):
    """The deepest part that has a place of its own, else what it stands in, else the document."""
    (root / "r.yaml").write_text(
        "# routes\n---\nkind: route\nid: r\nmatch:\n  type: x\nto:\n  - system: a\n  - {system: b,\n     gateway: paper}\n"
    )
    read = read_directory(root, KERNEL_KINDS).documents[1]
    assert read.where(()) == "r.yaml:3"
    assert read.where(("match", "type")) == "r.yaml:6"
    assert read.where(("to", 1)) == "r.yaml:9"
    assert read.where(("to", 1, "gateway")) == "r.yaml:10"
    assert read.where(("to", 0, "destination")) == "r.yaml:8"
    assert read.where(("when",)) == "r.yaml:3"


def test_a_directory_that_is_none_is_said_so(tmp_path: Path):
    """Neither there, nor a file in its place."""
    missing = tmp_path / "config"
    assert problems(missing) == [f"{missing}: is no directory (name the configuration directory)"]
    missing.write_text(SYSTEM)
    assert problems(missing) == [f"{missing}: is no directory (name the configuration directory)"]


# --- what is wrong with a document ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: system\nid: x\n", "a.yaml:1: authority: Field required"),
        (f"{SYSTEM}\nport: 5\n", "a.yaml:5: port: Extra inputs are not permitted (this field does not exist; see "),
        ("id: x\n", f"a.yaml:1: kind: is missing (one of {KINDS})"),
        ("kind: sistem\nid: x\n", "a.yaml:1: kind: is 'sistem', which no installed part of Stafet knows (one of "),
        ("kind: [system]\nid: x\n", "a.yaml:1: kind: is ['system'], which no installed part"),
        ("- kind: system\n", "a.yaml:1: is no document (begin with `kind:` and `id:`)"),
        ("just words\n", "a.yaml:1: is no document"),
        ("\n\n5\n", "a.yaml:3: is no document"),
        ("kind: system\nid: 5\nauthority: x\n", "a.yaml:2: id: Input should be a valid string"),
        ("kind: system\nid: x\nauthority: no\n", "a.yaml:3: authority: Input should be a valid string"),
        ("kind: route\nid: r\nto:\n- system: a\n- {system: b,\n   gateway: B}\n", "a.yaml:6: to.1.gateway: String should match"),
        ("kind: route\nid: r\nto: [{system: a}]\nwhen: parcel.size\n", "a.yaml:4: when: gives int, not true or false"),
        (f"{AGREEMENT}since: 2026-02-02\nuntil: 2026-01-01\n", "a.yaml:1: s: until lies before since"),
    ],
)  # fmt: skip
def test_file_line_field_and_cause_are_named(root: Path, text: str, said: str):
    """A newcomer can go to the place and knows what to change."""
    assert problem(root, text).startswith(said)


def test_everything_that_is_wrong_is_found_at_once(root: Path):
    """In one file and in several, in one document and in the ones behind it, also behind one that cannot be read."""
    (root / "a.yaml").write_text("kind: system\nid: X\nfunny: 1\n---\na: {b: !!str c}\n---\nkind: nonsense\n")
    (root / "b.yaml").write_text(f"kind: route\nid: 2026-02-31\n---\n{SYSTEM}")
    (root / "c.yaml").write_text("a: [")
    (root / "d.pem").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    said = [text.partition(": ")[0] for text in problems(root)]
    assert said == ["a.yaml:5", "b.yaml:2", "c.yaml:1", "d.pem"]
    (root / "a.yaml").write_text("kind: system\nid: X\nfunny: 1\n---\nkind: nonsense\n")
    said = [text.partition(": ")[0] for text in problems(root)]
    assert said == ["a.yaml:2", "a.yaml:1", "a.yaml:3", "a.yaml:5", "b.yaml:2", "c.yaml:1", "d.pem"]
    assert [read.file for read in read_directory(root, KERNEL_KINDS).documents] == ["b.yaml", "good.yaml"]


def test_a_wrong_item_does_not_also_make_its_list_too_short(root: Path):
    """One mistake is one problem; a list that is empty is still said to be."""
    assert problem(root, "kind: route\nid: r\nto: [{system: A}]\n").startswith("a.yaml:3: to.0.system: ")
    assert "to: Tuple should have at least 1 item" in problem(root, "kind: route\nid: r\nto: []\n")


# --- YAML that is not taken -------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmnopqrstuvwx", "bcdefghijklmnopqrstuvwxy", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "a.yaml:1: is no plain YAML: anchors and aliases are not taken"),
        (f"{SYSTEM}title: &t x\n", "a.yaml:4: is no plain YAML: anchors and aliases are not taken"),
        (f"{SYSTEM}title: *t\n", "a.yaml:4: is no plain YAML: anchors and aliases are not taken"),
        ("kind: system\n<<: {id: x}\n", "a.yaml:2: is no plain YAML: could not determine a constructor for the tag"),
        ("!!python/object/apply:os.getcwd []\n", "a.yaml:1: is no plain YAML: tags are not taken"),
        (f"{SYSTEM}title: !!str 5\n", "a.yaml:4: is no plain YAML: tags are not taken"),
        (f"{SYSTEM}title: !secret x\n", "a.yaml:4: is no plain YAML: tags are not taken"),
        (f"{SYSTEM}id: other\n", "a.yaml:4: is no plain YAML: the key 'id' stands twice"),
        ("kind: route\nmatch: {type: a,\n type: b}\n", "a.yaml:3: is no plain YAML: the key 'type' stands twice"),
        ("kind: system\n1: x\n", "a.yaml:2: is no plain YAML: the key 1 is no text"),
        ("kind: system\n? [a]\n: x\n", "a.yaml:2: is no plain YAML: the key [] is no text"),
        ("kind: system\nyes: x\n", "a.yaml:2: is no plain YAML: the key True is no text"),
        ("a: [b\n", "a.yaml:2: is no plain YAML: expected ',' or ']'"),
        ("a: b: c\n", "a.yaml:1: is no plain YAML: mapping values are not allowed here"),
        ("a:\n\t- b\n", "a.yaml:2: is no plain YAML: found character '\\t' that cannot start any token"),
        ("a: \x07\n", "a.yaml: is no plain YAML: "),
        ("2026-13-01\n", "a.yaml:1: is no plain YAML: month must be in 1..12"),
        ("---\nkind: system\nid:\n - 2026-13-01\n", "a.yaml:4: is no plain YAML: month must be in 1..12"),
        ("a: " + "9" * 5000, "a.yaml:1: is no plain YAML: Exceeds the limit"),
        ("[" * 50_000, "a.yaml:1: is no plain YAML: more than 32 levels of lists and mappings are not taken"),
        ("".join(" " * n + "a:\n" for n in range(40)), "a.yaml:33: is no plain YAML: more than 32 levels"),
    ],
)  # fmt: skip
def test_yaml_that_is_misread_or_costs_too_much_is_refused(root: Path, text: str, said: str):
    """Anchors, tags, merges, keys that stand twice or are no text, and depths: each with its line, and quickly."""
    assert problem(root, text).startswith(said)


def test_depth_is_counted_and_not_length(root: Path):
    """Thousands of lists beside each other are no depth."""
    deep = limits.DOCUMENT_DEPTH - 1
    assert problem(root, "a: " + "[" * deep + "]" * deep).startswith("a.yaml:1: kind: is missing")
    assert problem(root, "a: " + "[" * (deep + 1) + "]" * (deep + 1)).endswith(
        "levels of lists and mappings are not taken"
    )
    assert problem(root, "a: [" + "[], " * 3000 + "]").startswith("a.yaml:1: kind: is missing")


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (SYSTEM.encode() + b"title: B\xf8rne\n", f"a.yaml: is not UTF-8 at octet {len(SYSTEM) + 8}"),
        (SYSTEM.encode("utf-16"), "a.yaml: is not UTF-8 at octet 0"),
        (b"\x00" * 10, "a.yaml: is no plain YAML: "),
        (b"#" * (limits.DOCUMENT_SIZE + 1), f"a.yaml: larger than {limits.DOCUMENT_SIZE} octets"),
    ],
)
def test_octets_that_are_no_text_and_files_that_are_too_large_are_refused(root: Path, octets: bytes, said: str):
    """The place of the first wrong octet is named; what is too large is not looked into."""
    assert problem(root, octets).startswith(said)


def test_a_file_may_be_as_large_as_the_limit(root: Path, monkeypatch: pytest.MonkeyPatch):
    """The last octet still counts."""
    monkeypatch.setattr(limits, "DOCUMENT_SIZE", 500)
    (root / "a.yaml").write_bytes(b"#" * 500)
    (root / "a.pem").write_bytes(b"x" * 500)
    assert problems(root) == []
    (root / "a.pem").write_bytes(b"x" * 501)
    assert problem(root, "#" * 500) == "a.pem: larger than 500 octets"


# --- what lies in the directory and is not of it ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["-----BEGIN PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----"]
)
def test_a_private_key_is_refused_with_where_it_belongs(root: Path, text: str):
    """It would become part of a version; the problem says nothing of what it holds."""
    said = problem(root, text, "us.pem")
    assert said == "us.pem: holds a private key (move it to the node's key folder with `stafet keys import`)"
    assert read_directory(root, KERNEL_KINDS).files == {}


def test_links_are_followed_to_files_of_the_directory_alone(root: Path, tmp_path: Path):
    """A link out of it, to a folder, to nothing or to itself is a problem: nothing is read there or left out in silence."""
    (tmp_path / "outside.yaml").write_text(SYSTEM.replace("post", "outside"))
    (tmp_path / "outside.pem").write_bytes(b"secret of somebody else")
    (root / "..data").mkdir()
    (root / "..data" / "inside.yaml").write_text(SYSTEM.replace("post", "inside"))
    for name, target in {
        "a.yaml": tmp_path / "outside.yaml",
        "b.pem": Path("../outside.pem"),
        "c.yaml": Path("nowhere.yaml"),
        "d.yaml": Path("d.yaml"),
        "e": tmp_path,
        "f.yaml": Path("/dev/zero"),
        "g.yaml": Path("..data/inside.yaml"),
        "..h.yaml": tmp_path / "outside.yaml",
    }.items():
        (root / name).symlink_to(target)
    found = read_directory(root, KERNEL_KINDS)
    cause = "is a link that leads to no file of this directory (put the file itself here)"
    assert [str(p) for p in found.problems] == [
        f"{name}: {cause}" for name in ("a.yaml", "b.pem", "c.yaml", "d.yaml", "e", "f.yaml")
    ]
    assert found.files == {}
    assert [(r.file, r.model.id) for r in found.documents] == [
        ("g.yaml", "birkelund-inside"),
        ("good.yaml", "birkelund-post"),
    ]


def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path):
    """Where the directory lies is the operator's business."""
    (root / "two.yaml").symlink_to("good.yaml")
    (tmp_path / "link").symlink_to(root)
    found = read_directory(tmp_path / "link", KERNEL_KINDS)
    assert ([r.file for r in found.documents], found.problems) == (["good.yaml", "two.yaml"], [])


def test_what_is_no_file_or_cannot_be_read_is_said(root: Path, monkeypatch: pytest.MonkeyPatch):
    """A pipe is not waited for; a folder may have any name; what the system refuses is passed on in words."""
    (root / "folder.yaml").mkdir()
    os.mkfifo(root / "pipe.yaml")
    assert problems(root) == ["pipe.yaml: is no file"]
    real = Path.open

    def denied(self: Path, *arguments: Any) -> Any:
        if self.name == "good.yaml":
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments)

    monkeypatch.setattr(Path, "open", denied)
    assert problems(root) == ["good.yaml: cannot be read: Permission denied", "pipe.yaml: is no file"]


def test_a_name_that_is_no_text_can_be_shown(root: Path):
    """The problem is printable whatever the file is called."""
    Path(os.fsdecode(os.fsencode(root) + b"/b\xf8rn.yaml")).write_text("kind: [")
    (said,) = problems(root)
    assert said.encode().startswith(b"b\\xf8rn.yaml:1: is no plain YAML")


# --- one value --------------------------------------------------------------------------------------------------------


def test_one_value_is_read_by_the_same_rules():
    """A file of one document, or nothing; two are one too many."""
    assert read_value(b"a: {b: [1, x]}\n", "node.yaml") == {"a": {"b": [1, "x"]}}
    assert read_value(b"# nothing\n---\n", "node.yaml") is None
    for octets, said in (
        (b"a: 1\n---\nb: 2\n", "node.yaml:3: begins a second document; one is taken"),
        (b"a: 1\na: 2\n", "node.yaml:2: is no plain YAML: the key 'a' stands twice"),
        (b"a: &b 1\n", "node.yaml:1: is no plain YAML: anchors and aliases are not taken"),
        (b"a: \xff\n", "node.yaml: is not UTF-8 at octet 3"),
        (b"a: 2026-99-01\n", "node.yaml:1: is no plain YAML: month must be in 1..12"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_value(octets, "node.yaml")
        assert str(caught.value) == said


PIECES = st.sampled_from(
    [*"abc{}[]:,-?&*!|>'\"%@`# \n\t~=<", "kind: system\n", "id: x\n", "authority: y\n", "---\n", "...\n", "<<: ", "!!int ",
     "2026-01-99", "0x", "1:60", "\ufeff", "\x85", ".inf"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(data=st.lists(PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode()) | st.binary(max_size=60))
def test_whatever_stands_in_a_file_is_a_document_or_a_problem(data: bytes, tmp_path_factory: pytest.TempPathFactory):
    """No octets make anything else: every document is a system, every problem names the file."""
    root = tmp_path_factory.mktemp("config")
    (root / "a.yaml").write_bytes(data)
    found = read_directory(root, KERNEL_KINDS)
    assert all(isinstance(read.model, System) for read in found.documents)
    assert all(p.file.partition(":")[0] == "a.yaml" and p.cause for p in found.problems)
