"""Who of a group gets which partitions: as many each, and whoever has one keeps it if possible.

aiokafka's own sticky assignor remembers in its class what its member has, which does not do for
several groups in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[int]).decode


def share(partitions: int, claims: Mapping[str, Collection[int]]) -> Mapping[str, list[int]]:
    """Return what of ``partitions`` each member gets, that has claimed what it holds.

    The numbers that two get differ by one at most.
    """
    members = sorted(claims)
    least, left_over = divmod(partitions, len(members))
    shares: dict[str, list[int]] = {member: [] for member in members}
    free = set(range(partitions))
    # Those who have most keep one more than the others, so that the least has to move.
    for member in sorted(members, key=lambda each: (-len(claims[each]), each)):
        most = least + (left_over > 0)
        kept = sorted(free.intersection(claims[member]))[:most]
        shares[member] = kept
        free.difference_update(kept)
        left_over -= len(kept) > least
    for number in sorted(free):
        member = min(members, key=lambda each: (len(shares[each]), each))
        shares[member].append(number)
    return shares


class Assignor:
    """What aiokafka asks of a strategy. ``held`` returns the partitions that this member holds."""

    name: Final = "cemesh"
    version: Final = 0

    def __init__(self, topic: str, held: Callable[[], Collection[int]]) -> None:
        self._topic = topic
        self._held = held

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        held = _encode(sorted(self._held()))
        return ConsumerProtocolMemberMetadata(self.version, list(topics), held)

    def assign(
        self,
        cluster: Any,  # noqa: ANN401 - aiokafka has no types
        members: Mapping[str, ConsumerProtocolMemberMetadata],
    ) -> Mapping[str, ConsumerProtocolMemberAssignment]:
        partitions = cluster.partitions_for_topic(self._topic) or ()
        claims = {member: _claimed(each.user_data) for member, each in members.items()}
        shares = share(len(partitions), claims)
        return {
            member: ConsumerProtocolMemberAssignment(self.version, [(self._topic, mine)], b"")
            for member, mine in shares.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Nothing is remembered here: ``held`` says what has become of it."""


def _claimed(user_data: bytes) -> Collection[int]:
    try:
        return _decode(user_data)
    except msgspec.DecodeError:  # a stranger in the group
        return ()
