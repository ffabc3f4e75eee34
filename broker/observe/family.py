"""What a metric is: its name, its kind, what it means, and its series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from broker.observe.durations import BOUNDS
from broker.ports import OriginKind, Reason
from broker.settings import WHOLE, Part
from broker.status import Phase, SourceState, Tally

AttemptOutcome = Literal["delivered", "retry", "exhausted", "refused", "untried"]
"""What became of an attempt: to be tried again; refused, with no retries left; refused for good.

``untried``: nothing was sent, for want of leave to, and it is tried again.
"""

To = Literal["subscriber", "dead-letter sink", "store"]

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_Samples = Iterable[tuple[Sequence[str], float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label. ``values`` are all that it can have, or None where the manifests tell them."""

    help: str
    values: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric with its series, one for each combination of ``labels``.

    ``unit`` is what is counted or measured, empty where it is a yes or no. ``parts`` are those of
    the mesh whose processes tell it, as a process does that is all of them; none where only that.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str = ""
    labels: Sequence[str] = ()
    parts: frozenset[Part] = WHOLE

    def lines(self, samples: _Samples) -> Iterator[str]:
        """Yield what a scrape says of these values of its labels, and what was counted there.

        The library's own text, which is for any metric at all, takes five times as long.
        """
        yield self._head
        for values, value in samples:
            of = self._of(values)
            yield f"{self.name}{{{of}}} {float(value)}\n" if of else f"{self.name} {float(value)}\n"

    def histogram(self, samples: Iterable[tuple[Sequence[str], Tally]]) -> Iterator[str]:
        """Yield what a scrape says of these values of its labels, and of the durations there."""
        yield self._head
        for values, tally in samples:
            of = self._of(values)
            count = 0
            for bound, number in zip(BOUNDS, tally.buckets, strict=True):
                count += number
                yield f'{self.name}_bucket{{{of},le="{bound}"}} {count}\n'
            yield f"{self.name}_sum{{{of}}} {tally.seconds}\n"
            yield f"{self.name}_count{{{of}}} {count}\n"

    @property
    def _head(self) -> str:
        return f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"

    def _of(self, values: Sequence[str]) -> str:
        pairs = zip(self.labels, values, strict=True)
        return ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs])


LABELS: Final[Mapping[str, Label]] = {
    "broker": Label(help="namespace/name; empty of a request that named none that runs"),
    "kind": Label(help="the kind of the source"),
    "origin": Label(help="how events came in", values=get_args(OriginKind)),
    "outcome": Label(help="what became of an attempt", values=get_args(AttemptOutcome)),
    "port": Label(help="which of the two it is", values=("data", "admin")),
    "reason": Label(help="why a request was refused", values=get_args(Reason)),
    "source": Label(help="namespace/name"),
    "state": Label(
        help="of a trigger, or of a source",
        values=tuple(dict.fromkeys((*get_args(Phase), *get_args(SourceState)))),
    ),
    "status": Label(
        help="of the HTTP answer: the mesh's own, or what a source that is called says"
    ),
    "to": Label(help="where an event went, or should have gone", values=get_args(To)),
    "trigger": Label(help="namespace/name"),
    "version": Label(help="of cemesh"),
    "worker": Label(help="the number of the process, from 0"),
}
