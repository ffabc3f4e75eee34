"""Runs a command in a root of its own: ``unshare --mount --pid --fork python enter.py SPEC``.

SPEC is JSON, as `tests.image.engine.Entered` says. What is run takes the place of this process, and
so is the first one of its namespace, as in a container. Needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_OF_THE_HOST = ("/usr", "/etc/alternatives", "/etc/ssl")
_DEVICES = ("null", "zero", "random", "urandom")


def main(text: str) -> None:
    entered = json.loads(text)
    root = Path(entered["root"])
    _mount("--bind", root, root)
    for each in _OF_THE_HOST:
        _bind(each, root, read_only=True)
    upper, work, lower = (entered[each] for each in ("upper", "work", "lower"))
    if entered["read_only"]:
        layers = f"lowerdir={upper}:{lower}"
    else:
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    _mount("-t", "overlay", "-o", layers, "overlay", root / "usr/local")
    _mount("-t", "proc", "proc", root / "proc")
    for each in _DEVICES:
        _bind(f"/dev/{each}", root, read_only=False)
    _mount("-t", "tmpfs", "-o", "mode=1777,size=64m", "tmpfs", root / "dev/shm")
    for source, target, read_only in entered["volumes"]:
        _bind(source, root, to=target, read_only=read_only)
    if entered["read_only"]:
        _mount("-o", "remount,bind,ro", root)
        _mount("-t", "tmpfs", "-o", "mode=1777,size=64m", "tmpfs", root / "tmp")
    os.chroot(root)
    os.chdir(entered["folder"])
    user, _, group = entered["user"].partition(":")
    command = (
        *("/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
        "--pdeathsig=KILL",  # as unshare has it end, which the kernel forgets with the former user
        *(("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs") if user != "0" else ()),
        *("--", *entered["command"]),
    )
    os.execve(command[0], command, entered["environment"])  # noqa: S606  # no shell between the two


def _bind(source: str, root: Path, *, to: str | None = None, read_only: bool) -> None:
    target = root / (to or source).lstrip("/")
    _mount("--bind", source, target)
    if read_only:
        _mount("-o", "remount,bind,ro", target)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["/usr/bin/mount", *arguments], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
