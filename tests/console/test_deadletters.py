"""Dead letters in the console: by cause, one by one, edited, and redriven at a pace."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from broker.event import Event
from tests.console.opening import open_console
from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Answer, Request, Subscriber, reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = b'<img src=x onerror=alert(1)>\r\n{"n": 12345678901234567890}'
NAMES = ("empty", "causes", "paced", "edited", "refused", "whole")


class Mending(Subscriber):
    """Refuses what comes to a path until that is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.mended: set[str] = set()

    def refusing(self, path: str) -> str:
        def answer(request: Request) -> Answer:
            if path in self.mended:
                return 200
            if "bad" in (request.header("ce-id") or ""):
                return reply(400, body=b"<b>no such field</b>")
            return reply(422, body=b"no such account")

        return self.answers(path, answer)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def subscriber() -> AsyncIterator[Mending]:
    async with Mending() as subscriber:
        yield subscriber


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh(
    tmp_path_factory: pytest.TempPathFactory, subscriber: Mending
) -> AsyncIterator[RunningMesh]:
    """Return one mesh for all tests here, in which each has a broker and a trigger of its own."""
    triggers = [
        trigger(name, subscriber.refusing(f"/{name}"), broker=name, retry=0, pauses=False)
        for name in NAMES
    ]
    text = manifest(*map(broker, NAMES), steady(), *triggers)
    async with RunningMesh(tmp_path_factory.mktemp("mesh"), text) as mesh:
        yield mesh


async def given_up(mesh: RunningMesh, name: str, *events: Event) -> None:
    """Have the trigger of that name give these up."""
    assert set(await mesh.send_all(f"default/{name}", events)) == {202}
    await dead_letters(mesh, f"default/{name}", len(events))


def at(page: Page) -> Locator:
    return page.locator("main")


async def confirmed(page: Page) -> None:
    await page.get_by_role("dialog").get_by_role("button", name="Redrive").click()


async def test_dead_letters_are_grouped_by_cause_and_those_selected_are_redriven(
    page: Page, mesh: RunningMesh, subscriber: Mending
) -> None:
    await given_up(mesh, "causes", *(event(f"order-{n}") for n in range(4)), event("bad-0"))
    await open_console(page, mesh, "deadletters?broker=default/causes")
    await expect(page.get_by_text("5 for 2 causes")).to_be_visible()
    await expect(page.locator("tbody tr[tabindex]").first).to_contain_text("422")

    await page.get_by_role("row", name="422").focus()
    await page.keyboard.press("Enter")
    await page.get_by_label("Select order-1").check()
    await page.get_by_label("Select order-2").press("Space")
    subscriber.mended.add("/causes")
    await page.get_by_role("button", name="Redrive 2 selected").click()
    await confirmed(page)

    await expect(page.get_by_text("2 redriven.")).to_be_visible()
    requests = await subscriber.received_at("/causes", 7)
    assert {each.header("ce-id") for each in requests[5:]} == {"order-1", "order-2"}
    await expect(page.get_by_role("row", name="order-0")).to_be_visible()
    await expect(page.get_by_role("row", name="order-1")).to_have_count(0)
    left = await dead_letters(mesh, "default/causes", 3)
    assert {each.event.id for each in left} == {"order-0", "order-3", "bad-0"}


async def test_all_are_redriven_at_a_pace_until_somebody_stops_it(
    page: Page, mesh: RunningMesh, subscriber: Mending
) -> None:
    await given_up(mesh, "paced", *(event(f"order-{n}") for n in range(60)))
    subscriber.mended.add("/paced")
    await open_console(page, mesh, "deadletters?broker=default/paced")
    await page.get_by_label("Pace").select_option("1 a second")
    await page.get_by_role("button", name="Redrive all").click()
    await confirmed(page)
    await expect(page.get_by_text("of 60")).to_be_visible()
    await expect(page.get_by_text("when it is left or closed, it stops")).to_be_visible()
    await page.get_by_role("button", name="Stop").click()

    await expect(page.get_by_text("not tried")).to_be_visible()
    left = await dead_letters(mesh, "default/paced", 1)
    assert 0 < len(left) < 60
    await expect(
        page.get_by_text(f"{60 - len(left)} redriven, {len(left)} not tried")
    ).to_be_visible()

    await page.get_by_label("Pace").select_option("as fast as they go")
    await page.get_by_role("button", name="Redrive all").click()
    await confirmed(page)
    await expect(page.get_by_text("No dead letters")).to_be_visible()
    requests = await subscriber.received_at("/paced", 120)
    assert len({each.header("ce-id") for each in requests[60:]}) == 60


