"""What the tests of stories have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.event import Event
from broker.observe.stories.journal import Journal, Keeping
from broker.ports import (
    Claim,
    Origin,
    Refusal,
)
from broker.ports.stories import (
    Became,
    Entry,
    FoundPage,
    Wanted,
)
from tests.watching import attempt

BROKER, TRIGGER = "shop/default", "shop/mail"
SENDER = Origin("request", "shop at 127.0.0.1")
WHY = Refusal(
    destination="http://mail.test/",
    reason="503 Service Unavailable",
    status=503,
    body=b"",
    attempts=3,
)
BECAME: Sequence[Became] = ("waits", "parked", "retried", "dead-lettered", "buried")
AGES, ROOM = timedelta(days=7), 1 << 20
LATELY = float(int(datetime.now(UTC).timestamp())) - 1_000


def event(id: str = "1", *, source: str = "/shop", type: str = "order.placed") -> Event:
    return Event({"specversion": "1.0", "id": id, "source": source, "type": type}, b"p4yl0ad")


def claim(of: Event, *, attempts: int = 0, condemned: Refusal | None = None) -> Claim:
    return Claim(
        event=of,
        attempts=attempts,
        condemned=condemned,
        accepted_at=datetime.now(UTC),
        position=None,
    )


def keeping(folder: Path | None = None, *, sample: float = 1.0, size: int = ROOM) -> Keeping:
    return Keeping(folder=folder, age=AGES, size=size, sample=sample)


def accept(journal: Journal, *events: Event, origin: Origin = SENDER) -> None:
    journal.recorder.accepted(BROKER, events, origin, None)


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("stories-*.db"))


async def only(journal: Journal, id: str = "1") -> Entry:
    [entry] = await journal.of([id])
    return entry


async def found(journal: Journal, wanted: Wanted, limit: int = 100) -> list[str]:
    page = await journal.search(wanted, limit=limit)
    assert page.reached is None
    return [each.id for each in page.found]


def noted(journal: Journal, id: str, at: float) -> None:
    """Note an attempt that began then, in a block of its own."""
    journal.recorder.attempted(attempt(TRIGGER, event=event(id))._replace(began=at))
    journal.recorder.flush()


async def pages(journal: Journal, wanted: Wanted, limit: int) -> list[list[str]]:
    """Return the ids of every page."""
    ids = []
    while True:
        page: FoundPage = await journal.search(wanted, limit=limit)
        ids.append([each.id for each in page.found])
        if page.reached is None:
            return ids
        wanted = replace(wanted, before=page.reached)
