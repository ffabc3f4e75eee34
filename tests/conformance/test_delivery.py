"""Delivery over real sockets: every rule of Knative's, and where ours differ on purpose.

Each holds over fresh connections, and over one that is at rest, where attempts take no task.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from urllib.parse import quote

import pytest

from broker.errors import ChannelFull, ChannelUnavailable, InvalidEvent
from broker.event import MAX_HOPS, Event
from broker.policy import Network
from broker.ports import (
    Accepted,
    Buried,
    Claim,
    Deferred,
    Outcome,
    Refusal,
    Refused,
    Settled,
    Sink,
    SinkOptions,
    Step,
    Verdict,
)
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery.delivery import Delivery
from sinks.http import HttpSinks
from tests.conformance.begun import begun_step
from tests.services.subscribers import (
    Request,
    Script,
    Subscriber,
    close,
    endless,
    hang,
    reply,
    reset,
)
from tests.watching import Noting

EVENT = Event.checked(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/orders",
        "type": "order.placed",
        "datacontenttype": "application/json",
    },
    b'{"a": 1,  "a": 1e400}\n',
)
POLICY = DeliveryPolicy(retry=2, backoff_jitter=0, timeout=timedelta(seconds=10))
DELIVERED = Settled(outcome=Outcome.DELIVERED)


def dead_lettered(*steps: Step) -> bool:
    """Whether it was one step, which settled the claim as a dead letter."""
    match steps:
        case (Settled(outcome=Outcome.DEAD_LETTERED),):
            return True
    return False


REPLY_HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "2",
    "ce-source": "/billing",
    "ce-type": "order.billed",
}
REPLY = {name.removeprefix("ce-"): value for name, value in REPLY_HEADERS.items()}


@dataclass
class Bench:
    """A subscriber, a dead-letter sink, and what a dispatcher would do with each step."""

    subscriber: Subscriber
    sinks: HttpSinks
    kept: bool = False
    policy: DeliveryPolicy = POLICY
    emitted: list[Event] = field(default_factory=list)
    emit_errors: list[Exception] = field(default_factory=list)
    watch: Noting = field(default_factory=Noting)

    def answers(self, *answers: int | Script) -> None:
        self.subscriber.answers("/", answers)

    def replacing(self, script: Script) -> Sequence[Script]:
        """Return what a fresh connection answers that replaces one at rest, if that is closed."""
        return [script] if self.kept and script in (close(), reset()) else []

    def dead_letters_answer(self, *answers: int | Script) -> None:
        url = self.subscriber.answers("/dead", answers)
        self.policy = replace(self.policy, dead_letter=Target(url=url))

    async def emit(self, events: Sequence[Event]) -> None:
        if self.emit_errors:
            raise self.emit_errors.pop(0)
        self.emitted.extend(events)

    def delivery(self, *, subscriber: str | None = None) -> Delivery:
        trigger = Trigger(
            key="shop/orders",
            broker="shop/default",
            subscriber=Target(url=subscriber or self.subscriber.url("/")),
            delivery=self.policy,
        )
        dead_letter = self.policy.dead_letter
        return Delivery(
            trigger,
            subscriber=self.sink(trigger.subscriber),
            dead_letter=None if dead_letter is None else self.sink(dead_letter),
            emit=self.emit,
            watch=self.watch,
        )

    def sink(self, target: Target) -> Sink:
        policy = self.policy
        options = SinkOptions(
            namespace="shop",
            timeout=policy.timeout,
            content_mode=policy.content_mode,
            network=Network(loopback=True),
        )
        return self.sinks.sink(target, options)

    async def steps(
        self,
        event: Event = EVENT,
        *,
        attempts: int = 0,
        condemned: Refusal | None = None,
        subscriber: str | None = None,
        then: DeliveryPolicy | None = None,
    ) -> list[Step]:
        """Take steps until the claim is done with, waiting for nothing in between.

        All but the first are by the policy ``then``, if that is given.
        """
        delivery = self.delivery(subscriber=subscriber)
        claim = Claim(
            event=event,
            attempts=attempts,
            condemned=condemned,
            accepted_at=datetime.now(UTC),
            position=None,
        )
        taken: list[Step] = []
        while True:
            step = await begun_step(delivery, claim) if self.kept else None
            step = step or await delivery.step(claim)
            taken.append(step)
            if not isinstance(step, Deferred):
                return taken
            claim = replace(claim, attempts=step.attempts, condemned=step.condemned)
            if then is not None:
                self.policy = then
                delivery = self.delivery(subscriber=subscriber)

    async def end(self, event: Event = EVENT) -> Step:
        return (await self.steps(event))[-1]

    def received(self, path: str = "/") -> list[Request]:
        return [each for each in self.subscriber.received if each.path == path]


@pytest.fixture(params=[False, True], ids=["fresh", "kept"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with Subscriber() as subscriber, HttpSinks() as sinks:
        bench = Bench(subscriber, sinks, kept=request.param)
        if bench.kept:
            await bench.sink(Target(url=subscriber.url("/first"))).attempt(EVENT)
            subscriber.received.clear()
        yield bench


def delays(steps: Sequence[Step]) -> list[float]:
    return [step.delay.total_seconds() for step in steps if isinstance(step, Deferred)]


def without_trace(request: Request) -> bytes:
    return re.sub(rb"traceparent: .*\r\n", b"", request.head) + request.body


def buried(step: Step) -> Refusal:
    assert isinstance(step, Buried)
    return step.why


# --- the request ---------------------------------------------------------------------------


async def test_a_delivery_is_a_post_with_knatives_headers_and_no_others(bench: Bench) -> None:
    assert await bench.end() == DELIVERED

    (request,) = bench.received()
    assert (request.method, request.body) == ("POST", EVENT.data)
    headers = {name.lower(): value for name, value in request.headers}
    assert len(headers) == len(request.headers)
    assert re.fullmatch(r"cemesh/\S+", headers.pop("user-agent"))
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", headers.pop("traceparent"))
    assert headers == {
        "host": f"127.0.0.1:{bench.subscriber.port}",
        "content-length": str(len(EVENT.data or b"")),
        "content-type": "application/json",
        "prefer": "reply",
        "kn-namespace": "shop",
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/orders",
        "ce-type": "order.placed",
    }


async def test_an_event_without_a_content_type_gets_none(bench: Bench) -> None:
    attributes = dict(EVENT.attributes)
    del attributes["datacontenttype"]

    await bench.end(Event.checked(attributes, b"\xff"))

    (request,) = bench.received()
    assert request.header("Content-Type") is None
    assert request.body == b"\xff"


async def test_a_policys_format_forces_the_content_mode(bench: Bench) -> None:
    bench.policy = replace(POLICY, content_mode="structured")

    await bench.end()

    (request,) = bench.received()
    assert request.header("Content-Type") == "application/cloudevents+json"
    assert request.header("ce-id") is None
    assert json.loads(request.body)["id"] == "1"


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_every_attempt_is_a_span_of_its_own_in_the_events_trace(bench: Bench) -> None:
    bench.answers(503, 503, 200)
    start = f"00-{TRACE}-00f067aa0ba902b7-00"

    await bench.end(EVENT.with_attributes({"traceparent": start}, {}))

    sent = [each.header("traceparent") or "" for each in bench.received()]
    assert all(re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-00", each) for each in sent)
    assert len({start, *sent}) == 4
    assert [each.header("ce-traceparent") for each in bench.received()] == [start] * 3


@pytest.mark.parametrize(
    "start",
    [
        "nonsense",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE}-0000000000000000-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
    ],
)
async def test_a_trace_that_is_not_valid_is_left_alone_and_not_continued(
    bench: Bench, start: str
) -> None:
    await bench.end(EVENT.with_attributes({"traceparent": start}, {}))

    (request,) = bench.received()
    assert request.header("ce-traceparent") == start
    sent = request.header("traceparent") or ""
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", sent)
    assert TRACE not in sent


async def test_a_trace_of_a_later_version_is_continued(bench: Bench) -> None:
    start = f"01-{TRACE}-00f067aa0ba902b7-01-more"

    await bench.end(EVENT.with_attributes({"traceparent": start}, {}))

    assert TRACE in (bench.received()[0].header("traceparent") or "")


# --- what is retried -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_a_2xx_is_delivered(bench: Bench, status: int) -> None:
    bench.answers(status)

    assert await bench.steps() == [DELIVERED]


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 501, 502, 503, 504, 599, 600])
async def test_a_failure_that_may_pass_is_retried_until_it_has(bench: Bench, status: int) -> None:
    bench.answers(status, status, 200)

    assert (await bench.steps())[-1] == DELIVERED
    assert len(bench.received()) == 3


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_a_failure_that_is_neither_followed_nor_retried(
    bench: Bench, status: int
) -> None:
    bench.answers(reply(status, {"Location": bench.subscriber.url("/elsewhere")}))

    assert buried(await bench.end()).status == status
    assert [each.path for each in bench.subscriber.received] == ["/"]


@pytest.mark.parametrize("status", [400, 401, 403, 405, 410, 413, 415, 422, 451, 499])
async def test_another_4xx_is_not_retried_nor_taken_for_success(bench: Bench, status: int) -> None:
    """Knative's RabbitMQ broker counts 400 and 422 as success."""
    bench.answers(status)

    assert buried(await bench.end()).status == status
    assert len(bench.received()) == 1


