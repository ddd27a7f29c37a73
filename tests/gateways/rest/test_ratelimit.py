"""What is left of quotas, as header fields."""

from __future__ import annotations

from core.clock import DAY, SECOND
from core.quota import Allowance
from gateways.rest.ratelimit import fields


def test_without_quotas_nothing_is_said():
    """No fields at all, also where only what waits is limited."""
    assert fields([]) == {}
    assert fields([Allowance("q", "waiting", 7, 5, 0, 0)]) == {}


def test_each_limit_is_a_policy_and_what_is_left_of_it():
    """Names are the quota's with its limit; octets and requests under way have their units; seconds are rounded up."""
    said = fields(
        [
            Allowance("post", "rate", 10, 8, 5 * SECOND, SECOND + 1),
            Allowance("post", "waiting", 7, 5, 0, 0),
            Allowance("birkelund", "octets", 50, 0, DAY, 12 * SECOND),
            Allowance("post", "connections", 3, 2, 0, 0),
        ]
    )
    assert said == {
        "RateLimit-Policy": (
            '"post-rate";q=10;w=5, "birkelund-octets";q=50;qu="content-bytes";w=86400,'
            ' "post-connections";q=3;qu="concurrent-requests"'
        ),
        "RateLimit": '"post-rate";r=8;t=2, "birkelund-octets";r=0;t=12, "post-connections";r=2',
    }
