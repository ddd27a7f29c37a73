"""What `stafet check` says of contracts, steps of enrichment, tables and value lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.test_config import changed, loaded, problems
from tests.core.test_config import root as root  # the fixture

XSD = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">\n<xs:element name="a" type="xs:int"/></xs:schema>'
TABLE = """\
kind: table
id: units
key: {field: type}
rows:
  form: {classifications: [{scheme: unit, code: "751"}]}
---
kind: route
id: by-unit
match: {classification: {unit: "751"}}
to: [{system: egedal-journal}]
"""


@pytest.mark.requirement("R90")
def test_a_contract_s_schema_must_compile(root: Path):
    """Its mistake is named by file and line, at the place of the contract that names the schema."""
    (root / "a.xsd").write_text(XSD)
    contract = "id: letters\ndegree: known\ncontract: {format: xsd, file: a.xsd}\n"
    changed(root, "id: letters\ntypes", f"{contract}types")
    assert loaded(root).contents.of("letters") is not None
    (root / "a.xsd").write_text(XSD.replace("xs:int", "xs:inx"))
    (said,) = problems(root)
    assert said.startswith("all.yaml:13: contract.file: a.xsd:2: ")


@pytest.mark.requirement("R39")
def test_examples_run_through_enrichment(root: Path):
    """A route may ask for what a step adds; what a step fails on goes to the residual mailbox."""
    (root / "b.yaml").write_text(TABLE)
    steps = "enrichment: [{step: table, settings: {table: units, required: true}}]"
    tests = "tests: [{description: {type: form}, expect: [egedal-journal]}, {description: {type: letter}, expect: [residual]}]"
    changed(root, "id: letters\ntypes", f"id: letters\n{steps}\n{tests}\ntypes")
    (root / "all.yaml").write_text(
        (root / "all.yaml").read_text().replace("expect: [residual]", "expect: [egedal-journal]")
    )
    (said,) = problems(root)
    assert "goes to residual (enrichment table: table units has no row for it), expected egedal-journal" in said


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("{step: tabel}", "all.yaml:12: enrichment.0.step: no installed step is called 'tabel' (installed: table)"),
        (
            "{step: table, settings: {table: x}}",
            "all.yaml:12: enrichment.0.settings: no table is called 'x'; known: none",
        ),
        ("{step: table, settings: {}}", "all.yaml:12: enrichment.0.settings.table: Field required"),
    ],
)
def test_a_step_of_enrichment_must_be_installed_and_understood(root: Path, steps: str, said: str):
    """Its place is named, and no example is run with steps that cannot be."""
    text = (root / "all.yaml").read_text()
    tests = "tests: [{description: {type: letter}, expect: [nobody]}]"
    (root / "all.yaml").write_text(text.replace("id: letters\n", f"id: letters\nenrichment: [{steps}]\n{tests}\n", 1))
    assert problems(root) == [said]


def test_a_value_list_belongs_to_a_system_and_a_subscription_asks_of_one_that_is_there(root: Path):
    """What a subscription asks of is known by integration."""
    (root / "b.yaml").write_text("kind: value-list\nid: affected\nowner: nobody\n")
    assert "nothing is called 'nobody'" in problems(root)[0]
    (root / "b.yaml").write_text("kind: value-list\nid: affected\nowner: egedal-journal\n")
    subscription = "kind: subscription\nid: s\nsystem: egedal-journal\nintegration: letters\nsubjects_in: affected\n"
    (root / "c.yaml").write_text(subscription)
    found = loaded(root)
    assert (found.lists_asked("letters"), found.lists_asked("other")) == (["affected"], ())
    (root / "c.yaml").write_text(subscription.replace("subjects_in: affected", "subjects_in: x"))
    assert problems(root) == ["c.yaml:5: subjects_in: nothing is called 'x' (known: affected)"]
