"""The page of assertions: what counts as shown, what is refused, and that the committed list is whole."""

import re
from pathlib import Path

import pytest

from scripts import assertions, docs
from scripts.marks import DocsError, marks_in

ROOT = Path(__file__).resolve().parents[2]

LIST = """
A1: {profile: one, level: M, applies: yes, text: "First | line."}
A2: {profile: one, level: P, applies: yes, text: "Second.", why: "Nobody has built it."}
A3: {profile: two, level: O, applies: no, text: "Third.", why: "Not ours."}
"""

MARKED = """
@pytest.mark.requirement("R1")
@pytest.mark.assertion("A1")
def test_a(): ...

@pytest.mark.assertion("A1")
@pytest.mark.assertion("A1")
def test_b(): ...
"""


def repository(tmp_path, listed=LIST, test=MARKED):
    """A small repository with three assertions and two tests."""
    for name, text in (("docs/assertions.yaml", listed), ("tests/sub/test_a.py", test)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_each_assertion_has_its_tests_and_one_verdict(tmp_path):
    """Shown with its tests named once each, not yet and not applicable with their reason, and each profile counted."""
    page = assertions.assertions_page(repository(tmp_path), "<!-- made -->")
    assert page.startswith("# Conformance\n\n<!-- made -->\n\n3 assertions: **1** shown, **1** not yet, **1** not appl")
    assert "| A1 | mandatory | First \\| line. | shown | `sub/test_a.py::test_a`<br>`sub/test_a.py::test_b` |\n" in page
    assert "| A2 | preferred | Second. | not yet | Nobody has built it. |\n" in page
    assert "| A3 | permitted | Third. | not applicable | Not ours. |\n" in page
    assert "## One\n\n2: **1** shown, **1** not yet, **0** not applicable.\n" in page
    assert "## Two\n\n1: **0** shown, **0** not yet, **1** not applicable.\n" in page


def test_a_shown_assertion_may_have_a_remark(tmp_path):
    """What a test does not reach is said beside it."""
    page = assertions.assertions_page(
        repository(tmp_path, test=MARKED.replace("A1", "A2").replace("R1", "A1") + ONE), ""
    )
    assert "| shown | `sub/test_a.py::test_a`<br>`sub/test_a.py::test_b`<br>Nobody has built it. |\n" in page


ONE = '@pytest.mark.assertion("A1")\ndef test_c(): ...\n'


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (MARKED.replace("A1", "A9"), r"sub/test_a\.py: there is no assertion 'A9'"),
        (MARKED + ONE.replace("A1", "A3"), r"sub/test_a\.py: A3 does not apply"),
        ("", "no test shows A1: mark one"),
        (ONE.replace("test_c", "helper"), "1 assertion ids are on something that is no test"),
        (ONE.replace('"A1"', "NAME"), "the id of a mark assertion must be written out"),
        (ONE.replace('"A1"', ""), r"takes ids, as assertion\('CP_TA01', 'CP_TA02'\)"),
    ],
)
def test_a_mark_that_does_not_fit_the_list_is_refused(tmp_path, test, said):
    """An unknown id, one that does not apply, one on no test; and a line that nothing shows and nothing excuses."""
    with pytest.raises(DocsError, match=said):
        assertions.assertions_page(repository(tmp_path, test=test), "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("level: M, ", "", "A1 needs applies, level, profile, text"),
        ("level: M", "level: M, colour: red", "A1 needs"),
        ("level: M", "level: X", "level is M, P or O"),
        ("applies: no", "applies: maybe", "applies is yes or no"),
        (', why: "Not ours."', "", "A3 does not apply: why has to say it"),
        ("Second.", "Second.\\nline", "A2: every field is one line"),
    ],
)
def test_a_line_of_another_shape_is_refused(tmp_path, old, new, said):
    """The list says which line is wrong."""
    assert old in LIST
    with pytest.raises(DocsError, match=said):
        assertions.assertions_page(repository(tmp_path, listed=LIST.replace(old, new)), "")


def test_marks_of_one_kind_are_not_those_of_the_other():
    """A requirement is no assertion, whatever it is called."""
    assert list(marks_in(MARKED, "t.py", "requirement")) == [("R1", "t.py::test_a")]
    assert [name for name, _ in marks_in(MARKED, "t.py", "assertion")] == ["A1"] * 3


def test_the_list_has_every_official_assertion():
    """Seventy of the description, numbered without a gap, and our own for 2.0 which say so."""
    listed = assertions.read_assertions(ROOT / "docs" / "assertions.yaml")
    official = {"CP": 46, "4CT": 3, "SBDH": 2, "DR": 4, "DS": 3, "ENTSOG": 12}
    ours = [name for name in listed if name.startswith("E2_")]
    assert [n for n in listed if n not in ours] == [
        f"{profile}_TA{n:02}" for profile, count in official.items() for n in range(1, count + 1)
    ]
    assert {listed[name]["profile"].partition(":")[0] for name in ours} == {"ours"}
    assert not any(row["profile"].startswith("ours") for name, row in listed.items() if name not in ours)


def test_the_page_is_made_with_the_others():
    """`docs.py` writes it and checks it; every line of the list is on it once."""
    page = docs.pages(ROOT)[Path("docs/reference/conformance.md")]
    listed = assertions.read_assertions(ROOT / "docs" / "assertions.yaml")
    first = [re.split(r"(?<!\\)\|", line)[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert [name for name in first if name not in ("Id", "---")] == list(listed)
    assert docs.MADE in page
