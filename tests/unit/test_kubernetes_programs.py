"""How the programs of Kubernetes come to the tests, shown by a Go that compiles nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.services.kubernetes.build import GIVEN
from tests.unit.desks import ROOT, no_programs, program, run_pytest

PLUGIN = "tests.services.kubernetes.fixtures"
BUILD = (sys.executable, "-m", "tests.services.kubernetes.build", "helm")

VERSION = '[ "$1" = env ] && { echo go1.99.0; exit; }'
WRITES = ('while [ "$1" != -o ]; do shift; done', 'echo built >"$2"')

ASKING = "def test_that_asks(helm): assert helm.read_text() == 'built\\n'"
OTHER = "def test_that_does_not(): ..."


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def desk(tmp_path: Path, kept: Path) -> Mapping[str, str]:
    """Return what is told of the Go that is in the folder, and of where programs are kept."""
    return {"PATH": f"{tmp_path / 'go'}:{os.environ['PATH']}", GIVEN: str(kept)}


def compiles(tmp_path: Path, *lines: str) -> None:
    """Put a Go there that does so when it is to build."""
    program(tmp_path / "go", "go", VERSION, *lines)


def built(desk: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        BUILD, cwd=ROOT, env=os.environ | desk, capture_output=True, text=True, check=False
    )


def test_a_program_is_built_once_and_again_of_other_sources(
    tmp_path: Path, kept: Path, desk: Mapping[str, str]
) -> None:
    asked = tmp_path / "asked"
    compiles(tmp_path, f'echo "$@" >>{asked}', *WRITES)

    outputs = [built(desk).stdout for _ in range(2)]
    (kept / "bin" / ".helm").write_text("other sources")
    outputs.append(built(desk).stdout)

    assert outputs == ["helm is built\n", "", "helm is built\n"]
    assert [line.split()[-1] for line in asked.read_text().splitlines()] == [
        "helm.sh/helm/v4/cmd/helm"
    ] * 2
    assert sorted(each.name for each in kept.iterdir()) == ["bin", "lock"]


def test_a_build_that_is_ended_takes_its_compilers_with_it(
    tmp_path: Path, kept: Path, desk: Mapping[str, str]
) -> None:
    compiler = tmp_path / "compiler"
    compiles(tmp_path, f"sh -c 'echo $$ >{compiler}; exec sleep 300'", "exit 1")
    # In the background of a shell, where interrupts are ignored, as `make` starts it.
    command: Sequence[str] = ("sh", "-c", '"$@" & echo $!; wait', "sh", *BUILD)
    shell = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | desk, stdout=subprocess.PIPE, text=True
    )
    assert shell.stdout is not None
    build = int(shell.stdout.readline())
    deadline = time.monotonic() + 30
    while not (compiler.exists() and compiler.read_text()):
        assert time.monotonic() < deadline, "it does not compile"
        time.sleep(0.01)

    os.kill(build, signal.SIGTERM)
    shell.communicate(timeout=30)

    with pytest.raises(ProcessLookupError):
        os.kill(int(compiler.read_text()), 0)
    assert sorted(each.name for each in kept.iterdir()) == ["bin", "lock"]


def test_tests_that_ask_run_last_and_wait_for_the_build_before_their_time_begins(
    tmp_path: Path, desk: Mapping[str, str]
) -> None:
    compiles(tmp_path, "sleep 3", *WRITES)
    (tmp_path / "test_a.py").write_text(ASKING)

    output = run_pytest(tmp_path, PLUGIN, OTHER, "-v", "--timeout=2", environment=desk)

    assert "2 passed" in output
    assert output.index("test_them.py::test_that_does_not") < output.index("test_a.py::test_that_a")


def test_what_the_compiler_has_against_it_is_told(tmp_path: Path, desk: Mapping[str, str]) -> None:
    compiles(tmp_path, "echo tools: no such module", "exit 1")

    output = run_pytest(tmp_path, PLUGIN, f"{ASKING}\n{OTHER}", environment=desk)

    assert "1 passed, 1 skipped" in output
    assert "no helm to test with: its build ended with 1" in output
    assert "tools: no such module" in output
    assert "helm is not built: `go build` ended with 1" in output


def test_where_there_is_no_go_it_is_told_why_there_is_no_wheel_either(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_programs(tmp_path / "programs", monkeypatch)

    output = run_pytest(
        tmp_path, PLUGIN, ASKING, environment={GIVEN: str(kept), "PIP_NO_INDEX": "1"}
    )

    assert "1 skipped" in output
    assert "no Go 1.26.0 or newer is on the PATH, and its wheel was not fetched: ERROR" in output
