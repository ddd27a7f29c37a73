"""A configuration as a whole: what must fit, what a version is, and what a plan says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import Engine

from conformance.pki import Authority, Identity
from core import limits
from core.clock import from_datetime
from core.config import (
    EMPTY,
    KERNEL_KINDS,
    Change,
    Configuration,
    Problem,
    certificates_in,
    check_kernel,
    expiry,
    load,
    plan,
)
from core.errors import ConfigError
from core.ledger import versions
from core.ledger.versions import Version
from core.trust import fingerprint
from tests.core.making import NOW

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = """\
kind: system
id: birkelund-post
authority: dk-birkelund
---
kind: system
id: egedal-journal
authority: dk-egedal
functions: [benefits]
---
kind: integration
id: letters
types: [letter, form]
sensitivity: sensitive
---
kind: service-agreement
id: post-sends
integration: letters
system: birkelund-post
may: send
until: 2026-03-31
---
kind: route
id: to-journal
integration: letters
match: {type: letter}
to: [{system: egedal-journal}]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A configuration directory in which everything fits."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "all.yaml").write_text(GOOD)
    return folder


@pytest.fixture(scope="session")
def authority() -> Authority:
    """An invented authority."""
    return Authority("Birkelund demonstration CA", AT)


@pytest.fixture(scope="session")
def partner(authority: Authority) -> Identity:
    """A certificate under it."""
    return authority.issue("Egedal demonstration", "both")


def loaded(root: Path, *checks: Any) -> Configuration:
    """The directory, as the kernel reads it."""
    return load(root, KERNEL_KINDS, checks)


def problems(root: Path, *checks: Any) -> list[str]:
    """Everything that is wrong with it."""
    with pytest.raises(ExceptionGroup, match=r"^the configuration is not applied") as caught:
        loaded(root, *checks)
    assert all(isinstance(error, ConfigError) for error in caught.value.exceptions)
    return [str(error) for error in caught.value.exceptions]


def changed(root: Path, old: str, new: str) -> Configuration:
    """The directory after one edit."""
    text = (root / "all.yaml").read_text()
    assert old in text
    (root / "all.yaml").write_text(text.replace(old, new))
    return loaded(root)


# --- all or nothing ---------------------------------------------------------------------------------------------------


def test_what_fits_is_loaded_whole(root: Path):
    """Documents by kind and id, certificates by name, and nothing is in force by being read."""
    (root / "them.pem").write_bytes(b"x")
    found = loaded(root)
    assert {kind: sorted(found.all(kind)) for kind in found.documents} == {
        "system": ["birkelund-post", "egedal-journal"],
        "integration": ["letters"],
        "service-agreement": ["post-sends"],
        "route": ["to-journal"],
    }
    assert (found.files, found.number, found.all("as4.partner")) == ({"them.pem": b"x"}, 0, {})


def test_one_bad_file_loads_nothing_and_hides_no_other(root: Path):
    """Every bad file is named; what is between documents is judged when all can be read."""
    (root / "b.yaml").write_text("kind: system\nid: x\n")
    (root / "c.yaml").write_text("kind: [")
    (root / "d.yaml").write_text("kind: route\nid: r\nto: [{system: nobody}]\n")
    assert [text.split(": ")[0] for text in problems(root)] == ["b.yaml:1", "c.yaml:1"]


