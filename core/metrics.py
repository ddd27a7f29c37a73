"""Prometheus metrics of a node, in a registry of its own so that several nodes can live in one test process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from core.radar import Watched


class Metrics:
    """What a node counts. Names follow Prometheus: base units, ``_total`` for counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.accepted = Counter("stafet_parcels_accepted_total", "Parcels judged", ["gateway", "judgement"], registry=r)
        self.attempts = Counter(
            "stafet_delivery_attempts_total", "Attempts by result", ["gateway", "result"], registry=r
        )
        self.attempt_seconds = Histogram("stafet_delivery_attempt_seconds", "One attempt", ["gateway"], registry=r)
        self.in_flight = Gauge("stafet_deliveries_in_flight", "Leases this node holds", registry=r)
        self.deliveries = Gauge("stafet_deliveries", "Deliveries by state", ["state"], registry=r)
        self.waiting = Gauge("stafet_deliveries_waiting", "Open by destination", ["gateway", "destination"], registry=r)
        self.paused = Gauge(
            "stafet_destination_paused", "1 while it is not attempted", ["gateway", "destination"], registry=r
        )
        self.refused = Counter("stafet_messages_refused_total", "Refused at the door", ["gateway", "code"], registry=r)
        self.alarms = Gauge("stafet_alarms_open", "Alarms nobody has cleared", registry=r)
        self.commits = Gauge("stafet_ledger_commits_total", "Ledger transactions since start", registry=r)
        self.commands = Gauge("stafet_ledger_commands_total", "Commands in those transactions", registry=r)
        self.ledger_cpu = Gauge("stafet_ledger_cpu_seconds_total", "CPU the writer used since start", registry=r)
        self.free_bytes = Gauge("stafet_store_free_bytes", "Free space under the payload store", registry=r)
        self.certificate_days = Gauge(
            "stafet_certificate_expiry_days", "Days left of what is in use", ["owner", "use", "name"], registry=r
        )
        self.config_version = Gauge("stafet_config_version", "Applied configuration version", registry=r)

    def show_writer(self, commits: int, commands: int, cpu: float) -> None:
        """What the ledger's writer has done since start; it counts by itself, in its own thread."""
        self.commits.set(commits)
        self.commands.set(commands)
        self.ledger_cpu.set(cpu)

    def show_certificates(self, days: Iterable[tuple[Watched, int]]) -> None:
        """Days left of everything that ends; what is not in use any more is not shown. Two under one name: the nearer end."""
        nearest: dict[tuple[str, str, str], int] = {}
        for item, left in days:
            label = (item.owner, item.use, item.name)
            nearest[label] = min(left, nearest.get(label, left))
        self.certificate_days.clear()
        for label, left in nearest.items():
            self.certificate_days.labels(*label).set(left)

    def show_destinations(self, waiting: Mapping[tuple[str, str], int], paused: Iterable[tuple[str, str]]) -> None:
        """What waits for each destination, and which are paused; those of before are gone."""
        self.waiting.clear()
        for where, count in waiting.items():
            self.waiting.labels(*where).set(count)
        self.paused.clear()
        for where in paused:
            self.paused.labels(*where).set(1)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
