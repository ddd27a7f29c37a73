"""P-Modes: how a header finds its agreement, and what the agreement then demands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint import names
from accesspoint.ebms import PartInfo, Party, Property, Typed
from accesspoint.errors import EbmsError
from accesspoint.pmode import PMode, check_header, check_served, check_subject, select
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_1_15_FOUR_CORNER, ENTSOG_3, PEPPOL, PROFILES
from accesspoint.receipts import error_xml
from conformance.pki import Authority
from tests.accesspoint.headers import message, quick

KIND = "urn:demo:parties"
HOSPITAL = Party(Typed("hospital", KIND), names.RESPONDER)
CITY, TOWN = (Party(Typed(name, KIND), names.INITIATOR) for name in ("municipality", "town"))
AGREED = Typed("urn:demo:agreement")


def pmode(local: str, **more: Any) -> PMode:
    """How the hospital receives from the municipality, some of it otherwise."""
    values: dict[str, Any] = {
        "partner": "municipality",
        "profile": EDELIVERY_1_15,
        "us": HOSPITAL,
        "them": CITY,
        "service": Typed("homecare", "urn:demo:services"),
        "action": "deliver",
    }
    return PMode(local, **values | more)


PMODES = (
    pmode("send", may_receive=False, them=replace(CITY, id=Typed("urn:demo:never"))),
    pmode("deliver", agreement=AGREED, name="p-deliver"),
    pmode("answer", agreement=AGREED, action="answer", name="p-answer"),
    pmode("other service", agreement=AGREED, service=Typed("urn:demo:other")),
    pmode("channel", agreement=AGREED, action="answer", mpc="urn:demo:channel"),
    pmode("town", partner="town", them=TOWN),
    pmode(
        "swapped", partner="town", them=replace(TOWN, role=names.RESPONDER), us=replace(HOSPITAL, role=names.INITIATOR)
    ),
    pmode("ward", us=replace(HOSPITAL, id=Typed("ward", KIND)), agreement=AGREED),
)


def refusal(**more: Any) -> tuple[str, str, str, str]:
    """Code, field, cause and remedy a message is refused with."""
    with pytest.raises(EbmsError) as caught:
        select(PMODES, message(**more))
    error = caught.value
    return error.error.code.removeprefix("EBMS:"), error.field, error.cause, error.remedy


# --- selection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("deliver", {}),
        ("deliver", {"agreement": AGREED}),
        ("deliver", {"agreement": AGREED, "pmode": "p-deliver"}),
        ("answer", {"action": "answer"}),
        ("channel", {"action": "answer", "mpc": "urn:demo:channel"}),
        ("other service", {"service": Typed("urn:demo:other")}),
        ("town", {"from_": TOWN}),
        ("town", {"from_": TOWN, "agreement": Typed("urn:demo:any")}),
        ("town", {"from_": TOWN, "agreement": Typed("urn:demo:any"), "pmode": "whatever they call it"}),
        (
            "swapped",
            {"from_": replace(TOWN, role=names.RESPONDER), "to": replace(HOSPITAL, role=names.INITIATOR)},
        ),
        ("ward", {"to": Party(Typed("ward", KIND), names.RESPONDER)}),
    ],
)
def test_a_header_finds_its_own_p_mode(name, more):
    """By parties, roles, agreement where both have one, service, action and channel."""
    assert select(PMODES, message(**more)).id == name


WHO = "compare value and type of the PartyId on both sides"
SENDERS = f"'municipality (type {KIND})' or 'town (type {KIND})'"
RECEIVERS = f"'hospital (type {KIND})' or 'ward (type {KIND})'"
SERVICES = "'homecare (type urn:demo:services)' or 'urn:demo:other'"
ROLES = f"'{names.INITIATOR} to {names.RESPONDER}'"
AGREEMENT = "'urn:demo:agreement'"
SWAPPED = {"from_": replace(CITY, role=names.RESPONDER), "to": replace(HOSPITAL, role=names.INITIATOR)}


def sender(value: str, kind: str | None = KIND) -> dict[str, Any]:
    """A header from somebody else."""
    return {"from_": Party(Typed(value, kind), names.INITIATOR)}


def receiver(value: str, kind: str | None = KIND) -> dict[str, Any]:
    """A header to somebody else."""
    return {"to": Party(Typed(value, kind), names.RESPONDER)}


def service(value: str, kind: str | None = None) -> dict[str, Any]:
    """A header about something else."""
    return {"service": Typed(value, kind)}


@pytest.mark.parametrize(
    ("more", "code", "field", "got", "agreed"),
    [
        (sender("village"), "0010", "From/PartyId", f"'village (type {KIND})'", SENDERS),
        (sender("municipality", "urn:x"), "0010", "From/PartyId", "'municipality (type urn:x)'", SENDERS),
        (sender("Municipality"), "0010", "From/PartyId", f"'Municipality (type {KIND})'", SENDERS),
        (sender("urn:demo:never", None), "0010", "From/PartyId", "'urn:demo:never'", SENDERS),
        (receiver("clinic"), "0010", "To/PartyId", f"'clinic (type {KIND})'", RECEIVERS),
        (receiver("hospital", "urn:x"), "0010", "To/PartyId", "'hospital (type urn:x)'", RECEIVERS),
        (receiver("urn:hospital", None), "0010", "To/PartyId", "'urn:hospital'", RECEIVERS),
        (sender("town") | receiver("ward"), "0010", "To/PartyId", f"'ward (type {KIND})'", f"'hospital (type {KIND})'"),
        ({"to": replace(HOSPITAL, role="urn:r")}, "0003", "Role", f"'{names.INITIATOR} to urn:r'", ROLES),
        ({"from_": replace(CITY, role="urn:r")}, "0003", "Role", f"'urn:r to {names.RESPONDER}'", ROLES),
        (SWAPPED, "0003", "Role", f"'{names.RESPONDER} to {names.INITIATOR}'", ROLES),
        ({"agreement": Typed("urn:demo:older")}, "0001", "AgreementRef", "'urn:demo:older'", AGREEMENT),
        ({"agreement": replace(AGREED, type="t")}, "0001", "AgreementRef", "'urn:demo:agreement (type t)'", AGREEMENT),
        (service("hospice", "urn:t"), "0001", "Service", "'hospice (type urn:t)'", SERVICES),
        (service("urn:homecare"), "0001", "Service", "'urn:homecare'", SERVICES),
        (service("urn:demo:other", "urn:t"), "0001", "Service", "'urn:demo:other (type urn:t)'", SERVICES),
        ({"action": "Deliver"}, "0001", "Action", "'Deliver'", "'answer' or 'deliver'"),
        ({"mpc": "urn:c"}, "0001", "UserMessage/@mpc", "'urn:c'", f"'{names.DEFAULT_MPC}'"),
        ({"agreement": AGREED, "pmode": "p-answer"}, "0010", "AgreementRef/@pmode", "'p-answer'", "'p-deliver'"),
        ({"agreement": AGREED, "pmode": "deliver"}, "0010", "AgreementRef/@pmode", "'deliver'", "'p-deliver'"),
        ({"agreement": AGREED, "pmode": ""}, "0010", "AgreementRef/@pmode", "''", "'p-deliver'"),
    ],
)
def test_a_mismatch_names_the_field_and_both_values(more, code, field, got, agreed):
    """What was said and what is agreed, with their types: a missing or another type is a mismatch like any other."""
    remedy = WHO if field == "From/PartyId" else ""
    assert refusal(**more) == (code, field, f"is {got}, agreed is {agreed}", remedy)


@pytest.mark.parametrize("service", [Typed(names.TEST_SERVICE), Typed(names.TEST_SERVICE, "urn:t")])
@pytest.mark.parametrize("found", [p for p in PMODES if p.may_receive], ids=lambda p: p.id)
def test_the_test_service_is_allowed_for_every_configured_pair(found, service):
    """With its parties, roles and agreement, whatever action and channel: a ping is answered under that pair's agreement."""
    ping = message(
        from_=found.them,
        to=found.us,
        agreement=found.agreement,
        service=service,
        action="any",
        mpc="urn:any",
        pmode="any",
    )
    chosen = select(PMODES, ping)
    assert (chosen.them, chosen.us, chosen.agreement) == (found.them, found.us, found.agreement)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (sender("village"), "0010"),
        (sender("municipality", None), "0003"),
        (sender("town") | receiver("ward"), "0010"),
        ({"to": replace(HOSPITAL, role="urn:r")}, "0003"),
        ({"agreement": Typed("urn:demo:older")}, "0001"),
    ],
)
def test_the_test_service_opens_nothing_else(more, code):
    """Strangers, other pairs, roles and agreements are refused as ever."""
    assert refusal(**more, service=Typed(names.TEST_SERVICE), action=names.TEST_ACTION)[0] == code