def test_an_id_is_used_once_in_its_kind(root: Path):
    """The second is refused with the place of the first; another kind may use the same id."""
    (root / "b.yaml").write_text(
        "kind: system\nid: letters\nauthority: a\n---\nkind: system\nauthority: a\nid: egedal-journal\n"
    )
    assert problems(root) == ["b.yaml:7: id: 'egedal-journal' is used by all.yaml:5 already"]
    (root / "b.yaml").write_text("kind: system\nid: letters\nauthority: a\n")
    assert "letters" in loaded(root).all("system")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "kind: system\nid: residual\nauthority: a\n",
            "b.yaml:2: id: is the name of the residual mailbox (choose another id)",
        ),
        (
            "kind: route\nid: r\nto:\n- system: residual\n- system: nobody\n",
            "b.yaml:5: to.1.system: nothing is called 'nobody' (known: birkelund-post, egedal-journal)",
        ),
        (
            "kind: route\nid: r\nintegration: forms\nto: [{system: residual}]\n",
            "b.yaml:3: integration: nothing is called 'forms' (known: letters)",
        ),
        (
            "kind: service-agreement\nid: s\nintegration: letters\nsystem: nobody\nmay: send\n",
            "b.yaml:4: system: nothing is called 'nobody' (known: birkelund-post, egedal-journal)",
        ),
        (
            "kind: service-agreement\nid: s\nintegration: forms\nsystem: egedal-journal\nmay: send\n",
            "b.yaml:3: integration: nothing is called 'forms' (known: letters)",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_found(root: Path, text: str, said: str):
    """Each reference is named by field and line, with what there is instead."""
    (root / "b.yaml").write_text(text)
    assert problems(root) == [said]


def test_there_may_be_nothing_to_refer_to(tmp_path: Path):
    """A directory of one route knows no systems at all; an empty one is a configuration of nothing."""
    assert loaded(tmp_path) == EMPTY
    (tmp_path / "a.yaml").write_text("kind: route\nid: r\nto: [{system: a}]\n")
    assert problems(tmp_path) == ["a.yaml:3: to.0.system: nothing is called 'a' (known: there are none)"]


def test_routes_are_not_without_number(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What belongs to no document is said of the directory."""
    monkeypatch.setattr(limits, "ROUTES", 1)
    (root / "b.yaml").write_text("kind: route\nid: r\nto: [{system: residual}]\n")
    assert problems(root) == [f"{root}: route: 2 routes; at most 1"]


def test_a_gateways_own_check_is_asked(root: Path):
    """It sees the whole, and its problems get a place like the kernel's."""

    def check(configuration: Configuration) -> list[Problem]:
        assert "letters" in configuration.all("integration")
        return [
            Problem("integration", "letters", "types.1", "cannot be sent on paper", "leave it out"),
            Problem("as4.partner", "egedal", "url", "is missing"),
        ]

    assert problems(root, check) == [
        "all.yaml:12: types.1: cannot be sent on paper (leave it out)",
        f"{root}: as4.partner egedal: url: is missing",
    ]


# --- examples ---------------------------------------------------------------------------------------------------------


def with_example(root: Path, *lines: str) -> None:
    """The integration with one example."""
    text = "".join(f"  {line}\n" for line in lines)
    (root / "all.yaml").write_text(GOOD.replace("sensitivity: sensitive\n", f"sensitivity: sensitive\ntests:\n{text}"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["- description: {type: form}", "  expect: [egedal-journal]"],
            "all.yaml:16: tests.0.expect: goes to residual (no route matches), expected egedal-journal",
        ),
        (
            ["- {description: {}, expect: [residual]}"],
            "all.yaml:15: tests.0.expect: goes to egedal-journal (route to-journal), expected residual",
        ),
        (
            ["- {description: {size: -1}, expect: [residual]}"],
            "all.yaml:15: tests.0.description.size: Input should be greater than or equal to 0",
        ),
        (
            ["- {description: {colour: red}, expect: [residual]}"],
            "all.yaml:15: tests.0.description.colour: Extra inputs are not permitted",
        ),
        (
            ["- {description: {occurred: 2026-01-01}, expect: [residual]}"],
            "all.yaml:15: tests.0.description.occurred: Input should be a valid integer",
        ),
    ],
)
def test_an_example_that_does_not_hold_is_a_problem(root: Path, lines: list[str], said: str):
    """Where it goes, by which route or why by none, and what was expected."""
    with_example(root, *lines)
    (found,) = problems(root)
    assert found.startswith(said)


def test_examples_that_hold_are_silent(root: Path):
    """What an example leaves out is what the integration says: type, sensitivity, priority and degree."""
    with_example(
        root, "- {description: {}, expect: [egedal-journal]}", "- {description: {type: form}, expect: [residual]}"
    )
    changed(root, "match: {type: letter}", "match: {type: letter, sensitivity: sensitive}")
    changed(root, "types: [letter, form]", "types: [letter, form]\npriority: urgent\ndegree: encrypted")
    changed(
        root,
        "to: [{system: egedal-journal}]",
        "when: parcel.priority == 'urgent' && parcel.degree == 'encrypted'\nto: [{system: egedal-journal}]",
    )
    with pytest.raises(ExceptionGroup):
        changed(root, "priority: urgent", "priority: bulk")


# --- what is agreed ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R103")
def test_who_may_do_what_is_looked_up(root: Path):
    """The agreement that allows it is named; another system, direction, integration or day has none."""
    found = changed(root, "may: send", "may: send\nsince: 2026-03-01")
    assert found.agreed("letters", "birkelund-post", "send", NOW) == "post-sends"
    assert found.agreed("letters", "birkelund-post", "receive", NOW) == ""
    assert found.agreed("letters", "egedal-journal", "send", NOW) == ""
    assert found.agreed("forms", "birkelund-post", "send", NOW) == ""
    assert found.agreed("letters", "birkelund-post", "send", from_datetime(datetime(2026, 4, 1, tzinfo=UTC))) == ""


def test_of_several_agreements_one_is_enough(root: Path):
    """An agreement that is over does not hide the one that followed it."""
    (root / "b.yaml").write_text(
        "kind: service-agreement\nid: later\nintegration: letters\nsystem: birkelund-post\nmay: both\nsince: 2026-04-01\n"
    )
    april = from_datetime(datetime(2026, 4, 1, tzinfo=UTC))
    assert loaded(root).agreed("letters", "birkelund-post", "send", april) == "later"
    assert loaded(root).agreed("letters", "birkelund-post", "send", NOW) == "post-sends"


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_reads_back_as_it_was(root: Path):
    """Documents, dates and the octets of files are the same, and the routes lead where they led."""
    (root / "them.pem").write_bytes(bytes(range(256)))
    found = loaded(root)
    again = Configuration.from_json(found.to_json(), KERNEL_KINDS, 7)
    assert again.number == 7
    assert (again.documents, again.files) == (found.documents, found.files)
    assert again.to_json() == found.to_json()
    assert again.all("service-agreement")["post-sends"].until == date(2026, 3, 31)
    assert plan(found, again) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"kind":"route"', '"kind":"way"', "version 7: way: no installed part of Stafet knows this kind"),
        ('"order":100', '"order":"x"', "version 7: route to-journal: Input should be a valid integer"),
    ],
)
def test_a_version_this_program_cannot_read_is_said_so(root: Path, old: str, new: str, said: str):
    """Number, kind and id are named: a gateway that is no longer installed, or a field of a newer program."""
    text = loaded(root).to_json()
    assert old in text
    with pytest.raises(ConfigError) as caught:
        Configuration.from_json(text.replace(old, new), KERNEL_KINDS, 7)
    assert str(caught.value).startswith(said)


