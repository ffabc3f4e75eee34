"""The manifests that pages show of kinds that take no server to be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.manifest import load
from tests.services.certificates import write_certificates

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("sources/FileSource", "sources/KafkaSource", "sinks/FileSink", "sinks/LogSink")

SECRETS = {"kafka": {"mechanism": "SCRAM-SHA-512", "user": "mesh", "password": "swordfish"}}


def manifests(page: str) -> list[str]:
    """Return the blocks of the page that are whole objects."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [each for each in blocks if each.startswith("apiVersion: ")]


def document(kind: str, name: str, **fields: object) -> str:
    version = "v1" if kind == "Secret" else "eventing.knative.dev/v1"
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields})


def secret(name: str, values: Mapping[str, str]) -> str:
    return document("Secret", name, stringData=values)


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_shows_can_be_run(name: str, tmp_path: Path) -> None:
    write_certificates(tmp_path, "localhost")
    authority = (tmp_path / "authority.pem").read_text()
    beside = [document("Broker", each) for each in ("default", "orders")]
    beside += [secret(each, {**values, "ca.crt": authority}) for each, values in SECRETS.items()]
    shown = manifests((DOCS / f"{name}.md").read_text())
    for index, text in enumerate(shown):
        file = tmp_path / f"{index}.yaml"
        file.write_text("\n---\n".join([text, *beside]))

        loaded = load([file])

        assert not loaded.warnings
        assert loaded.desired.sources or loaded.desired.triggers
    assert shown
