"""What queries of Prometheus ask for, held to what a mesh tells.

No parser: `promtool` is one. This reads queries that it takes, and says what no parser knows:
whether the metrics, labels and values are there, and are used as what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector

from broker.observe.families import FAMILIES
from broker.observe.family import LABELS
from broker.status import Phase, SourceState

TARGET: Final = frozenset({"job", "instance"})
"""The labels that Prometheus adds to all that it scrapes."""

_STATES: Final[Mapping[str, Sequence[str]]] = {
    "cemesh_trigger_state": get_args(Phase),
    "cemesh_source_state": get_args(SourceState),
}

_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")|(?P<range>\[[^]]*])|(?P<number>\d[\w.]*)"""
    r"""|(?P<name>[a-zA-Z_:][\w:]*)|(?P<sign>[!=<>]=|[!=]~|[-+*/<>=(){},])|\s+"""
)
_WORDS: Final = frozenset({"and", "or", "unless", "bool", "offset"})
_GROUPING: Final = frozenset({"by", "on"})
_OF_COUNTERS: Final = frozenset({"rate", "increase"})
_OF_GAUGES: Final = frozenset({"delta", "changes", "max_over_time", "min_over_time"})
_ANY: Final = frozenset({"last_over_time"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What can be asked for: its kind, and the labels that it has."""

    kind: str
    labels: frozenset[str]


@dataclass(slots=True)
class _Call:
    """Parentheses: what they are the argument of, by which labels, and what is within."""

    function: str
    by: Sequence[str] | None = None
    metrics: list[str] = field(default_factory=list)


def metrics() -> dict[str, Metric]:
    """Return all that a scrape of a mesh has, by the names of its series."""
    found = {"up": Metric(kind="gauge", labels=TARGET)}
    for family in FAMILIES.values():
        labels = TARGET | set(family.labels)
        if family.kind != "histogram":
            found[family.name] = Metric(kind=family.kind, labels=labels)
            continue
        found[f"{family.name}_bucket"] = Metric(kind="bucket", labels=labels | {"le"})
        for each in ("count", "sum"):
            found[f"{family.name}_{each}"] = Metric(kind="counter", labels=labels)
    for process in ProcessCollector(registry=CollectorRegistry()).collect():
        name = f"{process.name}_total" if process.type == "counter" else process.name
        found[name] = Metric(kind=process.type, labels=TARGET)
    return found


def problems(query: str, known: Mapping[str, Metric]) -> Iterator[str]:
    """Yield what is wrong with the query, where only the ``known`` metrics are there."""
    tokens = list(_tokens(query))
    calls = [_Call("")]
    at = 0
    by: Sequence[str] | None = None
    while at < len(tokens):
        kind, text = tokens[at]
        after = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if kind == "name" and text in _GROUPING:
            end = tokens.index(("sign", ")"), at)
            labels = [word for each, word in tokens[at + 2 : end] if each == "name"]
            if text == "by":
                by = labels
            at = end
        elif text == "(":
            before = tokens[at - 1] if by is None and at else ("", "")
            function = before[1] if before[0] == "name" and before[1] not in _WORDS else ""
            calls.append(_Call(function, by))
            by = None
        elif text == ")":
            done = calls.pop()
            yield from _grouped(done, known)
            calls[-1].metrics += done.metrics
        elif kind == "name" and text not in _WORDS and after not in {"(", "by"}:
            end = tokens.index(("sign", "}"), at) if after == "{" else at
            calls[-1].metrics.append(text)
            yield from _selected(text, tokens[at + 2 : end], known)
            ranged = tokens[end + 1 : end + 2]
            within = calls[-1].function if ranged and ranged[0][0] == "range" else ""
            quantile = any(each.function == "histogram_quantile" for each in calls)
            yield from _used(text, within, known, quantile=quantile)
            at = end
        at += 1


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(query):
        found = _TOKEN.match(query, at)
        assert found is not None, query[at:]
        if found.lastgroup is not None:
            yield found.lastgroup, found[0]
        at = found.end()


def _grouped(call: _Call, known: Mapping[str, Metric]) -> Iterator[str]:
    for metric in call.metrics:
        missing = set(call.by or ()) - known[metric].labels if metric in known else set()
        if missing:
            yield f"{metric} has no {', '.join(sorted(missing))} to be summed up by"
        if call.by is not None and "le" not in call.by and _kind(metric, known) == "bucket":
            yield f"{metric} is summed up over its buckets"


def _selected(
    metric: str, matchers: Sequence[tuple[str, str]], known: Mapping[str, Metric]
) -> Iterator[str]:
    if metric not in known:
        yield f"there is no metric {metric}"
        return
    for (_, label), _, (_, quoted), *_ in _split(matchers):
        if label not in known[metric].labels:
            yield f"{metric} has no label {label}"
        values = LABELS[label].values if label in LABELS else None
        if label == "state":
            values = _STATES.get(metric)
        if values is not None and set(quoted.strip('"').split("|")) - set(values):
            yield f"{label} of {metric} is never {quoted}"


def _split(matchers: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    for at, (kind, _) in enumerate(matchers):
        if kind == "name":
            yield matchers[at : at + 3]


def _used(
    metric: str, function: str, known: Mapping[str, Metric], *, quantile: bool
) -> Iterator[str]:
    kind = _kind(metric, known)
    if function in _OF_COUNTERS and kind not in {"counter", "bucket"}:
        yield f"{function} of {metric}, which is a {kind}"
    if function in _OF_GAUGES and kind != "gauge":
        yield f"{function} of {metric}, which is a {kind}"
    if function and function not in _OF_COUNTERS | _OF_GAUGES | _ANY:
        yield f"{function} is not known here"
    if (kind == "bucket") != quantile:
        yield f"{metric} in a quantile, or buckets in none"
    if kind == "bucket" and function not in _OF_COUNTERS:
        yield f"{metric} since its process began"


def _kind(metric: str, known: Mapping[str, Metric]) -> str:
    return known[metric].kind if metric in known else ""
