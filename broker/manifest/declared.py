"""All objects of the manifests, and what they ask for together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

from broker import plugins
from broker.errors import Problem
from broker.manifest import deliveries
from broker.manifest.brokers import broker
from broker.manifest.channels import Referred
from broker.manifest.credentials import SecretReader
from broker.manifest.destinations import Directory, Elsewhere
from broker.manifest.kinds import BINDING_KIND, is_sink, is_source
from broker.manifest.needs import Looked, Need
from broker.manifest.objects import Place
from broker.manifest.policies import Asked, Policies, asked
from broker.manifest.policyshapes import DeliveryPolicyObject
from broker.manifest.problems import Report
from broker.manifest.rabbitmq import RabbitmqBrokerConfigObject
from broker.manifest.reading import Obj, read_object
from broker.manifest.shapes import BrokerObject, ConfigMapObject, SecretObject, TriggerObject
from broker.manifest.sinkbindings import SinkBinding, sink_binding
from broker.manifest.sinks import sink
from broker.manifest.sources import source
from broker.manifest.triggers import Context, trigger, warn_of_twins
from broker.trigger import Broker, DeliveryPolicy, Desired, Source, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The objects that the mesh runs, by kind and key, in the order of the manifests."""

    brokers: dict[str, Place] = field(default_factory=dict)
    triggers: dict[str, Place] = field(default_factory=dict)
    config_maps: dict[str, Place] = field(default_factory=dict)
    secrets: dict[str, Place] = field(default_factory=dict)
    rabbitmq_configs: dict[str, Place] = field(default_factory=dict)
    policies: dict[str, Place] = field(default_factory=dict)
    sources: dict[str, Place] = field(default_factory=dict)
    sinks: dict[str, Place] = field(default_factory=dict)
    bindings: dict[str, Place] = field(default_factory=dict)

    def all(self) -> Iterator[Place]:
        for each in fields(self):
            yield from getattr(self, each.name).values()

    def add(self, place: Place) -> None:
        """Take in an object, unless there is one of that kind and name."""
        each = place.object
        by_kind = {
            "Broker": self.brokers,
            "Trigger": self.triggers,
            "ConfigMap": self.config_maps,
            "Secret": self.secrets,
            "RabbitmqBrokerConfig": self.rabbitmq_configs,
            "DeliveryPolicy": self.policies,
            BINDING_KIND: self.bindings,
        }
        if is_source(each.kind):
            objects, key = self.sources, f"{each.kind} {each.key}"
        elif is_sink(each.kind):
            objects, key = self.sinks, f"{each.kind} {each.key}"
        else:
            objects, key = by_kind[each.kind], each.key
        # An object without a name is nobody's twin: it is kept, to be told so.
        first = objects.setdefault(key if each.name else f"{key} {id(each)}", place)
        if first is not place:
            place.report.add(
                Problem(
                    file=each.file,
                    line=each.line(),
                    subject=each.subject,
                    message=f"declared twice; first in {first.object.where}",
                )
            )


def asked_for(
    declared: Declared, elsewhere: Elsewhere, report: Report, needs: set[Need]
) -> tuple[Desired, Mapping[str, SinkBinding]]:
    """Return what should run, and the bindings, without what is too wrong to be a value.

    What the objects refer to, and the mesh runs itself not, is put into ``needs``.
    """
    referred = _referred(declared, needs)
    secrets = SecretReader(referred.secrets, where=report.where)
    directory = Directory(
        brokers=declared.brokers,
        elsewhere=elsewhere,
        schemes=plugins.sink_schemes(),
        sinks={key: sink(place, secrets) for key, place in _each(declared.sinks)},
    )
    brokers: dict[str, Broker] = {}
    of_brokers: dict[str, DeliveryPolicy] = {}
    asked_of_brokers: dict[str, Asked] = {}
    policies = _policies(declared, secrets, directory)
    for place, shape in _shapes(BrokerObject, declared.brokers):
        key = place.object.key
        brokers[key] = broker(shape, place, referred)
        of_brokers[key] = deliveries.policy(
            shape.spec.delivery, place.at("spec", "delivery"), directory
        )
        named = policies.named(shape.metadata.annotations, place.at("metadata", "annotations"))
        if named is not None:
            asked_of_brokers[key] = named
    triggers: dict[str, Trigger] = {}
    context = Context(
        directory=directory, deliveries=of_brokers, policies=policies, asked=asked_of_brokers
    )
    for place, trigger_shape in _shapes(TriggerObject, declared.triggers):
        found = trigger(trigger_shape, place, context)
        if found is not None:
            triggers[found.key] = found
    warn_of_twins(triggers.values(), declared.triggers)
    sources: dict[str, Source] = {}
    for key, place in _each(declared.sources):
        found_source = source(place, directory, secrets)
        if found_source is not None:
            sources[key] = found_source
    bindings: dict[str, SinkBinding] = {}
    for key, place in _each(declared.bindings):
        found_binding = sink_binding(place, directory)
        if found_binding is not None:
            bindings[key] = found_binding
    return Desired(brokers=brokers, triggers=triggers, sources=sources), bindings


def _referred(declared: Declared, needs: set[Need]) -> Referred:
    config_maps: Looked[tuple[ConfigMapObject | None, Place]] = Looked("ConfigMap", needs)
    secrets: Looked[tuple[SecretObject | None, Place]] = Looked("Secret", needs)
    for _, place in _each(declared.config_maps):
        config_maps[place.object.key] = read_object(ConfigMapObject, place), place
    for _, place in _each(declared.secrets):
        secrets[place.object.key] = read_object(SecretObject, place), place
    return Referred(
        config_maps=config_maps,
        secrets=secrets,
        rabbitmq_configs={
            place.object.key: (read_object(RabbitmqBrokerConfigObject, place), place)
            for _, place in _each(declared.rabbitmq_configs)
        },
        channels=plugins.channel_schemes(),
    )


def _policies(declared: Declared, secrets: SecretReader, directory: Directory) -> Policies:
    found: dict[str, Asked | None] = dict.fromkeys(declared.policies)
    for place, shape in _shapes(DeliveryPolicyObject, declared.policies):
        found[place.object.key] = asked(shape, place, secrets, directory)
    return Policies(asked=found)


def _shapes(model: type[Obj], places: Mapping[str, Place]) -> Iterator[tuple[Place, Obj]]:
    """Yield every object that fits its shape well enough to be looked at more closely."""
    for _, place in _each(places):
        shape = read_object(model, place)
        if shape is not None:
            yield place, shape


def _each(places: Mapping[str, Place]) -> Iterator[tuple[str, Place]]:
    """Yield every object by its key, to be read until the next one comes."""
    for key, place in places.items():
        place.report.reads(place.object)
        yield key, place
