"""Who gets a delivery of a notification; who of a routed parcel is in test_kernel.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from core.agreement import ServiceAgreement
from core.config import Configuration
from core.deciding import FanOut, check_allowed, decide, deliveries_for, fan_out, line_of, told, waits_at
from core.delivery import State
from core.description import Address, Description
from core.errors import NotAllowed, TooLarge
from core.integration import Integration
from core.pace import Pace
from core.parcel import Parcel
from core.route import Decision, Route, Target
from core.subscription import Subscription
from core.system import RESIDUAL, Function
from tests.core.making import NOW, a_parcel, a_payload, unhurried


def configured(*subscriptions: Subscription, **receivers: str) -> Configuration:
    """Stays, told to systems that may receive."""
    agreements = {
        f"{system}-gets": ServiceAgreement.model_validate(
            {"id": f"{system}-gets", "integration": "stays", "system": system, "may": may}
        )
        for system, may in ({"care": "send"} | receivers).items()
    }
    stays = Integration.model_validate(
        {"id": "stays", "types": ["stay"], "capability": "notification", "max_size": 100}
    )
    route = Route.model_validate({"id": "r", "integration": "stays", "to": [{"system": "journal"}]})
    documents: Mapping[str, Mapping[str, Any]] = {
        "integration": {"stays": stays},
        "service-agreement": agreements,
        "subscription": {one.id: one for one in subscriptions},
        "route": {"r": route},
    }
    return Configuration(documents, {}, 3)


def a_subscription(name: str, **changes: Any) -> Subscription:
    """A subscription to stays, of the journal's unless it says otherwise."""
    return Subscription.model_validate({"id": name, "system": "journal", "integration": "stays"} | changes)


def a_stay(**changes: Any) -> Parcel:
    """A notification."""
    description = Description(type="stay", sender="care", **changes)
    return a_parcel(sender="care", integration="stays", description=description)


def nobody(_list: str, _subjects: Any) -> bool:
    """No list has anybody."""
    return False


@pytest.mark.requirement("R14")
def test_each_subscription_gets_a_delivery_of_its_own():
    """Two of one system are two deliveries, each in the subscription's box, in the parcel's lane."""
    subscriptions = (a_subscription("a"), a_subscription("b"))
    parcel = a_stay(priority="urgent")
    found = fan_out(configured(*subscriptions, journal="receive"), parcel, NOW, nobody)
    assert found == FanOut(subscriptions)
    made = told(parcel, found.matched, 3, NOW)
    assert [(d.receiver, d.destination, d.rule, d.lane, d.state) for d in made] == [
        ("journal", "a", "a", "urgent", State.READY),
        ("journal", "b", "b", "urgent", State.READY),
    ]
    assert {(d.gateway, d.line, d.config_version, d.due_at, d.parcel_id) for d in made} == {("", "", 3, NOW, parcel.id)}
    assert len({d.id for d in made}) == 2


def test_who_may_not_receive_is_left_out_with_the_cause():
    """Its filter matched, its agreement does not hold: it is named, and so is one whose condition fails."""
    odd = a_subscription("odd", when="parcel.attributes['rest.x'] == 'y'")
    configuration = configured(a_subscription("a"), odd, a_subscription("b", system="robot"), robot="receive")
    found = fan_out(configuration, a_stay(), NOW, nobody)
    assert [one.id for one in found.matched] == ["b"]
    assert {one.subscription: one.why.partition(":")[0] for one in found.left_out} == {
        "odd": "its condition cannot be evaluated",
        "a": "journal has no service agreement to receive under stays now",
    }


def test_order_is_by_what_the_subscription_names():
    """The same correlation is one line of one subscription and lane; without one there is no order."""
    by_case = a_subscription("a", ordered_by="correlation_id")
    other = a_subscription("b", ordered_by="correlation_id")
    one, same, another = (a_stay(correlation_id=name) for name in ("c-1", "c-1", "c-2"))
    line = told(one, [by_case], 1, NOW)[0].line
    assert line
    assert told(same, [by_case], 1, NOW)[0].line == line
    lines = {
        told(another, [by_case], 1, NOW)[0].line,
        told(one, [other], 1, NOW)[0].line,
        told(a_stay(correlation_id="c-1", priority="urgent"), [by_case], 1, NOW)[0].line,
    }
    assert len(lines | {line}) == 4
    assert told(a_stay(), [by_case], 1, NOW)[0].line == ""


