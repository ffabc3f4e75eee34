"""What meshes tell Prometheus, to be asked for."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from broker.observe.family import Family
from tests.services.mesh import RunningMesh


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def of(self, name: str) -> Mapping[frozenset[tuple[str, str]], float]:
        return {labels: value for (each, labels), value in self.values.items() if each == name}

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of the series that have these labels, and maybe others."""
        wanted = labels.items()
        return sum(value for has, value in self.of(name).items() if wanted <= has)


async def scraped(mesh: RunningMesh) -> Scrape:
    answer = await mesh.request("GET", "/metrics", port=mesh.admin_port)
    assert answer.status == 200, answer
    return Scrape(answer.body.decode())


def samples(family: Family, scrape: Scrape) -> Mapping[frozenset[tuple[str, str]], float]:
    """Return the series of a family; of a histogram, how many there are in each."""
    return scrape.of(f"{family.name}_count" if family.kind == "histogram" else family.name)
