"""Reads triggers and stored events from a running mesh, and compares them with what is proposed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import click
import msgspec

from broker.admin.models import BrokerDocument, StoredDocument, TriggerFilters
from broker.cli.client import AdminClient
from broker.cli.exits import RefusedError
from broker.cli.planning import BrokerPlan, Comparison, Pair, Subscribed, pairs
from broker.errors import did_you_mean
from broker.event import Event
from broker.filters import Filter
from broker.manifest.filters import of_spec
from broker.ports import Stored
from broker.trigger import Desired

_PAGE: Final = 1000


class PlanReader:
    """Compares over the events that were accepted from ``since`` to about ``until``.

    Its methods raise what those of the client raise.
    """

    def __init__(
        self, client: AdminClient, *, since: datetime, until: datetime, examples: int
    ) -> None:
        self.since = since
        self._client = client
        self._until = until
        self._examples = examples

    def plans(self, desired: Desired, only: str | None) -> list[BrokerPlan]:
        """Return what becomes of every broker, or of that one."""
        running = {each.name: each for each in self._client.status().brokers}
        brokers = list(dict.fromkeys((*running, *desired.brokers)))
        if only is not None and only not in brokers:
            hint = did_you_mean(only, brokers)
            raise RefusedError(f"neither the mesh nor NEW has a broker {only}{hint}")
        now = self._running_triggers(running)
        proposed = {
            key: Subscribed(broker=each.broker, filter=each.filter)
            for key, each in desired.triggers.items()
        }
        plans = []
        for key in brokers if only is None else [only]:
            triggers, stays = pairs(key, now, proposed), key in desired.brokers
            if key in running:
                plans.append(self._compared(running[key], triggers, proposed=stays))
            else:
                plans.append(_without_events(key, triggers))
        return plans

    def _running_triggers(self, brokers: Iterable[str]) -> dict[str, Subscribed]:
        return {
            each.name: Subscribed(broker=broker, filter=_filter(each))
            for broker in brokers
            for each in self._client.triggers(broker).triggers
        }

    def _compared(
        self, broker: BrokerDocument, triggers: Sequence[Pair], *, proposed: bool
    ) -> BrokerPlan:
        comparison = Comparison(triggers, examples=self._examples)
        oldest = self._client.events(broker.name, since=None, after=None, limit=1).events
        events = redrives = 0
        for stored in self._history(broker.name):
            if stored.to is None:
                comparison.take(stored)
                events += 1
            else:
                redrives += 1
        begins = oldest[0].at if oldest else None
        # What begins later was read as a whole: is that all there ever was?
        complete = (begins is not None and begins <= self.since) or (
            events + redrives >= broker.accepted
        )
        return BrokerPlan(
            name=broker.name,
            runs=True,
            proposed=proposed,
            since=self.since if complete else begins,
            complete=complete,
            events=events,
            redrives=redrives,
            triggers=comparison.result(),
        )

    def _history(self, broker: str) -> Iterator[Stored]:
        """Yield what was accepted, page by page, so that memory does not grow with it."""
        seconds = int((self._until - self.since).total_seconds())
        with click.progressbar(
            length=seconds,
            label=f"Reading {broker}",
            file=sys.stderr,
            hidden=not sys.stderr.isatty(),
        ) as bar:
            after: str | None = None
            while True:
                page = self._client.events(broker, since=self.since, after=after, limit=_PAGE)
                yield from map(_stored, page.events)
                after = page.next
                # A busy broker would keep us reading for ever.
                if after is None or all(each.at > self._until for each in page.events):
                    bar.update(seconds - bar.pos)
                    return
                bar.update(int((page.events[-1].at - self.since).total_seconds()) - bar.pos)


def _without_events(broker: str, triggers: Sequence[Pair]) -> BrokerPlan:
    return BrokerPlan(
        name=broker,
        runs=False,
        proposed=True,
        since=None,
        complete=True,
        events=None,
        redrives=0,
        triggers=Comparison(triggers, examples=0).result(),
    )


def _filter(trigger: TriggerFilters) -> Filter:
    spec = {
        name: value
        for name, value in (("filters", trigger.filters), ("filter", trigger.filter))
        if value is not msgspec.UNSET
    }
    try:
        return of_spec(spec)
    except ValueError:
        raise RefusedError(
            f"the filter of {trigger.name} is not one that this version of cemesh reads: {spec}"
        ) from None


def _stored(document: StoredDocument) -> Stored:
    return Stored(
        position=document.position,
        at=document.at,
        to=document.to,
        event=Event.of_typed(document.event),
    )
