"""Sources of the tests' own: one that runs, with a lag, and one that is called."""

from __future__ import annotations

import json

FEED = """
import asyncio
from datetime import UTC, datetime, timedelta

from cemesh import Event

RUNS = []


class Feed:
    def __init__(self, context):
        self._context = context

    async def run(self, emit):
        RUNS.append(self)
        uri, id = self._context.uri, str(len(RUNS))
        await emit(Event({"specversion": "1.0", "id": id, "source": uri, "type": "fed"}))
        if len(RUNS) == 1:
            await self._context.reject("no event at all", id="x", data=b"?")
            raise RuntimeError("the first run fails")
        self._context.lag(7, since=datetime.now(UTC) - timedelta(hours=1))
        await asyncio.Event().wait()
"""

CALLED = """
import itertools

from cemesh import Event

NUMBERS = itertools.count()


class Feed:
    def __init__(self, context):
        self._uri = context.uri

    async def receive(self, request, emit):
        id = str(next(NUMBERS))
        await emit(Event({"specversion": "1.0", "id": id, "source": self._uri, "type": "called"}))
"""


def feed(name: str = "feed") -> str:
    """Return the source that is the class `Feed` of the module of that name."""
    ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}
    return json.dumps(
        {
            "apiVersion": "cemesh.dev/v1alpha1",
            "kind": "Source",
            "metadata": {"name": name},
            "spec": {"class": f"{name}:Feed", "sink": {"ref": ref}},
        }
    )
