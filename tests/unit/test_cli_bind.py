"""``cemesh bind``: a real process, which becomes the program that it is given."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.services.certificates import make_certificates
from tests.unit.stand_in import Ran, cemesh, running

MANIFEST = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: orders, namespace: shop}
---
apiVersion: sources.knative.dev/v1
kind: SinkBinding
metadata: {name: till, namespace: shop}
spec:
  subject: {apiVersion: apps/v1, kind: Deployment, name: till}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: orders}}
  ceOverrides: {extensions: {team: "it's us"}}
---
apiVersion: sources.knative.dev/v1
kind: SinkBinding
metadata: {name: elsewhere}
spec:
  subject: {apiVersion: batch/v1, kind: Job, selector: {matchLabels: {app: till}}}
  sink: {ref: {apiVersion: v1, kind: Service, name: audit, namespace: shop}, uri: /in}
"""

# Tells which process it is, its own arguments, and what it was told by the contract's variables.
SHOW = """
import json, os, sys
told = {name: value for name, value in os.environ.items() if name.startswith("K_")}
print(json.dumps([os.getpid(), sys.argv[1:], told]))
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    file = tmp_path / "mesh.yaml"
    file.write_text(MANIFEST)
    return file


@pytest.fixture
def wrong(mesh: Path) -> Path:
    mesh.write_text(MANIFEST.replace("sink:", "sinks:"))
    return mesh


async def bind(mesh: Path, *arguments: str) -> Ran:
    return await cemesh("bind", "-m", str(mesh), *arguments)


async def shown(mesh: Path, *arguments: str) -> dict[str, str]:
    """Return the variables that a program is told."""
    ran = await bind(mesh, *arguments, "--", sys.executable, "-c", SHOW)
    assert (ran.code, ran.err) == (0, "")
    told: dict[str, str] = json.loads(ran.out)[2]
    return told


async def test_the_program_takes_the_place_of_the_command_with_its_own_arguments(
    mesh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K_SINK", "http://another.example/")
    monkeypatch.setenv("K_CA_CERTS", "of another binding")
    program = (sys.executable, "-c", SHOW, "--port", "7", "--", "-x")

    async with running("bind", "-m", str(mesh), "shop/till", "--", *program) as process:
        out, err = await asyncio.wait_for(process.communicate(), 30)

    told = {
        "K_SINK": "http://127.0.0.1:8080/shop/orders",
        "K_CE_OVERRIDES": '{"extensions": {"team": "it\'s us"}}',
    }
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out) == [process.pid, ["--port", "7", "--", "-x"], told]


async def test_the_exit_code_is_the_programs(mesh: Path) -> None:
    assert await bind(mesh, "elsewhere", "sh", "-c", "exit 7") == Ran(7, "", "")


async def test_a_pipe_whose_reader_has_gone_ends_what_the_program_starts(mesh: Path) -> None:
    ran = await bind(mesh, "elsewhere", "--", "sh", "-c", "yes | head -n 1")

    assert ran == Ran(0, "y\n", "")


@pytest.mark.parametrize(
    ("options", "sink"),
    [
        (("--host", "10.0.0.1", "--port", "80"), "http://10.0.0.1:80/shop/orders"),
        (("--host", "::1"), "http://[::1]:8080/shop/orders"),
        (("--url", "https://events.example/mesh/"), "https://events.example/mesh/shop/orders"),
    ],
)
async def test_a_broker_is_where_the_mesh_takes_events(
    mesh: Path, options: tuple[str, ...], sink: str
) -> None:
    assert (await shown(mesh, *options, "shop/till"))["K_SINK"] == sink


async def test_a_url_stays_as_it_is_and_a_ref_goes_where_it_is_told_to(mesh: Path) -> None:
    resolve = ("--resolve", "Service/shop/audit=http://127.0.0.1:9000")

    in_cluster = await shown(mesh, "--port", "1", "elsewhere")
    on_laptop = await shown(mesh, "--port", "1", *resolve, "default/elsewhere")

    assert in_cluster["K_SINK"] == "http://audit.shop.svc.cluster.local/in"
    assert on_laptop["K_SINK"] == "http://127.0.0.1:9000/in"
    assert on_laptop["K_CE_OVERRIDES"] == '{"extensions": {}}'


async def test_authorities_are_told_as_they_stand_and_a_shell_reads_all_of_it(
    mesh: Path,
) -> None:
    authority = make_certificates().authority
    with mesh.open("a") as file:
        sink = {"uri": "https://till.example/a?b='c'&d", "CACerts": authority}
        subject = {"apiVersion": "v1", "kind": "Pod", "name": "till"}
        spec = {"sink": sink, "subject": subject, "ceOverrides": {"extensions": {"a": "$b 'c'"}}}
        version = "sources.knative.dev/v1"
        binding = {"apiVersion": version, "kind": "SinkBinding", "metadata": {"name": "tls"}}
        file.write(f"---\n{json.dumps({**binding, 'spec': spec})}\n")

    told = await shown(mesh, "tls")
    printed = await bind(mesh, "tls")
    evaluated = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'{printed.out}\n"$0" -c "$1"', sys.executable, SHOW),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(evaluated.communicate(), 30)

    assert told == {
        "K_SINK": "https://till.example/a?b='c'&d",
        "K_CE_OVERRIDES": '{"extensions": {"a": "$b \'c\'"}}',
        "K_CA_CERTS": authority,
    }
    assert json.loads(out)[2] == told


async def test_printed_for_a_shell_authorities_of_another_binding_are_taken_back(
    mesh: Path,
) -> None:
    assert await bind(mesh, "elsewhere") == Ran(
        0,
        "export K_SINK=http://audit.shop.svc.cluster.local/in\n"
        "export K_CE_OVERRIDES='{\"extensions\": {}}'\n"
        "unset K_CA_CERTS\n",
        "",
    )


async def test_a_binding_that_is_not_there_is_told_with_those_that_are(mesh: Path) -> None:
    ran = await bind(mesh, "shop/til", "true")

    assert ran == Ran(
        1,
        "",
        "Error: no SinkBinding shop/til in the manifests (did you mean 'shop/till'?); there is: "
        "default/elsewhere, shop/till\n",
    )


async def test_a_program_that_is_not_there_is_refused(mesh: Path) -> None:
    ran = await bind(mesh, "elsewhere", "--", "nowhere-to-be-found")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "Error: nowhere-to-be-found cannot be run: No such file or directory\n"


async def test_manifests_that_are_wrong_start_nothing(wrong: Path) -> None:
    ran = await bind(wrong, "elsewhere", "echo", "started")

    assert (ran.code, ran.out) == (1, "")
    assert f"{wrong}:10: SinkBinding shop/till: spec.sinks: unknown field" in ran.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("elsewhere", "--port", "80"), "--port stands behind NAME"),
        (("--url", "events.example", "elsewhere"), "'events.example' is not of the form"),
        (("--url", "http://a.example/?b", "elsewhere"), "'http://a.example/?b' is not of the form"),
    ],
)
async def test_wrong_usage_is_told(mesh: Path, arguments: tuple[str, ...], told: str) -> None:
    ran = await bind(mesh, *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
