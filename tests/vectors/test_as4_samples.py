"""Every received sample is judged as the table says: under a partner file made for its origin, and by default.

The samples are not part of this repository; without them these tests skip, except those about the table itself.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from lxml import etree

from accesspoint import names
from accesspoint.ebms import Signal, parse_messaging
from accesspoint.errors import CATALOGUE, EbmsError, RemoteError
from accesspoint.inbound import Accepted, Receiver
from accesspoint.outbound import Message, judge_answer
from accesspoint.profiles import EDELIVERY_1_15
from accesspoint.receipts import match_receipt, parse_receipt, receipt_xml
from accesspoint.soap import parse_envelope
from accesspoint.tokens import candidates, parse_key_info
from accesspoint.xmlenc import parse_encryption, unwrap_key
from core.trust import common_name
from gateways.as4.evidence import is_duplicate
from scripts.sample_table import agrees
from tests.vectors import opinions, running
from tests.vectors.running import (
    SECTIONS,
    Row,
    Sample,
    Verdict,
    World,
    index,
    lift,
    origins,
    references_of,
    row_of,
    rows,
    sample_of,
    table,
    world,
)

WHOLE: Final = 1 << 30


def checked_by(name: str) -> list[Any]:
    """Rows that another judge has an opinion on."""
    return [p for p in rows() if name in p.values[0][1]["checked"]]


def message_answered(samples: Path, entry: tuple[str, Row]) -> Message | None:
    """The message a signal answers, from the sample that is that message."""
    section, row = entry
    if "sent" not in row:
        return None
    soap = sample_of(samples, (section, {"file": row["sent"]})).soap
    found = etree.fromstring(soap).find(f".//{names.tag(names.EB, 'MessageId')}")
    assert found is not None and found.text
    return Message(found.text.strip(), b"", "boundary", b"", (), references_of(soap))


async def judged(samples: Path, entry: tuple[str, Row], sample: Sample, agreements: World, step: int) -> Verdict:
    """The verdict in the way the row says."""
    match entry[1]["how"]:
        case "posted":
            return running.received(sample, agreements, step)
        case "handled":
            return await running.handled(sample, agreements)
        case how:
            assert how == "answer"
            return running.answered(sample, agreements, message_answered(samples, entry))


def steps(sample: Sample) -> Iterator[int]:
    """Whole, and in pieces: single octets where that is quick."""
    yield WHOLE
    yield 1 if len(sample.body) < 20_000 else 4093


# ------------------------------------------------------------------------------------------------------- the table itself


def test_no_sample_is_left_out(samples):
    """Every file of every folder has a row, and every row a file with exactly those octets."""
    for section, folder in SECTIONS.items():
        listed = {row["file"]: row["sha256"] for row in table()[section]}
        there = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (samples / folder).iterdir()}
        assert listed == there
        assert len(listed) == len(table()[section])


def test_the_table_quotes_the_samples_own_index(samples):
    """What the table says a sample is, which verdict its README gives and where it came from, is what stands there."""
    listed = index(samples)
    for row in table()["messages"]:
        entry = listed[row["file"]]
        assert (row["unit"], row["from"]) == (entry["unit"], entry["origin"])
        assert row["readme"] == f"{entry['verdict']}: {entry['expected_response']}"


def test_a_verdict_of_our_own_is_argued_and_named():
    """Where we do not give the README's verdict, these are the samples, and each says why with a place in a specification."""
    own = [row["file"][:2] for row in table()["messages"] if not agrees(row) and "outside" not in row]
    assert own == ["07", "08", "09", "10", "42", "43", "46"]
    outside = [row["file"][:2] for row in table()["messages"] if "outside" in row]
    assert outside == ["11", "12", "13", "14", "20", "21", "57"]
    for section in SECTIONS:
        for row in table()[section]:
            assert row["why"].endswith(".") and row["from"]
            differs = row.get("under_origin") != row.get("by_default")
            if differs or "outside" in row or row["file"][:2] in own:
                assert "§" in row["why"], row["file"]


def test_a_hidden_verdict_is_shown_with_the_hiding_rule_lifted():
    """Where a header rule of ours comes before what a sample is about, the README's verdict is what lies behind it."""
    own = [row for row in table()["messages"] if not agrees(row) and "outside" not in row]
    behind = [row for row in own if "lifted" in row]
    assert [row["file"][:2] for row in own if "lifted" not in row] == ["46"]
    for row in behind:
        assert agrees({**row, "under_origin": row["lifted"]["under_origin"]}), row["file"]


