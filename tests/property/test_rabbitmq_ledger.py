"""Whoever reads the state from wherever, and whatever became of its writers: all know the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from broker.channels.rabbitmq.author import Author
from broker.channels.rabbitmq.entries import Counts, Entry, Held, Place, decode, encode
from broker.channels.rabbitmq.ledger import Sums
from broker.channels.rabbitmq.replay import Replay

TRIGGERS = ("a", "b")
PROCESSES = 3
SECOND = 1_000_000
HOUR = 3600 * SECOND
ALIVE = 15 * SECOND
FORGOTTEN_AFTER = 7 * 24 * HOUR

Fate = Literal["stored", "lost", "late"]


@dataclass(frozen=True)
class Tell:
    """A process tells what it has done; it learns that this is stored, or that it may not be."""

    process: int
    trigger: str
    delivered: int = 0
    dead: int = 0
    taken: int = 0
    waits: int = 0
    gone: bool = False
    acks: bool = False
    ends: bool = False
    fate: Fate = "stored"


@dataclass(frozen=True)
class Arrive:
    """Something arrives that was given up for lost."""


@dataclass(frozen=True)
class Broken:
    """Somebody else writes what is no entry; or the server takes an offset for itself."""

    by_the_server: bool


@dataclass(frozen=True)
class Read:
    process: int
    count: int
    reconnects: bool


@dataclass(frozen=True)
class Die:
    """A process dies, and another one starts in its place."""

    process: int


@dataclass(frozen=True)
class Draft:
    """A process writes down what it knows now, to be stored later."""

    process: int


@dataclass(frozen=True)
class Store:
    process: int
    fate: Fate


@dataclass(frozen=True)
class SumUp:
    """A process reads everything, and stores what it knows at once."""

    process: int


@dataclass(frozen=True)
class Wait:
    hours: int


@dataclass(frozen=True)
class Melt:
    """Only this process tells and sums up for a week, so that all others melt."""

    process: int


@dataclass(frozen=True)
class Cut:
    """So many tenths are removed of what no reader needs any more."""

    tenths: int


Act = Tell | Arrive | Broken | Read | Die | Draft | Store | SumUp | Wait | Melt | Cut

a_process = st.integers(0, PROCESSES - 1)
a_number = st.sampled_from((0, 0, 1, 3))
a_fate: st.SearchStrategy[Fate] = st.sampled_from(("stored", "stored", "stored", "lost", "late"))
tells = st.builds(
    Tell,
    process=a_process,
    trigger=st.sampled_from(TRIGGERS),
    delivered=a_number,
    dead=a_number,
    taken=a_number,
    waits=a_number,
    gone=st.booleans(),
    acks=st.booleans(),
    ends=st.booleans(),
    fate=a_fate,
)
acts = st.lists(
    st.one_of(
        tells,
        tells,
        st.builds(Arrive),
        st.builds(Broken, by_the_server=st.booleans()),
        st.builds(Read, process=a_process, count=st.integers(1, 10), reconnects=st.booleans()),
        st.builds(Die, process=a_process),
        st.builds(Draft, process=a_process),
        st.builds(Store, process=a_process, fate=a_fate),
        st.builds(SumUp, process=a_process),
        st.builds(Wait, hours=st.sampled_from((1, 25, 200))),
        st.builds(Melt, process=a_process),
        st.builds(Cut, tenths=st.integers(1, 10)),
    ),
    min_size=10,
    max_size=60,
)


@dataclass(eq=False)
class Process:
    """One process, as `State` would run it."""

    author: Author
    replay: Replay
    counts: defaultdict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    untold: Entry = field(default_factory=Entry)
    confirmed: int = 0
    draft: Entry | None = None


@dataclass(frozen=True)
class Stored:
    offset: int
    entry: Entry | None


@dataclass
class Story:
    """The stream and its processes."""

    log: list[Stored] = field(default_factory=list)
    first: int = 0
    end: int = 0
    time: int = 1000 * 24 * HOUR
    late: list[Entry] = field(default_factory=list)
    names: Iterator[int] = field(default_factory=count)
    stamps: Iterator[int] = field(default_factory=count)
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.processes = [self.start() for _ in range(PROCESSES)]

    def play(self, act: Act) -> None:  # noqa: C901 - one case for each act
        self.time += SECOND
        match act:
            case Tell(process=process):
                self.tell(self.processes[process], act)
            case Arrive():
                if self.late:
                    self.append(self.late.pop(0))
            case Broken(by_the_server):
                if by_the_server and self.end:
                    self.end += 1
                else:
                    self.append(None)
            case Read(process, number, reconnects):
                if reconnects:
                    self.reconnect(self.processes[process])
                self.read(self.processes[process], number)
            case Die(process):
                # One that others may not know how to count would take that with it.
                self.read(self.processes[process])
                self.processes[process] = self.start()
            case Draft(process):
                self.draft(self.processes[process])
            case Store(process, fate):
                self.store(self.processes[process], fate)
            case SumUp(process):
                self.read(self.processes[process])
                self.draft(self.processes[process])
                self.store(self.processes[process], "stored")
            case Wait(hours):
                self.wait(hours)
            case Melt(process):
                self.wait(200)
                for trigger in TRIGGERS:
                    self.play(Tell(process, trigger))
                self.play(SumUp(process))
            case Cut(tenths):
                self.cut(tenths)

    def wait(self, hours: int) -> None:
        self.late.clear()  # nothing is on its way for hours
        for each in self.processes:
            self.read_own(each)
        self.time += hours * HOUR

    # --- writing -----------------------------------------------------------------------------

    def tell(self, it: Process, act: Tell) -> None:
        if not self.begin(it, act.fate):
            return
        before = it.counts[act.trigger]
        ended = act.delivered + act.dead
        it.counts[act.trigger] = Counts(
            delivered=before.delivered + act.delivered,
            dead_lettered=before.dead_lettered + act.dead,
            taken=before.taken + ended + act.taken,
            in_hand=act.taken,
            floor=self.time,
        )
        settled = [f"{next(self.stamps)}" for _ in range(ended)]
        again = it.untold
        entry = Entry(
            counts={**again.counts, act.trigger: it.counts[act.trigger]},
            settled={
                trigger: [
                    *again.settled.get(trigger, ()),
                    *(settled if trigger == act.trigger else ()),
                ]
                for trigger in TRIGGERS
            },
            acked=it.confirmed if act.acks else 0,
            waits={
                trigger: [
                    *again.waits.get(trigger, ()),
                    *(
                        [(self.time + act.waits * HOUR, act.waits)]
                        if trigger == act.trigger
                        else []
                    ),
                ]
                for trigger in TRIGGERS
            },
            held={**again.held, act.trigger: {f"{act.waits}": Held(attempts=act.taken)}},
            places={**again.places, act.trigger: Place(gone=act.gone, since=self.time)},
            ended=act.ends,
        )
        it.untold = Entry()
        if not self.write(it, entry, act.fate):
            it.untold = entry

    def draft(self, it: Process) -> None:
        if it.replay.is_whole and it.replay.position:
            it.draft = Entry(summary=it.replay.summary(self.time))

    def store(self, it: Process, fate: Fate) -> None:
        if it.draft is not None and self.begin(it, "stored"):
            self.write(it, it.draft, fate)
            it.draft = None

    def begin(self, it: Process, fate: Fate) -> bool:
        if not it.author.has_begun:
            self.write(it, Entry(), fate)
        while not it.author.may_go_on:
            self.read(it, 1)
        return it.author.has_begun

    def write(self, it: Process, entry: Entry, fate: Fate) -> bool:
        signed = it.author.sign(entry, it.replay.ledger, at=self.time, summed=it.replay.summed)
        match fate:
            case "stored":
                self.append(signed)
                it.author.confirmed(signed)
                it.confirmed = signed.number
            case "late":
                self.late.append(signed)
            case "lost":
                pass
        return fate == "stored"

    def append(self, entry: Entry | None) -> None:
        read = None if entry is None else decode(encode(entry))
        assert (read is None) == (entry is None)
        self.log.append(Stored(self.end, read))
        self.end += 1

    # --- reading -----------------------------------------------------------------------------

    def start(self) -> Process:
        process = Process(Author(f"process {next(self.names)}"), self.newcomer())
        self.read(process)
        return process

    def newcomer(self) -> Replay:
        """Return a reader that begins where the last entries say."""
        told = [each.entry.summed for each in self.kept() if each.entry is not None]
        return Replay(self.end, max((each for each in told if each is not None), default=None))

    def kept(self) -> Sequence[Stored]:
        return [each for each in self.log if each.offset >= self.first]

    def reconnect(self, it: Process) -> None:
        start = it.replay.resume()
        for each in self.kept():
            if each.offset >= start:
                self.take(it, each)
                return

    def read(self, it: Process, number: int | None = None) -> None:
        if it.replay.position < self.first:
            self.reconnect(it)
        ahead = [each for each in self.kept() if each.offset >= it.replay.position]
        for each in ahead[:number]:
            self.take(it, each)

    def read_own(self, it: Process) -> None:
        while any(
            each.entry is not None and each.entry.process == it.author.process
            for each in self.log
            if each.offset >= it.replay.position
        ):
            self.read(it, 1)

    def take(self, it: Process, stored: Stored) -> None:
        was_whole = it.replay.is_whole
        counted = it.replay.ledger.counted(it.author.process)
        it.replay.take(stored.offset, stored.entry, 100)
        if stored.entry is not None:
            it.author.read(stored.entry, counted, it.replay.ledger)
        if was_whole and not it.replay.is_whole:
            it.author.skip()
        if it.author.must_tell_again(it.replay.ledger):
            self.write(it, Entry(), "stored")

    def cut(self, tenths: int) -> None:
        """Remove what is covered by the last summary, up to the last entry that it covers."""
        summaries = [
            each.entry.summary.through
            for each in self.log
            if each.entry is not None and each.entry.summary is not None
        ]
        if summaries:
            self.first = max(self.first, max(summaries) * tenths // 10)

    def come_to_rest(self) -> None:
        """Let all read everything, also what they tell when they have read something."""
        end = -1
        while end != self.end:
            end = self.end
            for each in self.processes:
                self.read(each)


@dataclass
class Model:
    """The plain rules: the last word of each process counts, unless it comes late."""

    numbers: Counter[str] = field(default_factory=Counter)
    last: dict[str, Entry] = field(default_factory=dict)
    counts: dict[tuple[str, str], Counts] = field(default_factory=dict)
    waits: list[tuple[str, int, int]] = field(default_factory=list)
    settled: list[tuple[str, int, str, str]] = field(default_factory=list)
    acked: Counter[str] = field(default_factory=Counter)
    rested: Counter[str] = field(default_factory=Counter)
    places: dict[str, Place] = field(default_factory=dict)

    def read(self, log: Sequence[Stored]) -> None:
        for entry in (each.entry for each in log if each.entry is not None):
            if entry.number <= self.numbers[entry.process]:
                continue
            self.numbers[entry.process] = entry.number
            last = self.last.get(entry.process, entry)
            if entry.at - last.at >= FORGOTTEN_AFTER:
                self.rested[entry.process] = last.number
            self.last[entry.process] = entry
            for trigger, counts in entry.counts.items():
                self.counts[entry.process, trigger] = counts
            self.waits += [
                (trigger, due, number)
                for trigger, waits in entry.waits.items()
                for due, number in waits
            ]
            self.settled += [
                (entry.process, entry.number, trigger, stamp)
                for trigger, stamps in entry.settled.items()
                for stamp in stamps
            ]
            self.acked[entry.process] = max(self.acked[entry.process], entry.acked)
            self.places.update(entry.places)

    def sums(self, trigger: str, now: int) -> Sums:
        told = {process: each for (process, of), each in self.counts.items() if of == trigger}
        alive = {
            process
            for process, last in self.last.items()
            if not last.ended and last.at >= now - ALIVE
        }
        return Sums(
            delivered=sum(each.delivered for each in told.values()),
            dead_lettered=sum(each.dead_lettered for each in told.values()),
            matched=sum(
                each.taken if process in alive else each.delivered + each.dead_lettered
                for process, each in told.items()
            ),
            in_hand=sum(each.in_hand for process, each in told.items() if process in alive),
            put_off=sum(number for of, due, number in self.waits if of == trigger and due > now),
        )

    def unacked(self) -> set[tuple[str, str]]:
        return {
            (trigger, stamp)
            for process, number, trigger, stamp in self.settled
            if number > self.acked[process]
        }

    def unforgettable(self, now: int) -> set[tuple[str, str]]:
        """Return those of `unacked` whose process was never silent for a week since."""
        return self.unacked() & {
            (trigger, stamp)
            for process, number, trigger, stamp in self.settled
            if number > self.rested[process] and self.last[process].at > now - FORGOTTEN_AFTER
        }


def known(replay: Replay, now: int) -> Mapping[str, object]:
    """Return all that a reader knows."""
    assert replay.is_whole
    summary = replay.ledger.summary(0, at=now)
    contents: Mapping[str, object] = msgspec.msgpack.decode(summary.contents)
    return {**contents, "melting": summary.melting}


def read_by(replay: Replay, log: Sequence[Stored]) -> Replay:
    for each in log:
        if each.offset >= replay.position:
            replay.take(each.offset, each.entry, 100)
    return replay


def played(acts: Sequence[Act]) -> Story:
    story = Story()
    for act in acts:
        story.play(act)
    story.come_to_rest()
    return story


@given(acts)
def test_every_reader_knows_what_one_knows_who_has_read_everything(acts: list[Act]) -> None:
    story = played(acts)

    everything = known(read_by(Replay(), story.log), story.time)

    for process in story.processes:
        assert known(process.replay, story.time) == everything
    assert known(read_by(story.newcomer(), story.kept()), story.time) == everything
    if story.end:
        from_the_first = read_by(Replay(story.end), story.kept())
        assert known(from_the_first, story.time) == everything


@example(
    [
        Tell(process=0, trigger="a"),
        Tell(process=1, trigger="a", taken=1),
        Draft(process=1),
        Melt(process=0),
        Store(process=1, fate="stored"),
    ]
)
@given(acts)
def test_the_sums_are_those_of_the_last_words_of_all_processes(acts: list[Act]) -> None:
    story = played(acts)

    model = Model()
    model.read(story.log)

    ledger = read_by(story.newcomer(), story.kept()).ledger
    for trigger in TRIGGERS:
        sums = ledger.sums(trigger, now=story.time, alive_since=story.time - ALIVE, but="")
        assert sums == model.sums(trigger, story.time)
        told = {each for (_, of), each in model.counts.items() if of == trigger}
        assert (ledger.floor(trigger) is None) == (not told)
    assert ledger.triggers() == model.places


@given(acts)
def test_what_is_settled_is_known_until_it_is_acked(acts: list[Act]) -> None:
    story = played(acts)

    model = Model()
    model.read(story.log)

    ledger = read_by(story.newcomer(), story.kept()).ledger
    kept = {
        (trigger, stamp)
        for _, _, trigger, stamp in model.settled
        if ledger.was_settled(trigger, stamp)
    }
    assert kept <= model.unacked()
    assert kept >= model.unforgettable(story.time)
