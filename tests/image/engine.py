"""Builds the image of the Dockerfile, and runs it, without a container engine.

A stage is a folder, which the steps see as their root: the programs of this machine are in it, read
only, and this interpreter is its ``/usr/local``, as the base image has it, with what the steps
change there in a layer of the stage's own. Only root of a Linux may do that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.image import enter
from tests.image.dockerfile import Copy, Run, Stage, read
from tests.services.missing import Missing

ROOT: Final = Path(__file__).parent.parent.parent

_MADE: Final = ("dev/shm", "etc/alternatives", "etc/ssl", "etc/cemesh", "proc", "tmp", "usr", "var")
_COPIED: Final = ("hosts", "ld.so.cache", "nsswitch.conf", "resolv.conf")
_HANDED_ON: Final = ("PIP_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Variables that say how packages are fetched here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A command in a stage, and what it sees there. ``volumes``: from, to, and if read only."""

    root: str
    lower: str
    upper: str
    work: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: str = "/"
    user: str = "0:0"
    read_only: bool = False
    volumes: Sequence[tuple[str, str, bool]] = ()

    def argv(self) -> list[str]:
        """Return what runs it, as the first process of its namespace."""
        kept = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--")
        return [*kept, sys.executable, "-I", "-S", enter.__file__, json.dumps(asdict(self))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The folder of a stage that was built."""

    folder: str

    @property
    def root(self) -> Path:
        return Path(self.folder, "root")

    @property
    def python(self) -> Path:
        """What the steps put over the interpreter."""
        return Path(self.folder, "python")

    def entered(
        self, command: Sequence[str], environment: Mapping[str, str], **given: object
    ) -> Entered:
        """Return how the command is run in it."""
        return Entered(
            root=str(self.root),
            lower=sys.base_prefix,
            upper=str(self.python),
            work=str(Path(self.folder, "work")),
            command=command,
            environment=environment,
            **given,  # type: ignore[arg-type]  # the fields of Entered, by their names
        )


def missing() -> Missing | None:
    """Return why no image can be built here, if so."""
    reason = None
    if sys.platform != "linux" or os.geteuid() != 0:
        reason = "only root of a Linux may build an image without a container engine"
    elif Path(sys.base_prefix) == Path("/usr"):
        reason = "the interpreter is the system's; make .venv by another one (PYTHON=…)"
    elif shutil.which("unshare") is None or shutil.which("setpriv") is None:
        reason = "there is no unshare or setpriv; install util-linux"
    return None if reason is None else Missing(reason=reason)


def stages() -> list[Stage]:
    """Return the stages of our Dockerfile."""
    return read((ROOT / "Dockerfile").read_text())


def build(folder: Path) -> Built:
    """Build all stages below the folder, and return the last one; the others are not kept."""
    context = folder / "context"
    _fill(context)
    built: dict[str, Built] = {}
    for stage in stages():
        built[stage.name] = _build(stage, folder / stage.name, context, built)
    *others, last = built.values()
    for each in others:
        shutil.rmtree(each.folder)
    return last


def _fill(context: Path) -> None:
    """Copy what .dockerignore lets through."""
    everything, *others = (
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert everything == "*"
    allowed = [each.removeprefix("!") for each in others if each.startswith("!")]
    assert others == [*(f"!{each}" for each in allowed), "**/__pycache__"]
    for each in allowed:
        source = ROOT / each
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, context / each, ignore=ignored)
        else:
            shutil.copy2(source, context / each)


def _build(stage: Stage, folder: Path, context: Path, built: Mapping[str, Built]) -> Built:
    made = Built(folder=str(folder))
    _lay_out(made)
    for where, step in stage.steps:
        place = made.root / where.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        match step:
            case Copy():
                source = context if step.stage is None else built[step.stage].root
                _copy(step, source, made.root if step.to.startswith("/") else place)
            case Run():
                _run(step, made, where)
    return made


def _lay_out(made: Built) -> None:
    for each in (made.python, Path(made.folder, "work")):
        each.mkdir(parents=True)
    for name in _MADE:
        (made.root / name).mkdir(parents=True)
    (made.root / "tmp").chmod(0o1777)
    for host in ("bin", "sbin", *(each.name for each in Path("/").glob("lib*"))):
        (made.root / host).symlink_to(f"usr/{host}")
    for name in ("null", "zero", "random", "urandom"):
        (made.root / "dev" / name).touch()
    # Where it was built to be, it looks for its own library.
    prefix = made.root / sys.base_prefix.lstrip("/")
    if prefix != made.root / "usr/local":
        prefix.parent.mkdir(parents=True, exist_ok=True)
        prefix.symlink_to("/usr/local")
    for name in _COPIED:
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), made.root / "etc")


def _copy(step: Copy, source: Path, place: Path) -> None:
    target = place / step.to.lstrip("/")
    for each in step.sources:
        found = source / each.lstrip("/")
        if found.is_dir():
            shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True)
        elif step.to.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, target)
    if step.owner is not None:
        user, _, group = step.owner.partition(":")
        os.chown(target, int(user), int(group))


def _run(step: Run, made: Built, folder: str) -> None:
    fetching = {
        name: value for name, value in os.environ.items() if name.upper().startswith(_HANDED_ON)
    }
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **fetching, **step.arguments}
    entered = made.entered(step.command, environment, folder=folder)
    finished = subprocess.run(
        entered.argv(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert finished.returncode == 0, f"{step.command}\n{finished.stdout}\n{finished.stderr}"
