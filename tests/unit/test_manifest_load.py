"""What a manifest asks for, in the mesh's own terms."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from broker.cesql import parse
from broker.errors import InvalidManifest
from broker.filters import EVERYTHING, All, Any, Cesql, Exact, Legacy, Not, Prefix, Suffix
from broker.manifest import Loaded, load
from broker.manifest.filters import spec_of
from broker.manifest.shapes import SecretObject
from broker.policy import Credentials
from broker.trigger import Access, DeliveryPolicy, Target, Trigger
from sources.ping import PingSpec
from tests.services.certificates import make_certificates

GOOD = Path(__file__).parent / "manifests" / "good"

BROKER = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
"""


def loaded(folder: Path, *documents: str, resolve: Mapping[str, str] | None = None) -> Loaded:
    path = folder / "mesh.yaml"
    path.write_text("\n---\n".join(documents))
    return load([path], resolve=resolve)


def trigger(spec: str = "", subscriber: str = "{uri: 'http://a/'}", annotations: str = "{}") -> str:
    return (
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\n"
        f"metadata: {{name: t, annotations: {annotations}}}\n"
        f"spec:\n  broker: default\n  subscriber: {subscriber}\n{spec}"
    )


def only_trigger(folder: Path, document: str, resolve: Mapping[str, str] | None = None) -> Trigger:
    return loaded(folder, BROKER, document, resolve=resolve).desired.triggers["default/t"]


@pytest.mark.parametrize(("text", "takes"), [("true", True), ("false", False)])
def test_a_broker_can_take_what_is_announced_of_triggers(
    tmp_path: Path, text: str, takes: bool
) -> None:
    noted = BROKER.replace("}", f', annotations: {{cemesh.dev/announcements: "{text}"}}}}')

    assert loaded(tmp_path, noted).desired.brokers["default/default"].takes_announcements is takes


def test_whether_it_does_is_said_by_true_or_false(tmp_path: Path) -> None:
    noted = BROKER.replace("}", ", annotations: {cemesh.dev/announcements: please}}")

    with pytest.raises(InvalidManifest, match='\'please\' is neither "true" nor "false"'):
        loaded(tmp_path, noted)


# --- the good example, field by field ------------------------------------------------------


def test_a_broker_has_its_config_and_who_may_send() -> None:
    broker = load([GOOD]).desired.brokers["shop/orders"]

    assert broker.channel is None
    assert broker.config == {"default.topic.partitions": "3"}
    assert broker.access == Access(bearer={"till": "sesame", "web": "open-sesame"})


def test_a_trigger_without_delivery_has_its_brokers() -> None:
    found = load([GOOD]).desired.triggers["shop/inherits"]

    assert found.broker == "shop/orders"
    assert found.filter == Legacy((("source", ""), ("type", "com.example.order")))
    assert found.subscriber == Target(url="http://audit.office.svc.cluster.local/in?x=1")
    assert found.delivery == DeliveryPolicy(
        retry=4, dead_letter=Target(url="http://undertaker.shop.svc.cluster.local")
    )
    assert found.parallelism == 100
    assert not found.ordered


def test_a_triggers_own_delivery_replaces_its_brokers() -> None:
    found = load([GOOD]).desired.triggers["shop/replaces"]

    assert found.subscriber == Target(url="https://audit.example.com/in", audience="audit")
    assert found.delivery == DeliveryPolicy(
        retry=0,
        backoff_policy="linear",
        backoff_delay=timedelta(minutes=1, milliseconds=500),
        backoff_cap=None,
        backoff_jitter=0.0,
        timeout=timedelta(days=1, hours=1),
        retry_after_max=timedelta(0),
        content_mode="structured",
        dead_letter=Target(url="broker://shop/orders"),
        credentials=Credentials(token_file="/var/run/tokens/audit"),
    )
    assert found.parallelism == 7
    assert not found.ordered


def test_every_dialect_of_filters_is_understood() -> None:
    found = load([GOOD]).desired.triggers["shop/replaces"]

    assert found.filter == All(
        (
            All(
                (
                    Prefix((("source", "/"), ("type", "com."))),
                    Not(Suffix((("subject", ".jpg"),))),
                )
            ),
            Any((Exact((("type", "a"),)), Exact((("type", "b"),)))),
        )
    )


def test_a_source_has_its_broker_its_extensions_and_its_own_spec() -> None:
    found = load([GOOD]).desired.sources["PingSource shop/tick"]

    assert (found.kind, found.key, found.broker) == ("PingSource", "shop/tick", "shop/orders")
    assert found.extensions == {"team": "a"}
    assert isinstance(found.spec, PingSpec)
    assert found.spec.data == "hello"


