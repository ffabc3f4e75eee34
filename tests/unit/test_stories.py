"""The stories of events: noted, stored in blocks, found again, and told."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import CemeshError
from broker.event import Event
from broker.observe.stories import journal, reading
from broker.observe.stories.choosing import matches
from broker.observe.stories.journal import Journal, Keeping
from broker.observe.stories.recorder import Recorder
from broker.observe.stories.rows import Rows
from broker.observe.stories.telling import by_event, stories_of_triggers
from broker.observe.stories.writing import Writing
from broker.ports import (
    Accepted,
    Arrival,
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
from broker.ports.stories import (
    AcceptedEntry,
    AttemptEntry,
    Became,
    DecisionEntry,
    Entry,
    Found,
    FoundPage,
    Wanted,
)
from tests.watching import attempt

BROKER, TRIGGER = "shop/default", "shop/mail"
SENDER = Origin("request", "shop at 127.0.0.1")
WHY = Refusal(
    destination="http://mail.test/",
    reason="503 Service Unavailable",
    status=503,
    body=b"",
    attempts=3,
)
BECAME: Sequence[Became] = ("waits", "parked", "retried", "dead-lettered", "buried")
AGES, ROOM = timedelta(days=7), 1 << 20
LATELY = float(int(datetime.now(UTC).timestamp())) - 1_000


def event(id: str = "1", *, source: str = "/shop", type: str = "order.placed") -> Event:
    return Event({"specversion": "1.0", "id": id, "source": source, "type": type}, b"p4yl0ad")


def claim(of: Event, *, attempts: int = 0, condemned: Refusal | None = None) -> Claim:
    return Claim(
        event=of,
        attempts=attempts,
        condemned=condemned,
        accepted_at=datetime.now(UTC),
        position=None,
    )


def keeping(folder: Path | None = None, *, sample: float = 1.0, size: int = ROOM) -> Keeping:
    return Keeping(folder=folder, age=AGES, size=size, sample=sample)


@pytest.fixture
async def kept() -> AsyncIterator[Journal]:
    async with Journal(keeping()) as opened:
        yield opened


def accept(journal: Journal, *events: Event, origin: Origin = SENDER) -> None:
    journal.recorder.accepted(BROKER, events, origin, None)


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("stories-*.db"))


async def only(journal: Journal, id: str = "1") -> Entry:
    [entry] = await journal.of([id])
    return entry


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


# --- searching --------------------------------------------------------------------------------


async def found(journal: Journal, wanted: Wanted, limit: int = 100) -> list[str]:
    page = await journal.search(wanted, limit=limit)
    assert page.reached is None
    return [each.id for each in page.found]


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


def noted(journal: Journal, id: str, at: float) -> None:
    """Note an attempt that began then, in a block of its own."""
    journal.recorder.attempted(attempt(TRIGGER, event=event(id))._replace(began=at))
    journal.recorder.flush()


async def pages(journal: Journal, wanted: Wanted, limit: int) -> list[list[str]]:
    """Return the ids of every page."""
    ids = []
    while True:
        page: FoundPage = await journal.search(wanted, limit=limit)
        ids.append([each.id for each in page.found])
        if page.reached is None:
            return ids
        wanted = replace(wanted, before=page.reached)


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


# --- bounds, samples, faults ------------------------------------------------------------------


async def test_the_oldest_are_gone_where_there_is_no_more_room() -> None:
    async with Journal(keeping(size=20_000)) as journal:
        for number in range(400):
            accept(journal, event(str(number), source="/a/source/of/a/hundred/bytes" * 4))
            await journal.of([])
        ids = await found(journal, Wanted())
        size = await journal._do(lambda: journal_size(journal))

    assert ids[0] == "399"
    assert ids == [str(number) for number in range(399, 399 - len(ids), -1)]
    assert 10_000 < size <= 20_000


def journal_size(opened: Journal) -> int:
    return journal._size_of(opened._opened)


async def test_what_is_too_old_is_gone() -> None:
    async with Journal(replace(keeping(), age=timedelta(hours=1))) as kept:
        noted(kept, "old", datetime.now(UTC).timestamp() - 7_200)
        noted(kept, "new", datetime.now(UTC).timestamp())

        assert await found(kept, Wanted()) == ["new"]


async def test_of_a_sample_all_is_kept_and_of_others_what_went_wrong() -> None:
    async with Journal(keeping(sample=0.5)) as kept:
        for number in range(200):
            each = event(str(number))
            accept(kept, each)
            kept.recorder.attempted(attempt(TRIGGER, event=each))
            kept.recorder.attempted(attempt("shop/audit", Verdict.RETRY, event=each))
        entries = by_event(await kept.of([str(number) for number in range(200)]))

    told = [len(each) for each in entries.values()]
    assert set(told) == {1, 3}
    assert 50 < told.count(3) < 150


async def test_a_file_is_gone_on_with_and_processes_have_one_each(tmp_path: Path) -> None:
    async with Journal(keeping(tmp_path)) as first, Journal(keeping(tmp_path)) as second:
        accept(first, event("1"))
        accept(second, event("2"))
        assert await found(first, Wanted()) == ["1"]
        assert await found(second, Wanted()) == ["2"]

    async with Journal(keeping(tmp_path)) as again:
        assert await found(again, Wanted()) == ["1"]
    assert files(tmp_path) == ["stories-0.db", "stories-1.db"]


KILLED = """
import asyncio, os, signal, sys
sys.path.insert(0, os.getcwd())
from pathlib import Path
from tests.unit.test_stories import Journal, accept, event, keeping

