"""Sources by ``spec.class``, and what manifests say to the models of plug-ins."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from broker.errors import InvalidManifest
from broker.manifest import load
from broker.trigger import Source
from tests.unit.manifests.orders_plugin import Login, OrdersSpec, Page, PollSpec

PLUGIN = "tests.unit.manifests.orders_plugin"
HEAD = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: v1
kind: Secret
metadata: {name: database}
stringData: {password: "swordfish"}
---
apiVersion: cemesh.dev/v1alpha1
kind: Source
metadata: {name: mine}
spec:
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: default}}
"""


def written(folder: Path, spec: str) -> Path:
    path = folder / "mesh.yaml"
    lines = [f"  {line}\n" for line in spec.splitlines()]
    path.write_text(HEAD + "".join(lines))
    return path


def only_source(folder: Path, spec: str) -> Source:
    (source,) = load([written(folder, spec)]).desired.sources.values()
    return source


def refused(folder: Path, spec: str) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        load([written(folder, spec)])
    at_source = f"{folder}/mesh.yaml:"
    return [str(each).removeprefix(at_source) for each in caught.value.problems]


def test_a_source_by_its_class_has_its_spec_as_its_own_model(tmp_path: Path) -> None:
    source = only_source(
        tmp_path,
        f"class: {PLUGIN}:Orders\n"
        "table: orders\n"
        "login: {user: me, password: {secretKeyRef: {name: database, key: password}}}",
    )

    assert (source.kind, source.key, source.at) == ("Source", "default/mine", f"{PLUGIN}:Orders")
    spec = source.spec
    assert isinstance(spec, OrdersSpec)
    assert (spec.table, spec.batch) == ("orders", 100)
    assert spec.login is not None
    assert spec.login.password.get_secret_value() == "swordfish"
    assert "swordfish" not in repr(source)


def test_a_source_that_is_a_function_may_have_a_dataclass(tmp_path: Path) -> None:
    source = only_source(
        tmp_path,
        f"class: {PLUGIN}:poll\nurl: http://a.test/\nevery: PT5S\npage: {{size: 5}}",
    )

    assert source.spec == PollSpec(
        url="http://a.test/", every=timedelta(seconds=5), page=Page(size=5)
    )


def test_the_same_files_make_the_same_source(tmp_path: Path) -> None:
    spec = (
        f"class: {PLUGIN}:Orders\ntable: orders\n"
        "login: {user: me, password: {secretKeyRef: {name: database, key: password}}}"
    )

    assert only_source(tmp_path, spec) == only_source(tmp_path, spec)


def test_outside_of_manifests_a_secret_is_plain_text() -> None:
    login = Login.model_validate({"user": "me", "password": "swordfish"})

    assert login.password.get_secret_value() == "swordfish"


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        (
            "table: orders",
            [
                (
                    "13: Source default/mine: spec.class: is missing: module:Name, of a class or a "
                    "coroutine function"
                )
            ],
        ),
        (
            "class: orders",
            ["15: Source default/mine: spec.class: 'orders' is not of the form module:Name"],
        ),
        (
            "class: nowhere.to_be:Found",
            [
                (
                    "15: Source default/mine: spec.class: nowhere.to_be:Found cannot be imported: "
                    "ModuleNotFoundError: No module named 'nowhere' (is it in the folder that "
                    "cemesh was started in, or installed?)"
                )
            ],
        ),
        (
            f"class: {PLUGIN}:NoSource",
            [
                (
                    f"15: Source default/mine: spec.class: {PLUGIN}:NoSource is neither a class "
                    "with `async def run(self, emit)` nor an `async def` that takes `emit`"
                )
            ],
        ),
        (
            f"class: {PLUGIN}:simple\nevery: 5",
            ["16: Source default/mine: spec.every: unknown field"],
        ),
        (
            f"class: {PLUGIN}:Orders\ntabel: orders\nbatch: 0\ntable: orders",
            [
                "16: Source default/mine: spec.tabel: unknown field (did you mean 'table'?)",
                "17: Source default/mine: spec.batch: must be at least 1",
            ],
        ),
        (
            f"class: {PLUGIN}:poll\nurl: http://a.test/\nevry: PT5S\npage: {{seize: 5}}",
            [
                "17: Source default/mine: spec.evry: unknown field (did you mean 'every'?)",
                "18: Source default/mine: spec.page.seize: unknown field (did you mean 'size'?)",
            ],
        ),
        (
            f"class: {PLUGIN}:Orders\ntable: orders\nlogin: {{user: me, password: swordfish}}",
            [
                (
                    "17: Source default/mine: spec.login.password: must be secretKeyRef: {name: …, "
                    "key: …}, of a Secret in these files; it does not stand here itself"
                )
            ],
        ),
        (
            (
                f"class: {PLUGIN}:poll\nurl: http://a.test/\n"
                "token: {secretKeyRef: {name: databas, key: password}}"
            ),
            [
                (
                    "17: Source default/mine: spec.token: no Secret 'default/databas' in these "
                    "files (did you mean 'default/database'?)"
                )
            ],
        ),
        (
            (
                f"class: {PLUGIN}:poll\nurl: http://a.test/\n"
                "token: {secretKeyRef: {name: database, key: pasword}}"
            ),
            [
                (
                    "17: Source default/mine: spec.token: the Secret 'default/database' has no "
                    "'pasword' (did you mean 'password'?)"
                )
            ],
        ),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(
    tmp_path: Path, spec: str, problems: list[str]
) -> None:
    assert refused(tmp_path, spec) == problems
