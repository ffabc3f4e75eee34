"""Reads manifests: files in, what should run out, or everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from broker import plugins
from broker.errors import InvalidManifest, Problem
from broker.manifest import deliveries
from broker.manifest.brokers import broker
from broker.manifest.channels import Referred
from broker.manifest.credentials import SecretReader
from broker.manifest.destinations import Directory
from broker.manifest.files import files_of_tests, manifest_files, read_file
from broker.manifest.kinds import BINDING_KIND, is_run, is_sink, is_source
from broker.manifest.objects import Object, Place, objects_of
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
from broker.manifest.yamltree import Json, read_documents
from broker.status import Declared, Manifests
from broker.trigger import Broker, DeliveryPolicy, Desired, Source, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the manifests ask for, and what is doubtful about them.

    ``bindings`` are for programs that others run, by ``namespace/name``. ``objects`` are all that
    the mesh runs or refers to, as they were written, by kind and name; ``manifests`` say where.
    """

    desired: Desired
    bindings: Mapping[str, SinkBinding]
    manifests: Manifests
    objects: Mapping[str, Json] = field(default_factory=dict, repr=False)

    @property
    def warnings(self) -> Sequence[Problem]:
        return self.manifests.warnings


def load(paths: Sequence[Path], *, resolve: Mapping[str, str] | None = None) -> Loaded:
    """Return what the files at ``paths`` ask for, or raise `InvalidManifest` with every problem.

    The problems come in the order of the files and lines, warnings among them.
    ``resolve`` maps ``Kind/namespace/name`` to the URL that stands for it. The result follows
    from the files and the installed plug-ins alone, the warnings also from the date. Blocks:
    meant for a thread.
    """
    report = Report()
    files = list(_readable(manifest_files(paths), report))
    declared = _declared(files, report)
    _refuse_overlooked(paths, report)
    desired, bindings = _asked_for(declared, resolve or {})
    order = {file: number for number, (file, _) in enumerate(files)}

    def by_place(problem: Problem) -> tuple[int, int]:
        return (order.get(problem.file, -1) if problem.file else -1, problem.line or 0)

    if report.errors:
        raise InvalidManifest(sorted((*report.errors, *report.warnings), key=by_place))
    objects = [each.object for each in declared.all()]
    return Loaded(
        desired=desired,
        bindings=bindings,
        manifests=Manifests(
            objects=[_where_declared(each) for each in objects],
            warnings=tuple(sorted(report.warnings, key=by_place)),
        ),
        objects={each.subject: each.value for each in objects},
    )


def _readable(files: Iterable[Path | Problem], report: Report) -> Iterator[tuple[Path, bytes]]:
    for each in files:
        content = each if isinstance(each, Problem) else read_file(each)
        if isinstance(content, bytes) and isinstance(each, Path):
            yield each, content
        elif isinstance(content, Problem):
            report.complete = False
            report.add(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """The objects that the mesh runs, by kind and key, in the order of the files."""

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
                    message=f"declared twice; first in {_where(first.object)}",
                )
            )


def _where_declared(each: Object) -> Declared:
    return Declared(kind=each.kind, key=each.key, file=each.file, line=each.line())


def _where(first: Object) -> str:
    return f"{first.file}:{first.line()}"


def _declared(files: Sequence[tuple[Path, bytes]], report: Report) -> _Declared:
    declared = _Declared()
    for file, content in files:
        for document in read_documents(file, content, report):
            for each in objects_of(document, report):
                place = Place(each, report)
                if is_run(place):
                    declared.add(place)
    return declared


def _refuse_overlooked(paths: Sequence[Path], report: Report) -> None:
    """Report what would run if the name of its file did not say that it holds tests.

    What else is wrong in such a file is `cemesh test`'s to tell.
    """
    for file, content in _readable(files_of_tests(paths), Report()):
        for document in read_documents(file, content, Report()):
            for each in objects_of(document, Report()):
                if is_run(Place(each, Report())):
                    place = Place(each, report)
                    place.error("is overlooked in a file of tests: move it, or rename the file")


def _asked_for(
    declared: _Declared, resolve: Mapping[str, str]
) -> tuple[Desired, Mapping[str, SinkBinding]]:
    """Return what should run, and the bindings, without what is too wrong to be a value."""
    referred = _referred(declared)
    secrets = SecretReader(referred.secrets)
    directory = Directory(
        brokers=declared.brokers,
        resolve=resolve,
        schemes=plugins.sink_schemes(),
        sinks={key: sink(place, secrets) for key, place in declared.sinks.items()},
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
    for key, place in declared.sources.items():
        found_source = source(place, directory, secrets)
        if found_source is not None:
            sources[key] = found_source
    bindings: dict[str, SinkBinding] = {}
    for key, place in declared.bindings.items():
        found_binding = sink_binding(place, directory)
        if found_binding is not None:
            bindings[key] = found_binding
    return Desired(brokers=brokers, triggers=triggers, sources=sources), bindings


def _referred(declared: _Declared) -> Referred:
    return Referred(
        config_maps={
            place.object.key: (read_object(ConfigMapObject, place), place)
            for place in declared.config_maps.values()
        },
        secrets={
            place.object.key: (read_object(SecretObject, place), place)
            for place in declared.secrets.values()
        },
        rabbitmq_configs={
            place.object.key: (read_object(RabbitmqBrokerConfigObject, place), place)
            for place in declared.rabbitmq_configs.values()
        },
        channels=plugins.channel_schemes(),
    )


def _policies(declared: _Declared, secrets: SecretReader, directory: Directory) -> Policies:
    found: dict[str, Asked | None] = dict.fromkeys(declared.policies)
    for place, shape in _shapes(DeliveryPolicyObject, declared.policies):
        found[place.object.key] = asked(shape, place, secrets, directory)
    return Policies(asked=found)


def _shapes(model: type[Obj], places: Mapping[str, Place]) -> Iterator[tuple[Place, Obj]]:
    """Yield every object that fits its shape well enough to be looked at more closely."""
    for place in places.values():
        shape = read_object(model, place)
        if shape is not None:
            yield place, shape
