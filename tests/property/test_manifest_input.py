"""Whatever stands in a file, it is either run or refused with its problems."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidManifest, Problem
from broker.manifest import load

EXAMPLES: Final = [
    path.read_bytes()
    for path in sorted((Path(__file__).parents[1] / "unit" / "manifests").rglob("*.yaml"))
]
NOISE: Final = (b"", b" ", b"\n", b":", b"- ", b"[", b"}", b"&a ", b"*a", b"!t ", b"|", b"'", b'"',
                b"#", b"---\n", b"<<: ", b"null", b"5", b"\xff", b"\x00", b"\t", b"~")  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
words = st.sampled_from(
    ["apiVersion", "kind", "metadata", "spec", "name", "namespace", "annotations", "broker",
     "filters", "exact", "not", "any", "all", "subscriber", "ref", "uri", "delivery", "retry",
     "timeout", "deadLetterSink", "data", "stringData", "items", "sink", "schedule"]
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4)
)
objects = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from(
            ["eventing.knative.dev/v1", "sources.knative.dev/v1", "v1", "apps/v1"]
        ),
        "kind": st.sampled_from(["Broker", "Trigger", "ConfigMap", "Secret", "PingSource", "List"]),
    },
    optional={"metadata": values, "spec": values, "data": values, "items": values},
)


def run_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.yaml"
        path.write_bytes(content)
        problems = refused(path)
    assert problems is None or any(problem.severity == "error" for problem in problems)


def refused(path: Path) -> Sequence[Problem] | None:
    try:
        load([path])
    except InvalidManifest as error:
        return error.problems
    return None


@given(
    example=st.sampled_from(EXAMPLES),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), st.sampled_from(NOISE))),
)
def test_a_mutilated_manifest_is_run_or_refused(
    example: bytes, cuts: list[tuple[float, int, bytes]]
) -> None:
    for where, length, noise in cuts:
        start = int(where * len(example))
        example = example[:start] + noise + example[start + length :]

    run_or_refused(example)


@given(example=st.sampled_from(EXAMPLES), random=st.randoms(use_true_random=False))
def test_a_manifest_with_its_lines_in_disorder_is_run_or_refused(
    example: bytes, random: random.Random
) -> None:
    lines = example.splitlines(keepends=True)
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]

    run_or_refused(b"".join(lines))


@given(content=st.binary())
def test_any_bytes_are_run_or_refused(content: bytes) -> None:
    run_or_refused(content)


@given(documents=st.lists(objects, max_size=4))
def test_objects_of_any_shape_are_run_or_refused(documents: list[object]) -> None:
    run_or_refused("\n---\n".join(map(json.dumps, documents)).encode())
