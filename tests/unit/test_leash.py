"""Commands that do not outlive whoever they are run for."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.services import leash

OWNER = f"""
import os, subprocess, sys, time
command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
subprocess.Popen([sys.executable, {leash.__file__!r}, str(os.getpid()), *command])
time.sleep(60)
"""


def test_a_leashed_command_ends_when_its_owner_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"1\n"

        owner.kill()

        # All who could write to it are gone, the command among them.
        left, _ = owner.communicate(timeout=20)
        assert left == b""


def test_a_leash_ends_with_its_command() -> None:
    command = [sys.executable, leash.__file__, str(os.getpid()), "echo", "done"]

    assert (
        subprocess.run(command, stdout=subprocess.PIPE, timeout=20, check=True).stdout == b"done\n"
    )
