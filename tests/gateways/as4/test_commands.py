"""`stafet import-pmode` and `stafet partner-sheet`, called as the command line calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from lxml import etree
from typer.testing import CliRunner, Result

from core.cli import talk
from core.config import load
from core.errors import ConfigError, StafetError, UsageError
from core.trust import load_identity
from gateways.as4.commands import import_pmode, partner_sheet
from gateways.as4.moving import domibus
from gateways.as4.moving.importing import imported
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import CATALOGUE, authority
from tests.gateways.as4.moving.making import WHOLE, changed

Call = Callable[..., Result]


@pytest.fixture
def call() -> Iterator[Call]:
    """Call a command with words, as `whole` in core/cli/main.py adds it; errors come out as they are raised."""
    app = typer.Typer()
    app.command("import-pmode")(import_pmode)
    app.command("partner-sheet")(partner_sheet)

    def run(*words: object, answer: str | None = None) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], input=answer)
        if isinstance(result.exception, StafetError):
            raise result.exception
        return result

    yield run
    talk.set_home(Path())


@pytest.fixture
def pmode(tmp_path: Path) -> Path:
    """The P-Mode file of a harbour."""
    path = tmp_path / "pmode.xml"
    path.write_text(WHOLE)
    return path


def _truststore(folder: Path, *aliases: str) -> Path:
    certificate = authority().issue("Fictitious access point", "signing").certificate
    entries = [pkcs12.PKCS12Certificate(certificate, alias.encode()) for alias in aliases]
    (folder / "password").write_text("tide\nnot this line\n")
    path = folder / "trust.p12"
    path.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(b"tide")))
    return path


# --- import-pmode -----------------------------------------------------------------------------------------------------


def test_with_a_truststore_the_folder_is_in_order_at_once(call, pmode, tmp_path):
    """Documents and certificates are there, and `stafet check` finds nothing wrong."""
    store, out = _truststore(tmp_path, "south_valley", "east_ridge"), tmp_path / "config"
    result = call("import-pmode", pmode, "--out", out, "--truststore", store, "--password-file", tmp_path / "password")
    assert result.exit_code == 0
    assert "For North_Harbour: 1 as4.party, 3 system," in result.stdout
    assert f"8 files are in {out}." in result.stdout
    assert f"Then: stafet check {out}" in result.stdout
    assert "Certificates to put there" not in result.stdout
    assert "truststore" not in result.stdout.replace(str(out), "")
    configuration = load(out, CATALOGUE.kinds, CATALOGUE.checks)
    assert set(configuration.all("as4.partner")) == {"south_valley", "east_ridge"}
    assert (out / "ours.yaml").read_text().startswith("# Made by `stafet import-pmode`.")


def test_without_out_nothing_is_written(call, pmode, tmp_path):
    """The report alone: every level, every finding."""
    before = sorted(tmp_path.rglob("*"))
    result = call("import-pmode", pmode)
    assert result.exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert "Nothing is written" in result.stdout
    for finding in imported(domibus.read(WHOLE.encode(), "x")).findings:
        assert f"- {finding.element}: {finding.reason}\n" in result.stdout
        assert not finding.remedy or f"  What to do: {finding.remedy}\n" in result.stdout


def test_every_level_has_a_heading(call, tmp_path):
    """What is left out comes first."""
    path = tmp_path / "pmode.xml"
    path.write_text(changed(('security="agreed"', 'security="open"'), ('Detection="true"', 'Detection="false"')))
    lines = call("import-pmode", path).stdout.splitlines()
    assert [line for line in lines if line.endswith(":")] == ["left out:", "changed:", "to do:", "note:"]


def test_json_says_the_same(call, pmode, tmp_path):
    """Documents, certificates, findings, and what was written."""
    out = tmp_path / "config"
    said = json.loads(call("import-pmode", pmode, "--out", out, "--json").stdout)
    assert said["party"] == "North_Harbour"
    assert said["written"] == [str(out / name) for name in said["documents"]]
    for name, documents in said["documents"].items():
        assert list(yaml.safe_load_all((out / name).read_text())) == documents
    assert said["certificates"][0] == {
        "file": "certificates/south_valley-signing.pem",
        "party": "South_Valley",
        "use": "signing",
    }
    assert {"level", "element", "reason", "remedy"} == set(said["findings"][0])
    assert json.loads(call("import-pmode", pmode, "--json").stdout)["written"] == []


def test_certificates_that_the_truststore_lacks_are_named(call, pmode, tmp_path):
    """The party that has one is settled; the other is still to do. The password may be typed."""
    store, out = _truststore(tmp_path, "south_valley"), tmp_path / "config"
    result = call("import-pmode", pmode, "--out", out, "--truststore", store, answer="tide\n")
    wanted = "certificates/east_ridge-encryption.pem, certificates/east_ridge-signing.pem"
    assert f"Certificates to put there: {wanted}." in result.stdout
    assert "the truststore has no signing certificate under East_Ridge" in result.stdout
    assert "under the alias South_Valley" not in result.stdout
    x509.load_pem_x509_certificate((out / "certificates" / "south_valley-signing.pem").read_bytes())


def test_another_side_may_be_taken(call, pmode):
    """The file of one party is as good for another."""
    said = json.loads(call("import-pmode", pmode, "--party", "East_Ridge", "--json").stdout)
    assert said["party"] == "East_Ridge"
    assert "partners/north_harbour.yaml" in said["documents"]


def test_nothing_is_written_over(call, pmode, tmp_path):
    """A folder that has one of the files stays as it is."""
    out = tmp_path / "config"
    out.mkdir()
    (out / "ours.yaml").write_text("kind: system\n")
    with pytest.raises(UsageError, match="is there already; nothing is written"):
        call("import-pmode", pmode, "--out", out)
    assert [path.name for path in out.iterdir()] == ["ours.yaml"]
    assert (out / "ours.yaml").read_text() == "kind: system\n"


def test_a_folder_that_cannot_be_made_is_an_error_in_words(call, pmode, tmp_path):
    """Such as one below a file."""
    with pytest.raises(UsageError, match="Not a directory"):
        call("import-pmode", pmode, "--out", pmode / "config")


@pytest.mark.parametrize("which", ["file", "truststore", "password"])
def test_a_file_that_is_not_there_is_named(call, pmode, tmp_path, which):
    """Whichever of the three."""
    words = {
        "file": [tmp_path / "nothing"],
        "truststore": [pmode, "--truststore", tmp_path / "nothing", "--password-file", pmode],
        "password": [pmode, "--truststore", _truststore(tmp_path, "a"), "--password-file", tmp_path / "nothing"],
    }
    with pytest.raises(UsageError, match="nothing: No such file or directory"):
        call("import-pmode", *words[which])


def test_an_empty_password_file_is_an_empty_password(call, pmode, tmp_path):
    """Which opens nothing here."""
    store, empty = _truststore(tmp_path, "a"), tmp_path / "empty"
    empty.touch()
    with pytest.raises(UsageError, match="another password"):
        call("import-pmode", pmode, "--truststore", store, "--password-file", empty)


def test_a_hostile_file_leaves_nothing_behind(call, tmp_path):
    """A document type is refused with the file's name, and no folder is made."""
    path = tmp_path / "pmode.xml"
    path.write_text(WHOLE.replace("?>", '?><!DOCTYPE x SYSTEM "file:///etc/hostname">', 1))
    with pytest.raises(ConfigError, match="has a document type declaration") as caught:
        call("import-pmode", path, "--out", tmp_path / "config")
    assert caught.value.file == str(path)
    assert not (tmp_path / "config").exists()


