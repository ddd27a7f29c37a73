"""Who speaks with whom in a Domibus P-Mode, and which of it one partner document can say together.

Rules:

1. A process is joined with us by name; what is not joined is said.
2. Where the legs with one counterpart say several things and a partner has room for one, the one that most of them need is
   taken. A leg that would be *wrong* under it is left out; one that would only differ is kept, and the difference is said.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from accesspoint import names
from accesspoint.ebms import Typed
from gateways.as4.moving.domibus import Leg, PMode, Process
from gateways.as4.moving.shape import Finding
from gateways.as4.moving.terms import comes_with_pull, profile_of

Say = Callable[..., None]
"""Takes findings."""


@dataclass(frozen=True)
class Link:
    """One leg between us and a counterpart, in one direction."""

    process: Process
    leg: Leg
    sends: bool

    @property
    def key(self) -> tuple[Typed, str]:
        """What an exchange is known by."""
        return self.leg.service, self.leg.action

    @property
    def roles(self) -> tuple[str, str]:
        """Our role and theirs: whoever sends has the initiator's."""
        pair = self.process.initiator_role, self.process.responder_role
        return pair if self.sends else (pair[1], pair[0])

    @property
    def label(self) -> str:
        """How a finding names it."""
        return f"{self.process.label}: {self.leg.label}"


# --- who speaks with whom ---------------------------------------------------------------------------------------------


def _pairs(process: Process, us: str) -> Iterator[tuple[str, bool]]:
    """(counterpart, whether we send), each once."""
    if us in process.initiators:
        yield from ((name, True) for name in process.responders if name != us)
    if us in process.responders:
        yield from ((name, False) for name in process.initiators if name != us)


def links_of(pmode: PMode, us: str, say: Say) -> dict[str, list[Link]]:
    """The legs that push between us and each counterpart; what is not among them is said."""
    found: dict[str, list[Link]] = {}
    for process in pmode.processes:
        if us not in (*process.initiators, *process.responders):
            say(Finding("left out", process.label, f"is no process of {us}", "nothing, if it belongs to another party"))
            continue
        if not process.initiators or not process.responders:
            reason = "names no initiator or no responder: counterparts are found when a message comes or goes"
            say(Finding("left out", process.label, reason, "write an as4.partner for each counterpart you know"))
            continue
        if "pull" in process.binding:
            say(*comes_with_pull(process))
            continue
        if us in process.initiators and us in process.responders:
            reason = f"{us} is on both sides: what it sends to itself is no exchange with a partner"
            say(Finding("note", process.label, reason, "route it from system to system, without a gateway"))
        for name, sends in _pairs(process, us):
            found.setdefault(name, []).extend(
                Link(process, leg, way) for leg in process.legs for way in _ways(process, sends, say)
            )
    return found


def _ways(process: Process, sends: bool, say: Say) -> tuple[bool, ...]:
    if process.mep != "twoway":
        return (sends,)
    reason = "is a two-way exchange: every leg is taken in both directions, each as a message of its own"
    remedy = "narrow the direction of each exchange; compare the roles of an answer with the counterpart"
    say(Finding("changed", process.label, reason, remedy))
    return (sends, not sends)


def unused(pmode: PMode, us: str, links: Mapping[str, list[Link]]) -> Iterator[Finding]:
    """Legs and parties of the file that nothing was made of."""
    used = {leg.name for process in pmode.processes for leg in process.legs}
    for leg in pmode.legs:
        if leg.name not in used:
            yield Finding("left out", leg.label, "no process uses it", "nothing, if it is not needed")
    for key, party in pmode.parties.items():
        if key != us and key not in links:
            yield Finding(
                "left out", f"party {party.name}", "no push process joins it with us", "see what is said of processes"
            )


# --- one value for a partner ------------------------------------------------------------------------------------------

_T = TypeVar("_T", bound=Hashable)


def most(values: Iterable[_T]) -> _T:
    """The commonest; the first of those that are equally common."""
    listed = list(values)
    return max(dict.fromkeys(listed), key=listed.count)


def _plain_roles(sends: bool) -> tuple[str, str]:
    return (names.INITIATOR, names.RESPONDER) if sends else (names.RESPONDER, names.INITIATOR)


def _roles(links: Sequence[Link]) -> tuple[str, str] | None:
    """The roles of us and them that most links have; None for initiator and responder by direction."""

    def fitting(roles: tuple[str, str] | None) -> int:
        return sum((roles or _plain_roles(link.sends)) == link.roles for link in links)

    return max((None, *dict.fromkeys(link.roles for link in links)), key=fitting)


def agreed(links: Sequence[Link], say: Say) -> tuple[list[Link], tuple[str, str] | None]:
    """The links that one partner document can express together, and the roles in it; the others are said."""
    agreement = most(link.process.agreement for link in links)
    kept = []
    for link in links:
        if link.process.agreement == agreement:
            kept.append(link)
        else:
            reason = f"its agreement is {link.process.agreement or 'none'}; the partner's document says {agreement or 'none'}"
            say(Finding("left out", link.label, reason, "use one agreement with this counterpart"))
    profile = most(profile_of(link.leg) for link in kept)
    fitting = []
    for link in kept:
        if profile_of(link.leg) == profile:
            fitting.append(link)
        else:
            reason = f"needs the profile {profile_of(link.leg)}; the partner's document says {profile}"
            say(Finding("left out", link.label, reason, "use one security profile with this counterpart"))
    roles = _roles(fitting)
    together = []
    for link in fitting:
        if (roles or _plain_roles(link.sends)) == link.roles:
            together.append(link)
        else:
            ours, theirs = link.roles
            reason = f"needs the roles {ours} (we) and {theirs} (they), which change with the direction or the process"
            say(Finding("left out", link.label, reason, "use one pair of roles with this counterpart"))
    return together, roles


def same(links: Sequence[Link], what: str, value: Callable[[Leg], _T], say: Say) -> _T:
    """What most legs say; the legs that say otherwise are named."""
    chosen = most(value(link.leg) for link in links)
    for link in links:
        if value(link.leg) != chosen:
            reason = f"{what} is {value(link.leg)} in this leg; the partner's document has one for all: {chosen}"
            say(Finding("changed", link.label, reason, "use one with this counterpart"))
    return chosen
