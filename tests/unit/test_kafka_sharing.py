"""Who of a group of dispatchers gets which partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from broker.channels.kafka.sharing import Assignor, share

claims = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2), st.frozensets(st.integers(0, 20)), min_size=1
)


class Cluster:
    """What aiokafka knows of the topics."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(4)) if topic == "orders" else set()


def sizes(shares: Mapping[str, Sequence[int]]) -> list[int]:
    return [len(each) for each in shares.values()]


@given(partitions=st.integers(0, 20), claimed=claims)
def test_every_partition_is_one_members_and_all_have_as_many(
    partitions: int, claimed: Mapping[str, frozenset[int]]
) -> None:
    shares = share(partitions, claimed)

    assert shares.keys() == claimed.keys()
    assert sorted(chain.from_iterable(shares.values())) == list(range(partitions))
    assert max(sizes(shares)) - min(sizes(shares)) <= 1


@given(partitions=st.integers(0, 20), claimed=claims)
def test_an_agreement_that_is_even_stays_as_it_is(
    partitions: int, claimed: Mapping[str, frozenset[int]]
) -> None:
    shares = share(partitions, claimed)

    again = share(partitions, shares)

    assert {member: sorted(each) for member, each in again.items()} == {
        member: sorted(each) for member, each in shares.items()
    }


@given(partitions=st.integers(1, 20), members=st.integers(1, 6))
def test_one_who_comes_gets_what_it_must_get_and_nothing_else_moves(
    partitions: int, members: int
) -> None:
    before = share(partitions, {f"m{number}": () for number in range(members)})

    after = share(partitions, {**before, "new": ()})

    assert len(after["new"]) == partitions // (members + 1)
    assert all(set(after[member]) <= set(mine) for member, mine in before.items())


@given(partitions=st.integers(1, 20), members=st.integers(2, 6))
def test_what_one_leaves_goes_to_the_others_who_keep_what_they_have(
    partitions: int, members: int
) -> None:
    before = dict(share(partitions, {f"m{number}": () for number in range(members)}))
    del before["m0"]

    after = share(partitions, before)

    assert all(set(after[member]) >= set(mine) for member, mine in before.items())


def test_members_tell_what_they_hold_and_the_first_of_them_shares_it_out() -> None:
    held = {"a": [0, 1, 2, 3], "b": []}
    told = {name: Assignor("orders", lambda mine=mine: mine) for name, mine in held.items()}  # type: ignore[misc]

    found = told["b"].assign(
        Cluster(), {name: each.metadata(["orders"]) for name, each in told.items()}
    )

    assert found["a"].assignment == [("orders", [0, 1])]
    assert found["b"].assignment == [("orders", [2, 3])]


def test_a_stranger_in_the_group_holds_nothing() -> None:
    stranger = ConsumerProtocolMemberMetadata(0, ["orders"], b"\x00\x01")
    mine = ConsumerProtocolMemberMetadata(0, ["orders"], msgspec.json.encode([2, 3]))

    found = Assignor("orders", lambda: ()).assign(Cluster(), {"a": stranger, "b": mine})

    assert found["b"].assignment == [("orders", [2, 3])]