def test_the_good_example_raises_no_doubts() -> None:
    assert load([GOOD]).warnings == ()


def test_equal_files_give_equal_values() -> None:
    assert load([GOOD]).desired == load([GOOD]).desired


def test_the_examples_of_the_documentation_are_good(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    pages = [docs / "manifests.md", docs / "sources" / "PingSource.md"]
    text = "".join(page.read_text() for page in pages)
    # What is a file of its own is run with the rest of the documentation.
    examples = re.findall(r"(?<!-->\n)```yaml\n(.*?)```", text, re.DOTALL)
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: order-clients}\nstringData: {a: b}\n"

    found = loaded(tmp_path, *examples, secret)

    assert len(examples) == 3
    assert found.warnings == ()


# --- triggers ------------------------------------------------------------------------------


def test_a_trigger_without_filters_gets_everything(tmp_path: Path) -> None:
    assert only_trigger(tmp_path, trigger()).filter == EVERYTHING


def test_where_nobody_says_anything_the_default_delivery_holds(tmp_path: Path) -> None:
    found = only_trigger(tmp_path, trigger())

    assert found.delivery == DeliveryPolicy(
        retry=10,
        backoff_policy="exponential",
        backoff_delay=timedelta(milliseconds=200),
        backoff_jitter=0.1,
        backoff_cap=timedelta(minutes=10),
    )


def test_the_order_of_a_filters_entries_makes_no_difference(tmp_path: Path) -> None:
    one = only_trigger(tmp_path, trigger("  filters: [exact: {type: a, source: b}]\n"))
    other = only_trigger(tmp_path, trigger("  filters: [exact: {source: b, type: a}]\n"))

    assert one == other


def test_filters_override_the_legacy_filter_with_a_warning(tmp_path: Path) -> None:
    spec = "  filter: {attributes: {type: a}}\n  filters: [exact: {type: b}]\n"

    found = loaded(tmp_path, BROKER, trigger(spec))

    assert found.desired.triggers["default/t"].filter == All((Exact((("type", "b"),)),))
    assert [warning.path for warning in found.warnings] == ["spec.filter"]


def test_an_expression_is_compiled_when_it_is_loaded(tmp_path: Path) -> None:
    spec = "  filters: [any: [cesql: \"type = 'a' AND EXISTS subject\"]]\n"

    found = only_trigger(tmp_path, trigger(spec)).filter

    assert found == All((Any((Cesql(parse("type = 'a' AND EXISTS subject")),)),))
    assert found.matches({"type": "a", "subject": "x"})
    assert not found.matches({"type": "a"})


@pytest.mark.parametrize("name", ["inherits", "replaces"])
def test_a_filter_can_be_written_back(name: str, tmp_path: Path) -> None:
    wanted = load([GOOD]).desired.triggers[f"shop/{name}"].filter
    spec = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in spec_of(wanted).items())

    assert only_trigger(tmp_path, trigger(spec)).filter == wanted


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        (
            "  filters:\n    - cesql: type = 'a' AND id = 'b' OR id = 'c'\n",
            ("spec.filters[0].cesql", "column 25: "),
        ),
        (
            "  filters:\n    - not:\n        any:\n          - cesql: TRUE XOR FALSE AND TRUE\n",
            ("spec.filters[0].not.any[0].cesql", "column 16: "),
        ),
        (
            "  filters: [exact: {type: a}, {all: [exact: {type: b}]}]\n",
            ("spec.filters", "no event can ever pass: 'type' cannot be "),
        ),
    ],
)
def test_a_doubtful_filter_draws_a_warning(
    spec: str, warning: tuple[str, str], tmp_path: Path
) -> None:
    (found,) = loaded(tmp_path, BROKER, trigger(spec)).warnings

    assert (found.path, found.message[: len(warning[1])]) == warning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", ""),
        ("  filters: [exact: {type: a, id: b}]\n", "  filter: {attributes: {id: b, type: a}}\n"),
        ("  filters: [exact: {type: a}]\n", ""),
        ("", "  filters: [exact: {type: a}]\n"),
        ("  filters: [cesql: type = 'a']\n", "  filters: [all: [cesql: (type='a')]]\n"),
    ],
)
def test_a_trigger_that_repeats_what_its_subscriber_gets_draws_a_warning(
    one: str, other: str, tmp_path: Path
) -> None:
    repeating = trigger(other).replace("name: t,", "name: twin,")

    (found,) = loaded(tmp_path, BROKER, trigger(one), repeating).warnings

    assert found.path == "spec.subscriber"
    assert "twice" in found.message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("  filters: [exact: {type: a}]\n", "  filters: [exact: {type: b}]\n"),
        ("  filters: [exact: {type: a}]\n", '  filter: {attributes: {type: ""}}\n'),
    ],
)
def test_triggers_that_share_a_subscriber_draw_none(one: str, other: str, tmp_path: Path) -> None:
    sharing = trigger(other).replace("name: t,", "name: other,")

    assert loaded(tmp_path, BROKER, trigger(one), sharing).warnings == ()


