"""What is sent to change an object makes it what it is to be, and nothing is sent without need."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.connections.kubernetes.changing import difference

# A merge patch cannot make anything null: that is how it says that it is gone.
_LEAVES = st.one_of(st.booleans(), st.integers(0, 3), st.text(max_size=2))
_VALUES = st.recursive(
    st.one_of(_LEAVES, st.lists(st.dictionaries(st.sampled_from("ab"), _LEAVES), max_size=2)),
    lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3),
)
_OBJECTS = st.dictionaries(st.sampled_from("abcd"), _VALUES, max_size=4)


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON, as in the RFC
    """Return what RFC 7396 makes of both, section 2."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


@given(_OBJECTS, _OBJECTS)
def test_a_patch_makes_the_one_the_other(former: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert merged(former, difference(former, wanted)) == wanted


@given(_OBJECTS)
def test_what_is_so_already_takes_no_patch(found: dict[str, Any]) -> None:
    assert difference(found, found) == {}
