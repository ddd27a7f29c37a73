"""Metrics: names as Prometheus wants them, one registry a node."""

from __future__ import annotations

import re
from dataclasses import replace

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from core.metrics import Metrics
from core.radar import Watched


def test_two_nodes_in_one_process_count_apart():
    """Each has a registry of its own."""
    one, two = Metrics(), Metrics()
    one.accepted.labels("paper", "new").inc(3)
    assert b'stafet_parcels_accepted_total{gateway="paper",judgement="new"} 3.0' in one.text()
    assert b'judgement="new"' not in two.text()


def test_every_name_follows_the_conventions_and_can_be_parsed():
    """The prefix, base units, and help for each; a scraper can read it."""
    metrics = Metrics()
    made = [m for m in vars(metrics).values() if isinstance(m, Counter | Gauge | Histogram)]
    assert len(made) > 10
    families = {f.name: f for f in text_string_to_metric_families(metrics.text().decode())}
    for metric in made:
        name = metric._name
        assert re.fullmatch(r"stafet_[a-z_]+", name)
        assert families[name].documentation
        assert not re.search(r"_(ms|micros|minutes|kb|mb)$", name)


def test_what_the_writer_did_is_shown_as_it_is():
    """It counts by itself: showing it twice does not add it up."""
    metrics = Metrics()
    for _ in range(2):
        metrics.show_writer(7, 700, 1.5)
    text = metrics.text().decode()
    assert "stafet_ledger_commits_total 7.0" in text
    assert "stafet_ledger_commands_total 700.0" in text
    assert "stafet_ledger_cpu_seconds_total 1.5" in text


def test_days_left_are_shown_of_what_is_in_use_alone():
    """What was replaced is gone from the next scrape; of two under one name the nearer end counts; no subject is shown."""
    metrics = Metrics()
    key = Watched("own", "signing", "signing-2026", "CN=Fictitious Town", "ab" * 32, 0, 10)
    metrics.show_certificates([(key, 40), (replace(key, use="decryption"), 50), (key, 3), (key, 7)])
    text = metrics.text().decode()
    assert 'stafet_certificate_expiry_days{name="signing-2026",owner="own",use="signing"} 3.0' in text
    assert "Fictitious" not in text
    metrics.show_certificates([(replace(key, name="signing-2028"), -1)])
    text = metrics.text().decode()
    assert "signing-2026" not in text
    assert 'stafet_certificate_expiry_days{name="signing-2028",owner="own",use="signing"} -1.0' in text


def test_a_destination_that_is_gone_is_shown_no_more():
    """What waits and what is paused is what the last look found."""
    metrics = Metrics()
    metrics.show_destinations({("paper", "egedal"): 7, ("paper", "skovby"): 1}, [("paper", "egedal")])
    metrics.show_destinations({("paper", "skovby"): 2}, [("paper", "skovby")])
    text = metrics.text().decode()
    assert 'stafet_deliveries_waiting{destination="skovby",gateway="paper"} 2.0' in text
    assert 'stafet_destination_paused{destination="skovby",gateway="paper"} 1.0' in text
    assert "egedal" not in text


def test_no_label_can_hold_who_or_what_a_parcel_is_about():
    """Labels are few and bounded: none is a parcel's id, a subject or an address; names are those of keys and files."""
    labels = {label for m in vars(Metrics()).values() for label in getattr(m, "_labelnames", ())}
    assert labels == {"gateway", "judgement", "result", "state", "code", "owner", "use", "name", "destination"}
