"""`stafet import-pmode` and `stafet partner-sheet`: coming from another access point, and telling a counterpart what to set.

Rule: what is decided is decided in pure functions; here files are read and written, and people are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
import yaml

from core import config, limits
from core.cli import talk
from core.cli.output import ERR, Json, say, say_json
from core.errors import NotFound, UsageError
from core.runtime import Catalogue
from core.trust import load_identity
from gateways.as4.moving import domibus
from gateways.as4.moving.importing import Imported, imported
from gateways.as4.moving.shape import Finding
from gateways.as4.moving.truststore import certificates_of, placed
from gateways.as4.sheets import sheet
from gateways.as4.sheets.domibus import domibus_xml
from gateways.as4.sheets.holodeck import holodeck_xml
from gateways.as4.sheets.java import oxalis_text, phase4_java

_HEAD: Final = "# Made by `stafet import-pmode`. Read what it said before you apply this.\n"
_LEVELS: Final = ("left out", "changed", "to do", "note")
Product = Literal["", "domibus", "holodeck", "phase4", "oxalis"]


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(limits.DOCUMENT_SIZE + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def _password(file: Path | None) -> bytes:
    if file is None:
        return str(typer.prompt("Password of the truststore", hide_input=True, err=True)).encode()
    lines = _read(file).splitlines()
    return lines[0] if lines else b""


# --- import-pmode -----------------------------------------------------------------------------------------------------


def import_pmode(
    file: Annotated[Path, typer.Argument(help="The P-Mode file that Domibus' console exports.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the documents; nothing is written without it.")
    ] = None,
    party: Annotated[str, typer.Option(help="Whose side we are on; else whose file it is.")] = "",
    truststore: Annotated[
        Path | None, typer.Option(help="Domibus' truststore, as PKCS#12, for the certificates.")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="A file whose first line is its password.")] = None,
    as_json: Json = False,
) -> None:
    """Make documents of a Domibus P-Mode file, and say everything that did not go over as it was."""
    result = imported(domibus.read(_read(file), str(file)), party)
    files = {
        name: (_HEAD + yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)).encode()
        for name, documents in result.documents.items()
    }
    if truststore is not None:
        pems, missing = placed(result.certificates, certificates_of(_read(truststore), _password(password_file)))
        files |= pems
        there = {one.party for one in result.certificates} - {
            finding.element.removeprefix("party ") for finding in missing
        }
        result.findings = [f for f in result.findings if not _is_settled(f, there)] + missing
    if out is not None:
        _write(out, files)
    if as_json:
        say_json(_as_json(result, out, files))
    else:
        _tell(result, out, files)


def _is_settled(finding: Finding, there: set[str]) -> bool:
    """Whether a finding asks for certificates that the truststore had."""
    return "truststore" in finding.reason and finding.element.removeprefix("party ") in there


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write what is not there yet. Raises `UsageError` rather than write over anything."""
    taken = [name for name in sorted(files) if (out / name).exists()]
    if taken:
        raise UsageError(f"{out / taken[0]}: is there already; nothing is written; name an empty folder with --out")
    try:
        for name, octets in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(octets)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None


def _as_json(result: Imported, out: Path | None, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "party": result.us,
        "documents": result.documents,
        "certificates": [asdict(one) for one in result.certificates],
        "findings": [asdict(finding) for finding in result.findings],
        "written": [str(out / name) for name in files] if out is not None else [],
    }


def _tell(result: Imported, out: Path | None, files: Mapping[str, bytes]) -> None:
    for level in _LEVELS:
        found = [finding for finding in result.findings if finding.level == level]
        if found:
            say(f"{level}:")
        for finding in found:
            say(f"- {finding.element}: {finding.reason}")
            if finding.remedy:
                say(f"  What to do: {finding.remedy}")
    kinds = [document["kind"] for documents in result.documents.values() for document in documents]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    say(f"For {result.us}: {counts}.")
    if out is None:
        say("Nothing is written; name an empty folder with --out.")
        return
    missing = sorted({one.file for one in result.certificates} - set(files))
    say(f"{len(files)} files are in {out}.")
    if missing:
        say(f"Certificates to put there: {', '.join(missing)}.")
    say(f"Then: stafet check {out}")


