"""How a test comes to a page of the console."""

from __future__ import annotations

from playwright.async_api import Page

from tests.services.mesh import HOST, RunningMesh


async def open_console(page: Page, mesh: RunningMesh, address: str = "overview") -> None:
    """Show the page at ``#/address`` of the mesh's console, and return once its name is there."""
    await page.goto(f"http://{HOST}:{mesh.admin_port}/#/{address}")
    await page.get_by_role("heading", level=1).wait_for()
