"""What it costs to find an event's triggers: `python -m bench.filters [--svg FILE]`.

For each number of triggers, an index is filled with filters of all dialects of which one
matches, and asked for a thousand events that differ in id, time and subject. Every kind of
filter is the matching one in turn. Rounds go through all numbers of triggers, so that a
machine whose speed drifts slows all alike; quoted are medians of the rounds, and the ratio to
one trigger within each round; the mean is that of the kinds, in each round. Takes about a
minute.

* *looked up*: every filter has a part that can be looked up.
* *not looked up*: no filter has one (they are negations), so that each of them is asked.
* *naive loop*: the filters of the first row, asked one after the other.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.plot import Line, svg
from broker.cesql import parse
from broker.filters import All, Any, Cesql, Exact, Filter, FilterIndex, Legacy, Not, Prefix, Suffix

COUNTS: Final = (1, 10, 100, 1_000, 10_000)
ROUNDS: Final = 7
EVENTS: Final = 1_000
BATCHES: Final = 5
Kind = Callable[[str], Filter]


def exact(name: str, value: str) -> Filter:
    return Exact(((name, value),))


LOOKED_UP: Final[Mapping[str, Kind]] = {
    "exact type": lambda n: exact("type", f"com.example.{n}"),
    "exact extension": lambda n: exact("tenant", f"tenant-{n}"),
    "exact on two": lambda n: Exact((("source", f"/shop/{n}"), ("type", f"com.example.{n}"))),
    "filter.attributes": lambda n: Legacy((("subject", ""), ("type", f"com.example.{n}"))),
    "prefix": lambda n: Prefix((("source", f"/shop/{n}"),)),
    "suffix": lambda n: Suffix((("subject", f".{n}"),)),
    "all": lambda n: All((Prefix((("source", "/shop/"),)), exact("type", f"com.example.{n}"))),
    "any": lambda n: Any((exact("type", f"com.example.{n}"), Prefix((("source", f"/x/{n}"),)))),
    "not": lambda n: All((exact("tenant", f"tenant-{n}"), Not(Suffix((("subject", "test"),))))),
    "cesql and": lambda n: cesql(f"type = 'com.example.{n}' AND source LIKE '/shop/%'"),
    "cesql in": lambda n: cesql(f"type IN ('com.example.{n}', 'com.example.other.{n}')"),
    "cesql like": lambda n: cesql(f"subject LIKE '%.{n}' AND NOT (tenant = 'nobody')"),
}
NEGATIONS: Final[Mapping[str, Kind]] = {
    "not exact": lambda n: Not(exact("type", f"com.example.{n}")),
    "not prefix": lambda n: Not(Prefix((("source", f"/shop/{n}"),))),
    "cesql not": lambda n: cesql(f"NOT (type = 'com.example.{n}')"),
}


def cesql(text: str) -> Filter:
    return Cesql(parse(text))


def population(kinds: Mapping[str, Kind], matching: str, count: int) -> Iterator[Filter]:
    """Yield so many filters of mixed kinds, of which the first, of the kind named, matches."""
    yield kinds[matching]("mine")
    others = list(kinds.values())
    for number in range(1, count):
        yield others[number % len(others)](f"{number}")


def never(kinds: Mapping[str, Kind], matching: str, count: int) -> Iterator[Filter]:
    """Yield so many filters of mixed kinds, of which one matches and which all must be asked."""
    others = list(kinds.values())
    for number in range(1, count):
        yield others[number % len(others)]("mine")
    yield kinds[matching]("another")


NUMBERS: Final = itertools.count()
"""Of the events: no id and no subject comes twice, as nothing is to be gained from them."""


def events() -> Sequence[Mapping[str, str]]:
    return [
        {
            "specversion": "1.0",
            "id": f"7e14c5f0-{number}",
            "source": "/shop/mine",
            "type": "com.example.mine",
            "subject": f"order-{number}.mine",
            "time": f"2026-01-31T12:00:{number % 60:02}.{number % 1_000_000:06}Z",
            "datacontenttype": "application/json",
            "tenant": "tenant-mine",
        }
        for number in itertools.islice(NUMBERS, EVENTS)
    ]


def by_index(filters: Sequence[Filter]) -> Callable[[Mapping[str, str]], list[str]]:
    index = FilterIndex()
    for number, each in enumerate(filters):
        index.put(str(number), each)
    return index.matching


def one_by_one(filters: Sequence[Filter]) -> Callable[[Mapping[str, str]], list[str]]:
    named = [(str(number), each) for number, each in enumerate(filters)]
    return lambda attributes: [name for name, each in named if each.matches(attributes)]


def nanoseconds(match: Callable[[Mapping[str, str]], list[str]]) -> float:
    """Return how long one event takes: the best of some batches, as others only add to it."""
    some = events()
    started = time.perf_counter_ns()
    if len(match(some[0])) != 1:
        raise AssertionError("not exactly one filter matches")
    first = time.perf_counter_ns() - started
    batch = max(2, min(EVENTS // BATCHES, 4_000_000 // first))  # no more than some 4 ms
    return min(_batch(match, some[n * batch : (n + 1) * batch]) for n in range(BATCHES))


def _batch(
    match: Callable[[Mapping[str, str]], list[str]], some: Sequence[Mapping[str, str]]
) -> float:
    started = time.perf_counter_ns()
    for event in some:
        match(event)
    return (time.perf_counter_ns() - started) / len(some)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: a name, the kinds of filters that match in turn, and how to fill them in."""

    name: str
    kinds: Mapping[str, Kind]
    fill: Callable[[Mapping[str, Kind], str, int], Iterator[Filter]]
    ask: Callable[[Sequence[Filter]], Callable[[Mapping[str, str]], list[str]]]
    counts: Sequence[int] = COUNTS


