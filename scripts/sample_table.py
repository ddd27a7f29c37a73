"""Makes docs/reference/as4-samples.md: what the access point says to messages of other makers.

The page is a function of the two files in tests/vectors/ alone; that every row is true is shown by the tests beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

Row = Mapping[str, Any]

INTRO: Final = """\
Messages that other access points sent, and those test suites of other makers are made of, with what Stafet says to
each. The files themselves are not part of this repository; `tests/vectors/` holds this table as data, with the digest
of every file, and the tests that run it wherever the files are.

Each message is judged twice at its own date, with the public test keys of its origin:

- **Under its origin**: with a [partner file](#partner-files) made for where it came from, which says what that sender
  does otherwise.
- **By default**: the same partner under the profile `edelivery-1.15` as it is.

A verdict is *accepted* (a receipt goes back), *receipt* (it proves that our message arrived), what a peer's error
says, or the code with which it is refused and the field that is wrong. Where it is **bold** it is not the verdict
given by the samples' own README, and the last column but one argues it. *Behind it* is what comes when one header
rule is lifted that hides what the sample is about: `repeated` (property names differ), `soap-1.1` (the envelope is
SOAP 1.2).

§n.n is a section of the AS4 implementer's reference that lies beside the samples; [eD1.15 §…], [AS4 §…] and [ebMS3
§…] are the specifications. The README's own verdicts were checked by its makers with lxml and cryptography; *checked
by* says what else judges a sample in our tests: the official XSD (fits or not), xmlsec (signature valid or not), an
Ed25519 signature by lxml and cryptography alone, digests by lxml alone, and a plain reader of payloads that shares no
code with the access point. Each message is fed whole and in pieces, single octets where it is small."""

BEYOND: Final = """\
Every partner file is a real `as4.partner` document, read and made into P-Modes by the gateway. What stands under
*beyond it* is what no such document can say; it was put into the P-Modes for these tests. *By default* leaves out both
that and `also_accept` and `untyped_names`. The name a sender gives the P-Mode is no policy and stays."""


def agrees(row: Row) -> bool:
    """Whether the verdict under the origin is one that the README gives."""
    verdict, _, response = row["readme"].partition(": ")
    answer = row["under_origin"]["answer"]
    if response == "-":
        good = {"valid": ("receipt", "error"), "partial": ("EBMS:0102",)}[verdict]
        return bool(answer.startswith(good))
    said = {"accepted": "receipt", "SOAP Received": "retry"}
    return said.get(answer, answer.removeprefix("EBMS:").removeprefix("SOAP ")) in response


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _verdict(verdict: Row, *, bold: bool = False) -> str:
    answer = f"**{verdict['answer']}**" if bold else verdict["answer"]
    sizes = [f"{size:,}".replace(",", " ") for size, _ in verdict.get("payloads", ())]
    more = [verdict["field"]] if "field" in verdict else []
    more += [f"{' and '.join(sizes)} octets"] if sizes else []
    return f"{answer}<br>{', '.join(more)}" if more else answer


def _behind(row: Row) -> str:
    if "lifted" not in row:
        return ""
    lifted = row["lifted"]
    both = [_verdict(lifted[name]).replace("<br>", " ") for name in ("under_origin", "by_default")]
    return f"`{lifted['rule']}`: {both[0]}" + (f"; by default {both[1]}" if both[0] != both[1] else "")


def _checked(row: Row) -> str:
    checked = row["checked"]
    words = {"schema": ("XSD: does not fit", "XSD: fits"), "xmlsec": ("xmlsec: invalid", "xmlsec: valid")}
    said = [words[name][checked[name]] for name in words if name in checked]
    if "eddsa" in checked:
        said.append(f"cryptography: {'valid' if checked['eddsa'] else 'invalid'}")
    if "digests" in checked:
        said.append("lxml: " + ", ".join(f"{n} {'fits' if ok else 'changed'}" for n, ok in checked["digests"].items()))
    return "; ".join([*said, *(["plain reader"] if "plain" in checked else [])]) or "nothing here"


def _rows(rows: Iterable[Row], *, compare: bool = True) -> Iterator[str]:
    yield "| Sample | Is | Its README | Partner file | Under its origin | By default | Behind it | Why | From; checked by |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        verdicts = ["", ""]
        if "under_origin" in row:
            own = compare and not agrees(row)
            verdicts = [_verdict(row["under_origin"], bold=own), _verdict(row["by_default"])]
        link = f"[{row['origin']}](#partner-files)" if "origin" in row else ""
        cells = [row["file"], row["unit"], row["readme"], link, *verdicts, _behind(row), row["why"]]
        cells.append(f"{row['from']}; {_checked(row)}")
        yield f"| {' | '.join(map(_cell, cells))} |"


def _section(title: str, words: str, rows: Iterable[Row], *, compare: bool = True) -> list[str]:
    return ["", f"## {title}", "", words, "", *_rows(rows, compare=compare)]


def _beyond(origin: Row) -> str:
    said = []
    for name, value in origin.get("beyond", {}).items():
        words = {
            "demand_signature": "no signature is demanded",
            "demand_encryption": "no encryption is demanded",
            "rsa_bits": f"RSA keys from {value} bits",
        }
        said.append(words[name])
    return "; ".join(said) or "nothing"


def _says(origin: Row) -> str:
    partner = origin["partner"]
    pinned = partner["signing_certificates"] or partner["anchors"]
    names = ", ".join(Path(name).stem for name in pinned)
    how = "signs with" if partner["signing_certificates"] else f"signs as {partner['signing_subject']!r} under"
    said = [f"{how} {names}", f"profile `{partner.get('profile', 'edelivery-1.15')}`"]
    if partner.get("also_accept"):
        said.append("`also_accept`: " + ", ".join(f"`{name}`" for name in partner["also_accept"]))
    if partner.get("untyped_names"):
        said.append("`untyped_names`")
    if "answers_duplicates" in partner:
        said.append(f"`answers_duplicates: {partner['answers_duplicates']}`")
    if "by_default" in origin:
        said.append(f"by default as {origin['by_default']}")
    return "; ".join(said)


def samples_page(root: Path, made: str) -> str:
    """The page; ``made`` is the line that says how it came about."""
    folder = root / "tests" / "vectors"
    table = yaml.safe_load((folder / "as4_samples.yaml").read_text(encoding="utf-8"))
    origins = yaml.safe_load((folder / "as4_origins.yaml").read_text(encoding="utf-8"))["origins"]
    inside = [row for row in table["messages"] if "outside" not in row]
    outside = [row for row in table["messages"] if "outside" in row]
    same = sum(map(agrees, inside))
    count = (
        f"{len(table['messages'])} messages: {same} get the verdict of the README under their origin, {len(inside) - same} get "
        f"another one, which is argued, and {len(outside)} belong to what is not in this version."
    )
    lines = ["# AS4 samples", "", made, "", INTRO, *_section("Messages", count, inside)]
    words = "Pull and multi-hop. The verdicts are what is answered today."
    lines += _section("Messages that belong to what is not in this version", words, outside, compare=False)
    words = "Messages without their attachments: how certificates are referred to and content keys are wrapped."
    lines += _section("Security headers", words, table["security_headers"], compare=False)
    words = (
        "Pairs of a message and its receipt from the AS4 standard. Values are placeholders and the structure counts: "
        "fed the references of the message, we write the non-repudiation information of the receipt."
    )
    lines += _section("Receipts of the standard", words, table["oasis_receipts"], compare=False)
    words = (
        "Ed25519, X25519 and ECDH, keys and data. None is an AS4 message; put where eDelivery AS4 2.0 has such a thing, what it "
        "uses is read and all else is refused by its name."
    )
    lines += _section("Vectors for cryptography", words, table["crypto_vectors"], compare=False)
    lines += [
        "",
        "## Partner files",
        "",
        BEYOND,
        "",
        "| Name | Whose | It says | Beyond it |",
        "| --- | --- | --- | --- |",
    ]
    for name, origin in origins.items():
        lines.append(f"| {name} | {_cell(origin['title'])} | {_cell(_says(origin))} | {_cell(_beyond(origin))} |")
    return "\n".join(lines) + "\n"