def test_an_empty_list_of_filters_overrides_nothing(tmp_path: Path) -> None:
    spec = "  filter: {attributes: {type: a}}\n  filters: []\n"

    assert only_trigger(tmp_path, trigger(spec)).filter == Legacy((("type", "a"),))


@pytest.mark.parametrize("value", ["", "null", "~"])
def test_a_filter_on_nothing_is_refused_and_does_not_match_everything(
    tmp_path: Path, value: str
) -> None:
    with pytest.raises(InvalidManifest):
        loaded(tmp_path, BROKER, trigger(f"  filters: [exact: {{type: {value}}}]\n"))
    with pytest.raises(InvalidManifest):
        loaded(tmp_path, BROKER, trigger(f"  filter: {{attributes: {{type: {value}}}}}\n"))


def test_a_trigger_that_loses_its_brokers_dead_letter_sink_is_warned_of(tmp_path: Path) -> None:
    broker = f"{BROKER}spec: {{delivery: {{deadLetterSink: {{uri: 'http://dead/'}}}}}}\n"

    found = loaded(tmp_path, broker, trigger("  delivery: {retry: 3}\n"))

    assert found.desired.triggers["default/t"].delivery == DeliveryPolicy(retry=3)
    (warning,) = found.warnings
    assert (warning.subject, warning.path) == ("Trigger default/t", "spec.delivery")
    assert "loses its deadLetterSink" in warning.message


def test_the_mesh_own_annotations_hold_for_an_inherited_delivery(tmp_path: Path) -> None:
    broker = f"{BROKER}spec: {{delivery: {{retry: 2}}}}\n"
    annotations = "{cemesh.dev/backoff-jitter: '0.25', cemesh.dev/backoff-max: PT1M}"

    found = loaded(tmp_path, broker, trigger(annotations=annotations)).desired

    assert found.triggers["default/t"].delivery == DeliveryPolicy(
        retry=2, backoff_jitter=0.25, backoff_cap=timedelta(minutes=1)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT1S", timedelta(seconds=1)),
        ("PT0.25S", timedelta(milliseconds=250)),
        ("PT0,25S", timedelta(milliseconds=250)),
        ("P1DT2H3M4S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("P2W", timedelta(weeks=2)),
    ],
)
def test_durations_are_those_of_iso_8601(tmp_path: Path, text: str, expected: timedelta) -> None:
    found = only_trigger(tmp_path, trigger(f"  delivery: {{timeout: '{text}'}}\n"))

    assert found.delivery.timeout == expected


