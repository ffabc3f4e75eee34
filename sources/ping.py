"""PingSource: the same event again and again, by a cron schedule."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Literal, NoReturn, Self
from uuid import uuid4
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic.alias_generators import to_camel

from broker.errors import ChannelFull, ChannelUnavailable, InvalidEvent, did_you_mean
from broker.event import Event, check_attributes
from broker.formats import is_json
from broker.manifest.durations import PositiveDuration
from broker.ports import Emitter, SourceContext

logger = logging.getLogger("cemesh.sources.ping")

TYPE: Final = "dev.knative.sources.ping"
LONGEST_SLEEP: Final = timedelta(minutes=1)
"""The clock is looked at again after that long: it may have been set, the machine suspended."""


class PingSpec(BaseModel):
    """What a PingSource's ``spec`` says beside its sink.

    ``schedule`` has five fields, or six with the seconds first, in ``timezone``. ``data`` is
    text, ``dataBase64`` any bytes. Without a ``contentType``, data that is JSON is called so.
    ``catchUp`` says whether ticks are made up for that passed while nobody was there: the last of
    them or all, if they are no longer ago than ``catchUpWithin``.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, validate_by_name=False
    )

    schedule: str
    timezone: str = "UTC"
    content_type: str | None = None
    data: str | None = None
    data_base64: bytes | None = None
    catch_up: Literal["none", "last", "all"] = "none"
    catch_up_within: PositiveDuration = timedelta(days=1)

    @field_validator("schedule")
    @classmethod
    def _fires(cls, schedule: str) -> str:
        try:
            next(CronSim(schedule, datetime.now(UTC)))
        except CronSimError as error:
            raise ValueError(
                f"'{schedule}' is not a cron schedule: {str(error).lower()}; give five fields "
                "(minute, hour, day, month, weekday) or six (second first)"
            ) from None
        except StopIteration:
            raise ValueError(f"'{schedule}' never comes round") from None
        return schedule

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            hint = did_you_mean(name, available_timezones())
            raise ValueError(f"unknown time zone '{name}'{hint}") from None
        return name

    @field_validator("content_type")
    @classmethod
    def _is_a_media_type(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                check_attributes(_attributes("/", datetime.now(UTC), text))
            except InvalidEvent as error:
                raise ValueError(error.detail.removeprefix("'datacontenttype' ")) from None
        return text

    @field_validator("data")
    @classmethod
    def _is_what_it_is_called(cls, data: str | None, info: ValidationInfo) -> str | None:
        called = info.data.get("content_type")
        if data is not None and called is not None and is_json(called) and not _holds_json(data):
            raise ValueError(f"is not JSON, which contentType '{called}' says it is")
        return data

    @field_validator("data_base64", mode="before")
    @classmethod
    def _decoded(cls, text: object) -> bytes | None:
        if text is None:
            return None
        if not isinstance(text, str):
            raise ValueError("must be a string")
        try:
            return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True)
        except ValueError:
            raise ValueError("is not base64") from None

    @model_validator(mode="after")
    def _has_one_payload(self) -> Self:
        if self.data is not None and self.data_base64 is not None:
            raise ValueError("'data' and 'dataBase64' exclude each other")
        return self


class PingSource:
    """Emits one event at every tick of its schedule.

    An event that cannot be stored is offered again until the next tick, and then given up
    with an error in the log. Ticks that pass while nobody could be awake for them (a suspended
    machine, a store that hangs) are not made up for, and the log says from when to when.

    To catch up, it keeps the tick that it has come to, waits for the store as long as that takes,
    and gives each event the id and time of its tick: one that comes again is the same.
    """

    api_versions: ClassVar = ("sources.knative.dev/v1",)
    alone: ClassVar = True

    def __init__(
        self,
        spec: PingSpec,
        context: SourceContext,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._spec = spec
        self._context = context
        self._zone = ZoneInfo(spec.timezone)
        self._now = now
        self._sleep = sleep

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled."""
        if self._spec.catch_up != "none":
            await self._run_and_catch_up(emit)
        due = self._tick_after(self._now())
        while True:
            await self._sleep_until(due)
            following = self._tick_after(due)
            await self._offer(self._event(str(uuid4()), self._now()), emit, until=following)
            now = self._now()
            late = self._tick_after(following) <= now
            if late:
                logger.error("pings missed", extra=self._fields(since=following, until=now))
            # Never before `due`, so that a clock which is put back repeats no tick.
            due = self._tick_after(now) if late else following

    async def _run_and_catch_up(self, emit: Emitter) -> NoReturn:
        stored: str | None = await self._context.load()
        done = self._now() if stored is None else datetime.fromisoformat(stored)
        if stored is None:  # the first ticks can pass while nobody is there, too
            await self._context.save(_written(done))
        while True:
            due = self._first_to_make_up(done)
            await self._sleep_until(due)
            done = due
            if self._spec.catch_up == "last" and self._tick_after(due) <= self._now():
                await asyncio.sleep(0)
                continue
            await emit(self._event(_written(due), due))
            await self._context.save(_written(due))

    def _first_to_make_up(self, done: datetime) -> datetime:
        """Return the tick after the one that is done, or the first that is not too long ago."""
        due = self._tick_after(done)
        oldest = self._now() - self._spec.catch_up_within
        if due >= oldest:
            return due
        logger.error("pings missed", extra=self._fields(since=due, until=oldest))
        return self._tick_after(oldest)

    async def _offer(self, event: Event, emit: Emitter, *, until: datetime) -> None:
        """Emit the event, again and again while it cannot be stored, up to the time ``until``."""
        warned = False
        while True:
            try:
                await emit.at_once(event)
            except (ChannelUnavailable, ChannelFull) as error:
                left = until - self._now()
                if left <= timedelta(0):
                    logger.error(
                        "ping given up", extra=self._fields(event_id=event.id, why=str(error))
                    )
                    return
                if not warned:
                    logger.warning(
                        "ping refused", extra=self._fields(event_id=event.id, why=str(error))
                    )
                    warned = True
                await self._sleep(min(error.retry_after, left).total_seconds())
            else:
                return

    async def _sleep_until(self, due: datetime) -> None:
        while (left := due - self._now()) > timedelta(0):
            await self._sleep(min(left, LONGEST_SLEEP).total_seconds())

    def _tick_after(self, moment: datetime) -> datetime:
        for tick in CronSim(self._spec.schedule, moment.astimezone(self._zone)):
            # In the hour that is repeated when summer time ends, a tick of its first pass is
            # offered during the second.
            if (in_utc := tick.astimezone(UTC)) > moment:
                return in_utc
        raise AssertionError("a schedule that passed its validation comes round")

    def _event(self, id: str, time: datetime) -> Event:
        spec = self._spec
        data = spec.data_base64 if spec.data is None else spec.data.encode()
        content_type = spec.content_type
        if content_type is None and spec.data is not None and _holds_json(spec.data):
            content_type = "application/json"
        attributes = _attributes(self._context.uri, time, content_type, id=id)
        return Event.checked(attributes, data)

    def _fields(self, **fields: object) -> dict[str, object]:
        source = f"{self._context.kind} {self._context.namespace}/{self._context.name}"
        return {"source": source, **fields}


def _attributes(
    source: str, time: datetime, content_type: str | None, *, id: str = "1"
) -> dict[str, str]:
    # The source is the producer: the id and the time are its own to give.
    attributes = {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": TYPE,
        "time": _written(time),
    }
    return attributes if content_type is None else {**attributes, "datacontenttype": content_type}


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _holds_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
