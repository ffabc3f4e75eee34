"""JobSink: real programs that end, fail, hang and are ended, and what is kept of them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from broker.codecs.json import decode_event
from broker.errors import InvalidManifest
from broker.event import Event
from broker.manifest import load
from broker.mesh.kindsinks import KindSinks
from broker.ports import Accepted, Refused, Sink, SinkOptions
from broker.sinkplugin import sink_plugin
from broker.trigger import SinkObject
from sinks.job import JobSink, JobSinkSpec
from sinks.job.folders import JobFolders
from tests.unit.meshes import until

PAGE = Path(__file__, "../../../docs/sinks/JobSink.md").resolve()
HAD_RUN = Accepted(note="it had run")


def event(id: str, source: str = "/shop", data: bytes | None = b'{"a": 1}') -> Event:
    attributes = {"specversion": "1.0", "id": id, "source": source, "type": "order.created"}
    return Event.checked(attributes, data)


def job(*command: str, job: Mapping[str, object] | None = None, **container: object) -> object:
    container = {"image": "example.com/none", "command": list(command), **container}
    return {"spec": {"template": {"spec": {"containers": [container]}}, **(job or {})}}


@asynccontextmanager
async def entered(
    folder: Path, described: object, *, seconds: float = 30, **fields: object
) -> AsyncIterator[Sink]:
    """Run the sink as a mesh does, with its jobs in ``folder/jobs``."""
    spec = JobSinkSpec.model_validate_json(
        json.dumps({"job": described, "folder": str(folder / "jobs"), **fields})
    )
    plugin = sink_plugin(JobSink, "JobSink")
    options = SinkOptions(namespace="default", timeout=timedelta(seconds=seconds))
    async with KindSinks(find=lambda kind, at: plugin) as sinks:
        yield await sinks.sink(SinkObject(kind="JobSink", key="default/mine", spec=spec), options)


def shell(folder: Path, script: str, **described: object) -> object:
    """Return a job that runs this script of a shell in the folder."""
    escaped = script.replace("$", "$$")
    return job("sh", "-c", escaped, workingDir=str(folder), **described)  # type: ignore[arg-type]  # `job` is one of them


def log(folder: Path) -> Sequence[str]:
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def of_jobs(folder: Path) -> Sequence[Path]:
    return [each for each in (folder / "jobs").iterdir() if each.is_dir()]


def runs(pid: int) -> bool:
    """Return whether the process is there, and no more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# --- what the program is given ---------------------------------------------------------------


async def test_the_program_gets_the_event_and_what_knative_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEMESH_ADMIN_TOKEN", "the mesh's own")
    monkeypatch.setenv("CE_SUBJECT", "of another event")
    monkeypatch.setenv("OF_THE_MACHINE", "there")
    script = (
        "import json, os, sys; json.dump([dict(os.environ), open(sys.argv[1]).read(), "
        "sys.stdin.read(), os.getcwd()], open('given', 'w'))"
    )
    described = job(
        *(sys.executable, "-c", script),
        args=["/etc/jobsink-event/event"],
        env=[
            {"name": "OF", "value": "$(CE_SOURCE)/$(TEAM)"},
            {"name": "EVENT", "value": "/etc/jobsink-event/event"},
            {"name": "CE_TYPE", "value": "mine"},
        ],
        workingDir=str(tmp_path),
    )
    sent = event("1", data=b'{"text": "/etc/jobsink-event/event"}')

    async with entered(tmp_path, described) as sink:
        answer = await sink.attempt(sent)

    variables, file, stdin, cwd = json.loads((tmp_path / "given").read_text())
    (folder,) = of_jobs(tmp_path)
    assert answer == Accepted()
    assert decode_event(file.encode()) == decode_event(stdin.encode()) == sent
    assert variables["K_EXECUTION_MODE"] == "batch"
    assert variables["K_EVENT_FILE"] == variables["EVENT"] == str(folder / "event.json")
    named = {name: value for name, value in variables.items() if name.startswith("CE_")}
    assert named == {
        "CE_SPECVERSION": "1.0",
        "CE_ID": "1",
        "CE_SOURCE": "/shop",
        "CE_TYPE": "order.created",
    }
    assert (variables["OF"], variables["OF_THE_MACHINE"]) == ("/shop/$(TEAM)", "there")
    assert "CEMESH_ADMIN_TOKEN" not in variables
    assert cwd == str(tmp_path)