def test_without_any_agreement_nobody_is_known():
    """There is no default to fall back to."""
    with pytest.raises(EbmsError, match=r"agreed is nothing$"):
        select((), message())


def test_the_name_of_a_p_mode_chooses_between_those_that_fit_alike():
    """Otherwise the first of them is taken. It is the name that was agreed and not what the P-Mode is called here."""
    both = (pmode("a", agreement=AGREED, name="one"), pmode("b", agreement=AGREED, name="two"))
    assert select(both, message(agreement=AGREED)).id == "a"
    assert select(both, message(agreement=AGREED, pmode="two")).id == "b"
    with pytest.raises(EbmsError, match=r"AgreementRef/@pmode: is 'three', agreed is 'one' or 'two'$"):
        select(both, message(agreement=AGREED, pmode="three"))
    unnamed = (pmode("c", agreement=AGREED), *both)
    assert select(unnamed, message(agreement=AGREED, pmode="two")).id == "b"
    with pytest.raises(EbmsError, match=r"AgreementRef/@pmode: is 'a', agreed is 'one' or 'two'$"):
        select(unnamed, message(agreement=AGREED, pmode="a"))
    assert select(unnamed[:1], message(agreement=AGREED, pmode="")).id == "c", "nothing was agreed, so anything will do"


