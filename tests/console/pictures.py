"""Takes the pictures of the console that the documentation shows.

``python -m tests.console.pictures --write`` makes them anew, in ``docs/images``, and beside this
module what they show: the headings, buttons, columns and the like of each page, without numbers.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page, Route, async_playwright

from broker.admin.models import StatusDocument
from broker.event import Event
from tests.console.opening import open_console
from tests.services.chromium import PROGRAM
from tests.services.mesh import RunningMesh
from tests.services.missing import Missing
from tests.services.subscribers import Request, Subscriber

IMAGES: Final = Path("docs", "images")
SHOWN: Final = Path(__file__).parent / "pictures.txt"

_MANIFEST: Final = Path(__file__).with_name("shop.yaml")
_PORT: Final = 8090  # that the pictures show in place of the one that was free
_DARK: Final = ("overview", "story")  # that are taken in dark, too
_ORDER: Final = "order-1042"

_SETTLED: Final = 9  # seconds until the pages have rates to show

# What is there to be seen before a picture is taken.
_PAGES: Final[Mapping[str, tuple[str, str]]] = {
    "overview": ("overview", ".graph .box.dead"),
    "triggers": ("triggers", "tbody tr:has-text('paused')"),
    "trigger": ("trigger?name=shop/shipping", ".latency tbody tr"),
    "events": ("events?trigger=shop/shipping", "tbody tr:has-text('order-')"),
    "story": (f"story?id={_ORDER}", "main :text('went into the broker')"),
    "deadletters": ("deadletters?broker=shop/orders", "tbody tr:has-text('409')"),
}

_STRUCTURE: Final = """main => [...main.querySelectorAll(
  "h1, h2, h3, dt, thead th, button, label > span, summary, .graph .box title"
)].filter(each => each.closest("tbody") === null && each.textContent !== "")
  .map(each => `${each.tagName.toLowerCase()} ${each.textContent}`)"""


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[RunningMesh]:
    """Run the mesh that is shown: one subscriber refuses some orders, one trigger is paused."""
    async with Subscriber() as subscriber:
        subscriber.answers("/shipping", _shipping)
        manifest = _MANIFEST.read_text().replace("PORT", str(subscriber.port))
        async with RunningMesh(folder, manifest) as mesh:
            why = b'{"why": "the new ledger is being filled"}'
            path = "/api/v1/triggers/shop/reports/pause"
            await mesh.request("POST", path, body=why, port=mesh.admin_port)
            await mesh.send_all("shop/orders", [_order(number) for number in range(1030, 1043)])
            await mesh.until(_is_over)
            yield mesh


def _is_over(status: StatusDocument) -> bool:
    triggers = [each for broker in status.brokers for each in broker.triggers]
    waiting = [each for each in triggers if each.waiting and each.state == "running"]
    return not waiting and sum(each.dead_lettered for each in triggers) > 1


def _shipping(request: Request) -> int:
    number = int((request.header("ce-id") or "").removeprefix("order-"))
    if number % 13 == 1042 % 13:
        return 409
    return 503 if number % 10 == 5 else 200


def _order(number: int) -> Event:
    return Event(
        {
            "specversion": "1.0",
            "id": f"order-{number}",
            "source": f"/shop/{('berlin', 'porto', 'test')[number % 3]}",
            "type": f"com.example.order.{'cancelled' if number % 4 == 0 else 'placed'}",
            "subject": f"customer-{number % 7}",
            "datacontenttype": "application/json",
        },
        b'{"total": 42.50}',
    )


async def take(browser: Browser, mesh: RunningMesh, folder: Path, *, settled: float = 0) -> str:
    """Put a picture of each page into the folder, and return what they show.

    For so many seconds before the first one a page is open, or there are no rates in it yet.
    """
    shown: list[str] = []
    for theme in ("dark", "light"):
        context = await browser.new_context(
            viewport={"width": 1280, "height": 720},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
        )
        page = await context.new_page()
        await page.route(re.compile("/api/.*(?<!/tail)$"), _with_port)
        await open_console(page, mesh)
        await asyncio.sleep(settled)
        shown = []
        for name, (address, there) in _PAGES.items():
            if theme == "light" or name in _DARK:
                file = folder / f"console-{name}-{theme}.png"
                shown += [name, *await _taken(page, mesh, address, there, file)]
        await page.unroute_all(behavior="wait")
        await context.close()
    return "\n".join(shown) + "\n"


async def _taken(
    page: Page, mesh: RunningMesh, address: str, there: str, file: Path
) -> Sequence[str]:
    await open_console(page, mesh, address)
    await page.locator(there).first.wait_for()
    await page.screenshot(path=file)
    found: list[str] = await page.locator("main").evaluate(_STRUCTURE)
    return [f"  {re.sub('(?<!^h)[0-9]+', '#', ' '.join(each.split()))}" for each in found]


async def _with_port(route: Route) -> None:
    answer = await route.fetch()
    body = re.sub(r"localhost:\d+", f"localhost:{_PORT}", await answer.text())
    await route.fulfill(response=answer, body=body)


async def _write() -> None:
    program = PROGRAM.find()
    if isinstance(program, Missing):
        sys.exit(program.reason)
    with tempfile.TemporaryDirectory() as folder:
        async with shop(Path(folder, "mesh")) as mesh, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program)
            flowing = asyncio.create_task(_flow(mesh))
            try:
                SHOWN.write_text(await take(browser, mesh, IMAGES, settled=_SETTLED))
            finally:
                flowing.cancel()
            await browser.close()


async def _flow(mesh: RunningMesh) -> None:
    number = 1043
    while True:
        await mesh.send("shop/orders", _order(number))
        number += 1
        await asyncio.sleep(0.04)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.console.pictures --write")
    asyncio.run(_write())
