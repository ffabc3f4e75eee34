"""Turns SinkBindings into what a program is told of where to post its events.

Nothing runs for one in the mesh: who starts the program asks for its binding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from broker.manifest.destinations import Directory, target
from broker.manifest.objects import Place
from broker.manifest.reading import read_object, required
from broker.manifest.shapes import KubernetesObject, Name, Namespace, Shape, SourceSpec
from broker.manifest.sources import check_extensions
from broker.trigger import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkBinding:
    """Where the programs of a binding post their events: a broker of the mesh, or an HTTP URL.

    ``extensions`` are what the programs are asked to add to each of them.
    """

    key: str
    sink: Target
    extensions: Mapping[str, str] = field(default_factory=dict)


class _Expression(Shape):
    key: Annotated[str, Field(min_length=1)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = Field(default=[])


class _Selector(Shape):
    match_labels: dict[str, str] = Field(default={})
    match_expressions: list[_Expression] = Field(default=[])


class _Subject(Shape):
    """Which programs of a cluster are bound: Knative's to find there, and only checked here."""

    api_version: str
    kind: str
    namespace: Namespace | None = None
    name: Name | None = None
    selector: _Selector | None = None

    @model_validator(mode="after")
    def _is_told_in_one_way(self) -> Self:
        if self.name is None and self.selector is None:
            raise ValueError("names neither 'name' nor 'selector'")
        if self.name is not None and self.selector is not None:
            raise ValueError("'name' and 'selector' exclude each other")
        return self


class _SinkBindingSpec(SourceSpec):
    subject: _Subject | None = None


class _SinkBindingObject(KubernetesObject):
    spec: _SinkBindingSpec = _SinkBindingSpec()


def sink_binding(place: Place, directory: Directory) -> SinkBinding | None:
    """Return the binding that the object at ``place`` describes, or None; report what is wrong."""
    shape = read_object(_SinkBindingObject, place)
    if shape is None:
        return None
    spec, at_spec = shape.spec, place.at("spec")
    subject = required(spec.subject, at_spec.at("subject"))
    if subject is not None and subject.namespace not in (None, place.object.namespace):
        at_spec.at("subject", "namespace").error(
            f"'{subject.namespace}' is not the namespace of the binding, "
            f"which is '{place.object.namespace}'"
        )
    extensions = spec.ce_overrides.extensions
    check_extensions(extensions, at_spec.at("ceOverrides", "extensions"))
    sink = _sink(spec, at_spec.at("sink"), directory)
    if sink is None:
        return None
    return SinkBinding(key=place.object.key, sink=sink, extensions=extensions)


def _sink(spec: SourceSpec, place: Place, directory: Directory) -> Target | None:
    destination = required(spec.sink, place)
    sink = None if destination is None else target(destination, place, directory)
    if sink is None or sink.url.startswith("broker:"):
        return sink
    if not sink.url.startswith(("http:", "https:")):
        place.error(f"a program posts to a Broker or an http or https URL; {sink.url} is neither")
    if sink.audience is not None:
        # In a cluster, Knative has a token for it mounted beside the program.
        place.at("audience").error("cannot be served: no program is given a token here")
    return sink