def test_every_place_that_is_cited_is_in_the_reference(shared):
    """A specification is cited as the reference names it, and a bare section is one of the reference's headings."""
    text = (shared / "reference" / "as4.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"(?m)^#{2,3} (\d+(?:\.\d+)?)", text))
    cited = 0
    for section in SECTIONS:
        for row in table()[section]:
            for group in re.findall(r"\[([^\]]+)\]", row["why"]):
                for place in group.split(", "):
                    assert place in text, (row["file"], place)
                    cited += 1
            bare = re.sub(r"\[[^\]]+\]", "", row["why"])
            for place in re.findall(r"§([\d.]*\d)", bare):
                assert place in headings, (row["file"], place)
                cited += 1
    assert cited > 100


def test_every_code_is_of_the_catalogue():
    """No verdict names a code that does not exist."""
    for section in SECTIONS:
        for row in table()[section]:
            for name in ("under_origin", "by_default"):
                for code in re.findall(r"EBMS:\d{4}", str(row.get(name))):
                    assert code in CATALOGUE


# -------------------------------------------------------------------------------------------------------------- verdicts

JUDGED: Final = [p for p in rows() if p.values[0][1]["how"] != "none"]


@pytest.mark.parametrize("entry", JUDGED)
async def test_a_sample_is_judged_as_the_table_says(samples, entry):
    """Both verdicts, with the field and every payload; whole and in pieces."""
    row = entry[1]
    sample = sample_of(samples, entry)
    for name in ("under_origin", "by_default"):
        agreements = world(samples, row, sample.soap, default=name == "by_default")
        for step in steps(sample) if row["how"] == "posted" else (WHOLE,):
            verdict = await judged(samples, entry, sample, agreements, step)
            assert verdict.as_row() == {"answer": "", **row[name]}, (name, step)


@pytest.mark.parametrize("entry", rows(lifted=...))
async def test_what_lies_behind_a_rule(samples, entry):
    """With one header rule lifted, both verdicts again."""
    row = entry[1]
    for name in ("under_origin", "by_default"):
        sample = sample_of(samples, entry)
        agreements = world(samples, row, sample.soap, default=name == "by_default")
        with lift(row["lifted"]["rule"], sample) as lifted:
            verdict = await judged(samples, entry, lifted, agreements, WHOLE)
        assert verdict.as_row() == row["lifted"][name], name


def refused() -> list[Any]:
    """Posted messages that are refused, each with the partner file under which they are."""
    both = [(p.values[0], name) for p in rows(how="posted") for name in ("under_origin", "by_default")]
    return [
        pytest.param(entry, name, id=f"{entry[1]['file']}-{name}")
        for entry, name in both
        if entry[1][name]["answer"] != "accepted"
    ]


@pytest.mark.parametrize(("entry", "name"), refused())
async def test_the_gateway_answers_with_the_same_code(samples, entry, name):
    """What goes back is an error or a fault with that code, signed under the partner's profile where somebody is spoken with."""
    row, sample = entry[1], sample_of(samples, entry)
    verdict = await running.handled(sample, world(samples, row, sample.soap, default=name == "by_default"))
    assert (verdict.answer, verdict.field) == (row[name]["answer"], row[name].get("field", ""))


@pytest.mark.parametrize(
    "entry", [p for p in rows(how="posted") if p.values[0][1]["file"].endswith((".mime", ".as4out"))]
)
def test_octets_after_the_closing_boundary_change_nothing(samples, entry):
    """An epilogue is ignored, and a message without its end is never accepted."""
    row, sample = entry[1], sample_of(samples, entry)
    expected = row.get("lifted", row)["under_origin"]
    agreements = world(samples, row, sample.soap, default=False)
    with lift(row["lifted"]["rule"], sample) if "lifted" in row else nullcontext(sample) as lifted:
        longer = running.received(replace(lifted, body=lifted.body + b"\r\nepilogue"), agreements, WHOLE)
        shorter = running.received(replace(lifted, body=lifted.body.rstrip()[:-2]), agreements, WHOLE)
    assert longer.as_row() == expected
    assert shorter.answer == ("EBMS:0007" if expected["answer"] == "accepted" else shorter.answer) != "accepted"


def taken() -> list[Any]:
    """Messages that are accepted (where need be with a rule lifted), each with the places where it can be changed."""
    found = []
    for parameter in rows(how="posted"):
        row = parameter.values[0][1]
        said = row.get("lifted", row)["under_origin"]
        places = ("header", "payload") if "payloads" in said else ("header",)
        if said["answer"] == "accepted":
            found += [pytest.param(parameter.values[0], place, id=f"{row['file']}-{place}") for place in places]
    return found


@pytest.mark.parametrize(("entry", "part"), taken())
def test_one_changed_octet_is_enough_to_refuse_what_was_taken(samples, entry, part):
    """In the header the digest of Messaging tells; in a payload its tag (0102), or its digest where it is not encrypted."""
    row, sample = entry[1], sample_of(samples, entry)
    if part == "header":
        at = re.search(rb"<(\w+:)?ConversationId>", sample.body).end()
        expected = {"answer": "EBMS:0101", "field": "digest of Messaging"}
    else:
        at = sample.body.rstrip().rfind(b"\r\n--") - 10
        encrypted = b"EncryptedData" in sample.body
        expected = {"answer": "EBMS:0102", "field": "EncryptedData"}
        expected = expected if encrypted else {"answer": "EBMS:0101", "field": "digest of attachment"}
    body = bytearray(sample.body)
    body[at] ^= 1
    agreements = world(samples, row, sample.soap, default=False)
    changed = replace(sample, body=bytes(body))
    with lift(row["lifted"]["rule"], changed) if "lifted" in row else nullcontext(changed) as lifted:
        assert running.received(lifted, agreements, WHOLE).as_row() == expected


# ------------------------------------------------------------------------------------------------------------ other judges


@pytest.mark.parametrize("entry", checked_by("schema"))
def test_the_official_schema_agrees_with_the_table(shared, samples, entry):
    """The table says rightly whether the envelope fits the official XSD; what does not is never accepted."""
    row = entry[1]
    assert opinions.schema_says(shared, sample_of(samples, entry).soap) is row["checked"]["schema"]
    if not row["checked"]["schema"]:
        assert row["under_origin"]["answer"] not in ("accepted", "receipt")
    listed = index(samples).get(row["file"], {}).get("xsd_valid")
    assert listed in (None, row["checked"]["schema"])


@pytest.mark.parametrize("entry", checked_by("xmlsec"))
def test_xmlsec_agrees_about_signatures(samples, entry):
    """A signature that we take is one that the C library takes too, and one that we refuse it refuses."""
    row, sample = entry[1], sample_of(samples, entry)
    chain = running.chain_of(sample.soap)
    signer = chain[0] if chain else running.certificate(samples, "access-point-b", sample.soap)
    assert opinions.xmlsec_says(sample.soap, signer) is row["checked"]["xmlsec"]
    if "outside" not in row:
        said = row.get("lifted", row)["under_origin"]
        taken = said["answer"] in ("accepted", "receipt") or said.get("field") == "authenticated"
        assert taken is row["checked"]["xmlsec"]


@pytest.mark.parametrize("entry", checked_by("eddsa"))
def test_cryptography_alone_agrees_about_ed25519(samples, entry):
    """Canonicalised by lxml, an Ed25519 signature that we take is good."""
    row, sample = entry[1], sample_of(samples, entry)
    (signer, *_) = running.chain_of(sample.soap)
    assert opinions.eddsa_says(sample.soap, signer) is row["checked"]["eddsa"] is True
    assert row["under_origin"]["answer"] in ("accepted", "receipt")


@pytest.mark.parametrize("entry", checked_by("digests"))
def test_digests_alone_say_what_was_changed(samples, entry):
    """Which of Messaging and Body was changed, where the signature value cannot say it."""
    row = entry[1]
    assert opinions.digests_say(sample_of(samples, entry).soap) == row["checked"]["digests"]


@pytest.mark.parametrize("entry", checked_by("plain"))
def test_a_plain_reader_finds_the_same_payloads(samples, entry):
    """Splitting, decrypting and unpacking in one go gives the octets that we give."""
    row, sample = entry[1], sample_of(samples, entry)
    ours = origins()["origins"][row["origin"]]["party"]["decryption_keys"]
    keys = [running.key_pair(samples / "keys", name)[0] for name in ours]
    found = opinions.plain_payloads(sample.content_type, sample.body, keys)
    assert found == row.get("lifted", row)["under_origin"]["payloads"]


# ---------------------------------------------------------------------------------------------------------------- receipts


@pytest.mark.parametrize(
    "entry", [p for p in rows(how="answer") if p.values[0][1]["under_origin"]["answer"] == "receipt"]
)
def test_a_receipt_proves_only_the_message_it_repeats(samples, entry):
    """One digest changed, one reference missing or added, or another message: 0302 each."""
    row, sample = entry[1], sample_of(samples, entry)
    agreements = world(samples, row, sample.soap, default=False)
    said = parse_messaging(parse_envelope(sample.soap))
    assert isinstance(said, Signal)
    sent = message_answered(samples, entry) or running.stand_in(said, parse_receipt(said))
    first, *others = sent.references
    changed = replace(first, digest=bytes(32))
    extra = replace(first, uri="cid:more")
    for references in ((changed, *others), tuple(others), (first, *others, extra)):
        verdict = running.answered(sample, agreements, replace(sent, references=references))
        assert (verdict.answer, verdict.field) == ("EBMS:0302", "Receipt")
    other = running.answered(sample, agreements, replace(sent, message_id="another@example"))
    assert (other.answer, other.field) == ("EBMS:0302", "RefToMessageId")
    other = row["origin"].replace("server", "client") if "dsa" in row["origin"] else "unknown"
    stranger = world(samples, {**row, "origin": other}, sample.soap, default=False)
    assert running.answered(sample, stranger, sent).as_row() == {"answer": "EBMS:0302", "field": "receipt certificate"}


@pytest.mark.parametrize(
    "name", ["23-rssbus-receipt-wrong-nri-namespace.mime", "46-domibus-reception-awareness-receipt.xml"]
)
def test_a_receipt_that_repeats_nothing_is_read_and_proves_nothing(samples, name):
    """Its reference to our message is read; evidence it has none, whoever signed it."""
    said = parse_messaging(parse_envelope(running.read(samples, name).soap))
    assert isinstance(said, Signal)
    assert said.ref_to_message_id and said.receipt is not None
    with pytest.raises(EbmsError) as caught:
        parse_receipt(said)
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0302", "Receipt")


@pytest.mark.parametrize("entry", rows(same_as_ours=True))
def test_our_receipts_have_the_structure_of_the_official_examples(samples, entry):
    """Fed the example message's references, we write the example receipt's non-repudiation information."""
    row = entry[1]
    folder = samples / "oasis-receipts"
    references = references_of((folder / row["sent"]).read_bytes())
    made = etree.fromstring(
        receipt_xml(references).replace(b"<eb:Receipt>", b'<eb:Receipt xmlns:eb="%s">' % names.EB.encode())
    )
    official = etree.fromstring((folder / row["file"]).read_bytes()).find(f".//{names.tag(names.EB, 'Receipt')}")
    assert official is not None
    assert _shape(made) == _shape(official)
    signal = Signal("id", 0, "ref", official)
    match_receipt(references, parse_receipt(signal))


def _shape(element: Any) -> Any:
    """An element without prefixes and white space."""
    return element.tag, dict(element.attrib), (element.text or "").strip(), [_shape(child) for child in element]


# --------------------------------------------------------------------------------------------------------- single samples


def test_an_expired_certificate_is_refused_after_its_end_and_not_before(samples):
    """The sample whose certificate ended in 2020 is taken at its own date and is 0101 a year after the end."""
    row = row_of("07")
    sample = running.read(samples, row["file"])
    for at, answer in ((row["at"], "accepted"), ("2021-04-29T00:00:00+00:00", "EBMS:0101")):
        agreements = world(samples, {**row, "at": at}, sample.soap, default=False)
        with lift("repeated", sample) as lifted:
            assert running.received(lifted, agreements, WHOLE).answer == answer


def test_a_repetition_is_known_by_its_fingerprint(samples):
    """The duplicate taken twice has the same references and fingerprint; another message has another fingerprint."""
    seen = []
    for number in ("55", "55", "47"):
        row = row_of(number)
        sample = running.read(samples, row["file"])
        receiver = Receiver(
            sample.content_type, world(samples, row, sample.soap, default=False), lambda *_: running.Buffer()
        )
        receiver.feed(sample.body)
        said = receiver.finish()
        assert isinstance(said, Accepted)
        seen.append((said.fingerprint(), said.references))
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]


