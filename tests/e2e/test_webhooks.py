"""Signatures, credentials and consent, from the manifest's YAML to the receiver."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from tests.e2e.manifests import event
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Request, Script, Subscriber, reply

BROKER = "default/orders"
TRIGGER = "default/customer-42"

OLD = "whsec_a2V5IG9mIGN1c3RvbWVyIDQyLCBhbiBleGFtcGxlIG9ubHk="
NEW = "whsec_bmV4dCBrZXkgb2YgY3VzdG9tZXIgNDIsIGFuIGV4YW1wbGU="
TOKEN = {"access_token": "gr4nted", "token_type": "Bearer", "expires_in": 3600}

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(120)


def documented(subscriber: Subscriber) -> str:
    """Return the manifests of docs/webhooks.md, whose receiver and token endpoint are here."""
    page = Path("docs/webhooks.md").read_text()
    found = re.search(r"<!-- file: mesh.yaml -->\n```yaml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    text = found[1].replace("https://hooks.example.com/orders", subscriber.url("/orders"))
    text = text.replace("https://login.example.com/oauth2/token", subscriber.url("/token"))
    text = text.replace("clientSecret: example", "clientSecret: c0nfidential")
    return text.replace("{format: json}", "{format: json, retry: 0}")


class Receiver:
    """What the server at ``/orders`` answers: consent, and a 200 to what carries the token."""

    def __init__(self) -> None:
        self.consents = False

    def answer(self, request: Request) -> int | Script:
        if request.method == "OPTIONS":
            return reply(200, {"WebHook-Allowed-Origin": "*"}) if self.consents else 405
        return 200 if request.header("authorization") == "Bearer gr4nted" else 401


async def deliveries(subscriber: Subscriber, requests: int) -> list[Request]:
    received = await subscriber.received_at("/orders", requests, within=30)
    return [each for each in received if each.method == "POST"]


async def test_events_wait_for_consent_and_a_token_and_go_out_signed(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        receiver = Receiver()
        subscriber.answers("/orders", receiver.answer)
        subscriber.answers("/token", [503, reply(200, {}, json.dumps(TOKEN).encode())])
        async with running_mesh(documented(subscriber)) as mesh:
            for number in ("1", "2", "3"):
                assert await mesh.send(BROKER, event(number)) == 202
            waiting = await mesh.until(lambda status: told_of(status, TRIGGER).state == "held")
            assert "does not consent" in (told_of(waiting, TRIGGER).why or "")
            receiver.consents = True

            sent = await deliveries(subscriber, 5)

            for each in sent:
                Webhook(OLD).verify(each.body, dict(each.headers))
                assert each.header("webhook-request-origin") == "mesh.example.com"
            assert sorted(json.loads(each.body)["id"] for each in sent) == ["1", "2", "3"]
            assert len({each.header("webhook-id") for each in sent}) == 3
            status = await mesh.until(lambda status: told_of(status, TRIGGER).delivered == 3)
            assert told_of(status, TRIGGER).dead_lettered == 0
            assert len(await subscriber.received_at("/token", 2)) == 2
        for secret in ("gr4nted", "c0nfidential", OLD.removeprefix("whsec_")):
            assert secret not in mesh.output()


async def test_a_subscriber_consents_later_by_calling_back(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        subscriber.answers("/orders", Receiver().answer)
        subscriber.answers("/token", [reply(200, {}, json.dumps(TOKEN).encode())])
        manifests = documented(subscriber).replace(
            "origin: mesh.example.com",
            "origin: mesh.example.com\n    callback: https://mesh.example.com/",
        )
        async with running_mesh(manifests) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            (asked, *_) = await subscriber.received_at("/orders")
            callback = asked.header("webhook-request-callback") or ""
            path = callback.removeprefix("https://mesh.example.com")
            assert path.startswith("/webhooks/consent/")

            answer = await mesh.request("GET", path)

            assert answer.status == 200
            await mesh.until(lambda status: told_of(status, TRIGGER).delivered == 1)
            assert path not in mesh.output()


async def test_after_a_crash_the_subscriber_is_asked_again_and_the_first_delivery_waits_for_it(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        subscriber.answers("/orders", Receiver().answer)
        subscriber.answers("/token", [reply(200, {}, json.dumps(TOKEN).encode())])
        manifests = documented(subscriber).replace(
            "origin: mesh.example.com",
            "origin: mesh.example.com\n    callback: https://mesh.example.com/",
        )
        async with running_mesh(manifests) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            asked_at_first = await called_back_at(subscriber, 1)
            await mesh.kill9()
            await mesh.start()

            # Nothing was granted yet: the event that waits has it asked for.
            asked_anew = await called_back_at(subscriber, 2)
            assert (await mesh.request("GET", asked_at_first)).status == 404
            assert (await mesh.request("GET", asked_anew)).status == 200
            await mesh.until(lambda status: told_of(status, TRIGGER).delivered == 1)
            await mesh.kill9()
            await mesh.start()

            # Something was, to the process that is gone.
            assert await mesh.send(BROKER, event("2")) == 202
            asked_last = await called_back_at(subscriber, 3)
            await mesh.until(lambda status: told_of(status, TRIGGER).state == "held")
            assert posted(subscriber) == {"1"}
            assert (await mesh.request("GET", asked_last)).status == 200
            await mesh.until(lambda status: told_of(status, TRIGGER).delivered == 2)

            assert posted(subscriber) == {"1", "2"}


async def called_back_at(subscriber: Subscriber, questions: int) -> str:
    """Return the path in the last of so many questions that were asked by different processes."""
    async with asyncio.timeout(30):
        while len(paths := paths_told(subscriber)) < questions:
            await asyncio.sleep(0.02)
    return paths[-1]


def paths_told(subscriber: Subscriber) -> list[str]:
    asked = [each for each in subscriber.received if each.method == "OPTIONS"]
    told = [each.header("webhook-request-callback") or "" for each in asked]
    return list(dict.fromkeys(each.removeprefix("https://mesh.example.com") for each in told))


def posted(subscriber: Subscriber) -> set[str]:
    sent = [each for each in subscriber.received if (each.method, each.path) == ("POST", "/orders")]
    return {json.loads(each.body)["id"] for each in sent}


async def test_a_key_is_added_while_the_mesh_runs(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        receiver = Receiver()
        receiver.consents = True
        subscriber.answers("/orders", receiver.answer)
        subscriber.answers("/token", [reply(200, {}, json.dumps(TOKEN).encode())])
        async with running_mesh(documented(subscriber)) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            await deliveries(subscriber, 2)

            both = mesh.manifest.read_text().replace(f"now: {OLD}", f"now: {OLD}\n  next: {NEW}")
            mesh.manifest.write_text(both)
            await mesh.until(lambda _: "change taken up" in mesh.output())
            assert await mesh.send(BROKER, event("2")) == 202
            first, second = await deliveries(subscriber, 4)

            assert len((first.header("webhook-signature") or "").split(" ")) == 1
            for key in (OLD, NEW):
                Webhook(key).verify(second.body, dict(second.headers))
            assert len(await subscriber.received_at("/token")) == 1