def test_whether_it_may_be_sent():
    """The agreement is named; what is missing, wrong or too large is said with the field."""
    configuration = configured(journal="receive")
    assert check_allowed(configuration, a_stay(), NOW) == "care-gets"
    with pytest.raises(NotAllowed, match="integration: nothing is called 'moves'; known: stays"):
        check_allowed(configuration, replace(a_stay(), integration="moves"), NOW)
    with pytest.raises(NotAllowed, match="integration: nothing is called 'stays'; known: none"):
        check_allowed(Configuration({}), a_stay(), NOW)
    with pytest.raises(NotAllowed, match="type: 'letter' is not moved under stays"):
        check_allowed(configuration, replace(a_stay(), description=Description(type="letter", sender="care")), NOW)
    with pytest.raises(NotAllowed, match="service agreement: journal may not send"):
        check_allowed(configuration, replace(a_stay(), sender="journal"), NOW)
    with pytest.raises(TooLarge, match="larger than 100 octets"):
        check_allowed(configuration, replace(a_stay(), payloads=(a_payload(b"x" * 101),)), NOW)
    with pytest.raises(TooLarge, match="payloads: more than 100"):
        check_allowed(configuration, replace(a_stay(), payloads=(a_payload(),) * 101), NOW)


@pytest.mark.requirement("R70", "R107")
def test_a_function_is_not_sent_what_is_too_sensitive_for_it():
    """The refusal names both; one that nobody described takes what it is sent."""
    plain = configured(journal="receive")
    benefits = Function(id="benefits", authority="birkelund", sensitivity="internal")
    configuration = Configuration({**plain.documents, "function": {"benefits": benefits}}, {}, 3)
    for function, sensitivity in (("benefits", "internal"), ("reception", "sensitive")):
        stay = a_stay(receiver=Address(function=function), sensitivity=sensitivity)
        assert check_allowed(configuration, stay, NOW) == "care-gets"
    words = "receiver.function: benefits may be sent what is internal at most; the parcel is sensitive"
    with pytest.raises(NotAllowed, match=f"^{re.escape(words)}$"):
        check_allowed(configuration, a_stay(receiver=Address(function="benefits"), sensitivity="sensitive"), NOW)


def test_where_a_routed_parcel_goes():
    """Where its route says, if whoever is there may receive; else to the residual mailbox, held."""
    parcel = a_stay()
    decision = decide(configured(journal="receive"), parcel, NOW)
    assert (decision.route, decision.targets) == ("r", (Target(system="journal"),))
    (ready,) = deliveries_for(parcel, decision, 3, NOW, unhurried)
    assert (ready.receiver, ready.state, ready.epoch, ready.rule) == ("journal", State.READY, 0, "r")
    decision = decide(configured(), parcel, NOW)
    assert "journal, which has no service agreement to receive under stays" in decision.cause
    (held,) = deliveries_for(parcel, decision, 3, NOW, unhurried)
    assert (held.receiver, held.state, held.rule) == (RESIDUAL, State.HELD, "")


def test_a_delivery_born_under_a_lease_has_been_claimed_once():
    """Its first attempt is under way when it is stored, and one that is in order stands in a line."""
    parcel = a_stay()
    target = Target(system="journal", gateway="as4", destination="egedal")
    ordered = Pace(ordered=True, stops=True)
    (made,) = deliveries_for(parcel, Decision("r", (target,)), 3, NOW, lambda *_: ordered, leased_until=NOW + 5)
    assert (made.epoch, made.attempts, made.due_at, made.stops) == (1, 1, NOW + 5, True)
    assert made.line == line_of(parcel, target)
    assert waits_at(made) == ("as4", "egedal")
    (pulled,) = told(parcel, [a_subscription("a")], 1, NOW)
    assert waits_at(pulled) == ("", "journal")


def test_systems_that_are_out_of_the_question_get_nothing():
    """Who had it is no target again; with nobody left it is residual."""
    assert decide(configured(journal="receive"), a_stay(), NOW).targets == (Target(system="journal"),)
    decision = decide(configured(journal="receive"), a_stay(), NOW, ["journal"])
    assert (decision.route, decision.targets) == ("", (Target(system=RESIDUAL),))
