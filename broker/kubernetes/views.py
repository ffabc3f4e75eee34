"""What is known of the mesh when statuses are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.errors import Problem, UnknownBroker
from broker.kubernetes.conditions import Condition
from broker.kubernetes.wrongs import About, Wrong
from broker.settings import WHOLE, Part
from broker.status import BrokerStatus, Manifests, Operated, SourceStatus, TriggerStatus
from broker.trigger import Trigger
from broker.urls import without_credentials

_BROKER: Final = "broker://"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What these ``parts`` of a mesh do, and what is wrong with which object.

    ``address`` is where the data port is reached within the cluster, None where nobody said.
    ``manifests`` are what the mesh has taken up last; ``failures`` say what keeps it from running
    an object that nothing is wrong with. ``problems``, ``failures`` and ``sources`` are by ``Kind
    namespace/name``, and so is what is known of the ``deployments`` of sources that are pods; all
    else is by ``namespace/name``. ``triggers`` are those that are wanted, ``running`` those that
    are subscribed here.
    """

    parts: frozenset[Part] = WHOLE
    address: str | None = None
    manifests: Manifests = field(default_factory=Manifests)
    problems: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    failures: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    brokers: Mapping[str, BrokerStatus] = field(default_factory=dict)
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    running: Mapping[str, TriggerStatus] = field(default_factory=dict)
    sources: Mapping[str, SourceStatus] = field(default_factory=dict)
    deployments: Mapping[str, Condition] = field(default_factory=dict)

    @property
    def evidence(self) -> tuple[object, ...]:
        """All of it that statuses depend on: where that is equal, so are they."""
        return (
            self.problems,
            self.failures,
            {key: each.unavailable for key, each in self.brokers.items()},
            self.triggers,
            {key: (each.state.phase, each.state.why) for key, each in self.running.items()},
            {key: (each.state, each.error, each.broker) for key, each in self.sources.items()},
            self.deployments,
        )

    def wrong_with(self, subject: str, abouts: Sequence[About]) -> Wrong:
        """Return what is wrong with the object, and what keeps it from being run."""
        return Wrong(
            self.problems.get(subject, ()), abouts, failures=self.failures.get(subject, ())
        )

    def is_wrong(self, subject: str) -> bool:
        return bool(self.problems.get(subject) or self.failures.get(subject))

    def broker_url(self, key: str) -> str | None:
        """Return where the broker takes events in the cluster, if that is known."""
        return None if self.address is None else f"{self.address.rstrip('/')}/{key}"

    def told(self, url: str) -> str:
        """Return the URL as everybody may read it who reads statuses."""
        if url.startswith(_BROKER):
            return self.broker_url(url.removeprefix(_BROKER)) or url
        return without_credentials(url)


async def seen(
    mesh: Operated, problems: Mapping[str, Sequence[Problem]], *, address: str | None
) -> View:
    """Return what the mesh does now."""
    status = await mesh.status()
    triggers: dict[str, Trigger] = {}
    for broker in status.brokers:
        try:
            triggers |= {each.key: each for each in mesh.triggers(broker.key)}
        except UnknownBroker:
            continue  # it has gone since
    failures: dict[str, list[Problem]] = {}
    for problem in status.problems:
        if problem not in problems.get(problem.subject, ()):
            failures.setdefault(problem.subject, []).append(problem)
    return View(
        parts=status.parts,
        address=address,
        manifests=status.manifests,
        problems=problems,
        failures=failures,
        brokers={each.key: each for each in status.brokers},
        triggers=triggers,
        running={each.key: each for broker in status.brokers for each in broker.triggers},
        sources={f"{each.kind} {each.key}": each for each in status.sources},
    )