@pytest.mark.parametrize("script", [close(), reset(), hang(), hang(b"HTTP/1.1 200 OK\r\n")])
async def test_no_answer_is_retried(bench: Bench, script: Script) -> None:
    if script not in (close(), reset()):  # in time for the request to arrive all the same
        bench.policy = replace(POLICY, timeout=timedelta(seconds=1))
    bench.answers(script, *bench.replacing(script), 200)

    assert (await bench.steps(then=POLICY))[-1] == DELIVERED
    assert [each.verdict for each in bench.watch.attempts] == [Verdict.RETRY, Verdict.DELIVERED]


async def test_a_subscriber_that_is_not_there_is_tried_as_often_as_the_policy_says(
    bench: Bench,
) -> None:
    async with Subscriber() as gone:
        url = gone.url()

    steps = await bench.steps(subscriber=url)

    assert len(steps) == 3
    assert buried(steps[-1]) == Refusal(
        destination=url, reason="connection refused", status=None, body=b"", attempts=3
    )


async def test_a_retried_event_is_the_same_to_the_byte(bench: Bench) -> None:
    bench.answers(503, 200)

    await bench.end()

    first, second = map(without_trace, bench.received())
    assert first == second


async def test_a_url_that_can_never_be_sent_to_is_given_up_at_once(bench: Bench) -> None:
    steps = await bench.steps(subscriber="http://user:password@127.0.0.1/")

    assert "user name or password" in buried(steps[0]).reason


async def test_a_target_can_be_checked_before_an_event_comes() -> None:
    assert HttpSinks.check(Target(url="https://example.test/path")) is None
    assert "user name" in (HttpSinks.check(Target(url="http://user@example.test/")) or "")
    assert "CA certificates" in (
        HttpSinks.check(Target(url="https://a.test/", ca_certs="none")) or ""
    )


# --- how long is waited --------------------------------------------------------------------


async def test_exponential_backoff_waits_d_times_2_to_the_n_before_retry_n(bench: Bench) -> None:
    bench.answers(503)
    bench.policy = replace(POLICY, retry=4, backoff_delay=timedelta(seconds=0.2))

    assert delays(await bench.steps()) == [0.4, 0.8, 1.6, 3.2]


async def test_linear_backoff_waits_d_times_n_before_retry_n(bench: Bench) -> None:
    bench.answers(503)
    bench.policy = replace(
        POLICY, retry=4, backoff_policy="linear", backoff_delay=timedelta(seconds=2)
    )

    assert delays(await bench.steps()) == [2, 4, 6, 8]


async def test_attempts_of_before_a_restart_count(bench: Bench) -> None:
    bench.answers(503)

    steps = await bench.steps(attempts=2)

    assert len(steps) == 1
    assert buried(steps[0]).attempts == 3


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_in_seconds_lengthens_the_wait(bench: Bench, status: int) -> None:
    bench.answers(reply(status, {"Retry-After": "7"}), reply(status, {"Retry-After": "0"}))

    assert delays(await bench.steps()) == [7, 0.8]


async def test_retry_after_as_a_date_lengthens_the_wait(bench: Bench) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    bench.answers(reply(503, {"Retry-After": date}), reply(503, {"Retry-After": date}))

    assert all(500 < each <= 1000 for each in delays(await bench.steps()))


