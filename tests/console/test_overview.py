"""The overview: the way of events as a picture, and as a list where there are many triggers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from broker.event import Event
from tests.console.opening import open_console
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOP = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: orders, namespace: shop}}
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: dead, namespace: shop}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: invoices, namespace: shop}}
spec:
  broker: orders
  subscriber: {{uri: "{subscriber}/invoices"}}
  delivery:
    retry: 0
    deadLetterSink: {{ref: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: stock, namespace: shop}}
spec:
  broker: orders
  subscriber: {{uri: "{subscriber}/stock"}}
  delivery: {{retry: 0}}
---
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {{name: tick, namespace: shop}}
spec:
  schedule: "* * * * * *"
  sink: {{ref: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}}}
"""
MANY = 1000


def many_triggers() -> str:
    documents = ["apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}"]
    documents += [
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\n"
        f"metadata: {{name: t{number:04}}}\n"
        f'spec: {{broker: default, subscriber: {{uri: "http://127.0.0.1:9/{number:04}"}}}}'
        for number in range(MANY)
    ]
    return "\n---\n".join(documents)


def an_event(id: str) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/shop", "type": "order"}, None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def unchanged_mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    """Return a mesh that the tests share which change nothing in it."""
    folder = tmp_path_factory.mktemp("unchanged")
    async with RunningMesh(folder / "mesh", SHOP.format(subscriber="http://127.0.0.1:9")) as mesh:
        yield mesh


async def test_the_picture_shows_the_way_of_events_and_where_it_fails(
    page: Page, running_mesh: Callable[..., RunningMesh]
) -> None:
    async with (
        Subscriber() as subscriber,
        running_mesh(SHOP.format(subscriber=subscriber.url(""))) as mesh,
    ):
        subscriber.answers("/stock", [500])
        await open_console(page, mesh)
        picture = page.get_by_role("group", name="The way of events")

        await mesh.send("shop/orders", an_event("1"))

        await expect(picture.locator(".box.source")).to_contain_text("tick")
        await expect(picture.locator(".box.broker")).to_have_count(2)
        await expect(picture.locator(".box.trigger")).to_have_count(2)
        await expect(picture.get_by_role("link", name=subscriber.url("/invoices"))).to_be_visible()
        await expect(picture.locator(".box.dead").first).to_contain_text("Broker shop/dead")
        await expect(picture.locator(".box.dead").nth(1)).to_contain_text("kept by the broker")
        await expect(picture.locator(".ways .emitted")).to_have_class("emitted flows")
        await expect(page.get_by_label("Now").get_by_text("dead-lettered")).to_be_visible()


async def test_a_trigger_is_opened_from_the_picture_by_keyboard(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    await open_console(page, unchanged_mesh)
    await page.locator(".box.trigger").first.wait_for()

    await page.keyboard.press("/")
    await page.keyboard.type("stock")
    await expect(page.locator(".box.trigger")).to_have_count(1)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", level=1)).to_have_text("shop/stock")


async def test_a_thousand_triggers_are_a_list_and_a_search_makes_a_picture_of_some(
    page: Page, running_mesh: Callable[..., RunningMesh]
) -> None:
    async with running_mesh(many_triggers()) as mesh:
        await open_console(page, mesh)
        await expect(page.get_by_text("1,000 triggers are too many")).to_be_visible()
        rows = page.get_by_role("table", name="Triggers of default/default").locator("tbody tr")
        assert await rows.count() < 100

        await rows.filter(has_text="t0000").focus()
        await page.keyboard.press("End")
        await expect(page.locator("tr:focus")).to_contain_text("default/t0999")
        await page.get_by_role("searchbox").fill("t04")
        await expect(page.get_by_text("100 triggers are too many")).to_be_visible()
        await page.get_by_role("searchbox").fill("t042")
        await expect(page.locator(".graph .box.trigger")).to_have_count(10)

        await page.get_by_role("link", name="Triggers", exact=True).click()
        rows = page.get_by_role("table", name="Triggers").locator("tbody tr")
        await rows.filter(has_text="t0000").focus()
        assert await rows.count() < 100
        await page.get_by_role("button", name="Trigger").click()
        await expect(rows.filter(has_text="t0999")).to_be_visible()
        await rows.filter(has_text="t0999").focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("default/t0998")


async def test_in_a_narrow_window_brokers_are_a_list_and_nothing_is_cut_off(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    await page.set_viewport_size({"width": 400, "height": 800})
    for address in ("overview", "triggers", "trigger?name=shop/stock"):
        await open_console(page, unchanged_mesh, address)
        await page.get_by_text("stock").first.wait_for()
        widths = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] == widths[1], address
