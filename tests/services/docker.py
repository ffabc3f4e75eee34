"""Servers out of Docker's images: on the host's network and its user, as a process would be."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def has(image: str) -> bool:
    """Return whether there is a Docker that has the image; it is fetched if need be."""
    if shutil.which("docker") is None:
        return False
    return any(
        subprocess.run(["docker", *command, image], capture_output=True, check=False).returncode
        == 0
        for command in (("image", "inspect"), ("pull",))
    )


def run(image: str, folder: Path, program: str, *options: str) -> Sequence[str]:
    """Return the command that runs the image's program, short of the program's arguments.

    It may use the folder, after which its container is named.
    """
    return [
        *("docker", "run", "--rm", f"--name={container(folder)}", "--network=host"),
        *(f"--user={os.getuid()}:{os.getgid()}", f"--volume={folder}:{folder}"),
        *(*options, f"--entrypoint={program}", image),
    ]


def kill(folder: Path) -> None:
    """Send SIGKILL to what runs in the folder.

    The process that was started is only Docker's client, which a SIGKILL would part from it.
    """
    subprocess.run(["docker", "kill", container(folder)], check=True, capture_output=True)


def container(folder: Path) -> str:
    """Return the name of the container that runs in the folder."""
    return f"cemesh-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}"
