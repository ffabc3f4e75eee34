"""Whole meshes that deliver over connections at rest, where most attempts take no task."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from standardwebhooks.webhooks import Webhook

from broker.mesh import Mesh
from broker.policy import Batch, Consent, Credentials, OAuth2, Signing
from broker.ports import Books
from broker.trigger import DeliveryPolicy, Desired, Target, Trigger
from tests.services.subscribers import (
    Answer,
    Request,
    Script,
    Subscriber,
    after,
    close,
    raw,
    reply,
    reset,
)
from tests.unit.meshes import (
    BROKER,
    NO_WAIT,
    Store,
    install,
    make_event,
    make_mesh,
    make_trigger,
    until,
)

KEY: Final = "whsec_a2V5IG9mIGN1c3RvbWVyIDQyLCBhbiBleGFtcGxlIG9ubHk="


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    install(monkeypatch, store=store)
    return store


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


async def apply(mesh: Mesh, *triggers: Trigger) -> None:
    await mesh.apply(
        Desired(brokers={BROKER.key: BROKER}, triggers={each.key: each for each in triggers})
    )


async def settled(mesh: Mesh, trigger: Trigger, events: int) -> Books:
    """Return the trigger's books once it is done with so many events."""
    channel = mesh.channel(BROKER.key)
    async with asyncio.timeout(30):
        while True:
            books = (await channel.books())[trigger.key]
            if books.matched == events and books.waiting == 0:
                return books
            await asyncio.sleep(0.005)


def id_of(request: Request) -> str:
    return request.header("ce-id") or ""


async def test_retries_replies_and_dead_letters_go_over_one_connection(
    store: Store, subscriber: Subscriber
) -> None:
    failed: set[str] = set()

    def answer(request: Request) -> Answer:
        name = id_of(request)
        if name.startswith("bad"):
            return reply(422, {}, b"no")
        if name.startswith("late") and name not in failed:
            failed.add(name)
            return 503
        if name.startswith("asks"):
            attributes = {"specversion": "1.0", "id": f"told-{name}", "source": "/a", "type": "b"}
            return reply(200, {f"ce-{key}": value for key, value in attributes.items()})
        return 200

    policy = replace(NO_WAIT, dead_letter=Target(url=subscriber.url("/dead")))
    trigger = make_trigger(
        "orders", subscriber.answers("/", answer), delivery=policy, parallelism=1
    )
    names = [f"{kind}-{number}" for number in range(5) for kind in ("good", "late", "asks", "bad")]
    async with make_mesh() as mesh:
        await apply(mesh, trigger)
        await mesh.channel(BROKER.key).append([make_event(name) for name in names])
        books = await settled(mesh, trigger, 25)

    assert (books.delivered, books.dead_lettered) == (20, 5)
    dead = [id_of(each) for each in subscriber.received if each.path == "/dead"]
    taken = [id_of(each) for each in subscriber.received if each.path == "/"]
    assert sorted(dead) == [f"bad-{number}" for number in range(5)]
    assert sorted(taken) == sorted(
        [*names, *failed, *(f"told-asks-{number}" for number in range(5))]
    )
    assert subscriber.connections == 1


Check = Callable[[Sequence[Request]], None]


def signed(requests: Sequence[Request]) -> None:
    for each in requests:
        Webhook(KEY).verify(each.body, dict(each.headers), json_parse=False)


def carrying_the_token(requests: Sequence[Request]) -> None:
    assert {each.header("Authorization") for each in requests} == {"Bearer gr4nted"}


def consented(requests: Sequence[Request]) -> None:
    assert {each.header("WebHook-Request-Origin") for each in requests} == {"mesh.test"}


def batched(requests: Sequence[Request]) -> None:
    assert sum(len(json.loads(each.body)) for each in requests) == 20


