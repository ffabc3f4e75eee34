"""Where RabbitMQ's programs come from: Debian's package, or Docker's image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.services import apt, docker
from tests.services.locks import locked
from tests.services.missing import Missing

ROOT: Final = Path(__file__).parents[3]
KEPT: Final = ROOT / ".rabbitmq"
"""What is played with; git ignores it."""

# Not the program of the same name in /usr/sbin, which takes root's privileges off.
DEBIANS: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

_OLDEST: Final = (3, 10)
_IMAGE: Final = "rabbitmq:4"
_PACKAGE: Final = "rabbitmq-server"

Environment = Mapping[str, str]


class Distribution(Protocol):
    """A way to run RabbitMQ's programs, each in this environment and with this folder."""

    @property
    def version(self) -> str:
        """What the server says of itself, as far as it is known before."""
        ...

    def epmd(self, environment: Environment) -> Sequence[str]:
        """Return the command of what nodes find each other by; nothing if none is needed."""
        ...

    def server(self, folder: Path, environment: Environment) -> Sequence[str]:
        """Return the command of the server."""
        ...

    def ctl(self, folder: Path, environment: Environment) -> Sequence[str]:
        """Return the command of the running server's ``rabbitmqctl``, short of its arguments."""
        ...

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Send SIGKILL to the server that the process runs in the folder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """Programs of this machine, and the folder of RabbitMQ's own."""

    scripts: Path
    version: str

    def epmd(self, environment: Environment) -> Sequence[str]:
        return [*_in(environment), "epmd"]

    def server(self, folder: Path, environment: Environment) -> Sequence[str]:
        return [*_in(environment), f"{self.scripts}/rabbitmq-server"]

    def ctl(self, folder: Path, environment: Environment) -> Sequence[str]:
        return [*_in(environment), f"{self.scripts}/rabbitmqctl"]

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        process.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Docker, and RabbitMQ's own image, in whose container nodes find each other by themselves."""

    name: str

    @property
    def version(self) -> str:
        return self.name.rpartition(":")[2]

    def epmd(self, environment: Environment) -> Sequence[str]:
        return []

    def server(self, folder: Path, environment: Environment) -> Sequence[str]:
        told = [f"--env={name}={value}" for name, value in environment.items()]
        return docker.run(self.name, folder, "rabbitmq-server", f"--workdir={folder}", *told)

    def ctl(self, folder: Path, environment: Environment) -> Sequence[str]:
        return ["docker", "exec", docker.container(folder), "rabbitmqctl"]

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        docker.kill(folder)


def find(kept: Path = KEPT, debians: Path = DEBIANS) -> Distribution | Missing:
    """Return a way to run RabbitMQ; its package is installed, or its image fetched, if need be.

    Whoever comes second waits for whoever installs it.
    """
    kept.mkdir(parents=True, exist_ok=True)
    with locked(kept / "lock"):
        found = _installed(debians)
        failure = apt.install(_PACKAGE, kept) if found is None else None
        found = found or _installed(debians)
        if found is not None:
            return found
        if docker.has(_IMAGE):
            return Image(name=_IMAGE)
    oldest = ".".join(map(str, _OLDEST))
    return Missing(
        reason=f"no RabbitMQ to test with: none of {oldest} or newer is installed "
        f"({failure or f'the package {_PACKAGE} is older'}), and no Docker has {_IMAGE}. "
        f"Install it (`sudo apt-get install {_PACKAGE}`), or set "
        "CEMESH_TEST_RABBITMQ=amqp://user:password@host:port/vhost to use a running one"
    )


def _installed(debians: Path) -> Installed | None:
    for program in (debians, Path(shutil.which("rabbitmq-server") or debians)):
        home = program.resolve().parent.parent
        for each in Path(home, "plugins").glob("rabbit-*"):
            found = re.match(r"rabbit-((\d+)\.(\d+)[^-]*?)(?:\.ez)?$", each.name)
            if program.exists() and found and (int(found[2]), int(found[3])) >= _OLDEST:
                return Installed(scripts=program.parent, version=found[1])
    return None


def _in(environment: Environment) -> Sequence[str]:
    # What the tests' own environment says of other servers is none of this one's business.
    others = [name for name in os.environ if name.startswith(("ERL_", "RABBITMQ_"))]
    unset = [word for name in others for word in ("-u", name)]
    return ["env", *unset, *(f"{name}={value}" for name, value in environment.items())]
