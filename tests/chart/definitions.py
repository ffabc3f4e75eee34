"""The chart's CustomResourceDefinitions on a server, and what that says of their objects."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import yaml

from charts.crds.files import DEFINITIONS
from charts.crds.kinds import KINDS, Kind
from tests.services.kubernetes.client import Kubernetes

Object = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
OF_KINDS: Final = "apiextensions.k8s.io/v1"

_BY_NAME: Final[Mapping[tuple[str, str], Kind]] = {
    (f"{kind.group}/{version}", kind.kind): kind for kind in KINDS for version in kind.versions
}
_BLOCK: Final = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_WITHIN: Final = 30  # seconds

T = TypeVar("T")


def define(kubernetes: Kubernetes) -> Mapping[str, Object]:
    """Put all definitions on the server, and return them as they are once they can be used."""
    files = sorted(DEFINITIONS.glob("*.yaml"))
    names = [kubernetes.apply(file.read_text())[0]["metadata"]["name"] for file in files]
    return {name: established(kubernetes, name) for name in names}


def established(kubernetes: Kubernetes, name: str) -> Object:
    """Return the definition once objects of it can be made."""
    return until(lambda: definition(kubernetes, name), lambda found: is_true(found, "Established"))


def until(look: Callable[[], T], holds: Callable[[T], object]) -> T:
    """Return what is seen once that holds of it."""
    deadline = time.monotonic() + _WITHIN
    while not holds(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def definition(kubernetes: Kubernetes, name: str) -> Object:
    found = kubernetes.get("CustomResourceDefinition", name, api_version=OF_KINDS)
    assert found is not None, f"there is no {name}"
    return found


def is_true(found: Object, condition: str) -> bool:
    conditions = found.get("status", {}).get("conditions") or []
    return any((each["type"], each["status"]) == (condition, "True") for each in conditions)


def written() -> Iterator[tuple[str, Object]]:
    """Yield the objects of these kinds that people are shown, with where they stand."""
    pages = {file: _BLOCK.findall(file.read_text()) for file in ROOT.glob("docs/**/*.md")}
    folders = ("examples", "tests/unit/manifests/good")
    whole = {
        file: [file.read_text()] for each in folders for file in ROOT.glob(f"{each}/**/*.yaml")
    }
    for file, texts in {**pages, **whole}.items():
        for text in filter(lambda text: "apiVersion" in text, texts):
            for found in yaml.safe_load_all(text):
                if isinstance(found, dict) and kind_of(found) is not None:
                    yield f"{file.relative_to(ROOT)} {found['metadata']['name']}", found


def kind_of(found: Object) -> Kind | None:
    return _BY_NAME.get((found.get("apiVersion", ""), found.get("kind", "")))


class Judge:
    """Asks the server about objects, which it does not keep; `judge.refusal(object)` says why."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        trusted = ssl.create_default_context(cafile=kubernetes.place.authority)
        where = urlsplit(kubernetes.url).netloc
        self._connection = HTTPSConnection(where, timeout=60, context=trusted)
        self._token = kubernetes.place.token

    def refusal(self, found: Object) -> str | None:
        """Return why the server does not take the object, or None where it does."""
        kind = kind_of(found)
        assert kind is not None
        status, answer = self._ask(
            "POST",
            f"/apis/{found['apiVersion']}/namespaces/default/{kind.plural_name}"
            "?dryRun=All&fieldValidation=Strict",
            {**found, "metadata": {**found["metadata"], "namespace": "default"}},
        )
        if status == 201:
            return None
        assert status in (400, 422), answer
        return str(answer["message"])

    def columns(self, kind: Kind, namespace: str) -> Sequence[Mapping[str, object]]:
        """Return what `kubectl get` shows of the objects: title → what stands below it."""
        status, table = self._ask(
            "GET",
            f"/apis/{kind.group}/{kind.versions[0]}/namespaces/{namespace}/{kind.plural_name}",
            accept="application/json;as=Table;v=v1;g=meta.k8s.io",
        )
        assert status == 200, table
        titles = [each["name"] for each in table["columnDefinitions"]]
        return [dict(zip(titles, row["cells"], strict=True)) for row in table["rows"]]

    def close(self) -> None:
        self._connection.close()

    def _ask(
        self, method: str, path: str, body: object = None, *, accept: str = "application/json"
    ) -> tuple[int, Object]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": accept}
        sent = None if body is None else json.dumps(body)
        self._connection.request(
            method, path, sent, {**headers, "Content-Type": "application/json"}
        )
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())
