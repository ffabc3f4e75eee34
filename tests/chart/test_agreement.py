"""The chart and the program agree: what a pod is started with starts it, and it does its work."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
import pytest
import yaml

from broker.channels.kafka.settings import from_url
from broker.cli.root import cli
from charts.values_docs import CHART
from tests.chart.conftest import Shape
from tests.chart.pods import Pod, put, running
from tests.chart.rendering import SHAPES, Object, Rendered, rendered, template
from tests.services.certificates import Authority
from tests.services.mesh import CEMESH, HOST
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.timeout(120)

EXAMPLES = Path(CHART, "..", "..", "examples", "kubernetes").resolve()


def options(command: str) -> set[str]:
    """Return the variables that a command, or any other that is run in its pod, reads."""
    found = cli.get_command(click.Context(cli), command)
    assert found
    read = [parameter.envvar for parameter in found.params]
    return {"CEMESH_ADMIN_ALSO", *(each for each in read if isinstance(each, str))}


@pytest.mark.parametrize("name", SHAPES)
def test_every_variable_is_an_option_of_what_is_run(shape: Shape, name: str) -> None:
    release = shape(name)

    for component in release.templates():
        (command,) = release.container(component)["args"]
        ours = {each for each in release.environment(component) if each.startswith("CEMESH_")}
        assert ours <= options(command)


def manifests(namespace: str, path: str = "/audit") -> Mapping[str, object]:
    """Return a broker and a trigger whose subscriber is a Service, at a path of it."""
    service = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "audit"}, "uri": path}
    eventing = "eventing.knative.dev/v1"
    return {
        "mesh.yaml": [
            {
                "apiVersion": eventing,
                "kind": "Broker",
                "metadata": {"name": "orders", "namespace": namespace},
            },
            {
                "apiVersion": eventing,
                "kind": "Trigger",
                "metadata": {"name": "audit", "namespace": namespace},
                "spec": {"broker": "orders", "subscriber": service},
            },
        ]
    }


def holding(kind: str, name: str, data: Mapping[str, str]) -> Object:
    """Return a ConfigMap or a Secret that others have put into the cluster."""
    key = "stringData" if kind == "Secret" else "data"
    return {"kind": kind, "metadata": {"name": name}, key: data}


async def until(done: Callable[[], bool], *, within: float = 30) -> None:
    async with asyncio.timeout(within):
        while not done():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_is_made_of_values_of_the_chart(helm: Path, example: Path) -> None:
    assert "kind: NetworkPolicy" in template(helm, example)


def test_cemesh_check_is_content_with_what_is_mounted(
    shape: Shape, helm: Path, tmp_path: Path
) -> None:
    releases = [
        shape("single"),
        shape("split-kafka"),
        rendered(template(helm, EXAMPLES / "single.yaml")),
    ]

    for index, release in enumerate(releases):
        (component, *_) = release.templates()
        pod = Pod(release, component, tmp_path / str(index))
        manifests = pod.file(release.environment(component)["CEMESH_PATHS"]["value"])
        checked = subprocess.run(
            [CEMESH, "check", manifests], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout


class Releases:
    """Releases of the chart whose one trigger leads to ``subscriber``."""

    def __init__(self, helm: Path, folder: Path, subscriber: Subscriber) -> None:
        self.namespace = f"chart-{uuid.uuid4().hex[:8]}"
        self._helm = helm
        self._folder = folder
        self._subscriber = subscriber

    def of(self, values: Mapping[str, Any]) -> Rendered:
        given = {
            "crds": {"install": False},
            "manifests": manifests(self.namespace),
            **values,
            "test": {"broker": f"{self.namespace}/orders"},
            "options": {
                **values.get("options", {}),
                "allowDestination": [HOST],
                "resolve": [f"Service/{self.namespace}/audit={self._subscriber.url()}"],
            },
        }
        return rendered(template(self._helm, given, folder=self._folder))


async def sent_as_by_helm(release: Rendered, taker: Pod) -> None:
    """Run what `helm test` runs, against the pod in place of the Service."""
    (test,) = release.all("Pod")
    (container,) = test["spec"]["containers"]
    command, url, *arguments = container["args"]
    parts = urlsplit(url)
    service = release.one("Service", "ingress")["metadata"]
    assert parts.hostname == f"{service['name']}.{service['namespace']}.svc.cluster.local"
    place = f"{parts.scheme}://{HOST}:{taker.ports['http']}{parts.path}"
    if "env" in container:
        (trusted,) = container["env"]
        arguments += ["--ca-certs", str(taker.file(trusted["value"]))]
    done = await asyncio.to_thread(
        subprocess.run,
        [CEMESH, command, place, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


@pytest.fixture
def releases(helm: Path, tmp_path: Path, subscriber: Subscriber) -> Releases:
    return Releases(helm, tmp_path, subscriber)


def test_kafka_s_url_says_what_the_values_say(shape: Shape) -> None:
    url = shape("split-kafka").environment("ingress")["CEMESH_CHANNEL"]["value"]

    assert from_url(url) == {
        "bootstrap.servers": "kafka-0.kafka:9092,kafka-1.kafka:9092",
        "default.topic.replication.factor": "3",
        "default.topic.config.retention.ms": "604800000",
    }


async def test_parts_on_rabbitmq_come_as_the_user_of_a_secret(
    releases: Releases, subscriber: Subscriber, tmp_path: Path, rabbitmq: str
) -> None:
    url = urlsplit(rabbitmq)
    assert url.username
    assert url.password
    login = {"username": url.username, "password": url.password}
    user = holding("Secret", "rabbit-default-user", login)
    channel = {
        "host": url.hostname,
        "port": url.port,
        "vhost": unquote(url.path[1:]) or "/",
        "userSecret": {"name": "rabbit-default-user"},
    }
    release = releases.of({"mode": "split", "channel": {"rabbitmq": channel}})

    async with AsyncExitStack() as stack:
        pods = await running(stack, release, tmp_path, others=[user])
        await sent_as_by_helm(release, pods["ingress"])
        await subscriber.received_at("/audit", 1)


async def test_one_pod_delivers_events_and_follows_changed_manifests(
    releases: Releases, subscriber: Subscriber, tmp_path: Path
) -> None:
    former, later = releases.of({}), releases.of({"manifests": manifests(releases.namespace, "/b")})
    changed = later.one("ConfigMap", "manifests")["data"]

    assert former.templates() == later.templates(), "no pod begins anew for it"
    async with AsyncExitStack() as stack:
        mesh = (await running(stack, former, tmp_path))["mesh"]
        await sent_as_by_helm(former, mesh)
        (request,) = await subscriber.received_at("/audit", 1)
        put(
            mesh.file("/etc/cemesh/manifests/values"),
            {name: text.encode() for name, text in changed.items()},
        )
        triggers = f"/api/v1/brokers/{releases.namespace}/orders/triggers"
        await mesh.until_told(triggers, subscriber.url("/b"))
        await sent_as_by_helm(later, mesh)
        await subscriber.received_at("/b", 1)

    assert b"dev.cemesh.helm.test" in request.head
    assert [*mesh.file("/var/lib/cemesh").glob("**/*.db")]


async def test_parts_with_every_value_that_is_off_by_default_do_their_work_on_kafka(
    releases: Releases, subscriber: Subscriber, tmp_path: Path, kafka: str
) -> None:
    authority = Authority()
    issued = authority.issue()
    pair = {
        "tls.crt": issued.certificate.decode(),
        "tls.key": issued.key.decode(),
        "ca.crt": authority.pem.decode(),
    }
    others = [
        holding(
            "Secret", "channel", {"kafka": f"kafka://{kafka}?default.topic.replication.factor=1"}
        ),
        holding("Secret", "proxy", {"url": "http://user:password@proxy:3128"}),
        holding("Secret", "events-tls", pair),
        holding("Secret", "admin-tls", pair),
        holding("Secret", "clients", {}),
        holding("ConfigMap", "triggers", {}),
        holding("ConfigMap", "brokers.shop", {}),
        holding("ConfigMap", "authorities", {"ca.crt": authority.pem.decode()}),
    ]
    values = yaml.safe_load(SHAPES["everything"].read_text())
    release = releases.of(
        {
            **values,
            "kubernetes": {"enabled": False},  # tests/chart/test_cluster.py has a cluster
            "listen": "0.0.0.0",  # not every desk has IPv6
            "proxy": {**values["proxy"], "noProxy": [HOST]},
        }
    )

    async with AsyncExitStack() as stack:
        pods = await running(stack, release, tmp_path, others=others)
        await sent_as_by_helm(release, pods["ingress"])
        await subscriber.received_at("/audit", 1)
        audit = pods["ingress"].file("/var/log/cemesh/pod.jsonl")
        await until(lambda: audit.exists() and "start" in audit.read_text())
