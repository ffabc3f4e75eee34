"""Turns Broker objects into the brokers to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.errors import did_you_mean
from broker.manifest import annotations as notes
from broker.manifest import channels
from broker.manifest.channels import Part, Referred
from broker.manifest.objects import Place
from broker.manifest.secrets import access
from broker.manifest.shapes import BrokerObject
from broker.trigger import EXTERNAL_TOPIC, Access, Broker

_CHANNELS: Final[Mapping[str, str | None]] = {
    "MTChannelBasedBroker": None,
    "cemesh": None,  # beside Knative, which would run the brokers of its own classes as well
    "Kafka": "kafka",
    "KafkaNamespaced": "kafka",
    "RabbitMQBroker": "amqp",
}


def broker(shape: BrokerObject, place: Place, referred: Referred) -> Broker:
    """Return the broker that the object at ``place`` asks for, and report what is wrong."""
    annotations, at_annotations = shape.metadata.annotations, place.at("metadata", "annotations")
    at_class = at_annotations.at(notes.BROKER_CLASS)
    channel = _channel(annotations, at_class, referred)
    config = channels.config(shape.spec.config, channel, place.at("spec", "config"), referred)
    config = _with_topic(config, channel, annotations, at_annotations)
    secret = channels.secret(config, channel, referred)
    if channel is not None and channel in referred.channels:
        channels.check(channel, place.object.key, config, secret, at_class)
    return Broker(
        key=place.object.key,
        channel=channel,
        config=config.values,
        secret=secret.values,
        access=_access(annotations, at_annotations.at(notes.ACCESS), referred),
        takes_announcements=notes.read(
            annotations, notes.ANNOUNCEMENTS, notes.is_true, default=False, place=at_annotations
        ),
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


def _with_topic(
    config: Part, channel: str | None, annotations: Mapping[str, str], place: Place
) -> Part:
    """Return ``config`` with the topic that an annotation names."""
    topic, asked = annotations.get(EXTERNAL_TOPIC), annotations.get(notes.BROKER_CLASS)
    if topic is None:
        return config
    if channel != "kafka" and asked in (None, *_CHANNELS):
        place.at(EXTERNAL_TOPIC).error(
            "only brokers of the classes Kafka and KafkaNamespaced have a topic"
        )
    return config.plus(EXTERNAL_TOPIC, topic, place.at(EXTERNAL_TOPIC))


def _access(annotations: Mapping[str, str], place: Place, referred: Referred) -> Access | None:
    name = annotations.get(notes.ACCESS)
    if name is None:
        return None
    key = f"{place.object.namespace}/{name}"
    if key not in referred.secrets:
        if place.report.complete:
            hint = did_you_mean(key, referred.secrets)
            place.error(f"no Secret '{key}' in {place.report.where}{hint}")
        return None
    secret, at_secret = referred.secrets[key]
    return None if secret is None else access(secret, at_secret)
