"""All desks of a node, for gateways that have an audience of their own to answer."""

from __future__ import annotations

from core.desk.alarming import Alarming
from core.desk.backlog import Backlogs
from core.desk.handing import Handing
from core.desk.history import History
from core.desk.insight import Insights
from core.desk.looking import Looking
from core.desk.mailbox import Mailbox
from core.desk.redistribution import Redistribution
from core.desk.replay import Replays
from core.desk.requests import Requests
from core.desk.search import Search
from core.desk.statistics import Statistics
from core.desk.tracing import Tracing
from core.desk.uploads import Uploads
from core.desk.values import Values
from core.mailroom import Mailroom
from core.quota import Quotas
from core.runtime import Runtime


class Desks:
    """Made once a node."""

    def __init__(self, runtime: Runtime, mail: Mailroom) -> None:
        self._runtime = runtime
        self.mailbox = Mailbox(runtime, mail)
        self.requests = Requests(runtime)
        self.backlogs = Backlogs(runtime, self.mailbox)
        self.replays = Replays(runtime)
        self.history = History(runtime)
        self.values = Values(runtime)
        self.insights = Insights(runtime)
        self.search = Search(runtime)
        self.statistics = Statistics(runtime)
        self.looking = Looking(runtime)
        self.tracing = Tracing(runtime)
        self.alarming = Alarming(runtime)
        self.uploads = Uploads(runtime)
        self.handing = Handing(runtime)
        self.redistribution = Redistribution(runtime, self.uploads)

    @property
    def quotas(self) -> Quotas:
        """What systems and authorities may use, under the configuration in force."""
        return self._runtime.quotas
