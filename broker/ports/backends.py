"""The storage systems that hold channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final, Literal, Protocol, Self

from broker.ports.channels import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What every backend is told.

    ``retention_age`` and ``retention_bytes`` bound the history that is kept of events that
    no trigger waits for; events that one waits for are kept whatever they say. ``shard`` is which
    process of the mesh this is, counted from 0: each has a part of a store that only one process
    at a time can have, and ids that no other shard has.
    """

    data_dir: str
    retention_age: timedelta
    retention_bytes: int
    shard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong, or doubtful, at one key of a broker's ConfigMap or Secret.

    ``message`` goes on where the key's name ends, and shows no value of a Secret.
    """

    of: Literal["config", "secret"]
    key: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{_OBJECTS[self.of]}: {self.key}: {self.message}"


_OBJECTS: Final = {"config": "ConfigMap", "secret": "Secret"}


class Backend(AbstractAsyncContextManager["Backend"], Protocol):
    """A storage system: holds the channels of any number of brokers while entered.

    ``shared`` says whether other processes, with backends of their own, can have the same
    channels at the same time; it is taken for True where it is missing. One that is not may have
    ``shards(url, options)``, which returns how many shards there are already.
    """

    shared: ClassVar[bool] = True

    @classmethod
    def from_url(cls, url: str, options: BackendOptions) -> Self: ...

    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        """Return what is wrong with a broker's configuration. Asked when a manifest is loaded.

        Connects to nothing. What only the URL could tell is no fault.
        """
        ...

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Channel:
        """Return the broker's channel, made if it is new; the same one at every call.

        Raises `ChannelUnavailable`, and another `CemeshError` that tells the faults where
        `check` finds any: a broker of the default class is not checked when it is loaded.
        """
        ...