def test_rolling_back_brings_the_old_content_under_a_new_number(root: Path, sqlite_engine: Engine):
    """Who, when and why are kept for each version; the third is in nothing different from the first."""
    first = loaded(root)
    second = changed(root, "until: 2026-03-31", "until: 2026-06-30")
    with sqlite_engine.begin() as connection:
        batch = [
            Version(0, NOW, "bodil", "first", first.to_json()),
            Version(0, NOW + 1, "anker", "longer", second.to_json()),
        ]
        assert versions.add(connection, batch) == [1, 2]
        kept = versions.get(connection, 1)
        assert kept is not None
        assert versions.add(connection, [Version(0, NOW + 2, "bodil", "back to version 1", kept.content)]) == [3]
    with sqlite_engine.connect() as connection:
        listed = [(v.number, v.at, v.who, v.why) for v in versions.history(connection)]
        stored = {n: versions.get(connection, n) for n in (1, 2, 3)}
    assert listed == [
        (3, NOW + 2, "bodil", "back to version 1"),
        (2, NOW + 1, "anker", "longer"),
        (1, NOW, "bodil", "first"),
    ]
    one, two, three = (Configuration.from_json(v.content, KERNEL_KINDS, n) for n, v in stored.items() if v)
    assert plan(one, three) == []
    assert plan(two, three) == [
        Change("changed", "service-agreement", "post-sends", (("until", "2026-06-30", "2026-03-31"),))
    ]


