"""A version as files: they load to the version itself, whatever it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.config import KERNEL_KINDS, Configuration, load
from core.documents import read_directory
from core.errors import ConfigError
from core.integration import Integration
from core.system import System
from core.written import files_of, text_of
from tests.core.estates import small

SCHEMA = b'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="letter"/></xs:schema>'


def read_back(root: Path, wanted: Configuration) -> Configuration:
    """What the files of a configuration load to."""
    for name, octets in files_of(wanted).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    return load(root, KERNEL_KINDS, ())


def test_a_version_comes_back_from_its_files(tmp_path: Path):
    """Documents, dates, conditions and files are the same, as one canonical text."""
    wanted = small(
        {"kind": "route", "id": "first", "order": 1, "when": "parcel.version == '1' && parcel.size > 0"}
        | {"to": [{"system": "egedal-journal", "gateway": "as4", "destination": "egedal"}]},
        {"kind": "service-agreement", "id": "journal", "since": "2026-01-01", "until": "2026-12-31"},
        {"kind": "integration", "id": "letters", "contract": {"format": "xsd", "file": "deep/letter.xsd"}},
        files={"deep/letter.xsd": SCHEMA, "other.json": b"\x00\xff"},
    )
    assert read_back(tmp_path, wanted).to_json() == wanted.to_json()
    assert sorted(p.name for p in (tmp_path / "route").iterdir()) == ["first.yaml", "to-journal.yaml"]


def test_a_document_says_what_it_is_and_leaves_its_defaults_out():
    """Kind and id come first; what is said by nobody is not written."""
    text = text_of(System(id="birkelund-post", authority="dk-birkelund"))
    assert text == "kind: system\nid: birkelund-post\nauthority: dk-birkelund\n"


def test_a_default_that_depends_on_other_fields_is_written():
    """The size limit of a handover that was raised to that of a file comes back as it was."""
    raised = Integration(id="letters", types=("letter",), max_size=limits.PAYLOAD_SIZE)
    assert Integration.model_validate(yaml.safe_load(text_of(raised))) == raised
    assert f"max_size: {limits.PAYLOAD_SIZE}" in text_of(raised)


def test_equal_parts_are_written_out():
    """Nothing stands for something else, as the reader demands."""
    route = {"kind": "route", "id": "two", "to": [{"system": "egedal-journal"}, {"system": "egedal-journal"}]}
    text = files_of(small(route))["route/two.yaml"].decode()
    assert text.count("system: egedal-journal") == 2
    assert "&" not in text


def test_a_folder_of_that_name_is_no_obstacle(tmp_path: Path):
    """Where a certificate's folder has the name a document's file would get, the document gets another."""
    wanted = small(files={"system/birkelund-post.yaml/a.json": b"x"})
    assert read_back(tmp_path, wanted).to_json() == wanted.to_json()


@pytest.mark.parametrize(
    "name", ["/etc/a.pem", "../a.pem", "a/../../b.pem", ".hidden.pem", "a//b.pem", "./a.pem", "a.key", "a", "\0.pem"]
)
def test_a_file_that_leads_elsewhere_is_not_written(name: str):
    """A version that came from who knows where writes into its own directory alone."""
    with pytest.raises(ConfigError, match="is no name of a certificate"):
        files_of(small(files={name: b"x"}))


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40)
_TRICKY = st.one_of(
    _TEXT, st.sampled_from(["yes", "null", "1e3", "2026-03-01", "0x10", "- a", "a: b", "#", "'", "&a", "~"])
)


@settings(max_examples=150)
@given(_TRICKY, _TRICKY.filter(bool), st.dictionaries(_TRICKY, _TRICKY, max_size=3))
def test_whatever_a_field_says_comes_back(tmp_path_factory: Any, title: str, authority: str, classes: dict[str, str]):
    """Texts that look like numbers, dates or YAML itself are read as what they are."""
    root = tmp_path_factory.mktemp("written")
    wanted = small(
        {"kind": "system", "id": "birkelund-post", "title": title, "authority": authority},
        {"kind": "route", "id": "to-journal", "match": {"classification": classes}},
    )
    for name, octets in files_of(wanted).items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(octets)
    directory = read_directory(root, KERNEL_KINDS)
    assert directory.problems == []
    assert {(d.model.kind, d.model.id): d.model for d in directory.documents} == {
        (kind, name): item for kind, items in wanted.documents.items() for name, item in items.items()
    }
