"""Makes a mesh run what is desired, or as much of it as can be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from broker.errors import CemeshError, Problem
from broker.status import Manifests
from broker.trigger import Broker, Desired, Trigger


class Changeable(Protocol):
    """A mesh that can be changed; see `broker.mesh.Mesh`."""

    manifests: Manifests
    problems: Sequence[Problem]

    async def apply(self, desired: Desired) -> None: ...


class Applying:
    """Changes the mesh: as a whole or not at all, or, with ``each``, as far as it goes.

    In files, who changes one sees what becomes of it. In a cluster, a broker whose store is away
    must not keep those of others from what they ask for.
    """

    def __init__(self, mesh: Changeable, *, each: bool = False) -> None:
        self.mesh = mesh
        self._each = each
        self._running = Desired()

    async def apply(self, desired: Desired) -> Sequence[Problem]:
        """Return once the mesh runs what is desired, and what of it cannot run now.

        In place of that goes on what ran before under its name. Raises as `Mesh.apply` does where
        it is not one broker's or trigger's fault.
        """
        problems: list[Problem] = []
        while True:
            try:
                await self.mesh.apply(desired)
            except CemeshError as error:
                left = self._without(desired, error.subject) if self._each else None
                if left is None:
                    raise
                desired = left
                problems.append(
                    Problem(file=None, line=None, subject=error.subject, message=str(error))
                )
                continue
            self._running = desired
            return problems

    def _without(self, desired: Desired, subject: str) -> Desired | None:
        """Return the rest, or None where the subject is none of it."""
        kind, _, key = subject.partition(" ")
        if kind == "Broker" and key in desired.brokers:
            former = self._running.brokers.get(key)
            if former is not None and former != desired.brokers[key]:
                return replace(desired, brokers={**desired.brokers, key: former})
            return _without_broker(desired, key)
        if kind == "Trigger" and key in desired.triggers:
            before = self._running.triggers.get(key)
            now = desired.triggers[key]
            if before is not None and before != now and before.broker == now.broker:
                return replace(desired, triggers={**desired.triggers, key: before})
            return _held(desired, lambda each: each.key == key)
        return None


def _without_broker(desired: Desired, key: str) -> Desired:
    brokers: Mapping[str, Broker] = {
        name: each for name, each in desired.brokers.items() if name != key
    }
    sources = {name: each for name, each in desired.sources.items() if each.broker != key}
    rest = replace(desired, brokers=brokers, sources=sources)
    return _held(rest, lambda each: each.broker == key)


def _held(desired: Desired, is_held: Callable[[Trigger], bool]) -> Desired:
    """Return the same with those triggers held: their places in the channels are kept."""
    triggers = {key: each for key, each in desired.triggers.items() if not is_held(each)}
    held = desired.triggers.keys() - triggers.keys()
    return replace(desired, triggers=triggers, held=desired.held | held)
