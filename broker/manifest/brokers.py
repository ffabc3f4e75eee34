"""Turns Broker objects into the brokers to run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from broker.errors import did_you_mean
from broker.manifest import annotations as notes
from broker.manifest.objects import Place
from broker.manifest.secrets import access
from broker.manifest.shapes import BrokerObject, ConfigMapObject, Reference, SecretObject
from broker.trigger import Access, Broker

_CHANNELS: Final[Mapping[str, str | None]] = {
    "MTChannelBasedBroker": None,
    "Kafka": "kafka",
    "KafkaNamespaced": "kafka",
    "RabbitMQBroker": "amqp",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Referred:
    """What brokers refer to, by ``namespace/name``: None where it is there, but wrong.

    ``channels`` are the schemes of the channels that are installed.
    """

    config_maps: Mapping[str, ConfigMapObject | None]
    secrets: Mapping[str, tuple[SecretObject | None, Place]]
    channels: Collection[str]


def broker(shape: BrokerObject, place: Place, referred: Referred) -> Broker:
    """Return the broker that the object at ``place`` asks for, and report what is wrong."""
    annotations, at_annotations = shape.metadata.annotations, place.at("metadata", "annotations")
    channel = _channel(annotations, at_annotations.at(notes.BROKER_CLASS), referred)
    return Broker(
        key=place.object.key,
        channel=channel,
        config=_config(shape.spec.config, channel, place.at("spec", "config"), referred),
        access=_access(annotations, at_annotations.at(notes.ACCESS), referred),
    )


def _channel(annotations: Mapping[str, str], place: Place, referred: Referred) -> str | None:
    asked = annotations.get(notes.BROKER_CLASS)
    if asked is None:
        return None
    if asked not in _CHANNELS:
        known = ", ".join(_CHANNELS)
        place.error(f"unknown class '{asked}'{did_you_mean(asked, _CHANNELS)}; known: {known}")
        return None
    channel = _CHANNELS[asked]
    if channel is not None and channel not in referred.channels:
        installed = ", ".join(sorted(referred.channels)) or "none"
        place.error(
            f"the class '{asked}' needs a channel '{channel}', which is not installed; "
            f"installed: {installed}"
        )
    return channel


def _config(
    ref: Reference | None, channel: str | None, place: Place, referred: Referred
) -> Mapping[str, str]:
    """Return the data of the ConfigMap that ``ref`` names."""
    if ref is None:
        return {}
    if ref.kind == "RabbitmqBrokerConfig" and channel == "amqp":
        place.warn("a RabbitmqBrokerConfig is not read; the server is the one of --channel")
        return {}
    if ref.kind != "ConfigMap":
        place.at("kind").error(f"a {ref.kind} is no configuration of this class; use a ConfigMap")
        return {}
    namespace = ref.namespace or place.object.namespace
    key = f"{namespace}/{ref.name}"
    if key not in referred.config_maps:
        _missing_config_map(key, channel, place, referred)
    found = referred.config_maps.get(key)
    return {} if found is None else found.data


def _missing_config_map(key: str, channel: str | None, place: Place, referred: Referred) -> None:
    if not place.report.complete:
        return
    message = f"no ConfigMap '{key}' in these files{did_you_mean(key, referred.config_maps)}"
    if channel is None:
        # Knative's own examples refer to one that its installation brings along.
        place.warn(f"{message}; the default class runs without it")
    else:
        place.error(message)


def _access(annotations: Mapping[str, str], place: Place, referred: Referred) -> Access | None:
    name = annotations.get(notes.ACCESS)
    if name is None:
        return None
    key = f"{place.object.namespace}/{name}"
    if key not in referred.secrets:
        if place.report.complete:
            hint = did_you_mean(key, referred.secrets)
            place.error(f"no Secret '{key}' in these files{hint}")
        return None
    secret, at_secret = referred.secrets[key]
    return None if secret is None else access(secret, at_secret)
