"""Validation by degree: what is refused, what is only said, and what is not looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core import limits
from core.content import Checker, Content, Contents, Mistake, no_seal
from core.errors import ConfigError, Invalid
from core.integration import Integration
from core.seal.sealing import seal
from tests.core.seal.holders import holder

CANARY = "Canary-7"
XSD = b'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="a" type="xs:int"/></xs:schema>'
FILES = {
    "a.xsd": XSD,
    "a.json": json.dumps({"type": "integer"}).encode(),
    "api.json": json.dumps({"openapi": "3.1.0", "components": {"schemas": {"A": {"type": "integer"}}}}).encode(),
    "broken.xsd": XSD.replace(b"xs:int", b"xs:inx"),
}


def integration(degree: str = "known", contract: dict[str, Any] | None = None, **changes: Any) -> Integration:
    """An integration with a contract."""
    facts = {"id": "letters", "types": ["letter"], "degree": degree, "contract": contract, "max_size": 1_000_000}
    return Integration.model_validate(facts | changes)


def content(octets: bytes, media_type: str = "application/xml", size: int = -1) -> Content:
    """One payload."""

    def opened() -> Iterator[bytes]:
        return iter([octets[i : i + 4] for i in range(0, len(octets), 4)])

    return Content(media_type, len(octets) if size < 0 else size, opened)


def refused(one: Integration, *contents: Content, degree: str = "") -> list[str]:
    """What it is refused for."""
    with pytest.raises(Invalid) as caught:
        Checker(one, FILES).judge(degree or one.degree, contents)
    assert CANARY not in str(caught.value)
    return [str(finding) for finding in caught.value.findings]


def warned(one: Integration, *contents: Content) -> tuple[str, ...]:
    """What it is accepted with."""
    return Checker(one, FILES).judge(one.degree, contents)


KNOWN = integration("known", {"format": "xsd", "file": "a.xsd", "media_types": ["application/xml", "image/*"]})


@pytest.mark.requirement("R58", "R22")
def test_a_known_payload_must_conform():
    """The refusal says which integration, which place and which rule, and no value."""
    assert warned(KNOWN, content(b"<a>1</a>")) == ()
    wrong = content(f"<a>{CANARY}</a>".encode())
    assert refused(KNOWN, wrong) == ["/a: line 1: is no value of the type xs:int"]
    with pytest.raises(Invalid, match=r"^payload: not what letters moves: /a: line 1: is no value of the type xs:int$"):
        Checker(KNOWN, FILES).judge("known", [wrong])


@pytest.mark.requirement("R58")
@pytest.mark.parametrize(
    ("contract", "good", "bad", "media_type"),
    [
        ({"format": "json-schema", "file": "a.json"}, b"1", b'"x"', "application/json"),
        ({"format": "openapi", "file": "api.json", "part": "A"}, b"1", b'"x"', "application/json"),
        ({"format": "xsd", "file": "a.xsd", "part": "a"}, b"<a>1</a>", b"<b/>", "text/xml"),
    ],
)
def test_each_format_of_a_contract_is_held(contract: dict[str, Any], good: bytes, bad: bytes, media_type: str):
    """XSD, JSON Schema and a component of OpenAPI."""
    one = integration("known", contract)
    assert warned(one, content(good, media_type)) == ()
    assert len(refused(one, content(bad, media_type))) == 1


@pytest.mark.requirement("R58", "R59")
def test_of_a_declared_payload_only_what_is_declared_is_held():
    """The media type is; what breaks the schema is a warning, for the format may change."""
    one = integration("declared", {"format": "xsd", "file": "a.xsd", "media_types": ["application/xml"]})
    assert warned(one, content(b"<a>1</a>")) == ()
    assert warned(one, content(f"<a>{CANARY}</a>".encode())) == ("/a: line 1: is no value of the type xs:int",)
    assert refused(one, content(b"<a>1</a>", "text/plain")) == ["media_type: is text/plain; declared: application/xml"]
    words = integration("declared", {"format": "declared", "media_types": ["text/csv"]})
    assert warned(words, content(b"\x00", "Text/CSV; charset=utf-8")) == ()
    assert len(refused(words, content(b"\x00", "text/csvx"))) == 1


def sealed(octets: bytes) -> bytes:
    """Octets that only one system can read."""
    return b"".join(seal([octets], [holder("p256").certificate]))


@pytest.mark.requirement("R65")
def test_of_an_encrypted_payload_only_the_seal_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    """Whatever is in it; and of a large one no more is read than the seal may take."""
    one = integration("encrypted")
    assert warned(one, content(sealed(CANARY.encode())), content(sealed(b"x" * 300_000))) == ()
    assert refused(one, content(sealed(b"x")), content(f"in clear: {CANARY}".encode()))[0].startswith(
        "/: payload 2: is not sealed: "
    )
    assert no_seal(sealed(b"x")) == ""
    seen: list[int] = []
    monkeypatch.setattr("core.content.no_seal", lambda head: seen.append(len(head)) or "")
    warned(one, content(b"0" * (limits.SEAL_HEADER + 10)), content(b"0"))
    assert seen == [limits.SEAL_HEADER, 1]


@pytest.mark.requirement("R61", "R65")
@pytest.mark.parametrize(("agreed", "said"), [("known", "encrypted"), ("known", "declared"), ("encrypted", "known")])
def test_the_sender_s_word_of_the_degree_is_the_integration_s(agreed: str, said: str):
    """Nobody gets round a schema by calling a payload sealed, or hands over in clear what is agreed to be sealed."""
    one = KNOWN if agreed == "known" else integration("encrypted")
    assert refused(one, content(b"<a>1</a>"), degree=said) == [
        f"degree: is {said} in the description; letters moves {agreed} payloads"
    ]


def test_attachments_are_held_to_their_media_type_and_to_the_schema_when_they_are_of_its_sort():
    """The first payload is judged by the schema whatever it is called."""
    assert warned(KNOWN, content(b"<a>1</a>"), content(b"\x89PNG", "image/png")) == ()
    found = refused(KNOWN, content(b"<a>x</a>", "image/png"), content(b"%PDF", "application/pdf"), content(b"<b/>"))
    assert found == [
        "/a: payload 1: line 1: is no value of the type xs:int",
        "media_type: payload 2: is application/pdf; declared: application/xml, image/*",
        "/*: payload 3: line 1: is no element that the schema begins with",
    ]
    loose = integration("known", {"format": "xsd", "file": "a.xsd"})
    assert len(refused(loose, content(b"<a>1</a>"), content(b"<b/>", "application/atom+xml"))) == 1


def test_no_more_findings_are_listed_than_people_read():
    """Over all payloads of a parcel."""
    wrong = [content(b"<a>x</a>")] * 30
    assert len(refused(KNOWN, *wrong)) == limits.FINDINGS
    declared = integration("declared", {"format": "xsd", "file": "a.xsd"})
    assert len(warned(declared, *wrong)) == limits.FINDINGS


def test_json_that_is_too_large_to_be_checked_is_said_to_be():
    """A refusal where the payload must be known, else a warning."""
    contract = {"format": "json-schema", "file": "a.json"}
    large = content(b"1", "application/json", limits.VALIDATED_SIZE + 1)
    words = f"/: is larger than {limits.VALIDATED_SIZE} octets, and is not checked"
    assert refused(integration("known", contract), large) == [words]
    assert warned(integration("declared", contract), large) == (words,)


# --- a configuration's checkers ---------------------------------------------------------------------------------------


def contents(*integrations: Integration) -> Contents:
    """Of these integrations."""
    return Contents({one.id: one for one in integrations}, FILES)


def test_a_checker_is_made_once():
    """And there is none for what demands nothing."""
    held = contents(KNOWN, integration("declared", None, id="free"))
    assert held.of("letters") is held.of("letters") is not None
    assert held.of("free") is held.of("unknown") is None
    assert contents(integration("encrypted")).of("letters") is not None


def test_a_schema_that_is_not_there_is_no_schema():
    """Whatever the configuration said when it was checked."""
    with pytest.raises(ConfigError, match=r"^no\.xsd: is no file of the configuration directory"):
        contents(integration("known", {"format": "xsd", "file": "no.xsd"})).of("letters")


def test_a_schema_that_cannot_be_used_is_said_each_time():
    """Nothing passes because its check could not be made."""
    held = contents(integration("known", {"format": "xsd", "file": "broken.xsd"}))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"^broken\.xsd:1: "):
            held.of("letters")


@pytest.mark.requirement("R90")
@pytest.mark.parametrize(
    ("contract", "changes", "field", "said"),
    [
        ({"format": "xsd", "file": "broken.xsd"}, {}, "contract.file", "broken.xsd:1: "),
        ({"format": "xsd", "file": "a.json"}, {}, "contract.file", "a schema of format xsd is a .xsd file"),
        ({"format": "openapi", "file": "a.xsd"}, {}, "contract.file", "a schema of format openapi is a .json file"),
        ({"format": "xsd", "file": "a.xsd", "part": "b"}, {}, "contract.part", "a.xsd: part: declares no element 'b'"),
        ({"format": "openapi", "file": "api.json"}, {}, "contract.part", "is missing"),
        (
            {"format": "openapi", "file": "api.json", "part": "B"},
            {},
            "contract.file",
            "api.json:1: components.schemas: has no",
        ),
        (
            {"format": "declared", "media_types": ["text/csv", "csv"]},
            {"degree": "declared"},
            "contract.media_types.1",
            "'csv' is",
        ),
        (
            {"format": "json-schema", "file": "a.json"},
            {"max_size": 20_000_000},
            "max_size",
            "is 20000000; JSON of degree known",
        ),
    ],
)
def test_a_contract_that_cannot_be_held_is_a_mistake(contract: Any, changes: Any, field: str, said: str):
    """Found by `stafet check`, with the field, and the file and line of a schema's own mistake."""
    (mistake,) = contents(integration(**({"degree": "known", "contract": contract} | changes))).mistakes()
    assert (mistake.integration, mistake.field) == ("letters", field)
    assert mistake.cause.startswith(said)


def test_what_fits_is_no_mistake():
    """Large XML is checked as a stream, and large JSON may be declared."""
    large = {"max_size": 120_000_000}
    contract = {"format": "json-schema", "file": "a.json"}
    fits = contents(
        integration("known", {"format": "xsd", "file": "a.xsd"}, id="a", **large),
        integration("declared", contract, id="b", **large),
        integration("known", contract, id="c"),
        integration("declared", None, id="d"),
        integration("encrypted", None, id="e", **large),
        integration("known", {"format": "xsd", "file": "named-elsewhere.xsd"}, id="f"),
    )
    assert list(fits.mistakes()) == []
    assert Mistake("a", "b", "c").remedy == ""
