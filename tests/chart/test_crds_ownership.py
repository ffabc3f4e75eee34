"""Whose definitions a release touches: those that it has brought, and no others.

Each test has kinds of its own, so that it can share a server with others: the chart's Broker,
Trigger and KafkaSource, in groups that no other test has.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from charts.values_docs import CHART
from tests.chart.definitions import OF_KINDS, Object, established
from tests.services.kubernetes.client import Kubernetes

KINDS = ("brokers", "triggers", "kafkasources")
SINGULAR, SHORT = "singular: trigger", "shortNames: [trg]"


class Release:
    """The chart in a namespace of its own, with kinds of its own, by the name of ``events``."""

    def __init__(self, helm: Path, kubernetes: Kubernetes, folder: Path) -> None:
        self.chart = folder / "cemesh"
        self.namespace = kubernetes.namespace()
        kubeconfig = str(kubernetes.kubeconfig())
        self._command = [str(helm), "--kubeconfig", kubeconfig, "-n", self.namespace]
        self._home = folder
        self._kubernetes = kubernetes
        shutil.copytree(CHART, self.chart)
        self._give_kinds(f"{uuid4().hex[:12]}.test")

    def _give_kinds(self, domain: str) -> None:
        self._domain = domain
        for file in sorted((self.chart / "files" / "crds").iterdir()):
            kind, _, group = file.stem.partition(".")
            if kind in KINDS:
                text = file.read_text().replace(group, self.name(kind).partition(".")[2])
                file.with_name(f"{self.name(kind)}.yaml").write_text(text)
            file.unlink()

    def name(self, kind: str) -> str:
        """Return the name of the definition."""
        return f"{kind}.{self._domain}"

    def definition(self, kind: str) -> Object:
        """Return the definition, once it is in use and nobody has to change it any more."""
        return established(self._kubernetes, self.name(kind))

    def is_there(self, kind: str) -> bool:
        name = self.name(kind)
        found = self._kubernetes.get("CustomResourceDefinition", name, api_version=OF_KINDS)
        return found is not None

    def run(self, *arguments: str, **values: object) -> None:
        """Run helm with these values, by their paths."""
        given = [
            f"--set-json={path.replace('__', '.')}={json.dumps(each)}"
            for path, each in values.items()
        ]
        ended = subprocess.run(
            [*self._command, *arguments, *given],
            env={**os.environ, "HOME": str(self._home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    def install(self, name: str = "events") -> None:
        self.run("install", name, str(self.chart), kubernetes__enabled=True)

    def upgrade(self, name: str = "events", **values: object) -> None:
        self.run("upgrade", name, str(self.chart), **{"kubernetes__enabled": True, **values})

    def uninstall(self) -> None:
        self.run("uninstall", "events")

    def change_file(self, kind: str, change: Callable[[str], str]) -> None:
        file = self.chart / "files" / "crds" / f"{self.name(kind)}.yaml"
        file.write_text(change(file.read_text()))


@pytest.fixture
def release(helm: Path, kubernetes: Kubernetes, tmp_path: Path) -> Release:
    return Release(helm, kubernetes, tmp_path)


def owned_by(kubernetes: Kubernetes, name: str, release: str | None, space: str | None) -> None:
    """Say that the definition is of that release, as `kubectl annotate` does."""
    notes = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": space}
    patch = {"metadata": {"annotations": notes}}
    kubernetes.patch("CustomResourceDefinition", name, None, patch, api_version=OF_KINDS)


def of_knative(release: Release) -> Object:
    """Return a definition of brokers as somebody else would have it."""
    name = release.name("brokers")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": OF_KINDS,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "labels": {"knative.dev/crd-install": "true"}},
        "spec": {
            "group": name.partition(".")[2],
            "scope": "Namespaced",
            "names": {"kind": "Broker", "plural": "brokers"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def test_those_of_others_stay_as_they_are_and_what_is_missing_comes(
    release: Release, kubernetes: Kubernetes
) -> None:
    kubernetes.apply(of_knative(release))
    before = release.definition("brokers")

    release.install()
    release.upgrade()

    assert release.definition("brokers") == before
    for kind in ("triggers", "kafkasources"):
        metadata = release.definition(kind)["metadata"]
        assert metadata["annotations"]["helm.sh/resource-policy"] == "keep"
        assert metadata["annotations"]["meta.helm.sh/release-name"] == "events"
        assert metadata["labels"]["app.kubernetes.io/instance"] == "events"

    release.uninstall()

    assert release.definition("brokers") == before


def test_an_upgrade_changes_what_the_release_has_brought(release: Release) -> None:
    release.install()
    release.change_file("triggers", lambda text: text.replace(SINGULAR, SHORT))

    release.upgrade()

    assert release.definition("triggers")["spec"]["names"]["shortNames"] == ["trg"]


def test_one_that_the_release_has_given_up_stays_as_it_is(
    release: Release, kubernetes: Kubernetes
) -> None:
    release.install()
    owned_by(kubernetes, release.name("triggers"), None, None)
    before = release.definition("triggers")
    release.change_file("triggers", lambda text: text.replace(SINGULAR, SHORT))

    release.upgrade()

    assert release.definition("triggers") == before


def test_they_outlive_the_values_that_brought_them(release: Release) -> None:
    release.install()

    release.upgrade(crds__install=False)
    release.upgrade(kubernetes__enabled=False)

    assert all(map(release.is_there, KINDS))


def test_they_and_their_objects_outlive_the_release_until_the_next(
    release: Release, kubernetes: Kubernetes
) -> None:
    release.install()
    kind = f"{release.definition('triggers')['spec']['group']}/v1"
    kubernetes.apply(
        {"apiVersion": kind, "kind": "Trigger", "metadata": {"name": "audit"}, "spec": {}},
        release.namespace,
    )

    release.uninstall()
    release.change_file("triggers", lambda text: text.replace(SINGULAR, SHORT))
    release.install()

    assert kubernetes.get("Trigger", "audit", release.namespace, api_version=kind) is not None
    assert release.definition("triggers")["spec"]["names"]["shortNames"] == ["trg"]


def test_those_of_another_release_stay_as_they_are_until_they_are_taken_over(
    release: Release, kubernetes: Kubernetes
) -> None:
    release.install()
    before = release.definition("triggers")
    release.change_file("triggers", lambda text: text.replace(SINGULAR, SHORT))

    release.install("others")

    assert release.definition("triggers") == before

    owned_by(kubernetes, release.name("triggers"), "others", release.namespace)
    release.upgrade("others")

    assert release.definition("triggers")["spec"]["names"]["shortNames"] == ["trg"]


def test_without_the_objects_of_a_cluster_none_is_brought(release: Release) -> None:
    release.run("install", "events", str(release.chart))

    assert not any(map(release.is_there, KINDS))
