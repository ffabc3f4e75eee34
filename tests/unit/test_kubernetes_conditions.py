"""What statuses say of objects: of those that are right, of those that are wrong, and of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connections.kubernetes.collections import Object
from broker.errors import Problem
from broker.kubernetes.conditions import Condition, merged, summed
from broker.kubernetes.fates import DELIVERING, status_of
from broker.kubernetes.statuses import part_of
from broker.kubernetes.views import View
from broker.manifest.destinations import Elsewhere
from broker.manifest.judging import Found, judge
from broker.ports import Books
from broker.settings import Part
from broker.status import (
    RUNNING,
    BrokerStatus,
    SourceState,
    SourceStatus,
    TriggerState,
    TriggerStatus,
)
from broker.trigger import Desired
from charts.crds.kinds import KINDS, Kind

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_LATER = _NOW + timedelta(hours=1)
_ADDRESS = "http://mesh-ingress.mesh.svc.cluster.local"
_BROKERS = "eventing.knative.dev/v1"
_ORDERS = {"ref": {"apiVersion": _BROKERS, "kind": "Broker", "name": "orders"}}


def _object(kind: str, name: str, spec: object, api_version: str = _BROKERS) -> Object:
    meta = {"name": name, "namespace": "shop", "generation": 3, "uid": f"{kind}-{name}"}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec}


def _broker(name: str = "orders", **spec: object) -> Object:
    return _object("Broker", name, spec)


def _trigger(name: str = "audit", broker: str = "orders", **spec: object) -> Object:
    return _object("Trigger", name, {"broker": broker, "subscriber": {"uri": "http://a"}, **spec})


def _ping(schedule: str = "* * * * *", sink: object = _ORDERS) -> Object:
    spec = {"schedule": schedule, "sink": sink}
    return _object("PingSource", "tick", spec, "sources.knative.dev/v1")


def _view(*objects: Object, parts: frozenset[Part] = frozenset(Part)) -> View:
    """Return what is known where these objects run, as far as they are right."""
    judged = judge([], Found(objects=objects), elsewhere=Elsewhere(), formerly={}, needs=set())
    return replace(_running(judged.loaded.desired), problems=judged.problems, parts=parts)


def _running(desired: Desired) -> View:
    triggers = {key: _status_of(key) for key in desired.triggers}
    sources = {
        subject: SourceStatus(
            kind=each.kind, key=each.key, broker=each.broker, state="running", error=None
        )
        for subject, each in desired.sources.items()
        if not each.receives
    }
    return View(
        address=_ADDRESS,
        brokers={key: _broker_status(key) for key in desired.brokers},
        triggers=desired.triggers,
        running=triggers,
        sources=sources,
    )


def _broker_status(key: str, unavailable: str | None = None) -> BrokerStatus:
    return BrokerStatus(key=key, channel="sqlite", accepted=0, unavailable=unavailable, triggers=())


def _status_of(key: str, state: TriggerState = RUNNING) -> TriggerStatus:
    books = Books(matched=0, delivered=0, dead_lettered=0, waiting=0, oldest_waiting=None)
    return TriggerStatus(
        key=key, broker="shop/orders", subscriber="", in_flight=0, books=books, state=state
    )


def _told(found: Object, view: View) -> Mapping[str, Any]:
    return status_of(found, view, _NOW)


def _conditions(found: Object, view: View) -> Mapping[str, tuple[str, str, str]]:
    """Return status, reason and message of each condition."""
    return {
        each["type"]: (each["status"], each.get("reason", ""), each.get("message", ""))
        for each in _told(found, view)["conditions"]
    }


# --- those that are right ------------------------------------------------------------------


def test_a_broker_that_runs_is_ready_and_says_where_it_is_reached() -> None:
    told = _told(_broker(), _view(_broker()))

    assert told["address"] == {"name": "http", "url": f"{_ADDRESS}/shop/orders"}
    assert told["observedGeneration"] == 3
    assert {each["type"]: each["status"] for each in told["conditions"]} == {
        "Addressable": "True",
        "DeadLetterSinkResolved": "True",
        "FilterReady": "True",
        "IngressReady": "True",
        "Ready": "True",
        "TriggerChannelReady": "True",
    }


def test_a_trigger_that_is_subscribed_is_ready_and_says_where_it_leads() -> None:
    to_the_broker = {"deadLetterSink": _ORDERS}
    trigger = _trigger(subscriber={"uri": "https://a/b?key=1"}, delivery=to_the_broker)
    told = _told(trigger, _view(_broker(), trigger))

    assert told["subscriberUri"] == "https://a/b?…"
    assert told["deadLetterSinkUri"] == f"{_ADDRESS}/shop/orders"
    assert {each["type"] for each in told["conditions"] if each["status"] == "True"} == {
        "BrokerReady",
        "DeadLetterSinkResolved",
        "DependencyReady",
        "Ready",
        "SubscriberResolved",
        "SubscriptionReady",
        DELIVERING,
    }


def test_a_source_that_runs_is_ready_and_says_where_its_events_go() -> None:
    told = _told(_ping(), _view(_broker(), _ping()))

    assert told["sinkUri"] == f"{_ADDRESS}/shop/orders"
    assert {each["type"]: each["status"] for each in told["conditions"]} == {
        "Deployed": "True",
        "Ready": "True",
        "SinkProvided": "True",
    }


def test_what_the_mesh_has_yet_to_take_up_is_not_ready_and_not_wrong() -> None:
    nothing = View(address=_ADDRESS)
    for each in (_broker(), _trigger(), _ping()):
        told = _conditions(each, nothing)
        assert told["Ready"] == ("Unknown", "NotTakenUp", told["Ready"][2])
        assert "False" not in {status for status, _, _ in told.values()}


def test_a_broker_is_not_ready_while_nobody_knows_where_it_is_reached() -> None:
    view = replace(_view(_broker()), address=None)

    told = _told(_broker(), view)

    assert "address" not in told
    assert _conditions(_broker(), view)["Ready"][:2] == ("Unknown", "AddressUnknown")


# --- those that are wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "condition", "reason", "message"),
    [
        (_trigger(broker="ordres"), "BrokerReady", "BrokerDoesNotExist", "no Broker 'ordres'"),
        (
            _trigger(subscriber={"uri": "htp://a"}),
            "SubscriberResolved",
            "SubscriberNotResolved",
            "spec.subscriber.uri: nothing is installed that sends to 'htp:' URLs",
        ),
        (
            _trigger(delivery={"deadLetterSink": {"uri": "a"}}),
            "DeadLetterSinkResolved",
            "DeadLetterSinkNotResolved",
            "spec.delivery.deadLetterSink.uri: 'a' is not absolute",
        ),
        (
            _trigger(filters=[{"exakt": {}}]),
            "SubscriptionReady",
            "Invalid",
            "spec.filters[0].exakt: unknown field (did you mean 'exact'?)",
        ),
    ],
)
def test_a_trigger_that_is_wrong_says_so_where_it_is_wrong(
    trigger: Object, condition: str, reason: str, message: str
) -> None:
    view = _view(_broker(), trigger)

    told = _conditions(trigger, view)

    assert told[condition][:2] == ("False", reason)
    assert message in told[condition][2]
    assert told["Ready"] == told[condition]
    assert [name for name, each in told.items() if each[0] == "False"] == sorted(
        {condition, "Ready", DELIVERING}
    )
    assert told[DELIVERING][1] == "Held"
    assert "subscriberUri" not in _told(trigger, view)


def test_a_wrong_trigger_whose_former_self_runs_says_that_it_delivers() -> None:
    right = _view(_broker(), _trigger())
    wrong = _trigger(filters=[{"exakt": {}}])
    view = replace(right, problems=_view(_broker(), wrong).problems)

    told = _conditions(wrong, view)

    assert told["Ready"][0] == "False"
    assert told[DELIVERING][:2] == ("True", "Former")


def test_what_refers_to_a_missing_secret_names_it() -> None:
    url = {"secretKeyRef": {"name": "chat", "key": "url"}}
    sink = _object("WebhookSink", "hook", {"url": url, "preset": "slack", "text": "hi"})
    sink["apiVersion"] = "sinks.cemesh.dev/v1alpha1"

    told = _conditions(sink, _view(sink))

    assert told["Ready"] == ("False", "Invalid", "spec.url: no Secret 'shop/chat' in this cluster")


def test_no_trigger_is_ready_whose_broker_is_not() -> None:
    broker, trigger = _broker(delivery={"retry": -1}), _trigger()
    view = _view(broker, trigger)

    of_broker, of_trigger = _conditions(broker, view), _conditions(trigger, view)

    assert of_broker["TriggerChannelReady"][:2] == ("False", "Invalid")
    assert of_trigger["Ready"][0] == "False"
    assert of_broker["Ready"][2] in of_trigger["BrokerReady"][2]


def test_a_store_that_is_away_makes_brokers_and_their_triggers_not_ready() -> None:
    view = _view(_broker(), _trigger())
    away = replace(view, brokers={"shop/orders": _broker_status("shop/orders", "no such host")})

    of_broker, of_trigger = _conditions(_broker(), away), _conditions(_trigger(), away)

    assert of_broker["Ready"] == ("False", "ChannelUnavailable", "no such host")
    assert of_trigger["Ready"] == (
        "False",
        "ChannelUnavailable",
        "Broker shop/orders: no such host",
    )


def test_what_is_right_and_cannot_be_run_now_says_why() -> None:
    view = _view(_broker(), _trigger())
    away = Problem(file=None, line=None, subject="Broker shop/orders", message="no such host")
    view = replace(view, failures={away.subject: [away]}, brokers={}, running={})

    of_broker, of_trigger = _conditions(_broker(), view), _conditions(_trigger(), view)

    assert of_broker["TriggerChannelReady"] == ("False", "CannotRun", "no such host")
    assert of_broker["Ready"] == of_broker["TriggerChannelReady"]
    assert of_trigger["Ready"] == ("False", "CannotRun", "Broker shop/orders: no such host")


def test_a_source_whose_sink_is_wrong_says_so_there() -> None:
    nowhere = _ping(sink={"ref": {**_ORDERS["ref"], "name": "ordres"}})

    told = _conditions(nowhere, _view(_broker(), nowhere))

    assert told["SinkProvided"][:2] == ("False", "SinkNotResolved")
    assert told["Deployed"][0] == "Unknown"
    assert told["Ready"] == told["SinkProvided"]


def test_a_source_that_is_wrong_says_so_as_not_deployed() -> None:
    never = _ping(schedule="* * * *")

    told = _conditions(never, _view(_broker(), never))

    assert told["Deployed"][:2] == ("False", "Invalid")
    assert "is not a cron schedule" in told["Ready"][2]


# --- how they fare -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (RUNNING, ("True", "", "")),
        (TriggerState(phase="paused", why="holiday"), ("False", "Paused", "holiday")),
        (TriggerState(phase="probing", why="503"), ("False", "Probing", "503")),
        (TriggerState(phase="held", why="Retry-After"), ("True", "", "")),
        (TriggerState(phase="recovering", why="503"), ("True", "", "")),
    ],
)
def test_a_trigger_that_gets_nothing_is_ready_all_the_same(
    state: TriggerState, told: tuple[str, str, str]
) -> None:
    view = _view(_broker(), _trigger())
    view = replace(view, running={"shop/audit": _status_of("shop/audit", state)})

    found = _conditions(_trigger(), view)

    assert found["Ready"][0] == "True"
    assert found[DELIVERING] == told


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        ("running", ("True", "")),
        ("standby", ("True", "")),
        ("unhealthy", ("False", "Unhealthy")),
        ("restarting", ("False", "Restarting")),
    ],
)
def test_a_source_that_does_not_work_is_not_ready(
    state: SourceState, ready: tuple[str, str]
) -> None:
    view = _view(_broker(), _ping())
    [(subject, status)] = view.sources.items()
    view = replace(view, sources={subject: replace(status, state=state, error="refused")})

    assert _conditions(_ping(), view)["Ready"][:2] == ready


def test_a_source_that_is_called_is_ready_where_another_process_runs_it() -> None:
    spec = {"sink": _ORDERS, "type": "t", "verify": {"basic": {"username": "u", "password": "p"}}}
    called = _object("WebhookSource", "hook", spec, "sources.cemesh.dev/v1alpha1")
    view = _view(_broker(), parts=frozenset({Part.SOURCES}))
    here = replace(view, parts=frozenset(Part))

    assert _conditions(called, view)["Deployed"][:2] == ("True", "RunByIngress")
    assert _conditions(called, here)["Deployed"][:2] == ("Unknown", "NotTakenUp")


# --- over what is there --------------------------------------------------------------------


def test_a_time_of_transition_changes_with_the_status_alone() -> None:
    view = _view(_broker())
    away = replace(view, brokers={"shop/orders": _broker_status("shop/orders", "gone")})
    elsewhere = replace(view, brokers={"shop/orders": _broker_status("shop/orders", "away")})
    times = []

    found = _broker()
    for each, now in ((view, _NOW), (view, _LATER), (away, _LATER), (elsewhere, _NOW)):
        found = {**found, "status": status_of(found, each, now)}
        [channel] = [
            each for each in found["status"]["conditions"] if each["type"] == "TriggerChannelReady"
        ]
        times.append((channel["lastTransitionTime"], channel.get("message")))

    assert times == [
        ("2026-03-01T12:00:00Z", None),
        ("2026-03-01T12:00:00Z", None),
        ("2026-03-01T13:00:00Z", "gone"),
        ("2026-03-01T13:00:00Z", "away"),
    ]


def test_what_others_have_written_into_a_status_stays() -> None:
    others = {"type": "OIDCIdentityCreated", "status": "True", "reason": "of somebody else"}
    found = _broker() | {"status": {"conditions": [others], "auth": {"serviceAccountName": "x"}}}

    told = _told(found, _view(_broker()))

    assert others in told["conditions"]
    assert told["auth"] == {"serviceAccountName": "x"}


_WORDS = st.sampled_from(["Ready", "Deployed", "Theirs", "SinkProvided"])
_TRUTHS = st.sampled_from(["True", "False", "Unknown"])
_FORMER = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.lists(
        st.one_of(
            st.integers(),
            st.fixed_dictionaries(
                {"type": st.one_of(_WORDS, st.integers()), "status": _TRUTHS},
                optional={"lastTransitionTime": st.text(max_size=3), "message": st.text()},
            ),
        )
    ),
)
_OURS = st.builds(Condition, type=_WORDS, status=_TRUTHS, reason=st.text(), message=st.text())


@given(_FORMER, st.lists(_OURS, unique_by=lambda each: each.type))
def test_conditions_that_were_written_are_written_as_they_are(
    former: object, ours: list[Condition]
) -> None:
    once = merged(former, ours, _NOW)

    assert merged(once, ours, _LATER) == once
    assert [each["type"] for each in once] == sorted({each["type"] for each in once})
    assert {each.type for each in ours} <= {each["type"] for each in once}


@given(st.lists(_OURS))
def test_ready_is_as_bad_as_the_worst_of_all(ours: list[Condition]) -> None:
    truths = {each.status for each in ours}

    worst = next((each for each in ("False", "Unknown") if each in truths), "True")

    assert summed(ours).status == worst


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda values: st.one_of(st.lists(values), st.dictionaries(st.text(max_size=3), values)),
    max_leaves=5,
)
_FIELDS = ["address", "auth", "conditions", "observedGeneration", "sinkUri", "subscriberUri"]
_STATUSES = st.one_of(
    _JSON, st.dictionaries(st.sampled_from(_FIELDS), st.one_of(_JSON, _FORMER), max_size=4)
)
_WRONG = Problem(file=None, line=None, subject="", message="it is wrong", path="spec.broker")
_SUBJECTS = ["Broker shop/orders", "Trigger shop/audit", "PingSource shop/tick"]
_STATES = st.sampled_from(["running", "held", "paused", "probing", "recovering"])


@given(
    found=st.sampled_from([_broker(), _trigger(), _ping()]),
    former=_STATUSES,
    wrong=st.sets(st.sampled_from(_SUBJECTS)),
    failed=st.sets(st.sampled_from(_SUBJECTS)),
    phase=st.none() | _STATES,
    address=st.none() | st.just(_ADDRESS),
)
def test_a_status_that_was_written_is_not_written_again(
    found: Object,
    former: object,
    wrong: set[str],
    failed: set[str],
    phase: Any,  # noqa: ANN401 - one of the phases, which Hypothesis does not say
    address: str | None,
) -> None:
    state = TriggerState(phase=phase or "running")
    view = View(
        address=address,
        problems={each: [_WRONG] for each in wrong},
        failures={each: [_WRONG] for each in failed},
        brokers={} if phase is None else {"shop/orders": _broker_status("shop/orders")},
        running={} if phase is None else {"shop/audit": _status_of("shop/audit", state)},
    )

    once = status_of({**found, "status": former}, view, _NOW)

    assert status_of({**found, "status": once}, view, _LATER) == once
    ready = {each["type"]: each["status"] for each in once["conditions"]}["Ready"]
    subject = f"{found['kind']} shop/{found['metadata']['name']}"
    assert ready == "False" or subject not in wrong | failed


# --- who tells of what -----------------------------------------------------------------------

_TELLS = {
    "broker": Part.INGRESS,
    "trigger": Part.DISPATCHER,
    "policy": Part.DISPATCHER,
    "sink": Part.DISPATCHER,
    "source": Part.SOURCES,
    "config": None,
}
"""Sort → the part of the mesh that the chart lets write the statuses of objects of that sort."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_status_of_each_kind_is_written_by_the_part_that_may(kind: Kind) -> None:
    assert part_of(kind.kind) == _TELLS[kind.sort]
    assert (part_of(kind.kind) is not None) == kind.has_status
