"""What a partner's file says against its profile: found before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from accesspoint import names
from gateways.as4.demands import contradictions, party_id, serves_nobody
from gateways.as4.settings import Partner, Party, PartyIdentifier
from tests.gateways.as4.sheets.making import partner, party

SERVICE = {"value": "urn:fictitious:process", "type": names.PEPPOL_PROCESSES}
CORNER = {"value": "0088:5790000000005", "type": names.PARTICIPANTS}
CORNERS = {"original_sender": CORNER, "final_recipient": CORNER}
PEPPOL: dict[str, Any] = {
    "profile": "peppol",
    "party_id": {"value": "south-valley", "type": names.PEPPOL_PARTY},
    "agreement": {"value": names.PEPPOL_AGREEMENT},
    "exchanges": [{"integration": "a", "service": SERVICE, "action": "busdox-docid-qns::urn:a"}],
    "four_corner": CORNERS,
}
GAS = {"value": "A06", "type": names.EDIGAS_SERVICE}
ENTSOG: dict[str, Any] = {
    "profile": "entsog-3",
    "party_id": {"value": "21X-NL-A-A0A0A-Z", "type": names.EIC_PARTY},
    "our_role": "ZSO",
    "their_role": "ZSH",
    "exchanges": [{"integration": "a", "service": GAS, "action": names.AS4_ACTION}],
}
EHMI: dict[str, Any] = {"profile": "ehmi", "four_corner": CORNERS}
FITTING = {
    "peppol": PEPPOL,
    "peppol, corners of each document": {**PEPPOL, "four_corner": None},
    "entsog": ENTSOG,
    "entsog 4": {**ENTSOG, "profile": "entsog-4"},
    "ehmi": EHMI,
    "sbdh": {"profile": "edelivery-1.15-sbdh", "key_reference": "issuer-serial", "compress": False},
    "none": {"four_corner": CORNERS, "our_role": "urn:any"},
}


@pytest.mark.parametrize("name", FITTING)
def test_what_fits_a_profile_is_not_contradicted(name):
    """Nothing is found in it."""
    assert list(contradictions(partner(**FITTING[name]))) == []


def _exchange(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"exchanges": [{**base["exchanges"][0], **changes}]}


@pytest.mark.parametrize(
    ("base", "changes", "field", "cause"),
    [
        (PEPPOL, {"party_id": {"value": "urn:v"}}, "party_id.type", f"is none; peppol demands {names.PEPPOL_PARTY}"),
        (
            PEPPOL,
            {"agreement": {"value": "urn:a"}},
            "agreement",
            f"is 'urn:a'; peppol demands '{names.PEPPOL_AGREEMENT}' without a type",
        ),
        (PEPPOL, {"agreement": None}, "agreement", "is missing; peppol demands one"),
        (PEPPOL, {"our_role": "ZSO"}, "our_role", "is 'ZSO'; peppol demands "),
        (PEPPOL, {"their_role": "ZSO"}, "their_role", "is 'ZSO'; peppol demands "),
        (
            PEPPOL,
            {"key_reference": "issuer-serial"},
            "key_reference",
            "is issuer-serial; peppol demands binary-security-token",
        ),
        (PEPPOL, {"max_payloads": 2}, "max_payloads", "is 2; peppol demands exactly one"),
        (PEPPOL, {"compress": False}, "compress", "is false; peppol demands compression"),
        (
            PEPPOL,
            _exchange(PEPPOL, service={"value": "urn:a"}),
            "exchanges.0.service.type",
            "is none; peppol demands cenbii-procid-ubl",
        ),
        (PEPPOL, _exchange(PEPPOL, action="urn:a"), "exchanges.0.action", "is 'urn:a'; peppol demands .+::.+"),
        (
            PEPPOL,
            _exchange(PEPPOL, direction="send", pull={"mpc": "urn:m"}),
            "exchanges.0.pull",
            "is said; peppol has messages pushed alone",
        ),
        (
            PEPPOL,
            {"four_corner": {**CORNERS, "final_recipient": {"value": "urn:a"}}},
            "four_corner.final_recipient.type",
            "is none; peppol demands iso6523-actorid-upis",
        ),
        (
            ENTSOG,
            {"party_id": {"value": "21X", "type": names.EIC_PARTY}},
            "party_id.value",
            "is '21X'; entsog-3 demands ",
        ),
        (ENTSOG, {"agreement": None}, "agreement", "is missing; entsog-3 demands one"),
        (
            ENTSOG,
            _exchange(ENTSOG, service={**GAS, "value": "A12"}),
            "exchanges.0.service.value",
            "is 'A12'; entsog-3 demands ",
        ),
        (ENTSOG, {"max_size": 10_000_001}, "max_size", "is 10000001; entsog-3 allows at most 10000000"),
        (
            EHMI,
            {"four_corner": {**CORNERS, "original_sender": {**CORNER, "value": "0184:1"}}},
            "four_corner.original_sender.value",
            "is '0184:1'; ehmi demands 0088:[0-9]{13}",
        ),
    ],
)
def test_what_is_against_a_profile_is_found(base, changes, field, cause):
    """One thing, by its field."""
    (found,) = contradictions(partner(**{**base, **changes}))
    assert found[0] == field
    assert found[1].startswith(cause)


def test_our_own_party_id_is_asked_too():
    """By the same rule, under the field it stands in."""
    ours = PartyIdentifier(value="x", type="urn:t")
    assert [field for field, _, _ in party_id("entsog-4", "party_id", ours)] == ["party_id.type", "party_id.value"]
    assert list(party_id("edelivery-1.15", "party_id", ours)) == []


def test_somebody_must_be_served_where_others_are_refused():
    """Named by the party, or as the one who sends; not asked where nothing comes, nor by other profiles."""
    both, ours = partner(**{**PEPPOL, "four_corner": None}), party()
    assert serves_nobody(both, ours)
    assert not serves_nobody(partner(**PEPPOL), ours)
    assert not serves_nobody(both, party(serves=[CORNER]))
    assert not serves_nobody(partner(**{**PEPPOL, "four_corner": None, **_exchange(PEPPOL, direction="send")}), ours)
    assert not serves_nobody(partner(**{**EHMI, "four_corner": None}), ours)
    assert isinstance(both, Partner)
    assert isinstance(ours, Party)