@pytest.mark.parametrize(
    ("proof", "check"),
    [
        ({"signing": Signing(keys=(KEY,))}, signed),
        ({"credentials": Credentials(bearer="gr4nted")}, carrying_the_token),
        ({"oauth2": True}, carrying_the_token),
        ({"consent": Consent(origin="mesh.test")}, consented),
        ({"batch": Batch(max_events=4, max_wait=timedelta(milliseconds=5))}, batched),
    ],
    ids=[
        "signed",
        "with a bearer token",
        "with a token that is granted",
        "with consent",
        "batched",
    ],
)
async def test_every_delivery_proves_what_it_is_to_over_a_kept_connection(
    store: Store, subscriber: Subscriber, proof: dict[str, object], check: Check
) -> None:
    def answer(request: Request) -> Answer:
        return reply(200, {"WebHook-Allowed-Origin": "*"} if request.method == "OPTIONS" else {})

    url = subscriber.answers("/", answer)
    token = json.dumps({"access_token": "gr4nted", "token_type": "Bearer"}).encode()
    token_url = subscriber.answers("/token", [reply(200, {}, token)])
    if "oauth2" in proof:
        oauth2 = OAuth2(token_url=token_url, client_id="a", client_secret="b")
        proof = {"credentials": Credentials(oauth2=oauth2)}
    policy: DeliveryPolicy = replace(NO_WAIT, **proof)  # type: ignore[arg-type]
    trigger = make_trigger("orders", url, delivery=policy, parallelism=4)
    async with make_mesh() as mesh:
        await apply(mesh, trigger)
        await mesh.channel(BROKER.key).append([make_event(str(each)) for each in range(20)])
        books = await settled(mesh, trigger, 20)

    posts = [each for each in subscriber.received if (each.method, each.path) == ("POST", "/")]
    check(posts)
    assert books.delivered == 20
    assert subscriber.connections <= 4


def erratic(seed: int) -> Callable[[Request], Answer]:
    """Answer in every way, at various times. Those whose number ends with 7 are never taken."""
    chance = random.Random(seed)

    def answer(request: Request) -> Answer:
        if id_of(request).endswith("7"):
            return 422
        answers: list[Answer] = [
            *[200] * 8,
            503,
            close(),
            reset(),
            raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
            Script((*reply(200).actions, *close().actions)),
            reply(200, {"Connection": "close"}),
        ]
        return after(chance.random() / 50, chance.choice(answers))

    return answer


@pytest.mark.parametrize("seed", range(4))
async def test_meshes_that_are_broken_off_lose_nothing_to_an_erratic_subscriber(
    store: Store, subscriber: Subscriber, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    chance = random.Random(seed)
    policy = replace(NO_WAIT, retry=50, backoff_delay=timedelta(milliseconds=1))
    policy = replace(policy, backoff_policy="linear")
    url = subscriber.answers("/", erratic(seed))
    trigger = make_trigger("orders", url, delivery=policy, parallelism=8)
    names = [str(number) for number in range(200)]
    for some in (names[:80], names[80:160], names[160:]):
        # What is under way is broken off when it is left.
        async with make_mesh(drain_timeout=timedelta(0)) as mesh:
            await apply(mesh, trigger)
            begun = len(subscriber.received)
            await mesh.channel(BROKER.key).append([make_event(name) for name in some])
            enough = begun + chance.randrange(20, 60)
            await until(lambda enough=enough: len(subscriber.received) >= enough)  # type: ignore[misc]
            await subscriber.close_connections()

    async with make_mesh() as mesh:
        await apply(mesh, trigger)
        books = await settled(mesh, trigger, len(names))
        letters = await mesh.channel(BROKER.key).dead_letters.list()

    assert books.unaccounted == 0
    assert (books.delivered, books.dead_lettered) == (180, 20)
    assert sorted(each.event.id for each in letters) == sorted(
        name for name in names if name.endswith("7")
    )
    assert {id_of(each) for each in subscriber.received} == set(names)
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []
