"""Sending events from the console."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.console.opening import open_console
from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.asyncio(loop_scope="session")

PASSWORD = base64.b64encode(b"s3cret").decode()
GUARDED = json.dumps(
    {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "guarded", "annotations": {"cemesh.dev/access": "clients"}},
    }
)
CLIENTS = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "clients"},
        "data": {"desk": PASSWORD},
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        yield subscriber


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh(
    tmp_path_factory: pytest.TempPathFactory, subscriber: Subscriber
) -> AsyncIterator[RunningMesh]:
    text = manifest(
        broker("open"),
        GUARDED,
        CLIENTS,
        trigger("orders", subscriber.url("/orders"), broker="open", type="order"),
        trigger("parcels", subscriber.url("/parcels"), broker="open", type="parcel"),
        trigger("watched", subscriber.url("/watched"), broker="guarded"),
    )
    async with RunningMesh(tmp_path_factory.mktemp("mesh"), text) as mesh:
        yield mesh


async def test_an_event_is_sent_with_the_keyboard_alone_and_its_story_is_told(
    page: Page, mesh: RunningMesh, subscriber: Subscriber
) -> None:
    await open_console(page, mesh)
    await page.keyboard.press("g")
    await page.keyboard.press("s")
    await page.get_by_label("type", exact=True).focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("order")
    for _ in range(2):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Control+A")
    await page.keyboard.type("ö <1>")
    await page.keyboard.press("Enter")

    await page.get_by_role("link", name="the story of ö <1>").focus()
    await page.keyboard.press("Enter")

    (request,) = await subscriber.received_at("/orders", 1)
    assert request.header("ce-id") == "%C3%B6%20<1>"
    assert request.body == b'{\n  "hello": "world"\n}'
    await expect(page.get_by_label("In short")).to_contain_text("1 delivered")
    await expect(page.get_by_label("In short")).to_contain_text("127.0.0.1 over the admin port")


async def test_who_would_get_it_is_told_and_nothing_sent(
    page: Page, mesh: RunningMesh, subscriber: Subscriber
) -> None:
    await open_console(page, mesh, "send?broker=default/open")
    await page.get_by_label("type", exact=True).fill("parcel")
    await page.get_by_role("button", name="Who would get it?").click()
    told = page.get_by_label("Who would get it")
    await expect(told).to_contain_text("1 of 2 triggers would get it")
    await expect(told.get_by_role("link", name="default/parcels")).to_be_visible()

    await page.get_by_label("type", exact=True).fill("letter")
    await page.get_by_role("button", name="Who would get it?").click()
    await expect(told).to_contain_text("None of 2 triggers would get it")
    await expect(told).to_contain_text('"order" ≠ "letter"')
    assert [each.path for each in subscriber.received if each.path == "/parcels"] == []


async def test_what_is_refused_says_why_and_a_broker_may_ask_who_sends(
    page: Page, mesh: RunningMesh, subscriber: Subscriber
) -> None:
    await open_console(page, mesh, "send?broker=default/guarded")
    await page.get_by_label("time").fill("soon")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("an Authorization header is required")
    await page.get_by_label("Authorization").fill("Bearer s3cret")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("time")

    await page.get_by_label("time").fill("")
    await page.get_by_label("Payload").fill("no JSON at all")
    await expect(page.get_by_text("No JSON: it is sent as the text that it is.")).to_be_visible()
    await page.get_by_role("button", name="Send", exact=True).click()

    await expect(page.get_by_text("Stored by default/guarded")).to_be_visible()
    (request,) = await subscriber.received_at("/watched", 1)
    assert request.body == b"no JSON at all"
