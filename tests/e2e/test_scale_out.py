"""Many processes on one server: whatever is added, stopped, killed or restarted, nothing is lost.

Every accepted event ends as delivered or dead-lettered at every trigger, and an ordered trigger
gets the events of each key in the order in which they were accepted.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from broker.event import Event
from tests.e2e.deadletters import dead_letters, dead_letters_of
from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.e2e.telling import tell
from tests.services.kafka.server import KafkaServer
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.subscribers import Answer, Request, Subscriber

BROKER = "default/default"
SENDERS = 6
PACE = 0.03
"""Seconds between two events of a sender."""

REPEATS_AFTER = 0.2

SOON = 60.0
"""Seconds within which whatever is to happen must have happened: a takeover takes 15 of them."""

KEYLESS = "keyless"

SENDING = "sending"
"""The attribute that tells how often a sender has sent the event by then."""

_ATTEMPTS = r'^cemesh_attempts_total\{[^}]*"default/healthy"[^}]*\} (\S+)$'

TRIGGERS = ("healthy", "flaky", "refusing", "ordered")

pytestmark = pytest.mark.timeout(300)

Refuses = Callable[[int, int], bool]
"""Whether an event of that number is refused at that attempt, both counted from 1."""


class Taking:
    """Answers at one path, and notes what it took in which order.

    ``offered`` is what it was given, as often as its sender sent it: each is an event of its own
    to the books.
    """

    def __init__(self, refuses: Refuses = lambda _, __: False) -> None:
        self.taken: Counter[str] = Counter()
        self.offered: set[tuple[str, str]] = set()
        self.out_of_turn: list[str] = []
        self._refuses = refuses
        self._attempts: Counter[str] = Counter()

    def __call__(self, request: Request) -> Answer:
        name = request.header("ce-id") or ""
        self.offered.add((name, request.header(f"ce-{SENDING}") or ""))
        key, number = key_and_number(name)
        if number > 1 and not key.endswith(KEYLESS) and f"{key}/{number - 1}" not in self.taken:
            self.out_of_turn.append(name)
        self._attempts[name] += 1
        if self._refuses(number, self._attempts[name]):
            return 503
        self.taken[name] += 1
        return 200


class Sender:
    """Sends events of three keys and of none, each to either ingress until it is accepted."""

    def __init__(self, name: str, ingresses: Sequence[RunningMesh]) -> None:
        self.accepted: list[str] = []
        self.refused = 0
        self._keys = [f"{name}-{each}" for each in ("a", "b", "c", KEYLESS)]
        self._doors = itertools.cycle(ingresses)

    async def run(self, stop: asyncio.Event) -> None:
        for number in itertools.count(1):
            for key in self._keys:
                await self._send(key, number)
                if stop.is_set():
                    return

    async def _send(self, key: str, number: int) -> None:
        sendings = itertools.count(1)
        while not await accepts(next(self._doors), event(key, number, next(sendings))):
            self.refused += 1
            await asyncio.sleep(REPEATS_AFTER)
        self.accepted.append(f"{key}/{number}")
        await asyncio.sleep(PACE)


def event(key: str, number: int, sending: int) -> Event:
    attributes = {
        "specversion": "1.0",
        "id": f"{key}/{number}",
        "source": "/tests",
        "type": "com.example.thing",
        SENDING: str(sending),
    }
    if not key.endswith(KEYLESS):
        attributes["partitionkey"] = key
    return Event(attributes, b'{ "n": %d }' % number)


def key_and_number(id: str) -> tuple[str, int]:
    key, _, number = id.rpartition("/")
    return key, int(number)


async def accepts(ingress: RunningMesh, event: Event) -> bool:
    try:
        return await ingress.send(BROKER, event) == 202
    except (OSError, http.client.HTTPException):
        return False


# --- the processes -------------------------------------------------------------------------


Store = KafkaServer | RabbitMQServer


@pytest.fixture(params=["kafka", "rabbitmq"])
def store(request: pytest.FixtureRequest) -> Store:
    """Return a server of the test's own."""
    found: Store = request.getfixturevalue(f"{request.param}_server")
    return found


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[str]:
    """Run the server and yield the URL of the channel on it."""
    await asyncio.to_thread(store.start)
    try:
        if isinstance(store, KafkaServer):
            topic = "default.topic.partitions=12&default.topic.replication.factor=1"
            yield f"kafka://{store.address}?{topic}"
        else:
            yield store.listeners.url()
    finally:
        await asyncio.to_thread(store.stop)


