"""The backends and sinks that a mesh uses: each opened when first asked for, once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from typing import Self

from broker import plugins
from broker.channels.shard import ShardChannel, Upstream
from broker.errors import CemeshError
from broker.mesh.kindsinks import KindSinks
from broker.ports import Backend, BackendOptions, Channel, Emit, Sink, SinkOptions, Sinks
from broker.trigger import Broker, SinkObject, Target
from broker.urls import without_credentials
from sinks.broker import BrokerSinks

DEFAULT_CHANNEL = "sqlite:"


class Resources:
    """Open backends and sinks; all close when the context ends, the sinks first.

    Where there is an ``upstream``, channels that processes cannot share are shards. To be used
    from the task that entered the context.
    """

    def __init__(
        self,
        *,
        channel: str | None,
        options: BackendOptions,
        emit_to: Callable[[str], Emit],
        upstream: Upstream | None = None,
    ) -> None:
        self._upstream = upstream
        self._shards: dict[str, tuple[Channel, ShardChannel]] = {}
        self._default = channel or DEFAULT_CHANNEL
        self._options = options
        self._backends: dict[str, Backend] = {}
        self._sinks: dict[str, Sinks] = {plugins.BROKER_SCHEME: BrokerSinks(emit_to)}
        self._kind_sinks = KindSinks()
        self._open_backends = AsyncExitStack()
        self._open_sinks = AsyncExitStack()
        self._open_sinks.push_async_exit(self._kind_sinks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._open_sinks.aclose()
        finally:
            await self._open_backends.aclose()

    def channel_url(self, broker: Broker) -> str:
        """Return the URL of the channel that the broker's class, or the default, selects."""
        asked = broker.channel
        # A class that asks for what the default is gets what the operator said about it, too.
        is_default = asked is None or plugins.is_one_channel(asked, _scheme(self._default))
        return self._default if is_default else f"{asked}:"

    def channel_scheme(self, broker: Broker) -> str:
        """Return the scheme of that URL, which is what a channel is called."""
        return _scheme(self.channel_url(broker))

    def is_shared(self, broker: Broker) -> bool:
        """Return whether other processes can have the broker's channel at the same time.

        Raises `PluginNotFound`.
        """
        backend = plugins.channel_backend(self.channel_scheme(broker))
        return getattr(backend, "shared", True)

    def has_shards(self, broker: Broker) -> bool:
        """Return whether each process can have the broker's channel, or a shard of it.

        Raises `PluginNotFound`.
        """
        backend = plugins.channel_backend(self.channel_scheme(broker))
        return self.is_shared(broker) or hasattr(backend, "shards")

    def shards(self, broker: Broker) -> int:
        """Return how many shards there are of the broker's channel, which is 1 for most.

        Raises `PluginNotFound`.
        """
        backend = plugins.channel_backend(self.channel_scheme(broker))
        count: Callable[[str, BackendOptions], int] | None = getattr(backend, "shards", None)
        return 1 if count is None else count(self.channel_url(broker), self._options)

    async def channel(self, broker: Broker) -> Channel:
        """Return the broker's channel.

        Raises `PluginNotFound`, `ChannelUnavailable`, or a `CemeshError` with what is wrong with
        the broker's configuration.
        """
        url = self.channel_url(broker)
        if url not in self._backends:
            backend = plugins.channel_backend(_scheme(url)).from_url(url, self._options)
            self._backends[url] = await self._open_backends.enter_async_context(backend)
        channel = await self._backends[url].channel(broker.key, broker.config, broker.secret)
        if self._upstream is None or self.is_shared(broker):
            return channel
        former, shard = self._shards.get(broker.key, (None, None))
        if shard is None or former is not channel:
            shard = ShardChannel(broker.key, channel, self._upstream)
            self._shards[broker.key] = channel, shard
        return shard

    async def leave_sinks_but(self, used: Collection[SinkObject]) -> None:
        """Let go of the sinks of kinds that nothing uses any more."""
        await self._kind_sinks.leave_all_but(used)

    async def sink(self, target: Target, options: SinkOptions) -> Sink:
        """Return the sink for that target. Raises a `CemeshError` if there can be none."""
        scheme = _scheme(target.url)
        try:
            if target.sink is not None:
                return await self._kind_sinks.sink(target.sink, options)
            if scheme not in self._sinks:
                sinks = plugins.sinks(scheme)()
                self._sinks[scheme] = await self._open_sinks.enter_async_context(sinks)
            return self._sinks[scheme].sink(target, options)
        except CemeshError:
            raise
        except Exception as error:  # a plug-in's faults must not end a mesh that runs
            fault = f"{type(error).__name__}: {error}"
            told = without_credentials(target.url)
            raise CemeshError(f"no sink can be made for {told}: {fault}") from error


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()
