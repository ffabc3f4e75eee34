"""The positions of the history on Kafka, which its users keep and send back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.channels.kafka.history import offsets_of, position_of


@given(st.dictionaries(st.integers(0, 2_147_483_647), st.integers(0, 10**18 - 1), min_size=1))
def test_a_position_leads_back_to_its_offsets(offsets: dict[int, int]) -> None:
    assert offsets_of(position_of(offsets)) == offsets


def test_no_position_is_before_everything() -> None:
    assert offsets_of(None) == {}
    assert position_of({1: 33, 0: 12}) == "0:12,1:33"


@pytest.mark.parametrize(
    "position",
    [
        "",
        "12",
        ":",
        "0:",
        ":12",
        "0:12,",
        "0:12,,1:3",
        "0:12 ,1:3",
        "0:12,1:33\n",
        "1:33,0:12",
        "0:12,0:13",
        "0:012",
        "0:-1",
        "0:²",
        "0:" + "9" * 19,
        "9" * 11 + ":0",
        ",".join(f"{number}:0" for number in range(20_000)),
    ],
)
def test_a_text_that_is_no_position_is_refused(position: str) -> None:
    with pytest.raises(ValueError, match="is not a position that the channel gave") as refusal:
        offsets_of(position)

    assert len(str(refusal.value)) < 120
