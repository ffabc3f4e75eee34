"""What helm makes of the chart, for one set of values and another."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from charts.values_docs import CHART

Object = dict[str, Any]

SHAPES: Final = {
    file.stem: file for file in sorted(Path(__file__, "..", "shapes").resolve().glob("*.yaml"))
}
"""The sets of values that the tests render."""

RELEASE: Final = "events"
NAMESPACE: Final = "mesh"


class Refused(Exception):
    """helm does not render these values; says why."""


def template(
    helm: Path,
    *values: Path | Mapping[str, object],
    chart: Path = CHART,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    folder: Path | None = None,
) -> str:
    """Return what `helm template` prints of ``values``: files, or what is put into ``folder``.

    Raises Refused.
    """
    arguments = ["template", release, str(chart), "--namespace", namespace]
    for index, each in enumerate(values):
        if isinstance(each, Path):
            file = each
        else:
            assert folder is not None
            file = folder / f"values-{index}.json"
            file.write_bytes(msgspec.json.encode(each))
        arguments += ["--values", str(file)]
    return run(helm, *arguments)


def run(helm: Path, *arguments: str) -> str:
    """Run helm, and return what it prints; raise Refused with what it complains of."""
    done = subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The objects of a release."""

    text: str
    objects: Sequence[Object] = field(default_factory=list)

    def all(self, kind: str) -> Sequence[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        """Return the object whose name ends so."""
        (found,) = (
            each for each in self.all(kind) if f"-{each['metadata']['name']}".endswith(f"-{name}")
        )
        return found

    def templates(self) -> Mapping[str, Object]:
        """Return the templates of the mesh's own pods, by component."""
        return {
            each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]
            for kind in ("StatefulSet", "Deployment")
            for each in self.all(kind)
        }

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Yield the `spec` of every pod, with a name for it."""
        for component, pod in self.templates().items():
            yield component, pod["spec"]
        for pod in self.all("Pod"):
            yield pod["metadata"]["name"], pod["spec"]

    def container(self, component: str) -> Object:
        (found,) = self.templates()[component]["spec"]["containers"]
        assert isinstance(found, dict)
        return found

    def environment(self, component: str) -> Mapping[str, Object]:
        """Return the variables of a component's container, by name."""
        return {each["name"]: each for each in self.container(component)["env"]}


def rendered(text: str) -> Rendered:
    """Return the objects that are in what helm prints."""
    return Rendered(
        text=text, objects=[each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    )
