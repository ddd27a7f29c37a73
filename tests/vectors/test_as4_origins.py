"""The partner files that received samples are judged under are ones that the gateway takes, and say no more than they may."""

from __future__ import annotations

import pytest

from accesspoint import names
from accesspoint.profiles import ALGORITHMS, EDELIVERY_1_15, PROFILES
from gateways.as4.checks import check
from gateways.as4.settings import Partner
from tests.vectors.running import documents, origins, row_of, rows, sample_of, table, world

ORIGINS = list(origins()["origins"])


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize("name", ORIGINS)
def test_the_partner_files_are_ones_the_gateway_takes(samples, name, default):
    """Its own check finds nothing wrong with them, except a signing key that is too short."""
    section, row = next(p.values[0] for p in rows(origin=name))
    sample = sample_of(samples, (section, row))
    found = [(p.kind, p.field, p.cause) for p in check(world(samples, row, sample.soap, default=default).configuration)]
    short = [("as4.partner", "signing_certificates.0", "an RSA key of 1024 bits; at least 2048 are demanded")]
    assert found == (short if name == "as4net" else [])


@pytest.mark.parametrize("name", ORIGINS)
def test_by_default_nothing_is_widened(name):
    """The profile is that of 1.15 as it is, and every name has a type or is a URI."""
    for row in (p.values[0][1] for p in rows(origin=name)):
        partner = Partner.model_validate(documents(row, default=True)[1])
        assert (partner.also_accept, partner.untyped_names) == ((), False)
        assert partner.profile in ("edelivery-1.15", "edelivery-1.15-four-corner")
        assert [e.pmode for e in partner.exchanges] == [row.get("pmode")]


def test_every_name_that_a_sender_gives_the_pmode_is_agreed(samples):
    """Wherever a message names its P-Mode, its row says the name, which goes into the partner file."""
    for section in ("messages", "security_headers"):
        for row in table()[section]:
            octets = sample_of(samples, (section, row)).body
            if "pmode" in row:
                assert f'pmode="{row["pmode"]}"'.encode() in octets, row["file"]


@pytest.mark.parametrize(
    "algorithm", [names.RSA_SHA1, names.RSA_1_5, names.XENC + "aes128-cbc", names.XENC + "kw-aes128"]
)
def test_no_origin_can_widen_to_what_is_never_taken(algorithm):
    """Broken algorithms cannot be agreed, nor can a key wrap without a key agreement; they have no short name."""
    assert algorithm not in ALGORITHMS.values()
    with pytest.raises(ValueError, match=r"never accepted|not an algorithm this program knows"):
        EDELIVERY_1_15.accepting([algorithm])


def test_an_origin_of_another_profile_names_the_one_that_stands_for_it_by_default():
    """Which has the same names and the profile 1.15; and no other does."""
    found = {name: origin for name, origin in origins()["origins"].items() if "by_default" in origin}
    for name, origin in origins()["origins"].items():
        profile = PROFILES[origin["partner"].get("profile", "edelivery-1.15")]
        assert bool(profile.key_agreements) is (name in found)
    for origin in found.values():
        other = origins()["origins"][origin["by_default"]]
        assert [d["party_id"] for d in (origin["party"], origin["partner"])] == [
            d["party_id"] for d in (other["party"], other["partner"])
        ]
    assert row_of("49")["origin"] in found
