"""The pictures of the documentation show the console as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.console.pictures import IMAGES, SHOWN, shop, take


def test_every_picture_is_shown() -> None:
    page = Path("docs", "console.md").read_text()

    pictures = {each.name for each in IMAGES.glob("console-*.png")}

    assert pictures == set(re.findall(r"images/(console-[a-z-]+\.png)", page))


@pytest.mark.asyncio(loop_scope="session")
async def test_the_pictures_show_what_the_pages_show(
    chromium_browser: Browser, tmp_path: Path
) -> None:
    async with shop(tmp_path / "mesh") as mesh:
        shown = await take(chromium_browser, mesh, tmp_path)

    assert shown == SHOWN.read_text(), "python -m tests.console.pictures --write"
