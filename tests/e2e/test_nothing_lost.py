"""The main job: whatever happens to the process, every accepted event arrives everywhere.

It ends as delivered or dead-lettered, at every trigger, with its bytes as they were.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from broker.event import Event
from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.e2e.telling import tell
from tests.services.mesh import HOST, RunningMesh, free_port
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Answer, Request, Subscriber, after

BROKER = "default/default"
EVENTS = 2_000
REFUSALS = 2
"""How often the flaky subscriber refuses each event before it takes it."""

ATTEMPTS = {"/good": 1, "/flaky": 1 + REFUSALS, "/slow": 1, "/refusing": 2, "/letters": 1}
"""How many requests each event takes at each path, if nothing happens."""

pytestmark = pytest.mark.timeout(240)


class Flaky:
    """Answers 503 to the first attempts of each event."""

    def __init__(self) -> None:
        self._attempts: Counter[str | None] = Counter()

    def __call__(self, request: Request) -> Answer:
        self._attempts[request.header("ce-id")] += 1
        return 503 if self._attempts[request.header("ce-id")] <= REFUSALS else 200


class Follower:
    """Sees which events came to each path, looking at each request once."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.requests: dict[str, list[Request]] = {}
        self._subscriber = subscriber
        self._seen = 0

    def ids(self, path: str) -> set[str | None]:
        for request in self._subscriber.received[self._seen :]:
            self.requests.setdefault(request.path, []).append(request)
        self._seen = len(self._subscriber.received)
        return {request.header("ce-id") for request in self.requests.get(path, [])}

    def attempts(self, path: str) -> Counter[str | None]:
        return Counter(request.header("ce-id") for request in self.requests[path])

    async def until(self, path: str, count: int, *, within: float = 60) -> None:
        """Return once so many different events have come to the path."""
        async with asyncio.timeout(within):
            while len(self.ids(path)) < count:
                await asyncio.sleep(0.02)


class Sender:
    """Sends each event until it is accepted."""

    def __init__(self, mesh: RunningMesh, events: Sequence[Event]) -> None:
        self.left = list(events)
        self._mesh = mesh

    async def run(self) -> None:
        """Send what is left, and keep what was not answered by 202."""
        sent = self.left
        statuses = await self._mesh.send_all(BROKER, sent)
        assert set(statuses) <= {202, None}, Counter(statuses)
        self.left = [each for each, status in zip(sent, statuses, strict=True) if status is None]


def made_up_events() -> Iterator[Event]:
    """Yield events with payloads that anything but care would change."""
    bits = random.Random(2)
    for number in range(EVENTS):
        kind, data = bits.choice(
            [
                ("application/octet-stream", bits.randbytes(bits.randrange(2_000))),
                ("application/json", b'{ "a" : 1.00,\n "a":1e400, "n": 123456789012345678901 }'),
                ("application/json", b'{"not": json' + bits.randbytes(8).hex().encode()),
                ("text/plain; charset=latin-1", b"\xe4\xf6\xfc\r\n\x00"),
            ]
        )
        yield Event(
            {
                "specversion": "1.0",
                "id": f"event-{number}",
                "source": f"/tests/{number % 7}",
                "type": "com.example.thing",
                "datacontenttype": kind,
            },
            data,
        )


@pytest.mark.parametrize("workers", [1, 3])
async def test_killed_three_times_the_mesh_loses_none_of_2000_events(
    running_mesh: Callable[..., RunningMesh],
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    events = list(made_up_events())
    all_ids = {each.id for each in events}
    async with Subscriber() as subscriber:
        flaky = subscriber.answers("/flaky", Flaky())
        slow = subscriber.answers("/slow", [after(0.08, 200)])
        refusing = subscriber.answers("/refusing", [500])
        triggers = [
            trigger("good", subscriber.url("/good")),
            trigger("flaky", flaky, retry=5, pauses=False),
            trigger("slow", slow, parallelism=10),
            trigger("dead", f"http://{HOST}:{free_port()}/", retry=1, pauses=False),
            trigger(
                *("refusing", refusing),
                retry=1,
                dead_letter=subscriber.url("/letters"),
                pauses=False,
            ),
        ]
        follower = Follower(subscriber)
        several = ("--workers", str(workers))
        text = manifest(broker(), steady(), *triggers)
        async with running_mesh(text, arguments=several) as mesh:
            sender = Sender(mesh, events)

            # Twice while events come in, once while they are only delivered.
            for progress in (300, 1_100):
                sending = asyncio.create_task(sender.run())
                await follower.until("/good", progress)
                await mesh.kill9()
                await sending
                assert sender.left, "the kill was to meet events on their way in"
                await mesh.start()
            await sender.run()
            assert not sender.left
            await follower.until("/good", EVENTS)
            behind = len(follower.ids("/slow"))
            await follower.until("/slow", (behind + EVENTS) // 2)
            await mesh.kill9()
            await mesh.start()
            status = await mesh.until(
                lambda status: not any(each.waiting for each in status.brokers[0].triggers),
                within=120,
            )
            given_up = told_of(status, "default/dead").dead_lettered
            letters = await dead_letters(mesh, BROKER, given_up)

        for path, attempts in ATTEMPTS.items():
            assert follower.ids(path) == all_ids, path
            assert min(follower.attempts(path).values()) >= attempts, path
        assert {each.trigger for each in letters} == {"default/dead"}
        buried = Counter(each.event.id for each in letters)
        assert set(buried) == all_ids
        assert buried.total() == given_up
        assert behind < EVENTS, "the good subscriber had to wait for the slow one"
        for path, requests in follower.requests.items():
            check_untouched(path, requests, {each.id: each for each in events})
        accepted = status.brokers[0].accepted
        for name in ("good", "flaky", "slow", "dead", "refusing"):
            books = told_of(status, f"default/{name}")
            assert books.unaccounted == 0, books
            assert books.matched == accepted, books
        assert given_up == accepted
        assert told_of(status, "default/refusing").dead_lettered == accepted
        tell(capsys, *cost_of_the_kills(accepted, behind, follower, buried))


def check_untouched(path: str, requests: Sequence[Request], events: Mapping[str, Event]) -> None:
    for request in requests:
        headers = {name.lower(): value for name, value in request.headers}
        attributes = {
            name.removeprefix("ce-"): value
            for name, value in headers.items()
            if name.startswith("ce-")
        }
        attributes["datacontenttype"] = headers["content-type"]
        if path == "/letters":
            assert attributes["cemeshtrigger"] == "default/refusing"
            assert attributes["knativeerrorcode"] == "500"
            attributes = {
                name: value
                for name, value in attributes.items()
                if not name.startswith(("cemesh", "knative"))
            }
        sent = events[attributes["id"]]
        assert attributes == sent.attributes
        assert request.body == sent.data


def cost_of_the_kills(
    accepted: int, behind: int, follower: Follower, buried: Mapping[str, int]
) -> Iterator[str]:
    """Yield what happened more than once, in words."""
    yield f"{accepted - EVENTS} of {EVENTS} events were sent again and accepted twice"
    yield f"the slow subscriber had {behind} when the good one had all"
    for path, attempts in ATTEMPTS.items():
        extra = len(follower.requests[path]) - attempts * EVENTS
        yield f"{path}: {extra} requests more than needed, {extra / attempts / EVENTS:.1%}"
    yield f"dead-letter store: {sum(buried.values()) - EVENTS} duplicates"
