"""How a trigger's events are delivered, and how long they wait in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from broker.admin.models.base import Document
from broker.policy import Credentials
from broker.trigger import Target, Trigger
from broker.urls import without_credentials
from delivery.backoff import MOST_SHOWN, waits


class WaitDocument(Document, frozen=True, kw_only=True):
    """The wait before a retry, and all waits up to it, in seconds, without jitter."""

    retry: int
    wait: float
    total: float


class TimeoutsDocument(Document, frozen=True, kw_only=True):
    """What bounds parts of an attempt, in seconds; None means the ``timeout`` of all of it."""

    connect: float | None
    write: float | None
    first_byte: float | None
    body: float | None


class LimitsDocument(Document, frozen=True, kw_only=True):
    """``rate`` is in attempts a second, ``max_age`` in seconds."""

    parallelism: int
    rate: float | None
    burst: int | None
    bytes_in_flight: int | None
    max_age: float | None


class BreakerDocument(Document, frozen=True, kw_only=True):
    """``pause`` and ``max_pause`` are in seconds."""

    failures: int
    pause: float
    max_pause: float


class BatchDocument(Document, frozen=True, kw_only=True):
    """``max_wait`` is in seconds."""

    max_events: int
    max_bytes: int
    max_wait: float


class DeliveryDocument(Document, frozen=True, kw_only=True):
    """The delivery of one trigger, with all defaults filled in and no secrets. Times in seconds.

    ``dead_letter_sink`` is None where the broker's own store takes dead letters, ``reply`` where
    the broker itself takes what the subscriber replies. ``waits`` are
    those before the first 100 retries, each varied by the share ``jitter`` either way.
    ``credentials`` are what the subscriber is shown, by kind, ``signing_keys`` how many sign.
    """

    trigger: str
    subscriber: str
    dead_letter_sink: str | None
    reply: str | None
    timeout: float
    timeouts: TimeoutsDocument
    retries: int
    backoff_policy: str
    jitter: float
    retry_after_max: float
    waits: Sequence[WaitDocument]
    ordered: bool
    parks: bool
    format: str | None
    limits: LimitsDocument
    breaker: BreakerDocument | None
    batch: BatchDocument | None
    signing_keys: int
    credentials: Sequence[str]
    consent: str | None

    @classmethod
    def of(cls, trigger: Trigger) -> DeliveryDocument:
        policy = trigger.delivery
        limits, breaker, batch = policy.limits, policy.breaker, policy.batch
        return cls(
            trigger=trigger.key,
            subscriber=without_credentials(trigger.subscriber.url),
            dead_letter_sink=_url(policy.dead_letter),
            reply=_url(policy.reply),
            timeout=policy.timeout.total_seconds(),
            timeouts=TimeoutsDocument(
                connect=_seconds(policy.timeouts.connect),
                write=_seconds(policy.timeouts.write),
                first_byte=_seconds(policy.timeouts.first_byte),
                body=_seconds(policy.timeouts.body),
            ),
            retries=policy.retry,
            backoff_policy=policy.backoff_policy,
            jitter=policy.backoff_jitter,
            retry_after_max=policy.retry_after_max.total_seconds(),
            waits=list(_waits(trigger)),
            ordered=trigger.ordered,
            parks=policy.parks,
            format=policy.content_mode,
            limits=LimitsDocument(
                parallelism=trigger.parallelism,
                rate=None if limits.rate is None else limits.rate.per_second,
                burst=None if limits.rate is None else limits.rate.burst,
                bytes_in_flight=limits.bytes_in_flight,
                max_age=_seconds(limits.max_age),
            ),
            breaker=None
            if breaker is None
            else BreakerDocument(
                failures=breaker.failures,
                pause=breaker.pause.total_seconds(),
                max_pause=breaker.max_pause.total_seconds(),
            ),
            batch=None
            if batch is None
            else BatchDocument(
                max_events=batch.max_events,
                max_bytes=batch.max_bytes,
                max_wait=batch.max_wait.total_seconds(),
            ),
            signing_keys=0 if policy.signing is None else len(policy.signing.keys),
            credentials=list(_credentials(policy.credentials)),
            consent=None if policy.consent is None else policy.consent.origin,
        )


def _url(target: Target | None) -> str | None:
    return None if target is None else without_credentials(target.url)


def _seconds(time: timedelta | None) -> float | None:
    return None if time is None else time.total_seconds()


def _waits(trigger: Trigger) -> Iterator[WaitDocument]:
    total = timedelta()
    for retry, wait in enumerate(waits(trigger.delivery, MOST_SHOWN), start=1):
        total += wait
        yield WaitDocument(retry=retry, wait=wait.total_seconds(), total=total.total_seconds())


def _credentials(credentials: Credentials) -> Iterator[str]:
    yield from (f"header {name}" for name in credentials.headers)
    given = {
        "basic": credentials.basic,
        "bearer": credentials.bearer,
        "oauth2": credentials.oauth2,
        "tokenFile": credentials.token_file,
        "certificate": credentials.certificate,
    }
    yield from (name for name, value in given.items() if value is not None)