# --- partner-sheet ----------------------------------------------------------------------------------------------------

URL = "https://as4.municipality.example/as4"


@pytest.fixture
def municipality(estate: CopiedEstate) -> CopiedEstate:
    """The demo's municipality is our home: its partner is the hospital."""
    talk.set_home(estate.municipality.home)
    return estate


def test_the_sheet_is_for_people(call, municipality):
    """A table a flow, certificates as PEM, tests; complete without a product."""
    result = call("partner-sheet", "hospital", "--url", URL)
    assert result.exit_code == 0
    text = result.stdout
    assert text.startswith("# For Demo Hospital, from Demo Municipality\n")
    assert "## hospital-to-municipality-homecare: you send, we receive" in text
    assert f"| PMode[1].Protocol.Address | {URL} |" in text
    assert text.count("-----BEGIN CERTIFICATE-----") == 2
    assert "PRIVATE" not in text
    assert "1. Open a TLS connection to as4.municipality.example;" in text
    keys = municipality.municipality.settings().keys_path
    pem = text[text.index("-----BEGIN") : text.index("-----END") + len("-----END CERTIFICATE-----")]
    assert x509.load_pem_x509_certificate(pem.encode()) == load_identity(keys, "signing").certificate


def test_json_is_for_scripts(call, municipality):
    """The same facts, by name."""
    said = json.loads(call("partner-sheet", "hospital", "--url", URL, "--json").stdout)
    assert said["partner"] == "hospital"
    assert said["flows"][1]["parameters"]["PMode[1].Protocol.Address"] == URL
    assert [set(one) for one in said["certificates"]] == [{"use", "facts", "pem"}] * 2
    assert said["tests"]
    assert said["files"] == {}


