"""Builds programs into ``.kubernetes/bin``: `python -m tests.services.kubernetes.build [NAME…]`.

What is there already, and of the same sources, stays. Only one process builds at a time, and the
others wait. What Go has compiled it keeps in the user's own cache, so that a build which was
ended goes on where it was, and the next clone has it within seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.services.kubernetes import golang
from tests.services.locks import locked
from tests.services.missing import Missing

GIVEN: Final = "CEMESH_TEST_KUBERNETES"
"""The variable of the environment that gives another folder, for several clones."""

KEPT: Final = Path(os.environ.get(GIVEN) or Path(__file__).parents[3] / ".kubernetes")
"""What is fetched and built; git ignores it."""

PROGRAMS: Final[Mapping[str, str]] = {
    "helm": "helm.sh/helm/v4/cmd/helm",
    "etcd": "./etcd",
    "kube-apiserver": "./kube-apiserver",
}
"""The package of each, in the order in which they are built."""

_KUBERNETES: Final = (1, 37, 2)

# The compiler is what takes the time. Code that is not optimised is compiled in half of it, and
# a compiler that collects no garbage, and has one thread, takes a quarter less.
_COMPILER: Final = "all=-N -l -c=1 -dwarf=false"
_UNHURRIED: Final = {"GOGC": "off", "GOMEMLIMIT": "2GiB", "CGO_ENABLED": "0"}

_ENDING: Final = 10  # seconds


BIN: Final = KEPT / "bin"


def is_built(name: str) -> bool:
    """Return whether the program is there, of the sources of now."""
    stamp = BIN / f".{name}"
    return (BIN / name).exists() and stamp.exists() and stamp.read_text() == _sources()


def build(go: str, name: str) -> None:
    """Build the program, or raise CalledProcessError. The caller holds the lock."""
    BIN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as partial:
        made = Path(partial, name)
        _go(go, Path(partial), *_options(), "-o", str(made), PROGRAMS[name])
        made.replace(BIN / name)
        stamp = Path(partial, "stamp")
        stamp.write_text(_sources())
        stamp.replace(BIN / f".{name}")


def _options() -> list[str]:
    told = {
        "gitVersion": "v{}.{}.{}".format(*_KUBERNETES),
        "gitMajor": _KUBERNETES[0],
        "gitMinor": _KUBERNETES[1],
    }
    says = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in told.items()]
    linker = " ".join(["-s", "-w", *says])
    return ["-buildvcs=false", "-trimpath", f"-gcflags={_COMPILER}", f"-ldflags={linker}"]


def _sources() -> str:
    """Return what tells the sources of the programs, and how they are built, from others."""
    kinds = {".go", ".mod", ".sum"}
    files = sorted(each for each in golang.TOOLS.rglob("*") if each.suffix in kinds)
    told = hashlib.sha256(" ".join(_options()).encode())
    for each in files:
        told.update(each.read_bytes())
    return told.hexdigest()


def _go(go: str, temporary: Path, *arguments: str) -> None:
    command = [go, "build", *arguments]
    process = subprocess.Popen(
        command,
        cwd=golang.TOOLS,
        env=golang.environment() | _UNHURRIED | {"GOTMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # so that its compilers can be ended with it
    )
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code != 0:
        raise subprocess.CalledProcessError(code, command)


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="build", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    names: list[str] = parser.parse_args().names or list(PROGRAMS)
    # A shell has what it runs in the background ignore interrupts, and so would Go's compilers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    KEPT.mkdir(parents=True, exist_ok=True)
    with locked(KEPT / "lock"):
        missing = [name for name in names if not is_built(name)]
        if not missing:
            return
        go = golang.find(KEPT)
        if isinstance(go, Missing):
            sys.exit(go.reason)
        for name in missing:
            try:
                build(go, name)
            except subprocess.CalledProcessError as error:
                sys.exit(f"{name} is not built: `go build` ended with {error.returncode}")
            sys.stdout.write(f"{name} is built\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
