"""The stories of events over the admin API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from broker.event import Event
from broker.filters import Exact
from broker.observe.stories import Journal, Keeping
from broker.ports import Accepted, Buried, Claim, Deferred, Origin, Refused, Verdict
from broker.status import TriggerState
from broker.trigger import Target, Trigger
from tests.unit.stand_in import BROKER, StandIn, admin_port, ask, event, refusal
from tests.watching import attempt

MAIL, AUDIT, OTHER = (
    Trigger(
        key=f"default/{name}",
        broker=BROKER,
        subscriber=Target(url="http://127.0.0.1:9/"),
        filter=Exact((("type", of),)),
    )
    for name, of in (
        ("mail", "com.example.test"),
        ("audit", "com.example.test"),
        ("other", "other"),
    )
)
SENDER = Origin("request", "127.0.0.1")
PAUSED = TriggerState(phase="paused", why="the disk is full")

NOTHING = (
    "nothing is noted of an event with the id 'x': it never came here, or is older than what is "
    "kept"
)
NO_TIME = (
    "'before' is 'yesterday'; it must be an RFC 3339 time such as 2026-01-31T12:00:00Z (a '+' has "
    "to be sent as %2B)"
)


class Told:
    """A mesh with its stories, and its admin port."""

    def __init__(self, mesh: StandIn, journal: Journal, port: int) -> None:
        self.mesh = mesh
        self.journal = journal
        self._port = port

    async def send(self, id: str, origin: Origin = SENDER, **attributes: str) -> Claim:
        """Have an event accepted, and return a claim of it."""
        sent = event(id, None).with_attributes(attributes, {})
        await self.mesh.mesh_channel.append([sent])
        self.journal.recorder.accepted(BROKER, [sent], origin, None)
        return Claim(
            event=sent,
            attempts=0,
            condemned=None,
            accepted_at=datetime.now(UTC),
            position=None,
        )

    def deliver(self, trigger: Trigger, claim: Claim, reply: Event | None = None) -> None:
        taken = Accepted(status=200, reply=reply)
        self.journal.recorder.attempted(attempt(trigger.key, event=claim.event, answer=taken))

    def refuse(self, trigger: Trigger, claim: Claim, *, wait: float | None = None) -> None:
        refused = Refused(
            reason="503 Service Unavailable",
            status=503,
            headers=[(b"retry-after", b"5")],
            body=b'{"why": "no"}',
        )
        tried = attempt(trigger.key, Verdict.RETRY, event=claim.event, answer=refused)
        self.journal.recorder.attempted(tried)
        step = (
            Buried(why=refusal())
            if wait is None
            else Deferred(delay=timedelta(seconds=wait), attempts=1, condemned=None)
        )
        self.journal.recorder.decided(trigger.key, claim, step)

    async def get(self, path: str, query: Mapping[str, str], *, refused: int = 200) -> Any:  # noqa: ANN401 - what JSON gives
        answer = await ask(self._port, "GET", f"/api/v1/{path}?{urlencode(query)}")
        assert answer.status == refused, answer.body
        return json.loads(answer.body)

    async def ids(self, **query: str) -> list[str]:
        page = await self.get("stories", query)
        assert page["next"] is None
        return [each["id"] for each in page["events"]]

    async def story(self, id: str) -> Mapping[str, Any]:
        [story] = (await self.get("story", {"id": id}))["stories"]
        return story  # type: ignore[no-any-return] # it is what JSON gives


@asynccontextmanager
async def telling(*, kept: bool = True) -> AsyncIterator[Told]:
    mesh = await StandIn.start()
    mesh.running = [MAIL, AUDIT, OTHER]
    keeping = Keeping(folder=None, age=timedelta(days=1), size=1 << 20)
    async with (
        Journal(keeping) as journal,
        admin_port(mesh, stories=journal if kept else None) as port,
    ):
        yield Told(mesh, journal, port)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    async with telling() as opened:
        yield opened


async def test_a_story_tells_who_sent_it_who_has_it_and_why_the_others_have_not(
    told: Told,
) -> None:
    claim = await told.send("1", subject="order 7")
    told.deliver(MAIL, claim)
    told.refuse(AUDIT, claim, wait=60)

    story = await told.story("1")

    assert (story["source"], story["id"], story["event"]["subject"]) == ("/test", "1", "order 7")
    assert "data" not in story["event"]
    assert story["eventMissing"] is None
    [accepted] = story["accepted"]
    assert accepted["broker"] == BROKER
    assert accepted["origin"] == {"kind": "request", "who": "127.0.0.1", "cause": None}
    audit, mail, other = story["triggers"]
    assert [audit["name"], mail["name"], other["name"]] == [
        "default/audit",
        "default/mail",
        "default/other",
    ]
    assert (mail["outcome"], mail["attempts"], mail["matches"]) == ("delivered", 1, True)
    assert (audit["outcome"], audit["attempts"]) == ("waiting", 1)
    assert audit["reason"] == "503 Service Unavailable"
    tried, waits = audit["steps"]
    assert (tried["step"], tried["status"], tried["bodyText"]) == ("attempt", 503, '{"why": "no"}')
    assert tried["headers"] == [["retry-after", "5"]]
    assert (waits["step"], waits["became"], waits["until"]) == ("decision", "waits", audit["until"])
    assert (other["outcome"], other["matches"], other["steps"]) == (None, False, [])
    [clause] = other["clauses"]
    assert clause["text"] == 'filters[0].exact type: "other" ≠ "com.example.test"'


async def test_a_reply_and_what_it_is_to_lead_to_each_other(told: Told) -> None:
    claim = await told.send("1")
    told.deliver(MAIL, claim, reply=event("r"))
    await told.send("r", Origin("reply", MAIL.key, cause=("/test", "1")))

    assert (await told.story("1"))["replies"] == [{"source": "/test", "id": "r"}]
    assert (await told.story("r"))["replyTo"] == {"source": "/test", "id": "1"}


async def test_a_trigger_that_does_not_run_just_so_says_what_it_does(told: Told) -> None:
    told.mesh.state = PAUSED
    async with told.mesh.mesh_channel.subscribe(MAIL.key, filter=MAIL.filter, window=1):
        await told.send("1")
        story = await told.story("1")

    [mail] = [each for each in story["triggers"] if each["name"] == MAIL.key]
    assert (mail["state"], mail["why"]) == ("paused", "the disk is full")
    assert (mail["matches"], mail["outcome"], mail["steps"]) == (True, None, [])


async def test_of_an_event_that_no_broker_keeps_any_more_the_story_is_told(told: Told) -> None:
    claim = Claim(
        event=event("1"),
        attempts=0,
        condemned=None,
        accepted_at=datetime.now(UTC),
        position=None,
    )
    told.refuse(MAIL, claim)
    told.journal.recorder.attempted(attempt("default/gone", event=claim.event))

    story = await told.story("1")

    assert (story["event"], story["eventMissing"]) == (None, "no broker keeps the event any more")
    assert story["accepted"] == []
    assert [(each["name"], each["outcome"]) for each in story["triggers"]] == [
        ("default/gone", "delivered"),
        ("default/mail", "dead-lettered"),
    ]


async def test_where_the_broker_cannot_be_asked_the_story_says_so(told: Told) -> None:
    await told.send("1")
    told.mesh.backend.outage = "the disk is away"

    story = await told.story("1")

    assert story["event"] is None
    assert "the disk is away" in story["eventMissing"]


async def test_events_of_several_sources_with_one_id_have_a_story_each(told: Told) -> None:
    await told.send("1")
    await told.send("1", source="/another")

    stories = (await told.get("story", {"id": "1"}))["stories"]
    assert {each["source"] for each in stories} == {"/test", "/another"}
    one = (await told.get("story", {"id": "1", "source": "/another"}))["stories"]
    assert [each["source"] for each in one] == ["/another"]


@pytest.mark.parametrize(
    ("path", "query", "status", "detail"),
    [
        ("story", {}, 400, "'id' is missing: name an event by its id"),
        (
            "story",
            {"id": "x"},
            404,
            NOTHING,
        ),
        (
            "story",
            {"id": "1", "source": "/x"},
            404,
            "'/x' has sent nothing with the id '1', but '/test' has",
        ),
        (
            "stories",
            {"outcome": "lost"},
            400,
            "'outcome' is 'lost'; it must be one of delivered, waiting, parked, dead-lettered",
        ),
        ("stories", {"broker": "default/x"}, 404, "there is no broker default/x"),
        (
            "stories",
            {"before": "yesterday"},
            400,
            NO_TIME,
        ),
    ],
)
async def test_what_makes_no_sense_is_refused(
    told: Told, path: str, query: Mapping[str, str], status: int, detail: str
) -> None:
    await told.send("1")

    assert (await told.get(path, query, refused=status))["detail"] == detail


@pytest.mark.parametrize(("path", "query"), [("stories", {}), ("story", {"id": "1"})])
async def test_where_no_stories_are_kept_that_is_said(path: str, query: Mapping[str, str]) -> None:
    async with telling(kept=False) as told:
        problem = await told.get(path, query, refused=404)

    assert problem["detail"] == "no stories are kept here: --stories-size is 0"


async def test_events_are_searched_by_what_they_are_and_what_became_of_them(told: Told) -> None:
    for name in ("delivered", "waiting", "dead"):
        claim = await told.send(name)
        if name == "delivered":
            told.deliver(MAIL, claim)
        else:
            told.refuse(MAIL, claim, wait=60 if name == "waiting" else None)
    untold = await told.send("untold", source="/another")
    told.deliver(AUDIT, untold)

    assert set(await told.ids()) == {"delivered", "waiting", "dead", "untold"}
    assert await told.ids(source="/another") == ["untold"]
    assert await told.ids(outcome="waiting") == ["waiting"]
    assert await told.ids(outcome="dead-lettered") == ["dead"]
    assert set(await told.ids(outcome="delivered")) == {"delivered", "untold"}
    assert await told.ids(outcome="delivered", trigger=AUDIT.key) == ["untold"]
    assert set(await told.ids(broker=BROKER)) == {"delivered", "waiting", "dead", "untold"}
    assert await told.ids(type="other") == []
    assert await told.ids(id="dead") == ["dead"]


async def test_what_has_waited_and_was_delivered_since_does_not_wait(told: Told) -> None:
    claim = await told.send("1")
    told.refuse(MAIL, claim, wait=60)
    assert await told.ids(outcome="waiting") == ["1"]

    later = attempt(MAIL.key, event=claim.event)
    told.journal.recorder.attempted(later._replace(began=later.began + 60))

    assert await told.ids(outcome="waiting") == []
    assert await told.ids(outcome="delivered") == ["1"]


async def test_a_summary_tells_how_far_each_trigger_has_come(told: Told) -> None:
    claim = await told.send("1")
    told.deliver(MAIL, claim)
    told.refuse(AUDIT, claim, wait=60)

    [summary] = (await told.get("stories", {}))["events"]

    assert (summary["source"], summary["id"], summary["type"]) == ("/test", "1", "com.example.test")
    assert summary["accepted"]["broker"] == BROKER
    assert [(each["name"], each["outcome"]) for each in summary["triggers"]] == [
        ("default/audit", "waiting"),
        ("default/mail", "delivered"),
    ]


async def test_pages_follow_each_other_and_show_each_event_once(told: Told) -> None:
    now = datetime.now(UTC).timestamp()
    for number in range(10):
        for attempts in range(3):  # so that each is found at several times
            made = attempt(MAIL.key, event=event(str(number)))
            at = now - 100 + number + 20 * attempts
            told.journal.recorder.attempted(made._replace(began=at))

    ids: list[str] = []
    query = {"limit": "3"}
    while True:
        page = await told.get("stories", query)
        ids += [each["id"] for each in page["events"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]

    assert ids == [str(number) for number in range(9, -1, -1)]