# --- plans ------------------------------------------------------------------------------------------------------------


def test_how_it_is_written_is_no_change(root: Path):
    """Comments, order of keys and of documents, quoting, files and defaults written out make no version."""
    before = loaded(root)
    documents = GOOD.split("---\n")
    (root / "all.yaml").unlink()
    (root / "other").mkdir()
    (root / "other" / "a.yml").write_text("# said again\n" + "---\n".join(reversed(documents[1:])))
    (root / "b.yaml").write_text(
        '{authority: "dk-birkelund", title: "", functions: [], id: birkelund-post,\n  "kind": system}'
    )
    after = loaded(root)
    assert plan(before, after) == []
    assert after.to_json() == before.to_json()


def test_a_plan_names_documents_and_fields_with_both_values(root: Path):
    """Added, removed and changed, by kind and id; a list of another length is shown whole, long values are cut."""
    before = loaded(root)
    text = GOOD.replace("id: egedal-journal", "id: egedal-forms").replace(
        "system: egedal-journal", "system: egedal-forms"
    )
    text = text.replace("match: {type: letter}", "match: {type: form, classification: {topics: '27'}}\norder: 5")
    text = text.replace("until: 2026-03-31", f"title: {'æ' * 200}\nsince: 2026-01-01")
    (root / "all.yaml").write_text(text.replace("[letter, form]", "[form]"))
    assert plan(before, loaded(root)) == [
        Change("changed", "integration", "letters", (("types", '["letter", "form"]', '["form"]'),)),
        Change(
            "changed",
            "route",
            "to-journal",
            (
                ("match.classification.topics", "-", "27"),
                ("match.type", "letter", "form"),
                ("order", "100", "5"),
                ("to.0.system", "egedal-journal", "egedal-forms"),
            ),
        ),
        Change(
            "changed",
            "service-agreement",
            "post-sends",
            (("since", "-", "2026-01-01"), ("title", "", "æ" * 117 + "..."), ("until", "2026-03-31", "-")),
        ),
        Change("added", "system", "egedal-forms"),
        Change("removed", "system", "egedal-journal"),
    ]


def test_a_plan_tells_certificates_apart(root: Path, authority: Authority, partner: Identity):
    """Subject, end and fingerprint are shown, so that a renewal to the same day is no riddle; what is none has a digest."""
    renewed = authority.issue("Egedal demonstration", "both", key=partner.key)
    first, second = (
        f"CN=Egedal demonstration,O=Stafet demonstration,C=DK until 2028-06-03 (SHA-256 {fingerprint(i.certificate)[:16]})"
        for i in (partner, renewed)
    )
    assert first != second
    der = renewed.certificate.public_bytes(Encoding.DER)
    before = Configuration({}, {"a.pem": partner.certificate_pem(), "gone.crl": b"x", "same.pem": b"y"})
    after = Configuration(
        {}, {"a.pem": der, "same.pem": b"y", "two.pem": partner.certificate_pem() + renewed.certificate_pem()}
    )
    assert plan(before, after) == [
        Change("changed", "file", "a.pem", (("certificate", first, second),)),
        Change("removed", "file", "gone.crl", (("certificate", "SHA-256 2d711642b726b044", "-"),)),
        Change("added", "file", "two.pem", (("certificate", "-", f"{first}, {second}"),)),
    ]


