"""Profiles: what is sent, what is accepted, and what no agreement can add."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint import limits, names
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_1_15_FOUR_CORNER, FORBIDDEN, PROFILES
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
    }
    demands = (EDELIVERY_1_15.demand_signature, EDELIVERY_1_15.demand_encryption)
    assert demands == (True, True)
    assert (EDELIVERY_1_15.four_corner, EDELIVERY_1_15.rsa_bits) == (False, limits.RSA_BITS)


def test_four_corners_differ_in_that_alone():
    """And both are found by their names."""
    assert replace(EDELIVERY_1_15_FOUR_CORNER, name=EDELIVERY_1_15.name, four_corner=False) == EDELIVERY_1_15
    assert EDELIVERY_1_15_FOUR_CORNER.four_corner
    assert PROFILES == {
        "edelivery-1.15": EDELIVERY_1_15,
        "edelivery-1.15-four-corner": EDELIVERY_1_15_FOUR_CORNER,
    }


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
    """What this program cannot check is not accepted; names are compared as they are."""
    with pytest.raises(ValueError, match=r"is not an algorithm this program knows$"):
        EDELIVERY_1_15.accepting([algorithm])


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
        assert found[0] == accepted(EDELIVERY_1_15)[kind][0]
        assert len(set(found)) == len(found)
        assert set(found) == {found[0], *(a for k, a in EVERY if k == kind and a in algorithms)}
        assert not FORBIDDEN & set(found)
    assert replace(wider, **accepted(EDELIVERY_1_15)) == EDELIVERY_1_15
    assert wider.accepting(algorithms) == wider


def test_adding_nothing_changes_nothing():
    """An agreement without additions is the profile."""
    assert EDELIVERY_1_15.accepting(()) == EDELIVERY_1_15
