"""WebhookSink: what templates make of events, and real requests to real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from broker.errors import InvalidManifest
from broker.event import Event
from broker.manifest import load
from broker.mesh.kindsinks import KindSinks
from broker.policy import Network
from broker.ports import Accepted, Refused, Sink, SinkOptions, Verdict
from broker.trigger import SinkObject
from delivery.verdicts import judge
from sinks.webhook import WebhookSinkSpec
from sinks.webhook.payload import Lacking
from sinks.webhook.template import Template
from tests.services.subscribers import Subscriber, hang, reply

PAGE = Path(__file__, "../../../docs/sinks/WebhookSink.md").resolve()
LAPTOP = Network(loopback=True)
PAYLOAD = b"""{"order": {"id": "a\\"1", "total": 12.50, "big": 1e3, "paid": true, "note": null,
 "lines": [{"sku": "x"}, {"sku": "y"}]}}"""


def event(data: bytes | None = PAYLOAD, **attributes: str) -> Event:
    named = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
    return Event.checked({**named, **attributes}, data)


# --- what a template makes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("{type} from {source}: {data.order.id}", 'order.created from /shop: a"1'),
        ("{data.order.total} {data.order.paid} {data.order.lines.1.sku}", "12.50 true y"),
        ("{data.order.lines}", '[{"sku": "x"}, {"sku": "y"}]'),
        ("{subject|nobody} {data.order.note|-} {data.order.none|}.", "nobody - ."),
        ("{{type}} {} { type } {type }", "{type} {} { type } {type }"),
    ],
)
def test_a_text_has_what_the_event_has_in_its_places(template: str, made: str) -> None:
    assert Template(template).of(event()) == made


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ('{"a":{"text":"{type}"}}', {"a": {"text": "order.created"}}),
        ('{"id": {data.order.id}, "in": "<{data.order.id}>"}', {"id": 'a"1', "in": '<a"1>'}),
        ('{"total": {data.order.total}, "text": "{data.order.total}"}',
         {"total": 12.5, "text": "12.50"}),
        ('[{data.order.paid}, {data.order.note}, {data.order.big}]', [True, None, 1000]),
        ('{"all": {data}, "text": "{data.order.lines}"}',
         {"all": json.loads(PAYLOAD), "text": '[{"sku": "x"}, {"sku": "y"}]'}),
        ('{"subject": {subject|null}, "who": "\\\\\\"{subject|nobody}"}',
         {"subject": None, "who": '\\"nobody'}),
        ('{"type": {type}, "priority": {priority}, "urgent": {urgent}}',
         {"type": "order.created", "priority": 5, "urgent": "no"}),
    ],
)  # fmt: skip
def test_a_template_of_json_makes_json_whatever_the_event_has(template: str, made: object) -> None:
    sent = Event.checked(
        {**event().attributes, "priority": "5", "urgent": "no"}, PAYLOAD, {"priority": "integer"}
    )

    assert json.loads(Template(template, of_json=True).of(sent)) == made


def test_a_number_is_written_as_the_payload_writes_it() -> None:
    assert Template("[{data.order.total}]", of_json=True).of(event()) == "[12.50]"


@pytest.mark.parametrize(
    ("data", "made"), [(b'"<b>"', "<b>"), (b"plain", "plain"), (b"[1,  2]", "[1,  2]")]
)
def test_the_whole_payload_is_a_text(data: bytes, made: str) -> None:
    assert Template("{data}").of(event(data)) == made
    assert json.loads(Template('"{data}"', of_json=True).of(event(data))) == made


@pytest.mark.parametrize(
    ("template", "sent", "told"),
    [
        ("{subject}", event(), "the event has no attribute 'subject'"),
        ("{data.order.price.net}", event(), "the payload has no 'data.order.price'"),
        ("{data.order.lines.2}", event(), "the payload has no 'data.order.lines.2'"),
        ("{data.order.id.x}", event(), "the payload has no 'data.order.id.x'"),
        ("{data.order.note}", event(), "the payload's 'data.order.note' is null"),
        ("{data}", event(None), "the event has no payload"),
        ("{data}", event(b"\xff"), "the payload is not text"),
        ("{data.x}", event(b"plain"), "the payload is not JSON"),
        ("{data.x}", event(b'{"x": NaN}'), "the payload is not JSON"),
        ("{data.x}", event(b'{"x": 1}', datacontenttype="text/plain"), "the payload is not JSON"),
        ("{data.x}", event(b"[" * 100_000), "the payload is not JSON"),
    ],
)
def test_what_the_event_does_not_have_is_told(template: str, sent: Event, told: str) -> None:
    with pytest.raises(Lacking, match=f"^{re.escape(told)}$"):
        Template(template).of(sent)


# --- what is sent ----------------------------------------------------------------------------


def described(url: str, **fields: object) -> SinkObject:
    fields = fields or {"template": '{"type": "{type}"}'}
    spec = WebhookSinkSpec.model_validate_json(json.dumps({"url": url, **fields}))
    return SinkObject(kind="WebhookSink", key="default/mine", spec=spec)


@asynccontextmanager
async def entered(
    described: SinkObject, network: Network = LAPTOP, *, seconds: float = 30
) -> AsyncIterator[Sink]:
    """Run the sink as a mesh does."""
    wait = timedelta(seconds=seconds)
    options = SinkOptions(namespace="default", timeout=wait, network=network)
    async with KindSinks() as sinks:
        yield await sinks.sink(described, options)


async def test_a_request_is_what_the_manifest_says() -> None:
    async with Subscriber() as subscriber:
        sent = described(
            subscriber.url("/hook?key=1"),
            method="PUT",
            headers={"Authorization": "Bearer hunter22", "X-Team": "a"},
            contentType="text/csv",
            template="{type};{data.order.total}\n",
        )
        async with entered(sent) as sink:
            answers = [await sink.attempt(event()), await sink.attempt(event())]
        first, second = subscriber.received

    assert answers == [Accepted(), Accepted()]
    assert (first.method, first.path) == ("PUT", "/hook?key=1")
    assert first.body == b"order.created;12.50\n"
    assert first.header("content-type") == "text/csv"
    assert (first.header("authorization"), first.header("x-team")) == ("Bearer hunter22", "a")
    assert first.header(
        "user-agent",
    ).startswith("cemesh/")  # type: ignore[union-attr]  # it is there
    assert first.header("traceparent") is not None
    assert first.connection == second.connection, "connections are kept"


@pytest.mark.parametrize(
    ("preset", "body"),
    [
        ("slack", {"text": "*order.created* &lt;!channel&gt; @everyone &amp;"}),
        (
            "discord",
            {
                "content": "*order.created* <!channel> @everyone &",
                "allowed_mentions": {"parse": []},
            },
        ),
    ],
)
async def test_a_chat_gets_a_message_in_which_an_event_calls_nobody(
    preset: str, body: object
) -> None:
    async with Subscriber() as subscriber:
        text = "*{type}* {data.text}"
        sent = described(subscriber.url("/hook"), preset=preset, text=text)
        async with entered(sent) as sink:
            answer = await sink.attempt(event(b'{"text": "<!channel> @everyone &"}'))
        (request,) = subscriber.received

    assert answer == Accepted()
    assert json.loads(request.body) == body
    assert (request.method, request.header("content-type")) == ("POST", "application/json")


async def test_teams_gets_a_card_and_a_long_text_is_cut() -> None:
    async with Subscriber() as subscriber:
        sent = described(subscriber.url("/hook"), preset="teams", text="{data}")
        async with entered(sent) as sink:
            await sink.attempt(event(b"x" * 50_000))
        (request,) = subscriber.received

    (attachment,) = json.loads(request.body)["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    (block,) = attachment["content"]["body"]
    assert block == {"type": "TextBlock", "text": "x" * 19_999 + "…", "wrap": True}


# --- what is answered ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (204, Verdict.DELIVERED),
        (302, Verdict.GIVE_UP),
        (400, Verdict.GIVE_UP),
        (404, Verdict.RETRY),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY),
    ],
)
async def test_an_answer_is_judged_as_that_of_any_subscriber(status: int, verdict: Verdict) -> None:
    async with Subscriber() as subscriber:
        script = reply(status, {"Retry-After": "7", "Location": "/elsewhere"})
        async with entered(described(subscriber.answers("/", [script]))) as sink:
            answer = await sink.attempt(event())

    assert judge(answer) is verdict
    if isinstance(answer, Refused):
        assert answer.status == status
        assert answer.retry_after == (timedelta(seconds=7) if status == 429 else None)
    assert len(subscriber.received) == 1


async def test_no_secret_is_in_what_is_kept_of_an_answer() -> None:
    async with Subscriber() as subscriber:
        body = b"no POST /services/T0/hunter22 by hunter33"
        url = subscriber.answers("/services/T0/hunter22", [reply(403, {}, body)])
        sent = described(url, template="{}", headers={"X-Key": "hunter33"})
        async with entered(sent) as sink:
            answer = await sink.attempt(event())

    assert answer == Refused(reason="403 Forbidden", status=403, body=b"no POST *** by ***")
    assert "hunter" not in repr(sent)


async def test_an_event_that_the_template_does_not_fit_is_given_up_and_nothing_sent() -> None:
    async with Subscriber() as subscriber:
        sent = described(subscriber.url("/"), template='{"who": "{subject}"}')
        async with entered(sent) as sink:
            lacking = await sink.attempt(event())
        sent = described(subscriber.url("/"), template='{"who": "{data.x}"}')
        async with entered(sent) as sink:
            half = await sink.attempt(event(b'{"x": "\\ud800"}'))

    why = "the template cannot be filled: the event has no attribute 'subject'"
    assert lacking == Refused(reason=why, permanent=True)
    assert isinstance(half, Refused)
    assert half.permanent
    assert subscriber.received == []


async def test_connections_lead_only_where_the_operator_lets_them() -> None:
    async with Subscriber() as subscriber:
        sent = described(subscriber.url("/"))
        async with entered(sent, Network()) as sink:
            refused = await sink.attempt(event())
        async with entered(sent, Network(allowed=("127.0.0.0/8",))) as sink:
            allowed = await sink.attempt(event())

    assert isinstance(refused, Refused)
    assert "--allow-destination" in refused.reason
    assert allowed == Accepted()
    assert len(subscriber.received) == 1


async def test_no_answer_within_the_triggers_time_and_nobody_there_is_told() -> None:
    async with Subscriber() as subscriber:
        url = subscriber.answers("/", [hang()])
        async with entered(described(url), seconds=0.2) as sink:
            late = await sink.attempt(event())
        await subscriber.all_closed()
    async with entered(described(url)) as sink:
        gone = await sink.attempt(event())

    assert late == Refused(reason="WebhookSink default/mine did not take it within 0.2 s")
    assert isinstance(gone, Refused)
    assert "refused" in gone.reason


# --- what a manifest says --------------------------------------------------------------------


SINKS, EVENTING = "sinks.cemesh.dev/v1alpha1", "eventing.knative.dev/v1"


def loaded(folder: Path, spec: Mapping[str, object]) -> object:
    ref = {"apiVersion": SINKS, "kind": "WebhookSink", "name": "mine"}
    documents = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat"},
         "stringData": {"url": "https://chat.example.com/hunter22", "bad": "https://u:p@x/"}},
        {"apiVersion": EVENTING, "kind": "Broker", "metadata": {"name": "default"}},
        {"apiVersion": SINKS, "kind": "WebhookSink", "metadata": {"name": "mine"},
         "spec": spec},
        {"apiVersion": EVENTING, "kind": "Trigger", "metadata": {"name": "mine"},
         "spec": {"broker": "default", "subscriber": {"ref": ref}}},
    ]  # fmt: skip
    (folder / "mesh.yaml").write_text("\n---\n".join(map(json.dumps, documents)))
    (trigger,) = load([folder / "mesh.yaml"]).desired.triggers.values()
    assert trigger.subscriber.sink is not None
    return trigger.subscriber.sink


SECRET = {"secretKeyRef": {"name": "chat", "key": "url"}}
URL = "https://example.com/hook"


def test_a_manifest_read_again_is_the_same_sink(tmp_path: Path) -> None:
    spec = {"url": SECRET, "preset": "slack", "text": "{type}", "headers": {"X-Key": SECRET}}

    once = loaded(tmp_path, spec)

    assert once == loaded(tmp_path, spec)
    assert once != loaded(tmp_path, {**spec, "text": "{id}"})
    assert "hunter22" not in repr(once)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"template": "{}"}, "spec.url: is missing"),
        ({"url": "ftp://x", "template": "{}"}, "spec.url: the URL is not an http or https URL"),
        (
            {"url": {"secretKeyRef": {"name": "chat", "key": "bad"}}, "template": "{}"},
            "spec.url: the URL holds a user name or password",
        ),
        (
            {"url": {"secretKeyRef": {"name": "chat", "key": "none"}}, "template": "{}"},
            "spec.url: the Secret 'default/chat' has no 'none'",
        ),
        ({"url": URL}, "spec: needs either 'template', or 'preset' and 'text'"),
        ({"url": URL, "preset": "slack"}, "'preset' and 'text' are of no use without each other"),
        ({"url": URL, "template": '{"a": x}'}, "'template' makes no JSON: Expecting value"),
        ({"url": URL, "template": '{"a": {type|x}}'}, "'template' makes no JSON: Expecting value"),
        ({"url": URL, "template": '"{type.x}"'}, "has {type.x}, and only the payload has parts"),
        ({"url": URL, "template": '"{Type}"'}, "no name of an attribute (did you mean 'type'?)"),
        ({"url": URL, "preset": "irc", "text": "x"}, "spec.preset: "),
        (
            {"url": URL, "template": "{}", "headers": {"Host": "x"}},
            "the header 'Host' is the mesh's own to set",
        ),
        ({"url": URL, "template": "{}", "headers": {"X-A": "a\nb"}}, "U+000A (line feed)"),
        ({"url": URL, "template": "{}", "contentType": "json"}, "'json' is no media type"),
        ({"url": URL, "template": "{}", "method": "GET"}, "spec.method: "),
    ],
)
def test_what_is_wrong_is_told_at_load(
    tmp_path: Path, spec: Mapping[str, object], told: str
) -> None:
    with pytest.raises(InvalidManifest) as refused:
        loaded(tmp_path, spec)

    assert told in str(refused.value)
    assert "u:p" not in str(refused.value)


def test_the_manifests_of_the_page_load_and_make_what_it_shows(tmp_path: Path) -> None:
    page = PAGE.read_text()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "slack"},
        "stringData": {"url": "https://hooks.slack.com/services/T0/B0/x", "token": "hunter22"},
    }
    shown = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mesh.yaml").write_text("\n---\n".join([*shown, json.dumps(secret)]))
    triggers = load([tmp_path / "mesh.yaml"]).desired.triggers.values()
    sinks = {
        each.subscriber.sink.key: each.subscriber.sink.spec
        for each in triggers
        if each.subscriber.sink
    }
    bodies = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    order = event(b'{"order": {"id": "A-1", "total": 12.50}}', subject="A-1")

    assert len(sinks) == len(bodies) == 2
    for spec, body in zip(sinks.values(), bodies, strict=True):
        assert isinstance(spec, WebhookSinkSpec)
        assert json.loads(spec.body(order)) == json.loads(body)
