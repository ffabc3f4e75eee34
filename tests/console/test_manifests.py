"""Manifests in the console: what runs, where it is declared, and why a change was refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.async_api import Page, expect

from tests.console.opening import open_console
from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import RunningMesh

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_refused_change_is_told_with_file_and_line_until_it_is_mended(
    page: Page, running_mesh: Callable[..., RunningMesh]
) -> None:
    audit = trigger("audit", "http://127.0.0.1:9/audit")
    mail = trigger("mail", "http://127.0.0.1:9/mail", type="letter")
    async with running_mesh(manifest(broker(), audit, mail)) as mesh:
        await open_console(page, mesh, "manifests")
        row = page.get_by_role("row", name="Trigger default/mail")
        await expect(row).to_contain_text("mesh.yaml:5")
        await expect(page.get_by_text("3 objects in 1 file")).to_be_visible()

        mesh.manifest.write_text(manifest(broker(), audit, mail.replace('"retry"', '"retries"')))

        refused = page.get_by_label("The last change was refused")
        await expect(refused).to_contain_text("mesh.yaml:5")
        await expect(refused).to_contain_text("Trigger default/mail")
        await expect(refused).to_contain_text("did you mean 'retry'")
        await expect(row).to_be_visible()

        mesh.manifest.write_text(manifest(broker(), "# moved", audit))

        await expect(refused).to_have_count(0)
        await expect(row).to_have_count(0)
        await page.get_by_label("Search the objects").fill("trig aud")
        await expect(page.locator("tbody tr[tabindex]")).to_have_count(1)
        await page.get_by_role("row", name="default/audit").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="default/audit")).to_be_visible()
