"""``cemesh explain``: offline on manifests, and against a real admin port."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli.curl import request
from broker.cli.root import cli
from broker.filters import EVERYTHING, All, Exact
from broker.trigger import Target, Trigger
from tests.unit.stand_in import BROKER, StandIn, admin_port, cemesh, event

MESH = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: audit}
spec:
  broker: default
  filters:
    - exact: {type: order}
    - any:
        - prefix: {source: "https://x/"}
        - suffix: {source: /b}
  subscriber: {uri: http://127.0.0.1:9000/}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: everything}
spec:
  broker: default
  subscriber: {uri: http://127.0.0.1:9001/}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: five}
spec:
  broker: default
  filters: [{exact: {n: "5"}}]
  subscriber: {uri: http://127.0.0.1:9002/}
"""

ORDER = (
    *("-H", "ce-specversion: 1.0", "-H", "ce-id: 1"),
    *("-H", "ce-source: http://x/a", "-H", "ce-type: order"),
)
STRUCTURED = '{"specversion": "1.0", "id": "1", "source": "/b", "type": "order", "n": 5}'


@pytest.fixture
def mesh_yaml(tmp_path: Path) -> Path:
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH)
    return file


def explain(*arguments: str | Path, stdin: str | bytes = "", color: bool = False) -> Result:
    given = ["explain", *map(str, arguments)]
    return CliRunner().invoke(cli, given, input=stdin, color=color)


def event_in(result: Result) -> dict[str, object]:
    """Return the event that the command has read."""
    assert result.exit_code == 0, result.output
    told: dict[str, object] = json.loads(result.stdout)["event"]
    return told


# --- offline -------------------------------------------------------------------------------


def test_every_trigger_is_a_line_and_every_failed_clause_too(mesh_yaml: Path) -> None:
    result = explain(*ORDER, "--manifests", mesh_yaml)

    assert result.exit_code == 0
    assert result.stdout == (
        'audit       no   filters[1].any[0].prefix source: "https://x/" ≠ "http://x/a"\n'
        '                 filters[1].any[1].suffix source: "/b" ≠ "http://x/a"\n'
        "everything  yes\n"
        'five        no   filters[0].exact n: "5" ≠ (absent)\n'
        "1 of 3 triggers match\n"
    )


def test_for_scripts_the_document_of_the_admin_api_is_printed(mesh_yaml: Path) -> None:
    result = explain(*ORDER, "-m", mesh_yaml, "--output", "json")

    told = json.loads(result.stdout)
    assert told["broker"] == "default/default"
    assert [each["matches"] for each in told["triggers"]] == [False, True, False]
    assert told["triggers"][2]["clauses"] == [
        {
            "path": "filters[0].exact",
            "attribute": "n",
            "expected": "5",
            "actual": None,
            "text": 'filters[0].exact n: "5" ≠ (absent)',
        }
    ]


def test_an_event_comes_from_a_file_or_from_standard_input(tmp_path: Path, mesh_yaml: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text(STRUCTURED)

    from_file = explain(file, "-m", mesh_yaml)
    from_stdin = explain("-", "-m", mesh_yaml, stdin=STRUCTURED)

    assert from_file.stdout == from_stdin.stdout
    assert from_file.stdout.endswith("five        yes\n3 of 3 triggers match\n")


def test_a_binary_event_is_read_as_the_data_port_would_read_curls_request(mesh_yaml: Path) -> None:
    given = (*ORDER, "-H", "CE-Subject:  caf%C3%A9 ", "-H", "Authorization: Bearer x")
    content_type = ("-H", "Content-Type: application/json", "-d", "{}")

    result = explain(*given, *content_type, "-m", mesh_yaml, "--output", "json")

    assert event_in(result) == {
        "specversion": "1.0",
        "id": "1",
        "source": "http://x/a",
        "type": "order",
        "subject": "café",
        "datacontenttype": "application/json",
    }


def test_a_structured_event_is_read_from_headers_and_data(mesh_yaml: Path) -> None:
    header = ("-H", "Content-Type: application/cloudevents+json; charset=utf-8")

    result = explain(*header, "-d", STRUCTURED, "-m", mesh_yaml, "--output", "json")

    assert event_in(result) == json.loads(STRUCTURED)


def test_data_is_read_from_a_file_or_from_standard_input(tmp_path: Path, mesh_yaml: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text(f"{STRUCTURED}\n")
    given = ("--header", "content-type: application/cloudevents+json", "-m", mesh_yaml)

    from_file = explain(*given, "--data", f"@{file}", "--output", "json")
    from_stdin = explain(*given, "-d", "@-", "--output", "json", stdin=STRUCTURED)

    assert event_in(from_file) == event_in(from_stdin) == json.loads(STRUCTURED)


def test_data_is_put_together_as_curl_does(tmp_path: Path) -> None:
    file = tmp_path / "part"
    file.write_bytes(b"\xff\r\n1\n")

    headers, body = request(["CE-Id: 1:2 ", "ce-type:"], ["a=\udcfe", f"@{file}"])

    assert headers == [
        (b"ce-id", b"1:2"),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ]
    assert body == b"a=\xfe&\xff1"
    assert request(["ce-id: 1"], []) == ([(b"ce-id", b"1")], b"")


def test_data_without_a_content_type_is_a_form_as_curl_says(mesh_yaml: Path) -> None:
    read = event_in(explain(*ORDER, "-d", "a=1", "-d", "b=2", "-m", mesh_yaml, "--output", "json"))
    left_out = (*ORDER, "-H", "Content-Type:", "-d", "a=1")

    assert read["datacontenttype"] == "application/x-www-form-urlencoded"
    assert "datacontenttype" not in event_in(
        explain(*left_out, "-m", mesh_yaml, "--output", "json")
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ORDER[2:], "Error: the required attribute 'specversion' is missing\n"),
        ((*ORDER, "-H", "ce-id: 2"), "Error: the header 'ce-id' occurs twice\n"),
        ((*ORDER, "-H", "ce-n_o: 2"), "Error: 'n_o' is not an attribute name"),
        (("-d", "{}"), "Error: the required attribute 'specversion' is missing\n"),
        (
            ("-H", "Content-Type: application/cloudevents-batch+json", "-d", "[]"),
            "Error: there are 0 events in the batch; send just one\n",
        ),
        (("-H", "Content-Type: application/cloudevents+xml", "-d", "x"), "Error: the event format"),
    ],
)
def test_what_ingress_refuses_is_refused_in_its_words(
    given: tuple[str, ...], words: str, mesh_yaml: Path
) -> None:
    result = explain(*given, "-m", mesh_yaml)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(words)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"id": "\xff"}', b""])
