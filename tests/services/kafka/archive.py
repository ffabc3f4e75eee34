"""An archive of Kafka's classes as Java loads them: with it, a server starts at half the cost.

It is written once for each Java and each Kafka, by a server that is started and stopped for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import tempfile
from pathlib import Path

from tests.services.kafka.distribution import KEPT, Distribution
from tests.services.kafka.server import KafkaServer
from tests.services.locks import locked
from tests.services.maven import Jars
from tests.services.missing import Missing


def archived(found: Distribution | Missing, kept: Path = KEPT) -> Distribution | Missing:
    """Return what was found, with an archive of its classes where it can have one.

    Whoever comes second waits for whoever writes it.
    """
    if not isinstance(found, Jars):
        return found
    archive = kept / f"classes-{_fingerprint(found)}.jsa"
    if not archive.exists():
        with locked(kept / "lock"):
            if not archive.exists():
                _write(archive, found)
    # A Java that writes none starts without it.
    return found.told(f"-XX:SharedArchiveFile={archive}") if archive.exists() else found


def _fingerprint(jars: Jars) -> str:
    java = subprocess.run([jars.program, "-version"], capture_output=True, check=False).stderr
    return hashlib.sha256(f"{jars.jars.resolve()}\n".encode() + java).hexdigest()[:16]


def _write(archive: Path, jars: Jars) -> None:
    # Why a server does not start is told where a test asks for one.
    with (
        contextlib.suppress(RuntimeError),
        tempfile.TemporaryDirectory(dir=archive.parent) as folder,
    ):
        partial = Path(folder, archive.name)
        # Not every Java knows the second option.
        told = jars.told("-XX:+IgnoreUnrecognizedVMOptions", f"-XX:ArchiveClassesAtExit={partial}")
        with KafkaServer(Path(folder, "kafka"), told):
            pass
        if partial.exists():
            partial.rename(archive)
