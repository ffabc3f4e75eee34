"""Reads what a broker tells its channel: a ConfigMap or the like, and the Secret it refers to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from broker import plugins
from broker.errors import PluginNotFound, did_you_mean
from broker.manifest.objects import Place
from broker.manifest.rabbitmq import ClusterReference, RabbitmqBrokerConfigObject
from broker.manifest.secrets import contents
from broker.manifest.shapes import ConfigMapObject, Reference, SecretObject
from broker.trigger import SECRET_NAME, SECRET_NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Referred:
    """What brokers refer to, by ``namespace/name``: None where it is there, but wrong.

    ``channels`` are the schemes of the channels that are installed.
    """

    config_maps: Mapping[str, tuple[ConfigMapObject | None, Place]]
    secrets: Mapping[str, tuple[SecretObject | None, Place]]
    rabbitmq_configs: Mapping[str, tuple[RabbitmqBrokerConfigObject | None, Place]]
    channels: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The values of an object, and where they stand: at ``place``, if not in ``at``.

    ``place`` is None where there is no such object that could be read, which has been reported.
    """

    place: Place | None
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    at: Mapping[str, Place] = field(default_factory=dict)

    def where(self, key: str) -> Place | None:
        if key in self.at:
            return self.at[key]
        return None if self.place is None else self.place.at(key)

    def plus(self, key: str, value: str, place: Place) -> Self:
        """Return the same with one more value, which stands at ``place``."""
        return replace(self, values={**self.values, key: value}, at={**self.at, key: place})


def config(ref: Reference | None, channel: str | None, place: Place, referred: Referred) -> Part:
    """Return what the object says that ``ref``, at ``place`` of a Broker, names."""
    if ref is None:
        return Part(place=place)
    key = f"{ref.namespace or place.object.namespace}/{ref.name}"
    if ref.kind == "RabbitmqBrokerConfig" and channel == "amqp":
        return _rabbitmq(key, place, referred)
    if ref.kind != "ConfigMap":
        use = "RabbitmqBrokerConfig or a ConfigMap" if channel == "amqp" else "ConfigMap"
        place.at("kind").error(f"a {ref.kind} is no configuration of this class; use a {use}")
        return Part(place=None)
    if key not in referred.config_maps:
        # Knative's own examples refer to one that its installation brings along.
        unless = "the default class runs without it" if channel is None else None
        _missing("ConfigMap", key, referred.config_maps, place, unless)
        return Part(place=None)
    found, at_found = referred.config_maps[key]
    if found is None:
        return Part(place=None)
    return Part(place=at_found.at("data"), values=found.data)


def _rabbitmq(key: str, place: Place, referred: Referred) -> Part:
    """Return what a RabbitmqBrokerConfig says, under the keys that a ConfigMap has."""
    if key not in referred.rabbitmq_configs:
        _missing("RabbitmqBrokerConfig", key, referred.rabbitmq_configs, place, None)
        return Part(place=None)
    found, at_found = referred.rabbitmq_configs[key]
    if found is None:
        return Part(place=None)
    spec, at_spec = found.spec, at_found.at("spec")
    said = {"queueType": spec.queue_type, "vhost": spec.vhost}
    part = Part(place=at_spec, values={name: text for name, text in said.items() if text})
    cluster = spec.rabbitmq_cluster_reference
    if cluster is None:
        return part
    return _with_secret(part, cluster, at_spec.at("rabbitmqClusterReference"), referred)


def _with_secret(part: Part, cluster: ClusterReference, place: Place, referred: Referred) -> Part:
    """Return ``part`` with the Secret that tells of the server, if it is there or has to be."""
    namespace = cluster.namespace or place.object.namespace
    if cluster.connection_secret is not None:
        name, at_name = cluster.connection_secret.name, place.at("connectionSecret", "name")
    else:
        name, at_name = f"{cluster.name}-default-user", place.at("name")
        if f"{namespace}/{name}" not in referred.secrets:
            unless = "RabbitMQ's operator makes it; without it, --channel says where RabbitMQ is"
            _missing("Secret", f"{namespace}/{name}", (), at_name, unless)
            return part
    part = part.plus(SECRET_NAMESPACE, namespace, place.at("namespace"))
    return part.plus(SECRET_NAME, name, at_name)


def secret(config: Part, channel: str | None, referred: Referred) -> Part:
    """Return the content of the Secret that the configuration refers to.

    It is in the configuration's namespace, unless that names another one.
    """
    name, place = config.values.get(SECRET_NAME), config.where(SECRET_NAME)
    if name is None or place is None:
        return Part(place=config.place)
    key = f"{config.values.get(SECRET_NAMESPACE) or place.object.namespace}/{name}"
    if key not in referred.secrets:
        unless = "not every channel needs it" if channel is None else None
        _missing("Secret", key, referred.secrets, place, unless)
        return Part(place=None)
    found, at_found = referred.secrets[key]
    if found is None:
        return Part(place=None)
    values = contents(found, at_found)
    return Part(
        place=at_found.at("data"),
        values={key: text for key, (text, _) in values.items()},
        at={key: at_value for key, (_, at_value) in values.items()},
    )


def check(channel: str, broker: str, config: Part, secret: Part, at_class: Place) -> None:
    """Report what the channel of that scheme has against the configuration of a broker."""
    try:
        backend = plugins.channel_backend(channel)
    except PluginNotFound as error:
        at_class.error(str(error))
        return
    for fault in backend.check(broker, config.values, secret.values):
        part = config if fault.of == "config" else secret
        place = part.where(fault.key)
        if place is None:
            continue
        tell = place.error if fault.severity == "error" else place.warn
        tell(fault.message)


def _missing(kind: str, key: str, known: Collection[str], place: Place, unless: str | None) -> None:
    """Report that an object is missing; doubtful is what may be, ``unless`` says why."""
    if not place.report.complete:
        return
    message = f"no {kind} '{key}' in {place.report.where}{did_you_mean(key, known)}"
    if unless is None:
        place.error(message)
    else:
        place.warn(f"{message}; {unless}")