def test_a_file_without_a_valid_event_is_refused(content: bytes, mesh_yaml: Path) -> None:
    result = explain("-", "-m", mesh_yaml, stdin=content)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the ")


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("-", *ORDER),
        ("-", "--id", "1"),
        (*ORDER, "--id", "1"),
        ("-", "--source", "/a"),
        ("-H", "no colon"),
        ("-H", ": no name"),
        (*ORDER, "-d", "@nowhere.json"),
        ("nowhere.json",),
        ("-", "--broker", "default"),
    ],
)
def test_the_event_is_given_in_one_way_and_rightly(given: tuple[str, ...], mesh_yaml: Path) -> None:
    result = explain(*given, "-m", mesh_yaml, stdin=STRUCTURED)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_what_would_act_upon_a_terminal_is_escaped(mesh_yaml: Path) -> None:
    turned_round = STRUCTURED.replace('"n": 5', '"n": "\\u202e5"')

    result = explain("-", "-m", mesh_yaml, stdin=turned_round)

    assert r'filters[0].exact n: "5" ≠ "\u202e5"' in result.stdout


def test_yes_is_green_and_no_color_is_heeded(
    mesh_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = explain(*ORDER, "-m", mesh_yaml, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    plain = explain(*ORDER, "-m", mesh_yaml, color=True).stdout

    assert "everything  \x1b[32myes\x1b[0m\n" in coloured
    assert "audit       \x1b[2mno\x1b[0m   filters[1]" in coloured
    assert "\x1b" not in plain


# --- which triggers ------------------------------------------------------------------------


OTHER = """\
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: orders, namespace: shop}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: mail, namespace: shop}
spec: {broker: orders, subscriber: {ref: {apiVersion: x/v1, kind: Thing, name: x}}}
"""
NO_BROKER = "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}"
RESOLVED = ("--resolve", "Thing/shop/x=http://127.0.0.1:9/")


def test_the_only_broker_of_the_manifests_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(OTHER)

    result = explain(*ORDER, "-m", file, *RESOLVED)

    assert result.stdout == "mail  yes\n1 of 1 trigger matches\n"


def test_of_several_brokers_the_default_one_is_meant_unless_another_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.yaml").write_text(MESH)
    (tmp_path / "b.yaml").write_text(OTHER)
    files = ("-m", tmp_path / "a.yaml", "-m", tmp_path / "b.yaml", *RESOLVED)

    assert "1 of 3 triggers" in explain(*ORDER, *files).stdout
    assert "1 of 1 trigger " in explain(*ORDER, *files, "--broker", "shop/orders").stdout


def test_of_several_brokers_without_a_default_one_has_to_be_named(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(OTHER.replace("orders", "returns").replace("mail", "post") + OTHER)

    result = explain(*ORDER, "-m", file, *RESOLVED)

    assert result.exit_code == 2
    assert "name one of the brokers with --broker: shop/returns, shop/orders" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            MESH,
            "there is no broker default/defalt in the manifests (did you mean 'default/default'",
        ),
        (NO_BROKER, "there is no broker in the manifests"),
        (MESH.replace("exact: {type", "exakt: {type"), "Trigger default/audit: spec.filters[0]"),
    ],
)
def test_manifests_that_do_not_help_are_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(text)

    result = explain(*ORDER, "-m", file, "--broker", "default/defalt")

    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr


def test_that_a_broker_has_no_triggers_is_said(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH.partition("---")[0])

    result = explain(*ORDER, "-m", file)

    assert (result.exit_code, result.stdout) == (0, "default/default has no triggers.\n")


# --- in a running mesh ---------------------------------------------------------------------


def trigger(name: str, **exact: str) -> Trigger:
    return Trigger(
        key=name,
        broker=BROKER,
        subscriber=Target(url="http://127.0.0.1:9/"),
        filter=All((Exact(tuple(exact.items())),)),
    )


async def running(*triggers: Trigger) -> StandIn:
    mesh = await StandIn.start()
    mesh.running = triggers
    return mesh


async def test_without_manifests_the_running_mesh_explains() -> None:
    mesh = await running(trigger("default/five", n="5"), trigger("other/six", n="6"))
    async with admin_port(mesh) as port:
        ran = await cemesh("explain", "-", "--admin-port", str(port), stdin=STRUCTURED.encode())

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        'five       yes\nother/six  no   filters[0].exact n: "6" ≠ "5"\n1 of 2 triggers match\n'
    )


async def test_an_event_of_any_size_is_explained() -> None:
    large = f'{STRUCTURED[:-1]}, "data": "{"x" * (17 << 20)}"}}'
    mesh = await running(trigger("default/five", n="5"))
    async with admin_port(mesh) as port:
        ran = await cemesh("explain", "-", "--admin-port", str(port), stdin=large.encode())

    assert (ran.code, ran.out) == (0, "five  yes\n1 of 1 trigger matches\n")


async def test_a_stored_event_is_explained_and_shown() -> None:
    mesh = await running(trigger("default/five", n="5"))
    await mesh.mesh_channel.append([event("1042", n="7", subject="a")])
    async with admin_port(mesh) as port:
        ran = await cemesh("explain", "--id", "1042", "--admin-port", str(port))

    head, others, blank, *lines = ran.out.splitlines()
    assert ran.code == 0
    assert head.endswith("  com.example.test  source=/test  subject=a  id=1042")
    assert (others, blank) == ("    n=7", "")
    assert lines == ['five  no   filters[0].exact n: "5" ≠ "7"', "0 of 1 trigger matches"]


async def test_a_stored_event_can_be_held_against_manifests(mesh_yaml: Path) -> None:
    mesh = await running(trigger("default/five", n="5"))
    await mesh.mesh_channel.append([event("1", n="5", source="/a"), event("1", source="/b")])
    async with admin_port(mesh) as port:
        ran = await cemesh(
            *("explain", "--id", "1", "--source", "/a"),
            *("-m", str(mesh_yaml), "--admin-port", str(port), "--output", "json"),
        )

    told = json.loads(ran.out)
    assert told["event"]["source"] == "/a"
    assert told["at"] is not None
    assert {each["name"]: each["matches"] for each in told["triggers"]} == {
        "default/audit": False,
        "default/everything": True,
        "default/five": True,
    }


async def test_a_redrive_is_told_to_have_gone_to_one_trigger() -> None:
    mesh = await running(trigger("default/five", n="5"))
    async with mesh.mesh_channel.subscribe("default/five", filter=EVERYTHING, window=1):
        await mesh.mesh_channel.append([event("1")], to="default/five")
    async with admin_port(mesh) as port:
        ran = await cemesh("explain", "--id", "1", "--admin-port", str(port))

    assert "It was redriven to five alone, whatever the filters say.\n" in ran.out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--id", "2"), "no event with the id '2' is kept"),
        (("--id", "1"), "2 sources have sent an event with the id '1': '/a', '/b'"),
        (("--id", "1", "--broker", "default/other"), "there is no broker default/other"),
        (("--id", "\udcff"), "is kept"),
    ],
)
async def test_what_the_mesh_refuses_is_refused_in_its_words(
    given: tuple[str, ...], words: str
) -> None:
    mesh = await running()
    await mesh.mesh_channel.append([event("1", source="/a"), event("1", source="/b")])
    async with admin_port(mesh) as port:
        ran = await cemesh("explain", *given, "--admin-port", str(port))

    assert (ran.code, ran.out) == (1, "")
    assert words in ran.err


async def test_where_no_mesh_answers_the_command_says_so() -> None:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        ran = await cemesh("explain", *ORDER, "--admin-port", str(bound.getsockname()[1]))

    assert (ran.code, ran.out) == (3, "")
    assert "is `cemesh run` running?" in ran.err