ROWS: Final = (
    Row(name="looked up", kinds=LOOKED_UP, fill=population, ask=by_index),
    Row(name="not looked up", kinds=NEGATIONS, fill=never, ask=by_index),
    Row(name="naive loop", kinds=LOOKED_UP, fill=population, ask=one_by_one, counts=COUNTS[:4]),
)


def measure(row: Row) -> Mapping[str, Sequence[Sequence[float]]]:
    """Return, for each kind that matches, the rounds: nanoseconds for each count."""
    return {
        kind: _rounds([row.ask(list(row.fill(row.kinds, kind, count))) for count in row.counts])
        for kind in row.kinds
    }


def _rounds(matches: Sequence[Callable[[Mapping[str, str]], list[str]]]) -> list[list[float]]:
    return [[nanoseconds(match) for match in matches] for _ in range(ROUNDS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--svg", type=Path, help="draw the growth into this file")
    drawn: list[Line] = []
    wanted = parser.parse_args().svg
    for row in ROWS:
        sys.stdout.write(f"{row.name:<20}" + "".join(f"{n:>12,}" for n in row.counts) + "\n")
        by_kind = measure(row)
        for kind, rounds in by_kind.items():
            _tell(kind, rounds)
        mixed = [
            [statistics.mean(column) for column in zip(*together, strict=True)]
            for together in zip(*by_kind.values(), strict=True)
        ]
        drawn.append(Line(row.name, list(zip(row.counts, _tell("mean", mixed), strict=True))))
    if wanted is not None:
        wanted.write_text(
            svg(drawn, title="Time to find the triggers of one event", x="triggers", y="ns")
        )


def _tell(name: str, rounds: Sequence[Sequence[float]]) -> list[float]:
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    ratios = [
        statistics.median(each / first for each, first in zip(column, ones, strict=True))
        for ones in [next(zip(*rounds, strict=True))]
        for column in zip(*rounds, strict=True)
    ]
    cells = (f"{ns:>6,.0f} {ratio:>4.1f}x" for ns, ratio in zip(medians, ratios, strict=True))
    sys.stdout.write(f"  {name:<18}" + "".join(f"{cell:>12}" for cell in cells) + "\n")
    sys.stdout.flush()
    return medians


if __name__ == "__main__":
    main()
