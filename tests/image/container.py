"""The image, running as a container of good habits runs: read only, without rights, pid 1.

    async with Container(tmp_path, MANIFEST, image) as mesh:
        assert await mesh.send("default/default", event) == 202
        assert await mesh.terminate() == 0

It is used as `RunningMesh` is, on the network of this machine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.image.dockerfile import Stage
from tests.image.engine import Built, stages
from tests.services.mesh import HOST, RunningMesh

MANIFESTS = "/etc/cemesh"


class Container(RunningMesh):
    """``docker run --read-only --cap-drop ALL IMAGE COMMAND``, with the manifest in /etc/cemesh."""

    def __init__(
        self,
        folder: Path,
        manifest: str,
        image: Built,
        *,
        command: Sequence[str] = ("run", MANIFESTS),
        environment: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
    ) -> None:
        super().__init__(folder, manifest)
        stage: Stage = stages()[-1]
        user, _, group = stage.user.partition(":")
        self.data_dir.mkdir(exist_ok=True)
        os.chown(self.data_dir, int(user), int(group))
        ports = {
            "CEMESH_HOST": HOST,
            "CEMESH_PORT": str(self.port),
            "CEMESH_ADMIN_PORT": str(self.admin_port),
        }
        entered = image.entered(
            [*(stage.entrypoint if entrypoint is None else entrypoint), *command],
            {**stage.environment, **(environment or {}), **ports},
            folder=stage.folder,
            user=stage.user,
            read_only=True,
            volumes=(
                (str(self.manifest.parent), MANIFESTS, True),
                (str(self.data_dir), stage.environment["CEMESH_DATA_DIR"], False),
            ),
        )
        self._command = [*entered.argv()]
        self._signal = signal.Signals[stage.stop_signal]

    @property
    def first_process(self) -> int:
        """The process that is the first one in the container, by its id out here."""
        [child] = children(self.pid)
        return child

    async def terminate(self, *, within: float = 20) -> int:
        if self._process is None:
            return 0
        os.kill(self.first_process, self._signal)
        return await self.ended(within=within)


def children(process: int) -> list[int]:
    """Return the children of all threads of the process."""
    found = Path(f"/proc/{process}/task").glob("*/children")
    return [int(each) for told in found for each in told.read_text().split()]


def state(process: int) -> str:
    """Return the letter that the kernel has for the state of the process: Z is a zombie."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
