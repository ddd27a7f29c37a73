"""Profiles: what is sent, what is accepted, and what no agreement can add."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint import limits, names
from accesspoint.profiles import (
    ALGORITHMS,
    EDELIVERY_1_15,
    EDELIVERY_1_15_FOUR_CORNER,
    EDELIVERY_1_15_SBDH,
    EDELIVERY_2_0,
    EDELIVERY_2_0_EC,
    EHMI,
    ENTSOG_3,
    ENTSOG_4,
    ENTSOG_4_EC,
    FORBIDDEN,
    PEPPOL,
    PROFILES,
    Demands,
)
from tests.accesspoint.headers import quick

KNOWN = {
    "signatures": (
        names.RSA_SHA256,
        names.RSA_SHA384,
        names.RSA_SHA512,
        names.RSA_PSS_SHA256,
        names.ECDSA_SHA256,
        names.ED25519,
    ),
    "digests": (names.SHA256, names.SHA384, names.SHA512),
    "encryptions": (names.AES128_GCM, names.AES256_GCM),
    "key_transports": (names.RSA_OAEP, names.RSA_OAEP_MGF1P),
    "mask_functions": (names.MGF1_SHA256, names.MGF1_SHA1),
}
EVERY = [(kind, algorithm) for kind, algorithms in KNOWN.items() for algorithm in algorithms]
BROKEN = (
    "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
    "http://www.w3.org/2001/04/xmlenc#rsa-1_5",
    "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
    "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
    "http://www.w3.org/2001/04/xmlenc#tripledes-cbc",
)


def accepted(profile) -> dict[str, tuple[str, ...]]:
    """All algorithms of a profile by kind."""
    return {f.name: getattr(profile, f.name) for f in fields(profile) if isinstance(getattr(profile, f.name), tuple)}


def test_the_common_profile_is_that_of_the_specification():
    """One algorithm of each kind, everything signed and encrypted, receipts signed [eD1.15 §1.4.2.6]."""
    assert accepted(EDELIVERY_1_15) == {
        "signatures": ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",),
        "digests": ("http://www.w3.org/2001/04/xmlenc#sha256",),
        "encryptions": ("http://www.w3.org/2009/xmlenc11#aes128-gcm",),
        "key_transports": ("http://www.w3.org/2009/xmlenc11#rsa-oaep",),
        "oaep_digests": ("http://www.w3.org/2001/04/xmlenc#sha256",),
        "mask_functions": ("http://www.w3.org/2009/xmlenc11#mgf1sha256",),
        "key_agreements": (),
    }
    demands = (EDELIVERY_1_15.demand_signature, EDELIVERY_1_15.demand_encryption)
    assert demands == (True, True)
    assert (EDELIVERY_1_15.four_corner, EDELIVERY_1_15.rsa_bits) == (False, limits.RSA_BITS)


def test_the_newer_profile_is_that_of_the_specification():
    """Ed25519, X25519 and key wrap; everything signed and encrypted as ever; nothing of RSA is left in it [eD2.0]."""
    assert accepted(EDELIVERY_2_0) == {
        "signatures": ("http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519",),
        "digests": ("http://www.w3.org/2001/04/xmlenc#sha256",),
        "encryptions": ("http://www.w3.org/2009/xmlenc11#aes128-gcm",),
        "key_transports": ("http://www.w3.org/2001/04/xmlenc#kw-aes128",),
        "oaep_digests": (),
        "mask_functions": (),
        "key_agreements": ("http://www.w3.org/2021/04/xmldsig-more#x25519",),
    }
    assert (EDELIVERY_2_0.demand_signature, EDELIVERY_2_0.demand_encryption) == (True, True)
    assert not EDELIVERY_2_0.four_corner


def test_its_alternative_has_other_curves_and_nothing_else_new():
    """ECDSA and ECDH-ES in their places."""
    assert accepted(EDELIVERY_2_0_EC) == accepted(EDELIVERY_2_0) | {
        "signatures": ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",),
        "key_agreements": ("http://www.w3.org/2009/xmlenc11#ECDH-ES",),
    }
    assert replace(EDELIVERY_2_0_EC, name="edelivery-2.0", **accepted(EDELIVERY_2_0)) == EDELIVERY_2_0


def test_four_corners_differ_in_that_alone():
    """And all are found by their names."""
    assert replace(EDELIVERY_1_15_FOUR_CORNER, name=EDELIVERY_1_15.name, four_corner=False) == EDELIVERY_1_15
    assert EDELIVERY_1_15_FOUR_CORNER.four_corner
    assert PROFILES == {
        "edelivery-1.15": EDELIVERY_1_15,
        "edelivery-1.15-four-corner": EDELIVERY_1_15_FOUR_CORNER,
        "edelivery-2.0": EDELIVERY_2_0,
        "edelivery-1.15-sbdh": EDELIVERY_1_15_SBDH,
        "edelivery-2.0-ec": EDELIVERY_2_0_EC,
        "peppol": PEPPOL,
        "entsog-3": ENTSOG_3,
        "entsog-4": ENTSOG_4,
        "entsog-4-ec": ENTSOG_4_EC,
        "ehmi": EHMI,
    }
    assert all(name == profile.name for name, profile in PROFILES.items())


@pytest.mark.parametrize(
    ("profile", "base"),
    [
        (EDELIVERY_1_15_SBDH, EDELIVERY_1_15_FOUR_CORNER),
        (PEPPOL, EDELIVERY_1_15_FOUR_CORNER),
        (EHMI, EDELIVERY_1_15_FOUR_CORNER),
        (ENTSOG_3, EDELIVERY_1_15),
        (ENTSOG_4, EDELIVERY_2_0),
        (ENTSOG_4_EC, EDELIVERY_2_0_EC),
    ],
    ids=lambda p: p.name,
)
def test_a_community_changes_no_algorithm(profile, base):
    """What it demands stands beside the algorithms of an eDelivery profile, which demands nothing beyond them."""
    assert replace(profile, name=base.name, demands=Demands()) == base
    assert profile.demands != base.demands == Demands()


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (ENTSOG_3.demands.party_form, "21X-NL-A-A0A0A-Z", "21X-NL-A-A0A0A-ZZ"),
        (ENTSOG_3.demands.party_form, "12XBKW-HANDEL--X", "\u0661\u0662XBKW-HANDEL--X"),
        (ENTSOG_3.demands.service_form, "A11", "A12"),
        (ENTSOG_3.demands.service_form, "A01", "A00"),
        (ENTSOG_3.demands.role_form, "ZSO", "zso"),
        (ENTSOG_3.demands.role_form, names.INITIATOR, names.INITIATOR.replace(".", "x")),
        (PEPPOL.demands.role_form, names.RESPONDER, "ZSO"),
        (PEPPOL.demands.action_form, "busdox-docid-qns::urn:a::b", "urn:a"),
        (EHMI.demands.corner_form, "0088:5790000000000", "0088:579000000000"),
        (EHMI.demands.corner_form, "0088:5790000000001", "0184:5790000000001"),
    ],
)
def test_forms_say_what_fits_and_what_does_not(form, good, bad):
    """One value of each kind, and the nearest that is none."""
    assert re.fullmatch(form, good)
    assert not re.fullmatch(form, bad)


@pytest.mark.parametrize("algorithm", BROKEN)
@pytest.mark.parametrize("others", [(), (names.RSA_SHA512,)])
def test_no_agreement_adds_what_is_broken(algorithm, others):
    """SHA-1 signatures, key transport and modes with a padding oracle stay out, alone or among good ones."""
    assert algorithm in FORBIDDEN
    with pytest.raises(ValueError, match=f"^{algorithm} is never accepted$"):
        EDELIVERY_1_15.accepting((*others, algorithm))


@pytest.mark.parametrize(
    "algorithm",
    [
        "",
        "rsa-sha256",
        names.SHA1,
        names.RSA_SHA256.upper(),
        names.XENC + "aes192-cbc",
        names.EXC_C14N,
        names.DS + "hmac-sha1",
    ],
)
def test_no_agreement_adds_what_is_unknown(algorithm):
    """What this program cannot check is not accepted; names are compared as they are, and those that are known are told."""
    with pytest.raises(ValueError) as caught:
        EDELIVERY_1_15.accepting([algorithm])
    known = ", ".join(ALGORITHMS)
    assert str(caught.value) == f"{algorithm} is not an algorithm this program knows; known: {known}"


def test_every_algorithm_has_a_short_name_of_its_own():
    """The end of its URI, as people write it into a partner's file."""
    assert set(ALGORITHMS.values()) == {algorithm for _, algorithm in EVERY}
    assert len(ALGORITHMS) == len(EVERY)
    assert all(uri.endswith(f"#{name}") and name for name, uri in ALGORITHMS.items())
    assert ALGORITHMS["rsa-sha384"] == names.RSA_SHA384
    assert FORBIDDEN.isdisjoint(ALGORITHMS.values())


