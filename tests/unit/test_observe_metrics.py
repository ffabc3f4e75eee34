"""What a scrape says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.observe.metrics import Metrics
from broker.ports import Books, Verdict
from broker.status import (
    RUNNING,
    BrokerStatus,
    MeshStatus,
    SourceStatus,
    TriggerState,
    TriggerStatus,
)
from tests.watching import attempt

EMPTY = MeshStatus(brokers=[], sources=[], problems=[])


def status(
    books: Books,
    *,
    key: str = "default/audit",
    in_flight: int = 0,
    state: TriggerState = RUNNING,
    parked: int = 0,
) -> MeshStatus:
    trigger = TriggerStatus(
        key=key,
        broker="default/default",
        subscriber="x:",
        in_flight=in_flight,
        books=books,
        state=state,
        parked=parked,
    )
    broker = BrokerStatus(
        key="default/default", channel="memory", accepted=7, unavailable=None, triggers=[trigger]
    )
    return MeshStatus(brokers=[broker], sources=[], problems=[])


def books(
    *,
    matched: int = 0,
    delivered: int = 0,
    dead: int = 0,
    waiting: int = 0,
    oldest: datetime | None = None,
) -> Books:
    return Books(
        matched=matched,
        delivered=delivered,
        dead_lettered=dead,
        waiting=waiting,
        oldest_waiting=oldest,
    )


def scrape(metrics: Metrics, of: MeshStatus) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render(of).decode())
        for sample in family.samples
    }


def sample(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_the_books_of_a_trigger_become_its_metrics() -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    kept = books(matched=10, delivered=5, dead=2, waiting=2, oldest=since)

    found = scrape(Metrics(), status(kept, in_flight=1, parked=3))

    audit = "default/audit"
    assert found[sample("cemesh_accepted_events_total", broker="default/default")] == 7
    assert found[sample("cemesh_matched_events_total", trigger=audit)] == 10
    assert found[sample("cemesh_delivered_events_total", trigger=audit)] == 5
    assert found[sample("cemesh_dead_lettered_events_total", trigger=audit)] == 2
    assert found[sample("cemesh_waiting_events", trigger=audit)] == 2
    assert found[sample("cemesh_unaccounted_events", trigger=audit)] == 1
    assert found[sample("cemesh_in_flight_attempts", trigger=audit)] == 1
    assert found[sample("cemesh_parked_events", trigger=audit)] == 3
    assert found[sample("cemesh_oldest_waiting_seconds", trigger=audit)] >= 3600


def test_the_state_of_a_trigger_is_1_and_the_others_are_0() -> None:
    held = status(books(), state=TriggerState(phase="held", why="503 Service Unavailable"))

    found = scrape(Metrics(), held)

    states = {
        dict(labels)["state"]: value
        for (name, labels), value in found.items()
        if name == "cemesh_trigger_state"
    }
    assert states == {"running": 0, "held": 1, "paused": 0, "probing": 0, "recovering": 0}


def test_where_nothing_waits_the_oldest_is_of_no_age() -> None:
    found = scrape(Metrics(), status(books()))

    assert found[sample("cemesh_oldest_waiting_seconds", trigger="default/audit")] == 0


def test_attempts_are_counted_by_verdict_and_timed() -> None:
    metrics = Metrics()
    metrics.attempted(attempt("default/audit", seconds=0.02))
    metrics.attempted(attempt("default/audit", seconds=7))
    metrics.attempted(attempt("default/audit", Verdict.RETRY, 0.02))

    found = scrape(metrics, status(books()))

    def attempts(verdict: str) -> float:
        return found[sample("cemesh_attempts_total", trigger="default/audit", verdict=verdict)]

    def within(seconds: str) -> float:
        name = "cemesh_attempt_duration_seconds_bucket"
        return found[sample(name, trigger="default/audit", le=seconds)]

    assert (attempts("delivered"), attempts("retry")) == (2, 1)
    assert (within("0.01"), within("0.025"), within("+Inf")) == (0, 2, 3)


def test_refused_requests_are_counted_by_broker_and_status() -> None:
    metrics = Metrics()
    metrics.refused("default/default", 400, "invalid_event")
    metrics.refused("default/default", 400, "invalid_event")
    metrics.refused(None, 404, "unknown_broker")

    found = scrape(metrics, status(books()))

    name = "cemesh_refused_requests_total"
    assert found[sample(name, broker="default/default", status="400")] == 2
    assert found[sample(name, broker="", status="404")] == 1


def test_what_is_gone_from_the_mesh_is_gone_from_the_scrape() -> None:
    metrics = Metrics()
    metrics.attempted(attempt("default/gone"))
    metrics.refused("default/gone", 400, "invalid_event")
    metrics.refused(None, 404, "unknown_broker")

    found = scrape(metrics, EMPTY)

    assert not any(("trigger", "default/gone") in labels for _, labels in found)
    assert not any(("broker", "default/gone") in labels for _, labels in found)
    assert found[sample("cemesh_refused_requests_total", broker="", status="404")] == 1


def test_a_trigger_that_comes_back_is_counted_again() -> None:
    metrics = Metrics()
    metrics.attempted(attempt("default/audit"))
    metrics.render(EMPTY)
    metrics.attempted(attempt("default/audit"))

    found = scrape(metrics, status(books()))

    name = "cemesh_attempts_total"
    assert found[sample(name, trigger="default/audit", verdict="delivered")] == 1


def test_two_meshes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.refused(None, 404, "unknown_broker")

    assert sample("cemesh_refused_requests_total", broker="", status="404") not in scrape(
        other, EMPTY
    )


@pytest.mark.parametrize("name", ["process_resident_memory_bytes", "cemesh_build_info"])
def test_a_scrape_tells_about_the_process(name: str) -> None:
    assert any(each == name for each, _ in scrape(Metrics(), EMPTY))


def test_sources_are_told_with_their_state_and_what_waits_upstream() -> None:
    tick = SourceStatus(
        kind="PingSource",
        key="default/tick",
        broker="default/default",
        state="unhealthy",
        error="no route",
        emitted=5,
        rejected=1,
        restarts=2,
    )
    orders = replace(
        tick, key="default/orders", lag=9, lag_since=datetime.now(UTC) - timedelta(seconds=90)
    )
    of_tick = frozenset({("kind", "PingSource"), ("source", "default/tick")})
    of_orders = frozenset({("kind", "PingSource"), ("source", "default/orders")})

    told = scrape(Metrics(), MeshStatus(brokers=[], sources=[tick, orders], problems=[]))

    assert told["cemesh_source_emitted_events_total", of_tick] == 5
    assert told["cemesh_source_rejected_messages_total", of_tick] == 1
    assert told["cemesh_source_restarts_total", of_tick] == 2
    assert told["cemesh_source_state", of_tick | {("state", "unhealthy")}] == 1
    assert told["cemesh_source_state", of_tick | {("state", "running")}] == 0
    assert ("cemesh_source_lag_events", of_tick) not in told, "it cannot tell"
    assert told["cemesh_source_lag_events", of_orders] == 9
    assert 90 <= told["cemesh_source_lag_seconds", of_orders] < 120
