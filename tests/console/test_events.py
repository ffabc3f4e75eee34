"""Events in the console: as they come, as they are known, and the story of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from broker.codecs.json import encode_batch
from broker.event import Event
from tests.console.opening import open_console
from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber, reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "<img src=x onerror=alert(1)>"
A_BATCH = {"Content-Type": "application/cloudevents-batch+json"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as subscriber:
        subscriber.answers("/ledger", [reply(422, body=b"no such account")])
        subscriber.answers("/bad", [400])
        subscriber.answers("/busy", [503])
        yield subscriber


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh(
    tmp_path_factory: pytest.TempPathFactory, subscriber: Subscriber
) -> AsyncIterator[RunningMesh]:
    """Return one mesh for all tests here, in which each has a broker of its own."""
    url = subscriber.url
    names = ("empty", "held", "text", "stream", "ledger", "known", "busy")
    text = manifest(
        *map(broker, names),
        steady(),
        trigger("text", "http://127.0.0.1:9", broker="text"),
        trigger("ledger", url("/ledger"), broker="ledger", retry=0, pauses=False),
        trigger("mail", url("/mail"), broker="ledger", type="parcel"),
        trigger("archive", url("/archive"), broker="ledger"),
        trigger("bad", url("/bad"), broker="known", retry=0, type="bad", pauses=False),
        trigger("good", url("/good"), broker="known", type="good"),
        trigger("busy", url("/busy"), broker="busy", retry=50, backoff="PT0.2S", pauses=False),
    )
    async with RunningMesh(tmp_path_factory.mktemp("mesh"), text) as mesh:
        yield mesh


def typed(id: str, type: str, data: bytes = b"{}") -> Event:
    return event(id, type=type, data=data)


async def follow(page: Page, mesh: RunningMesh, name: str) -> None:
    """Look at a broker live, and return once the page follows it: an event has been seen."""
    await open_console(page, mesh, f"events?view=live&broker=default/{name}")
    for number in range(100):
        await mesh.send(f"default/{name}", typed(f"first-{number}", "first"))
        if await page.get_by_role("row", name="first-").count():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the page does not follow the broker")


@asynccontextmanager
async def streaming(mesh: RunningMesh, broker: str) -> AsyncIterator[None]:
    """Send a thousand events a second while the context lasts, as far as the machine can."""

    async def stream() -> None:
        number = 0
        while True:
            events = [typed(f"e-{number + each}", "streamed") for each in range(200)]
            number += len(events)
            paced = asyncio.create_task(asyncio.sleep(0.2))
            body = encode_batch(events)
            answer = await mesh.request("POST", f"/{broker}", headers=A_BATCH, body=body)
            assert answer.status in (202, 429), answer
            await paced

    task = asyncio.create_task(stream())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_are_shown_as_they_come_filtered_and_held(
    page: Page, mesh: RunningMesh
) -> None:
    await follow(page, mesh, "held")

    await page.get_by_label("Filter (CESQL)").fill("type = = 'order'")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("at column 8")
    assert (await page.locator("#fault").inner_text()).splitlines()[1] == "       ^"

    await page.get_by_label("Filter (CESQL)").fill("type LIKE 'order%'")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing has passed the filter yet")).to_be_visible()
    for number in range(100):
        await mesh.send("default/held", typed("other", "parcel"))
        await mesh.send("default/held", typed(f"o-{number}", "order.new"))
        if await page.get_by_role("row", name="order.new").count():
            break
    assert await page.get_by_role("row", name="parcel").count() == 0

    await page.get_by_role("button", name="Pause").click()
    await mesh.send("default/held", typed("later", "order.late"))
    await expect(page.get_by_text("1 more have come since")).to_be_visible()
    assert await page.get_by_role("row", name="later").count() == 0
    await page.get_by_role("button", name="Go on").click()
    await mesh.send("default/held", typed("last", "order.last"))
    await expect(page.get_by_role("row", name="order.last")).to_be_visible()


async def test_what_is_in_an_event_is_shown_as_text_with_its_numbers_as_they_are(
    page: Page, mesh: RunningMesh
) -> None:
    data = b'{"n": 12345678901234567890, "text": "%s"}' % HOSTILE.encode()
    await follow(page, mesh, "text")
    await mesh.send("default/text", typed(HOSTILE, HOSTILE, data))

    await page.get_by_role("row", name=HOSTILE).click()
    details = page.get_by_label("The event", exact=True)
    await expect(details).to_contain_text('"n": 12345678901234567890')
    await expect(details).to_contain_text(f'"text": "{HOSTILE}"')
    await details.get_by_role("link", name="Its story").click()
    await expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    await expect(page.get_by_label("The event", exact=True)).to_contain_text(HOSTILE)
    assert await page.locator("img[src=x]").count() == 0


async def test_a_stream_of_a_thousand_events_a_second_leaves_the_page_answering(
    page: Page, mesh: RunningMesh
) -> None:
    await follow(page, mesh, "stream")
    async with streaming(mesh, "default/stream"):
        await expect(page.get_by_text("the newest 500 of")).to_be_visible()
        assert await page.locator("tbody tr[tabindex]").count() < 100

        await page.locator("tbody tr[tabindex]").first.click()
        details = page.get_by_label("The event", exact=True)
        await expect(details).to_contain_text("streamed")
        seen = await details.inner_text()
        await expect(page.get_by_text("more have come since")).to_be_visible()
        assert await details.inner_text() == seen

        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_text("Shows the newest 500 of")).to_be_visible()
        await page.get_by_role("link", name="Manifests").click()
        await expect(page.get_by_role("row", name="Broker default/stream")).to_be_visible()


async def test_an_event_that_was_not_delivered_is_found_by_its_id_with_the_keyboard_alone(
    page: Page, mesh: RunningMesh, subscriber: Subscriber
) -> None:
    await mesh.send("default/ledger", typed("4711", "order"))
    await dead_letters(mesh, "default/ledger", 1)
    await mesh.until(lambda status: told_of(status, "default/archive").delivered == 1)
    await open_console(page, mesh)

    await page.keyboard.press("g")
    await page.keyboard.press("e")
    await expect(page.get_by_role("heading", name="Events")).to_be_visible()
    await page.get_by_label("Find an event by its id").wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("4711")
    await page.keyboard.press("Enter")

    ledger = page.get_by_label("default/ledger", exact=True)
    await expect(ledger).to_contain_text("Given up after 1 attempt: 422")
    await expect(ledger.get_by_label("The answer")).to_have_text("no such account")
    await expect(page.get_by_label("In short")).to_contain_text("1 dead-lettered")
    archive = page.get_by_label("default/archive", exact=True)
    await expect(archive).to_contain_text("Delivered at the first attempt.")
    folded = page.get_by_text("1 more trigger does not match it")
    await folded.focus()
    await page.keyboard.press("Enter")
    mail = page.get_by_label("default/mail", exact=True)
    await expect(mail).to_contain_text('"parcel" ≠ "order"')


async def test_known_events_are_searched_by_what_became_of_them(
    page: Page, mesh: RunningMesh, subscriber: Subscriber
) -> None:
    await mesh.send("default/known", typed("bad-1", "bad"))
    await mesh.send("default/known", typed("good-1", "good"))
    await dead_letters(mesh, "default/known", 1)
    await subscriber.received_at("/good", 1)
    await open_console(page, mesh, "events?view=known&outcome=dead-lettered")

    await expect(page.get_by_role("row", name="bad-1")).to_contain_text("dead-lettered")
    assert await page.get_by_role("row", name="good-1").count() == 0
    await page.get_by_label("Id", exact=True).fill("nobody")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing is known of such an event")).to_be_visible()

    await page.get_by_label("Id", exact=True).fill("")
    await page.get_by_label("Outcome").select_option("delivered")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("row", name="good-1").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("In short")).to_contain_text("1 delivered")

    await page.get_by_label("Event id").fill("nobody")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing is noted of an event with the id")).to_be_visible()


async def test_a_story_goes_on_while_it_is_looked_at(
    page: Page, mesh: RunningMesh, subscriber: Subscriber
) -> None:
    await mesh.send("default/busy", typed("1", "order"))
    await subscriber.received_at("/busy", 1)
    await open_console(page, mesh, "story?id=1")
    short = page.get_by_label("In short")
    await expect(short).to_contain_text("1 waiting")

    subscriber.answers("/busy", [200])

    await expect(short).to_contain_text("1 delivered")


async def test_nothing_to_show_says_what_to_do_next(page: Page, mesh: RunningMesh) -> None:
    await open_console(page, mesh, "events?broker=default/empty")
    await expect(page.get_by_text("Nothing has come yet")).to_be_visible()
    await page.get_by_role("link", name="Send an event").last.click()
    await expect(page.get_by_role("heading", name="Send an event")).to_be_visible()
