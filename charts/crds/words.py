"""What the fields that many kinds have are for, as `kubectl explain` says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.connections.kafka.spec import KafkaAccess
from broker.manifest.policyshapes import (
    BatchShape,
    BreakerShape,
    DeliveryPolicySpec,
    OAuth2Shape,
    RateShape,
    TimeoutsShape,
)
from broker.manifest.shapes import (
    BrokerSpec,
    CloudEventOverrides,
    Delivery,
    Destination,
    FilterItem,
    LegacyFilter,
    Reference,
    SourceSpec,
    TriggerSpec,
)
from sinks.job.spec import JobSinkSpec
from sinks.kafka.spec import KafkaSinkSpec
from sinks.log import LogSinkSpec

WORDS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    BrokerSpec: {
        "config": "A ConfigMap for the channel, or for RabbitMQ a RabbitmqBrokerConfig.",
        "delivery": "How the events of triggers are delivered that have no `delivery` themselves.",
    },
    TriggerSpec: {
        "broker": "The Broker whose events it is for, in the same namespace.",
        "filter": "The older form of `filters`, which goes before it.",
        "filters": "Which events it is for: those that pass every one of these filters.",
        "subscriber": "Where the events go.",
        "delivery": "How they are delivered, in place of all that the Broker says of that.",
    },
    LegacyFilter: {
        "attributes": "What attributes have to equal; an empty value stands for any.",
    },
    FilterItem: {
        "exact": "What attributes have to equal.",
        "prefix": "What attributes have to begin with.",
        "suffix": "What attributes have to end with.",
        "all": "Filters that all have to pass.",
        "any": "Filters of which one has to pass.",
        "not": "A filter that must not pass.",
        "cesql": "An expression in CESQL that has to be true.",
    },
    Delivery: {
        "deadLetterSink": "Where events go that are given up; the broker's own store unless given.",
        "retry": "How many attempts there are after the first; 10 unless given.",
        "backoffPolicy": "How the waits between attempts grow; `exponential` unless given.",
        "backoffDelay": "What the waits are multiples of, in ISO 8601; PT0.2S unless given.",
        "timeout": "How long one attempt may take, in ISO 8601; PT30S unless given.",
        "retryAfterMax": "How long a Retry-After is heeded, in ISO 8601; PT1H unless given.",
        "format": "The content mode of requests; as the event fits unless given.",
    },
    Destination: {
        "ref": "An object that takes events: a Broker, a sink, a Service, or another addressable.",
        "uri": "An absolute URL, or one relative to that of `ref`.",
        "CACerts": "Certificate authorities in PEM that are trusted beside the mesh's own.",
        "audience": "Whom the tokens are for that are shown there.",
    },
    Reference: {
        "apiVersion": "The group and version of the object.",
        "kind": "The kind of the object.",
        "name": "The name of the object.",
        "namespace": "The namespace of the object; the same unless given.",
    },
    SourceSpec: {
        "sink": "Where its events go.",
        "ceOverrides": "What its events are given beside their own attributes.",
    },
    DeliveryPolicySpec: {
        "timeouts": "How long the parts of an attempt may take.",
        "limits": "How much is asked of the subscriber at a time.",
        "breaker": "When the trigger pauses by itself.",
        "signing": "How requests are signed.",
        "credentials": "Who the mesh is to the subscriber.",
        "consent": "Whether the subscriber is asked whether it wants events, and in whose name.",
        "batch": "That several events go out in one request.",
        "order": "What becomes of the order of events where one is given up.",
    },
    TimeoutsShape: {
        "connect": "Until there is a connection, in ISO 8601; PT10S for each address unless given.",
        "write": "Until the request is sent, in ISO 8601.",
        "firstByte": "From then on until the answer begins, in ISO 8601.",
        "body": "From then on until it ends, in ISO 8601.",
    },
    RateShape: {
        "attempts": "How many attempts there are in that time, on average.",
        "per": "That time, in ISO 8601; PT1S unless given.",
        "burst": "How many there are at once at most; as many as `attempts` unless given.",
    },
    BreakerShape: {
        "pause": "After how long the subscriber is tested first, in ISO 8601; PT5S unless given.",
        "maxPause": "After how long it is tested at most, in ISO 8601; PT5M unless given.",
    },
    BatchShape: {
        "maxEvents": "How many events go together at most; 100 unless given.",
        "maxBytes": "How large they are together at most; 256Ki unless given.",
        "maxWait": "How long one waits for others, in ISO 8601; PT0.1S unless given.",
    },
    OAuth2Shape: {
        "tokenUrl": "Where tokens are asked for.",
        "scopes": "What the tokens are to be good for.",
        "audience": "Whom the tokens are for; the destination's unless given.",
        "authentication": "How the client proves who it is; `basic` unless given.",
    },
    KafkaAccess: {"net": "How the connection is secured: by SASL, by TLS, or by both."},
    KafkaSinkSpec: {"auth": "The same, as a Secret says it, with Knative's keys."},
    JobSinkSpec: {"job": "What is run for an event: a Job, of which one container is read."},
    LogSinkSpec: {"format": "`text` unless given, without payloads; or `json`, the whole event."},
    CloudEventOverrides: {
        "extensions": "Extensions that each of its events gets, or has replaced.",
    },
}
"""Shape → field → what is said of it."""
