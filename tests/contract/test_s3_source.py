"""S3Source on a real server: what it reads, what it does with it then, and what it survives."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web import BaseRequest

from broker.codecs.json import encode_batch, encode_event
from broker.connections.s3 import client as s3_client
from broker.event import Event
from cemesh.testing import RunningSource
from cemesh.testing.contract.sinks import event as made
from sources.s3.cleared import Cleared
from sources.s3.spec import S3Spec
from tests.contract.s3 import client, keys, modify, objects, put, read, until_empty
from tests.services.relay import Relay
from tests.services.s3.fixtures import GivenBucket
from tests.services.s3.gate import Gate
from tests.services.s3.server import SECRET_KEY, S3Server
from tests.unit.meshes import until

SOON = timedelta(seconds=30)
PAGE = Path(__file__, "../../../docs/sources/S3Source.md").resolve()
ACTIONS = {
    "GET bucket": "s3:ListBucket",
    "GET object": "s3:GetObject",
    "PUT object": "s3:PutObject",
    "DELETE object": "s3:DeleteObject",
}
URI = "/apis/v1/namespaces/default/s3sources/uploads"


async def comes_next(run: RunningSource, bucket: GivenBucket, key: str) -> Event:
    """Put an object, and return the next event, which shall be of it: none is before it."""
    await put(bucket, key, b"1")
    [event] = await run.events(1, within=SOON)
    assert event.attributes.get("subject") == key
    return event


def subjects(events: Sequence[Event]) -> set[str | None]:
    return {each.attributes.get("subject") for each in events}


# --- what is read ----------------------------------------------------------------------------


async def test_an_object_becomes_an_event_that_refers_to_it(s3_bucket: GivenBucket) -> None:
    await put(s3_bucket, "in/ä b+c.csv", b"1;2")
    modify(s3_bucket, "in/ä b+c.csv", datetime(2026, 3, 1, 2, 0, 0, tzinfo=UTC))
    await put(s3_bucket, "other/b.csv", b"3")

    async with read(s3_bucket, prefix="in/") as run:
        [event] = await run.events(1, within=SOON)

    [listed] = await objects(s3_bucket, "in/")
    etag = listed.etag.strip('"')
    assert event.attributes == {
        "specversion": "1.0",
        "id": f"in/ä b+c.csv@{etag}@2026-03-01T02:00:00Z",
        "source": f"{URI}#{s3_bucket.name}",
        "type": "dev.cemesh.s3.object-created",
        "subject": "in/ä b+c.csv",
        "time": "2026-03-01T02:00:00Z",
        "datacontenttype": "application/json",
    }
    assert json.loads(event.data or b"") == {
        "bucket": s3_bucket.name,
        "key": "in/ä b+c.csv",
        "etag": etag,
        "size": 3,
        "lastModified": "2026-03-01T02:00:00Z",
    }


async def test_an_object_becomes_an_event_that_has_it_as_its_data(s3_bucket: GivenBucket) -> None:
    data = b"\xff\x00" * 100_000
    await put(s3_bucket, "a.bin", data, {"content-type": "image/png", "content-encoding": "gzip"})
    await put(s3_bucket, "folder/", b"")

    async with read(s3_bucket, content="data") as run:
        [event] = await run.events(1, within=SOON)
        await comes_next(run, s3_bucket, "z")

    assert event.data == data
    assert event.attributes["datacontenttype"] == "image/png"
    assert event.id.startswith(f"a.bin@{event.attributes['etag']}@")


async def test_cloudevents_are_what_they_are_and_what_only_says_it_is_one_is_a_dead_letter(
    s3_bucket: GivenBucket,
) -> None:
    one = encode_event(made("1", b"\xff\x00"))
    await put(s3_bucket, "1", one, {"content-type": "application/cloudevents+json"})
    two = encode_batch([made("2"), made("3", None)])
    await put(s3_bucket, "2", two, {"content-type": "application/cloudevents-batch+json"})
    attributes = {"specversion": "1.0", "id": "4", "source": "/shop", "type": "a%20b"}
    metadata = {f"x-amz-meta-ce-{name}": value for name, value in attributes.items()}
    await put(s3_bucket, "3", b"<a/>", {"content-type": "text/xml", **metadata})
    await put(s3_bucket, "bad", b"[no", {"content-type": "application/cloudevents+json"})

    async with read(s3_bucket, content="data") as run:
        events = {each.id: each for each in await run.events(4, within=SOON)}
        [letter] = await run.rejected(1, within=SOON)
        await comes_next(run, s3_bucket, "z")

    assert events["1"] == made("1", b"\xff\x00")
    assert (events["2"], events["3"]) == (made("2"), made("3", None))
    assert events["4"].attributes == {**attributes, "type": "a b", "datacontenttype": "text/xml"}
    assert events["4"].data == b"<a/>"
    assert letter.event.data == b"[no"
    assert letter.event.id.startswith("bad@")
    assert letter.why.reason.startswith("the object bad: ")


async def test_each_line_becomes_an_event_and_what_is_no_json_or_too_long_a_dead_letter(
    s3_bucket: GivenBucket,
) -> None:
    lines = [b'{"n": 1}\r', b"", b"{no", b'"%s"' % (b"x" * 2_000), b'{"n":  2}', b"3"]
    await put(s3_bucket, "a.jsonl", b"\n".join(lines))

    async with read(s3_bucket, content="lines", maxBytes=1000) as run:
        events = await run.events(3, within=SOON)
        letters = {each.event.id[-2:]: each for each in await run.rejected(2, within=SOON)}
        await put(s3_bucket, "b.jsonl", b"4\n")
        events += await run.events(1, within=SOON)

    assert [each.data for each in events] == [b'{"n": 1}', b'{"n":  2}', b"3", b"4"]
    assert [each.id[-2:] for each in events] == ["#1", "#5", "#6", "#1"]
    assert {each.type for each in events} == {"dev.cemesh.s3.line"}
    assert letters["#3"].event.data == b"{no"
    assert "line 3 of the object a.jsonl: it is not JSON" in letters["#3"].why.reason
    assert "longer than maxBytes, 1,000" in letters["#4"].why.reason


async def test_a_long_object_is_read_line_by_line_in_pieces(s3_bucket: GivenBucket) -> None:
    count = 20_000
    await put(
        s3_bucket, "a", b"".join(b'{"n": %d, "pad": "%s"}\n' % (n, b"x" * 80) for n in range(count))
    )

    async with read(s3_bucket, content="lines", maxBytes=200) as run:
        events = await run.events(count, within=SOON)

    assert [json.loads(each.data or b"")["n"] for each in events] == list(range(count))


async def test_a_key_that_no_event_can_have_is_a_dead_letter_and_holds_nothing_up(
    s3_bucket: GivenBucket,
) -> None:
    await put(s3_bucket, "a\nb", b"1")

    async with read(s3_bucket) as run:
        [letter] = await run.rejected(1, within=SOON)
        await comes_next(run, s3_bucket, "z")

    assert letter.why.reason.startswith("the object a\nb: ")


# --- what is kept ----------------------------------------------------------------------------


async def test_what_was_emitted_is_not_emitted_again_when_it_runs_anew(
    s3_bucket: GivenBucket,
) -> None:
    for number in range(2_345):  # three pages; put there in no time
        s3_bucket.place(f"{number}")

    async with read(s3_bucket) as run:
        events = await run.events(2_345, within=SOON)
        await until(lambda: run.status.lag == 0)
        await run.restart()
        await comes_next(run, s3_bucket, "a")
        await run.restart()
        await comes_next(run, s3_bucket, "b")

    assert subjects(events) == {str(number) for number in range(2_345)}


async def test_an_object_that_changes_is_emitted_again_and_so_is_the_same_content(
    s3_bucket: GivenBucket,
) -> None:
    async with read(s3_bucket, content="data") as run:
        first = await comes_next(run, s3_bucket, "a")
        await put(s3_bucket, "a", b"2")
        [second] = await run.events(1, within=SOON)
        modify(s3_bucket, "a", datetime.now(UTC) + timedelta(seconds=5))
        [third] = await run.events(1, within=SOON)

    assert [each.data for each in (first, second, third)] == [b"1", b"2", b"2"]
    assert len({each.id for each in (first, second, third)}) == 3


async def test_what_comes_late_is_emitted_unless_it_comes_later_than_it_looks_back(
    s3_bucket: GivenBucket,
) -> None:
    async with read(s3_bucket, lookBack="PT1H") as run:
        await comes_next(run, s3_bucket, "b")
        await until(lambda: run.status.lag == 0)
        await run.restart()
        for key, minutes in (("late", 50), ("too-late", 70)):
            s3_bucket.place(key, modified=datetime.now(UTC) - timedelta(minutes=minutes))
        [event] = await run.events(1, within=SOON)
        await comes_next(run, s3_bucket, "z")

    assert event.attributes["subject"] == "late"


async def test_from_the_end_on_nothing_is_emitted_that_was_there_before(
    s3_bucket: GivenBucket,
) -> None:
    await put(s3_bucket, "before", b"1")
    modify(s3_bucket, "before", datetime.now(UTC) - timedelta(seconds=10))

    async with read(s3_bucket, startAt="end") as run:
        await run.until("running", within=SOON)
        await until(lambda: run.status.lag == 0)
        await run.stop()
        await put(s3_bucket, "while-it-was-down", b"1")
        run.start()
        [event] = await run.events(1, within=SOON)

    assert event.attributes["subject"] == "while-it-was-down"


# --- what is cleared away --------------------------------------------------------------------


async def test_an_object_is_deleted_once_its_event_is_durable_and_not_before(
    s3_bucket: GivenBucket,
) -> None:
    async with read(s3_bucket, content="data", afterwards="delete") as run:
        await comes_next(run, s3_bucket, "a")
        await until_empty(s3_bucket)
        with run.outage():
            await put(s3_bucket, "b", b"2")
            await run.until("unhealthy", within=SOON)
            assert await keys(s3_bucket) == {"b"}
        [event] = await run.events(1, within=SOON)
        await until_empty(s3_bucket)

    assert event.data == b"2"


async def test_what_is_not_cleared_away_before_a_crash_comes_again_with_the_same_id(
    s3_bucket: GivenBucket,
) -> None:
    async with read(s3_bucket, content="lines", afterwards="delete") as run:
        crashing = asyncio.create_task(run.crash())
        await put(s3_bucket, "a", b"1\n2\n")
        await crashing
        before = await run.events(2, within=SOON)
        left = await keys(s3_bucket)
        run.start()
        again = await run.events(2, within=SOON)
        await until_empty(s3_bucket)

    assert left == {"a"}
    assert again == before


async def test_objects_are_moved_and_what_was_moved_is_not_read(s3_bucket: GivenBucket) -> None:
    await put(s3_bucket, "in/shop/a b", b"1", {"content-type": "text/plain"})

    async with read(s3_bucket, prefix="in/", afterwards="move", moveTo="done/") as run:
        [event] = await run.events(1, within=SOON)
        await until_empty(s3_bucket, "in/")
    moved = await keys(s3_bucket)
    async with read(s3_bucket, afterwards="move", moveTo="done/", content="data") as run:
        await comes_next(run, s3_bucket, "z")

    assert moved == {"done/shop/a b"}
    assert json.loads(event.data or b"")["movedTo"] == "done/shop/a b"


async def test_what_is_too_large_stays_and_is_told_once(s3_bucket: GivenBucket) -> None:
    await put(s3_bucket, "a", b"12345")

    asked: dict[str, Any] = {"content": "data", "afterwards": "delete", "maxBytes": 4}
    async with read(s3_bucket, **asked) as run:
        await run.rejected(1, within=SOON)
        await comes_next(run, s3_bucket, "b")
        await comes_next(run, s3_bucket, "c")
        [letter] = await run.rejected(1, within=SOON)

    assert "its 5 bytes are more than maxBytes, 4" in letter.why.reason
    assert "a" in await keys(s3_bucket)


async def test_what_has_changed_since_it_was_emitted_is_not_cleared_away(
    s3_bucket: GivenBucket,
) -> None:
    spec = {**s3_bucket.spec, "content": "data", "afterwards": "delete"}
    moving = {**s3_bucket.spec, "afterwards": "move", "moveTo": "done/"}
    await put(s3_bucket, "a", b"1")
    emitted = await objects(s3_bucket)
    await put(s3_bucket, "a", b"2")

    async with client(s3_bucket) as s3:
        for each in (spec, moving):
            book = Cleared(s3, S3Spec.model_validate(each))
            await book.emitted(emitted)
            assert book.trouble is None

    assert await keys(s3_bucket) == {"a"}


async def test_what_cannot_be_deleted_is_emitted_once_told_and_deleted_when_that_is_allowed(
    s3_bucket: GivenBucket,
) -> None:
    policy = Policy("s3:ListBucket", "s3:GetObject")
    await put(s3_bucket, "a", b"1")

    async with (
        Gate(s3_bucket.listeners, policy.denies) as gate,
        read(s3_bucket, endpoint=gate.url, content="data", afterwards="delete") as run,
    ):
        await run.events(1, within=SOON)
        status = await run.until("unhealthy", within=SOON)
        await comes_next(run, s3_bucket, "b")
        policy.allowed.add("s3:DeleteObject")
        await until_empty(s3_bucket)
        await run.until("running", within=SOON)

    assert "what was emitted cannot be deleted, 'a' for one: " in (status.error or "")
    assert "its policy has to allow this" in (status.error or "")


async def test_what_the_page_says_it_has_to_be_allowed_is_enough(s3_bucket: GivenBucket) -> None:
    [said] = re.findall(r"have to be allowed: (.*?) as well", PAGE.read_text(), re.DOTALL)
    policy = Policy(*re.findall("`(s3:.*?)`", said))

    async with (
        Gate(s3_bucket.listeners, policy.denies) as gate,
        read(s3_bucket, endpoint=gate.url, content="data", afterwards="delete") as run,
    ):
        await comes_next(run, s3_bucket, "a")
        await until_empty(s3_bucket)

    assert run.status.restarts == 0


class Policy:
    """What may be done in a bucket, and nothing else."""

    def __init__(self, *actions: str) -> None:
        self.allowed = set(actions)

    def denies(self, request: BaseRequest) -> str | None:
        asked = f"{request.method} {'object' if request.path.count('/') > 1 else 'bucket'}"
        return None if ACTIONS[asked] in self.allowed else "AccessDenied"


# --- what goes wrong -------------------------------------------------------------------------


async def test_a_way_that_is_cut_or_hangs_is_said_and_it_goes_on_by_itself(
    s3_bucket: GivenBucket, s3_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "ANSWERS_WITHIN", 0.3)
    endpoint = s3_relay.in_url(s3_bucket.listeners.url)

    async with read(s3_bucket, endpoint=endpoint, content="data") as run:
        await comes_next(run, s3_bucket, "a")
        with s3_relay.cut():
            cut = await run.until("unhealthy", within=SOON)
        await comes_next(run, s3_bucket, "b")
        with s3_relay.hung():
            hung = await run.until("unhealthy", within=SOON)
        await comes_next(run, s3_bucket, "c")

    told = f"the bucket '{s3_bucket.name}' at {s3_relay.address} cannot be used: "
    assert (cut.error or "").startswith(told)
    assert hung.error == f"{told}no answer in time"


async def test_lines_may_wait_for_the_store_longer_than_an_answer_may_pause(
    s3_bucket: GivenBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "ANSWERS_WITHIN", 0.2)
    count = 4_000
    await put(s3_bucket, "a", b"".join(b'"%s"\n' % (b"x" * 1_000) for _ in range(count)))

    async with read(s3_bucket, content="lines") as run:
        with run.outage():
            await run.until("unhealthy", within=SOON)
            await asyncio.sleep(0.6)  # which is what may not matter
        events = await run.events(count, within=SOON)
        await comes_next(run, s3_bucket, "z")

    assert len({each.id for each in events}) == count
    assert run.status.restarts == 0


async def test_a_server_that_is_killed_and_started_again_is_read_on(s3_server: S3Server) -> None:
    with s3_server:
        bucket = GivenBucket.made(s3_server.listeners)
        async with read(bucket, content="data") as run:
            await comes_next(run, bucket, "a")
            await asyncio.to_thread(s3_server.kill)
            status = await run.until("unhealthy", within=SOON)
            await asyncio.to_thread(s3_server.start)
            await comes_next(run, bucket, "b")

    assert "cannot be used: " in (status.error or "")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"secretAccessKey": "not-that-one"}, "is 'secretAccessKey' right?"),
        ({"accessKeyId": "nobody"}, "is 'accessKeyId' one that it knows?"),
        ({"bucket": "no-such-bucket"}, "is 'bucket' right, and 'pathStyle'?"),
        ({"accessKeyId": None, "secretAccessKey": None}, "its policy has to allow this"),
    ],
)
async def test_why_it_may_not_read_is_said_and_no_secret_shown(
    s3_bucket: GivenBucket, spec: dict[str, Any], told: str
) -> None:
    async with read(s3_bucket, **spec) as run:
        status = await run.until("unhealthy", within=SOON)

    assert told in (status.error or "")
    assert SECRET_KEY not in (status.error or "")
    assert "not-that-one" not in (status.error or "")


async def test_a_region_that_is_not_the_buckets_is_said(s3_bucket: GivenBucket) -> None:
    def denies(request: BaseRequest) -> str | None:
        ours = "/us-east-1/" in request.headers["authorization"]
        return None if ours else "AuthorizationHeaderMalformed"

    async with Gate(s3_bucket.listeners, denies) as gate:
        async with read(s3_bucket, endpoint=gate.url, region="eu-central-1") as run:
            status = await run.until("unhealthy", within=SOON)
        async with read(s3_bucket, endpoint=gate.url) as run:
            await comes_next(run, s3_bucket, "a")

    assert "is 'region' the bucket's?" in (status.error or "")


async def test_tls_takes_the_authority_of_the_spec(s3_encrypted: S3Server) -> None:
    bucket = GivenBucket.made(s3_encrypted.listeners)
    authority = {"caCert": s3_encrypted.listeners.authority}

    async with read(bucket, tls=authority, content="data") as run:
        bucket.place("a", b"1")
        [event] = await run.events(1, within=SOON)
    async with read(bucket) as run:
        unknown = await run.until("unhealthy", within=SOON)

    assert event.data == b"1"
    assert "does 'tls.caCert' have the authority of its certificate?" in (unknown.error or "")
