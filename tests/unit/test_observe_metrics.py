"""What a scrape says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.errors import Problem
from broker.observe.metrics import Metrics
from broker.ports import (
    Books,
    Buried,
    Claim,
    Deferred,
    Origin,
    Outcome,
    Refusal,
    Refused,
    Settled,
    Verdict,
)
from broker.status import (
    RUNNING,
    BrokerStatus,
    MeshStatus,
    SourceStatus,
    TriggerState,
    TriggerStatus,
    WorkerStatus,
)
from broker.trigger import Broker, Desired, Target, Trigger
from tests.watching import EVENT, attempt

NOW = datetime.now(UTC)
WHY = Refusal(destination="http://a/", reason="no", status=400, body=b"", attempts=1)
AUDIT = Trigger(key="default/audit", broker="default/default", subscriber=Target(url="x:"))
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
        for family in text_string_to_metric_families(metrics.scrape(of)().decode())
        for sample in family.samples
    }


def sample(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


UNKNOWN = sample("cemesh_refused_requests_total", broker="", status="404", reason="unknown_broker")


def within(
    found: dict[tuple[str, frozenset[tuple[str, str]]], float],
    histogram: str,
    seconds: str,
    **labels: str,
) -> float:
    """Return how many were no longer than that."""
    return found[sample(f"{histogram}_bucket", le=seconds, **labels)]


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


def test_attempts_are_counted_by_outcome_and_timed() -> None:
    metrics = Metrics()
    metrics.attempted(attempt("default/audit", seconds=0.02))
    metrics.attempted(attempt("default/audit", seconds=7))
    metrics.attempted(attempt("default/audit", Verdict.RETRY, 0.02))
    metrics.attempted(attempt("default/audit", Verdict.RETRY)._replace(exhausted=True))
    metrics.attempted(attempt("default/audit", Verdict.GIVE_UP, 0.02))
    held = Refused(reason="no leave", untried=True)
    metrics.attempted(attempt("default/audit", Verdict.RETRY, answer=held))

    found = scrape(metrics, status(books()))

    of = {"trigger": "default/audit", "to": "subscriber"}
    outcomes = {
        dict(labels)["outcome"]: count
        for (name, labels), count in found.items()
        if name == "cemesh_attempts_total"
    }
    assert outcomes == {"delivered": 2, "retry": 1, "exhausted": 1, "refused": 1, "untried": 1}
    assert within(found, "cemesh_attempt_duration_seconds", "0.005", **of) == 0
    assert within(found, "cemesh_attempt_duration_seconds", "0.025", **of) == 4
    assert within(found, "cemesh_attempt_duration_seconds", "+Inf", **of) == 5, "one was none"
    assert found[sample("cemesh_attempt_duration_seconds_sum", **of)] == pytest.approx(7.07)


def test_attempts_at_a_dead_letter_sink_are_not_those_at_the_subscriber() -> None:
    metrics = Metrics()
    metrics.attempted(attempt("default/audit", Verdict.GIVE_UP))
    metrics.attempted(attempt("default/audit")._replace(to="dead-letter sink"))

    found = scrape(metrics, status(books()))

    def count(to: str, outcome: str) -> float:
        labels = {"trigger": "default/audit", "to": to, "outcome": outcome}
        return found[sample("cemesh_attempts_total", **labels)]

    assert (count("subscriber", "delivered"), count("subscriber", "refused")) == (0, 1)
    assert (count("dead-letter sink", "delivered"), count("dead-letter sink", "refused")) == (1, 0)
    name = "cemesh_end_to_end_duration_seconds_count"
    assert found[sample(name, trigger="default/audit")] == 0, "its subscriber has not taken it"


def test_the_channel_is_timed_until_the_first_attempt_and_the_whole_until_the_delivery() -> None:
    metrics = Metrics()
    first = attempt("default/audit", Verdict.RETRY, 1)
    begun = first.accepted_at.timestamp() + 0.02
    metrics.attempted(first._replace(began=begun))
    second = attempt("default/audit", seconds=1)
    metrics.attempted(second._replace(accepted_at=first.accepted_at, began=begun + 10, number=2))

    found = scrape(metrics, status(books()))

    of = {"trigger": "default/audit"}
    assert within(found, "cemesh_channel_duration_seconds", "0.025", **of) == 1
    assert found[sample("cemesh_channel_duration_seconds_count", **of)] == 1
    assert within(found, "cemesh_end_to_end_duration_seconds", "10.0", **of) == 0
    assert within(found, "cemesh_end_to_end_duration_seconds", "30.0", **of) == 1


def test_an_event_that_was_accepted_by_a_clock_ahead_of_ours_has_not_waited() -> None:
    metrics = Metrics()
    early = attempt("default/audit", seconds=0)
    metrics.attempted(early._replace(began=early.accepted_at.timestamp() - 60))

    found = scrape(metrics, status(books()))

    of = {"trigger": "default/audit"}
    assert found[sample("cemesh_channel_duration_seconds_sum", **of)] == 0
    assert within(found, "cemesh_channel_duration_seconds", "0.001", **of) == 1


def test_events_that_are_given_up_are_counted_by_what_has_them() -> None:
    metrics = Metrics()
    claim = Claim(event=EVENT, attempts=1, condemned=None, accepted_at=NOW, position=None)
    for step in (
        Buried(why=WHY),
        Settled(outcome=Outcome.DEAD_LETTERED, why=WHY),
        Settled(outcome=Outcome.DEAD_LETTERED, why=WHY),
        Settled(outcome=Outcome.DELIVERED),
        Deferred(delay=timedelta(seconds=1), attempts=1, condemned=None),
    ):
        metrics.decided("default/audit", claim, step)

    found = scrape(metrics, status(books()))

    def count(to: str) -> float:
        return found[sample("cemesh_given_up_events_total", trigger="default/audit", to=to)]

    assert (count("store"), count("dead-letter sink")) == (1, 2)


def test_what_comes_in_is_counted_by_origin_and_requests_are_timed() -> None:
    metrics = Metrics()
    metrics.accepted("default/default", [EVENT, EVENT], Origin("request", "127.0.0.1"), 0.002)
    metrics.accepted("default/default", [EVENT], Origin("source", "PingSource default/a"), None)
    metrics.accepted("default/default", [EVENT], Origin("reply", "default/audit"), None)
    metrics.accepted("default/default", [EVENT], Origin("redrive", "default/audit"), None)

    found = scrape(metrics, status(books()))

    stored = {
        dict(labels)["origin"]: count
        for (name, labels), count in found.items()
        if name == "cemesh_stored_events_total"
    }
    assert stored == {"request": 2, "source": 1, "reply": 1, "redrive": 1, "announcement": 0}
    name, of = "cemesh_ingress_duration_seconds", {"broker": "default/default"}
    assert (within(found, name, "0.001", **of), within(found, name, "0.0025", **of)) == (0, 1)
    assert found[sample("cemesh_reply_events_total", trigger="default/audit")] == 1


def test_refused_requests_are_counted_by_broker_status_and_reason() -> None:
    metrics = Metrics()
    metrics.refused("default/default", 400, "invalid_event")
    metrics.refused("default/default", 400, "invalid_event")
    metrics.refused("default/default", 400, "hops_exhausted")
    metrics.refused(None, 404, "unknown_broker")

    found = scrape(metrics, status(books()))

    def count(broker: str, status: str, reason: str) -> float:
        name = "cemesh_refused_requests_total"
        return found[sample(name, broker=broker, status=status, reason=reason)]

    assert count("default/default", "400", "invalid_event") == 2
    assert count("default/default", "400", "hops_exhausted") == 1
    assert found[UNKNOWN] == 1


def test_a_channel_is_available_or_not() -> None:
    ours = status(books())
    out = replace(ours, brokers=[replace(ours.brokers[0], unavailable="the disk is full")])

    here, gone = scrape(Metrics(), ours), scrape(Metrics(), out)

    name = sample("cemesh_channel_available", broker="default/default")
    assert (here[name], gone[name]) == (1, 0)


def test_the_problems_of_a_refused_change_and_the_workers_that_run_are_told() -> None:
    workers = [
        WorkerStatus(number=0, pid=1, state="running"),
        WorkerStatus(number=1, pid=None, state="starting"),
    ]
    problem = Problem(file=None, line=None, message="no")

    found = scrape(Metrics(), replace(EMPTY, problems=[problem, problem], workers=workers))

    assert found[sample("cemesh_manifest_problems")] == 2
    running = [found[sample("cemesh_worker_running", worker=each)] for each in "01"]
    assert running == [1, 0]


def test_books_of_which_a_worker_has_not_told_its_part_are_not_told_at_all() -> None:
    found = scrape(Metrics(), replace(status(books(matched=1)), is_whole=False))

    names = {name for name, _ in found}
    assert "cemesh_accepted_events_total" not in names
    assert "cemesh_matched_events_total" not in names
    assert "cemesh_in_flight_attempts" in names


def test_what_workers_have_counted_is_added() -> None:
    ours, theirs = Metrics(), Metrics()
    for each in (ours, theirs, theirs):
        each.attempted(attempt("default/audit", seconds=0.02))
        each.refused(None, 404, "unknown_broker")
    theirs.attempted(attempt("default/gone"))

    found = scrape(ours, replace(status(books()), elsewhere=theirs.counted()))

    of = {"trigger": "default/audit", "to": "subscriber"}
    assert found[sample("cemesh_attempts_total", outcome="delivered", **of)] == 3
    assert within(found, "cemesh_attempt_duration_seconds", "0.025", **of) == 3
    assert found[UNKNOWN] == 3
    assert not any(("trigger", "default/gone") in labels for _, labels in found)


def test_what_is_gone_from_the_mesh_is_gone_from_the_scrape() -> None:
    metrics = Metrics()
    metrics.attempted(attempt("default/gone"))
    metrics.refused("default/gone", 400, "invalid_event")
    metrics.refused(None, 404, "unknown_broker")
    metrics.accepted("default/gone", [EVENT], Origin("reply", "default/gone"), None)

    found = scrape(metrics, EMPTY)

    assert not any(("trigger", "default/gone") in labels for _, labels in found)
    assert not any(("broker", "default/gone") in labels for _, labels in found)
    assert found[UNKNOWN] == 1


def test_what_is_gone_from_the_manifests_is_counted_no_more() -> None:
    metrics = Metrics()
    for key in ("default/gone", "default/audit"):
        metrics.attempted(attempt(key))
        metrics.accepted(key, [EVENT], Origin("reply", key), None)
        metrics.refused(key, 400, "invalid_event")
    metrics.refused(None, 404, "unknown_broker")

    metrics.keep_to(
        Desired(
            brokers={"default/audit": Broker(key="default/audit")},
            triggers={"default/audit": AUDIT},
        )
    )

    counts = metrics.counted()
    told = {values[0] for _, values in (*counts.counters, *counts.durations)}
    assert told == {"default/audit", ""}


def test_whatever_a_label_holds_is_read_again_as_it_was() -> None:
    key = 'a\\b"c\nd,e="f"}'
    tick = SourceStatus(kind="A", key=key, broker="b/b", state="running", error=None)

    found = scrape(Metrics(), replace(EMPTY, sources=[tick]))

    assert found[sample("cemesh_source_emitted_events_total", kind="A", source=key)] == 0


@pytest.mark.parametrize(("gone", "count"), [(True, 1), (False, 2)])
def test_only_a_trigger_that_was_gone_from_the_manifests_is_counted_from_0(
    gone: bool, count: int
) -> None:
    metrics = Metrics()
    metrics.attempted(attempt("default/audit"))
    metrics.scrape(EMPTY)()  # its channel may be out
    metrics.keep_to(Desired() if gone else Desired(triggers={"default/audit": AUDIT}))
    metrics.attempted(attempt("default/audit"))

    found = scrape(metrics, status(books()))

    name = "cemesh_attempts_total"
    of = {"trigger": "default/audit", "to": "subscriber", "outcome": "delivered"}
    assert found[sample(name, **of)] == count


def test_two_meshes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.refused(None, 404, "unknown_broker")

    assert UNKNOWN in scrape(one, EMPTY)
    assert UNKNOWN not in scrape(other, EMPTY)


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