@pytest.mark.parametrize("profile", [EDELIVERY_2_0, EDELIVERY_2_0_EC], ids=lambda p: p.name)
def test_where_the_content_key_is_agreed_no_other_way_is_added(profile):
    """RSA-OAEP and its masks have no place there and are refused by name; signatures, digests and ciphers may be added."""
    for kind, algorithm in EVERY:
        if kind in ("key_transports", "mask_functions"):
            with pytest.raises(ValueError) as caught:
                profile.accepting((names.RSA_SHA256, algorithm))
            assert str(caught.value) == f"{algorithm} has no place in {profile.name}, where the content key is agreed"
        else:
            wider = profile.accepting([algorithm])
            assert accepted(wider)[kind] == tuple(dict.fromkeys((*accepted(profile)[kind], algorithm)))
            assert replace(wider, **accepted(profile)) == profile


@pytest.mark.parametrize(("kind", "algorithm"), EVERY)
def test_an_agreement_adds_one_algorithm_to_its_own_kind(kind, algorithm):
    """Nothing else changes, and no profile is edited in place."""
    before = accepted(EDELIVERY_1_15)
    wider = EDELIVERY_1_15.accepting([algorithm])
    assert accepted(EDELIVERY_1_15) == before
    assert set(accepted(wider)[kind]) == {*before[kind], algorithm}
    assert {k: v for k, v in accepted(wider).items() if k != kind} == {k: v for k, v in before.items() if k != kind}
    with pytest.raises(FrozenInstanceError):
        wider.name = "other"  # type: ignore[misc]


@quick
@given(st.lists(st.sampled_from([algorithm for _, algorithm in EVERY])))
def test_whatever_is_accepted_we_send_the_profile_s_own(algorithms):
    """The first of each kind stays; each is there once; the broken never is."""
    wider = EDELIVERY_1_15.accepting(algorithms)
    for kind, found in accepted(wider).items():
        assert found[:1] == accepted(EDELIVERY_1_15)[kind]
        assert len(set(found)) == len(found)
        assert set(found) == {*found[:1], *(a for k, a in EVERY if k == kind and a in algorithms)}
        assert not FORBIDDEN & set(found)
    assert replace(wider, **accepted(EDELIVERY_1_15)) == EDELIVERY_1_15
    assert wider.accepting(algorithms) == wider


def test_adding_nothing_changes_nothing():
    """An agreement without additions is the profile."""
    assert EDELIVERY_1_15.accepting(()) == EDELIVERY_1_15
