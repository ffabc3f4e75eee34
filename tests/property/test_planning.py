"""A plan counts just what asking every filter about every event counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.planning import Comparison, Example, Subscribed, TriggerPlan, pairs
from broker.event import Event
from broker.filters import Filter
from broker.manifest.filters import of_spec, spec_of
from broker.ports import Stored
from tests.property.filters import VALUES, filters

BROKER, OTHER = "default/default", "default/other"

Triggers = Mapping[str, Subscribed]

triggers = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(Subscribed, broker=st.sampled_from((BROKER, OTHER)), filter=filters),
)
attributes = st.fixed_dictionaries(
    {"type": st.sampled_from(VALUES), "source": st.sampled_from(VALUES)},
    optional={"subject": st.sampled_from(VALUES), "count": st.sampled_from(VALUES)},
)


@given(
    now=triggers,
    changed=triggers,
    kept=st.sets(st.sampled_from("abcd")),
    history=st.lists(attributes, max_size=15),
    limit=st.integers(0, 4),
)
def test_a_plan_counts_what_asking_every_filter_counts(
    now: Triggers,
    changed: Triggers,
    kept: set[str],
    history: list[dict[str, str]],
    limit: int,
) -> None:
    proposed = {**{name: now[name] for name in kept & now.keys()}, **changed}
    events = [stored(number, each) for number, each in enumerate(history)]

    compared = Comparison(pairs(BROKER, now, proposed), examples=limit)
    for each in events:
        compared.take(each)
    plans = {each.name: each for each in compared.result()}

    assert plans.keys() == {
        name for one in (now, proposed) for name, each in one.items() if each.broker == BROKER
    }
    for name, plan in plans.items():
        had, gets = got(now.get(name), events), got(proposed.get(name), events)
        assert counts(plan) == (len(had), len(gets), len(gets - had), len(had - gets))
        check_examples(plan.gained, gets - had, events, limit)
        check_examples(plan.lost, had - gets, events, limit)
        assert not any(each.clauses for each in plan.gained)
        assert all(bool(each.clauses) is (plan.change == "filter") for each in plan.lost)


@given(filter=filters, event=attributes)
def test_a_filter_comes_over_the_admin_api_as_it_is(filter: Filter, event: dict[str, str]) -> None:
    sent = msgspec.json.encode(spec_of(filter))

    read = of_spec(msgspec.json.decode(sent))

    assert spec_of(read) == spec_of(filter)
    assert of_spec(spec_of(read)) == read
    assert read.matches(event) is filter.matches(event)


def stored(number: int, attributes: dict[str, str]) -> Stored:
    event = Event({**attributes, "id": str(number)})
    at = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=number)
    return Stored(position=str(number), at=at, event=event)


def got(trigger: Subscribed | None, events: Sequence[Stored]) -> set[str]:
    if trigger is None or trigger.broker != BROKER:
        return set()
    return {each.position for each in events if trigger.filter.matches(each.event.attributes)}


def counts(plan: TriggerPlan) -> tuple[int, int, int, int]:
    return plan.now, plan.proposed, plan.more, plan.fewer


def check_examples(
    examples: Sequence[Example], of: set[str], events: Sequence[Stored], limit: int
) -> None:
    """Fail unless these are as many as may be, in order, and of as many types as can be."""
    shown = [each.stored.position for each in examples]
    assert set(shown) <= of
    assert len(set(shown)) == len(shown) == min(limit, len(of))
    assert shown == sorted(shown, key=int)
    types = {each.event.type for each in events if each.position in of}
    assert len({each.stored.event.type for each in examples}) == min(limit, len(types))