async def main():
    async with Journal(keeping(Path(sys.argv[1]))) as journal:
        for number in range(100):
            accept(journal, event(str(number)))
        await journal.of(["1"])
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_its_stories_and_its_file(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)  # noqa: ASYNC221 - nothing else is to be done
    assert killed.returncode == -signal.SIGKILL

    async with Journal(keeping(tmp_path)) as journal:
        assert len(await found(journal, Wanted())) == 100
    assert files(tmp_path) == ["stories-0.db"]


@pytest.mark.parametrize("damage", ["no database", "another program's"])
async def test_a_file_that_cannot_be_read_is_put_aside(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stories-0.db"
    if damage == "no database":
        path.write_bytes(b"no database" * 1_000)
    else:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (a)")
        other.close()
    before = path.read_bytes()

    async with Journal(keeping(tmp_path)) as journal:
        accept(journal, event())
        assert await found(journal, Wanted()) == ["1"]

    assert (tmp_path / "stories-0.damaged").read_bytes()[:1_000] == before[:1_000]
    assert "stories begun anew" in caplog.text


async def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CemeshError, match="name another folder with --stories-dir"):
        async with Journal(keeping(tmp_path / "file" / "folder")):
            pass


async def test_a_disk_that_fails_costs_stories_and_is_told_once(
    kept: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as failing:
        failing.setattr(Journal, "_trim", full)
        for number in range(3):
            accept(kept, event(str(number)))
            await kept.of(["0"])
    accept(kept, event("after"))

    assert await found(kept, Wanted()) == ["after"]
    [line] = [each for each in caplog.records if each.getMessage() == "stories not kept"]
    assert vars(line)["why"] == "database or disk is full"


async def test_a_disk_that_does_not_keep_up_costs_stories_and_no_memory(
    kept: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_PENDING", 2)
    for number in range(10):
        accept(kept, event(str(number)))
        kept.recorder.flush()

    assert await found(kept, Wanted()) == ["1", "0"]
    assert "the disk does not keep up" in str([vars(each) for each in caplog.records])


async def test_what_is_noted_is_stored_without_being_asked_for(tmp_path: Path) -> None:
    async with Journal(keeping(tmp_path)) as opened:
        accept(opened, event())
        async with asyncio.timeout(10):
            while not await opened._do(lambda: journal_size(opened)):
                await asyncio.sleep(0.01)


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