async def test_a_redrive_stops_where_its_page_is_left(
    page: Page, mesh: RunningMesh, subscriber: Mending
) -> None:
    await given_up(mesh, "whole", *(event(f"order-{n}") for n in range(60)))
    subscriber.mended.add("/whole")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    await page.clock.install()
    await open_console(page, mesh, "deadletters?trigger=default/whole")
    await page.get_by_label("Pace").select_option("1 a second")
    await page.get_by_role("button", name="Redrive all of default/whole").click()
    await confirmed(page)
    await expect(page.get_by_text("of 60")).to_be_visible()

    await page.get_by_role("link", name="Overview").click()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    before = [each for each in sent if each.endswith("/redrive")]
    await page.clock.run_for(5_000)
    async with page.expect_response("**/status"):
        pass  # the page has gone on, and would have gone on with that, too

    assert 0 < len(before) < 60
    assert [each for each in sent if each.endswith("/redrive")] == before


async def test_a_dead_letter_is_inspected_edited_and_redriven(
    page: Page, mesh: RunningMesh, subscriber: Mending
) -> None:
    await given_up(mesh, "edited", event("bad-1", data=b'{"n": 12345678901234567890}'))
    subscriber.mended.add("/edited")
    await open_console(page, mesh, "deadletters?broker=default/edited")
    await page.get_by_role("cell", name="400 Bad Request").click()
    await page.get_by_role("row", name="bad-1").click()
    await expect(page.get_by_label("Why it was given up")).to_contain_text("400 Bad Request")
    await expect(page.get_by_label("The answer")).to_have_text("<b>no such field</b>")
    await expect(page.get_by_label("The event")).to_contain_text('"n": 12345678901234567890')

    await page.get_by_role("button", name="Edit and redrive").click()
    await page.get_by_label("Payload").fill('{"n": 98765432109876543210}')
    await page.get_by_role("button", name="Add an attribute").click()
    await page.keyboard.type("reviewed")
    await page.keyboard.press("Tab")
    await page.keyboard.type("ja, ünd")
    await page.keyboard.press("Enter")

    await expect(page.get_by_text("Redriven to default/edited.")).to_be_visible()
    again = (await subscriber.received_at("/edited", 2))[-1]
    assert again.body == b'{"n": 98765432109876543210}'
    assert again.header("ce-id") == "bad-1"
    assert again.header("ce-reviewed") == "ja,%20%C3%BCnd"
    await expect(page.get_by_text("No dead letters of this cause")).to_be_visible()


async def test_a_payload_that_nobody_touched_is_redriven_byte_for_byte_and_a_refusal_is_told(
    page: Page, mesh: RunningMesh, subscriber: Mending
) -> None:
    await given_up(mesh, "refused", event("bad-1", data=HOSTILE))
    subscriber.mended.add("/refused")
    (letter,) = await dead_letters(mesh, "default/refused", 1)
    await open_console(page, mesh, f"deadletters?broker=default/refused&id={letter.id}")
    await page.get_by_role("button", name="Edit and redrive").click()
    await page.get_by_label("time").fill("yesterday")
    await page.get_by_role("button", name="Redrive as edited").click()
    await expect(page.get_by_role("alert")).to_contain_text("time")
    assert len(await dead_letters(mesh, "default/refused", 1)) == 1

    await page.get_by_label("time").fill("2026-01-31T12:00:00Z")
    await page.get_by_role("button", name="Redrive as edited").click()

    again = (await subscriber.received_at("/refused", 2))[-1]
    assert again.body == HOSTILE
    assert again.header("ce-time") == "2026-01-31T12:00:00Z"
    await expect(page.get_by_text("Redriven to default/refused.")).to_be_visible()
    assert await page.locator("img[src=x]").count() == 0


async def test_where_there_are_no_dead_letters_that_is_said(page: Page, mesh: RunningMesh) -> None:
    await open_console(page, mesh, "deadletters?broker=default/empty")
    await expect(page.get_by_text("No dead letters", exact=True)).to_be_visible()
    await expect(page.get_by_role("button", name="Redrive all")).to_have_count(0)
    await open_console(page, mesh, "deadletters?broker=default/empty&id=17")
    await expect(page.get_by_role("alert")).to_contain_text("there is no dead letter '17'")
