"""Manifests with secrets wherever one can stand, whose deliveries and sources succeed and fail."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from tests.e2e.manifests import manifest
from tests.services.mesh import HOST
from tests.services.subscribers import Subscriber, raw, reply, reset

PAYLOAD = "Paylo4d"
"""What is in every payload, and in nothing else."""

SECRETS = {
    name: f"S3cret-{name}"
    for name in (
        *("basic", "bearer", "header", "oauth", "query", "access", "wrong", "webhook", "slack"),
        *("mqtt", "redis", "kafka", "postgresql", "rabbitmq", "s3", "poller", "websocket"),
        *("program", "proxy", "collector", "channel", "reply", "forged", "deadletter"),
    )
}
KEY = base64.b64encode(b"S3cret-key-to-sign-with-it!!").decode()
QUERY = f"?token={SECRETS['query']}"
EVENTING = "eventing.knative.dev/v1"

Spec = Mapping[str, object]


def hidden() -> set[str]:
    """Return all that no log may have, as it is and encoded."""
    found = {PAYLOAD, base64.b64encode(PAYLOAD.encode()).decode()[:8], KEY}
    for value in SECRETS.values():
        raw = value.encode()
        pairs = (b"%s:%s" % (user, raw) for user in (b"user", SECRETS["basic"].encode()))
        found |= {base64.b64encode(each).decode() for each in (raw, *pairs)}
        found |= {value, quote(value, safe=""), raw.hex()}
    return found


def document(version: str, kind: str, name: str, **fields: object) -> str:
    metadata = {"name": name, "annotations": fields.pop("annotations", {})}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, **fields})


def secret(name: str, values: Mapping[str, str]) -> str:
    return document("v1", "Secret", name, stringData=dict(values))


def of(name: str) -> Spec:
    """Return a reference to that secret."""
    return {"secretKeyRef": {"name": "secrets", "key": name}}


def secretive(subscriber: Subscriber, echo: int) -> str:
    """Return all of it: two brokers, triggers with destinations of all kinds, and sources.

    At ``echo``, somebody sends back whatever comes.
    """
    slack = f"{subscriber.url('/hooks')}/{SECRETS['slack']}"
    taking = dict(sinks(echo, subscriber))
    return manifest(
        document(EVENTING, "Broker", "default"),
        document(EVENTING, "Broker", "guarded", annotations={"cemesh.dev/access": "clients"}),
        secret("clients", {"ann": SECRETS["access"]}),
        secret("secrets", {**SECRETS, "hooks": slack, "mechanism": "PLAIN"}),
        secret("keys", {"now": f"whsec_{KEY}"}),
        secret("client", {"clientId": "mesh", "clientSecret": SECRETS["oauth"]}),
        secret("password", {"username": "user", "password": SECRETS["basic"]}),
        secret("headers", {"X-Api-Key": SECRETS["header"]}),
        *http_triggers(subscriber),
        *(document(*each[:2], name, spec=each[2]) for name, each in taking.items()),
        *(trigger(name, {"ref": ref(*each[:2], name)}) for name, each in taking.items()),
        *sources(echo, subscriber),
    )


def ref(version: str, kind: str, name: str) -> Spec:
    return {"apiVersion": version, "kind": kind, "name": name}


def trigger(name: str, to: Spec, *, dead: str | None = None, **policy: object) -> str:
    """Return a trigger for events of the type ``name``, and its policy."""
    delivery: dict[str, object] = {"retry": 0, "timeout": "PT3S"}
    if dead is not None:
        delivery["deadLetterSink"] = {"uri": dead}
    filters = [{"exact": {"type": name}}]
    spec = {"broker": "default", "subscriber": to, "delivery": delivery, "filters": filters}
    annotations = {"cemesh.dev/delivery-policy": name}
    asked = {"breaker": {"enabled": False}, **policy}
    return manifest(
        document(EVENTING, "Trigger", name, annotations=annotations, spec=spec),
        document("cemesh.dev/v1alpha1", "DeliveryPolicy", name, spec=asked),
    )


def http_triggers(subscriber: Subscriber) -> Iterator[str]:
    """Yield triggers with credentials of all kinds, and have the subscriber misbehave to them."""
    told = f"{PAYLOAD} {SECRETS['reply']}".encode()
    headers = {"ce-specversion": "1.0", "ce-id": "r", "ce-source": "/r", "ce-type": "reply"}
    cookie = {"Set-Cookie": SECRETS["reply"]}
    refuses = subscriber.answers(f"/refuses{QUERY}", [reply(400, cookie, told)])
    garbage = subscriber.answers(f"/garbage{QUERY}", [raw(b"HTTP/1.1 %s\r\n\r\n" % told)])
    dead = subscriber.answers(f"/dead{QUERY}&key={SECRETS['deadletter']}", [reply(500, (), told)])
    token = subscriber.answers(f"/oauth{QUERY}", [reply(400, (), b'{"error": "%s"}' % told)])
    replies = subscriber.answers("/replies", [reply(200, headers, told)])
    misreplies = subscriber.answers("/misreplies", [reply(200, {**headers, "ce-id": ""}, told)])
    oauth2 = {"tokenUrl": token, "secretRef": {"name": "client"}}
    basic = {"basic": {"secretRef": {"name": "password"}}}
    bearer = {"bearer": {"secretRef": {"name": "secrets", "key": "bearer"}}}
    header = {"headers": {"secretRef": {"name": "headers"}}}
    ok = {"uri": subscriber.url(f"/ok{QUERY}")}
    yield trigger("ok", ok, signing={"secretRef": {"name": "keys"}}, credentials=header)
    yield trigger("basic", {"uri": refuses}, dead=dead, credentials=basic)
    yield trigger("bearer", {"uri": garbage}, credentials=bearer)
    yield trigger("cut", {"uri": subscriber.answers("/cut", [reset(told)])}, credentials=bearer)
    yield trigger("oauth", ok, credentials={"oauth2": oauth2})
    yield trigger("replies", {"uri": replies})
    yield trigger("misreplies", {"uri": misreplies})
    yield trigger("proxied", {"uri": f"http://127.0.0.2:9/{QUERY}"}, credentials=basic)
    yield trigger("nowhere", {"uri": f"http://127.0.0.1:1/{QUERY}"})


def sinks(echo: int, subscriber: Subscriber) -> Iterator[tuple[str, tuple[str, str, Spec]]]:
    """Yield sinks, of which all but one can take nothing: name, version, kind and spec."""
    at = f"{HOST}:{echo}"
    keys = {"accessKeyId": of("s3"), "secretAccessKey": of("s3"), "key": "{hash}"}
    hooks = f"{subscriber.url('/hooks')}/{SECRETS['slack']}"
    specs: Sequence[tuple[str, str, Spec]] = [
        ("mqtt", "MqttSink", {"url": f"mqtt://{at}", "topic": "t"}),
        ("redis", "RedisStreamSink", {"url": f"redis://{at}", "stream": "s"}),
        ("postgresql", "PostgresqlSink", {"url": f"postgresql://{at}/d", "table": "t"}),
        ("rabbitmq", "RabbitmqSink", {"url": f"amqp://{at}", "exchange": "e", "routingKey": "k"}),
    ]
    for name, kind, spec in specs:
        who = {"user": of("basic"), "password": of(name)}
        yield name, ("sinks.cemesh.dev/v1alpha1", kind, {**spec, **who})
    others: Sequence[tuple[str, str, Spec]] = [
        ("s3", "S3Sink", {"endpoint": f"http://{at}", "bucket": "s3-bucket", **keys}),
        ("slack", "WebhookSink", {"url": of("hooks"), "template": '{"text": {data.text}}'}),
        ("missing", "WebhookSink", {"url": hooks, "template": '{"text": {data.what}}'}),
    ]
    for name, kind, spec in others:
        yield name, ("sinks.cemesh.dev/v1alpha1", kind, spec)


def sources(echo: int, subscriber: Subscriber) -> Iterator[str]:
    """Yield sources that reach nothing that answers as it should, and one that is called."""
    at, ours, knative = f"{HOST}:{echo}", "sources.cemesh.dev/v1alpha1", "sources.knative.dev"
    user, keys = {"user": of("basic")}, {"accessKeyId": of("s3"), "secretAccessKey": of("s3")}
    sasl = {"enable": True, "type": of("mechanism"), **user, "password": of("kafka")}
    resources = {"vhost": "v", "exchangeName": "e", "queueName": "q"}
    printing = {
        "image": "i",
        "command": ["sh", "-c", "echo $TOKEN; exit 3"],
        "env": [{"name": "TOKEN", "valueFrom": of("program")}],
    }
    polled = {"url": subscriber.url(f"/refuses{QUERY}"), "interval": "PT1S"}
    socket = {"url": f"ws://{at}/{QUERY}", "headers": {"X-Api-Key": of("websocket")}}
    specs: Sequence[tuple[str, str, Spec]] = [
        (
            ours,
            "MqttSource",
            {"url": f"mqtt://{at}", "topics": ["t"], "password": of("mqtt"), **user},
        ),
        (
            ours,
            "RedisStreamSource",
            {"url": f"redis://{at}", "stream": "s", "password": of("redis")},
        ),
        (
            ours,
            "PostgresqlSource",
            {"url": f"postgresql://{at}/d", "table": "o", **user, "password": of("postgresql")},
        ),
        (ours, "S3Source", {"endpoint": subscriber.url(""), "bucket": "s3-bucket", **keys}),
        (ours, "HttpPollerSource", {**polled, "auth": {"bearer": of("poller")}}),
        (ours, "WebSocketSource", socket),
        (ours, "WebhookSource", {"preset": "github", "secrets": [of("webhook")]}),
        (
            f"{knative}/v1alpha1",
            "RabbitmqSource",
            {
                "url": f"amqp://{at}",
                **user,
                "password": of("rabbitmq"),
                "rabbitmqResourcesConfig": resources,
            },
        ),
        (
            f"{knative}/v1",
            "KafkaSource",
            {"bootstrapServers": [at], "topics": ["t"], "net": {"sasl": sasl}},
        ),
        (
            f"{knative}/v1",
            "ContainerSource",
            {"template": {"spec": {"containers": [printing]}}},
        ),
    ]
    into = {"sink": {"ref": ref(EVENTING, "Broker", "default")}}
    for version, kind, spec in specs:
        yield document(version, kind, "secretive", spec={**spec, **into})


def kafka_broker(servers: str) -> str:
    """Return a broker on Kafka, with a password of its own."""
    data = {"bootstrap.servers": servers, "auth.secret.ref.name": "user"}
    user = {"protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "user": "mesh"}
    annotations = {"eventing.knative.dev/broker.class": "Kafka"}
    config = {"config": ref("v1", "ConfigMap", "config")}
    return manifest(
        document(EVENTING, "Broker", "default", annotations=annotations, spec=config),
        document("v1", "ConfigMap", "config", data=data),
        secret("user", {**user, "password": SECRETS["channel"]}),
    )