@pytest.mark.parametrize("number", ["49", "51"])
def test_under_1_15_the_algorithms_of_2_0_are_refused(samples, number):
    """With names without a type allowed, what refuses them is the profile: its content keys are wrapped with RSA-OAEP."""
    row = row_of(number)
    sample = running.read(samples, row["file"])
    agreements = world(samples, {**row, "origin": "phase4-client"}, sample.soap, default=False)
    verdict = running.received(sample, agreements, WHOLE)
    assert (verdict.answer, verdict.field) == ("EBMS:0103", "EncryptedKey/EncryptionMethod")


def test_the_name_a_sender_gives_the_pmode_is_the_one_agreed(samples):
    """As it is agreed or where none is agreed it is taken; another one is 0010."""
    row = row_of("01")
    sample = running.read(samples, row["file"])
    for name, answer in ((row["pmode"], "accepted"), (None, "accepted"), ("another", "EBMS:0010")):
        agreements = world(samples, {**row, "pmode": name}, sample.soap, default=False)
        verdict = running.received(sample, agreements, WHOLE)
        field = "AgreementRef/@pmode" if answer != "accepted" else ""
        assert (verdict.answer, verdict.field) == (answer, field)


def test_phase4s_error_about_a_repetition_is_one_and_nothing_else_is(samples):
    """Signed by the partner, about our message; the same octets from somebody whose certificate is not agreed say nothing."""
    row = row_of("56")
    sample, sent = sample_of(samples, ("messages", row)), message_answered(samples, ("messages", row))
    for origin, believed in ((row["origin"], True), ("unknown", False)):
        agreements = world(samples, {**row, "origin": origin}, sample.soap, default=False)
        pmode = next(p for p in agreements.pmodes() if p.may_send)
        with pytest.raises(RemoteError) as caught:
            judge_answer(sent, pmode, agreements.trust(pmode), 200, sample.content_type, sample.body)
        assert caught.value.authenticated is believed
        assert is_duplicate(caught.value) is believed
    other = replace(sent, message_id="another@p4")
    agreements = world(samples, row, sample.soap, default=False)
    with pytest.raises(RemoteError) as caught:
        judge_answer(other, pmode, agreements.trust(pmode), 200, sample.content_type, sample.body)
    assert not is_duplicate(caught.value)