async def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown is not None
    (tmp_path / "mesh.yaml").write_text(shown[1])
    triggers = load([tmp_path / "mesh.yaml"]).desired.triggers
    (described,) = (each.subscriber.sink for each in triggers.values())
    assert described is not None
    options = SinkOptions(namespace="default", timeout=timedelta(seconds=30))
    async with KindSinks() as sinks:
        answer = await (await sinks.sink(described, options)).attempt(event("1"))

    (output,) = (tmp_path / "jobs" / "default" / "thumbnails").glob("*/output")
    assert answer == Accepted()
    assert output.read_text() == "order.created from /shop\n"


# --- once for each event ---------------------------------------------------------------------


async def test_a_job_that_has_ended_well_is_not_run_again_by_a_sink_made_anew_either(
    tmp_path: Path,
) -> None:
    described = shell(tmp_path, 'echo "$CE_SOURCE $CE_ID" >>log')
    async with entered(tmp_path, described) as sink:
        first = await sink.attempt(event("1")), await sink.attempt(event("1"))
    async with entered(tmp_path, described) as sink:
        again = await sink.attempt(event("1"))
        others = await sink.attempt(event("1", "/other")), await sink.attempt(event("2"))

    assert first == (Accepted(), HAD_RUN)
    assert again == HAD_RUN
    assert others == (Accepted(), Accepted())
    assert log(tmp_path) == ["/shop 1", "/other 1", "/shop 2"]


async def test_attempts_for_the_same_event_at_once_share_one_process(tmp_path: Path) -> None:
    script = "echo run >>log; while ! [ -e go ]; do sleep 0.02; done"
    async with entered(tmp_path, shell(tmp_path, script)) as sink:
        attempts = [asyncio.create_task(sink.attempt(event("1"))) for _ in range(3)]
        await until(lambda: len(log(tmp_path)) == 1)
        attempts[0].cancel()  # its trigger is gone; the others wait on
        await asyncio.wait([attempts[0]])
        (tmp_path / "go").touch()
        answers = await asyncio.gather(*attempts[1:])

    assert answers == [Accepted(), Accepted()]
    assert log(tmp_path) == ["run"]


async def test_a_job_that_another_process_runs_is_waited_for(tmp_path: Path) -> None:
    described = shell(tmp_path, "echo run >>log")
    async with entered(tmp_path, described) as sink:
        assert await sink.attempt(event("1")) == Accepted()
        (folder,) = of_jobs(tmp_path)
        (folder / "exit").unlink()  # as if it had not come to its end
        with (folder / "lock").open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            attempt = asyncio.create_task(sink.attempt(event("1")))
            passing = await sink.attempt(event("2")), await sink.attempt(event("3"))
            meanwhile = attempt.done()
        answer = await attempt

    assert passing == (Accepted(), Accepted())
    assert not meanwhile
    assert answer == Accepted()
    assert log(tmp_path) == ["run"] * 4