# --- names of no kind -------------------------------------------------------------------------------------------------

KINDLESS = {
    "From/PartyId": sender("municipality", None),
    "To/PartyId": receiver("hospital", None),
    "AgreementRef": {"agreement": Typed("ours")},
    "Service": service("homecare"),
}


@pytest.mark.parametrize("field", KINDLESS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"action": "other"},
        {"mpc": "urn:c"},
        sender("village"),
        receiver("clinic"),
        {"to": replace(HOSPITAL, role="r")},
    ],
    ids=["right", "action", "channel", "sender", "receiver", "role"],
)
def test_a_name_without_a_type_that_is_no_uri_is_told_before_anything_else(field, more):
    """Whatever else is wrong: nobody can know what kind of name it is [ebMS3 §5.2.2.4, §5.2.2.8]."""
    words = ("0003", field, "has no type and is not a URI", "give it the type that was agreed")
    assert refusal(**more | KINDLESS[field]) == words


def test_of_several_the_first_is_told():
    """In the order of the header."""
    every: dict[str, Any] = {}
    for field, more in reversed(KINDLESS.items()):
        every |= more
        assert refusal(**every)[:2] == ("0003", field)
    assert refusal(**KINDLESS["AgreementRef"], service=Typed(names.TEST_SERVICE))[:2] == ("0003", "AgreementRef")


PLAIN = pmode(
    "plain",
    partner="old",
    untyped_names=True,
    them=Party(Typed("old"), names.INITIATOR),
    us=Party(Typed("ward-7"), names.RESPONDER),
    service=Typed("homecare"),
    agreement=Typed("ours"),
)
TOLD: dict[str, Any] = {"from_": PLAIN.them, "to": PLAIN.us, "service": PLAIN.service, "agreement": PLAIN.agreement}


