"""The page of samples: what counts as the README's verdict, and that every row of the table is on it."""

import re
from pathlib import Path

import pytest
import yaml

from scripts.sample_table import agrees, samples_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("readme", "answer", "same"),
    [
        ("valid: receipt", "accepted", True),
        ("valid: receipt or EBMS:0101", "EBMS:0101", True),
        ("valid: receipt", "EBMS:0003", False),
        ("invalid: EBMS:0302 / drop", "EBMS:0302", True),
        ("invalid: EBMS:0302 / drop", "receipt", False),
        ("invalid: EBMS:0303 (phase4: 0003)", "EBMS:0003", True),
        ("invalid: EBMS:0009", "SOAP VersionMismatch", False),
        ("invalid: EBMS:0003/0009 or SOAP VersionMismatch", "SOAP VersionMismatch", True),
        ("n/a: transport-level failure -> retry", "SOAP Received", True),
        ("valid: -", "error EBMS:0001 failure", True),
        ("valid: -", "EBMS:0302", False),
        ("partial: -", "EBMS:0102", True),
        ("partial: -", "EBMS:0101", False),
    ],
)
def test_a_verdict_is_compared_with_what_the_readme_says(readme, answer, same):
    """A code counts if the README names it, in whichever of its spellings."""
    assert agrees({"readme": readme, "under_origin": {"answer": answer}}) is same


def test_every_row_and_every_partner_file_is_on_the_page():
    """The page has one line for each, with its verdicts, and every line as many cells as its head."""
    page = samples_page(ROOT, "<!-- made -->")
    table = yaml.safe_load((ROOT / "tests" / "vectors" / "as4_samples.yaml").read_text(encoding="utf-8"))
    origins = yaml.safe_load((ROOT / "tests" / "vectors" / "as4_origins.yaml").read_text(encoding="utf-8"))["origins"]
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line.startswith("| ")]
    first = {cells[0].strip(): cells for cells in lines}
    listed = [row for section in table.values() for row in section]
    assert {row["file"] for row in listed} | set(origins) | {"Sample", "Name", "---"} == set(first)
    for row in listed:
        cells = first[row["file"]]
        assert len(cells) == 9
        if "by_default" in row:
            assert row["by_default"]["answer"] in cells[5]
            assert row["under_origin"]["answer"] in cells[4]
        assert row["from"] in cells[8]
    assert "<!-- made -->" in page
    assert first["46-domibus-reception-awareness-receipt.xml"][4].strip() == "**EBMS:0302**<br>receipt Security"
    assert first["47-phase4-rsa-5k.as4out"][4].strip() == "accepted<br>5 000 octets"
    assert "cryptography: valid" in first["50-phase4-edelivery2-eddsa-receipt.xml"][8]
    assert "`also_accept`: `rsa-sha384`" in first["holodeck-signed"][2]
    assert "no encryption is demanded" in first["holodeck-signed"][3]
    for said in (
        "profile `edelivery-2.0`",
        "`untyped_names`",
        "`answers_duplicates: error`",
        "by default as phase4-server",
    ):
        assert said in first["phase4-server-eddsa"][2]
