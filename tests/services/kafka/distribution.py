"""Where Kafka's classes come from: jars that Maven fetches once, or Docker's image."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from tests.services import docker
from tests.services.locks import locked
from tests.services.missing import Missing

ROOT: Final = Path(__file__).parents[3]
KEPT: Final = ROOT / ".kafka"
"""What is fetched once and what is played with; git ignores it."""

_POM: Final = Path(__file__).with_name("pom.xml")
_OLDEST_JAVA: Final = 17
_FETCHING: Final = 900  # seconds

# A server that lives for seconds gains nothing from the second compiler, and starts in half
# the processor time without it and without a collector that has threads of its own.
_JVM: Final = ("-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class Distribution(Protocol):
    """A way to run Kafka's classes."""

    def java(self, folder: Path) -> Sequence[str]:
        """Return the command, short of the class and its arguments; it may use the folder."""
        ...

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Send SIGKILL to what the process runs in the folder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Jars:
    """Java with its options, and a folder of jars."""

    program: str
    jars: Path
    options: Sequence[str] = _JVM

    def told(self, *options: str) -> Jars:
        """Return the same with more options."""
        return replace(self, options=(*self.options, *options))

    def java(self, folder: Path) -> Sequence[str]:
        died = f"-XX:ErrorFile={folder}/jvm-error.log"  # and not where the tests were called
        return [self.program, *self.options, died, "-cp", f"{self.jars}/*"]

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        process.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Docker, and Kafka's own image."""

    name: str

    def java(self, folder: Path) -> Sequence[str]:
        return [*docker.run(self.name, folder, "java"), *_JVM, "-cp", "/opt/kafka/libs/*"]

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
    found = _jars(kept)
    if isinstance(found, Jars):
        return found
    image = f"apache/kafka:{version()}"
    if docker.has(image):
        return Image(name=image)
    reason = f"no Apache Kafka to test with: {found.reason}, and no Docker that has {image}"
    return Missing(reason=f"{reason}. Or set CEMESH_TEST_KAFKA=host:port to use a running one")


def _jars(kept: Path) -> Jars | Missing:
    program = _java()
    if program is None:
        return Missing(reason=f"no Java {_OLDEST_JAVA} or newer")
    jars = kept / "jars" / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]
    if not jars.exists():
        jars.parent.mkdir(parents=True, exist_ok=True)
        with locked(kept / "lock"):
            failure = None if jars.exists() else _fetch(jars)
        if failure is not None:
            return failure
    return Jars(program=program, jars=jars)


def _fetch(jars: Path) -> Missing | None:
    maven = shutil.which("mvn")
    if maven is None:
        return Missing(reason="no Maven (`mvn`) to fetch its jars")
    with tempfile.TemporaryDirectory(dir=jars.parent) as partial:
        options = ("--batch-mode", "--quiet", "--no-transfer-progress", "--strict-checksums")
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={partial}/jars")
        try:
            finished = subprocess.run(
                [maven, *options, "--file", _POM, *goal],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                check=False,
                timeout=_FETCHING,
            )
        except subprocess.TimeoutExpired:
            return Missing(reason=f"Maven did not fetch its jars within {_FETCHING} s")
        if finished.returncode != 0:
            errors = [line for line in finished.stdout.splitlines() if "[ERROR]" in line]
            said = errors[0] if errors else finished.stderr.strip()
            return Missing(reason=f"Maven did not fetch its jars: {said}")
        Path(partial, "jars").rename(jars)
    return None


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    program = shutil.which(f"{home}/bin/java" if home else "java")
    if program is None:
        return None
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', said.stderr)
    return program if found and int(found[1]) >= _OLDEST_JAVA else None
