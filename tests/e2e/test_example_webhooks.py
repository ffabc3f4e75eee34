"""The example of webhooks does what its page says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

from broker.codecs.json import decode_event
from tests.e2e.manifests import manifest
from tests.services.mesh import RunningMesh

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhooks"
PAGE = (EXAMPLE / "README.md").read_text()


def shown(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


async def answer_to(commands: str, mesh: RunningMesh) -> str:
    """Return what the commands print, run as they stand but for the port."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        commands.replace(":8080/", f":{mesh.port}/"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")), reason="the page needs curl and openssl"
)
async def test_the_page_shows_what_its_commands_do(tmp_path: Path) -> None:
    text = manifest((EXAMPLE / "mesh.yaml").read_text())
    async with RunningMesh(tmp_path / "mesh", text, cwd=tmp_path) as mesh:
        assert (await answer_to(shown("bash"), mesh)).startswith("HTTP/1.1 202 Accepted")
        forged = shown("bash").replace('-d "$body"', '-d "$body "')
        assert (await answer_to(forged, mesh)).startswith("HTTP/1.1 401 Unauthorized")
        await mesh.until(lambda status: all(each.delivered for each in status.brokers[0].triggers))

    [line] = (tmp_path / "pushes.jsonl").read_bytes().splitlines()
    assert decode_event(line) == decode_event(shown("json").strip().encode())
    assert json.loads(line) == json.loads(shown("json"))
    assert "dev.cemesh.github.push" in mesh.output()
    assert "/webhooksources/default/github\n" in mesh.output()
