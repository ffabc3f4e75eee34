"""Being a member of a group of Kafka's, by requests of our own.

A group agrees on who its members are. One of them, its leader, is told what each has said as it
joined, and tells each what it is to do. A round of that ends once all members have joined again,
or are known to be gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    MemberIdRequired,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)

_TYPE: Final = "cemesh"  # no consumer gets in by mistake, nor do we among consumers
_PROTOCOL: Final = "alone"
_NEW: Final = ""

_FROM_THE_COORDINATOR: Final = (
    IllegalGenerationError,
    MemberIdRequired,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

Lead = Callable[[Mapping[str, bytes]], Mapping[str, bytes]]
"""Given what each member has said, returns what members are told."""


class Told(NamedTuple):
    """What a member was told, and when it asked for that, by `time.monotonic`."""

    text: bytes
    asked: float


class Group:
    """A member of the group ``name``. Whatever asks raises `KafkaError`.

    ``joins`` has to wait for as long as a round may take, ``asks`` for an answer only: a server
    does not read on where an answer is due. ``session`` is for how long a member is not missed,
    ``rebalance`` for how long the others wait for one to join again.
    """

    def __init__(
        self,
        name: str,
        *,
        joins: AIOKafkaClient,
        asks: AIOKafkaClient,
        session: timedelta,
        rebalance: timedelta,
    ) -> None:
        self._name = name
        self._joins = joins
        self._asks = asks
        self._session = session // timedelta(milliseconds=1)
        self._rebalance = rebalance // timedelta(milliseconds=1)
        self._coordinator: int | None = None
        self._member = _NEW
        self.generation = -1
        """Which agreement this member is part of."""

    @property
    def is_member(self) -> bool:
        """Return whether Kafka has given it an id by now."""
        return self._member != _NEW

    def forget(self) -> None:
        """Be another member, that has never joined."""
        self._member = _NEW

    async def join(self, said: bytes, lead: Lead) -> Told:
        """Take part in a round and return what the leader tells. ``lead`` is for being the leader.

        What is told holds until a heartbeat says otherwise, or the session is over.
        """
        try:
            answer = await self._ask(self._joins, self._join_request(said))
        except MemberIdRequired as required:
            [self._member] = required.args
            answer = await self._ask(self._joins, self._join_request(said))
        self._member, self.generation = answer.member_id, answer.generation_id
        told: Mapping[str, bytes] = {}
        if answer.leader_id == self._member:
            told = lead({each[0]: each[-1] for each in answer.members})
        request = SyncGroupRequest(self._name, self.generation, self._member, None, [*told.items()])
        asked = time.monotonic()
        answer = await self._ask(self._joins, request)
        return Told(answer.member_assignment, asked)

    def _join_request(self, said: bytes) -> JoinGroupRequest:
        return JoinGroupRequest(
            self._name,
            self._session,
            self._rebalance,
            self._member,
            None,
            _TYPE,
            [(_PROTOCOL, said)],
        )

    async def beat(self) -> None:
        """Return where nothing has changed."""
        request = HeartbeatRequest(self._name, self.generation, self._member)
        await self._ask(self._asks, request)

    async def leave(self) -> None:
        """Let the others agree without this member."""
        if self.is_member:
            await self._ask(self._asks, LeaveGroupRequest(self._name, self._member))

    async def _ask(self, client: AIOKafkaClient, request: Any) -> Any:  # noqa: ANN401 - aiokafka has no types
        try:
            if self._coordinator is None:
                self._coordinator = await self._asks.coordinator_lookup(
                    CoordinationType.GROUP, self._name
                )
            answer = await client.send(self._coordinator, request)
            error = for_code(answer.error_code)
            if error is MemberIdRequired:
                raise error(answer.member_id)
            if error is not NoError:
                raise error(self._name)
        except _FROM_THE_COORDINATOR:
            raise
        except KafkaError:
            self._coordinator = None  # it may be another by now
            raise
        return answer