SLOW_TO_END = (
    "exec >/dev/null 2>&1; trap 'sleep 0.5; echo end >>log; exit 1' TERM; echo begin >>log; "
    "if [ -e go ]; then exit 0; fi; touch go; while :; do sleep 0.02; done"
)
ANOTHER_MESH = """
import asyncio, pathlib, sys
from tests.unit.test_jobsink import SLOW_TO_END, entered, event, shell

async def main(folder):
    async with entered(folder, shell(folder, SLOW_TO_END)) as sink:
        await sink.attempt(event("1"))

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


async def test_a_job_that_a_killed_mesh_has_left_is_waited_for(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = (sys.executable, "-c", ANOTHER_MESH, str(tmp_path))
    other = await asyncio.create_subprocess_exec(*command, cwd=root)
    await until((tmp_path / "go").exists)
    other.kill()
    await other.wait()
    async with entered(tmp_path, shell(tmp_path, SLOW_TO_END)) as sink:
        answer = await sink.attempt(event("1"))

    assert answer == Accepted()
    assert log(tmp_path) == ["begin", "end", "begin"]


async def test_no_more_run_at_a_time_than_the_sink_says(tmp_path: Path) -> None:
    script = "echo + >>log; while ! [ -e go ]; do sleep 0.02; done; echo - >>log"
    async with entered(tmp_path, shell(tmp_path, script), concurrency=2) as sink:
        attempts = [asyncio.create_task(sink.attempt(event(each))) for each in "12345"]
        await until(lambda: len(log(tmp_path)) == 2)
        (tmp_path / "go").touch()
        assert await asyncio.gather(*attempts) == [Accepted()] * 5

    at_a_time = [0]
    for line in log(tmp_path):
        at_a_time.append(at_a_time[-1] + (1 if line == "+" else -1))
    assert max(at_a_time) == 2


# --- how it ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo first >&2; echo last >&2; echo out; exit 7", "sh ended with exit code 7: last"),
        ("kill -9 $$", "sh was killed by SIGKILL"),
        ('echo "no $TOKEN" >&2; exit 1', "sh ended with exit code 1: no ***"),
    ],
)
async def test_a_job_that_ends_otherwise_is_refused_with_how_and_run_again(
    tmp_path: Path, script: str, told: str
) -> None:
    script = f"if ! [ -e failed ]; then touch failed; {script}; fi; echo again"
    described = shell(tmp_path, script, env=[{"name": "TOKEN", "valueFrom": "hunter22"}])
    async with entered(tmp_path, described) as sink:
        first = await sink.attempt(event("1"))
        (folder,) = of_jobs(tmp_path)
        kept = (folder / "exit").read_text()
        second = await sink.attempt(event("1"))

    assert first == Refused(reason=told)
    assert kept == f"{told}\n"
    assert second == Accepted()
    assert (folder / "output").read_text() == "again\n"


async def test_what_cannot_be_started_is_refused_in_words(tmp_path: Path) -> None:
    async with entered(tmp_path, job("/no/such/program")) as sink:
        missing = await sink.attempt(event("1"))
    (tmp_path / "plain").write_text("no program")
    async with entered(tmp_path, job(str(tmp_path / "plain"))) as sink:
        plain = await sink.attempt(event("2"))
    (tmp_path / "file").touch()
    async with entered(tmp_path / "file", job("true")) as sink:
        nowhere = await sink.attempt(event("3"))

    assert missing == Refused(
        reason="/no/such/program cannot be started: /no/such/program: No such file or directory"
    )
    assert isinstance(plain, Refused)
    assert plain.reason.endswith("plain: Permission denied")
    assert isinstance(nowhere, Refused)
    assert nowhere.reason.endswith(": Not a directory")
    assert not nowhere.permanent


async def test_a_job_beyond_the_time_of_its_trigger_is_ended_before_it_is_run_again(
    tmp_path: Path,
) -> None:
    script = "trap 'sleep 0.2; echo end >>log; exit 0' TERM; echo $$ >>log; "
    script += "if [ -e go ]; then exit 0; fi; touch go; while :; do sleep 0.02; done"
    async with entered(tmp_path, shell(tmp_path, script), seconds=3) as sink:
        first = await sink.attempt(event("1"))
        second = await sink.attempt(event("1"))

    pid, ended, again = log(tmp_path)
    assert first == Refused(reason="JobSink default/mine did not take it within 3 s")
    assert second == Accepted()
    assert ended == "end"
    assert pid != again
    assert not runs(int(pid))


async def test_a_job_beyond_its_own_deadline_is_ended(tmp_path: Path) -> None:
    described = shell(tmp_path, "echo $$ >log; sleep 60", job={"activeDeadlineSeconds": 1})
    async with entered(tmp_path, described) as sink:
        answer = await sink.attempt(event("1"))

        assert answer == Refused(reason="sh was ended after activeDeadlineSeconds, 1 s")
        assert not runs(int(log(tmp_path)[0]))


async def test_a_sink_that_is_left_ends_its_jobs(tmp_path: Path) -> None:
    async with entered(tmp_path, shell(tmp_path, "echo $$ >log; exec sleep 60")) as sink:
        attempt = asyncio.create_task(sink.attempt(event("1")))
        await until(lambda: bool(log(tmp_path)))

    assert not runs(int(log(tmp_path)[0]))
    with pytest.raises(asyncio.CancelledError):
        await attempt


# --- what is kept ----------------------------------------------------------------------------


async def test_what_it_writes_is_kept_up_to_a_mebibyte(tmp_path: Path) -> None:
    script = "import sys; print('out'); sys.stdout.write('x' * 3_000_000)"
    async with entered(tmp_path, job(sys.executable, "-c", script)) as sink:
        assert await sink.attempt(event("1")) == Accepted()

    (folder,) = of_jobs(tmp_path)
    assert (folder / "output").read_text() == "out\n" + "x" * ((1 << 20) - 4)


async def test_both_streams_that_it_writes_to_are_kept(tmp_path: Path) -> None:
    async with entered(tmp_path, shell(tmp_path, "echo out; echo err >&2")) as sink:
        assert await sink.attempt(event("1")) == Accepted()

    (folder,) = of_jobs(tmp_path)
    # Each is read by itself, so that either may come first.
    assert sorted((folder / "output").read_text().splitlines()) == ["err", "out"]


def aged(folder: Path) -> None:
    for each in folder.iterdir():
        os.utime(each, (0, 0))


async def test_a_sink_removes_the_folders_of_jobs_that_ended_longer_ago_than_the_ttl(
    tmp_path: Path,
) -> None:
    described = shell(tmp_path, "echo run >>log", job={"ttlSecondsAfterFinished": 1000})
    async with entered(tmp_path, described) as sink:
        assert await sink.attempt(event("1")) == Accepted()
    (old,) = of_jobs(tmp_path)
    aged(old)
    async with entered(tmp_path, described) as sink:
        await until(lambda: not old.exists())
        again = await sink.attempt(event("1"))

    assert again == Accepted()
    assert log(tmp_path) == ["run"] * 2
    assert of_jobs(tmp_path) == [old]


async def test_no_folder_is_removed_that_is_in_use_or_new_or_not_a_jobs(tmp_path: Path) -> None:
    async with entered(tmp_path, job("true")) as sink:
        for each in "123":
            assert await sink.attempt(event(each)) == Accepted()
    jobs = tmp_path / "jobs"
    old, used, new = sorted(jobs.iterdir())
    other = jobs / "mine"
    other.mkdir()
    (other / "file").touch()
    left = jobs / f".{'0' * 64}.removed"
    left.mkdir()
    for folder in (old, used, other):
        aged(folder)
    with (used / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        JobFolders(jobs, "default/mine").remove_older(timedelta(seconds=1000))

    assert set(jobs.iterdir()) == {used, new, other}


# --- what a manifest says --------------------------------------------------------------------


def refusal(folder: Path, spec: Mapping[str, object]) -> str:
    document = {
        "apiVersion": "sinks.knative.dev/v1alpha1",
        "kind": "JobSink",
        "metadata": {"name": "mine"},
        "spec": spec,
    }
    (folder / "mesh.yaml").write_text(json.dumps(document))
    with pytest.raises(InvalidManifest) as refused:
        load([folder / "mesh.yaml"])
    return str(refused.value)


CONTAINER = {"image": "example.com/it", "command": ["it"]}
POD = {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}
IMAGE_ONLY = {"template": {"spec": {"containers": [{"image": "example.com/it"}]}}}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "spec.job: is missing"),
        ({"job": {"spec": IMAGE_ONLY}}, "containers[0]: has no command"),
        ({"job": {"spec": {**POD, "completions": 3}}}, "spec.job.spec: 'completions' is 3, and"),
        ({"job": {"spec": {**POD, "suspend": True}}}, "by 'cemesh pause'"),
        ({"job": {"spec": {**POD, "ttlSeconds": 1}}}, "did you mean 'ttlSecondsAfterFinished'?"),
        ({"job": {"spec": POD}, "concurrency": 0}, "spec.concurrency: must be at least 1"),
    ],
)
def test_what_cannot_be_run_is_refused_at_load(
    tmp_path: Path, spec: Mapping[str, object], told: str
) -> None:
    assert told in refusal(tmp_path, spec)


def test_a_job_of_a_cluster_is_read_as_it_is() -> None:
    shown = """
    job:
      metadata: {labels: {team: a}}
      spec:
        completions: 1
        parallelism: 1
        backoffLimit: 3
        template:
          metadata: {annotations: {}}
          spec:
            restartPolicy: Never
            containers:
              - {name: main, image: docker.io/library/bash:5, command: [cat], args: [/etc/x]}
    """
    spec = JobSinkSpec.model_validate(yaml.safe_load(shown))

    assert spec.container.command == ["cat"]
    assert spec.job.spec.ttl_seconds_after_finished == 86_400
