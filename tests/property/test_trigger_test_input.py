"""Whatever stands in a file of tests, it is either run or refused with its problems."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from broker.cli import testreport
from broker.cli.junit import junit
from broker.cli.testing import Ran, Refused, loader, run
from broker.errors import Problem

MESH: Final = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: audit}
spec:
  broker: default
  filters: [{prefix: {type: a}}]
  subscriber: {uri: http://audit/}
"""
EXAMPLE: Final = """\
apiVersion: cemesh.dev/v1alpha1
kind: TriggerTest
metadata: {name: orders}
spec:
  manifests: [mesh.yaml]
  broker: default
  tests:
    - name: an order
      event: {type: a.order, source: /shop, retries: 5, vip: true, data: {total: 42.50}}
      matches: [audit]
    - name: a refund
      event: {type: refund, source: /shop}
      matchesOnly: [audit]
    - name: from a file
      eventFile: testdata/order.json
      doesNotMatch: [default/audit]
"""
NOISE: Final = (b"", b" ", b"\n", b":", b"- ", b"[", b"}", b"&a ", b"*a", b"!t ", b"|", b"'", b'"',
                b"#", b"---\n", b"<<: ", b"null", b"5", b".nan", b"\xff", b"\\0", b"~")  # fmt: skip

# Not "/" and ".": a path may lead anywhere, and what is there is read.
texts = st.text(st.characters(exclude_characters="/."), max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
names = texts | st.sampled_from(["audit", "default/audit", "type", "source", "id", "data", "time"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)
)
events = st.dictionaries(names, values, max_size=4) | st.fixed_dictionaries(
    {"type": texts, "source": texts}, optional={"data": values, "region": scalars}
)
lists = st.lists(names, max_size=3) | values
tests = values | st.fixed_dictionaries(
    {"name": texts},
    optional={
        "event": events,
        "eventFile": texts,
        "matches": lists,
        "doesNotMatch": lists,
        "matchesOnly": lists,
    },
)
specs = values | st.fixed_dictionaries(
    {"manifests": st.just(["mesh.yaml"]), "tests": st.lists(tests, max_size=3) | values},
    optional={"broker": names},
)
objects = st.fixed_dictionaries(
    {"apiVersion": st.just("cemesh.dev/v1alpha1"), "kind": st.just("TriggerTest"), "spec": specs},
    optional={"metadata": values},
)


def run_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mesh.yaml").write_text(MESH)
        (folder / "testdata").mkdir()
        (folder / "testdata" / "order.json").write_text(
            '{"specversion": "1.0", "id": "1", "source": "/", "type": "order"}'
        )
        file = folder / "orders_test.yaml"
        file.write_bytes(content)
        outcome = run(file, loader({}))
    match outcome:
        case Ran(results=results):
            assert results
        case Refused(problems=problems):
            assert problems
            assert all(isinstance(each, Problem) for each in problems)
    assert list(testreport.text([outcome], verbose=True))
    ET.fromstring(junit([outcome]))  # noqa: S314 - it was written here


@given(cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), st.sampled_from(NOISE))))
def test_mutilated_tests_are_run_or_refused(cuts: list[tuple[float, int, bytes]]) -> None:
    content = EXAMPLE.encode()
    for where, length, noise in cuts:
        start = int(where * len(content))
        content = content[:start] + noise + content[start + length :]

    run_or_refused(content)


@given(content=st.binary())
def test_any_bytes_are_run_or_refused(content: bytes) -> None:
    run_or_refused(content)


@given(documents=st.lists(objects, min_size=1, max_size=3))
def test_tests_of_any_shape_are_run_or_refused(documents: list[object]) -> None:
    run_or_refused("\n---\n".join(map(json.dumps, documents)).encode())
