"""Turns Trigger objects into the triggers to run."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from broker.filters import EVERYTHING, Filter, meaning
from broker.manifest import annotations as notes
from broker.manifest import deliveries, filters
from broker.manifest.destinations import Directory, target
from broker.manifest.objects import Place
from broker.manifest.policies import Asked, Policies
from broker.manifest.reading import required
from broker.manifest.shapes import TriggerObject, TriggerSpec
from broker.trigger import DEFAULT_PARALLELISM, DeliveryPolicy, Target, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a trigger takes from others.

    ``deliveries`` is the policy of each broker, ``asked`` what the DeliveryPolicy asks for that
    it names, if it names one.
    """

    directory: Directory
    deliveries: Mapping[str, DeliveryPolicy]
    policies: Policies
    asked: Mapping[str, Asked]


def trigger(shape: TriggerObject, place: Place, context: Context) -> Trigger | None:
    """Return the trigger that the object at ``place`` asks for, or None; report what is wrong."""
    annotations, at_annotations = shape.metadata.annotations, place.at("metadata", "annotations")
    spec, at_spec = shape.spec, place.at("spec")
    broker = _broker(spec, at_spec.at("broker"), context.directory)
    policy = _policy(spec, broker, at_spec.at("delivery"), context)
    policy = deliveries.annotated(policy, annotations, at_annotations)
    asked = context.policies.named(annotations, at_annotations) or context.asked.get(broker or "")
    concurrency = DEFAULT_PARALLELISM
    if asked is not None:
        policy, concurrency = asked.of(policy), asked.concurrency
    parallelism = notes.read(
        annotations, notes.PARALLELISM, notes.parallelism, concurrency, at_annotations
    )
    ordered = notes.read(
        annotations, notes.ORDER, notes.is_ordered, default=False, place=at_annotations
    )
    subscriber = _subscriber(spec, at_spec.at("subscriber"), context.directory)
    if policy.batch is not None and ordered:
        at_annotations.at(notes.ORDER).error("what goes out in batches has no order")
    if policy.parks and not ordered:
        at_annotations.at(notes.ORDER).error(
            "must be 'ordered' where the DeliveryPolicy says 'whenGivenUp: park'"
        )
    if broker is None or subscriber is None:
        return None
    if policy.batch is not None and not subscriber.url.startswith(("http:", "https:")):
        at_spec.at("subscriber").error("batches are sent to http and https URLs alone")
    if subscriber.audience is not None and not subscriber.url.startswith("broker:"):
        at_audience = at_spec.at("subscriber", "audience")
        policy = _with_tokens_for(subscriber.audience, policy, at_audience)
    return Trigger(
        key=place.object.key,
        broker=broker,
        subscriber=subscriber,
        filter=_filter(spec, at_spec),
        delivery=policy,
        parallelism=parallelism,
        ordered=ordered,
    )


def warn_of_twins(triggers: Iterable[Trigger], places: Mapping[str, Place]) -> None:
    """Warn of each trigger that hands the same events to the same subscriber as another one.

    So does every trigger beside one that has no filter at all.
    """
    by_subscriber: dict[tuple[str, str], list[Trigger]] = {}
    for each in triggers:
        by_subscriber.setdefault((each.broker, each.subscriber.url), []).append(each)
    for rivals in by_subscriber.values():
        first: dict[Hashable, Trigger] = {}
        unfiltered = next((each for each in rivals if each.filter == EVERYTHING), None)
        for each in rivals:
            twin = unfiltered or first.setdefault(meaning(each.filter), each)
            if twin is not each:
                place = places[twin.key].object
                places[each.key].at("spec", "subscriber").warn(
                    f"gets every event of this trigger from Trigger {twin.key} already "
                    f"({place.where}), and so all of them twice"
                )


def _broker(spec: TriggerSpec, place: Place, directory: Directory) -> str | None:
    """Return the key of the trigger's broker."""
    name = required(spec.broker, place)
    if name is None:
        return None
    key = f"{place.object.namespace}/{name}"
    directory.require_broker(key, place)
    return key


def _subscriber(spec: TriggerSpec, place: Place, directory: Directory) -> Target | None:
    destination = required(spec.subscriber, place)
    return None if destination is None else target(destination, place, directory)


def _policy(
    spec: TriggerSpec, broker: str | None, place: Place, context: Context
) -> DeliveryPolicy:
    """Return the trigger's own policy, which replaces its broker's whole, or the broker's."""
    inherited = context.deliveries.get(broker or "", DeliveryPolicy())
    if spec.delivery is None:
        return inherited
    own = deliveries.policy(spec.delivery, place, context.directory)
    if inherited.dead_letter is not None and spec.delivery.dead_letter_sink is None:
        place.warn(
            "replaces the broker's delivery whole, and so loses its deadLetterSink; dead "
            "letters will stay in the broker's own store"
        )
    return own


def _with_tokens_for(audience: str, policy: DeliveryPolicy, place: Place) -> DeliveryPolicy:
    """Return the policy, whose tokens are for that audience; warn where it makes none."""
    given = policy.credentials
    if given.oauth2 is not None:
        oauth2 = replace(given.oauth2, audience=given.oauth2.audience or audience)
        return replace(policy, credentials=replace(given, oauth2=oauth2))
    if given.token_file is None and given.bearer is None:
        place.warn(
            "no token is sent: that takes a DeliveryPolicy with 'credentials' that have "
            "'tokenFile', 'oauth2' or 'bearer'"
        )
    return policy


def _filter(spec: TriggerSpec, place: Place) -> Filter:
    if not spec.filters:
        return filters.of_legacy(spec.filter)
    if spec.filter is not None and spec.filter.attributes:
        place.at("filter").warn("is overridden by 'filters'")
    return filters.of_items(spec.filters, place.at("filters"))
