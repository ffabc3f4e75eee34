"""Objects of a cluster, each judged for itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.errors import InvalidManifest, Problem
from broker.manifest.destinations import Address, Elsewhere
from broker.manifest.judging import Found, Judged, judge
from broker.manifest.needs import Need
from broker.manifest.shapes import Reference
from broker.trigger import Desired

Json = dict[str, Any]


def an_object(
    kind: str,
    name: str,
    *,
    api_version: str,
    annotations: Mapping[str, str] | None = None,
    **content: object,
) -> Json:
    meta = {"name": name, "namespace": "default", "uid": name, "annotations": annotations or {}}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **content}


def a_broker(
    name: str = "default",
    *,
    of_class: str | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: object,
) -> Json:
    notes = {} if of_class is None else {"eventing.knative.dev/broker.class": of_class}
    return an_object(
        "Broker",
        name,
        api_version="eventing.knative.dev/v1",
        annotations={**notes, **(annotations or {})},
        spec=spec,
    )


def a_trigger(name: str, *, broker: str = "default", to: object = None, **notes: str) -> Json:
    return an_object(
        "Trigger",
        name,
        api_version="eventing.knative.dev/v1",
        annotations={f"cemesh.dev/{key}": each for key, each in notes.items()},
        spec={"broker": broker, "subscriber": to or {"uri": "http://there.example/"}},
    )


def a_policy(name: str, **spec: object) -> Json:
    return an_object("DeliveryPolicy", name, api_version="cemesh.dev/v1alpha1", spec=spec)


def a_secret(name: str, *, type: str = "Opaque", **values: str) -> Json:
    data = {key: base64.b64encode(each.encode()).decode() for key, each in values.items()}
    return an_object("Secret", name, api_version="v1", type=type, data=data)


WRONG = {"uri": "nowhere://there"}


def judged(
    *objects: Json,
    paths: Sequence[Path] = (),
    formerly: Mapping[str, Json] | None = None,
    needs: set[Need] | None = None,
    elsewhere: Elsewhere | None = None,
    unknown: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
    trusted: bool = False,
) -> Judged:
    return judge(
        paths,
        Found(objects=objects, unknown=unknown or {}, classes=classes, trusted=trusted),
        elsewhere=elsewhere or Elsewhere(),
        formerly=formerly or {},
        needs=set() if needs is None else needs,
    )


def told(found: Judged) -> dict[str, list[str]]:
    return {
        subject: [f"{each.path}: {each.message}" if each.path else each.message for each in those]
        for subject, those in found.problems.items()
    }


# --- one that is wrong -----------------------------------------------------------------------


def test_what_is_right_runs_beside_what_is_wrong() -> None:
    found = judged(a_broker(), a_trigger("good"), a_trigger("bad", to=WRONG))

    assert set(found.loaded.desired.triggers) == {"default/good"}
    assert list(found.problems) == ["Trigger default/bad"]
    assert "nowhere" in found.problems["Trigger default/bad"][0].message
    assert list(found.loaded.problems) == list(found.problems["Trigger default/bad"])


def test_a_wrong_trigger_that_never_was_good_is_held() -> None:
    found = judged(a_broker(), a_trigger("bad", to=WRONG))

    assert found.loaded.desired.held == {"default/bad"}


def test_a_wrong_trigger_runs_as_it_was_when_it_was_good() -> None:
    good = judged(a_broker(), a_trigger("one")).good

    found = judged(a_broker(), a_trigger("one", to=WRONG), formerly=good)

    [trigger] = found.loaded.desired.triggers.values()
    assert trigger.subscriber.url == "http://there.example/"
    assert found.loaded.desired.held == frozenset()
    assert list(found.problems) == ["Trigger default/one"]
    assert found.good == good


def test_a_former_self_that_is_not_good_any_more_does_not_run() -> None:
    to_policy = {"delivery-policy": "slow"}
    former = {"Trigger default/one": a_trigger("one", **to_policy)}

    found = judged(a_broker(), a_trigger("one", to=WRONG, **to_policy), formerly=former)

    assert not found.loaded.desired.triggers
    assert found.loaded.desired.held == {"default/one"}
    assert all("nowhere" in each or "slow" in each for each in told(found)["Trigger default/one"])
    assert found.good.keys() == {"Broker default/default"}


def test_a_trigger_that_is_gone_is_not_held() -> None:
    good = judged(a_broker(), a_trigger("one")).good

    found = judged(a_broker(), formerly=good)

    assert found.loaded.desired.held == frozenset()
    assert not found.loaded.desired.triggers


def test_who_depends_on_what_is_wrong_is_told_why() -> None:
    found = judged(
        a_broker(of_class="Nonsense"),
        a_broker("other"),
        a_trigger("one"),
        a_trigger("two", broker="other"),
    )

    assert set(found.loaded.desired.triggers) == {"default/two"}
    [why] = told(found)["Trigger default/one"]
    assert why.startswith("spec.broker: no Broker 'default' in the namespace 'default' of this clu")
    assert "; Broker default/default: metadata.annotations" in why
    assert "unknown class 'Nonsense'" in why


def test_a_cause_of_the_same_name_and_another_kind_is_none() -> None:
    """A trigger may have the name of the broker that is missing."""
    found = judged(a_trigger("default", to=WRONG), a_trigger("one"))

    [why] = told(found)["Trigger default/one"]
    assert why == "spec.broker: no Broker 'default' in the namespace 'default' of this cluster"


def test_who_asks_for_what_a_secret_has_not_got_is_wrong_and_others_may_use_it() -> None:
    secret = a_secret("shared", till="sesame")
    wants_another = a_policy("basic", credentials={"basic": {"secretRef": {"name": "shared"}}})
    found = judged(
        secret,
        a_broker(annotations={"cemesh.dev/access": "shared"}),
        wants_another,
        a_trigger("plain"),
        a_trigger("proving", **{"delivery-policy": "basic"}),
    )

    assert found.loaded.desired.brokers["default/default"].access is not None
    assert set(found.problems) == {"DeliveryPolicy default/basic", "Trigger default/proving"}
    assert told(found)["DeliveryPolicy default/basic"] == [
        "Secret default/shared: data.username: is missing; DeliveryPolicy default/basic needs it",
        "Secret default/shared: data.password: is missing; DeliveryPolicy default/basic needs it",
    ]
    [why] = told(found)["Trigger default/proving"]
    assert "no DeliveryPolicy 'default/basic' in this cluster; DeliveryPolicy default/bas" in why
    assert found.loaded.desired.held == {"default/proving"}


def test_everybody_who_uses_a_wrong_value_is_told() -> None:
    bearer = {"bearer": {"secretRef": {"name": "shared", "key": "token"}}}
    policies = [a_policy(each, credentials=bearer) for each in ("one", "two")]

    found = judged(a_secret("shared", token=""), *policies)

    why = ["Secret default/shared: data.token: the value of 'token' is empty"]
    assert told(found) == {f"DeliveryPolicy default/{each}": why for each in ("one", "two")}


def test_nobody_is_told_what_others_have_in_their_namespaces() -> None:
    theirs = a_secret("client", till="sesame")
    theirs["metadata"]["namespace"] = "defaults"
    elsewhere = a_broker("orders")
    elsewhere["metadata"]["namespace"] = "defaults"

    found = judged(
        theirs,
        elsewhere,
        a_broker(annotations={"cemesh.dev/access": "clients"}),
        a_trigger("one", broker="orders"),
        a_trigger("two", broker="defaults"),
    )

    why = told(found)
    [of_broker], [of_trigger] = why["Broker default/default"], why["Trigger default/one"]
    assert of_broker.endswith("no Secret 'default/clients' in this cluster")
    assert of_trigger.endswith("no Broker 'orders' in the namespace 'default' of this cluster")
    assert "did you mean 'default'?" in why["Trigger default/two"][0]


def test_no_value_of_a_secret_is_in_what_is_told_or_in_a_repr() -> None:
    basic = {"basic": {"secretRef": {"name": "shared"}}}
    found = judged(
        a_secret("shared", username="kirk:jim", password="open\nsesame"),
        a_policy("one", credentials=basic),
    )

    assert found.problems
    for secret in ("kirk", "sesame"):
        assert secret not in repr(found)


def test_what_a_broker_has_against_its_config_map_is_the_brokers() -> None:
    config = an_object(
        "ConfigMap", "kafka", api_version="v1", data={"default.topic.partitions": "x"}
    )
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "kafka"}

    found = judged(config, a_broker(of_class="Kafka", config=ref), a_broker("other"))

    assert set(found.loaded.desired.brokers) == {"default/other"}
    assert any(
        each.startswith("ConfigMap default/kafka: data")
        for each in told(found)["Broker default/default"]
    )


def test_what_the_mesh_cannot_run_is_left_out() -> None:
    def refuse(desired: Desired) -> Sequence[Problem]:
        return [
            Problem(file=None, line=None, subject=f"Broker {key}", message="not here")
            for key in desired.brokers
            if key.endswith("alone")
        ]

    objects = [a_broker("alone"), a_broker("other"), a_trigger("one", broker="alone")]
    found = judge(
        (),
        Found(objects=objects),
        elsewhere=Elsewhere(),
        formerly={},
        needs=set(),
        refuse=refuse,
    )

    assert set(found.loaded.desired.brokers) == {"default/other"}
    [why] = told(found)["Trigger default/one"]
    assert why.endswith("; Broker default/alone: not here")


def test_a_source_of_a_wrong_spec_stops_no_other() -> None:
    sink = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    sources = [
        an_object(
            "PingSource",
            schedule,
            api_version="sources.knative.dev/v1",
            spec={"schedule": when, "sink": sink},
        )
        for schedule, when in (("good", "* * * * *"), ("bad", "now and then"))
    ]

    found = judged(a_broker(), *sources)

    assert set(found.loaded.desired.sources) == {"PingSource default/good"}
    assert set(found.problems) == {"PingSource default/bad"}


# --- what is referred to ---------------------------------------------------------------------


def test_what_objects_refer_to_is_needed() -> None:
    needs: set[Need] = set()
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "kafka", "namespace": "infra"}

    judged(
        a_broker(of_class="Kafka", config=ref, annotations={"cemesh.dev/access": "clients"}),
        needs=needs,
    )

    assert needs == {
        Need("v1", "ConfigMap", "infra", "kafka"),
        Need("v1", "Secret", "default", "clients"),
    }


def test_why_something_is_not_known_is_told_to_who_refers_to_it() -> None:
    found = judged(
        a_broker(annotations={"cemesh.dev/access": "clients"}),
        unknown={"Secret default/clients": "it takes a Role", "Secret a/b": "of others"},
    )

    [why] = told(found)["Broker default/default"]
    assert why.endswith("no Secret 'default/clients' in this cluster; it takes a Role")


def test_what_files_give_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: clients}\nstringData: {till: sesame}\n"
    )
    needs: set[Need] = set()

    found = judged(
        a_broker(annotations={"cemesh.dev/access": "clients"}), paths=[tmp_path], needs=needs
    )

    assert needs == set()
    assert found.loaded.desired.brokers["default/default"].access is not None


def test_what_files_refer_to_is_needed_although_they_are_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "broker.yaml"
    manifest.write_text(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: default\n"
        "  annotations: {cemesh.dev/access: clients}\n"
    )
    needs: set[Need] = set()

    with pytest.raises(InvalidManifest):
        judged(paths=[manifest], needs=needs)

    assert needs == {Need("v1", "Secret", "default", "clients")}
    found = judged(a_secret("clients", till="sesame"), paths=[manifest])
    assert found.loaded.desired.brokers["default/default"].access is not None


def test_an_object_that_is_in_files_too_is_wrong_in_the_cluster(tmp_path: Path) -> None:
    manifest = tmp_path / "broker.yaml"
    manifest.write_text(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n"
    )

    found = judged(a_broker(), a_trigger("one"), paths=[manifest])

    assert told(found) == {"Broker default/default": [f"declared twice; first in {manifest}:1"]}
    assert set(found.loaded.desired.triggers) == {"default/one"}


def test_where_an_object_takes_events_is_looked_up() -> None:
    asked: list[tuple[str, str]] = []

    def look_up(ref: Reference, namespace: str) -> Address | str | None:
        asked.append((ref.kind, namespace))
        return "has no address yet" if ref.name == "later" else Address(url="http://there:8080")

    def to(name: str) -> Json:
        return {"ref": {"apiVersion": "v1", "kind": "Service", "name": name}}

    found = judged(
        a_broker(),
        a_trigger("one", to=to("now")),
        a_trigger("two", to=to("later")),
        elsewhere=Elsewhere(look_up=look_up),
    )

    assert found.loaded.desired.triggers["default/one"].subscriber.url == "http://there:8080"
    assert told(found) == {"Trigger default/two": ["spec.subscriber.ref: has no address yet"]}
    assert set(asked) == {("Service", "default")}


def test_a_kind_of_sink_that_is_left_to_others_is_looked_up() -> None:
    ref = {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "KafkaSink", "name": "orders"}

    found = judged(
        a_broker(),
        a_trigger("one", to={"ref": ref}),
        elsewhere=Elsewhere(
            look_up=lambda *_: Address(url="http://kafka-sink"), left=["KafkaSink"]
        ),
    )

    assert found.loaded.desired.triggers["default/one"].subscriber.url == "http://kafka-sink"


def test_a_broker_that_others_run_can_be_sent_to() -> None:
    ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "theirs"}

    found = judged(
        a_broker(of_class="cemesh"),
        a_broker("theirs"),
        a_trigger("one", to={"ref": ref}),
        elsewhere=Elsewhere(look_up=lambda *_: Address(url="http://theirs")),
        classes=["cemesh"],
    )

    assert found.loaded.desired.triggers["default/one"].subscriber.url == "http://theirs"
    assert set(found.loaded.desired.brokers) == {"default/default"}


@pytest.mark.parametrize("classes", [[], ["cemesh", "Nonsense"]])
def test_a_broker_of_ours_that_is_wrong_is_not_sent_to_by_its_address(classes: list[str]) -> None:
    ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "wrong"}

    found = judged(
        a_broker(of_class="cemesh"),
        a_broker("wrong", of_class="Nonsense"),
        a_trigger("one", to={"ref": ref}),
        elsewhere=Elsewhere(look_up=lambda *_: Address(url="http://ourselves")),
        classes=classes,
    )

    assert found.loaded.desired.held == {"default/one"}
    assert "unknown class" in "".join(told(found)["Trigger default/one"])


def test_of_a_source_that_is_deployed_only_the_sink_is_the_meshs_to_judge() -> None:
    def source(name: str, broker: str) -> Json:
        ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": broker}
        template = {"spec": {"containers": [{"image": "registry.example/source"}]}}
        spec = {"template": template, "sink": {"ref": ref}}
        return an_object("ContainerSource", name, api_version="sources.knative.dev/v1", spec=spec)

    found = judged(
        a_broker(),
        source("one", "default"),
        source("two", "missing"),
        elsewhere=Elsewhere(deployed=("ContainerSource",)),
    )

    assert not found.loaded.desired.sources
    assert set(found.problems) == {"ContainerSource default/two"}
    assert "ContainerSource default/one" in found.ours


# --- brokers of others -----------------------------------------------------------------------


def test_brokers_of_other_classes_and_their_triggers_are_left_alone() -> None:
    found = judged(
        a_broker(of_class="cemesh"),
        a_broker("theirs", of_class="Kafka"),
        a_broker("plain"),
        a_trigger("one"),
        a_trigger("two", broker="theirs", to=WRONG),
        a_trigger("three", broker="plain"),
        a_trigger("four", broker="nobodys"),
        classes=["cemesh"],
    )

    assert set(found.loaded.desired.triggers) == {"default/one"}
    assert not found.problems
    assert found.loaded.desired.held == frozenset()
    assert found.ours == {"Broker default/default", "Trigger default/one"}


def test_a_broker_without_a_class_is_of_knatives_default() -> None:
    found = judged(a_broker(), a_trigger("one"), classes=["MTChannelBasedBroker"])

    assert set(found.loaded.desired.triggers) == {"default/one"}


def test_a_source_into_a_broker_of_others_is_wrong() -> None:
    sink = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}
    ping = an_object(
        "PingSource",
        "p",
        api_version="sources.knative.dev/v1",
        spec={"sink": sink, "schedule": "* * * * *"},
    )

    found = judged(
        a_broker(),
        ping,
        classes=["cemesh"],
        elsewhere=Elsewhere(look_up=lambda *_: Address(url="http://theirs")),
    )

    assert told(found) == {
        "PingSource default/p": [
            "spec.sink: a source emits into a Broker of this cluster; http://theirs is none"
        ]
    }


def test_a_trigger_on_a_broker_in_files_is_ours_whatever_class_that_is(tmp_path: Path) -> None:
    manifest = tmp_path / "broker.yaml"
    manifest.write_text(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n"
    )

    found = judged(a_trigger("one"), paths=[manifest], classes=["cemesh"])

    assert set(found.loaded.desired.triggers) == {"default/one"}


@pytest.mark.parametrize("spec", [None, "text", {}, {"broker": 5}])
def test_an_object_of_any_shape_can_be_judged(spec: object) -> None:
    odd = an_object("Trigger", "odd", api_version="eventing.knative.dev/v1", spec=spec)
    odd["metadata"]["annotations"] = "none"

    assert judged(a_broker(), odd).loaded.desired.held == {"default/odd"}
    assert judged(a_broker(), odd, classes=["cemesh"]).loaded.desired.held == frozenset()


# --- what objects may not ask for ----------------------------------------------------------

INTO_DEFAULT = {
    "ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}
}
CEMESH = "cemesh.dev/v1alpha1"
UNLESS = "which objects of a cluster may not, unless the mesh is started with --kubernetes-trust"


def a_config_map(**data: str) -> Json:
    return an_object("ConfigMap", "config", api_version="v1", data=data)


FORBIDDEN = [
    (
        an_object(
            "Source",
            "s",
            api_version=CEMESH,
            spec={"class": "tests.plugins:Ticker", "sink": INTO_DEFAULT},
        ),
        "kind: runs code in the mesh itself",
    ),
    (
        an_object("Sink", "s", api_version=CEMESH, spec={"class": "tests.plugins:Shelf"}),
        "kind: runs code in the mesh itself",
    ),
    (
        an_object(
            "FileSource",
            "s",
            api_version="sources.cemesh.dev/v1alpha1",
            spec={"path": "/var/run/secrets/*", "type": "t", "sink": INTO_DEFAULT},
        ),
        "kind: reaches the files of the mesh's own pod",
    ),
    (
        an_object(
            "ApiServerSource",
            "s",
            api_version="sources.knative.dev/v1",
            spec={
                "resources": [{"apiVersion": "v1", "kind": "Secret"}],
                "mode": "Resource",
                "sink": INTO_DEFAULT,
            },
        ),
        "kind: reads the cluster with the mesh's own rights, Secrets among it",
    ),
    (
        an_object(
            "DeliveryPolicy",
            "p",
            api_version=CEMESH,
            spec={"credentials": {"tokenFile": "/var/run/secrets/token"}},
        ),
        "spec.credentials.tokenFile: reaches the files of the mesh's own pod",
    ),
    (
        a_config_map(**{"auth.secret.ref.name": "s", "auth.secret.ref.namespace": "others"}),
        'data["auth.secret.ref.namespace"]: takes a Secret out of another namespace',
    ),
    (
        an_object(
            "RabbitmqBrokerConfig",
            "c",
            api_version="eventing.knative.dev/v1alpha1",
            spec={"rabbitmqClusterReference": {"name": "theirs", "namespace": "others"}},
        ),
        "spec.rabbitmqClusterReference.namespace: takes a Secret out of another namespace",
    ),
]


@pytest.mark.parametrize(("forbidden", "what"), FORBIDDEN, ids=lambda each: str(each)[:40])
def test_what_would_act_with_the_meshs_own_rights_is_refused(forbidden: Json, what: str) -> None:
    found = judged(a_broker(), a_trigger("one"), forbidden)

    subject = f"{forbidden['kind']} default/{forbidden['metadata']['name']}"
    assert f"{what}, {UNLESS}" in told(found)[subject]
    assert subject not in found.loaded.objects
    assert set(found.loaded.desired.triggers) == {"default/one"}


@pytest.mark.parametrize(
    "forbidden", [each for each, _ in FORBIDDEN], ids=lambda each: each["kind"]
)
def test_who_trusts_the_authors_of_objects_lets_them(forbidden: Json) -> None:
    found = judged(a_broker(), forbidden, trusted=True)

    assert UNLESS not in str(told(found))


def test_the_same_in_files_is_the_operators(tmp_path: Path) -> None:
    manifest = tmp_path / "policy.json"
    policy, _ = FORBIDDEN[4]
    manifest.write_text(json.dumps(policy))

    found = judged(a_broker(), paths=[manifest])

    assert not found.problems
    assert "DeliveryPolicy default/p" in found.loaded.objects


def test_a_secret_of_the_same_namespace_is_no_other() -> None:
    own = a_config_map(**{"auth.secret.ref.name": "s", "auth.secret.ref.namespace": "default"})

    assert not judged(a_broker(), own).problems
