"""Requests to pull: what is written, which channel is meant, and what is answered when there is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accesspoint.ebms import Signal, body_xml, envelope_xml, parse_messaging, signal_xml
from accesspoint.pull import empty_channel, no_such_channel, pull_request_xml, serves
from accesspoint.receipts import error_xml, parse_errors
from accesspoint.soap import parse_envelope

CHANNEL = "urn:demo:channels:one"


def _read(content: bytes) -> Signal:
    said = parse_messaging(
        parse_envelope(envelope_xml(b"", signal_xml("pull-1@one.example", 0, None, content, "m"), body_xml("b")))
    )
    assert isinstance(said, Signal)
    return said


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_name_a_channel_may_have_is_read_as_it_was_written(name: str):
    """Quotes and angle brackets are no way out of the attribute."""
    try:
        octets = pull_request_xml(name)
    except ValueError:
        return
    said = _read(octets)
    assert (said.pull_mpc, said.ref_to_message_id, said.receipt) == (name, None, None)


@pytest.mark.parametrize(
    ("asked", "alone", "below"),
    [
        (CHANNEL, True, True),
        (CHANNEL + "/ward", False, True),
        (CHANNEL + "/ward/7", False, True),
        (CHANNEL + "/", False, False),
        (CHANNEL + "x", False, False),
        (CHANNEL + "x/ward", False, False),
        (CHANNEL.upper(), False, False),
        ("urn:demo:channels", False, False),
        ("", False, False),
    ],
)
def test_a_sub_channel_is_the_name_a_slash_and_more(asked: str, alone: bool, below: bool):
    """Only where the agreement has them; a longer name is another channel."""
    assert serves(CHANNEL, asked, sub_channels=False) is alone
    assert serves(CHANNEL, asked, sub_channels=True) is below


def test_an_empty_channel_is_a_warning_about_the_request():
    """0006, severity warning: the puller has done nothing wrong."""
    (error,) = parse_errors(_read(error_xml(empty_channel("pull-1@one.example"))))
    assert (error.code, error.severity, error.ref_to_message) == ("EBMS:0006", "warning", "pull-1@one.example")


def test_a_channel_that_may_not_be_pulled_is_a_failure_that_names_none():
    """0001; neither the channel's name nor whether it exists is in it."""
    (error,) = parse_errors(_read(error_xml(no_such_channel("pull-1@one.example"))))
    assert (error.code, error.severity, error.ref_to_message) == ("EBMS:0001", "failure", "pull-1@one.example")
    assert "is not a channel that may be pulled with this signature" in error.description
    assert "certificate the request is signed with" in error.description
