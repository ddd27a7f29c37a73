"""What every subject's endpoints have at hand: the kernel, the configuration in force, and who a caller speaks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from core.asking import Kernel
from core.config import Configuration
from core.integration import Capability, Integration
from core.subscription import Subscription
from gateways.rest.access import Caller, demand_system
from gateways.rest.endpoint import Shape
from gateways.rest.problems import Flaw, absent, forbidden, invalid_request
from gateways.rest.settings import Role


@dataclass(frozen=True, slots=True)
class Gate:
    """``configuration`` gives the version in force."""

    kernel: Kernel
    configuration: Callable[[], Configuration]

    def acting(self, caller: Caller, named: str | None) -> str:
        """The system a caller acts as: the one it names, or its only one. Raises `ProblemError`."""
        if named is not None:
            demand_system(caller, named, self.configuration())
            return named
        if Role.SYSTEM not in caller.roles or not caller.systems:
            raise forbidden("this takes the role system; who calls stands for no system")
        if len(caller.systems) > 1:
            raise invalid_request([Flaw("system", "say which of your systems this is for", "parameter")])
        (only,) = caller.systems
        return only

    def integration(
        self, named: str, kind: str, capability: Capability, pointer: str, *others: Capability
    ) -> Integration:
        """The integration something is sent under: as named, or the only one of the capability that moves the type.

        ``others`` are capabilities that will do as well.

        Raises `ProblemError` naming ``pointer``; what the caller has no agreement for is refused by the kernel.
        """
        catalogue = self.configuration().all("integration")
        if named:
            found = [one for one in (catalogue.get(named),) if one is not None]
        else:
            found = [one for one in catalogue.values() if kind in one.types]
        fitting: Sequence[Integration] = [one for one in found if one.capability in (capability, *others)]
        if len(fitting) == 1:
            return fitting[0]
        cause = (
            f"more than one {capability} moves this type: name its integration"
            if fitting
            else f"no {capability} is called or moves that"
        )
        raise invalid_request([Flaw(pointer, cause)])

    def subscription(self, caller: Caller, name: str) -> Subscription:
        """A subscription of the caller's systems, or one it may see. Raises `ProblemError`: what is others' is not there."""
        found = self.configuration().all("subscription").get(name)
        scope = caller.scope(self.configuration())
        if not isinstance(found, Subscription) or (scope is not None and found.system not in scope):
            raise absent()
        return found

    def own_subscription(self, caller: Caller, name: str) -> Subscription:
        """The same, and the caller acts as its system: only that one takes what is in it."""
        found = self.subscription(caller, name)
        if not caller.may_act_as(found.system):
            raise forbidden("only the system itself takes from its subscription")
        return found

    def documents_of(self, caller: Caller) -> frozenset[str] | None:
        """The systems whose agreements and subscriptions a caller may read: whose traffic it sees, and those it asks for."""
        scope = caller.scope(self.configuration())
        return None if scope is None else scope | {one for one in caller.systems if caller.may_ask_for(one)}

    def demand_asking(self, caller: Caller, system: str) -> None:
        """Raises unless the caller may ask for documents of a system: 404 for another authority's and for none."""
        found = self.configuration().all("system").get(system)
        if found is not None and caller.may_ask_for(system):
            return
        if found is not None and (system in caller.systems or caller.may_see(found.authority)):
            raise forbidden("this takes the role system or supplier for that system")
        raise absent()

    def demand_list(self, system: str, named: str | None, pointer: str) -> None:
        """Raises unless a subscription of a system may filter by a value list: by its own, or one of its authority's."""
        if named is None:
            return
        configuration = self.configuration()
        systems, found = configuration.all("system"), configuration.all("value-list").get(named)
        own, keeper = systems.get(system), systems.get(found.owner) if found is not None else None
        if own is None or keeper is None or keeper.authority != own.authority:
            raise invalid_request([Flaw(pointer, "there is no such value list of your authority")])


class Acting(Shape):
    """Which of the caller's systems it is for."""

    system: Annotated[
        str | None, Field(max_length=64, description="Which of your systems this is for, if you have several.")
    ] = None
