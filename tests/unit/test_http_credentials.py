from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from broker.event import Event
from broker.policy import ClientCertificate, Credentials, Network, OAuth2
from broker.ports import Accepted, Answer, Buried, Claim, Refused, Sink, SinkOptions
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery.delivery import Delivery
from sinks.http import HttpSinks, InvalidUrl
from tests.services.certificates import make_certificates
from tests.services.subscribers import (
    Answering,
    Headers,
    Request,
    Script,
    Subscriber,
    after,
    close,
    hang,
    reply,
)
from tests.watching import Noting

SOON = timedelta(minutes=1)
ON_LOOPBACK = Network(loopback=True)
EVENT = Event.checked({"specversion": "1.0", "id": "1", "source": "/orders", "type": "placed"})
TOKEN_HEADERS = {"Content-Type": "application/json"}


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def sinks() -> AsyncIterator[HttpSinks]:
    async with HttpSinks() as entered:
        yield entered


@dataclass
class Clock:
    """The time that tokens last in: the real one, and what a test puts forward."""

    ahead: float = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sinks.http.grants.now", clock.now)
    return clock


def options(
    credentials: Credentials, *, timeout: timedelta = SOON, network: Network = ON_LOOPBACK
) -> SinkOptions:
    return SinkOptions(namespace="shop", timeout=timeout, credentials=credentials, network=network)


def sink_with(sinks: HttpSinks, subscriber: Subscriber, credentials: Credentials) -> Sink:
    return sinks.sink(Target(url=subscriber.url("/events")), options(credentials))


def refused(answer: Answer) -> Refused:
    assert isinstance(answer, Refused)
    return answer


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


# --- headers, basic, bearer ----------------------------------------------------------------


