"""A real Chromium for any test that asks for it, as a plug-in of pytest.

``page`` is a page of the test's own in the one browser of a test session, which lives on the loop
of that session: a module that asks for it says ``pytestmark = pytest.mark.asyncio(loop_scope=
"session")``. A test fails whose page had an error that nobody caught, or that broke its own policy
of what it may load and run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.services.programs import Program

PROGRAM: Final = Program(name="chromium", package="chromium", purpose="look at the console")
_DEADLINE: Final = 30_000  # milliseconds
_WIDE: Final = 1280
_HIGH: Final = 800


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium_browser: Browser) -> AsyncIterator[Page]:
    """Return a page, with storage of its own."""
    context = await chromium_browser.new_context(
        viewport={"width": _WIDE, "height": _HIGH}, reduced_motion="reduce", locale="en-GB"
    )
    page = await context.new_page()
    page.set_default_timeout(_DEADLINE)
    errors: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", heard)
    yield page
    await context.close()
    assert errors == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_browser(chromium: Path) -> AsyncIterator[Browser]:
    """Return the browser that a test session shares."""
    expect.set_options(timeout=_DEADLINE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> Path:
    """Return the program."""
    return PROGRAM.of(pytestconfig)


def pytest_collection_finish(session: pytest.Session) -> None:
    PROGRAM.look(session)
