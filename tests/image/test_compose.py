"""The compose files: what they say, and that each variant runs the quickstart.

The mesh and its subscribers run in the image, with the commands, variables and volumes of the
files. In place of the containers of Kafka and RabbitMQ are the servers of the tests.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import jsonschema  # type: ignore[import-untyped]  # it has neither stubs nor a py.typed
import pytest

from broker.event import Event
from tests.image.compose import FILES, Tree, mapping, read, service, variant, words
from tests.image.container import MANIFESTS, Container
from tests.image.engine import ROOT, Built, stages
from tests.services.kubernetes.modules import Module, fetched
from tests.services.mesh import HOST, free_port
from tests.services.mesh import trigger as told_of
from tests.services.missing import Missing

QUICKSTART = ROOT / "examples" / "quickstart"
COMPOSE_GO = Module(
    path="github.com/compose-spec/compose-go/v2",
    version="v2.16.2",
    sum="h1:pTp1DqQwJzFd85GzlWsSszKA1ABrV/ySqsClujIcWA8=",
)
"""Whoever reads compose files reads them by this, which has the schema of the specification."""

SERVICES = [(name, each) for name in FILES for each in mapping(variant(name)["services"])]

ORDER = Event(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop/berlin",
        "type": "com.example.order.placed",
    },
    b'{"total": 42.50}',
)

pytestmark = pytest.mark.timeout(600)


# --- what they say -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> Mapping[str, object]:
    folders = fetched(COMPOSE_GO)
    if isinstance(folders, Missing):
        pytest.skip(folders.reason)
    text = folders[COMPOSE_GO.path].joinpath("schema", "compose-spec.json").read_text()
    found: Mapping[str, object] = json.loads(text)
    return found


@pytest.mark.parametrize("name", sorted({name for names in FILES.values() for name in names}))
def test_a_file_is_one_of_the_compose_specification(
    name: str, schema: Mapping[str, object]
) -> None:
    faults = jsonschema.Draft202012Validator(schema).iter_errors(read(name))

    assert [f"{each.json_path}: {each.message}" for each in faults] == []


@pytest.mark.parametrize(("name", "of"), SERVICES)
def test_a_service_has_no_rights_and_is_reached_on_loopback_alone(name: str, of: str) -> None:
    said = service(of, variant(name))

    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert all(each.startswith("127.0.0.1:") for each in words(said.get("ports", [])))
    assert "privileged" not in said
    assert said["restart"] == "unless-stopped"


@pytest.mark.parametrize(("name", "of"), SERVICES)
def test_an_image_has_a_version(name: str, of: str) -> None:
    image = str(service(of, variant(name))["image"])

    _, _, tag = image.rpartition("/")[2].partition(":")
    assert re.fullmatch(r"\d+\.\d+\.\d+", tag), image


def test_what_is_built_is_of_the_version_of_the_project() -> None:
    version = stages()[-1].labels["org.opencontainers.image.version"]

    images = {str(service(each, variant("embedded"))["image"]) for each in ("mesh", "subscribers")}

    assert images == {f"cemesh:{version}"}


def test_kafka_is_the_one_of_the_tests() -> None:
    pom = (ROOT / "tests" / "services" / "kafka" / "pom.xml").read_text()

    image = str(service("kafka", variant("kafka"))["image"])

    assert f"<version>{image.partition(':')[2]}</version>" in pom


@pytest.mark.parametrize("name", FILES)
def test_what_the_mesh_mounts_is_there_and_what_it_waits_for_has_a_health_check(name: str) -> None:
    whole = variant(name)
    mesh = service("mesh", whole)

    folders = [each.split(":")[0] for each in words(mesh["volumes"])]
    for each in folders:
        assert (
            (ROOT / each).is_dir() if each.startswith("./") else each in mapping(whole["volumes"])
        )
    for each, condition in mapping(mesh.get("depends_on", {})).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in service(each, whole)


# --- what they do --------------------------------------------------------------------------


def channel(name: str, said: str | None, request: pytest.FixtureRequest) -> str | None:
    """Return the channel that the file says, on the servers of the tests."""
    match name:
        case "kafka":
            assert said is not None
            own = f"compose-{uuid4()}-{{{{ .Name }}}}"
            names = ("brokers.topic.template", "triggers.consumergroup.template")
            url = urlsplit(said)
            assert url.netloc == "kafka:9092"
            query = f"{url.query}&{urlencode(dict.fromkeys(names, own))}"
            return url._replace(netloc=request.getfixturevalue("kafka"), query=query).geturl()
        case "rabbitmq":
            assert said == "amqp://cemesh:cemesh@rabbitmq:5672/"
            url = urlsplit(request.getfixturevalue("rabbitmq"))
            return urlsplit(said)._replace(netloc=url.netloc, path=url.path).geturl()
        case _:
            return said


@contextmanager
def subscribers(said: Tree, image: Built, port: int) -> Iterator[None]:
    """Run the subscribers of the quickstart, on that port."""
    assert said["network_mode"] == "service:mesh"
    stage = stages()[-1]
    command = [str(port) if each == "8090" else each for each in words(said["command"])]
    entered = image.entered(
        [*stage.entrypoint, *command],
        stage.environment,
        folder=stage.folder,
        user=stage.user,
        read_only=True,
    )
    process = subprocess.Popen(entered.argv(), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", FILES)
async def test_the_quickstart_runs(
    name: str, image: Built, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = variant(name)
    said = service("mesh", whole)
    given = {each: str(value) for each, value in mapping(said["environment"]).items()}
    assert given["CEMESH_ADMIN_HOST"] == "0.0.0.0"
    url = channel(name, given.pop("CEMESH_CHANNEL", None), request)
    port = free_port()
    text = (QUICKSTART / "mesh.yaml").read_text().replace("8090", str(port))
    mesh = Container(
        tmp_path,
        text,
        image,
        command=words(said["command"]),
        environment=given
        | {"CEMESH_ADMIN_HOST": HOST}
        | ({} if url is None else {"CEMESH_CHANNEL": url}),
    )
    for each in QUICKSTART.iterdir():
        if each.name != "mesh.yaml":
            shutil.copy(each, mesh.manifest.parent)
    assert words(said["volumes"])[0] == f"./examples/quickstart:{MANIFESTS}:ro"

    with subscribers(service("subscribers", whole), image, port):
        async with mesh:
            assert await mesh.send("default/default", ORDER) == 202
            await mesh.until(lambda status: told_of(status, "default/invoices").delivered == 1)
            await mesh.until(lambda status: told_of(status, "default/shipping").dead_lettered == 1)
            assert await asyncio.to_thread(is_healthy, said, image, mesh.admin_port)
        assert not await asyncio.to_thread(is_healthy, said, image, mesh.admin_port)


def is_healthy(said: Tree, image: Built, port: int) -> bool:
    """Return what the engine would find of the container whose admin port is that one."""
    kind, *command = words(mapping(said["healthcheck"])["test"])
    assert kind == "CMD"
    asked = [each.replace("8081", str(port)) for each in command]
    stage = stages()[-1]
    check = image.entered(asked, stage.environment, user=stage.user, read_only=True).argv()
    return subprocess.run(check, check=False, capture_output=True).returncode == 0
