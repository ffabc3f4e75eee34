"""What the manifests ask for, in the mesh's own terms: brokers, triggers, sources.

Everything here is a frozen value, so that two states of the manifests can be compared and
only what differs is started or stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from broker.filters import EVERYTHING, Filter
from broker.policy import Batch, Breaker, Consent, Credentials, Limits, Signing, Timeouts

ContentMode = Literal["binary", "structured"]
BackoffPolicy = Literal["exponential", "linear"]

_MOST_UNDER_WAY: Final = 10_000

DEFAULT_PARALLELISM: Final = 100
"""Attempts that one trigger has under way at most (Knative's default on RabbitMQ)."""

SECRET_NAME: Final = "auth.secret.ref.name"  # noqa: S105 - a key, no secret
SECRET_NAMESPACE: Final = "auth.secret.ref.namespace"  # noqa: S105
"""The keys of a broker's configuration that say where its `Broker.secret` is."""

EXTERNAL_TOPIC: Final = "kafka.eventing.knative.dev/external.topic"
"""The annotation of a Broker that names its topic, and the key under which `Broker.config` has it.

No key of a ConfigMap may have a slash in it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkObject:
    """A destination that an object of the manifests describes.

    ``spec`` is what its plug-in's own model made of it. ``at`` is where that is, ``module:Name``,
    or None where it is what is installed for its kind.
    """

    kind: str
    key: str
    spec: object
    at: str | None = None

    @property
    def url(self) -> str:
        """What it is called among URLs: ``kafkasink://default/orders``. Nobody can ask for that."""
        return f"{self.kind.lower()}://{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where events go: an absolute URL, whose scheme chooses the sink; or the ``sink`` itself.

    ``broker://NAMESPACE/NAME`` is a broker of this mesh. ``ca_certs`` is PEM text that is
    trusted beside the system's own authorities.
    """

    url: str
    ca_certs: str | None = None
    audience: str | None = None
    sink: SinkObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How a trigger's deliveries are attempted, repeated and given up.

    ``retry`` counts the attempts after the first. ``backoff_jitter`` is the share by which a
    wait is varied either way, 0.1 meaning ±10 %. ``backoff_cap`` is None where waits may grow
    without bound. ``dead_letter`` is None where the broker's own store takes dead letters,
    ``reply`` where the broker itself takes what the subscriber replies.
    ``signing``, ``credentials``, ``consent`` and ``batch`` are about the subscriber alone.
    ``parks`` is for ordered triggers: what is given up waits, and its key with it, for an operator.
    """

    retry: int = 10
    backoff_policy: BackoffPolicy = "exponential"
    backoff_delay: timedelta = timedelta(milliseconds=200)
    backoff_cap: timedelta | None = timedelta(minutes=10)
    backoff_jitter: float = 0.1
    timeout: timedelta = timedelta(seconds=30)
    retry_after_max: timedelta = timedelta(hours=1)
    content_mode: ContentMode | None = None
    dead_letter: Target | None = None
    reply: Target | None = None
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    breaker: Breaker | None = Breaker()
    signing: Signing | None = None
    credentials: Credentials = Credentials()
    consent: Consent | None = None
    batch: Batch | None = None
    parks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may send to a broker: client name → the credential that proves it.

    A credential is the value of the Authorization header after its scheme, so a bearer token
    or the base64 of ``user:password``. Kept out of every `repr`.
    """

    bearer: Mapping[str, str] = field(default_factory=dict, repr=False)
    basic: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker to run. ``key`` is ``namespace/name``.

    ``channel`` is the scheme of the channel that the broker's class asks for, or None for the
    mesh's default. ``config`` is the data of its ConfigMap, ``secret`` that of the Secret which
    the ConfigMap refers to; bytes in it that are not UTF-8 are surrogates (PEP 383). ``access``
    is None where anybody may send. ``takes_announcements``: what triggers do is told there.
    """

    key: str
    channel: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)
    access: Access | None = None
    takes_announcements: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger to run. ``key`` and ``broker`` are ``namespace/name``.

    ``ordered``: events of one ``partitionkey`` are delivered one after the other.
    """

    key: str
    broker: str
    subscriber: Target
    filter: Filter = EVERYTHING
    delivery: DeliveryPolicy = DeliveryPolicy()
    parallelism: int = DEFAULT_PARALLELISM
    ordered: bool = False

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def targets(self) -> tuple[Target, ...]:
        """Where its events may go: the subscriber, and the other destinations that it has."""
        others = (self.delivery.dead_letter, self.delivery.reply)
        return (self.subscriber, *(each for each in others if each is not None))

    @property
    def window(self) -> int:
        """How many events may be under way: as many as ``parallelism`` requests hold."""
        batch = self.delivery.batch
        return (
            self.parallelism
            if batch is None
            else min(self.parallelism * batch.max_events, _MOST_UNDER_WAY)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An event source to run. ``spec`` is what its plug-in's own model made of the manifest.

    ``at`` is where that is, ``module:Name``, or None where it is what is installed for its kind.

    ``broker`` is the key of the broker that it emits into, ``extensions`` what
    ``ceOverrides`` adds to each of its events. ``receives``: it
    is called (`broker.ports.Receiver`).
    """

    kind: str
    key: str
    broker: str
    spec: object
    at: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)
    receives: bool = False

    @property
    def path(self) -> str:
        """Where on the data port it is called: ``/KINDs/NAMESPACE/NAME``."""
        return f"/{self.kind.lower()}s/{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All that should run, by ``namespace/name`` (sources by ``Kind namespace/name``).

    ``held`` are triggers that are there and cannot run as they are now: nothing is delivered to
    them, and their place in the broker's channel is kept for when they can.
    """

    brokers: Mapping[str, Broker] = field(default_factory=dict)
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
