"""What is known of a broker's triggers on RabbitMQ, entry by entry; and where reading begins."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from broker.channels.rabbitmq.author import Author
from broker.channels.rabbitmq.entries import Counts, Entry, Held, Place, Summary, decode, encode
from broker.channels.rabbitmq.ledger import Ledger, Sums
from broker.channels.rabbitmq.replay import SUMMED_UP_EVERY, Replay
from broker.ports import Pause, Refusal

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOW = 20_000 * DAY
THEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WHY = Refusal(destination="http://x/", reason="no", status=503, body=b"\xff", attempts=4)


def ledger_of(*entries: Entry) -> Ledger:
    ledger = Ledger()
    for entry in entries:
        ledger.apply(entry)
    return ledger


def entry(process: str, number: int = 1, *, at: int = NOW, **told: object) -> Entry:
    """Return an entry of a process that is known to be new."""
    bare = Entry(process=process, number=number, at=at, melted={})
    return msgspec.structs.replace(bare, **told)


def sums(ledger: Ledger, trigger: str = "a", *, alive_since: int = NOW, but: str = "") -> Sums:
    return ledger.sums(trigger, now=NOW, alive_since=alive_since, but=but)


def after_a_summary(ledger: Ledger, *, at: int = NOW, number: int = 1) -> Ledger:
    """Return what one knows who goes on with a summary that a new process has stored."""
    summary = ledger.summary(0, at=at)
    again = Ledger.from_summary(summary.contents)
    again.apply(entry("steward", number, at=at, summary=summary))
    return again


# --- counts --------------------------------------------------------------------------------


def test_the_latest_counts_of_all_processes_are_added_up() -> None:
    ledger = ledger_of(
        entry("p", 1, counts={"a": Counts(1, 1, 5, 3), "b": Counts(9, 9, 18, 0)}),
        entry("q", 1, counts={"a": Counts(10, 20, 31, 1)}),
        entry("p", 2, counts={"a": Counts(3, 1, 6, 2)}),
    )

    assert sums(ledger) == Sums(delivered=13, dead_lettered=21, matched=37, in_hand=3)
    assert sums(ledger, "b") == Sums(delivered=9, dead_lettered=9, matched=18)
    assert sums(ledger, "c") == Sums()


def test_the_process_that_asks_is_left_out() -> None:
    told = {"a": Counts(1, 2, 4, 1)}
    ledger = ledger_of(
        entry("p", counts=told, waits={"a": [(NOW + 1, 1)]}), entry("q", counts=told)
    )

    assert sums(ledger, but="p") == Sums(delivered=1, dead_lettered=2, matched=4, in_hand=1)


@pytest.mark.parametrize(
    "last", [entry("p", 2, at=NOW - 1), entry("p", 2, at=NOW, ended=True)], ids=["silent", "ended"]
)
def test_what_a_process_had_in_hand_counts_no_more_when_it_is_gone(last: Entry) -> None:
    ledger = ledger_of(entry("p", at=NOW - 1, counts={"a": Counts(3, 1, 6, 2)}))
    assert sums(ledger, alive_since=NOW - 1).in_hand == 2

    ledger.apply(last)

    assert sums(ledger) == Sums(delivered=3, dead_lettered=1, matched=4, in_hand=0)


def test_what_was_put_off_counts_until_it_is_due_whatever_became_of_its_process() -> None:
    ledger = ledger_of(
        entry("p", 1, at=NOW - HOUR, waits={"a": [(NOW, 100), (NOW + 1, 2)]}),
        entry("p", 2, at=NOW - HOUR, waits={"a": [(NOW + 1, 3), (NOW + DAY, 4)], "b": []}),
        entry("q", 1, ended=True, waits={"a": [(NOW + 2, 5)], "b": [(NOW + 2, 6)]}),
    )

    assert sums(ledger).put_off == 2 + 3 + 4 + 5
    assert sums(ledger, "b").put_off == 6


def test_an_entry_that_comes_behind_a_later_one_of_its_process_is_passed_over() -> None:
    early = entry("p", 1, counts={"a": Counts(1, 0, 1, 0)}, settled={"a": ["s"]})
    late = entry("p", 2, counts={"a": Counts(2, 0, 2, 0)}, places={"a": Place(gone=True)})
    ledger = ledger_of(late)

    ledger.apply(early)

    assert sums(ledger).delivered == 2
    assert not ledger.was_settled("a", "s")


def test_an_entry_that_is_stored_twice_is_counted_once() -> None:
    told = entry("p", 1, waits={"a": [(NOW + 1, 2)]}, held={"a": {"s": Held(attempts=1)}})
    settled = entry("p", 2, settled={"a": ["s"]}, acked=1, waits={"a": [(NOW + 1, 3)]})
    ledger = ledger_of(told, settled)

    ledger.apply(settled)
    ledger.apply(told)
    ledger.apply(entry("p", 3, acked=2))

    assert sums(ledger).put_off == 5
    assert ledger.held("a") == {}
    assert not ledger.was_settled("a", "s")


def test_the_floor_is_the_lowest_that_a_process_stands_at() -> None:
    ledger = ledger_of(entry("p", counts={"a": Counts(floor=5), "b": Counts()}))
    assert (ledger.floor("a"), ledger.floor("b"), ledger.floor("c")) == (5, None, None)

    ledger.apply(entry("q", counts={"a": Counts(floor=3)}, ended=True))
    assert ledger.floor("a") == 3

    ledger.apply(entry("q", 2, counts={"a": Counts(floor=7)}))
    assert ledger.floor("a") == 5


def test_where_silent_processes_stood_counts_only_if_no_other_stands_anywhere() -> None:
    ledger = ledger_of(
        entry("p", at=NOW - HOUR, counts={"a": Counts(floor=3)}),
        entry("q", at=NOW - HOUR, counts={"a": Counts(floor=5)}, ended=True),
        entry("r", at=NOW, counts={"b": Counts(floor=1)}),
    )
    assert ledger.floor_since("a", NOW - SECOND) == 5
    assert ledger.floor_since("c", NOW - SECOND) is None

    ledger.apply(entry("s", at=NOW, counts={"a": Counts(floor=4)}))
    assert ledger.floor_since("a", NOW - SECOND) == 4
    assert ledger.floor_since("a", NOW - HOUR) == 3


def test_what_others_have_in_hand_is_known_while_they_are_heard_of() -> None:
    ledger = ledger_of(
        entry("p", at=NOW, counts={"a": Counts(in_hand=2), "b": Counts()}),
        entry("q", at=NOW - HOUR, counts={"b": Counts(in_hand=1)}),
        entry("r", at=NOW, counts={"b": Counts(in_hand=1)}, ended=True),
    )

    assert ledger.is_in_hand("a", alive_since=NOW, but="q")
    assert not ledger.is_in_hand("a", alive_since=NOW, but="p")
    assert not ledger.is_in_hand("b", alive_since=NOW, but="p")
    assert ledger.is_in_hand("b", alive_since=NOW - HOUR, but="p")


def test_the_last_word_on_a_place_holds() -> None:
    gone = Place(gone=True, since=4, settled=["s"])
    back = Place(since=5, queues=["q"], bindings=[{"ce-type": "order"}, {"ce-x": None}])
    ledger = ledger_of(entry("p", places={"a": gone, "b": gone}), entry("q", places={"a": back}))

    assert ledger.triggers() == {"a": back, "b": gone}


def test_the_last_word_on_a_pause_holds() -> None:
    first, last = Pause(why="410 Gone", since=THEN), Pause(why="asked", since=THEN)
    ledger = ledger_of(
        entry("p", pauses={"a": first, "b": first, "c": first}),
        entry("q", pauses={"a": last, "b": None, "never": None}),
    )

    assert ledger.pauses() == {"a": last, "c": first}


# --- stamps --------------------------------------------------------------------------------


def test_a_settled_message_is_known_for_its_trigger_until_its_process_has_acked_it() -> None:
    ledger = ledger_of(
        entry("p", 1, settled={"a": ["s", "t"]}), entry("p", 2, settled={"a": ["u"]})
    )
    assert ledger.was_settled("a", "s")
    assert not ledger.was_settled("b", "s")

    ledger.apply(entry("q", 5, acked=5))
    assert ledger.was_settled("a", "s")

    ledger.apply(entry("p", 3, acked=1))
    assert [ledger.was_settled("a", each) for each in "stu"] == [False, False, True]


def test_what_two_have_settled_is_known_until_both_have_acked_it() -> None:
    ledger = ledger_of(entry("p", settled={"a": ["s"]}), entry("q", settled={"a": ["s"]}))

    ledger.apply(entry("p", 2, acked=1))
    assert ledger.was_settled("a", "s")

    ledger.apply(entry("q", 2, acked=1))
    assert not ledger.was_settled("a", "s")


def test_a_delivery_is_held_as_was_told_last_until_anybody_settles_it() -> None:
    last = Held(attempts=2, condemned=WHY, due=7)
    ledger = ledger_of(
        entry("p", 1, held={"a": {"s": Held(attempts=1), "t": Held(attempts=1)}}),
        entry("q", 1, held={"a": {"s": last}, "b": {"s": last}}),
    )
    assert ledger.held("a") == {"s": last, "t": Held(attempts=1)}
    assert ledger.held("c") == {}

    ledger.apply(entry("p", 2, settled={"a": ["s"]}))

    assert ledger.held("a") == {"t": Held(attempts=1)}
    assert ledger.held("b") == {"s": last}


def test_who_settled_what_is_known_until_its_entry_is_acked() -> None:
    ledger = ledger_of(
        entry("p", 1, settled={"a": ["s", "t"], "b": ["s"]}),
        entry("p", 2, settled={"a": ["u"]}),
        entry("q", 1, settled={"a": ["v"]}),
    )

    assert ledger.settled_by("p", "a") == {"s", "t", "u"}
    assert ledger.settled_by("r", "a") == set()

    ledger.apply(entry("p", 3, acked=1))

    assert ledger.settled_by("p", "a") == {"u"}


def test_what_was_settled_is_not_held_again() -> None:
    ledger = ledger_of(entry("p", settled={"a": ["s"]}))

    ledger.apply(entry("q", held={"a": {"s": Held(attempts=1), "t": Held(attempts=1)}}))

    assert ledger.held("a").keys() == {"t"}


# --- processes that are gone ---------------------------------------------------------------


def is_known(ledger: Ledger, process: str) -> bool:
    return ledger.number(process) > 0


def test_a_process_that_was_silent_for_a_day_melts_and_its_counts_stay() -> None:
    ledger = ledger_of(
        entry("p", at=NOW - DAY, counts={"a": Counts(1, 2, 9, 6)}),
        entry("q", at=NOW - DAY, counts={"a": Counts(10, 0, 10, 0), "b": Counts(1, 0, 1, 0)}),
    )

    ledger = after_a_summary(ledger)

    assert not is_known(ledger, "p")
    assert not is_known(ledger, "q")
    assert sums(ledger, alive_since=0) == Sums(delivered=11, dead_lettered=2, matched=13)
    assert sums(ledger, "b", alive_since=0) == Sums(delivered=1, matched=1)


@pytest.mark.parametrize(
    "last",
    [
        entry("p", 2, at=NOW - DAY + 1),
        entry("p", 2, at=NOW - 7 * DAY + 1, settled={"a": ["s"]}),
        entry("p", 2, at=NOW - DAY, waits={"a": [(NOW + 1, 1)]}),
        entry("p", 2, at=NOW - DAY, counts={"a": Counts(floor=1)}),
    ],
    ids=["heard of", "not acked", "put off", "a floor"],
)
def test_a_process_of_which_something_is_needed_yet_does_not_melt(last: Entry) -> None:
    ledger = after_a_summary(ledger_of(last))

    assert is_known(ledger, "p")


def test_floors_that_another_process_has_told_since_keep_nobody() -> None:
    ledger = ledger_of(
        entry("q", at=NOW, counts={"a": Counts(floor=9)}),
        entry("p", at=NOW - DAY, counts={"a": Counts(floor=5)}),
    )

    assert after_a_summary(ledger).floor("a") == 9


def test_what_a_process_settled_that_crashed_is_forgotten_after_a_week() -> None:
    ledger = ledger_of(entry("p", at=NOW - 7 * DAY, settled={"a": ["s"]}))

    assert not after_a_summary(ledger).was_settled("a", "s")


def test_a_process_that_tells_more_before_the_summary_is_stored_does_not_melt() -> None:
    ledger = ledger_of(entry("p", at=NOW - DAY, counts={"a": Counts(1, 0, 1, 0)}))
    summary = ledger.summary(0, at=NOW)

    ledger.apply(entry("p", 2))
    ledger.apply(entry("steward", summary=summary))

    assert is_known(ledger, "p")
    assert sums(ledger) == Sums(delivered=1, matched=1)


def test_what_a_process_counts_after_it_melted_counts_once_it_tells_what_melted() -> None:
    melted = {"a": Counts(5, 1, 6, 0), "b": Counts(2, 0, 2, 0)}
    ledger = after_a_summary(ledger_of(entry("p", at=NOW - DAY, counts=melted)))
    late = Entry(
        process="p", number=2, at=NOW, counts={"a": Counts(7, 1, 9, 1)}, settled={"a": ["s"]}
    )

    ledger.apply(late)

    assert sums(ledger) == Sums(delivered=5, dead_lettered=1, matched=6)
    assert ledger.counted("p") is None
    assert ledger.was_settled("a", "s")

    told = msgspec.structs.replace(late, number=3, melted=melted)
    ledger.apply(told)
    ledger.apply(msgspec.structs.replace(told, number=4))

    assert sums(ledger) == Sums(delivered=7, dead_lettered=1, matched=9, in_hand=1)
    assert sums(ledger, "b") == Sums(delivered=2, matched=2)
    assert ledger.counted("p") == {**melted, **late.counts}


def test_a_summary_tells_everything() -> None:
    ledger = ledger_of(
        entry(
            "p",
            7,
            counts={"a": Counts(1, 2, 4, 1, 6)},
            settled={"a": ["s"]},
            waits={"a": [(NOW + 1, 2)]},
            held={"a": {"t": Held(attempts=1, condemned=WHY, due=8)}},
            places={"b": Place(gone=True, since=1, settled=["u"])},
            pauses={"c": Pause(why="410 Gone", since=THEN)},
        )
    )

    again = Ledger.from_summary(ledger.summary(0, at=NOW).contents)

    assert sums(again) == sums(ledger)
    assert again.floor("a") == 6
    assert again.was_settled("a", "s")
    assert again.held("a") == ledger.held("a")
    assert again.triggers() == {"b": Place(gone=True, since=1, settled=["u"])}
    assert again.pauses() == {"c": Pause(why="410 Gone", since=THEN)}
    assert again.number("p") == 7
    assert again.counted("p") == {"a": Counts(1, 2, 4, 1, 6)}


def test_what_was_put_off_is_forgotten_when_it_is_long_back() -> None:
    ledger = ledger_of(
        entry("p", 1, waits={"a": [(NOW + 1, 1)]}), entry("q", 1, at=NOW + 9 * 60 * SECOND)
    )
    assert sums(ledger).put_off == 1

    ledger.apply(entry("q", 2, at=NOW + 11 * 60 * SECOND))

    assert sums(ledger).put_off == 0


# --- reading -------------------------------------------------------------------------------


def counted(number: int, delivered: int, *, process: str = "p") -> Entry:
    return entry(process, number, counts={"a": Counts(delivered, 0, delivered, 0)})


def read(replay: Replay, *entries: Entry | None, start: int = 0) -> Replay:
    for offset, each in enumerate(entries, start):
        replay.take(offset, each, 100)
    return replay


def is_whole(replay: Replay) -> bool:
    return replay.is_whole


def lacks_a_summary(replay: Replay) -> bool:
    return replay.lacks_a_summary


def test_a_reader_of_a_stream_that_is_new_or_was_never_cut_knows_everything() -> None:
    new, full = read(Replay(), counted(1, 1)), read(Replay(1), counted(1, 1))

    assert is_whole(new)
    assert is_whole(full)
    assert sums(new.ledger).delivered == sums(full.ledger).delivered == 1


def test_a_reader_begins_with_a_summary_and_what_it_does_not_cover() -> None:
    former = read(Replay(), counted(1, 1), counted(2, 2))
    summary = former.summary(NOW)
    replay = Replay(4, summed=1)

    assert replay.resume() == 0
    read(replay, counted(1, 1), counted(2, 2), counted(3, 3))
    assert not is_whole(replay)
    read(replay, entry("q", summary=summary), start=3)

    assert is_whole(replay)
    assert sums(replay.ledger).delivered == 3
    assert replay.position == 4

    read(former, counted(3, 3), entry("q", summary=summary), start=2)
    assert former.summed == 1


def test_a_summary_is_passed_over_if_what_it_does_not_cover_is_gone() -> None:
    former = read(Replay(), counted(1, 1))
    summary = former.summary(NOW)
    read(former, counted(2, 2), entry("q", 1, summary=summary), start=1)
    later = former.summary(NOW)
    replay = Replay(4)

    read(replay, entry("q", 1, summary=summary), start=2)
    assert not is_whole(replay)

    read(replay, entry("q", 2, summary=later), start=3)
    assert is_whole(replay)
    assert sums(replay.ledger).delivered == 2


def test_a_summary_that_cannot_be_read_is_passed_over() -> None:
    former = read(Replay(), counted(1, 1))
    nonsense = Summary(through=0, contents=msgspec.Raw(msgspec.msgpack.encode("nonsense")))
    replay = Replay(3, summed=0)

    read(replay, counted(1, 1), entry("q", 1, summary=nonsense))
    assert not is_whole(replay)

    read(replay, entry("q", 2, summary=former.summary(NOW)), start=2)
    assert sums(replay.ledger).delivered == 1


def test_a_reader_that_comes_back_goes_on_unless_what_was_next_may_be_gone() -> None:
    former = read(Replay(), counted(1, 1))
    assert former.resume() == 0
    read(former, counted(1, 1), None, counted(2, 2))
    assert former.resume() == 2
    read(former, counted(3, 3), start=3)
    assert is_whole(former)
    assert sums(former.ledger).delivered == 3

    summary = msgspec.structs.replace(former.summary(NOW), through=5)
    former.resume()
    read(former, counted(4, 9), start=5)
    assert not is_whole(former)
    assert sums(former.ledger).delivered == 3

    too_early = msgspec.structs.replace(summary, through=3)
    read(former, counted(5, 10), entry("q", summary=too_early), start=6)
    assert not is_whole(former)

    read(former, entry("q", summary=summary), start=8)
    assert is_whole(former)
    assert sums(former.ledger).delivered == 10


def test_a_stream_that_was_deleted_begins_again_with_what_was_known() -> None:
    former = read(Replay(), counted(1, 1), counted(2, 2))

    former.renew()
    assert lacks_a_summary(former)
    assert former.summed == -1
    beginning = [counted(3, 3), entry("q", summary=former.summary(NOW))]
    former.resume()
    read(former, *beginning)

    assert is_whole(former)
    assert not lacks_a_summary(former)
    newcomer = read(Replay(2, summed=former.summed), *beginning)
    assert is_whole(newcomer)
    assert sums(newcomer.ledger) == sums(former.ledger) == Sums(delivered=3, matched=3)


def test_a_reader_that_knows_nothing_yet_learns_from_a_stream_that_is_made_again() -> None:
    former = read(Replay(), counted(1, 1))
    newcomer = read(Replay(9), counted(7, 7), start=8)

    for each in (former, newcomer):
        each.renew()
    assert not lacks_a_summary(newcomer)
    read(newcomer, entry("q", summary=former.summary(NOW)))

    assert is_whole(newcomer)
    assert sums(newcomer.ledger).delivered == 1


def test_a_summary_is_wanted_for_each_mib_or_as_much_as_the_last_one_took() -> None:
    replay = Replay()
    replay.take(0, counted(1, 1), SUMMED_UP_EVERY - 200)
    assert not lacks_a_summary(replay)
    replay.take(1, None, 1)
    assert lacks_a_summary(replay)

    replay.take(2, entry("q", summary=replay.summary(NOW)), 2 * SUMMED_UP_EVERY)
    assert not lacks_a_summary(replay)
    replay.take(3, counted(2, 2), 2 * SUMMED_UP_EVERY - 200)
    assert not lacks_a_summary(replay)
    replay.take(4, counted(3, 3), 1)
    assert lacks_a_summary(replay)


# --- writing -------------------------------------------------------------------------------


def test_a_process_that_is_known_goes_on_with_the_next_number() -> None:
    ledger = ledger_of(entry("p", 5))

    first = Author("p").sign(Entry(), ledger, at=NOW, summed=3)

    assert first == Entry(process="p", number=6, at=NOW, summed=3)


def test_a_process_that_is_not_known_tells_all_its_counts_and_which_of_them_melted() -> None:
    author, a, b = Author("p"), {"a": Counts(1, 0, 1, 0)}, {"b": Counts(2, 0, 2, 0)}
    begins = author.sign(Entry(counts=a), Ledger(), at=NOW, summed=None)
    assert begins == Entry(process="p", number=1, at=NOW, melted={}, counts=a)

    author.read(entry("q"), a, Ledger())
    assert not author.must_tell_again(Ledger())
    again = author.sign(Entry(counts=b), Ledger(), at=NOW, summed=None)

    assert again == Entry(process="p", number=2, at=NOW, melted=a, counts={**a, **b})
    assert author.must_tell_again(Ledger())
    assert not author.must_tell_again(ledger_of(again))


def test_a_process_that_was_introduced_goes_on_when_it_has_read_that() -> None:
    author, told = Author("p"), Entry(counts={"a": Counts(1, 0, 1, 0)})
    for has_begun in (False, True):
        introduction = author.sign(told, Ledger(), at=NOW, summed=None)
        assert author.has_begun is has_begun
        assert author.must_tell_again(Ledger())

        author.confirmed(introduction)
        author.read(entry("q", 5), None, Ledger())
        assert (author.has_begun, author.may_go_on) == (True, False)
        assert not author.must_tell_again(Ledger())

        author.read(introduction, None, ledger_of(introduction))
        assert author.may_go_on


# --- entries -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"\x80",
        msgspec.msgpack.encode({"process": "p"}),
        msgspec.msgpack.encode({"process": "p", "number": 0}),
        msgspec.msgpack.encode({"process": "p", "number": 1, "counts": {"a": ["x"]}}),
        b"\x81\xa7process\xa1\xff",
        b"\x81\xa1x" + b"\x91" * 100_000,
    ],
)
def test_what_others_write_is_no_entry(body: bytes) -> None:
    assert decode(body) is None


def test_an_entry_is_read_as_it_was_written() -> None:
    place = Place(since=5, queues=["q"], settled=["s"], bindings=[{"ce-type": None}])
    written = entry(
        "p",
        held={"a": {"s": Held(attempts=1, condemned=replace(WHY, reason="ü"), due=3)}},
        places={"a": place},
        pauses={"a": Pause(why="ü", since=THEN), "b": None},
        waits={"a": [(1, 2)]},
        summary=Ledger().summary(4, at=NOW),
    )

    assert decode(encode(written)) == written
