"""Sinks that manifests describe by objects of their own: how they are read, made and asked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from broker.errors import InvalidManifest
from broker.manifest import load
from broker.mesh.resources import Resources
from broker.ports import Accepted, Answer, Emit, Refused, SinkOptions
from broker.trigger import SinkObject, Target
from tests.unit.manifests.ledger_plugin import Ledger, LedgerSpec
from tests.unit.meshes import OPTIONS, make_event

PLUGIN = "tests.unit.manifests.ledger_plugin"
TIMED = SinkOptions(namespace="default", timeout=timedelta(seconds=0.1))
MESH = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: v1
kind: Secret
metadata: {name: books}
stringData: {token: "swordfish"}
---
apiVersion: cemesh.dev/v1alpha1
kind: Sink
metadata: {name: ledger}
spec:
  class: tests.unit.manifests.ledger_plugin:Ledger
  book: orders
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: audit}
spec:
  broker: default
  subscriber:
    ref: {apiVersion: cemesh.dev/v1alpha1, kind: Sink, name: ledger}
  delivery:
    deadLetterSink:
      ref: {apiVersion: cemesh.dev/v1alpha1, kind: Sink, name: ledger}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mesh.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        load([written(folder, text)])
    return [str(each).removeprefix(f"{folder}/mesh.yaml:") for each in caught.value.problems]


def nowhere(broker: str) -> Emit:
    raise AssertionError(broker)


def resources() -> Resources:
    return Resources(channel="memory:", options=OPTIONS, emit_to=nowhere)


def described(name: str, spec: object = None) -> Target:
    sink = SinkObject(kind="Sink", key="default/it", spec=spec, at=f"{PLUGIN}:{name}")
    return Target(url=sink.url, sink=sink)


async def asked(name: str) -> Answer:
    """Return what the sink, a function, answers to an event."""
    async with resources() as open_resources:
        sink = await open_resources.sink(described(name), TIMED)
        return await sink.attempt(make_event("1"))


# --- manifests -----------------------------------------------------------------------------


def test_a_trigger_leads_to_the_sink_that_it_refers_to(tmp_path: Path) -> None:
    token = "  token: {secretKeyRef: {name: books, key: token}}\n---\napiVersion: eventing"
    text = MESH.replace("---\napiVersion: eventing", token)

    (trigger,) = load([written(tmp_path, text)]).desired.triggers.values()

    sink = trigger.subscriber.sink
    assert sink is not None
    assert (trigger.subscriber.url, sink.at) == ("sink://default/ledger", f"{PLUGIN}:Ledger")
    assert isinstance(sink.spec, LedgerSpec)
    assert sink.spec.token is not None
    assert sink.spec.token.get_secret_value() == "swordfish"
    assert trigger.delivery.dead_letter == trigger.subscriber
    assert "swordfish" not in repr(trigger)


def test_a_resolved_reference_goes_where_it_is_told(tmp_path: Path) -> None:
    resolve = {"Sink/default/ledger": "http://127.0.0.1:9/"}

    (trigger,) = load([written(tmp_path, MESH)], resolve=resolve).desired.triggers.values()

    assert trigger.subscriber == Target(url="http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("before", "after", "problems"),
    [
        (
            "  book: orders",
            "  boook: orders",
            [
                "15: Sink default/ledger: spec.boook: unknown field (did you mean 'book'?)",
                "13: Sink default/ledger: spec.book: is missing",
            ],
        ),
        (
            f"  class: {PLUGIN}:Ledger",
            f"  class: {PLUGIN}:LedgerSpec",
            [
                (
                    f"14: Sink default/ledger: spec.class: {PLUGIN}:LedgerSpec is neither a class "
                    "with `async def attempt(self, event)` nor an `async def` that takes `event`"
                )
            ],
        ),
        (
            "kind: Sink, name: ledger}\n  delivery",
            "kind: Sink, name: leger}\n  delivery",
            [
                (
                    "23: Trigger default/audit: spec.subscriber.ref: no Sink default/leger in "
                    "these files (did you mean 'Sink default/ledger'?)"
                )
            ],
        ),
        (
            "ref: {apiVersion: cemesh.dev/v1alpha1, kind: Sink, name: ledger}\n  delivery",
            "ref: {apiVersion: cemesh.dev/v1, kind: Sink, name: ledger}\n    uri: /a\n  delivery",
            [
                (
                    "23: Trigger default/audit: spec.subscriber.ref.apiVersion: a Sink is of "
                    "cemesh.dev/v1alpha1"
                ),
                (
                    "24: Trigger default/audit: spec.subscriber.uri: means nothing to a Sink, "
                    "which says all of it itself"
                ),
            ],
        ),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(
    tmp_path: Path, before: str, after: str, problems: list[str]
) -> None:
    assert before in MESH

    assert sorted(refused(tmp_path, MESH.replace(before, after, 1))) == sorted(problems)


def test_a_sink_that_nothing_leads_to_is_read_all_the_same(tmp_path: Path) -> None:
    text = MESH + "---\napiVersion: cemesh.dev/v1alpha1\nkind: Sink\nmetadata: {name: other}\n"

    assert refused(tmp_path, text) == [
        (
            "28: Sink default/other: spec.class: is missing: module:Name, of a class or a "
            "coroutine function"
        )
    ]


# --- attempts ------------------------------------------------------------------------------


async def test_one_sink_is_made_for_an_object_and_left_in_the_end() -> None:
    Ledger.made.clear()
    orders = LedgerSpec(book="orders", pages=["a"])
    async with resources() as open_resources:
        first = await open_resources.sink(described("Ledger", orders), TIMED)
        second = await open_resources.sink(described("Ledger", orders.model_copy()), TIMED)
        other = await open_resources.sink(described("Ledger", LedgerSpec(book="b")), TIMED)
        answers = [
            await sink.attempt(make_event(number)) for sink, number in ((first, "1"), (second, "2"))
        ]
        await other.attempt(make_event("3"))
        bad = await first.attempt(make_event("bad"))
        one, two = Ledger.made
        assert (one.entered, one.left) == (1, 0)

    assert answers == [Accepted(note="entered"), Accepted(note="entered")]
    assert bad == Refused(reason="no entry", permanent=True)
    assert (one.name, one.taken, two.taken) == ("Sink default/it", ["1", "2"], ["3"])
    assert (one.entered, one.left, two.left) == (1, 1, 1)


async def test_a_sink_that_nothing_uses_any_more_is_left_and_made_anew_when_it_is() -> None:
    Ledger.made.clear()
    orders, others = (described("Ledger", LedgerSpec(book=name)) for name in ("orders", "others"))
    assert orders.sink is not None
    async with resources() as open_resources:
        for each in (orders, others):
            await open_resources.sink(each, TIMED)
        await open_resources.leave_sinks_but([orders.sink])
        assert [each.left for each in Ledger.made] == [0, 1]
        await open_resources.sink(others, TIMED)
        assert [each.entered for each in Ledger.made] == [1, 1, 1]

    assert [each.left for each in Ledger.made] == [1, 1, 1]


async def test_a_function_accepts_by_returning_and_may_reply() -> None:
    replied = await asked("reply")

    assert await asked("print_it") == Accepted()
    assert isinstance(replied, Accepted)
    assert replied.reply is not None
    assert replied.reply.type == "reply"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "Sink default/it: ValueError: no such book"),
        ("slow", "Sink default/it did not take it within 0.1 s"),
        ("odd", "Sink default/it answered a int, which is no answer"),
    ],
)
async def test_what_goes_wrong_is_a_refusal_that_is_tried_again(name: str, reason: str) -> None:
    answer = await asked(name)

    assert answer == Refused(reason=reason)
    assert isinstance(answer, Refused)
    assert not answer.permanent
