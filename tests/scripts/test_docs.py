"""The pages that are made: what counts as shown, and what is refused."""

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "docs.py"


def load():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("stafet_docs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


docs = load()

MARKED = """
import pytest
pytestmark = [pytest.mark.slow, pytest.mark.requirement("R1")]

@pytest.mark.requirement("R2", "R3")
def test_one(): ...

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.requirement("R4"))])
async def test_two(x): ...

@pytest.mark.requirement("R5")
class TestMany:
    pytestmark = pytest.mark.requirement("R6")

    @pytest.mark.requirement("R7")
    def test_three(self): ...
"""


def test_marks_are_found_wherever_pytest_takes_them():
    """On functions, parameters, classes and modules, with several ids."""
    found = dict(docs.marks_in(MARKED, "tests/t.py"))
    assert found == {
        "R1": "tests/t.py",
        "R2": "tests/t.py::test_one",
        "R3": "tests/t.py::test_one",
        "R4": "tests/t.py::test_two",
        "R5": "tests/t.py::TestMany",
        "R6": "tests/t.py::TestMany",
        "R7": "tests/t.py::TestMany::test_three",
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@pytest.mark.requirement('R1')\ndef helper(): ...\n", "no test"),
        ("@pytest.mark.requirement(NAME)\ndef test_a(): ...\n", "written out"),
        ("@pytest.mark.requirement(id='R1')\ndef test_a(): ...\n", "takes ids"),
        ("@pytest.mark.requirement()\ndef test_a(): ...\n", "takes ids"),
    ],
)
def test_a_mark_that_shows_nothing_is_refused(source, said):
    """A mark that no test run would carry is an error, with its place."""
    with pytest.raises(docs.DocsError, match=said):
        list(docs.marks_in(source, "tests/t.py"))


def repository(tmp_path, test="", page=""):
    """A small repository with two requirements."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "docs" / "how-to").mkdir(parents=True)
    (tmp_path / "tests" / "test_a.py").write_text(test)
    (tmp_path / "docs" / "how-to" / "send.md").write_text(page)
    return tmp_path


LISTED = {"R1": {"area": "frame", "text": "One | thing."}, "R2": {"area": "other", "text": "Another."}}


def test_the_page_counts_what_is_shown(tmp_path):
    """Tests and pages count apart, and what neither shows is said to be missing."""
    root = repository(tmp_path, "@pytest.mark.requirement('R1')\ndef test_a(): ...\n", "<!-- requirement: R1 R2 -->\n")
    page = docs.requirements_page(LISTED, docs.gather(root, LISTED))
    assert "2 requirements: **1** shown by tests, **1** by a page alone, **0** not yet." in page
    assert "| R1 | One \\| thing. | shown | `test_a.py::test_a`<br>[send](how-to/send.md) |" in page
    assert "## Other" in page


def test_what_nothing_shows_is_not_yet(tmp_path):
    """An empty repository shows nothing."""
    page = docs.requirements_page(LISTED, docs.gather(repository(tmp_path), LISTED))
    assert "**2** not yet" in page
    assert "| R2 | Another. | not yet |  |" in page


@pytest.mark.parametrize(
    "made", [{"test": "@pytest.mark.requirement('R9')\ndef test_a(): ...\n"}, {"page": "<!-- requirement: R9 -->\n"}]
)
def test_an_unknown_id_is_refused(tmp_path, made):
    """An id that is not listed is an error and names its file."""
    with pytest.raises(docs.DocsError, match=r"(test_a\.py|send\.md).*'R9'"):
        docs.gather(repository(tmp_path, **made), LISTED)


def test_the_list_has_every_number_once():
    """The committed list runs from R1 to R153."""
    listed = docs.read_requirements(SCRIPT.parent.parent / "docs" / "requirements.yaml")
    assert list(listed) == [f"R{number}" for number in range(1, 154)]


def test_a_gap_in_the_list_is_refused(tmp_path):
    """A dropped requirement keeps its line."""
    (tmp_path / "r.yaml").write_text("R1: {area: a, text: b}\nR3: {area: a, text: b}\n")
    with pytest.raises(docs.DocsError, match="R3 stands where R2 should"):
        docs.read_requirements(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("value", "expression", "said"),
    [
        (7_776_000_000_000, "90 * DAY", "90 days"),
        (1_000_000, "SECOND", "1 second"),
        (65_536, "64 * 1024", "64 KiB"),
        (4 * 1024**3, "4 * 1024**3", "4 GiB"),
        (10_000, "10_000", "10 000"),
        (60.0, "60.0", "60.0"),
    ],
)
def test_limits_are_said_in_their_unit(value, expression, said):
    """The unit is the one the source speaks in."""
    assert docs.readable(value, expression) == said


class Inner(BaseModel):
    """A part."""

    size: Annotated[int, Field(ge=1)] = 5


class Base(BaseModel):
    """What a document has."""

    title: str = ""
    """What people call it."""


class Outer(Base):
    """A document."""

    way: Literal["in", "out"]
    inner: Inner | None = None
    """The part of it."""
    hidden: str = Field(default="", exclude=True)


def test_settings_say_type_default_and_meaning():
    """A table row holds what a person writes, with the words below the field, inherited ones too."""
    section = docs._model_section(Outer, "## outer")
    assert "| `title` | text |  | What people call it. |" in section
    assert "| `way` | `in` or `out` | **required** |  |" in section
    assert "| `inner` | [Inner](#inner) |  | The part of it. |" in section
    assert not any("hidden" in line for line in section)
    assert "| `size` | whole number (at least 1) | `5` |  |" in docs._model_section(Inner, "### Inner")


def test_every_page_is_made_twice_alike():
    """Pages depend on the repository alone."""
    assert docs.pages() == docs.pages()


def test_a_stale_page_is_told(tmp_path, monkeypatch, capsys):
    """--check writes nothing, names the page and ends with 1; writing it makes --check pass."""
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "pages", lambda: {Path("docs/a.md"): "new\n"})
    assert docs.main(["--check"]) == 1
    assert "docs/a.md is out of date" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
