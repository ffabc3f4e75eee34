"""The page of a trigger: why it does not deliver, pausing it, and testing events against it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from broker.event import Event
from tests.console.opening import open_console
from tests.services.mesh import RunningMesh, trigger
from tests.services.subscribers import Subscriber

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANIFEST = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: default}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: audit}}
spec:
  broker: default
  filters:
    - exact: {{type: com.example.order}}
    - not:
        any:
          - prefix: {{source: /test/}}
          - cesql: "subject = 'none'"
  subscriber: {{uri: "{subscriber}/audit"}}
  delivery: {{retry: 3, backoffPolicy: linear, backoffDelay: PT2S}}
"""
PARKING = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: default}}
---
apiVersion: cemesh.dev/v1alpha1
kind: DeliveryPolicy
metadata: {{name: park}}
spec: {{order: {{whenGivenUp: park}}}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: audit
  annotations:
    cemesh.dev/delivery-policy: park
    kafka.eventing.knative.dev/delivery.order: ordered
spec:
  broker: default
  subscriber: {{uri: "{subscriber}/audit"}}
  delivery: {{retry: 0}}
"""
NAME = "default/audit"
HOSTILE = "<img src=x onerror=alert(1)>"


def an_event(**changed: str) -> Event:
    attributes = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.order"}
    return Event(attributes | changed, None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def unchanged_mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    """Return a mesh that the tests share which change nothing in it."""
    folder = tmp_path_factory.mktemp("unchanged")
    async with RunningMesh(
        folder / "mesh", MANIFEST.format(subscriber="http://127.0.0.1:9")
    ) as mesh:
        yield mesh


async def test_a_trigger_is_paused_with_a_reason_and_resumed(
    page: Page, running_mesh: Callable[..., RunningMesh]
) -> None:
    async with (
        Subscriber() as subscriber,
        running_mesh(
            MANIFEST.format(subscriber=subscriber.url("")), arguments=("--workers", "2")
        ) as mesh,
    ):
        await open_console(page, mesh, f"trigger?name={NAME}")

        await page.get_by_role("button", name="Pause…").click()
        await page.get_by_role("dialog").get_by_role("textbox").fill(HOSTILE)
        await page.keyboard.press("Enter")

        await mesh.until(lambda status: trigger(status, NAME).state == "paused")
        await expect(page.get_by_role("alert")).to_contain_text("It makes no attempts")
        await expect(page.get_by_role("alert")).to_contain_text(HOSTILE)
        await expect(page.locator("nav")).to_contain_text("1 paused")
        await mesh.send("default/default", an_event())
        numbers = page.get_by_label("Rates")
        await expect(numbers.locator("div", has_text="waiting").first).to_contain_text("1")
        assert not subscriber.received

        await page.get_by_role("button", name="Resume").click()

        await subscriber.received_at("/audit", 1)
        await expect(page.get_by_role("alert")).to_have_count(0)
        await expect(page.get_by_label("How long it takes")).to_contain_text("1 delivered")


async def test_a_pause_that_is_thought_better_of_changes_nothing(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    await open_console(page, unchanged_mesh, f"trigger?name={NAME}")

    await page.get_by_role("button", name="Pause…").focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").wait_for()
    await page.keyboard.press("Escape")

    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert trigger(await unchanged_mesh.status(), NAME).state == "running"


async def test_an_event_is_tested_against_the_filter_which_is_told_in_words(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    await open_console(page, unchanged_mesh, f"trigger?name={NAME}")
    words = page.get_by_label("What it takes")
    await expect(words).to_contain_text("type is com.example.order")
    await expect(words).to_contain_text("this does not hold:at least one of these holds:")
    await expect(words).to_contain_text("source begins with /test/")
    await expect(page.get_by_label("How it delivers")).to_contain_text(
        "3, linear: after 2 s, 4 s, 6 s, 12 s in all"
    )
    trial = page.get_by_label("Test an event")
    text = trial.get_by_label("An event as JSON")

    await text.fill(json.dumps({**an_event().attributes, "type": HOSTILE}))
    await trial.get_by_role("button", name="Test it").click()
    await expect(trial.get_by_role("status")).to_contain_text("does not match")
    await expect(trial.get_by_role("status")).to_contain_text(f'"{HOSTILE}"')

    await text.fill(json.dumps(dict(an_event().attributes)))
    await trial.get_by_role("button", name="Test it").click()
    await expect(trial.get_by_role("status")).to_contain_text("It would be delivered")

    await text.fill('{"specversion": "1.0"}')
    await trial.get_by_role("button", name="Test it").click()
    await expect(trial.get_by_role("status")).to_contain_text("id")

    await unchanged_mesh.send("default/default", an_event(id="kept", source="/test/7"))
    await trial.get_by_label("Or its id").fill("kept")
    await page.keyboard.press("Enter")
    await expect(trial.get_by_role("status")).to_contain_text("does not match")

    assert await page.locator("img[src=x]").count() == 0


async def test_a_trigger_that_is_not_there_is_said_to_be_none(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    await page.goto(f"http://127.0.0.1:{unchanged_mesh.admin_port}/#/trigger?name=default/nobody")

    await expect(page.get_by_role("alert")).to_contain_text("default/nobody")


async def test_a_parked_event_is_shown_and_tried_again(
    page: Page, running_mesh: Callable[..., RunningMesh]
) -> None:
    async with (
        Subscriber() as subscriber,
        running_mesh(PARKING.format(subscriber=subscriber.url(""))) as mesh,
    ):
        subscriber.answers("/audit", [422, 200])
        await mesh.send("default/default", an_event(id="4711", partitionkey="customer-42"))
        await mesh.until(lambda status: trigger(status, NAME).parked == 1)
        await open_console(page, mesh, f"trigger?name={NAME}")
        parked = page.get_by_label("Parked events")
        await expect(parked).to_contain_text("customer-42 422 Unprocessable")

        await parked.get_by_role("button", name="Try again…").click()
        await page.get_by_role("dialog").get_by_role("textbox").fill("the schema is repaired")
        await page.keyboard.press("Enter")

        await subscriber.received_at("/audit", 2)
        await expect(parked).to_contain_text("no key is held up")
