"""Objects of a cluster, for the tests of what every source promises."""

from __future__ import annotations

import json
from pathlib import Path

from broker.event import Event
from sources.apiserver import ApiServerSource, ApiServerSpec
from tests.services.apiserver import ApiServer


class ObjectsOfACluster:
    """A cluster that gets an object for each thing."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.source: object = ApiServerSource
        self.spec: object = ApiServerSpec.model_validate(
            {
                "resources": [{"apiVersion": "v1", "kind": "ConfigMap"}],
                "mode": "Resource",
                "kubeconfig": str(server.kubeconfig(folder)),
            }
        )
        self._server = server

    async def bring(self, number: int) -> None:
        self._server.put("configmaps", f"thing-{number}", data={"number": str(number)})

    def number_of(self, event: Event) -> int:
        return int(json.loads(event.data or b"")["data"]["number"])
