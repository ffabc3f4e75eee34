"""The frame around the pages, in a real Chromium: navigation, keyboard, theme, what is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.console.opening import open_console
from tests.services.mesh import HOST, RunningMesh

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANIFEST = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: audit}
spec: {broker: default, subscriber: {uri: "http://127.0.0.1:9/"}}
"""
PAGES = {
    "o": "Overview",
    "t": "Triggers",
    "e": "Events",
    "d": "Dead letters",
    "s": "Send an event",
    "m": "Manifests",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def unchanged_mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    """Return a mesh that the tests share which change nothing in it."""
    folder = tmp_path_factory.mktemp("unchanged")
    async with RunningMesh(folder / "mesh", MANIFEST) as mesh:
        yield mesh


async def test_every_page_is_reached_by_its_link_and_by_keyboard_alone(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    await open_console(page, unchanged_mesh)

    for key, name in PAGES.items():
        await page.get_by_role("navigation").get_by_text(name, exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keys")).to_contain_text(name)
        await page.keyboard.press("Escape")
        await page.goto(f"http://{HOST}:{unchanged_mesh.admin_port}/#/nowhere")
        await expect(page.get_by_text("There is no such page.")).to_be_visible()
        await page.keyboard.press("g")
        await page.keyboard.press(key)
        await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await expect(page).to_have_title(f"{name} · cemesh")
        await expect(page.locator("nav a[aria-current]")).to_have_text(re.compile(f"^{name}"))


async def test_the_welcome_says_where_the_console_is(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    told = re.search(r"console +(\S+)", unchanged_mesh.output())

    assert told
    await page.goto(told[1])
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


async def test_the_theme_is_chosen_and_remembered(page: Page, unchanged_mesh: RunningMesh) -> None:
    await page.emulate_media(color_scheme="light")
    await open_console(page, unchanged_mesh)
    light = await background(page)

    await page.get_by_role("button", name="Theme: system").click()
    await page.get_by_role("button", name="Theme: light").click()
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = await background(page)
    await page.reload()
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    remembered = await background(page)

    assert light != dark
    assert remembered == dark


async def background(page: Page) -> str:
    return str(await page.evaluate("getComputedStyle(document.body).backgroundColor"))


async def test_a_mesh_that_is_gone_is_told_and_found_again(
    page: Page, running_mesh: Callable[..., RunningMesh]
) -> None:
    async with running_mesh(MANIFEST) as mesh:
        await open_console(page, mesh)
        await expect(page.locator("#health")).to_have_text("Takes events")

        await mesh.kill9()
        await expect(page.locator("#connection")).to_contain_text("does not answer")
        await mesh.start()

        await expect(page.locator("#connection")).to_be_hidden()


async def test_the_pages_run_and_load_nothing_but_what_is_of_the_mesh(
    page: Page, unchanged_mesh: RunningMesh
) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    await open_console(page, unchanged_mesh)
    home = f"http://{HOST}:{unchanged_mesh.admin_port}/"
    answer = await unchanged_mesh.request("GET", "/", port=unchanged_mesh.admin_port)
    foreign = await unchanged_mesh.request(
        "GET",
        "/console/app.js",
        headers={"Origin": "http://elsewhere"},
        port=unchanged_mesh.admin_port,
    )
    outside = await unchanged_mesh.request(
        "GET", "/console/../app.py", port=unchanged_mesh.admin_port
    )
    unchanged = await unchanged_mesh.request(
        "GET",
        "/",
        headers={"If-None-Match": answer.headers["etag"]},
        port=unchanged_mesh.admin_port,
    )

    assert loaded
    assert [each for each in loaded if not each.startswith(home)] == []
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in policy
    assert not [each for each in policy if "unsafe" in each]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert [foreign.status, outside.status, unchanged.status] == [403, 404, 304]


async def test_a_mesh_with_nothing_in_it_says_what_to_do_next(
    page: Page, running_mesh: Callable[..., RunningMesh]
) -> None:
    async with running_mesh("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none}") as mesh:
        await open_console(page, mesh)
        await expect(
            page.get_by_text("Put a Broker and a Trigger into the manifests")
        ).to_be_visible()

        await page.get_by_role("link", name="Triggers").click()

        await expect(page.get_by_text("Put a Trigger into the manifests")).to_be_visible()
