"""ContainerSource: real programs that post over real sockets, end, hang and are killed."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from broker.errors import InvalidManifest
from broker.manifest import load
from broker.mesh import sources
from broker.programs import Lines, expanded, program
from broker.programs import leash as leash_script
from cemesh.testing import RunningSource, running
from sources.container import ContainerSource, ContainerSpec
from tests.services.mesh import Response
from tests.unit.meshes import until

EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/mine", "ce-type": "com.example.it"}
PAGE = Path(__file__, "../../../docs/sources/ContainerSource.md").resolve()
TELL_SINK = 'printf %s "$K_SINK" >sink.new; mv sink.new sink; '


def run(
    *command: str, extensions: Mapping[str, str] | None = None, **container: object
) -> AbstractAsyncContextManager[RunningSource]:
    container = {"image": "example.com/none", "command": list(command), **container}
    spec = {"template": {"spec": {"containers": [container]}}}
    model = ContainerSpec.model_validate_json(json.dumps(spec))
    return running(ContainerSource, model, name="mine", extensions=extensions)


def shell(
    folder: Path, script: str, *, extensions: Mapping[str, str] | None = None, **container: object
) -> AbstractAsyncContextManager[RunningSource]:
    """Run this script of a shell in the folder."""
    return run(
        *("sh", "-c", script.replace("$", "$$")),
        extensions=extensions,
        workingDir=str(folder),
        **container,
    )


async def written(path: Path) -> str:
    """Return what the program has put there, once it has."""
    await until(path.exists)
    return await asyncio.to_thread(path.read_text)


async def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes = b"{}",
    *,
    path: str | None = None,
    method: str = "POST",
) -> Response:
    def exchange() -> Response:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        try:
            connection.request(method, path or parts.path, body, dict(headers))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Response(status=answer.status, headers=named, body=answer.read())
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


def runs(pid: int) -> bool:
    """Return whether the process is there, and no more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start what ended again after a moment."""
    monkeypatch.setattr(sources, "_FIRST_PAUSE", 0.05)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], Sequence[tuple[str, str]]]:
    """Return what reads the lines that programs wrote, with the streams."""
    caplog.set_level(logging.INFO, "cemesh.sources.container")

    def lines() -> Sequence[tuple[str, str]]:
        told = [vars(each) for each in caplog.records if each.message == "program wrote"]
        assert all(each["source"] == "ContainerSource default/mine" for each in told)
        return [(each["stream"], each["line"]) for each in told]

    return lines


# --- what a manifest says --------------------------------------------------------------------


def loaded(folder: Path, pod: Mapping[str, object], *others: Mapping[str, object]) -> ContainerSpec:
    """Return the spec of a ContainerSource in a manifest with this pod."""
    sink = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    documents = [
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Broker",
            "metadata": {"name": "default"},
        },
        {
            "apiVersion": "sources.knative.dev/v1",
            "kind": "ContainerSource",
            "metadata": {"name": "mine"},
            "spec": {"sink": sink, "template": {"metadata": {"labels": {}}, "spec": pod}},
        },
        *others,
    ]
    (folder / "mesh.yaml").write_text("\n---\n".join(map(json.dumps, documents)))
    (source,) = load([folder / "mesh.yaml"]).desired.sources.values()
    assert isinstance(source.spec, ContainerSpec)
    return source.spec


def test_a_pod_of_a_cluster_is_read_and_what_only_a_cluster_understands_left_alone(
    tmp_path: Path,
) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "api"},
        "stringData": {"token": "hunter22"},
    }
    reference = {"secretKeyRef": {"name": "api", "key": "token"}}
    pod = {
        "serviceAccountName": "heartbeats",
        "volumes": [],
        "containers": [
            {
                "name": "heartbeats",
                "image": "example.com/heartbeats",
                "command": ["heartbeats"],
                "args": ["--period=1"],
                "resources": {"limits": {"cpu": "1"}},
                "ports": [{"containerPort": 80}],
                "env": [
                    {"name": "POD", "value": "mine"},
                    {
                        "name": "TOKEN",
                        "valueFrom": reference,
                    },
                ],
            }
        ],
    }

    spec = loaded(tmp_path, pod, secret)

    assert spec.container.command == ["heartbeats"]
    secret_value = spec.container.env[1].value_from
    assert secret_value is not None
    assert secret_value.get_secret_value() == "hunter22"
    assert "hunter22" not in repr(spec)


CONTAINER = {"image": "example.com/it", "command": ["it"]}


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (
            {"containers": [{"image": "example.com/it"}]},
            "on this machine nothing can run the image example.com/it; say its 'command'",
        ),
        ({"containers": [CONTAINER, CONTAINER]}, "spec.template.spec: has 2 containers"),
        ({"containers": []}, "spec.template.spec.containers: must have at least 1 item"),
        ({}, "spec.template.spec.containers: is missing"),
        ({"containers": [CONTAINER], "initContainers": [CONTAINER]}, "has 'initContainers'"),
        ({"containers": [{**CONTAINER, "envFrom": [{}]}]}, "list the variables in 'env'"),
        ({"containers": [{**CONTAINER, "arg": ["x"]}]}, "unknown field (did you mean 'args'?)"),
        ({"containers": [{**CONTAINER, "args": ["\0"]}]}, "args[0]: has a character"),
        ({"containers": [{**CONTAINER, "env": [{"name": "1=A"}]}]}, "env[0].name: '1=A' is not"),
        (
            {"containers": [{**CONTAINER, "env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}]},
            "env[0].valueFrom: must be secretKeyRef",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_at_load(
    tmp_path: Path, pod: Mapping[str, object], told: str
) -> None:
    with pytest.raises(InvalidManifest) as refused:
        loaded(tmp_path, pod)

    assert told in str(refused.value)


def test_references_to_variables_are_those_of_kubernetes() -> None:
    variables = {"A": "1", "B": "$(A)"}

    assert expanded("$(A)$(B) $$(A) $(none) $A $$", variables) == "1$(A) $(A) $(none) $A $"


# --- what the program posts ------------------------------------------------------------------


async def test_events_of_all_three_content_modes_are_stored_with_the_extensions(
    tmp_path: Path,
) -> None:
    structured = {"specversion": "1.0", "id": "2", "source": "/mine", "type": "t", "data": [1]}
    async with shell(tmp_path, TELL_SINK + "exec sleep 60", extensions={"team": "a"}) as source:
        sink = await written(tmp_path / "sink")
        answers = [
            await post(sink, {**EVENT, "content-type": "text/plain"}, b"\xff\0"),
            await post(
                sink,
                {"content-type": "application/cloudevents+json"},
                json.dumps(structured).encode(),
            ),
            await post(
                sink,
                {"content-type": "application/cloudevents-batch+json"},
                json.dumps([{**structured, "id": each} for each in "34"]).encode(),
            ),
        ]
        events = await source.events(4)

    assert [(each.status, each.body) for each in answers] == [(202, b"")] * 3
    assert [each.id for each in events] == ["1", "2", "3", "4"]
    assert {each.attributes["team"] for each in events} == {"a"}
    assert events[0].data == b"\xff\0"


@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        ({"ce-type": "t"}, b"", 400, {"attribute": "specversion"}),
        (
            {"content-type": "application/cloudevents-batch+json"},
            b'[{"specversion": "1.0"}]',
            400,
            {"index": 0},
        ),
        ({**EVENT, "content-encoding": "gzip"}, b"", 415, {}),
        (EVENT, b"x" * ((1 << 20) + 1), 413, {}),
    ],
)
async def test_what_is_no_event_is_refused_to_the_program_and_told_in_the_log(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    headers: Mapping[str, str],
    body: bytes,
    status: int,
    told: Mapping[str, object],
) -> None:
    async with shell(tmp_path, TELL_SINK + "exec sleep 60") as source:
        sink = await written(tmp_path / "sink")
        answer = await post(sink, headers, body)
        after = await post(sink, EVENT, b"x" * (1 << 20))
        (stored,) = await source.events(1)

    problem = json.loads(answer.body)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert problem["status"] == status
    assert {name: problem[name] for name in told} == told
    refused = [vars(each) for each in caplog.records if each.message == "event refused"]
    assert [each["why"] for each in refused] == [problem["detail"]]
    assert (after.status, len(stored.data or b"")) == (202, 1 << 20)


async def test_while_the_store_is_away_the_program_is_told_when_to_come_again(
    tmp_path: Path,
) -> None:
    async with shell(tmp_path, TELL_SINK + "exec sleep 60") as source:
        sink = await written(tmp_path / "sink")
        with source.outage("the disk is full"):
            away = await post(sink, EVENT)
            unhealthy = source.status
        back = await post(sink, EVENT)
        events = await source.events(1)
        now = await source.until("running")

    assert (away.status, away.headers["retry-after"]) == (503, "1")
    assert json.loads(away.body)["detail"] == "the disk is full"
    assert (unhealthy.state, unhealthy.error) == ("unhealthy", "the disk is full")
    assert back.status == 202
    assert (len(events), now.state) == (1, "running")


async def test_no_other_path_and_no_other_method_takes_anything(tmp_path: Path) -> None:
    async with shell(tmp_path, TELL_SINK + "exec sleep 60") as source:
        sink = await written(tmp_path / "sink")
        answers = [
            await post(sink, EVENT, path="/"),
            await post(sink, EVENT, path="/default/default"),
            await post(sink, EVENT, path=urlsplit(sink).path + "x"),
            await post(sink, EVENT, path="/%C3%A4"),
            await post(sink, EVENT, method="PUT"),
        ]

        assert [each.status for each in answers] == [404, 404, 404, 404, 405]
        assert source.status.emitted == 0


async def test_the_path_is_another_one_in_each_run(tmp_path: Path) -> None:
    async with shell(tmp_path, TELL_SINK + "exec sleep 60") as source:
        sink = urlsplit(await written(tmp_path / "sink"))
        (tmp_path / "sink").unlink()
        await source.restart()
        again = urlsplit(await written(tmp_path / "sink"))

    assert (sink.hostname, again.hostname) == ("127.0.0.1", "127.0.0.1")
    assert sink.path != again.path
    assert len(sink.path) > 30


async def test_a_client_that_offers_http_2_loses_no_payload(tmp_path: Path) -> None:
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAAA"}
    async with shell(tmp_path, TELL_SINK + "exec sleep 60") as source:
        answer = await post(await written(tmp_path / "sink"), {**EVENT, **offer}, b"all of it")
        (event,) = await source.events(1)

    assert (answer.status, event.data) == (202, b"all of it")


# --- what the program is given ---------------------------------------------------------------


async def test_the_program_gets_what_knative_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEMESH_ADMIN_TOKEN", "the mesh's own")
    monkeypatch.setenv("K_CA_CERTS", "of another sink")
    monkeypatch.setenv("OF_THE_MACHINE", "there")
    env = [
        {"name": "K_SINK", "value": "http://elsewhere/"},
        {"name": "TEAM", "value": "$(NAMESPACE)/a"},
    ]
    script = (
        "import json, os, sys; file = open('new', 'w'); "
        "json.dump([dict(os.environ), sys.argv[1:], sys.stdin.read()], file); file.close(); "
        "os.rename('new', 'given'); __import__('time').sleep(60)"
    )
    async with run(
        *(sys.executable, "-c", script),
        args=["--sink=$(K_SINK)", "$$HOME", ""],
        env=env,
        workingDir=str(tmp_path),
        extensions={"team": "a"},
    ):
        variables, arguments, stdin = json.loads(await written(tmp_path / "given"))

    assert variables["K_SINK"].startswith("http://127.0.0.1:")
    assert json.loads(variables["K_CE_OVERRIDES"]) == {"extensions": {"team": "a"}}
    assert (variables["NAMESPACE"], variables["NAME"]) == ("default", "mine")
    assert (variables["TEAM"], variables["OF_THE_MACHINE"]) == ("default/a", "there")
    assert not {"CEMESH_ADMIN_TOKEN", "K_CA_CERTS"} & variables.keys()
    assert arguments == [f"--sink={variables['K_SINK']}", "$HOME", ""]
    assert stdin == ""


async def test_no_secret_shows_in_what_the_program_writes(
    tmp_path: Path, log: Callable[[], Sequence[tuple[str, str]]]
) -> None:
    script = 'echo "$TOKEN at $K_SINK"; echo "no $TOKEN" >&2; printf "%s" "$TOKEN" >token; '
    script += 'echo "$KEY" | tail -n 1; exit 3'
    secret = {"name": "TOKEN", "valueFrom": "hunter22"}
    key = {"name": "KEY", "valueFrom": "first\nsecond"}
    async with shell(tmp_path, script, env=[secret, key]) as source:
        status = await source.until("restarting")

    assert (tmp_path / "token").read_text() == "hunter22"
    assert status.error == "sh ended with exit code 3: no ***"
    out, of_key = (line for stream, line in log() if stream == "stdout")
    assert of_key == "***"
    assert out.startswith("*** at http://127.0.0.1:")
    assert out.endswith("/***")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's example needs curl")
async def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    spec = yaml.safe_load(shown)["spec"]
    del spec["sink"]
    spec["template"]["spec"]["containers"][0]["env"][0]["value"] = "0.1"
    async with running(ContainerSource, ContainerSpec.model_validate(spec)) as source:
        (event,) = await source.events(1)

    assert (event.attributes["source"], event.attributes["type"]) == ("/laptop", "com.example.load")
    assert b"load average" in (event.data or b"")


# --- how it ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 0", "sh ended with exit code 0"),
        ("echo first >&2; echo; echo last >&2; echo; echo >&2; exit 7", "exit code 7: last"),
        ("printf 'no break' >&2; exit 1", "exit code 1: no break"),
        ("kill -9 $$", "sh was killed by SIGKILL"),
        ("sleep 60 & exit 2", "sh ended with exit code 2"),
        ("setsid sleep 3 & sleep 0.2; exit 2", "sh ended with exit code 2"),
    ],
)
async def test_a_program_that_ends_is_started_again_and_how_it_ended_is_told(
    tmp_path: Path, script: str, told: str
) -> None:
    async with shell(tmp_path, f"echo run >>runs; {script}") as source:
        status = await source.until("restarting")
        await until(lambda: (tmp_path / "runs").read_text() == "run\nrun\n")

    assert status.error is not None
    assert status.error.endswith(told)


@pytest.mark.parametrize(
    ("command", "folder", "told"),
    [
        ("not-there", None, "not-there cannot be started: not-there: No such file or directory"),
        ("/etc/passwd", None, "/etc/passwd cannot be started: /etc/passwd: Permission denied"),
        ("sh", "/not/there", "sh cannot be started: /not/there: No such file or directory"),
    ],
)
async def test_a_program_that_cannot_be_started_is_told_by_name(
    command: str, folder: str | None, told: str
) -> None:
    async with run(command, workingDir=folder) as source:
        status = await source.until("restarting")

    assert status.error == told


async def test_a_command_that_is_too_long_for_the_system_is_told() -> None:
    async with run("sh", args=["x" * 200_000]) as source:
        status = await source.until("restarting")

    assert status.error == "sh cannot be started: Argument list too long"


async def test_what_is_posted_while_the_program_ends_is_stored(tmp_path: Path) -> None:
    script = """
