"""What a manifest says to a ContainerSource: a pod's template, of which a program is read."""

from __future__ import annotations

from broker.manifest.shapes import Shape
from broker.programs import Container, PodTemplate


class ContainerSpec(Shape):
    """What a ContainerSource's ``spec`` says beside its sink."""

    template: PodTemplate

    @property
    def container(self) -> Container:
        return self.template.container