SYSTEMS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.fixed_dictionaries(
        {"authority": st.sampled_from(["x", "y"])},
        optional={"title": st.text(max_size=3), "functions": st.lists(st.sampled_from(["f", "g"]), max_size=2)},
    ),
)


def systems(said: dict[str, dict[str, Any]]) -> Configuration:
    """A configuration of systems alone."""
    model: type[BaseModel] = KERNEL_KINDS["system"]
    return Configuration({"system": {name: model.model_validate({"id": name} | facts) for name, facts in said.items()}})


@settings(max_examples=200, deadline=None)
@given(SYSTEMS, SYSTEMS)
def test_a_plan_is_empty_exactly_when_the_versions_are_the_same(left: dict[str, Any], right: dict[str, Any]):
    """No difference goes unsaid and none is made up, and the plan back says the opposite."""
    old, new = systems(left), systems(right)
    there, back = plan(old, new), plan(new, old)
    assert (there == []) == (old.to_json() == new.to_json())
    opposite = {"added": "removed", "removed": "added", "changed": "changed"}
    assert [(opposite[c.what], c.id) for c in there] == [(c.what, c.id) for c in back]
    assert [[(p, b, a) for p, a, b in c.fields] for c in there] == [list(c.fields) for c in back]
    assert all(c.fields for c in there if c.what == "changed")


# --- certificates -----------------------------------------------------------------------------------------------------


def test_certificates_are_read_in_either_form(partner: Identity, authority: Authority):
    """One or more in PEM, or one in DER; the end is known to the second."""
    files = {
        "both.pem": partner.certificate_pem() + authority.pem(),
        "one.cer": partner.certificate.public_bytes(Encoding.DER),
    }
    assert certificates_in(files, "both.pem") == [partner.certificate, authority.certificate]
    assert certificates_in(files, "one.cer") == [partner.certificate]
    assert expiry(partner.certificate) == from_datetime(datetime(2028, 6, 3, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "octets",
    [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"-----BEGIN PUBLIC KEY-----\n"],
)
def test_what_is_no_certificate_is_said_so(octets: bytes):
    """A missing file and one that holds something else are told apart."""
    with pytest.raises(ValueError, match=r"^'a\.pem' holds no certificate that can be read$"):
        certificates_in({"a.pem": octets}, "a.pem")
    with pytest.raises(ValueError, match=r"^there is no file 'b\.pem' in the configuration directory$"):
        certificates_in({"a.pem": octets}, "b.pem")


def test_the_kernels_own_check_is_silent_where_everything_fits(root: Path):
    """Nothing is said of what is in order."""
    assert list(check_kernel(loaded(root))) == []


@pytest.mark.requirement("R69", "R70")
def test_expected_receipts_name_who_there_is(root: Path):
    """A system, a function, a calendar; each wrong one with its line."""
    text = (root / "all.yaml").read_text()
    receipts = (
        "receipts:\n"
        "  - {system: nobody, within: 60}\n"
        "  - {function: school-psychology, within: 60}\n"
        "  - {business_days: 2, calendar: XX}\n"
        "  - {system: egedal-journal, business_days: 2}\n"
    )
    (root / "all.yaml").write_text(text.replace("kind: integration\n", f"kind: integration\n{receipts}", 1))
    found = problems(root)
    assert [line.split(": ", 1)[1] for line in found] == [
        "receipts.0.system: nothing is called 'nobody' (known: birkelund-post, egedal-journal)",
        "receipts.1.function: nothing is called 'school-psychology' (known: there are none)",
        "receipts.2.calendar: no public holidays are known for 'XX' (use a country code such as DK)",
    ]
