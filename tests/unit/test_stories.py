"""The stories of events: what is noted comes back, and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.observe.stories.journal import Journal
from broker.observe.stories.telling import stories_of_triggers
from broker.ports import (
    Accepted,
    Arrival,
    Buried,
    Claim,
    Deferred,
    Origin,
    Outcome,
    Refused,
    Settled,
    Verdict,
)
from broker.ports.stories import (
    AcceptedEntry,
    AttemptEntry,
    DecisionEntry,
)
from tests.unit.stories import (
    BROKER,
    SENDER,
    TRIGGER,
    WHY,
    accept,
    claim,
    event,
    keeping,
    only,
)
from tests.watching import attempt

# --- what is noted comes back -------------------------------------------------------------------


async def test_what_came_in_is_found_by_its_id_with_who_sent_it(kept: Journal) -> None:
    before = datetime.now(UTC)
    accept(kept, event("1"), event("2"))

    entry = await only(kept, "2")

    assert before - timedelta(seconds=1) <= entry.at <= datetime.now(UTC)
    assert entry == AcceptedEntry(
        at=entry.at, source="/shop", id="2", type="order.placed", broker=BROKER, origin=SENDER
    )


async def test_a_reply_is_found_with_what_it_is_to(kept: Journal) -> None:
    origin = Origin("reply", TRIGGER, cause=("/shop", "7"))
    accept(kept, event(), origin=origin)

    entry = await only(kept)

    assert isinstance(entry, AcceptedEntry)
    assert entry.origin == origin


@pytest.mark.parametrize("good", [Accepted(status=204), Accepted(status=204, note="odd")])
async def test_answers_that_are_alike_are_told_apart_where_they_are_not(
    kept: Journal, good: Accepted
) -> None:
    trace = attempt(TRIGGER, event=event("1"), answer=good)._replace(trace="00-1")
    answers = [Accepted(status=200), good, good, replace(good, body=b"x"), Accepted(status=200)]
    kept.recorder.attempted(trace)
    for answer in answers:
        kept.recorder.attempted(attempt(TRIGGER, event=event("1"), answer=answer))

    found = [each for each in await kept.of(["1"]) if isinstance(each, AttemptEntry)]

    assert sorted(
        (each.status, each.reason, each.body, each.trace) for each in found[1:]
    ) == sorted((each.status, each.note, each.body, None) for each in answers)
    assert (found[0].status, found[0].trace) == (204, "00-1")


async def test_of_what_others_say_so_much_is_kept_as_does_no_harm(kept: Journal) -> None:
    long = [(b"x-one", b"1"), (b"x-long", b"x" * 5_000)]
    answer = Refused(reason="r" * 5_000, status=500, headers=long)
    longer = replace(answer, headers=long[1:])
    kept.recorder.attempted(attempt(TRIGGER, Verdict.RETRY, event=event("2"), answer=longer))
    kept.recorder.attempted(attempt(TRIGGER, Verdict.RETRY, event=event(), answer=answer))
    kept.recorder.decided(TRIGGER, claim(event()), Buried(why=replace(WHY, reason="w" * 5_000)))

    tried, buried = await kept.of(["1"])

    assert isinstance(tried, AttemptEntry)
    assert isinstance(buried, DecisionEntry)
    assert tried.headers == [("x-one", "1")]
    assert (tried.reason, buried.reason) == ("r" * 1_024, "w" * 1_024)
    other = await only(kept, "2")
    assert isinstance(other, AttemptEntry)
    assert other.headers == []


async def test_what_traces_know_of_an_origin_is_no_matter_of_stories(kept: Journal) -> None:
    accept(kept, event(), origin=SENDER._replace(arrival=Arrival(0.0, [None], None)))

    entry = await only(kept)

    assert isinstance(entry, AcceptedEntry)
    assert entry.origin == SENDER


async def test_an_attempt_is_found_with_its_answer(kept: Journal) -> None:
    answer = Refused(
        reason="503 Service Unavailable",
        status=503,
        headers=[(b"retry-after", b"5"), (b"x-empty", b""), (b"set-cookie", b"s3cret")],
        body=b"\xff" * 2_000,
    )
    made = attempt(TRIGGER, Verdict.RETRY, 0.25, event=event(), answer=answer)
    made = made._replace(
        destination="http://user:s3cret@mail.test/?key=s3cret", number=2, trace="00-1"
    )

    kept.recorder.attempted(made)

    entry = await only(kept)
    assert entry == AttemptEntry(
        at=entry.at,
        source="/shop",
        id="1",
        type="order.placed",
        accepted_at=entry.accepted_at if isinstance(entry, AttemptEntry) else entry.at,
        trigger=TRIGGER,
        to="subscriber",
        destination="http://mail.test/?…",
        number=2,
        seconds=0.25,
        verdict="retry",
        status=503,
        headers=[("retry-after", "5"), ("x-empty", ""), ("set-cookie", "***")],
        body=b"\xff" * 1_024,
        reason="503 Service Unavailable",
        reply=None,
        untried=False,
        trace="00-1",
    )
    assert abs(entry.at.timestamp() - made.began) < 0.001
    assert abs(entry.accepted_at - made.accepted_at) < timedelta(milliseconds=1)


async def test_an_attempt_that_was_replied_to_is_found_with_the_reply(kept: Journal) -> None:
    answer = Accepted(reply=event("r", source="/mail"), status=200)
    kept.recorder.attempted(attempt(TRIGGER, event=event(), answer=answer))

    entry = await only(kept)

    assert isinstance(entry, AttemptEntry)
    assert (entry.reply, entry.status, entry.reason) == (("/mail", "r"), 200, None)


async def test_the_payload_of_an_event_is_nowhere_in_what_is_kept(tmp_path: Path) -> None:
    async with Journal(keeping(tmp_path)) as journal:
        accept(journal, event())
        journal.recorder.attempted(attempt(TRIGGER, event=event()))
        await journal.of(["1"])

    stored = (tmp_path / "stories-0.db").read_bytes()
    assert b"order.placed" in stored
    assert b"p4yl0ad" not in stored


CONDEMNED = replace(WHY, attempts=3)
STEPS = [
    (claim(event()), Deferred(delay=timedelta(seconds=60), attempts=1, condemned=None), "waits", 1),
    (
        claim(event()),
        Deferred(delay=timedelta(seconds=60), attempts=1, condemned=WHY),
        "waits",
        1,
    ),
    (claim(event()), Deferred(delay=timedelta(seconds=1), attempts=0, condemned=WHY), "parked", 3),
    (
        claim(event(), condemned=WHY),
        Deferred(delay=timedelta(0), attempts=0, condemned=None),
        "retried",
        0,
    ),
    (claim(event()), Buried(why=WHY), "buried", 3),
    (claim(event()), Settled(outcome=Outcome.DEAD_LETTERED, why=WHY), "dead-lettered", 3),
]


@pytest.mark.parametrize(("held", "step", "became", "attempts"), STEPS)
async def test_what_becomes_of_a_claim_is_found(
    kept: Journal, held: Claim, step: Deferred | Buried | Settled, became: str, attempts: int
) -> None:
    kept.recorder.decided(TRIGGER, held, step)

    entry = await only(kept)

    assert isinstance(entry, DecisionEntry)
    assert (entry.trigger, entry.became, entry.attempts) == (TRIGGER, became, attempts)
    if became == "waits":
        assert isinstance(step, Deferred)
        assert entry.until == entry.at + step.delay
    else:
        assert entry.until is None


async def test_neither_a_delivery_nor_one_more_look_at_what_is_parked_is_noted_again(
    kept: Journal,
) -> None:
    still = Deferred(delay=timedelta(seconds=1), attempts=0, condemned=WHY)

    kept.recorder.decided(TRIGGER, claim(event()), Settled(outcome=Outcome.DELIVERED))
    kept.recorder.decided(TRIGGER, claim(event(), condemned=WHY), still)

    assert await kept.of(["1"]) == []


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(names, names, names), min_size=1, max_size=30))
def test_any_events_come_back_as_they_were(identities: Sequence[tuple[str, str, str]]) -> None:
    async def come_and_go() -> None:
        events = [event(name, source=source, type=of) for name, source, of in identities]
        async with Journal(keeping()) as journal:
            accept(journal, *events)
            found = await journal.of([each.id for each in events])
        came = sorted((each.source, each.id, each.type) for each in events)
        assert sorted((each.source, each.id, each.type) for each in found) == came

    asyncio.run(come_and_go())


# --- telling ----------------------------------------------------------------------------------


async def test_a_trigger_comes_out_as_its_last_entries_tell(kept: Journal) -> None:
    each = event()
    now = datetime.now(UTC).timestamp()
    refused = Refused(reason="503 Service Unavailable", status=503)

    async def story() -> tuple[object, ...]:
        told = stories_of_triggers(await kept.of(["1"]))[TRIGGER]
        return told.outcome, told.attempts, told.reason

    tried = attempt(TRIGGER, Verdict.RETRY, event=each, answer=refused)
    kept.recorder.attempted(tried._replace(began=now - 9))
    assert await story() == (None, 1, "503 Service Unavailable")

    later = Deferred(delay=timedelta(seconds=60), attempts=1, condemned=None)
    kept.recorder.decided(TRIGGER, claim(each), later)
    assert await story() == ("waiting", 1, "503 Service Unavailable")

    kept.recorder.decided(TRIGGER, claim(each, attempts=1), Buried(why=WHY))
    assert await story() == ("dead-lettered", 1, "503 Service Unavailable")

    accept(kept, each, origin=Origin("redrive", TRIGGER))
    assert await story() == ("waiting", 0, None)

    kept.recorder.attempted(attempt(TRIGGER, event=each)._replace(began=now + 1))
    assert await story() == ("delivered", 1, None)