@pytest.mark.parametrize(
    "text",
    ["P", "PT", "P1DT", "1S", "PT1", "pt1s", "PT1.S", "PT1H1", "P1M", "P1Y", "-PT1S", "PT-1S",
     "PT0S", "PT1S ", "P999999999999D", f"P{'9' * 400}D", "5", "null null"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        loaded(tmp_path, BROKER, trigger(f"  delivery: {{timeout: '{text}'}}\n"))

    assert [problem.path for problem in caught.value.problems] == ["spec.delivery.timeout"]


def test_a_trigger_is_ordered_only_where_it_asks_for_it(tmp_path: Path) -> None:
    ordered = trigger(annotations="{kafka.eventing.knative.dev/delivery.order: ordered}")

    assert only_trigger(tmp_path, ordered).ordered
    assert not only_trigger(tmp_path, trigger()).ordered


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [
        ("unorderd", " (did you mean 'unordered'?)"),
        ("ORDERED", " (did you mean 'ordered'?)"),
        ("strictly", ""),
        ("", ""),
    ],
)
def test_an_order_that_is_none_is_refused(tmp_path: Path, value: str, suggestion: str) -> None:
    order = trigger(annotations=f"{{kafka.eventing.knative.dev/delivery.order: '{value}'}}")

    with pytest.raises(InvalidManifest) as refused:
        only_trigger(tmp_path, order)

    (problem,) = refused.value.problems
    assert problem.message == f"'{value}' is neither 'ordered' nor 'unordered'{suggestion}"


# --- destinations --------------------------------------------------------------------------

SERVICE = "{ref: {apiVersion: v1, kind: Service, name: audit}}"
CHANNEL = "{ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}, uri: in}"


def test_a_service_is_known_by_its_name_in_kubernetes(tmp_path: Path) -> None:
    found = only_trigger(tmp_path, trigger(subscriber=SERVICE))

    assert found.subscriber.url == "http://audit.default.svc.cluster.local"


def test_resolve_overrides_where_a_service_is(tmp_path: Path) -> None:
    resolve = {"Service/default/audit": "http://127.0.0.1:9000/a"}

    found = only_trigger(tmp_path, trigger(subscriber=SERVICE), resolve)

    assert found.subscriber.url == "http://127.0.0.1:9000/a"


def test_resolve_tells_where_any_kind_is_and_a_relative_uri_is_joined(tmp_path: Path) -> None:
    resolve = {"Channel/default/c": "http://127.0.0.1:9000/a/b"}

    found = only_trigger(tmp_path, trigger(subscriber=CHANNEL), resolve)

    assert found.subscriber.url == "http://127.0.0.1:9000/a/in"


def test_a_resolved_url_that_nothing_can_send_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"spec\.subscriber\.ref: nothing is installed"):
        only_trigger(tmp_path, trigger(subscriber=SERVICE), {"Service/default/audit": "ftp://a"})


def test_a_broker_of_another_namespace_can_be_a_subscriber(tmp_path: Path) -> None:
    ref = "{apiVersion: eventing.knative.dev/v1, kind: Broker, name: default, namespace: other}"
    other = BROKER.replace("{name: default}", "{name: default, namespace: other}")

    found = loaded(tmp_path, BROKER, other, trigger(subscriber=f"{{ref: {ref}}}")).desired

    assert found.triggers["default/t"].subscriber.url == "broker://other/default"


def test_certificates_are_kept_as_they_are(tmp_path: Path) -> None:
    pem = f"# Ä comment, as bundles have them\n{make_certificates().authority}"
    lines = "".join(f"      {line}\n" for line in pem.splitlines())

    found = only_trigger(
        tmp_path, trigger(subscriber=f"\n    uri: https://a/\n    CACerts: |\n{lines}")
    )

    assert found.subscriber == Target(url="https://a/", ca_certs=pem)


# --- brokers -------------------------------------------------------------------------------


def test_basic_auth_is_one_client_with_its_credential(tmp_path: Path) -> None:
    broker = BROKER.replace("default}", "default, annotations: {cemesh.dev/access: s}}")
    secret = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/basic-auth\n"
        "stringData: {username: till, password: 'a b:ö'}\n"
    )

    found = loaded(tmp_path, broker, secret).desired.brokers["default/default"]

    credential = base64.b64encode("till:a b:ö".encode()).decode()
    assert found.access == Access(basic={"till": credential})


def test_no_repr_shows_a_credential() -> None:
    fields = {"apiVersion": "v1", "kind": "Secret", "data": {"a": "sesame"}}
    secret = SecretObject.model_validate({**fields, "stringData": {"b": "sesame"}})

    assert "sesame" not in repr(secret)
    assert "sesame" not in repr(load([GOOD]))


def test_a_config_that_knatives_installation_brings_along_is_a_warning(tmp_path: Path) -> None:
    ref = "{apiVersion: v1, kind: ConfigMap, name: config-br, namespace: knative-eventing}"

    found = loaded(tmp_path, f"{BROKER}spec: {{config: {ref}}}\n")

    assert found.desired.brokers["default/default"].config == {}
    assert [warning.path for warning in found.warnings] == ["spec.config"]


def test_what_kubernetes_runs_is_skipped_with_a_warning_each(tmp_path: Path) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
    knative = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n"

    found = loaded(tmp_path, BROKER, service, knative)

    assert [warning.subject for warning in found.warnings] == ["Service default/a"] * 2
    assert list(found.desired.brokers) == ["default/default"]


def test_json_is_a_manifest_too(tmp_path: Path) -> None:
    path = tmp_path / "mesh.json"
    path.write_text(
        '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion":'
        ' "eventing.knative.dev/v1",\t"kind": "Broker", "metadata": {"name": "default"}}]}'
    )

    assert list(load([tmp_path]).desired.brokers) == ["default/default"]
