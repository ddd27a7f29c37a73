"""All desks of a node: what a gateway with an audience of its own finds at its kernel."""

from __future__ import annotations

from core.config import Configuration
from core.quota import Quota
from tests.core.nodes import SENDER, Site


async def test_the_quotas_are_those_of_the_configuration_in_force(site: Site):
    """A new version counts at once, and what one gateway was told another is told too."""
    desks = site.kernel.desks
    assert not desks.quotas.in_force
    documents = {
        **site.runtime.configuration.documents,
        "quota": {"q": Quota(id="q", system=SENDER, rate=1, burst=3)},
    }
    site.runtime.configuration = Configuration(documents, {}, 2)
    await site.accept()
    assert [one.left for one in desks.quotas.allowances(SENDER, site.clock.now())] == [2]
