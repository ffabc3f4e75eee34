"""Deployments of ContainerSources, on an API server whose kinds come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.connections.kubernetes.kubeconfig import by_kubeconfig
from broker.kubernetes.containers import KIND, OURS
from broker.kubernetes.pods import Pods
from broker.kubernetes.views import View
from tests.services.apiserver import ApiServer
from tests.services.cluster import PLACES, TYPES
from tests.unit.meshes import until

SOURCES = "/apis/sources.knative.dev/v1"
OWNER = {
    "apiVersion": "sources.knative.dev/v1",
    "kind": KIND,
    "name": "beats",
    "uid": "1",
    "controller": True,
}


@pytest.mark.parametrize("is_served", [False, True])
async def test_a_deployment_is_deleted_where_its_source_is_gone_and_not_where_its_kind_is(
    is_served: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_served:
        monkeypatch.setitem(PLACES, "containersources", SOURCES)
        monkeypatch.setitem(TYPES, SOURCES, {"containersources": (KIND, True)})
    async with ApiServer() as server:
        server.put("deployments", "beats-deployment", labels=OURS, owners=[OWNER])
        access = by_kubeconfig(server.kubeconfig(tmp_path))
        async with Pods(access, namespaces=()) as pods:
            await until(lambda: bool(server.watches))
            await pods.keep({}, View())

    asked = [each.path for each in server.asked]
    assert any("containersources" in each for each in asked)
    one = "/apis/apps/v1/namespaces/default/deployments/beats-deployment"
    assert (one in asked) == is_served  # nothing but its deletion asks for that