@asynccontextmanager
async def all_running(parts: Sequence[RunningMesh]) -> AsyncIterator[AsyncExitStack]:
    """Run these, and what is put on top of them; a failure has the output of each."""
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(each) for each in parts))
        yield stack


async def begins_to_deliver(dispatcher: RunningMesh) -> None:
    """Return once the dispatcher delivers, since it is given a share."""
    so_far = -1
    for _ in range(2):
        async with asyncio.timeout(SOON):
            while (made := await attempts(dispatcher)) <= max(so_far, 0):
                await asyncio.sleep(0.05)
        so_far = made


async def attempts(dispatcher: RunningMesh) -> int:
    """Return how many deliveries to the healthy subscriber this process has made."""
    answer = await dispatcher.request("GET", "/metrics", port=dispatcher.admin_port)
    found = re.findall(_ATTEMPTS, answer.body.decode(), flags=re.MULTILINE)
    return sum(int(float(each)) for each in found)


async def sum_of_books(dispatchers: Sequence[RunningMesh], name: str) -> Counter[str]:
    """Return what the dispatchers tell of a trigger, added up."""
    told = [told_of(await each.status(), f"default/{name}") for each in dispatchers]
    fields = ("matched", "delivered", "dead_lettered", "waiting", "unaccounted")
    return Counter({field: sum(getattr(each, field) for each in told) for field in fields})


async def all_books(dispatchers: Sequence[RunningMesh]) -> Mapping[str, Counter[str]]:
    """Return the books of each trigger."""
    return {name: await sum_of_books(dispatchers, name) for name in TRIGGERS}


async def balanced_books(
    dispatchers: Sequence[RunningMesh], takers: Mapping[str, Taking], stored: int, store: Store
) -> Mapping[str, Counter[str]]:
    """Return the books of each trigger once all that is its own has matched and nothing waits.

    That is what it was offered, and on Kafka all that is ``stored``. On RabbitMQ each queue stores
    for itself: what was refused as the server was killed may be in the history, and in the queues
    of none, of some or of all triggers.
    """
    of_all = stored if isinstance(store, KafkaServer) else 0
    books: Mapping[str, Counter[str]] = {}
    try:
        async with asyncio.timeout(SOON):
            while not books or any(
                each["matched"] < max(of_all, len(takers[name].offered))
                or each["waiting"]
                or each["unaccounted"]
                for name, each in books.items()
            ):
                books = await all_books(dispatchers)
                await asyncio.sleep(0.1)
    except TimeoutError as late:
        offered = {name: len(taker.offered) for name, taker in takers.items()}
        late.add_note(f"{stored} events are stored, {offered} came, and the books are {books}")
        raise
    return books


async def all_taken(taker: Taking, wanted: Collection[str]) -> None:
    """Return once all of these are taken."""
    missing = set(wanted)
    try:
        async with asyncio.timeout(SOON):
            while missing := missing - taker.taken.keys():
                await asyncio.sleep(0.05)
    except TimeoutError as late:
        late.add_note(f"not taken: {sorted(missing)}")
        raise


async def nothing_lost(
    takers: Mapping[str, Taking], wanted: Mapping[str, Collection[str]], dispatcher: RunningMesh
) -> None:
    """Return once each trigger has taken all that it is to take."""
    for name, taker in takers.items():
        try:
            await all_taken(taker, wanted[name])
        except TimeoutError as lost:
            lost.add_note(f"the trigger is {name}")
            for missing in sorted(set(wanted[name]) - taker.taken.keys())[:5]:
                lost.add_note(await what_is_known(dispatcher, missing))
            raise


async def what_is_known(dispatcher: RunningMesh, id: str) -> str:
    """Return what the admin API tells of an event: where it is stored, and its dead letters."""
    path = f"/api/v1/brokers/{BROKER}/events?id={id}"
    stored = await dispatcher.request("GET", path, port=dispatcher.admin_port)
    letters = [
        each.trigger for each in await dead_letters(dispatcher, BROKER, 0) if each.event.id == id
    ]
    return f"{id} is stored as {stored.body.decode()}, and a dead letter of {letters}"