async def test_retry_after_as_a_date_that_has_passed_asks_for_nothing(bench: Bench) -> None:
    bench.answers(reply(503, {"Retry-After": "Mon, 01 Jan 1990 00:00:00 GMT"}))

    answer = await bench.sink(Target(url=bench.subscriber.url())).attempt(EVENT)

    assert isinstance(answer, Refused)
    assert answer.retry_after == timedelta(0)


@pytest.mark.parametrize(
    "value",
    ["soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "1 Jan 2030 00:00 +9" + "9" * 20],
)
async def test_a_retry_after_that_cannot_be_read_is_none(bench: Bench, value: str) -> None:
    bench.answers(reply(503, {"Retry-After": value}))

    answer = await bench.sink(Target(url=bench.subscriber.url())).attempt(EVENT)

    assert isinstance(answer, Refused)
    assert (answer.status, answer.retry_after) == (503, None)


async def test_retry_after_is_heeded_up_to_the_policys_bound(bench: Bench) -> None:
    bench.policy = replace(POLICY, retry_after_max=timedelta(seconds=30))
    bench.answers(reply(503, {"Retry-After": "100000"}))

    assert delays(await bench.steps()) == [30, 30]


@pytest.mark.parametrize(
    ("status", "value"),
    [(500, "7"), (404, "7"), (503, "soon"), (503, "-7"), (503, "Mon, 01 Jan 1990 00:00:00 GMT")],
)
async def test_retry_after_elsewhere_or_senseless_changes_nothing(
    bench: Bench, status: int, value: str
) -> None:
    bench.answers(reply(status, {"Retry-After": value}))

    assert delays(await bench.steps()) == [0.4, 0.8]


# --- replies -------------------------------------------------------------------------------


async def test_a_binary_reply_is_emitted_one_hop_further_on(bench: Bench) -> None:
    bench.answers(reply(200, {**REPLY_HEADERS, "Content-Type": "text/plain"}, b"paid"))

    assert await bench.steps(replace(EVENT, hops=3)) == [DELIVERED]
    assert bench.emitted == [
        Event({**REPLY, "datacontenttype": "text/plain"}, b"paid", hops=4),
    ]


async def test_a_structured_reply_is_emitted(bench: Bench) -> None:
    body = json.dumps({**REPLY, "data": {"paid": True}}).encode()
    bench.answers(reply(200, {"Content-Type": "application/cloudevents+json"}, body))

    assert await bench.steps() == [DELIVERED]
    assert [(each.id, each.hops) for each in bench.emitted] == [("2", 1)]


async def test_a_batch_of_one_is_a_reply(bench: Bench) -> None:
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    bench.answers(reply(200, headers, json.dumps([REPLY]).encode()))

    assert await bench.steps() == [DELIVERED]
    assert [each.id for each in bench.emitted] == ["2"]


@pytest.mark.parametrize("status", [201, 202, 204, 206])
async def test_an_event_on_another_status_than_200_is_not_a_reply(
    bench: Bench, status: int
) -> None:
    bench.answers(reply(status, REPLY_HEADERS, b"" if status == 204 else b"paid"))

    assert await bench.steps() == [DELIVERED]
    assert bench.emitted == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"Content-Type": "application/json"}, b'{"ok": true}'), ({}, b"\x00"), ({}, bytes(2 << 20))],
)
async def test_a_body_that_is_no_event_is_ignored_and_noted(
    bench: Bench, headers: dict[str, str], body: bytes
) -> None:
    """Knative fails such a delivery, and retries it for ever."""
    bench.answers(reply(200, headers, body))

    assert await bench.steps() == [DELIVERED]
    answer = bench.watch.attempts[0].answer
    assert isinstance(answer, Accepted)
    assert "ignored" in (answer.note or "")


