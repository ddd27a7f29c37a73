"""Conditions of routes: what is refused when written, and what a condition that was taken can do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.condition import FIELDS, FUNCTIONS, LOOPS, compiled, evaluate, facts
from core.description import Address, Classification, Description, Reference

LETTER = Description(
    type="letter",
    sender="birkelund-post",
    receiver=Address(system="egedal-journal", function="benefits"),
    classifications=(Classification(scheme="topics", code="27.18"),),
    references=(Reference(kind="case", id="B-17"),),
    subjects=("somebody who does not exist",),
    size=1200,
    attributes={"as4.case": "B-17"},
)


def said(condition: str, description: Description = LETTER) -> tuple[bool, str]:
    """What a condition says of a description."""
    return evaluate(compiled(condition), facts(description, "letters"))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("parcel.size < 2000 && parcel.type == 'letter'", True),
        ("parcel.size >= 2000 || parcel.priority == 'urgent'", False),
        (
            "parcel.integration == 'letters' && parcel.receiver == 'egedal-journal' && parcel.function == 'benefits'",
            True,
        ),
        ("'as4.case' in parcel.attributes && parcel.attributes['as4.case'].matches('^B-[0-9]+$')", True),
        ("'as4.other' in parcel.attributes && parcel.attributes['as4.other'] == 'x'", False),
        ("parcel.classifications['topics'].startsWith(\"27.\")", True),
        ("parcel.references[0].kind == 'case' && size(parcel.references) == 1", True),
        ("parcel.occurred == '' && parcel.correlation_id == ''", True),
        ("has(parcel.digest) ? parcel.digest.size() == 0 : false", True),
        ("timestamp('2026-03-01T12:00:00Z').getFullYear() == 2026", True),
        ("parcel.version in ('1' == '1' ? ['1'] : [])", True),
        ("parcel.size in [0x4b0, 1200u, 1.2e3] // any way of writing it", True),
        ("parcel.type == 'all (of, it)' || parcel.type == r'map(\\d)'", False),
        ("!(parcel.type.contains('''a ' quote'''))", True),
        ("b'a' + b'c' == b'ac' && null == null && true", True),
    ],
)
def test_a_condition_holds_or_does_not(condition: str, holds: bool):
    """Fields, attributes, classifications, literals of every kind and comments are read as CEL says."""
    assert said(condition) == (holds, "")


def test_facts_are_the_description_without_what_is_personal():
    """Every field has a value, the subjects are not among them, and nothing is null."""
    seen = facts(LETTER, "letters")
    assert set(seen) == FIELDS
    assert "subjects" not in seen
    assert None not in seen.values()
    assert "does not exist" not in str(seen)
    bare = facts(Description(type="x", sender="y"), "z")
    assert [bare[name] for name in ("receiver", "function", "occurred", "expires", "process_id")] == [""] * 5
    with pytest.raises(ValueError, match="a parcel has no 'subjects'; it has attributes, classifications"):
        compiled("size(parcel.subjects) > 0")


@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        ("parcel.size <", "^not a CEL condition: "),
        ("", "^not a CEL condition: "),
        ("parcel.size < 5 }", "^not a CEL condition: "),
        ("(" * 500 + "true" + ")" * 500, "^not a CEL condition: "),
        ("size < 5", "^knows nothing called 'size'; conditions speak of parcel$"),
        ("false && sender == 'x'", "^knows nothing called 'sender'"),
        ("parcel.sise < 5", "^a parcel has no 'sise'; it has attributes, "),
        ("false && parcel . /* no */ size == 1", "^not a CEL condition: "),
        ("false && parcel\n.\nsise == 1", "^a parcel has no 'sise'"),
        ("has(parcel.colour)", "^a parcel has no 'colour'"),
        ("false && open('x')", "^knows no function called 'open'; it knows bytes, contains, "),
        ("parcel.type.shout() == 'X'", "^knows no function called 'shout'"),
        ("type(1) == int", "^knows no function called 'type'"),
        ("cel.bind(x, 1, x) == 1", "^knows nothing called 'cel'"),
        ("google.protobuf.Int64Value{value: 1} == 1", "^knows nothing called 'google'"),
        ("parcel.size", "^gives int, not true or false$"),
        ("parcel.type + 'x'", "^gives str, not true or false$"),
        ("parcel", "^gives dict, not true or false$"),
        ("parcel.size < '5'", "^cannot be evaluated: No such overload"),
        ("parcel.type", "^gives str"),
        ("parcel.type.startsWith(1)", "^cannot be evaluated: Undefined variable or function: 'startsWith'"),
        ("parcel.type.matches('(')", r"^'\(' is no pattern that can be used$"),
        ("false && parcel.type.matches('(a{1000}){1000}')", "is no pattern that can be used$"),
        ("false && parcel.type.matches(b'a')", "^b'a' is no pattern that can be used$"),
        ("parcel.type.matches(parcel.sender)", "^takes a pattern from elsewhere; write it out"),
        ("parcel.type.matches('a' + parcel.sender)", "^takes a pattern from elsewhere"),
        ("matches(parcel.type, 'a')", "^takes a pattern from elsewhere"),
    ],
)
def test_a_slip_of_the_pen_is_found_when_it_is_written(condition: str, cause: str):
    """Bad syntax, unknown names, fields, functions, types and patterns are refused, also where they would not be reached."""
    with pytest.raises(ValueError, match=cause):
        compiled(condition)


TEN = "[1,2,3,4,5,6,7,8,9,10]"


@pytest.mark.parametrize(
    "condition",
    [
        "[1].all(x, true)",
        "[1].all(parcel, true)",
        "parcel.references.exists(r, r.kind == 'case')",
        "[1].exists_one(x, true)",
        "[1].existsOne(x, true)",
        "[1].map(parcel, parcel).size() == 1",
        "size([1].filter(parcel, true)) == 1",
        "[1] . all // a comment between\n ( parcel, true)",
        "'\\'' == \"'\" && [1].all(parcel, true)",
        "r'\\' == '' && [1].all(parcel, true)",
        "'''it's''' == '' && [1].all(parcel, true) && '' == ''",
        "'//' == '' && [1].all(parcel, true)",
        ".".join([TEN] + [f"all(parcel, {TEN}" for _ in range(20)]) + ".all(parcel, true)" + ")" * 20,
    ],
)
def test_loops_are_refused(condition: str):
    """However it is dressed, a condition with a loop is not taken: one that is nested would never end."""
    with pytest.raises(ValueError, match=r"^has a loop, '\w+'; conditions have none$"):
        compiled(condition)


@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        ("parcel.attributes['as4.none'] == 'x'", "'as4.none'"),
        ("parcel.classifications['none'] == 'x'", "'none'"),
        ("parcel.references[3].kind == 'case'", "index out of bounds: 3"),
        ("parcel.size / (parcel.size - 1200) == 1", "division by zero in CEL expression"),
        ("parcel.size + 9223372036854775807 > 0", "Arithmetic overflow in 'add' on 1200 and 9223372036854775807."),
        ("int(parcel.type) == 1", "Function 'int' error: string parse error: invalid digit found in string."),
        ("timestamp(parcel.sender) < timestamp('2026-03-01T12:00:00Z')", "Function 'timestamp' error: "),
        ("parcel.occurred < 5", "No such overload"),
    ],
)
def test_what_depends_on_the_parcel_is_said_when_it_happens(condition: str, cause: str):
    """A condition that fails for some parcels only is taken, and for those it is a problem in words and never true."""
    holds, problem = said(condition)
    assert not holds
    assert problem.startswith(f"its condition cannot be evaluated: {cause}")
    assert "\n" not in problem


def test_a_condition_may_turn_out_to_be_no_truth():
    """What is true or false for one parcel and a number for another is a problem for the other."""
    assert said("parcel.size == 0 ? true : parcel.size", Description(type="x", sender="x")) == (True, "")
    assert said("parcel.size == 0 ? true : parcel.size") == (False, "its condition gives int, not true or false")


CALLS: dict[str, str] = {
    "has": "has(parcel.size)",
    "size": "size('a') == 1 && 'a'.size() == 1",
    "contains": "'ab'.contains('b')",
    "startsWith": "'ab'.startsWith('a')",
    "endsWith": "'ab'.endsWith('b')",
    "matches": "'ab'.matches('^a')",
    "int": "int('1') == 1",
    "uint": "uint('1') == 1u",
    "double": "double('1') == 1.0",
    "string": "string(1) == '1'",
    "bytes": "bytes('a') == b'a'",
    "timestamp": "timestamp('2026-03-01T12:00:00Z') > timestamp('2026-03-01T11:00:00Z')",
    "duration": "duration('1m') == duration('60s')",
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_that_is_promised_is_there(name: str):
    """What the refusal of an unknown function lists can be called."""
    call = CALLS.get(name, f"timestamp('2026-03-01T12:00:00Z').{name}() >= 0")
    assert said(call) == (True, "")


PIECES = st.sampled_from(
    [
        *(
            "parcel",
            "parcel.size",
            "parcel.type",
            "parcel.attributes",
            "parcel.nosuch",
            "x",
            "true",
            "null",
            "in",
            "1u",
            "1e3",
        ),
        *(
            "'",
            '"',
            "'''",
            '"""',
            "r'",
            "b'",
            "\\",
            "\\'",
            "//",
            "\n",
            " ",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ".",
            "?",
            ":",
        ),
        *("&&", "||", "!", "-", "==", "<", "+", "'a'", '"b"', "[1,2]", "has(", "size(", ".matches('a')", ".matches("),
        *(f".{name}(parcel, " for name in sorted(LOOPS)),
        *(f".{name}(y, " for name in sorted(LOOPS)),
    ]
)
LOOPING: Any = st.tuples(
    st.sampled_from(["[1]", "parcel.references", "[[1]]"]),
    st.sampled_from([".", " . ", ".//c\n"]),
    st.sampled_from(sorted(LOOPS)),
    st.sampled_from(["(", " (", "//'\n("]),
    st.sampled_from(["parcel", "y", "size"]),
)
QUOTES = st.sampled_from(
    [
        "'\"'",
        '"\'"',
        "r'\\'",
        "'\\''",
        "'\\\\'",
        '"\\\\\\""',
        "'''a'b'''",
        '"""a"b"""',
        "R'''\\'''",
        "b'\\''",
        "'//'",
        "''",
        "br'\\'",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_whatever_is_written_is_refused_or_decides(source: str):
    """No text makes anything but a `ValueError`; what is taken speaks of the parcel alone and answers every parcel."""
    try:
        program = compiled(source)
    except ValueError as error:
        assert str(error)
        return
    assert set(program.variables()) <= {"parcel"}
    for description in (LETTER, Description(type="x", sender="y")):
        holds, problem = evaluate(program, facts(description, "letters"))
        assert not (holds and problem)


@settings(max_examples=300, deadline=None)
@given(LOOPING, st.lists(QUOTES, max_size=4), st.lists(QUOTES, max_size=4))
def test_no_quoting_hides_a_loop(loop: tuple[str, ...], before: list[str], after: list[str]):
    """Strings of every kind before and after a loop, also such as look like the end of a string, do not hide it."""
    listed, dot, name, opening, variable = loop
    looping = f"size([{','.join(before)}]) > 0 || {listed}{dot}{name}{opening}{variable}, true) == [{','.join(after)}]"
    with pytest.raises(ValueError, match="has a loop"):
        compiled(looping)


@settings(max_examples=100, deadline=None)
@given(st.lists(QUOTES, max_size=8))
def test_no_quoting_is_mistaken_for_code(quotes: list[str]):
    """Strings are strings: nothing inside them is read as a name."""
    assert said(f"size([{','.join(quotes)}]) == {len(quotes)}") == (True, "")
