"""What documents name: other documents, schemas and certificates, each of which must be there and of use."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from conformance.pki import Authority
from core.config import KERNEL_KINDS, Problem, check_kernel, load
from tests.core.estates import small


def the_problems(*more: dict[str, Any], **changes: Any) -> list[Problem]:
    """What the kernel's check says of the small configuration with some changes."""
    return list(check_kernel(small(*more, **changes)))


LETTERS = {"kind": "integration", "id": "letters"}
MOVES = {"kind": "integration", "id": "moves"}


def test_a_subscription_names_a_system_and_an_integration():
    """Either that is not there is named with what there is."""
    one, other = the_problems(
        {"kind": "subscription", "id": "lost", "system": "nobody", "integration": "dreams"},
    )
    assert (one.field, one.cause) == ("system", "nothing is called 'nobody'")
    assert (other.field, other.remedy) == ("integration", "known: letters, moves")


def test_a_receipt_is_expected_of_somebody_who_is_there():
    """An unknown system and an unknown function are named by their place in the list."""
    receipts = [{"within": 60}, {"system": "nobody", "within": 60}, {"function": "taxes", "within": 60}]
    fields = [problem.field for problem in the_problems(LETTERS | {"receipts": receipts})]
    assert fields == ["receipts.1.system", "receipts.2.function"]
    known = [{"system": "egedal-journal", "within": 60}, {"function": "benefits", "within": 60}]
    assert the_problems(LETTERS | {"receipts": known}) == []


def test_a_contract_names_a_file_of_the_directory():
    """A schema that is not there is said with those that are; what is only declared has none."""
    contract = {"contract": {"format": "xsd", "file": "letter.xsd"}}
    (problem,) = the_problems(LETTERS | contract, files={"other.xsd": b"", "a.pem": b""})
    assert (problem.field, problem.remedy) == ("contract.file", "known: other.xsd")
    assert the_problems(LETTERS | contract)[0].remedy == "known: there are no schemas"
    schema = b'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="letter"/></xs:schema>'
    assert the_problems(LETTERS | contract, files={"letter.xsd": schema}) == []
    assert the_problems(LETTERS | {"contract": {"format": "declared"}}) == []


def test_a_systems_certificates_can_be_read():
    """A file that is not there, and one that holds no certificate, in either list."""
    authority = Authority("Birkelund demonstration CA", datetime(2026, 3, 1, 12, tzinfo=UTC))
    files = {"ours.pem": authority.certificate.public_bytes(Encoding.PEM), "bad.pem": b"-----BEGIN nothing"}
    names = {"certificates": ["ours.pem", "gone.pem"], "sealing_certificates": ["bad.pem"]}
    one, other = the_problems({"kind": "system", "id": "birkelund-post", **names}, files=files)
    assert (one.field, one.cause) == ("certificates.1", "there is no file 'gone.pem' in the configuration directory")
    assert (other.field, other.cause) == ("sealing_certificates.0", "'bad.pem' holds no certificate that can be read")


def test_the_examples_of_a_notification_go_through_the_subscriptions():
    """Every subscriber counts, by whatever subscription; an example may say that nobody is told."""
    here = MOVES | {"tests": [{"description": {}, "expect": ["egedal-journal"]}]}
    assert the_problems(here) == []
    nobody = MOVES | {"tests": [{"description": {}, "expect": []}]}
    (problem,) = the_problems(nobody)
    assert problem.cause == "goes to egedal-journal (subscriptions journal-moves), expected nobody"
    (problem,) = the_problems(here, without="journal-moves")
    assert problem.cause == "goes to nobody (no subscription matches), expected egedal-journal"
    assert problem.remedy == "change the subscriptions or the example"


def test_a_configuration_knows_where_its_documents_stand(tmp_path: Path):
    """A field is found by file and line; a document that was read from no directory stands nowhere."""
    (tmp_path / "a.yaml").write_text("kind: system\nid: birkelund-post\nauthority: dk-birkelund\n")
    read = load(tmp_path, KERNEL_KINDS, ())
    assert read.where("system", "birkelund-post", "authority") == "a.yaml:3"
    assert read.where("system", "birkelund-post") == "a.yaml:1"
    assert read.where("system", "egedal-journal") == ""
    assert small().where("system", "birkelund-post") == ""
