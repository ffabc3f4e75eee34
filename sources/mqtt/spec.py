"""What a MqttSource's ``spec`` says beside its sink."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from broker.connections.mqtt import MqttAccess
from broker.manifest.durations import PositiveDuration

_LONGEST: Final = 65_535  # bytes, MQTT 5, section 1.5.4
_SHORTEST: Final = timedelta(seconds=1)
_LONGEST_KEPT: Final = timedelta(days=49_710)  # whole seconds, in four bytes
_SHARED: Final = "$share"


def _text(text: str) -> str:
    if len(text.encode()) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} bytes")
    if "\0" in text:
        raise ValueError("has a NUL in it")
    return text


def _filter(text: str) -> str:
    _text(text)
    levels = text.split("/")
    if levels[0] == _SHARED:
        if len(levels) < 3 or not levels[1] or set("+#") & set(levels[1]) or levels[2:] == [""]:
            raise ValueError(f"'{text}' is not of the form {_SHARED}/GROUP/TOPIC")
        levels = levels[2:]
    if any(set("+#") & set(each) and each not in ("+", "#") for each in levels):
        raise ValueError(f"'{text}': '+' and '#' stand for whole levels, between slashes")
    if "#" in levels[:-1]:
        raise ValueError(f"'{text}': '#' can only be the last level")
    return text


def _kept(length: timedelta) -> timedelta:
    if not _SHORTEST <= length <= _LONGEST_KEPT:
        raise ValueError("must be from PT1S to P49710D")
    return length


class MqttSpec(MqttAccess):
    """Which topics are read, where, as which client, and how long the server keeps them for it.

    ``retained`` says whether messages that the server keeps for new subscribers are read: when the
    subscription is ``new``, ``always`` when the source connects, or ``never``.
    """

    topics: Annotated[
        list[Annotated[str, Field(min_length=1), AfterValidator(_filter)]], Field(min_length=1)
    ]
    client_id: Annotated[str, Field(min_length=1), AfterValidator(_text)] | None = None
    session_expiry: Annotated[PositiveDuration, AfterValidator(_kept)] = timedelta(days=7)
    receive_maximum: Annotated[int, Field(ge=1, le=65_535)] = 100
    retained: Literal["new", "always", "never"] = "new"
    format: Literal["auto", "cloudevents"] = "auto"

    def client(self, namespace: str, name: str) -> str:
        """Return the client identifier of the source of that name, the same for ever."""
        # A namespace has no dot in it, so that no two sources share one.
        return self.client_id or f"cemesh-source.{namespace}.{name}"