def test_a_partner_who_was_agreed_to_write_such_names_is_matched_exactly():
    """Each value as it was agreed: a type, another spelling or another name is a mismatch like any other."""
    assert select((*PMODES, PLAIN), message(**TOLD)) is PLAIN
    assert select((PLAIN, *PMODES), message(**TOLD)) is PLAIN
    party = lambda one, **more: replace(one, id=Typed(**{"value": one.id.value, **more}))  # noqa: E731
    for more, code, field in (
        ({"from_": party(PLAIN.them, type=KIND)}, "0003", "To/PartyId"),  # somebody else, who may not write such names
        ({"to": party(PLAIN.us, type=KIND)}, "0010", "To/PartyId"),
        ({"to": party(PLAIN.us, value="Ward-7")}, "0010", "To/PartyId"),
        ({"service": Typed("homecare", "urn:demo:services")}, "0001", "Service"),
        ({"service": Typed("Homecare")}, "0001", "Service"),
        ({"agreement": Typed("ours", "urn:t")}, "0001", "AgreementRef"),
        ({"agreement": Typed("theirs")}, "0001", "AgreementRef"),
    ):
        with pytest.raises(EbmsError) as caught:
            select((*PMODES, PLAIN), message(**TOLD | more))
        assert (caught.value.error.code, caught.value.field) == (f"EBMS:{code}", field)


def test_what_one_partner_may_write_no_other_may():
    """Beside such a partner everybody else is judged as before, somebody unknown included."""
    for field, more in KINDLESS.items():
        with pytest.raises(EbmsError) as caught:
            select((PLAIN, *PMODES), message(**more))
        assert (caught.value.error.code, caught.value.field) == ("EBMS:0003", field)
    with pytest.raises(EbmsError) as caught:
        select((replace(PLAIN, may_receive=False), *PMODES), message(**TOLD))
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0003", "From/PartyId")


def test_a_stranger_hears_no_other_partner_s_name():
    """He hears his own back; our own people read which names there are. Whom we know hears what is agreed with him."""
    with pytest.raises(EbmsError) as caught:
        select((*PMODES, PLAIN), message(**sender("village")))
    error = caught.value
    assert (error.error.code, error.told) == ("EBMS:0010", f"is 'village (type {KIND})', which is not agreed here")
    for name in ("municipality", "town", "old"):
        assert f"'{name}" in error.cause
        assert name.encode() not in error_xml(error)
    with pytest.raises(EbmsError) as caught:
        select(PMODES, message(**sender("town") | receiver("ward")))
    assert caught.value.told == caught.value.cause


FIELDS = {
    "from_": (CITY, TOWN, replace(CITY, role="urn:r"), replace(CITY, id=Typed("municipality"))),
    "to": (HOSPITAL, replace(HOSPITAL, role="urn:r"), replace(HOSPITAL, id=Typed("ward", KIND))),
    "agreement": (None, AGREED, Typed("urn:demo:older")),
    "service": (Typed("homecare", "urn:demo:services"), Typed("homecare"), Typed("urn:demo:other")),
    "action": ("deliver", "answer", "other"),
    "mpc": (names.DEFAULT_MPC, "urn:demo:channel"),
}


@quick
@given(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FIELDS.items()}), st.permutations(PMODES)
)
def test_whatever_is_selected_agrees_in_everything(said, pmodes):
    """In any order of the agreements: a P-Mode that fits in every value, or a refusal when there is none."""

    def fits(one: PMode) -> bool:
        return (
            one.may_receive
            and (one.them, one.us, one.service, one.action, one.mpc)
            == (said["from_"], said["to"], said["service"], said["action"], said["mpc"])
            and (said["agreement"] is None or one.agreement in (None, said["agreement"]))
        )

    fitting = [one for one in pmodes if fits(one)]
    try:
        chosen = select(pmodes, message(**said))
    except EbmsError as error:
        assert not fitting
        assert error.error.code in ("EBMS:0001", "EBMS:0003", "EBMS:0010")
    else:
        assert chosen is fitting[0]


# --- what the agreement demands ---------------------------------------------------------------------------------------

CORNERS = tuple(Property(name, "urn:demo:corner") for name in (names.ORIGINAL_SENDER, names.FINAL_RECIPIENT))


def demanded(mode: PMode, **more: Any) -> tuple[str, str, str]:
    """Code, field and cause of what the agreement misses in a message."""
    with pytest.raises(EbmsError) as caught:
        check_header(mode, message(**more))
    return caught.value.error.code, caught.value.field, caught.value.cause


def test_more_payloads_than_agreed_are_refused():
    """As many as agreed are taken."""
    parts = tuple(PartInfo(f"{i}@stafet") for i in range(3))
    check_header(pmode("three", max_parts=3), message(parts=parts))
    words = ("EBMS:0010", "PayloadInfo", "3 payloads, agreed are at most 2")
    assert demanded(pmode("two", max_parts=2), parts=parts) == words