# --- partner-sheet ----------------------------------------------------------------------------------------------------


def partner_sheet(
    partner: Annotated[str, typer.Argument(help="The id of an as4.partner.")],
    product: Annotated[Product, typer.Option("--for", help="Their product: its own words are added.")] = "",
    url: Annotated[str, typer.Option(help="Where they reach us, as https://as4.town.example/as4.")] = sheet.NO_URL,
    as_json: Json = False,
) -> None:
    """Say what a counterpart must set on their side: parameters, our certificates, what to test first."""
    agreed = _agreed(partner, url)
    texts = _in_their_words(agreed, product)
    if url == sheet.NO_URL:
        ERR.print("the sheet lacks our address: name it with --url", markup=False)
    if as_json:
        say_json(
            {
                "partner": partner,
                "flows": [{"id": f.id, "parameters": dict(sheet.parameters(agreed, f))} for f in agreed.flows],
                "certificates": [
                    dict(zip(("use", "facts", "pem"), c, strict=True)) for c in sheet.certificates(agreed)
                ],
                "tests": sheet.first_tests(agreed),
                "files": texts,
            }
        )
        return
    _print_sheet(agreed, texts)


def _agreed(name: str, url: str) -> sheet.Agreed:
    """The partner in the configuration directory, with our certificates. Raises `UsageError`."""
    settings = talk.settings()
    if not url.startswith(("https://", "http://")) or not url.split("/", 3)[2] or not url.isprintable() or " " in url:
        raise UsageError(f"--url: {url!r} is no address; it begins with https:// and has a host")
    catalogue = Catalogue()
    try:
        configuration = config.load(settings.config_path, catalogue.kinds, catalogue.checks)
    except ExceptionGroup as group:
        raise UsageError(
            f"{group.exceptions[0]} (run `stafet check`; nothing is made of what is not in order)"
        ) from None
    partners = configuration.all("as4.partner")
    if name not in partners:
        raise NotFound(f"no as4.partner is called {name!r}; known: {', '.join(sorted(partners)) or 'there are none'}")
    found = partners[name]
    party = configuration.all("as4.party")[found.party]
    signing = load_identity(settings.keys_path, party.signing_key).certificate
    decryption = load_identity(settings.keys_path, party.decryption_keys[0]).certificate
    return sheet.agreed(found, party, url, signing, decryption)


def _in_their_words(agreed: sheet.Agreed, product: Product) -> dict[str, str]:
    """Text by file name, for their product."""
    match product:
        case "domibus":
            return {"domibus-pmode.xml": domibus_xml(agreed)}
        case "holodeck":
            return dict(holodeck_xml(agreed))
        case "phase4":
            return {"Agreement.java": phase4_java(agreed)}
        case "oxalis":
            return {"oxalis.txt": oxalis_text(agreed)}
    return {}


def _print_sheet(agreed: sheet.Agreed, texts: Mapping[str, str]) -> None:
    say(f"# For {agreed.partner.title or agreed.partner.id}, from {agreed.party.title or agreed.party.id}")
    for flow in agreed.flows:
        say()
        say(f"## {flow.id}: {'we send, you receive' if flow.ours else 'you send, we receive'}")
        say()
        say("| Parameter | Value |")
        say("| --- | --- |")
        for parameter, value in sheet.parameters(agreed, flow):
            say(f"| {parameter} | {value.replace('|', '&#124;')} |")
    say()
    say("## Our certificates")
    for use, facts, pem in sheet.certificates(agreed):
        say()
        say(f"{use[0].upper()}{use[1:]}: {facts}")
        say()
        say(pem.strip())
    say()
    say("## What to test first")
    say()
    for number, step in enumerate(sheet.first_tests(agreed), 1):
        say(f"{number}. {step}")
    for name, text in texts.items():
        say()
        say(f"## {name}")
        say()
        say(text.rstrip("\n"))
