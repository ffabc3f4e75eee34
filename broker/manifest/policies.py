"""Turns DeliveryPolicy objects into what triggers ask of their deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from broker.errors import did_you_mean
from broker.manifest import annotations as notes
from broker.manifest.credentials import SecretReader, credentials, signing
from broker.manifest.destinations import Directory, target
from broker.manifest.objects import Place
from broker.manifest.policyshapes import (
    BatchShape,
    BreakerShape,
    ConsentShape,
    DeliveryPolicyObject,
    LimitsShape,
)
from broker.policy import Batch, Breaker, Consent, Credentials, Limits, Rate, Signing, Timeouts
from broker.trigger import DEFAULT_PARALLELISM, DeliveryPolicy, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one DeliveryPolicy asks for."""

    concurrency: int = DEFAULT_PARALLELISM
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    breaker: Breaker | None = Breaker()
    signing: Signing | None = None
    credentials: Credentials = Credentials()
    consent: Consent | None = None
    batch: Batch | None = None
    parks: bool = False
    reply: Target | None = None

    def of(self, policy: DeliveryPolicy) -> DeliveryPolicy:
        """Return the policy of a trigger that asks for this."""
        return replace(
            policy,
            timeouts=self.timeouts,
            limits=self.limits,
            breaker=self.breaker,
            signing=self.signing,
            credentials=self.credentials,
            consent=self.consent,
            batch=self.batch,
            parks=self.parks,
            reply=self.reply,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The DeliveryPolicies of the files, by ``namespace/name``; None where one is wrong."""

    asked: Mapping[str, Asked | None]

    def named(self, annotations: Mapping[str, str], place: Place) -> Asked | None:
        """Return the policy that the annotations at ``place`` name, or None where they do not.

        Also where there is none of that name, which is reported.
        """
        name = annotations.get(notes.DELIVERY_POLICY)
        if name is None:
            return None
        key = f"{place.object.namespace}/{name}"
        if key not in self.asked and place.report.complete:
            hint = did_you_mean(key, self.asked)
            place.at(notes.DELIVERY_POLICY).error(
                f"no DeliveryPolicy '{key}' in {place.report.where}{hint}"
            )
        return self.asked.get(key)


def asked(
    shape: DeliveryPolicyObject, place: Place, secrets: SecretReader, directory: Directory
) -> Asked:
    """Return what the object at ``place`` asks for, and report what is wrong."""
    spec, at_spec = shape.spec, place.at("spec")
    limits = _limits(spec.limits)
    concurrency = None if spec.limits is None else spec.limits.concurrency
    return Asked(
        concurrency=concurrency or DEFAULT_PARALLELISM,
        timeouts=Timeouts(
            connect=spec.timeouts.connect,
            write=spec.timeouts.write,
            first_byte=spec.timeouts.first_byte,
            body=spec.timeouts.body,
        ),
        limits=limits,
        breaker=_breaker(spec.breaker, at_spec.at("breaker")),
        signing=signing(spec.signing, at_spec.at("signing"), secrets),
        credentials=credentials(spec.credentials, at_spec.at("credentials"), secrets),
        consent=_consent(spec.consent, limits),
        batch=_batch(spec.batch),
        parks=spec.order.when_given_up == "park",
        reply=None if spec.reply is None else target(spec.reply, at_spec.at("reply"), directory),
    )


def _consent(shape: ConsentShape | None, limits: Limits) -> Consent | None:
    if shape is None:
        return None
    rate = None if limits.rate is None else max(1, round(limits.rate.per_second * 60))
    return Consent(origin=shape.origin, callback=shape.callback, rate=rate)


def _batch(shape: BatchShape | None) -> Batch | None:
    if shape is None:
        return None
    default = Batch()
    return Batch(
        max_events=shape.max_events or default.max_events,
        max_bytes=shape.max_bytes or default.max_bytes,
        max_wait=shape.max_wait or default.max_wait,
    )


def _limits(shape: LimitsShape | None) -> Limits:
    if shape is None:
        return Limits()
    rate = None
    if shape.rate is not None:
        per_second = shape.rate.attempts / shape.rate.per.total_seconds()
        rate = Rate(per_second=per_second, burst=shape.rate.burst or shape.rate.attempts)
    return Limits(rate=rate, bytes_in_flight=shape.bytes_in_flight, max_age=shape.max_age)


def _breaker(shape: BreakerShape | None, place: Place) -> Breaker | None:
    default = Breaker()
    if shape is None:
        return default
    if not shape.enabled:
        return None
    breaker = Breaker(
        failures=shape.failures or default.failures,
        pause=shape.pause or default.pause,
        max_pause=shape.max_pause or max(default.max_pause, shape.pause or default.pause),
    )
    if breaker.max_pause < breaker.pause:
        place.at("maxPause").error("is shorter than 'pause'")
    return breaker
