"""Which kinds of object the mesh brings along to a cluster, and how a cluster calls and shows them.

A SinkBinding is not among them: in a cluster it binds programs, which the mesh does not do. An API
server that does not know it says so; one that took it would promise what nobody keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker.manifest.kinds import wanted_versions

Sort = Literal["broker", "trigger", "config", "policy", "source", "sink"]

_CATEGORIES: Final[dict[Sort, tuple[str, ...]]] = {
    "broker": ("eventing",),
    "trigger": ("eventing",),
    "config": ("eventing",),
    "policy": ("eventing",),
    "source": ("sources",),
    "sink": ("eventing", "sinks"),
}
"""Sort → what `kubectl get` finds it by, as Knative has them, beside what finds all kinds."""

_DUCKS: Final[dict[Sort, tuple[str, ...]]] = {
    "broker": ("addressable",),
    "source": ("source",),
}
"""Sort → what Knative's own tools, such as `kn source list`, take its objects for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What `kubectl get` shows of each object."""

    name: str
    path: str
    type: Literal["string", "date"] = "string"


_AGE: Final = Column(name="Age", path=".metadata.creationTimestamp", type="date")
_READY: Final = (
    Column(name="Ready", path='.status.conditions[?(@.type=="Ready")].status'),
    Column(name="Reason", path='.status.conditions[?(@.type=="Ready")].reason'),
)
_SINK: Final = Column(name="Sink", path=".status.sinkUri")
_CLASS: Final = Column(name="Class", path=".spec.class")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of object. ``has_status``: the mesh writes what became of each of them."""

    kind: str
    sort: Sort
    columns: tuple[Column, ...]
    short_names: tuple[str, ...] = ()
    plural: str = ""
    has_status: bool = True

    @property
    def plural_name(self) -> str:
        return self.plural or f"{self.singular}s"

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def group(self) -> str:
        [group] = {each.rpartition("/")[0] for each in wanted_versions(self.kind)}
        return group

    @property
    def versions(self) -> Sequence[str]:
        """Its versions, the one that is stored first."""
        return [each.rpartition("/")[2] for each in wanted_versions(self.kind)]

    @property
    def definition(self) -> str:
        """The name of its CustomResourceDefinition."""
        return f"{self.plural_name}.{self.group}"

    @property
    def categories(self) -> Sequence[str]:
        return ("all", "knative", *_CATEGORIES[self.sort], "cemesh")

    @property
    def ducks(self) -> Sequence[str]:
        return _DUCKS.get(self.sort, ())


def _source(kind: str, *more: Column) -> Kind:
    return Kind(kind=kind, sort="source", columns=(_SINK, *more, _AGE, *_READY))


def _sink(kind: str, *more: Column) -> Kind:
    return Kind(kind=kind, sort="sink", columns=(*more, _AGE, *_READY))


KINDS: Final[Sequence[Kind]] = (
    Kind(
        kind="Broker",
        sort="broker",
        columns=(Column(name="URL", path=".status.address.url"), _AGE, *_READY),
    ),
    Kind(
        kind="Trigger",
        sort="trigger",
        columns=(
            Column(name="Broker", path=".spec.broker"),
            Column(name="Subscriber_URI", path=".status.subscriberUri"),
            _AGE,
            *_READY,
        ),
    ),
    Kind(
        kind="RabbitmqBrokerConfig",
        sort="config",
        columns=(_AGE,),
        short_names=("rmqbrokerconfig",),
        has_status=False,  # Knative's has none; what is wrong with it, the brokers' statuses say
    ),
    Kind(
        kind="DeliveryPolicy",
        sort="policy",
        columns=(_AGE, *_READY),
        plural="deliverypolicies",
    ),
    _source("Source", _CLASS),
    _source("ApiServerSource"),
    _source("ContainerSource"),
    _source("DirectorySource", Column(name="Path", path=".spec.path")),
    _source("FileSource", Column(name="Path", path=".spec.path")),
    _source("HttpPollerSource", Column(name="URL", path=".spec.url")),
    _source(
        "KafkaSource",
        Column(name="Topics", path=".spec.topics"),
        Column(name="BootstrapServers", path=".spec.bootstrapServers"),
    ),
    _source("MqttSource"),
    _source("PingSource", Column(name="Schedule", path=".spec.schedule")),
    _source("PostgresqlSource"),
    _source("RabbitmqSource"),
    _source("RedisStreamSource", Column(name="Stream", path=".spec.stream")),
    _source("S3Source", Column(name="Bucket", path=".spec.bucket")),
    _source("WebSocketSource", Column(name="URL", path=".spec.url")),
    _source("WebhookSource", Column(name="Preset", path=".spec.preset")),
    _sink("Sink", _CLASS),
    _sink("FileSink", Column(name="Path", path=".spec.path")),
    _sink("JobSink"),
    _sink("KafkaSink", Column(name="Topic", path=".spec.topic")),
    _sink("LogSink"),
    _sink("MqttSink"),
    _sink("PostgresqlSink"),
    _sink("RabbitmqSink"),
    _sink("RedisStreamSink", Column(name="Stream", path=".spec.stream")),
    _sink("S3Sink", Column(name="Bucket", path=".spec.bucket")),
    _sink("WebhookSink"),
)
