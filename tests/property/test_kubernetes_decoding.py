"""JSON that is nested deeper than Python reads it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connections.kubernetes import decoding
from broker.connections.kubernetes.decoding import decoded, shallow
from broker.errors import UpstreamUnavailable

texts = st.text(st.sampled_from('ab"\\\\[]{}:,\\n\\u00e9'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


def cut(value: Any, levels: int) -> Any:  # noqa: ANN401 - any JSON
    """Return the value with a text for what is nested deeper than that."""
    match value:
        case list() | dict() if levels == 0:
            return json.loads(decoding._TOO_DEEP)
        case list():
            return [cut(each, levels - 1) for each in value]
        case dict():
            return {name: cut(each, levels - 1) for name, each in value.items()}
    return value


@given(values, st.integers(1, 5), st.booleans())
def test_only_what_is_too_deep_is_replaced(value: Any, deepest: int, escaped: bool) -> None:  # noqa: ANN401
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "_DEEPEST", deepest)
        body = json.dumps(value, ensure_ascii=escaped).encode()
        assert json.loads(shallow(body)) == cut(value, deepest)


@given(st.text('ab"\\\\[]{}:, ', max_size=60).map(str.encode), st.integers(1, 3))
def test_of_what_is_no_json_at_all_something_is_made_that_can_be_read_or_refused(
    body: bytes, deepest: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "_DEEPEST", deepest)
        made = shallow(body)
    depth = highest = 0
    for each in decoding._TOKEN.findall(made):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(each, 0)
        highest = max(highest, depth)
    assert highest <= deepest


@pytest.mark.parametrize("end", [b"", b"]" * 99_999, b"]" * 100_001])
def test_what_does_not_end_is_refused(end: bytes) -> None:
    with pytest.raises(UpstreamUnavailable, match="/apis is not answered as Kubernetes does"):
        decoded(msgspec.json.Decoder(list[Any]), b"[" * 100_000 + end, "/apis")
