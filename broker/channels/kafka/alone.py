"""Work that is done by one process at a time: by the one that a group of Kafka's has agreed on.

Whoever works says so in every round, and is chosen again; so one that comes disturbs nobody. It
stops by itself some seconds before the others could agree without it: heartbeats that are answered
tell until when they cannot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from broker.channels.kafka.connecting import ANSWER_WITHIN, at, open_client, said, who
from broker.channels.kafka.group import Group
from broker.channels.kafka.settings import ClientOptions
from broker.errors import ChannelUnavailable

_log: Final = logging.getLogger("cemesh.channel")

_SESSION: Final = timedelta(seconds=15)
"""After how long a process that is not heard of any more is missed."""

_ROUND: Final = timedelta(seconds=60)
"""For how long a round waits for a process that is heard of, and has not joined again."""

_STOPS_WITHIN: Final = 5.0
"""Seconds that the work has to end before another may be chosen."""

_BEATS_EVERY: Final = 3.0
_TRIES_EVERY: Final = 0.2
_LEAVES_WITHIN: Final = 1.0

_WORKS: Final = b"works"
_WAITS: Final = b"waits"


async def do_alone(options: ClientOptions, group: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work once nobody else of the group does, and leave the group when it has ended.

    Raises what the work does, and `ChannelUnavailable` where Kafka cannot be asked, or does not say
    any more that nobody else works; the work has ended then. A process that was halted for longer
    than the session goes on until it notices, and so does one whose Kafka is cut in two parts.
    """
    async with AsyncExitStack() as resources:
        joins = await _opened(options, resources, _ROUND + _SESSION)
        asks = await _opened(options, resources, ANSWER_WITHIN)
        member = Group(group, joins=joins, asks=asks, session=_SESSION, rebalance=_ROUND)
        candidate = _Candidate(member, options, group)
        resources.push_async_callback(candidate.leave)
        await candidate.watch(candidate.chosen())
        await candidate.watch(_do(work))


async def _opened(
    options: ClientOptions, resources: AsyncExitStack, answers_within: timedelta
) -> AIOKafkaClient:
    try:
        client = await open_client(options, answers_within=answers_within)
    except KafkaError as error:
        raise ChannelUnavailable(f"{at(options)}: {said(error)}") from error
    resources.push_async_callback(client.close)
    return client


async def _do(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _choose(members: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Choose who works already, or else any."""
    works = [member for member, said in members.items() if said == _WORKS]
    return {min(works or members): _WORKS}


class _Candidate:
    """One that would work, from when it is made until it leaves."""

    def __init__(self, member: Group, options: ClientOptions, group: str) -> None:
        self._member = member
        self._options = options
        self._group = group
        self._chosen = asyncio.Event()
        self._joining = asyncio.Event()
        self._joining.set()
        # When what was asked that was answered, and what was answered by that nothing has changed.
        self._heard = self._settled = time.monotonic()
        self._trouble: KafkaError | None = None
        self._keeping = [asyncio.create_task(each) for each in (self._join(), self._beat())]

    async def chosen(self) -> None:
        """Return once it is this one that works."""
        await self._chosen.wait()

    async def watch(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do that for as long as this one may, and return, or raise, when it has ended."""
        task = asyncio.create_task(doing)
        try:
            while not task.done():
                await asyncio.wait(
                    [task, *self._keeping],
                    timeout=self._left(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not task.done():
                    self._check()
        except BaseException:
            task.cancel()
            await _ended(task)
            failure = None if task.cancelled() else task.exception()
            if failure is not None:
                extra = {"group": self._group, "why": str(failure)}
                _log.warning("what was to stop has failed", extra=extra, exc_info=failure)
            raise
        task.result()

    async def leave(self) -> None:
        """Let the others agree without this one, at once if they can be told."""
        for task in self._keeping:
            task.cancel()
        await _ended(*self._keeping)
        for task in self._keeping:
            if not task.cancelled():
                task.exception()  # of which nobody has to hear who has done the work
        try:
            async with asyncio.timeout(_LEAVES_WITHIN):
                await self._member.leave()
        except (KafkaError, TimeoutError) as error:
            extra = {"group": self._group, "why": said(error)}
            _log.debug("not told to the group: it misses this member later", extra=extra)

    # --- until when nobody else can be chosen ----------------------------------------------

    def _left(self) -> float:
        """Return for how many seconds Kafka is not missed."""
        until = self._settled + _ROUND.total_seconds()
        if self._chosen.is_set():
            until = min(until, self._heard + _SESSION.total_seconds()) - _STOPS_WITHIN
        return max(0.0, until - time.monotonic())

    def _check(self) -> None:
        for task in self._keeping:
            if task.done():
                task.result()
        if not self._left():
            why = "no answer in time" if self._trouble is None else said(self._trouble)
            raise ChannelUnavailable(f"{at(self._options)} {self._what_it_does_not_say()}: {why}")

    def _what_it_does_not_say(self) -> str:
        if self._chosen.is_set():
            return (
                f"has not confirmed for {time.monotonic() - self._heard:.0f} s that nobody else "
                f"does the work of the group '{self._group}', so it was stopped here"
            )
        return f"does not say who does the work of the group '{self._group}'"

    # --- being a member --------------------------------------------------------------------

    async def _join(self) -> None:
        while True:
            await self._joining.wait()
            says = _WORKS if self._chosen.is_set() else _WAITS
            try:
                told = await self._member.join(says, _choose)
            except (RebalanceInProgressError, IllegalGenerationError):
                pass
            except UnknownMemberIdError as error:
                self._missed(error)
            except KafkaError as error:
                self._met(error)
            else:
                self._heard = self._settled = told.asked
                if told.text == _WORKS:
                    self._chosen.set()
                elif self._chosen.is_set():
                    raise self._taken("it has chosen another")
                self._joining.clear()
                continue
            await asyncio.sleep(_TRIES_EVERY)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEATS_EVERY)
            if not self._member.is_member:
                continue
            asked, generation = time.monotonic(), self._member.generation
            try:
                await self._member.beat()
            except RebalanceInProgressError:
                self._heard = max(self._heard, asked)
                if generation == self._member.generation:
                    self._joining.set()
            except (IllegalGenerationError, UnknownMemberIdError) as error:
                # While it joins, the answer to that says what has become of it.
                if not self._joining.is_set() and generation == self._member.generation:
                    self._missed(error)
                    self._joining.set()
            except KafkaError as error:
                self._met(error)
            else:
                self._heard = max(self._heard, asked)
                self._settled = max(self._settled, asked)

    def _missed(self, error: KafkaError) -> None:
        """Begin anew, or raise where others may work by now."""
        if self._chosen.is_set():
            raise self._taken(said(error)) from error
        if isinstance(error, UnknownMemberIdError):
            self._member.forget()

    def _met(self, error: KafkaError) -> None:
        """Note what may pass, or raise."""
        self._trouble = error
        if isinstance(error, GroupAuthorizationFailedError):
            raise ChannelUnavailable(
                f"{at(self._options)} does not let {who(self._options)} join the group "
                f"'{self._group}': it takes an ACL that allows Read on it"
            ) from error
        if not error.retriable:
            raise ChannelUnavailable(
                f"{at(self._options)}, group '{self._group}': {said(error)}"
            ) from error

    def _taken(self, why: str) -> ChannelUnavailable:
        return ChannelUnavailable(
            f"{at(self._options)} has given the work of the group '{self._group}' to others, so it "
            f"was stopped here: {why}"
        )


async def _ended(*tasks: asyncio.Task[None]) -> None:
    """Return once the tasks have ended, and not before, however often this is cancelled."""
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
