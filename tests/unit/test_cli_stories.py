"""Stories on the command line: of several processes, and of times and texts as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click
import pytest

from broker.admin.models import (
    AcceptedDocument,
    AttemptDocument,
    ClauseDocument,
    DecisionDocument,
    EventName,
    OriginDocument,
    StoriesDocument,
    StoryDocument,
    TriggerStoryDocument,
)
from broker.cli.storymerging import merged
from broker.cli.values import Address
from broker.ports.stories import Outcome

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CLAUSE = ClauseDocument(path="", attribute=None, expected="", actual=None, text="no")


def attempt(seconds: int, number: int) -> AttemptDocument:
    return AttemptDocument(
        at=NOW + timedelta(seconds=seconds),
        to="subscriber",
        destination="http://mail.test/",
        number=number,
        seconds=0.1,
        verdict="retry",
        status=503,
        headers=(),
        body="",
        body_text="",
        reason="503 Service Unavailable",
        reply=None,
        untried=False,
        trace=None,
    )


def waits(seconds: int) -> DecisionDocument:
    at = NOW + timedelta(seconds=seconds)
    return DecisionDocument(at=at, became="waits", until=at, attempts=1, reason=None)


def trigger(
    *steps: AttemptDocument | DecisionDocument,
    name: str = "shop/mail",
    outcome: Outcome | None = None,
    matches: bool | None = True,
) -> TriggerStoryDocument:
    return TriggerStoryDocument(
        name=name,
        outcome=outcome,
        attempts=len(steps),
        until=None,
        reason=None,
        matches=matches,
        clauses=() if matches else [CLAUSE],
        state="running",
        why=None,
        steps=steps,
    )


def told(
    *triggers: TriggerStoryDocument,
    accepted: Sequence[int] = (),
    kept: bool = True,
    source: str = "/shop",
    replies: Sequence[str] = (),
) -> StoriesDocument:
    origin = OriginDocument(kind="request", who="127.0.0.1", cause=None)
    story = StoryDocument(
        source=source,
        id="1",
        event={"id": "1"} if kept else None,
        event_missing=None if kept else "gone",
        accepted=[
            AcceptedDocument(at=NOW + timedelta(seconds=each), broker="shop/default", origin=origin)
            for each in accepted
        ],
        triggers=triggers,
        reply_to=None,
        replies=[EventName(source="/mail", id=each) for each in replies],
    )
    return StoriesDocument(stories=[story])


def test_steps_of_several_processes_are_in_the_order_of_time_and_the_last_one_decides() -> None:
    one = told(trigger(attempt(1, 1), waits(2), outcome="waiting"), accepted=[0], replies=["a"])
    other = told(trigger(attempt(3, 2), outcome="delivered"), accepted=[5], replies=["a", "b"])

    for both in (merged([one, other]), merged([other, one])):
        [story] = both.stories
        [mail] = story.triggers
        assert [each.at for each in mail.steps] == [NOW + timedelta(seconds=n) for n in (1, 2, 3)]
        assert mail.outcome == "delivered"
        assert [each.at for each in story.accepted] == [NOW, NOW + timedelta(seconds=5)]
        assert {each.id for each in story.replies} == {"a", "b"}


def test_what_one_process_knows_and_another_does_not_is_told() -> None:
    one = told(trigger(matches=None), trigger(name="shop/a", matches=False), kept=False)
    other = told(trigger(attempt(1, 1), outcome="waiting"), trigger(name="shop/a", matches=False))

    [story] = merged([one, other]).stories

    assert (story.event, story.event_missing) == ({"id": "1"}, None)
    mail, another = story.triggers
    assert (mail.name, mail.matches, mail.outcome) == ("shop/mail", True, "waiting")
    assert (another.name, another.matches, another.clauses) == ("shop/a", False, [CLAUSE])


def test_events_of_several_sources_stay_several() -> None:
    stories = merged([told(), told(source="/other"), told(source="/other")]).stories

    assert [each.source for each in stories] == ["/shop", "/other"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8081", ("localhost", 8081)),
        ("[::1]:8081", ("::1", 8081)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert Address().convert(text, None, None) == address


@pytest.mark.parametrize("text", ["", "localhost", ":8081", "a:65536", "::1:80", "http://a:80"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not HOST:PORT"):
        Address().convert(text, None, None)