import os, signal, sys, urllib.request
def end(*_):
    headers = {"ce-specversion": "1.0", "ce-id": "last", "ce-source": "/mine", "ce-type": "t"}
    urllib.request.urlopen(urllib.request.Request(os.environ["K_SINK"], b"", headers))
    sys.exit()
signal.signal(signal.SIGTERM, end)
open("ready", "w").close()
signal.pause()
"""
    async with run(sys.executable, "-c", script, workingDir=str(tmp_path)) as source:
        await written(tmp_path / "ready")
        await source.stop()
        (event,) = await source.events(1)

    assert event.id == "last"


async def test_a_program_that_will_not_end_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_GRACE", 0.2)
    script = "trap '' TERM; sleep 60 & echo $$ $! >new; mv new pids; wait; wait; sleep 60"
    async with shell(tmp_path, script):
        pids = [int(each) for each in (await written(tmp_path / "pids")).split()]
        assert [runs(each) for each in pids] == [True, True]

    await until(lambda: [runs(each) for each in pids] == [False, False])


async def test_nothing_that_a_program_started_outlives_it(tmp_path: Path) -> None:
    script = "sleep 60 & echo $! >new; mv new pid; exit 2"
    async with shell(tmp_path, script) as source:
        pid = int(await written(tmp_path / "pid"))
        await source.until("restarting")

        await until(lambda: not runs(pid))


async def test_without_a_mesh_the_leash_kills_a_program_that_will_not_end(tmp_path: Path) -> None:
    command = ["sh", "-c", "trap '' TERM; echo $$ >new; mv new pid; while :; do sleep 60; done"]
    ours, theirs = os.pipe()
    leash = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-I",
            "-S",
            leash_script.__file__,
            str(theirs),
            "0.2",
            str(tmp_path),
            os.devnull,
        ),
        *command,
        stdin=asyncio.subprocess.PIPE,
        pass_fds=(theirs,),
    )
    os.close(theirs)
    os.close(ours)
    pid = int(await written(tmp_path / "pid"))

    assert leash.stdin is not None
    leash.stdin.close()
    async with asyncio.timeout(30):
        await leash.wait()

    await until(lambda: not runs(pid))


async def test_a_program_whose_leash_is_killed_is_killed_and_started_again(tmp_path: Path) -> None:
    script = "echo $$ $PPID >new; mv new pids; sleep 60; :"
    async with shell(tmp_path, script) as source:
        pid, leash = (int(each) for each in (await written(tmp_path / "pids")).split())
        (tmp_path / "pids").unlink()
        assert os.getsid(leash) == leash  # out of the reach of the terminal's Ctrl-C
        os.kill(leash, signal.SIGKILL)
        status = await source.until("restarting")
        await until(lambda: not runs(pid))
        await written(tmp_path / "pids")

    assert status.error == "sh was killed, with the process that watched it"


async def test_a_service_manager_that_signals_all_processes_cuts_nobody_short(
    tmp_path: Path,
) -> None:
    script = "trap 'sleep 0.2; exit 5' TERM; echo $$ $PPID >new; mv new pids; "
    script += "while :; do sleep 0.05; done"
    async with shell(tmp_path, script) as source:
        pids = [int(each) for each in (await written(tmp_path / "pids")).split()]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        status = await source.until("restarting")

    assert status.error == "sh ended with exit code 5"


# --- what it writes --------------------------------------------------------------------------


async def test_lines_come_to_the_log_with_their_stream(
    tmp_path: Path, log: Callable[[], Sequence[tuple[str, str]]]
) -> None:
    script = f"echo one; echo two >&2; printf '\\377\\n'; exec {shlex.quote(sys.executable)} -c "
    script += shlex.quote("import time; print('x' * 1_000_000, flush=True); time.sleep(60)")
    async with shell(tmp_path, script):
        await until(lambda: len(log()) == 4)

    lines = log()
    assert {("stdout", "one"), ("stderr", "two"), ("stdout", "\\xff")} < set(lines)
    assert lines[-1] == ("stdout", "x" * 4000 + "…")


def test_lines_are_cut_and_those_beyond_a_number_in_a_second_only_counted() -> None:
    said: list[str] = []
    clock = [10.0]
    lines = Lines(said.append, now=lambda: clock[0])

    for _ in range(100):
        lines.feed(b"x" * 100)
    lines.feed(b"\n\n\r\n")
    lines.feed(b"y\n" * 600)
    clock[0] += 1
    lines.feed(b"a\nb")
    lines.end()

    assert said[:2] == ["x" * 4000 + "…", "y"]
    assert said[500:] == ["… 101 lines left out: more than 500 came in a second", "a", "b"]
    assert lines.last == "b"