async def test_headers_of_a_secret_go_with_every_request(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    sink = sink_with(sinks, subscriber, Credentials(headers={"X-Api-Key": "k 1", "X-Tenant": "ü"}))

    await sink.attempt(EVENT)
    await sink.attempt(EVENT)

    for request in subscriber.received:
        assert request.header("x-api-key") == "k 1"
        assert (request.header("x-tenant") or "").encode("latin-1").decode() == "ü"
        assert request.header("authorization") is None


async def test_a_password_goes_as_basic_authorization(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    basic = base64.b64encode(b"mesh:open:sesame").decode()

    await sink_with(sinks, subscriber, Credentials(basic=basic)).attempt(EVENT)

    assert subscriber.received[0].header("authorization") == f"Basic {basic}"


async def test_a_token_goes_as_bearer_authorization(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    await sink_with(sinks, subscriber, Credentials(bearer="t0ken")).attempt(EVENT)

    assert subscriber.received[0].header("authorization") == "Bearer t0ken"


async def test_a_redirect_does_not_take_credentials_elsewhere(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    async with Subscriber() as elsewhere:
        subscriber.answers("/events", [reply(307, {"Location": elsewhere.url()})])

        answer = await sink_with(sinks, subscriber, Credentials(bearer="t0ken")).attempt(EVENT)

    assert refused(answer).status == 307
    assert elsewhere.connections == 0


async def test_a_certificate_is_shown_to_the_subscriber(sinks: HttpSinks) -> None:
    certificates = make_certificates()
    certificates.server.verify_mode = ssl.CERT_REQUIRED
    certificates.server.load_verify_locations(cadata=certificates.authority)
    credentials = Credentials(certificate=certificates.client)
    async with Subscriber(tls=certificates.server) as subscriber:
        target = Target(url=subscriber.url(host="localhost"), ca_certs=certificates.authority)

        answer = await sinks.sink(target, options(credentials)).attempt(EVENT)

    assert answer == Accepted()


async def test_a_certificate_is_not_shown_to_a_token_endpoint(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one")])
    broken = ClientCertificate(certificate="none", key="none")
    credentials = Credentials(certificate=broken, oauth2=client_of(subscriber))
    target = Target(url="https://127.0.0.1/")

    told = refused(await sinks.sink(target, options(credentials)).attempt(EVENT))

    assert "certificate" in told.reason
    assert len(token_requests(subscriber)) == 1


# --- OAuth 2: asking -----------------------------------------------------------------------


def granting(token: str, **more: object) -> Script:
    body = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **more}
    return reply(200, TOKEN_HEADERS, json.dumps(body).encode())


def erring(status: int, error: str = "", headers: Headers = ()) -> Script:
    body = {"error": error, "error_description": "c0nfidential is wrong"}
    return reply(status, headers, json.dumps(body).encode())


def client_of(subscriber: Subscriber, **more: object) -> OAuth2:
    """Return a client whose token endpoint is at ``/token`` of the same server."""
    return OAuth2(
        **{  # type: ignore[arg-type]  # a test's shorthand
            "token_url": subscriber.url("/token"),
            "client_id": "mesh",
            "client_secret": "c0nfidential",
            **more,
        }
    )


def oauth2_sink(sinks: HttpSinks, subscriber: Subscriber, **more: object) -> Sink:
    return sink_with(sinks, subscriber, Credentials(oauth2=client_of(subscriber, **more)))


def tokens_sent(subscriber: Subscriber) -> list[str | None]:
    events = [each for each in subscriber.received if each.path == "/events"]
    return [each.header("authorization") for each in events]


def token_requests(subscriber: Subscriber) -> Sequence[Request]:
    return [each for each in subscriber.received if each.path == "/token"]


async def test_a_token_is_asked_for_as_rfc_6749_says(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one")])

    answer = await oauth2_sink(
        sinks,
        subscriber,
        client_id="mesh:ü",
        client_secret="c 0&",
        scopes=("events.write", "x"),
        audience="https://billing.example.com",
    ).attempt(EVENT)

    (asked,) = token_requests(subscriber)
    assert asked.method == "POST"
    assert asked.header("content-type") == "application/x-www-form-urlencoded"
    user = base64.b64decode((asked.header("authorization") or "").removeprefix("Basic "))
    assert user == b"mesh%3A%C3%BC:c+0%26"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["events.write x"],
        "audience": ["https://billing.example.com"],
    }
    assert answer == Accepted()
    assert tokens_sent(subscriber) == ["Bearer one"]


async def test_a_client_may_prove_itself_in_the_form(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one")])

    answer = await oauth2_sink(
        sinks, subscriber, client_secret="c 0&", authentication="post"
    ).attempt(EVENT)

    (asked,) = token_requests(subscriber)
    assert asked.header("authorization") is None
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["mesh"],
        "client_secret": ["c 0&"],
    }
    assert answer == Accepted()


async def test_what_is_not_asked_for_is_not_in_the_request(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one")])

    await oauth2_sink(sinks, subscriber).attempt(EVENT)

    assert token_requests(subscriber)[0].body == b"grant_type=client_credentials"


async def test_however_many_deliveries_wait_there_is_one_request_for_a_token(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    asked = asyncio.Event()
    subscriber.answers("/token", [after(asked, granting("one"))])
    one, other = oauth2_sink(sinks, subscriber), oauth2_sink(sinks, subscriber)

    async with asyncio.TaskGroup() as attempts:
        for sink in (one, other) * 20:
            attempts.create_task(sink.attempt(EVENT))
        await subscriber.received_at("/token")
        asked.set()

    assert len(token_requests(subscriber)) == 1
    assert tokens_sent(subscriber) == ["Bearer one"] * 40


async def test_another_client_has_tokens_of_its_own(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one"), granting("two")])

    await oauth2_sink(sinks, subscriber).attempt(EVENT)
    await oauth2_sink(sinks, subscriber, client_secret="changed").attempt(EVENT)

    assert tokens_sent(subscriber) == ["Bearer one", "Bearer two"]


async def test_a_delivery_that_gives_up_waiting_does_not_end_the_request_for_others(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    asked = asyncio.Event()
    subscriber.answers("/token", [after(asked, granting("one"))])
    credentials = Credentials(oauth2=client_of(subscriber))
    target = Target(url=subscriber.url("/events"))
    hasty = sinks.sink(target, options(credentials, timeout=timedelta(seconds=0.2)))

    patient = asyncio.create_task(oauth2_sink(sinks, subscriber).attempt(EVENT))
    late = refused(await hasty.attempt(EVENT))
    asked.set()

    assert await patient == Accepted()
    assert late == Refused(
        reason="no answer within 0.2 s: waiting for the token endpoint", untried=True
    )
    assert len(token_requests(subscriber)) == 1


async def test_a_delivery_that_is_broken_off_does_not_end_the_request_for_others(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    asked = asyncio.Event()
    subscriber.answers("/token", [after(asked, granting("one"))])
    sink = oauth2_sink(sinks, subscriber)
    first = asyncio.create_task(sink.attempt(EVENT))
    await subscriber.received_at("/token")
    second = asyncio.create_task(sink.attempt(EVENT))

    first.cancel()
    asked.set()

    assert await second == Accepted()
    assert len(token_requests(subscriber)) == 1


async def test_sinks_that_are_left_ask_for_nothing_more(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.http.oauth2._TIMEOUT", timedelta(hours=1))
    subscriber.answers("/token", [hang()])
    async with asyncio.timeout(30), HttpSinks() as sinks:
        attempt = asyncio.create_task(oauth2_sink(sinks, subscriber).attempt(EVENT))
        await subscriber.received_at("/token")
        attempt.cancel()

    await subscriber.all_closed()


async def test_a_token_endpoint_is_trusted_by_what_all_trust_and_not_by_the_subscribers_own(
    sinks: HttpSinks, subscriber: Subscriber, tmp_path: Path
) -> None:
    certificates = make_certificates()
    async with Subscriber(tls=certificates.server) as endpoint:
        endpoint.answers("/token", [granting("one")])
        credentials = Credentials(
            oauth2=client_of(endpoint, token_url=endpoint.url("/token", host="localhost"))
        )
        target = Target(url=subscriber.url("/events"), ca_certs=certificates.authority)
        by_all = Network(loopback=True, ca_certs=certificates.ca_file(tmp_path))

        not_trusted = await sinks.sink(target, options(credentials)).attempt(EVENT)
        trusted = await sinks.sink(target, options(credentials, network=by_all)).attempt(EVENT)

    assert "certificate is not trusted" in refused(not_trusted).reason
    assert trusted == Accepted()
    assert tokens_sent(subscriber) == ["Bearer one"]


# --- OAuth 2: renewing ---------------------------------------------------------------------


async def test_a_token_is_renewed_before_it_ends_and_no_delivery_waits_for_that(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    renewed = asyncio.Event()
    subscriber.answers("/token", [granting("one", expires_in=100), after(renewed, granting("two"))])
    sink = oauth2_sink(sinks, subscriber)
    await sink.attempt(EVENT)

    clock.ahead = 85
    while_asking = await sink.attempt(EVENT)
    await subscriber.received_at("/token", 2)
    renewed.set()
    async with asyncio.timeout(30):
        while tokens_sent(subscriber)[-1] != "Bearer two":
            await sink.attempt(EVENT)

    assert while_asking == Accepted()
    assert tokens_sent(subscriber)[:2] == ["Bearer one"] * 2
    assert len(token_requests(subscriber)) == 2


async def test_a_token_that_has_ended_is_not_sent(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/token", [granting("one", expires_in="100"), granting("two")])
    sink = oauth2_sink(sinks, subscriber)
    await sink.attempt(EVENT)

    clock.ahead = 99
    await sink.attempt(EVENT)

    assert tokens_sent(subscriber) == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("expires_in", [0, -5])
async def test_a_token_that_lasts_no_time_serves_one_delivery(
    sinks: HttpSinks, subscriber: Subscriber, expires_in: int
) -> None:
    subscriber.answers("/token", [granting("one", expires_in=expires_in), granting("two")])
    sink = oauth2_sink(sinks, subscriber)

    answers = [await sink.attempt(EVENT), await sink.attempt(EVENT)]

    assert answers == [Accepted()] * 2
    assert tokens_sent(subscriber) == ["Bearer one", "Bearer two"]


async def test_a_token_that_does_not_say_how_long_it_lasts_is_kept(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one", expires_in=None), granting("two")])
    sink = oauth2_sink(sinks, subscriber)

    await sink.attempt(EVENT)
    await sink.attempt(EVENT)

    assert tokens_sent(subscriber) == ["Bearer one"] * 2


async def test_a_renewal_that_fails_does_not_cost_the_token_that_is_there(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber.answers("/token", [granting("one", expires_in=100), 500])
    sink = oauth2_sink(sinks, subscriber)
    await sink.attempt(EVENT)

    clock.ahead = 85
    answers = [await sink.attempt(EVENT)]
    await eventually(lambda: "not renewed" in caplog.text)
    answers += [await sink.attempt(EVENT) for _ in range(3)]

    assert answers == [Accepted()] * 4
    assert tokens_sent(subscriber) == ["Bearer one"] * 5
    assert len(token_requests(subscriber)) == 2


# --- OAuth 2: 401 --------------------------------------------------------------------------


async def test_a_401_to_a_token_that_was_kept_is_answered_with_a_new_one(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one"), granting("two")])
    subscriber.answers("/events", [200, 401, 200])
    sink = oauth2_sink(sinks, subscriber)
    await sink.attempt(EVENT)

    answer = await sink.attempt(EVENT)

    assert answer == Accepted()
    assert tokens_sent(subscriber) == ["Bearer one", "Bearer one", "Bearer two"]


async def test_a_401_to_a_token_just_made_is_the_subscribers_word(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting("one")])
    subscriber.answers("/events", [401])

    answer = await oauth2_sink(sinks, subscriber).attempt(EVENT)

    assert refused(answer).status == 401
    assert len(token_requests(subscriber)) == 1


async def test_a_subscriber_that_answers_401_to_all_does_not_cost_a_token_each_time(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [granting(str(each)) for each in range(9)])
    subscriber.answers("/events", [401])
    sink = oauth2_sink(sinks, subscriber)

    answers = [await sink.attempt(EVENT) for _ in range(5)]

    assert [refused(each).status for each in answers] == [401] * 5
    assert len(token_requests(subscriber)) == 2


async def test_deliveries_that_are_all_refused_at_once_share_the_new_token(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    def judge(request: Request) -> int:
        return 401 if revoked and request.header("authorization") == "Bearer one" else 200

    revoked = False
    subscriber.answers("/token", [granting("one"), granting("two")])
    subscriber.answers("/events", judge)
    sink = oauth2_sink(sinks, subscriber)
    await sink.attempt(EVENT)

    revoked = True
    answers = await asyncio.gather(*(sink.attempt(EVENT) for _ in range(20)))

    assert list(answers) == [Accepted()] * 20
    assert len(token_requests(subscriber)) == 2


# --- OAuth 2: failing ----------------------------------------------------------------------

NOT_UTF8 = b'{"access_token": "\xff", "token_type": "bearer"}'
DEEP = b'{"access_token": "one", "token_type": "bearer", "error": "", "x": ' + b"[" * 100_000
NO_DATE = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (erring(400, "invalid_client"), "answered 400 Bad Request invalid_client"),
        (erring(401, "c0nfidential"), "answered 401 Unauthorized"),
        (reply(403, {}, b"<html>"), "answered 403 Forbidden"),
        (reply(302, {"Location": "/"}), "answered 302 Found"),
        (reply(200, {}, b"{}"), "answered 200, but not with a token"),
        (reply(200, {}, b"\xff"), "answered 200, but not with a token"),
        (reply(200, {}, NOT_UTF8), "answered 200, but not with a token"),
        (reply(200, {}, DEEP), "answered 200, but not with a token"),
        (reply(400, {}, DEEP), "answered 400 Bad Request"),
        (erring(503, headers={"Retry-After": NO_DATE}), "answered 503 Service Unavailable"),
        (granting("x" * 100_000), "answered with a token that no header can carry"),
        (granting("one", token_type="mac"), "answered with a token that is not of the type bearer"),
        (granting("one\r\nx: y"), "answered with a token that no header can carry"),
        (granting(""), "answered with a token that no header can carry"),
        (close(), "the connection was closed before the answer"),
    ],
)
async def test_a_token_endpoint_that_fails_is_a_reason_to_try_again(
    sinks: HttpSinks, subscriber: Subscriber, answer: Script, why: str
) -> None:
    subscriber.answers("/token", [answer])

    told = refused(await oauth2_sink(sinks, subscriber).attempt(EVENT))

    assert told.reason.startswith(f"the token endpoint {subscriber.url('/token')}")
    assert told.reason.endswith(why)
    assert (told.status, told.untried, told.body) == (None, True, b"")
    assert tokens_sent(subscriber) == []


async def test_the_query_of_a_token_endpoint_is_not_told(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    url = subscriber.answers("/token?key=c0nfidential", [500])

    told = refused(await oauth2_sink(sinks, subscriber, token_url=url).attempt(EVENT))

    assert told.reason == (
        f"the token endpoint {subscriber.url('/token')} answered 500 Internal Server Error"
    )


async def test_a_token_endpoint_that_fails_is_left_alone_for_a_while(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/token", [erring(400, "invalid_client"), granting("one")])
    sink = oauth2_sink(sinks, subscriber)

    first = await asyncio.gather(*(sink.attempt(EVENT) for _ in range(50)))
    second = await asyncio.gather(*(sink.attempt(EVENT) for _ in range(50)))

    assert len(token_requests(subscriber)) == 1
    waits = [refused(each).retry_after or timedelta() for each in (*first, *second)]
    assert all(timedelta() < each <= timedelta(seconds=1) for each in waits)
    clock.ahead = 1
    assert await sink.attempt(EVENT) == Accepted()


async def test_each_failure_in_a_row_doubles_the_wait_up_to_a_minute(
    sinks: HttpSinks, subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.answers("/token", [*[500] * 8, granting("one", expires_in=0), 500])
    sink = oauth2_sink(sinks, subscriber)
    waits = []

    for _ in range(10):
        answer = await sink.attempt(EVENT)
        wait = timedelta() if isinstance(answer, Accepted) else answer.retry_after
        assert wait is not None
        waits.append(round(wait.total_seconds()))
        clock.ahead += waits[-1]

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 0, 1]


async def test_a_token_endpoint_says_itself_when_to_come_again(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers("/token", [erring(503, headers={"Retry-After": "20"})])

    told = refused(await oauth2_sink(sinks, subscriber).attempt(EVENT))

    assert told.retry_after is not None
    assert timedelta(seconds=19) < told.retry_after <= timedelta(seconds=20)


async def test_a_token_endpoint_that_can_be_nowhere_is_refused_before_an_event_comes(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    with pytest.raises(InvalidUrl, match="no token can be asked for: the URL holds a user name"):
        oauth2_sink(sinks, subscriber, token_url="https://user:c0nfidential@auth.test/")


async def test_a_token_endpoint_is_only_where_connections_may_lead(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    credentials = Credentials(oauth2=client_of(subscriber))
    guarded = options(credentials, network=Network())

    told = refused(await sinks.sink(Target(url=subscriber.url()), guarded).attempt(EVENT))

    assert told.reason.startswith(f"the token endpoint {subscriber.url('/token')}: ")
    assert subscriber.connections == 0


# --- what is secret stays so ---------------------------------------------------------------

SECRETS = ("k3y-of-the-header", "s3same-open", "be4rer-token", "c0nfidential", "gr4nted-token")
EVERY_KIND = {
    "headers": Credentials(headers={"X-Api-Key": SECRETS[0]}),
    "basic": Credentials(basic=base64.b64encode(b"mesh:s3same-open").decode()),
    "bearer": Credentials(bearer=SECRETS[2]),
    "oauth2": Credentials(),
}


def echo(status: int, headers: Headers = (), padding: int = 0) -> Answering:
    """Answer with the request's own headers in the body, as careless gateways do."""

    def answer(request: Request) -> Script:
        told = [value for name, value in request.headers if name.lower() in CARRY_SECRETS]
        words = " ".join(told).split(" ")
        plain = [base64.b64decode(each).decode() for each in words if each.endswith("=")]
        return reply(status, headers, b"." * padding + "\n".join([*told, *plain]).encode())

    return answer


CARRY_SECRETS = ("authorization", "x-api-key")


@asynccontextmanager
async def everything_told(caplog: pytest.LogCaptureFixture) -> AsyncIterator[list[str]]:
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        yield told
    told += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]


@pytest.mark.parametrize("padding", [0, 1015])
@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_no_secret_is_told_though_the_subscriber_repeats_it(
    sinks: HttpSinks,
    subscriber: Subscriber,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    status: int,
    padding: int,
) -> None:
    credentials = EVERY_KIND[kind]
    if kind == "oauth2":
        credentials = Credentials(oauth2=client_of(subscriber))
    subscriber.answers("/token", [granting("gr4nted-token")])
    subscriber.answers("/events", echo(status, padding=padding))
    target = Target(url=subscriber.url("/events"))
    trigger = Trigger(
        key="shop/orders",
        broker="shop/default",
        subscriber=target,
        delivery=DeliveryPolicy(retry=0, credentials=credentials),
    )
    watch = Noting()
    sink = sinks.sink(target, options(credentials))

    async with everything_told(caplog) as told:
        delivery = Delivery(trigger, subscriber=sink, dead_letter=None, emit=_nowhere, watch=watch)
        step = await delivery.step(
            Claim(
                event=EVENT,
                attempts=0,
                condemned=None,
                position=None,
                accepted_at=datetime.now(UTC),
            )
        )

    assert isinstance(step, Buried)
    assert b"**" in step.why.body
    told += [repr(step), repr(watch.attempts), repr(sink), repr(trigger), repr(credentials)]
    for secret in SECRETS:
        assert not any(_part(secret) in each for each in told), secret


def _part(secret: str) -> str:
    """Return the beginning of a secret, as it would be left if it were cut."""
    return secret[:7]


async def _nowhere(_: Sequence[Event]) -> None:
    raise AssertionError("nothing is to be emitted")


async def test_a_reply_that_is_none_does_not_tell_the_token_either(
    sinks: HttpSinks, subscriber: Subscriber
) -> None:
    subscriber.answers(
        "/events",
        lambda request: reply(
            200,
            {"Content-Type": f"application/cloudevents+{request.header('authorization')}"},
            (request.header("authorization") or "").encode(),
        ),
    )

    told = refused(await sink_with(sinks, subscriber, EVERY_KIND["bearer"]).attempt(EVENT))

    assert "***" in told.reason
    assert SECRETS[2] not in told.reason
    assert told.body == b"Bearer ***"


async def test_a_token_endpoint_that_fails_tells_nothing_of_the_client(
    sinks: HttpSinks, subscriber: Subscriber, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    subscriber.answers("/token", in_turn(granting("gr4nted-token"), echo(400)))
    sink = oauth2_sink(sinks, subscriber)

    async with everything_told(caplog) as told:
        await sink.attempt(EVENT)
        clock.ahead = 3000
        await sink.attempt(EVENT)
        await eventually(lambda: "not renewed" in caplog.text)
        clock.ahead = 4000
        told.append(repr(await sink.attempt(EVENT)))

    assert any("answered 400 Bad Request" in each for each in told)
    for secret in SECRETS:
        assert not any(_part(secret) in each for each in told), secret


def in_turn(first: Script, then: Answering) -> Answering:
    answers = iter([first])

    def answer(request: Request) -> int | Script:
        return next(answers, None) or then(request)

    return answer
