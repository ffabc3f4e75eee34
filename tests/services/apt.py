"""Debian's packages, installed by the set-up of the tests where it may."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

_INSTALLING: Final = 900  # seconds
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"

# What packages start and enable their services with.
_STARTERS: Final = ("deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "update-rc.d")


def install(package: str, kept: Path) -> str | None:
    """Install the package without running its services; return why that cannot be, or None.

    ``kept`` is a folder that programs may be run from.
    """
    program = shutil.which("apt-get")
    if program is None:
        return "there is no apt-get"
    if os.geteuid() != 0:
        return "only root may install it"
    with tempfile.TemporaryDirectory(dir=kept) as idle:
        for name in _STARTERS:
            starter = Path(idle, name)
            starter.write_text("#!/bin/sh\n")
            starter.chmod(0o755)
        options = ("--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300")
        commands = (
            (program, "--quiet", "update"),
            (program, "--quiet", "install", *options, "-o", f"DPkg::Path={idle}:{_PATH}", package),
        )
        for command in commands:
            failure = _failure(*command)
            if failure is not None:
                return f"`apt-get {command[2]}` {failure}"
    return None


def _failure(*command: str) -> str | None:
    try:
        finished = subprocess.run(
            command,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_INSTALLING,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {_INSTALLING} s"
    if finished.returncode == 0:
        return None
    lines = finished.stdout.strip().splitlines() or [f"ended with {finished.returncode}"]
    errors = [line for line in lines if line.startswith("E:")]
    return f"failed: {(errors or lines[-1:])[0]}"
