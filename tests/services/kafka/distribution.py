"""Where Kafka's classes come from: jars that Maven fetches once, or Docker's image."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.services import docker
from tests.services.maven import JVM, Jars, jars_of
from tests.services.missing import Missing

ROOT: Final = Path(__file__).parents[3]
KEPT: Final = ROOT / ".kafka"
"""What is fetched once and what is played with; git ignores it."""

_POM: Final = Path(__file__).with_name("pom.xml")


class Distribution(Protocol):
    """A way to run Kafka's classes."""

    def java(self, folder: Path) -> Sequence[str]:
        """Return the command, short of the class and its arguments; it may use the folder."""
        ...

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Send SIGKILL to what the process runs in the folder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Docker, and Kafka's own image."""

    name: str

    def java(self, folder: Path) -> Sequence[str]:
        return [*docker.run(self.name, folder, "java"), *JVM, "-cp", "/opt/kafka/libs/*"]

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        docker.kill(folder)


def version() -> str:
    """Return the version of Kafka that the tests run."""
    found = re.search(r"<artifactId>kafka_.*\s*<version>(.*)</version>", _POM.read_text())
    assert found
    return found[1]


def find(kept: Path = KEPT) -> Distribution | Missing:
    """Return a way to run Kafka; its jars are fetched into ``kept``, or its image, if need be.

    Whoever comes second waits for whoever fetches them.
    """
    found = jars_of(_POM, kept)
    if isinstance(found, Jars):
        return found
    image = f"apache/kafka:{version()}"
    if docker.has(image):
        return Image(name=image)
    reason = f"no Apache Kafka to test with: {found.reason}, and no Docker that has {image}"
    return Missing(reason=f"{reason}. Or set CEMESH_TEST_KAFKA=host:port to use a running one")
