"""Manifests in the console, where objects are in a cluster: each of them is for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.chart.definitions import define
from tests.console.opening import open_console
from tests.e2e.manifests import broker, trigger
from tests.services.kubernetes.client import Kubernetes
from tests.services.mesh import RunningMesh

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

FILED = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: filed}\n"


async def test_what_is_wrong_in_a_cluster_is_told_beside_what_runs(
    page: Page, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    define(kubernetes)
    namespace = kubernetes.namespace()
    audit = trigger("audit", "http://127.0.0.1:9/audit")
    kubernetes.apply("\n---\n".join([broker(), audit]), namespace)
    mesh = RunningMesh(
        tmp_path,
        FILED,
        arguments=["--kubernetes", "--kubernetes-namespace", namespace],
        environment={"KUBECONFIG": str(kubernetes.kubeconfig())},
    )
    async with mesh:
        await open_console(page, mesh, "manifests")
        row = page.get_by_role("row", name=f"Trigger {namespace}/audit")
        await expect(row).to_contain_text("the cluster")
        await expect(page.get_by_text("3 objects in 1 file and the cluster")).to_be_visible()

        kubernetes.apply(trigger("typo", "http://127.0.0.1:9/", broker="defualt"), namespace)

        wrong = page.get_by_label("What is not as it should be")
        await expect(wrong).to_contain_text(f"Trigger {namespace}/typo")
        await expect(wrong).to_contain_text("did you mean 'default'")
        await expect(row).to_be_visible()
        await page.get_by_label("Search the objects").fill("broker the cluster")
        await expect(page.locator("tbody tr[tabindex]")).to_have_count(1)