@pytest.mark.parametrize("entry", rows(signer=...))
def test_key_references_of_domibus_are_read(samples, entry):
    """Tokens, paths (leaf last), issuer and serial, and subject key identifiers, as the table says."""
    row = entry[1]
    envelope = parse_envelope(sample_of(samples, entry).soap)
    assert envelope.security is not None
    signature = envelope.security.find(running.SIGNATURE)
    assert signature is not None
    reference = parse_key_info(signature.find(names.tag(names.DS, "KeyInfo")), envelope.by_id)
    wanted = row["signer"]
    assert [common_name(c) for c in reference.chain] == wanted.get("chain", [])
    assert reference.serial == wanted.get("serial")
    assert reference.ski == (b64decode(wanted["ski"]) if "ski" in wanted else None)


@pytest.mark.parametrize("entry", rows(unwraps=...))
def test_content_keys_of_domibus_unwrap_with_one_key_alone(samples, entry):
    """The key reference means one of both certificates; its key unwraps, the other one's does not (0102)."""
    row = entry[1]
    envelope = parse_envelope(sample_of(samples, entry).soap)
    encryption = parse_encryption(envelope, EDELIVERY_1_15)
    assert encryption is not None
    pairs = {name: running.key_pair(samples / "keys", name) for name in ("blue-gw", "red-gw")}
    key, certificate = pairs.pop(row["unwraps"])
    ((other, foreign),) = pairs.values()
    reference = parse_key_info(encryption.key.key_info, envelope.by_id)
    assert candidates(reference, [foreign, certificate]) == [certificate]
    assert len(unwrap_key(key, encryption.key, 16)) == 16
    with pytest.raises(EbmsError) as caught:
        unwrap_key(other, encryption.key, 16)
    assert caught.value.error.code == "EBMS:0102"