async def test_an_endless_answer_does_not_hold_a_delivery_up(bench: Bench) -> None:
    bench.answers(endless(b"HTTP/1.1 202 Accepted\r\n\r\n", bytes(65536)))

    assert await bench.steps() == [DELIVERED]


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({**REPLY_HEADERS, "ce-source": ""}, b"", "source"),
        ({"ce-id": "1"}, b"", "missing"),
        ({"Content-Type": "application/cloudevents+json"}, b"{}", "missing"),
        ({"Content-Type": "application/cloudevents+json"}, b"{", "JSON"),
        ({"Content-Type": "application/cloudevents+avro"}, b"", "avro"),
        ({"Content-Type": "application/cloudevents-batch+json"}, b"[]", "batch"),
        (
            {"Content-Type": "application/cloudevents-batch+json"},
            json.dumps([REPLY, REPLY]).encode(),
            "batch",
        ),
        (REPLY_HEADERS, bytes((1 << 20) + 1), "larger than 1048576 bytes"),
    ],
)
async def test_what_claims_to_be_an_event_and_is_none_is_a_failure(
    bench: Bench, headers: dict[str, str], body: bytes, reason: str
) -> None:
    bench.answers(reply(200, headers, body))

    steps = await bench.steps()

    assert len(steps) == 3
    why = buried(steps[-1])
    assert reason in why.reason
    assert (why.status, why.body) == (200, body[:1024])
    assert bench.emitted == []


@pytest.mark.parametrize("error", [ChannelUnavailable("disk full"), ChannelFull("too much")])
async def test_a_reply_that_cannot_be_stored_fails_the_delivery_which_is_retried(
    bench: Bench, error: Exception
) -> None:
    bench.answers(reply(200, REPLY_HEADERS))
    bench.emit_errors = [error]

    steps = await bench.steps()

    assert isinstance(steps[0], Deferred)
    assert steps[-1] == DELIVERED
    assert len(bench.emitted) == 1
    assert len(bench.received()) == 2
    first = bench.watch.attempts[0].answer
    assert isinstance(first, Refused)
    assert str(error) in first.reason


async def test_a_reply_that_the_broker_refuses_is_not_retried(bench: Bench) -> None:
    bench.answers(reply(200, REPLY_HEADERS))
    bench.emit_errors = [InvalidEvent("too large")]

    assert "too large" in buried(await bench.end()).reason


async def test_an_event_goes_round_through_replies_255_times_and_no_more(bench: Bench) -> None:
    bench.answers(reply(200, REPLY_HEADERS))

    assert await bench.end(replace(EVENT, hops=MAX_HOPS - 1)) == DELIVERED
    assert await bench.steps(replace(EVENT, hops=MAX_HOPS)) == [
        Buried(
            why=Refusal(
                destination=bench.subscriber.url(),
                reason="hops exhausted after 255 replies",
                status=None,
                body=b"",
                attempts=1,
            )
        )
    ]
    assert [each.hops for each in bench.emitted] == [MAX_HOPS]


async def test_hops_are_never_shown_to_the_subscriber(bench: Bench) -> None:
    await bench.end(EVENT)
    await bench.end(replace(EVENT, hops=9))

    first, second = map(without_trace, bench.received())
    assert first == second


# --- dead letters --------------------------------------------------------------------------


async def test_a_dead_letter_is_the_event_with_why_it_was_given_up(bench: Bench) -> None:
    body = bytes(range(256)) * 8
    bench.answers(reply(422, {}, body))
    bench.dead_letters_answer(202)

    assert dead_lettered(*await bench.steps())

    (letter,) = bench.received("/dead")
    assert letter.body == EVENT.data
    added = {
        name.lower(): value
        for name, value in letter.headers
        if name.lower().startswith(("ce-knative", "ce-cemesh"))
    }
    assert base64.b64decode(added.pop("ce-knativeerrordata")) == body[:1024]
    assert added == {
        "ce-knativeerrordest": bench.subscriber.url(),
        "ce-knativeerrorcode": "422",
        "ce-cemeshtrigger": "shop/orders",
        "ce-cemesherrorreason": quote(f"422 {HTTPStatus(422).phrase}"),
        "ce-cemeshattempts": "1",
    }
    for name in ("specversion", "id", "source", "type"):
        assert letter.header(f"ce-{name}") == EVENT.attributes[name]


async def test_a_dead_letter_has_no_code_where_there_was_no_answer(bench: Bench) -> None:
    bench.answers(close())
    bench.dead_letters_answer(202)

    assert dead_lettered(await bench.end())

    (letter,) = bench.received("/dead")
    assert letter.header("ce-knativeerrorcode") is None
    assert letter.header("ce-knativeerrordata") is None
    assert letter.header("ce-cemeshattempts") == "3"


async def test_of_a_refusal_the_first_1024_bytes_are_kept(bench: Bench) -> None:
    bench.answers(reply(422, {}, bytes(5000)))

    assert buried(await bench.end()).body == bytes(1024)


