"""What the parts of a mesh do where they run apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from broker.errors import InvalidManifest, Problem, UnknownBroker
from broker.mesh.resources import Resources
from broker.policy import Rate
from broker.ports import BackendOptions, Emit
from broker.settings import WHOLE, Part
from broker.trigger import Desired, Trigger


def of_parts(desired: Desired, parts: frozenset[Part]) -> Desired:
    """Return what of it these parts run. All of them have the brokers.

    What is called runs wherever events are taken, in all processes.
    """
    sources = {
        key: each
        for key, each in desired.sources.items()
        if (Part.INGRESS if each.receives else Part.SOURCES) in parts
    }
    return Desired(
        brokers=desired.brokers,
        triggers=desired.triggers if Part.DISPATCHER in parts else {},
        sources=sources,
        held=desired.held,
    )


def share_of(desired: Desired, number: int, processes: int) -> Desired:
    """Return the share of one of so many processes, counted from 0, in what bounds each trigger.

    Of attempts under way each has one at least.
    """
    if processes == 1:
        return desired
    triggers = {
        key: _share(trigger, number, processes) for key, trigger in desired.triggers.items()
    }
    return replace(desired, triggers=triggers)


def _share(trigger: Trigger, number: int, processes: int) -> Trigger:
    limits = trigger.delivery.limits
    if limits.rate is not None:
        burst = max(1, _part(limits.rate.burst, number, processes))
        rate = Rate(per_second=limits.rate.per_second / processes, burst=burst)
        limits = replace(limits, rate=rate)
    if limits.bytes_in_flight is not None:
        limits = replace(limits, bytes_in_flight=max(1, limits.bytes_in_flight // processes))
    return replace(
        trigger,
        parallelism=max(1, _part(trigger.parallelism, number, processes)),
        delivery=replace(trigger.delivery, limits=limits),
    )


def _part(whole: int, number: int, processes: int) -> int:
    """Return the part of that process; the parts of all are the whole."""
    return whole // processes + (number < whole % processes)


def processes(
    desired: Desired, workers: int, *, channel: str | None, options: BackendOptions
) -> int:
    """Return how many processes a mesh takes: more than ``workers`` where more had a shard before.

    Raises `InvalidManifest` where there shall be several, and a channel is of one process alone.
    """
    resources = Resources(channel=channel, options=options, emit_to=_emit_nowhere)
    count = max([workers, *map(resources.shards, desired.brokers.values())])
    problems = [
        Problem(
            file=None,
            line=None,
            subject=f"Broker {broker.key}",
            message=f"its channel '{resources.channel_scheme(broker)}' is of one process alone: "
            "run it without --workers, or choose one that several processes can have "
            "(--channel sqlite:, kafka://HOST:PORT or amqp://HOST:PORT)",
        )
        for broker in desired.brokers.values()
        if count > 1 and not resources.has_shards(broker)
    ]
    if problems:
        raise InvalidManifest(problems)
    return count


def _emit_nowhere(broker: str) -> Emit:
    raise UnknownBroker(broker)


def refuse_unshared(desired: Desired, parts: frozenset[Part], resources: Resources) -> None:
    """Raise `InvalidManifest` where parts run apart and a broker's channel is of one process."""
    problems = unshared(desired, parts, resources)
    if problems:
        raise InvalidManifest(problems)


def unshared(desired: Desired, parts: frozenset[Part], resources: Resources) -> Sequence[Problem]:
    """Return the brokers whose channel is of one process, where parts run apart.

    What the one took in, the other would never deliver.
    """
    if parts == WHOLE:
        return ()
    return [
        Problem(
            file=None,
            line=None,
            subject=f"Broker {broker.key}",
            message=f"its channel '{resources.channel_scheme(broker)}' is of one process alone: "
            "run everything in one with `cemesh run`, or choose a channel that processes share "
            "(--channel kafka://HOST:PORT or amqp://HOST:PORT, or the class Kafka or "
            "RabbitMQBroker)",
        )
        for broker in desired.brokers.values()
        if not resources.is_shared(broker)
    ]


def refusal(
    parts: frozenset[Part], *, channel: str | None, options: BackendOptions
) -> Callable[[Desired], Sequence[Problem]]:
    """Return what tells which brokers these parts cannot run."""
    resources = Resources(channel=channel, options=options, emit_to=_emit_nowhere)
    return lambda desired: unshared(desired, parts, resources)
