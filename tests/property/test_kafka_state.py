"""Whoever writes late, and whenever the topic is compacted: everybody knows the same in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from broker.channels.kafka.latest import Entry, Latest, Stamp

KEYS = ("a", "b")
PROCESSES = 3


@dataclass(frozen=True)
class TakeOver:
    """A process becomes the owner of a key: it reads all there is, and writes."""

    process: int
    key: str


@dataclass(frozen=True)
class Write:
    """A process writes a key that it owns, or owned as far as it knows."""

    process: int
    key: str
    deletes: bool
    reads: bool
    """Whether it reads on before it learns that this is stored."""


@dataclass(frozen=True)
class Late:
    """Something that was written arrives once more."""

    which: int


@dataclass(frozen=True)
class Broken:
    """Somebody writes what cannot be read."""

    key: str


@dataclass(frozen=True)
class Read:
    process: int
    count: int


@dataclass(frozen=True)
class Compact:
    """Only the last record of each key is left in these tenths of the log."""

    tenths: int


@dataclass(frozen=True)
class Restart:
    """A process that is no owner forgets everything."""

    process: int


Act = TakeOver | Write | Late | Broken | Read | Compact | Restart

a_process = st.integers(0, PROCESSES - 1)
a_key = st.sampled_from(KEYS)
acts = st.lists(
    st.one_of(
        st.builds(TakeOver, process=a_process, key=a_key),
        st.builds(Write, process=a_process, key=a_key, deletes=st.booleans(), reads=st.booleans()),
        st.builds(Late, which=st.integers(0, 20)),
        st.builds(Broken, key=a_key),
        st.builds(Read, process=a_process, count=st.integers(1, 10)),
        st.builds(Compact, tenths=st.integers(1, 10)),
        st.builds(Restart, process=a_process),
    ),
    max_size=50,
)


@dataclass(frozen=True)
class Record:
    offset: int
    key: str
    entry: Entry | None


@dataclass(eq=False)
class Process:
    known: Latest = field(default_factory=Latest)
    position: int = 0
    epochs: dict[str, int] = field(default_factory=dict)


@dataclass
class Story:
    """The topic and its processes, and beside them the plain rule: the owner's last word counts."""

    log: list[Record] = field(default_factory=list)
    written: list[tuple[str, Entry]] = field(default_factory=list)
    stored: int = 0
    generation: int = 0
    processes: list[Process] = field(default_factory=lambda: [Process() for _ in range(PROCESSES)])
    owners: dict[str, Process] = field(default_factory=dict)
    values: dict[str, bytes | None] = field(default_factory=dict)

    def play(self, act: Act) -> None:
        match act:
            case TakeOver(process, key):
                self.take_over(self.processes[process], key)
            case Write(process, key, deletes, reads):
                self.write(self.processes[process], key, deletes=deletes, reads=reads)
            case Late(which):
                if self.written:
                    self.append(*self.written[which % len(self.written)])
            case Broken(key):
                self.append(key, None)
            case Read(process, count):
                self.read(self.processes[process], count)
            case Compact(tenths):
                self.compact(self.stored * tenths // 10)
            case Restart(process):
                if self.processes[process] not in self.owners.values():
                    self.processes[process] = Process()

    def take_over(self, process: Process, key: str) -> None:
        self.read(process, self.stored)
        self.generation += 1
        process.epochs[key] = max(self.generation, process.known.epoch(key) + 1)
        self.owners[key] = process
        self.write(process, key)

    def write(
        self, process: Process, key: str, *, deletes: bool = False, reads: bool = False
    ) -> None:
        epoch = process.epochs.get(key)
        if epoch is None or process.known.is_held(key, epoch):
            return
        value = None if deletes else b"%d" % len(self.written)
        entry = Entry(stamp=process.known.stamp(epoch), value=value)
        self.written.append((key, entry))
        self.append(key, entry)
        if reads:
            self.read(process, self.stored)
        process.known.wrote(key, entry)
        if self.owners[key] is process:
            self.values[key] = value

    def append(self, key: str, entry: Entry | None) -> None:
        self.log.append(Record(self.stored, key, entry))
        self.stored += 1

    def read(self, process: Process, count: int) -> None:
        for record in [each for each in self.log if each.offset >= process.position][:count]:
            process.known.read(record.key, record.entry)
            process.position = record.offset + 1

    def compact(self, end: int) -> None:
        last = {each.key: each.offset for each in self.log if each.offset < end}
        self.log = [
            each for each in self.log if each.offset >= end or each.offset == last[each.key]
        ]

    def come_to_rest(self) -> None:
        """Let everybody read everything and write again what is overtaken, until nothing is."""
        for _ in range(10):
            for process in self.processes:
                self.read(process, self.stored)
            again = [(each, dict(each.known.overtaken())) for each in self.processes]
            if not any(entries for _, entries in again):
                return
            for process, entries in again:
                for key, entry in entries.items():
                    self.append(key, entry)
                    process.known.wrote(key, entry)
        raise AssertionError("it is written again and again")


def test_a_stamp_is_higher_than_any_of_its_epoch_that_was_read() -> None:
    latest = Latest()
    written = Entry(stamp=Stamp(3, 7), value=b"1")

    latest.read("a", written)

    assert latest.stamp(3) > written.stamp


def test_what_was_overtaken_before_it_was_known_to_be_stored_does_not_count() -> None:
    latest = Latest()
    mine = Entry(stamp=latest.stamp(1), value=b"mine")
    latest.read("a", Entry(stamp=Stamp(2, 1), value=b"theirs"))

    latest.wrote("a", mine)

    assert latest.get("a") == b"theirs"


def known(process: Process) -> dict[str, bytes | None]:
    return {key: process.known.get(key) for key in KEYS}


@given(acts)
def test_all_processes_agree_on_the_last_value_of_the_highest_epoch(acts: list[Act]) -> None:
    story = Story()

    for act in acts:
        story.play(act)
    story.come_to_rest()

    expected = {key: story.values.get(key) for key in KEYS}
    for process in story.processes:
        assert known(process) == expected


@given(acts)
def test_one_who_comes_after_a_compaction_learns_the_same(acts: list[Act]) -> None:
    story = Story()
    for act in acts:
        story.play(act)
    story.come_to_rest()

    story.compact(story.stored)
    newcomer = Process()
    story.read(newcomer, story.stored)

    assert known(newcomer) == {key: story.values.get(key) for key in KEYS}
    assert not newcomer.known.overtaken()