def test_a_payload_in_the_body_is_refused_where_payloads_are_encrypted():
    """The body cannot be; without encryption it may hold one."""
    body = (PartInfo("a@stafet"), PartInfo(None))
    words = ("EBMS:0103", "PayloadInfo/PartInfo", "a payload in the SOAP body cannot be encrypted")
    assert demanded(pmode("p"), parts=body) == words
    check_header(pmode("p", profile=replace(EDELIVERY_1_15, demand_encryption=False)), message(parts=body))


@pytest.mark.parametrize("missing", [0, 1])
def test_four_corners_name_original_sender_and_final_recipient(missing):
    """Both are demanded, however they are spelled; a test message and two corners need none."""
    mode = pmode("p", profile=EDELIVERY_1_15_FOUR_CORNER)
    check_header(mode, message(properties=CORNERS))
    check_header(mode, message(properties=tuple(replace(p, name=p.name.upper()) for p in CORNERS)))
    check_header(mode, message(service=Typed(names.TEST_SERVICE)))
    check_header(pmode("p"), message())
    words = ("EBMS:0010", f"MessageProperties/{CORNERS[missing].name}", "is missing; four corners demand it")
    assert demanded(mode, properties=(CORNERS[1 - missing],)) == words


# --- what a community demands -----------------------------------------------------------------------------------------

PARTICIPANT = Property(names.ORIGINAL_SENDER, "0088:5790000000005", names.PARTICIPANTS)
BOTH = (PARTICIPANT, Property(names.FINAL_RECIPIENT, "0088:5790000000012", names.PARTICIPANTS))
TYPED = Property(names.MIME_TYPE, "Application/XML; charset=utf-8")
DOCUMENT = PartInfo("a@stafet", (TYPED, Property(names.COMPRESSION_TYPE, names.GZIP)))
NOMINATION = PartInfo("a@stafet", (TYPED, Property(names.EDIGAS_DOCUMENT_TYPE, "01G")))
RIGHT: dict[str, dict[str, Any]] = {
    "edelivery-1.15-sbdh": {"properties": BOTH, "parts": (PartInfo("a@stafet"), PartInfo("b@stafet"))},
    "peppol": {"properties": BOTH, "parts": (DOCUMENT,), "agreement": AGREED},
    "entsog-3": {"parts": (NOMINATION,), "agreement": AGREED, "conversation_id": ""},
    "entsog-4": {"parts": (PartInfo("a@stafet"),), "agreement": AGREED, "conversation_id": ""},
    "ehmi": {"properties": BOTH, "parts": (PartInfo("a@stafet"),)},
}
ONE = "0 payloads; {} demands exactly one"


@pytest.mark.parametrize("name", RIGHT)
def test_what_a_community_demands_is_taken(name):
    """And of a test message only what is no business of payloads and corners."""
    mode = pmode("p", profile=PROFILES[name])
    check_header(mode, message(**RIGHT[name]))
    test = {**RIGHT[name], "service": Typed(names.TEST_SERVICE), "parts": (), "properties": ()}
    check_header(mode, message(**test))


