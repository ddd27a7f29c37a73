"""ETags: an answer that is not sent twice, and a change that is not made blindly."""

from __future__ import annotations

import pytest

from gateways.rest.access import Caller
from gateways.rest.conditional import demand_match, reply, tagged
from gateways.rest.endpoint import Ask, Shape
from gateways.rest.problems import ProblemError

NOBODY = Caller("", "person", frozenset(), "", frozenset(), "certificate")


class Said(Shape):
    """Something to say."""

    words: str


def ask(**headers: str) -> Ask:
    """A request with these headers."""
    return Ask(NOBODY, {}, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_what_the_caller_has_is_not_sent_again(known: str):
    """304 without a body, under any way of naming it; the tag is sent all the same."""
    first = reply(ask(), Said(words="æ"))
    assert (first.status, first.body) == (200, '{"words":"æ"}'.encode())
    tag = first.headers["ETag"].strip('"')
    again = reply(ask(if_none_match=known.format(tag)), Said(words="æ"))
    assert (again.status, again.body, again.headers) == (304, None, first.headers)


def test_what_has_changed_is_sent():
    """Another content is another tag; octets are tagged as they are."""
    first = reply(ask(), b"<a/>", "application/xml")
    other = reply(ask(if_none_match=first.headers["ETag"]), b"<b/>", "application/xml")
    assert (other.status, other.media_type) == (200, "application/xml")
    assert first.headers["ETag"] == tagged(b"<a/>") != other.headers["ETag"]


def test_a_change_is_of_the_state_the_caller_has_seen():
    """The present tag, any, or none named; another is refused with 412."""
    for fine in ({}, {"if_match": "*"}, {"if_match": '"now"'}, {"if_match": '"then", "now"'}):
        demand_match(ask(**fine), '"now"')
    with pytest.raises(ProblemError) as found:
        demand_match(ask(if_match='"then"'), '"now"')
    assert found.value.problem.type.status == 412
