"""Java, and the jars that Maven fetches once for servers of the tests that run on it."""

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
from typing import Final

from tests.services.locks import locked
from tests.services.missing import Missing

# A server that lives for seconds gains nothing from the second compiler, and starts in half
# the processor time without it and without a collector that has threads of its own.
JVM: Final = ("-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

_OLDEST_JAVA: Final = 17
_FETCHING: Final = 900  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Jars:
    """Java with its options, and a folder of jars."""

    program: str
    jars: Path
    options: Sequence[str] = JVM

    def told(self, *options: str) -> Jars:
        """Return the same with more options."""
        return replace(self, options=(*self.options, *options))

    def java(self, folder: Path) -> Sequence[str]:
        """Return the command, short of the class and its arguments; it may use the folder."""
        died = f"-XX:ErrorFile={folder}/jvm-error.log"  # and not where the tests were called
        return [self.program, *self.options, died, "-cp", f"{self.jars}/*"]

    def kill(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Send SIGKILL to what the process runs in the folder."""
        process.kill()


def jars_of(pom: Path, kept: Path) -> Jars | Missing:
    """Return Java with the jars that the pom asks for; they are fetched into ``kept`` if need be.

    Whoever comes second waits for whoever fetches them.
    """
    program = _java()
    if program is None:
        return Missing(reason=f"no Java {_OLDEST_JAVA} or newer")
    jars = kept / "jars" / hashlib.sha256(pom.read_bytes()).hexdigest()[:16]
    if not jars.exists():
        jars.parent.mkdir(parents=True, exist_ok=True)
        with locked(kept / "lock"):
            failure = None if jars.exists() else _fetch(pom, jars)
        if failure is not None:
            return failure
    return Jars(program=program, jars=jars)


def _fetch(pom: Path, jars: Path) -> Missing | None:
    maven = shutil.which("mvn")
    if maven is None:
        return Missing(reason="no Maven (`mvn`) to fetch its jars")
    with tempfile.TemporaryDirectory(dir=jars.parent) as partial:
        options = ("--batch-mode", "--quiet", "--no-transfer-progress", "--strict-checksums")
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={partial}/jars")
        try:
            finished = subprocess.run(
                [maven, *options, "--file", pom, *goal],
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