def all_accepted(senders: Sequence[Sender]) -> set[str]:
    return {name for sender in senders for name in sender.accepted}


async def test_with_processes_that_come_and_go_nothing_is_lost_and_the_order_is_kept(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = Taking()
    flaky = Taking(lambda number, attempt: number % 5 == 0 and attempt <= 2)
    refusing = Taking(lambda number, _: number % 10 == 0)
    ordered = Taking(lambda number, attempt: number % 7 == 0 and attempt == 1)
    takers = {"healthy": healthy, "flaky": flaky, "refusing": refusing, "ordered": ordered}
    async with Subscriber() as subscriber, running(store) as channel:
        text = manifest(
            broker(),
            steady(),
            trigger("healthy", subscriber.answers("/healthy", healthy)),
            trigger("flaky", subscriber.answers("/flaky", flaky), backoff="PT0.3S", pauses=False),
            trigger("refusing", subscriber.answers("/refusing", refusing), retry=2, pauses=False),
            trigger("ordered", subscriber.answers("/ordered", ordered), ordered=True),
        )

        def part(kind: str, number: int) -> RunningMesh:
            folder = tmp_path / f"{kind}-{number}"
            return RunningMesh(folder, text, part=kind, environment={"CEMESH_CHANNEL": channel})

        ingresses = [part("ingress", number) for number in range(2)]
        one, two, three, four = [part("dispatcher", number) for number in range(4)]
        senders = [Sender(f"sender-{number}", ingresses) for number in range(SENDERS)]

        stop = asyncio.Event()
        async with all_running([*ingresses, one, two, three]) as stack:
            async with asyncio.TaskGroup() as sending:
                for sender in senders:
                    sending.create_task(sender.run(stop))
                await asyncio.gather(*map(begins_to_deliver, (one, two, three)))

                await stack.enter_async_context(four)
                await begins_to_deliver(four)
                assert await one.terminate() == 0
                await two.kill9()
                await asyncio.to_thread(store.kill)
                await asyncio.to_thread(store.start)
                await all_taken(healthy, all_accepted(senders))

                await two.start()
                await begins_to_deliver(two)
                await three.kill9()
                await all_taken(healthy, all_accepted(senders))
                stop.set()

            stored = (await two.status()).brokers[0].accepted
            accepted = all_accepted(senders)
            refused = {each for each in accepted if key_and_number(each)[1] % 10 == 0}
            wanted = dict.fromkeys(TRIGGERS, accepted) | {"refusing": accepted - refused}
            try:
                await nothing_lost(takers, wanted, two)
            except TimeoutError as lost:
                books = await all_books((two, four))
                lost.add_note(f"of {stored} stored events, the books are {books}")
                raise
            letters = await dead_letters_of(two, BROKER, refused, within=SOON)
            books = await balanced_books((two, four), takers, stored, store)

        assert stored >= len(accepted)
        for name, taker in takers.items():
            assert books[name]["matched"] >= len(taker.offered) >= len(accepted), name
        assert {name: set(taker.taken) for name, taker in takers.items()} == wanted
        assert {letter.event.id for letter in letters} == refused
        assert ordered.out_of_turn == []
        for each in (*ingresses, one, two, three, four):
            assert not re.search("Traceback|aiokafka|aiormq|error  ", each.output()), (
                each.output_end()
            )
        tell(capsys, *what_it_cost(senders, stored, takers))


def what_it_cost(
    senders: Sequence[Sender], stored: int, takers: Mapping[str, Taking]
) -> Iterator[str]:
    """Yield what happened more than once, in words."""
    accepted = sum(len(sender.accepted) for sender in senders)
    refused = sum(sender.refused for sender in senders)
    yield f"{accepted} events were accepted, {refused} requests refused or unanswered"
    yield f"{stored - accepted} of the events are stored twice"
    for name, taker in takers.items():
        twice = taker.taken.total() - len(taker.taken)
        yield f"{name}: {twice} of {len(taker.taken)} events taken again, {twice / accepted:.2%}"
