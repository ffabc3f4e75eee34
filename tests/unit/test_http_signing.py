from __future__ import annotations

import asyncio
import base64
import os
import runpy
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from broker.errors import CemeshError
from broker.event import Event
from broker.policy import Credentials, Network, OAuth2, Signing
from broker.ports import Sink, SinkOptions
from broker.trigger import ContentMode, Target
from sinks.http import HttpSinks
from sinks.http.signing import Signer, webhook_id
from tests.services.pages import as_run
from tests.services.subscribers import Request, Subscriber, after, reply

SOON = timedelta(minutes=1)

EVENT = Event.checked(
    {"specversion": "1.0", "id": "a.1", "source": "/orders", "type": "order.placed"},
    b'{"a": 1,  "a": "\xc3\xbc"}\n',
)


def symmetric(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def private(key: bytes) -> str:
    return f"whsk_{base64.b64encode(key).decode()}"


OLD, NEW = symmetric(bytes(range(24))), symmetric(bytes(range(64)))


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def sinks() -> AsyncIterator[HttpSinks]:
    async with HttpSinks() as entered:
        yield entered


def signed(
    sinks: HttpSinks, subscriber: Subscriber, *keys: str, mode: ContentMode | None = None
) -> Sink:
    options = SinkOptions(
        namespace="shop",
        timeout=SOON,
        content_mode=mode,
        signing=Signing(keys=keys),
        network=Network(loopback=True),
    )
    return sinks.sink(Target(url=subscriber.url()), options)


def verify(key: str, request: Request) -> None:
    """Verify as a receiver does that has the library."""
    Webhook(key).verify(request.body, dict(request.headers), json_parse=False)


class Clock:
    """The time of the wall, which a test puts forward."""

    ahead = 0
    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        return time.time() + self.ahead


async def test_what_waited_for_leave_is_signed_when_it_is_sent(
    sinks: HttpSinks, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("sinks.http.sink.time", clock)
    late = asyncio.Event()
    token = b'{"access_token": "one", "token_type": "bearer"}'
    subscriber.answers("/token", [after(late, reply(200, {}, token))])
    oauth2 = OAuth2(token_url=subscriber.url("/token"), client_id="mesh", client_secret="sesame")
    options = SinkOptions(
        namespace="shop",
        timeout=SOON,
        signing=Signing(keys=(OLD,)),
        credentials=Credentials(oauth2=oauth2),
        network=Network(loopback=True),
    )
    attempt = asyncio.create_task(sinks.sink(Target(url=subscriber.url()), options).attempt(EVENT))
    await subscriber.received_at("/token")

    clock.ahead = 400
    late.set()
    await attempt

    (sent,) = await subscriber.received_at("/")
    assert time.time() + 390 < int(sent.header("webhook-timestamp") or "")


# --- what receivers verify -----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("key", [OLD, NEW])
async def test_a_receiver_verifies_the_request_with_the_shared_key(
    sinks: HttpSinks, subscriber: Subscriber, key: str, mode: ContentMode
) -> None:
    await signed(sinks, subscriber, key, mode=mode).attempt(EVENT)

    (request,) = subscriber.received
    verify(key, request)


async def test_a_request_without_a_body_is_signed_too(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    await signed(sinks, subscriber, OLD).attempt(EVENT.without_data())

    (request,) = subscriber.received
    assert request.body == b""
    verify(OLD, request)


async def test_a_receiver_refuses_another_key_and_another_body(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    await signed(sinks, subscriber, OLD).attempt(EVENT)

    (request,) = subscriber.received
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verify(NEW, request)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(OLD).verify(request.body + b" ", dict(request.headers), json_parse=False)


async def test_while_keys_change_receivers_with_either_of_them_verify(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    await signed(sinks, subscriber, NEW, OLD).attempt(EVENT)

    (request,) = subscriber.received
    verify(NEW, request)
    verify(OLD, request)


async def test_a_receiver_verifies_with_the_public_key_of_ed25519(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    seed = os.urandom(32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    await signed(sinks, subscriber, OLD, private(seed)).attempt(EVENT)

    (request,) = subscriber.received
    by_secret, by_private = (request.header("webhook-signature") or "").split(" ")
    version, _, signature = by_private.partition(",")
    content = f"{request.header('webhook-id')}.{request.header('webhook-timestamp')}.".encode()
    verifier = Ed25519PublicKey.from_public_bytes(public)
    verifier.verify(base64.b64decode(signature), content + request.body)
    with pytest.raises(InvalidSignature):
        verifier.verify(base64.b64decode(signature), content + request.body + b" ")
    assert version == "v1a"
    assert by_secret.startswith("v1,")
    verify(OLD, request)


@pytest.fixture
def is_signed(tmp_path: Path) -> Callable[[str, Mapping[str, str], bytes], bool]:
    """Return the receiver of the documentation."""
    as_run(Path("docs/webhooks.md").read_text(), tmp_path)
    found: Callable[[str, Mapping[str, str], bytes], bool]
    found = runpy.run_path(str(tmp_path / "receiver.py"))["is_signed"]
    return found


async def test_the_receiver_of_the_documentation_takes_what_is_signed_and_nothing_else(
    sinks: HttpSinks,
    subscriber: Subscriber,
    is_signed: Callable[[str, Mapping[str, str], bytes], bool],
) -> None:
    await signed(sinks, subscriber, NEW, OLD).attempt(Event(EVENT.attributes, b"\x00\xff"))
    await signed(sinks, subscriber, private(bytes(32))).attempt(EVENT)

    both, other = subscriber.received
    headers = dict(both.headers)
    old = {**headers, "webhook-timestamp": str(int(time.time()) - 400)}
    assert is_signed(OLD, headers, both.body)
    assert is_signed(NEW, headers, both.body)
    assert not is_signed(symmetric(bytes(24)), headers, both.body)
    assert not is_signed(OLD, headers, both.body + b" ")
    assert not is_signed(OLD, {**headers, "webhook-id": "evt_1"}, both.body)
    assert not is_signed(OLD, old, both.body)
    assert not is_signed(OLD, dict(other.headers), other.body)
    assert not is_signed(OLD, {}, both.body)


def test_signatures_are_those_of_the_specification() -> None:
    """The `v1a` one is the example in its section "Webhook headers"."""
    content = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    key = (
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6"
        "Kvg=="
    )
    signer = Signer(Signing(keys=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", key)))

    assert signer.signatures(content) == (
        b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= "
        b"v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TB"
        b"Ag=="
    )


# --- the id and the time -------------------------------------------------------------------


async def test_every_attempt_of_an_event_has_the_same_id_and_its_own_time(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/", [503, 200])
    sink = signed(sinks, subscriber, OLD)
    before = int(time.time())

    await sink.attempt(EVENT)
    await signed(sinks, subscriber, NEW, mode="structured").attempt(EVENT)

    first, second = subscriber.received
    assert first.header("webhook-id") == second.header("webhook-id")
    for each in (first, second):
        assert before <= int(each.header("webhook-timestamp") or "") <= time.time()


def test_the_id_is_a_digest_of_source_and_id_that_anybody_can_make() -> None:
    assert webhook_id(EVENT) == b"evt_114482b2db911f427d7b42d408bd5b73"


@pytest.mark.parametrize(
    "attributes", [{"id": "2"}, {"source": "/orders/a"}, {"id": "1", "source": "/orders\na."}]
)
def test_another_event_has_another_id(attributes: dict[str, str]) -> None:
    other = Event({**EVENT.attributes, **attributes})

    assert webhook_id(other) != webhook_id(EVENT)


def test_an_id_has_no_full_stop_which_separates_what_is_signed() -> None:
    assert b"." not in webhook_id(EVENT)


# --- keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "begins with neither whsec_"),
        (base64.b64encode(bytes(24)).decode(), "begins with neither whsec_"),
        ("whpk_" + base64.b64encode(bytes(32)).decode(), "is the public key"),
        ("whsec_" + "A" * 33, "is not base64"),
        (OLD + "\n", "is not base64"),
        ("whsec_ü" + "A" * 31, "is not base64"),
        (symmetric(bytes(23)), "is 23 bytes long, and has to be 24 to 64"),
        (symmetric(bytes(65)), "is 65 bytes long"),
        (private(bytes(31)), "is 31 bytes long, and has to be 32"),
        (private(bytes(range(64))), "belongs to another"),
    ],
)
async def test_a_key_that_is_none_is_refused_before_an_event_comes_and_not_shown(
    sinks: HttpSinks, subscriber: Subscriber, key: str, why: str
) -> None:
    with pytest.raises(CemeshError) as caught:
        signed(sinks, subscriber, OLD, key)

    assert why in str(caught.value)
    assert not key or key not in str(caught.value)


def test_keys_are_in_no_repr() -> None:
    options = SinkOptions(namespace="shop", timeout=SOON, signing=Signing(keys=(OLD,)))

    assert OLD not in repr(options)
