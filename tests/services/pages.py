"""Runs what a documentation page shows: `python -m tests.services.pages --write PAGES…`.

In a page, ``<!-- file: NAME -->`` above a fenced block writes the block into the file NAME, and
a ``console`` block is run: each command after ``$ ``, continued while lines end in a backslash,
with what it prints below it. All of a page happens in one folder, from top to bottom.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(
    r"(?P<file><!-- file: (?P<name>\S+) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def as_run(page: str, folder: Path) -> str:
    """Return the page with the output that its commands really have, run in ``folder``."""

    def rewritten(block: re.Match[str]) -> str:
        if block["name"] is not None:
            file = folder / block["name"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block["body"])
        if block["language"] != "console":
            return block[0]
        return f"```console\n{''.join(_session(block['body'], folder))}```"

    return _BLOCK.sub(rewritten, page)


def is_run(page: str) -> bool:
    """Return whether the page shows anything to run."""
    return any(block["language"] == "console" for block in _BLOCK.finditer(page))


def _session(body: str, folder: Path) -> Iterator[str]:
    for command in re.findall(r"^\$ (?:.*\\\n)*.*\n", body, re.MULTILINE):
        yield command
        output = _run(command.removeprefix("$ "), folder)
        yield output if output.endswith("\n") or not output else f"{output}\n"


def _run(command: str, folder: Path) -> str:
    # Both streams, as on a terminal; a command that is meant to fail shows how.
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


def main(arguments: list[str]) -> None:
    if arguments[:1] != ["--write"]:
        sys.exit("usage: python -m tests.services.pages --write PAGES…")
    for name in arguments[1:]:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(name)
            page.write_text(as_run(page.read_text(), Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