@pytest.mark.parametrize(
    ("name", "field", "cause", "more"),
    [
        ("edelivery-1.15-sbdh", "PayloadInfo", "has no payload; {} demands that the first is a business document header",
         {"parts": ()}),
        ("edelivery-1.15-sbdh", "MessageProperties/finalRecipient", "is missing; four corners demand it",
         {"properties": BOTH[:1]}),
        ("edelivery-1.15-sbdh", "MessageProperties/originalSender", "is there twice, in different spellings",
         {"properties": (*BOTH, replace(PARTICIPANT, name="OriginalSender", value="0088:5790000000999"))}),
        ("peppol", "AgreementRef", "is missing; {} demands it", {"agreement": None}),
        ("peppol", "PayloadInfo", ONE, {"parts": ()}),
        ("peppol", "PayloadInfo", ONE.replace("0", "2"), {"parts": (DOCUMENT, replace(DOCUMENT, cid="b@stafet"))}),
        ("peppol", "PartProperties/CompressionType", "is missing; {} demands compression", {"parts": (NOMINATION,)}),
        ("peppol", "PartProperties/MimeType", "is 'text/xml'; {} demands application/xml",
         {"parts": (PartInfo("a@stafet", (replace(TYPED, value="text/xml"), DOCUMENT.properties[1])),)}),
        ("peppol", "MessageProperties/originalSender/@type", "has the type None; {} demands 'iso6523-actorid-upis'",
         {"properties": (replace(BOTH[0], type=None), BOTH[1])}),
        ("peppol", "MessageProperties/finalRecipient/@type", "has the type 'urn:x'; {} demands 'iso6523-actorid-upis'",
         {"properties": (BOTH[0], replace(BOTH[1], type="urn:x"))}),
        ("entsog-3", "AgreementRef", "is missing; {} demands it", {"agreement": None}),
        ("entsog-3", "ConversationId", "is not empty; {} demands that", {"conversation_id": "c-1"}),
        ("entsog-4", "PayloadInfo", ONE, {"parts": ()}),
        ("ehmi", "PayloadInfo", ONE, {"parts": ()}),
        ("ehmi", "MessageProperties/originalSender", "is no participant of {}: demanded is 0088:[0-9]{{13}}",
         {"properties": (replace(BOTH[0], value="0088:579000000000"), BOTH[1])}),
    ],
)  # fmt: skip
def test_what_breaks_a_community_s_demand_is_refused(name, field, cause, more):
    """Each with its field, and the profile that demands it."""
    mode = pmode("p", profile=PROFILES[name])
    assert demanded(mode, **{**RIGHT[name], **more}) == ("EBMS:0010", field, cause.format(name))


def test_agreement_and_conversation_of_a_test_message_are_those_of_a_real_one():
    """A test tries what was agreed [eD1.15 §1.4.2.4]."""
    mode = pmode("p", profile=ENTSOG_3)
    test = {**RIGHT["entsog-3"], "service": Typed(names.TEST_SERVICE), "parts": ()}
    assert demanded(mode, **{**test, "agreement": None})[1] == "AgreementRef"
    assert demanded(mode, **{**test, "conversation_id": "c"})[1] == "ConversationId"


def test_what_comes_for_somebody_else_is_refused_in_peppol_s_words():
    """0004 and PEPPOL:NOT_SERVICED where peers look for it; type and value count; a test message is for nobody."""
    ours = Typed(BOTH[1].value, BOTH[1].type)
    check_served(pmode("p", profile=PEPPOL, recipients=(ours,)), message(**RIGHT["peppol"]))
    check_served(pmode("p", profile=PEPPOL), message(service=Typed(names.TEST_SERVICE)))
    check_served(pmode("p", profile=PROFILES["ehmi"]), message(**RIGHT["ehmi"]))
    for recipients in ((), (replace(ours, type=None),), (replace(ours, value="0088:5790000000999"),)):
        for properties in (BOTH, ()):
            with pytest.raises(EbmsError) as caught:
                check_served(pmode("p", profile=PEPPOL, recipients=recipients), message(properties=properties))
            assert caught.value.error.code == "EBMS:0004"
            words = error_xml(caught.value)
            assert b">PEPPOL:NOT_SERVICED: finalRecipient is served by no system" in words
            assert b"<eb:ErrorDetail>PEPPOL:NOT_SERVICED</eb:ErrorDetail>" in words


def test_a_party_is_the_subject_of_its_certificate_where_the_profile_says_so():
    """The whole common name, and only one."""
    authority = Authority("Fictitious authority", datetime(2026, 3, 1, tzinfo=UTC))
    certificate = authority.issue("municipality", "both").certificate
    mode = pmode("p", profile=PEPPOL)
    check_subject(mode, CITY, certificate, "From/PartyId")
    check_subject(pmode("p"), TOWN, certificate, "From/PartyId")
    for party in (TOWN, replace(CITY, id=Typed("Municipality")), replace(CITY, id=Typed("municipality "))):
        with pytest.raises(EbmsError) as caught:
            check_subject(mode, party, certificate, "From/PartyId")
        assert (caught.value.error.code, caught.value.field) == ("EBMS:0101", "From/PartyId")
        assert caught.value.cause == "is not the common name of the certificate, which peppol demands"
