"""Stories are searched, the latest first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.observe.stories import reading
from broker.observe.stories.choosing import matches
from broker.observe.stories.journal import Journal
from broker.observe.stories.recorder import Recorder
from broker.observe.stories.rows import Rows
from broker.observe.stories.writing import Writing
from broker.ports import (
    Buried,
    Deferred,
    Verdict,
)
from broker.ports.stories import (
    Found,
    Wanted,
)
from tests.unit.stories import (
    BECAME,
    BROKER,
    LATELY,
    SENDER,
    TRIGGER,
    WHY,
    accept,
    claim,
    event,
    found,
    keeping,
    noted,
    only,
    pages,
)
from tests.watching import attempt


async def test_events_are_found_by_what_they_are_and_what_became_of_them(kept: Journal) -> None:
    accept(kept, event("sent"))
    accept(kept, event("other", source="/other", type="other"))
    kept.recorder.attempted(attempt(TRIGGER, event=event("sent")))
    kept.recorder.attempted(attempt("shop/audit", Verdict.RETRY, event=event("late")))
    later = Deferred(delay=timedelta(seconds=60), attempts=1, condemned=None)
    kept.recorder.decided("shop/audit", claim(event("late")), later)
    kept.recorder.decided("shop/audit", claim(event("dead")), Buried(why=WHY))
    kept.recorder.decided(
        "shop/audit",
        claim(event("parked")),
        Deferred(delay=timedelta(seconds=1), attempts=0, condemned=WHY),
    )

    assert set(await found(kept, Wanted())) == {"sent", "other", "late", "dead", "parked"}
    assert await found(kept, Wanted(source="/other")) == ["other"]
    assert await found(kept, Wanted(type="other")) == ["other"]
    assert await found(kept, Wanted(id="dead")) == ["dead"]
    assert await found(kept, Wanted(outcome="delivered")) == ["sent"]
    assert await found(kept, Wanted(outcome="waiting")) == ["late"]
    assert await found(kept, Wanted(outcome="parked")) == ["parked"]
    assert await found(kept, Wanted(outcome="dead-lettered")) == ["dead"]
    assert await found(kept, Wanted(triggers=[TRIGGER])) == ["sent"]
    assert set(await found(kept, Wanted(broker=BROKER, triggers=[]))) == {"sent", "other"}
    assert await found(kept, Wanted(broker="shop/another", triggers=[])) == []


async def test_events_are_found_by_when_they_were_noted(kept: Journal) -> None:
    began = datetime.now(UTC)
    accept(kept, event("1"))
    at = (await only(kept, "1")).at

    assert await found(kept, Wanted(since=at)) == ["1"]
    assert await found(kept, Wanted(since=at + timedelta(microseconds=1))) == []
    assert await found(kept, Wanted(before=at + timedelta(microseconds=1))) == ["1"]
    assert await found(kept, Wanted(before=at)) == []
    assert at >= began - timedelta(seconds=1)


async def test_the_last_is_found_first_whatever_order_it_was_noted_in(kept: Journal) -> None:
    for at in (3, 1, 4, 2, 5):
        noted(kept, str(at), LATELY + at)

    assert await pages(kept, Wanted(), 2) == [["5", "4"], ["3", "2"], ["1"]]


async def test_a_page_does_not_end_within_one_moment(kept: Journal) -> None:
    for name in ("a", "b", "c"):
        noted(kept, name, LATELY)
    noted(kept, "later", LATELY + 1)

    assert [sorted(page) for page in await pages(kept, Wanted(), 2)] == [
        ["a", "b", "c", "later"],
        [],
    ]


async def test_a_search_looks_at_so_many_blocks_and_says_how_far_it_came(
    kept: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_LOOKED_AT", 2)
    for at in range(7):
        noted(kept, str(at), LATELY + at)

    ids = await pages(kept, Wanted(triggers=[TRIGGER]), 100)

    assert [each for page in ids for each in page] == ["6", "5", "4", "3", "2", "1", "0"]
    assert max(map(len, ids)) == 2


@given(
    times=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    limit=st.integers(1, 10),
    bunch=st.integers(1, 5),
)
def test_pages_leave_nothing_out_and_go_back_in_time(
    times: Sequence[int], limit: int, bunch: int
) -> None:
    async def search() -> list[list[str]]:
        async with Journal(keeping()) as journal:
            for number, at in enumerate(times):
                made = attempt(TRIGGER, event=event(str(number)))._replace(began=LATELY + at)
                journal.recorder.attempted(made)
                if number % bunch == 0:
                    await journal.of([])
            return await pages(journal, Wanted(), limit)

    found = [each for page in asyncio.run(search()) for each in page]

    assert sorted(found, key=int) == [str(number) for number in range(len(times))]
    assert [times[int(each)] for each in found] == sorted(times, reverse=True)


few = st.sampled_from(["a", "b", "c"])
moments = st.integers(0, 3).map(lambda seconds: datetime.fromtimestamp(LATELY + seconds, UTC))
wanteds = st.builds(
    Wanted,
    id=st.none() | few,
    source=st.none() | few,
    type=st.none() | few,
    broker=st.none() | few,
    triggers=st.none() | st.lists(few, unique=True, max_size=3),
    outcome=st.sampled_from([None, "delivered", "waiting", "parked", "dead-lettered"]),
    since=st.none() | moments,
    before=st.none() | moments,
)
entries = st.lists(
    st.tuples(st.integers(0, 9), few, few, few, few, st.integers(0, 3)), min_size=1, max_size=20
)


async def written(made: Sequence[tuple[int, str, str, str, str, int]]) -> Writing:
    """Return a block of these entries, by their kinds."""
    blocks: list[Writing] = []
    recorder = Recorder(blocks.append)
    for kind, number, source, of, name, seconds in made:
        each, at = event(number, source=source, type=of), LATELY + seconds
        if kind == 0:
            with pytest.MonkeyPatch.context() as then:
                then.setattr(time, "time", lambda at=at: at)
                recorder.accepted(name, [each], SENDER, None)
        elif kind <= 4:
            verdict = (*Verdict, Verdict.DELIVERED)[kind - 1]
            tried = attempt(name, verdict, event=each)._replace(began=at)
            recorder.attempted(tried._replace(to="dead-letter sink") if kind == 4 else tried)
        else:
            became = BECAME[kind - 5]
            recorder._writing.decision(at, each, name, became, delay=None, attempts=1, reason=None)
    recorder.flush()
    [block] = blocks
    return block


@given(entries, wanteds)
def test_what_is_found_by_rows_is_what_entries_say(
    made: Sequence[tuple[int, str, str, str, str, int]], wanted: Wanted
) -> None:
    block = asyncio.run(written(made)).block()
    assert block is not None
    rows = Rows(block.names, block.rows)

    expected = [
        Found(at=entry.at, source=entry.source, id=entry.id)
        for entry in rows.of({"a", "b", "c"})
        if matches(entry, wanted)
    ]
    assert list(rows.found(wanted)) == expected