async def test_giving_up_and_the_first_dead_letter_attempt_are_one_step(bench: Bench) -> None:
    bench.answers(503)
    bench.dead_letters_answer(200)

    steps = await bench.steps()

    assert [type(step) for step in steps] == [Deferred, Deferred, Settled]
    assert len(bench.received()) == 3


async def test_a_dead_letter_sink_gets_the_triggers_own_retry_policy(bench: Bench) -> None:
    bench.answers(400)
    bench.dead_letters_answer(503, 404, 200)

    steps = await bench.steps()

    assert delays(steps) == [0.4, 0.8]
    assert dead_lettered(steps[-1])
    assert [(each.to, each.number) for each in bench.watch.attempts] == [
        ("subscriber", 1),
        ("dead-letter sink", 1),
        ("dead-letter sink", 2),
        ("dead-letter sink", 3),
    ]
    assert len(bench.received()) == 1


async def test_a_dead_letter_sink_that_is_down_does_not_cost_the_event(bench: Bench) -> None:
    """Knative's Kafka and RabbitMQ brokers acknowledge it and it is gone."""
    bench.answers(reply(400, {}, b"bad"))
    bench.dead_letters_answer(503)

    why = buried(await bench.end())

    assert (why.destination, why.status, why.body) == (bench.subscriber.url(), 400, b"bad")
    assert why.reason.startswith("400 Bad Request; the dead-letter sink ")
    assert "503 Service Unavailable" in why.reason
    assert len(bench.received("/dead")) == 3


async def test_a_dead_letter_sink_that_refuses_for_good_is_not_asked_again(bench: Bench) -> None:
    bench.answers(400)
    bench.dead_letters_answer(422)

    assert len(await bench.steps()) == 1
    assert len(bench.received("/dead")) == 1


async def test_without_a_dead_letter_sink_the_event_is_buried_with_its_refusal(
    bench: Bench,
) -> None:
    bench.answers(reply(410, {}, b"gone"))

    assert await bench.steps() == [
        Buried(
            why=Refusal(
                destination=bench.subscriber.url(),
                reason="410 Gone",
                status=410,
                body=b"gone",
                attempts=1,
            )
        )
    ]


WHY = Refusal(destination="http://a.test/", reason="was told off", status=403, body=b"", attempts=4)


async def test_after_a_restart_a_condemned_event_goes_on_at_the_dead_letter_sink(
    bench: Bench,
) -> None:
    bench.dead_letters_answer(200)

    assert await bench.steps(attempts=1, condemned=WHY) == [
        Settled(outcome=Outcome.DEAD_LETTERED, why=WHY)
    ]

    assert bench.received() == []
    (letter,) = bench.received("/dead")
    assert letter.header("ce-cemesherrorreason") == "was%20told%20off"
    assert letter.header("ce-cemeshattempts") == "4"


async def test_a_condemned_event_whose_dead_letter_sink_is_gone_is_buried(bench: Bench) -> None:
    assert await bench.steps(attempts=1, condemned=WHY) == [Buried(why=WHY)]


async def test_a_dead_letter_sinks_reply_is_ignored(bench: Bench) -> None:
    bench.answers(400)
    bench.dead_letters_answer(reply(200, REPLY_HEADERS))

    assert dead_lettered(await bench.end())
    assert bench.emitted == []


# --- for those who watch -------------------------------------------------------------------


async def test_every_attempt_is_told_with_its_trigger_also_where_there_was_no_answer(
    bench: Bench,
) -> None:
    """Knative's dispatch metric loses its trigger there, and knows no retries."""
    bench.answers(close(), *bench.replacing(close()), 200)

    await bench.end()

    assert [
        (each.trigger, each.event.id, each.number, each.verdict) for each in bench.watch.attempts
    ] == [
        ("shop/orders", "1", 1, Verdict.RETRY),
        ("shop/orders", "1", 2, Verdict.DELIVERED),
    ]


async def test_a_step_that_is_cancelled_leaves_the_claim_to_be_tried_again(bench: Bench) -> None:
    bench.answers(hang(), 200)
    step = asyncio.create_task(bench.steps())
    await bench.subscriber.received_at("/")

    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step

    assert bench.watch.attempts == []
    assert await bench.end() == DELIVERED