@pytest.mark.parametrize(
    ("product", "files"),
    [
        ("domibus", ["domibus-pmode.xml"]),
        (
            "holodeck",
            [
                "municipality-to-hospital-homecare.xml",
                "hospital-to-municipality-homecare.xml",
                "municipality-to-hospital-files.xml",
                "hospital-to-municipality-files.xml",
            ],
        ),
        ("phase4", ["Agreement.java"]),
        ("oxalis", ["oxalis.txt"]),
    ],
)
def test_each_product_has_its_own_words(call, municipality, product, files):
    """They come as files in JSON, and at the end of the text."""
    said = json.loads(call("partner-sheet", "hospital", "--url", URL, "--for", product, "--json").stdout)
    assert list(said["files"]) == files
    text = call("partner-sheet", "hospital", "--url", URL, "--for", product).stdout
    for name, content in said["files"].items():
        assert f"## {name}\n\n{content}" in text + "\n"
        if name.endswith(".xml"):
            etree.fromstring(content.encode())


def test_the_hospital_that_imports_the_sheet_has_the_municipality_as_its_partner(call, municipality, tmp_path):
    """From our documents to a Domibus file and to their documents: each says what the other does."""
    said = json.loads(call("partner-sheet", "hospital", "--url", URL, "--for", "domibus", "--json").stdout)
    path = tmp_path / "domibus-pmode.xml"
    path.write_text(said["files"]["domibus-pmode.xml"])
    documents = json.loads(call("import-pmode", path, "--json").stdout)["documents"]
    theirs = documents["partners/municipality.yaml"][0]
    ours = load(municipality.municipality.settings().config_path, CATALOGUE.kinds, CATALOGUE.checks)
    assert theirs["party_id"] == ours.all("as4.party")["municipality"].party_id.model_dump()
    assert theirs["url"] == URL
    assert {e["action"] for e in theirs["exchanges"]} == {
        e.action for e in ours.all("as4.partner")["hospital"].exchanges
    }
    assert documents["ours.yaml"][0]["party_id"] == ours.all("as4.partner")["hospital"].party_id.model_dump()


def test_a_sheet_without_our_address_says_so(call, municipality):
    """On standard error, and as the first thing to do."""
    result = call("partner-sheet", "hospital")
    assert "the sheet lacks our address: name it with --url" in result.stderr
    assert "1. Our address is missing in this sheet" in result.stdout


@pytest.mark.parametrize(
    "url", ["", "as4.example", "ftp://as4.example/", "https://", "https:///as4", "https://a b/", "https://a\n/"]
)
def test_an_address_that_is_none_is_refused(call, municipality, url):
    """Before anything is made of it."""
    with pytest.raises(UsageError, match=r"--url: .* is no address"):
        call("partner-sheet", "hospital", "--url", url)


def test_a_partner_that_is_not_there_is_named_with_those_that_are(call, municipality):
    """The error lists what could have been meant."""
    with pytest.raises(UsageError, match=r"no as4\.partner is called 'clinic'; known: hospital"):
        call("partner-sheet", "clinic", "--url", URL)


def test_no_sheet_is_made_of_documents_that_are_wrong(call, municipality):
    """The first thing wrong is said, and how to see the rest."""
    path = municipality.municipality.home / "config" / "as4.yaml"
    path.write_text(path.read_text().replace("profile: edelivery-1.15", "profile: edelivery-9"))
    with pytest.raises(UsageError, match=r"as4.yaml:\d+: profile: .*run `stafet check`"):
        call("partner-sheet", "hospital", "--url", URL)


def test_a_product_nobody_knows_is_a_wrong_option(call, municipality):
    """Typer names those there are."""
    result = call("partner-sheet", "hospital", "--for", "carrier-pigeon")
    assert result.exit_code == 2
    assert "carrier-pigeon" in result.stderr


def test_both_commands_are_found_by_entry_point():
    """As pyproject.toml names them."""
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert f'import-pmode = "{import_pmode.__module__}:{import_pmode.__name__}"' in text
    assert f'partner-sheet = "{partner_sheet.__module__}:{partner_sheet.__name__}"' in text
