"""S3Source and S3Sink without a server: specs, signatures, and what is remembered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

from broker.connections.s3 import FAULTS, Listed
from broker.connections.s3.answers import error_of, page_of
from broker.connections.s3.signing import Keys, query_of, signed
from broker.manifest import load
from broker.ports import SourceContext
from sinks.s3 import S3SinkSpec
from sources.s3 import S3Spec
from sources.s3.kept import Kept
from sources.s3.lines import Lines

ROOT = Path(__file__, "../../..").resolve()
MINIMAL: Mapping[str, object] = {"bucket": "uploads"}
SECRET = "swordfish"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OTHERS = """
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: v1
kind: Secret
metadata: {name: s3}
stringData: {id: me, secret: swordfish}
"""


def refused(model: type[BaseModel], spec: Mapping[str, object]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**MINIMAL, **spec})
    assert SECRET not in str(caught.value)
    [error] = caught.value.errors()
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ({}, "https://uploads.s3.us-east-1.amazonaws.com"),
        ({"region": "eu-west-1", "pathStyle": True}, "https://s3.eu-west-1.amazonaws.com/uploads"),
        ({"endpoint": "http://[::1]:9000/"}, "http://[::1]:9000/uploads"),
        (
            {"endpoint": "https://r2.example.com", "pathStyle": False},
            "https://uploads.r2.example.com",
        ),
    ],
)
def test_a_bucket_stands_in_the_path_of_a_given_endpoint_unless_told_otherwise(
    spec: Mapping[str, object], url: str
) -> None:
    assert S3Spec.model_validate({**MINIMAL, **spec}).url == url


NO_ENDPOINT = (
    " is not of the form https://HOST:PORT, or http://HOST:PORT without TLS; the bucket is said by "
    "'bucket'"
)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"endpoint": "s3://uploads"}, f"endpoint: 's3://uploads'{NO_ENDPOINT}"),
        ({"endpoint": "https://a/uploads"}, f"endpoint: 'https://a/uploads'{NO_ENDPOINT}"),
        ({"endpoint": "https://a:70000"}, f"endpoint: 'https://a:70000'{NO_ENDPOINT}"),
        (
            {"endpoint": f"https://me:{SECRET}@a"},
            (
                "endpoint: has a user or a password in it; say them by 'accessKeyId' and "
                "'secretAccessKey'"
            ),
        ),
        ({"bucket": "a/b"}, "bucket: 'a/b' is not the name of a bucket: a-z, 0-9, '-' and '.'"),
        ({"region": "a b"}, "region: 'a b' is not a region such as eu-central-1"),
        (
            {"secretAccessKey": SECRET},
            ": 'accessKeyId' and 'secretAccessKey' are of no use without each other",
        ),
        ({"sessionToken": SECRET}, ": 'sessionToken' is of no use without 'accessKeyId'"),
        ({"accessKeyId": "me", "secretAccessKey": ""}, ": 'secretAccessKey' is empty"),
        (
            {"accessKeyId": "me", "secretAccessKey": f"{SECRET}\n"},
            (
                ": 'secretAccessKey' has U+000A (line feed) at character 10, which no "
                "secretAccessKey of S3 may have; was it made with 'echo' where 'echo -n' was meant?"
            ),
        ),
        ({"tls": {"caCert": SECRET}}, "tls: 'caCert' holds no certificates in PEM format"),
        ({"interval": "PT0.01S"}, "interval: must be PT0.1S or longer"),
        (
            {"prefix": "a\tb"},
            "prefix: has U+0009 (tab) at character 2, which no name in a bucket may have",
        ),
        (
            {"afterwards": "move"},
            ": 'afterwards: move' and 'moveTo' are of no use without each other",
        ),
        ({"moveTo": "done/"}, ": 'afterwards: move' and 'moveTo' are of no use without each other"),
        (
            {"afterwards": "move", "prefix": "in/shop/", "moveTo": "in/"},
            (
                ": 'moveTo' is 'in/', and 'prefix' 'in/shop/' lies in it: what was moved could not "
                "be told from what is new"
            ),
        ),
        (
            {"afterwards": "delete"},
            (
                ": 'afterwards: delete' would delete what the event refers to; 'content' has to be "
                "data or lines"
            ),
        ),
        (
            {"afterwards": "delete", "content": "data", "startAt": "end"},
            ": 'startAt' is of no use but with 'afterwards: keep'",
        ),
    ],
)
def test_what_is_wrong_with_a_source_is_said_and_no_secret_is_shown(
    spec: Mapping[str, object], message: str
) -> None:
    assert refused(S3Spec, spec) == message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("{ID}", "'{ID}' is not the name of an attribute: a-z and 0-9"),
        ("{hash", "has a brace that belongs to no {attribute}"),
        ("{hash}}", "has a brace that belongs to no {attribute}"),
        ("{id}", "has neither {hash}, nor {source} and {id}: an event would overwrite another"),
        ("/{hash}", "begins with '/', so that the first folder would have no name"),
    ],
)
def test_what_is_wrong_with_the_key_of_a_sink_is_said(key: str, message: str) -> None:
    assert refused(S3SinkSpec, {"key": key}) == f"key: {message}"


def test_a_secret_is_in_no_repr() -> None:
    keys = {"accessKeyId": "me", "secretAccessKey": SECRET}

    assert SECRET not in repr(S3Spec.model_validate({**MINIMAL, **keys}))
    assert SECRET not in repr(
        Keys(access_key_id="me", secret=SECRET, token=SECRET, region="us-east-1")
    )


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "signature"),
    [
        (
            "GET",
            "https://examplebucket.s3.amazonaws.com/test.txt",
            {"range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "https://examplebucket.s3.amazonaws.com/test%24file.text",
            {
                "date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            f"https://examplebucket.s3.amazonaws.com/?{query_of({'prefix': 'J', 'max-keys': '2'})}",
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_requests_are_signed_as_in_the_examples_of_amazon(
    method: str, url: str, headers: Mapping[str, str], body: bytes, signature: str
) -> None:
    keys = Keys(
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        token=None,
        region="us-east-1",
    )
    now = datetime(2013, 5, 24, tzinfo=UTC)

    found = signed(method, url, headers, body, keys=keys, now=now)

    assert found["authorization"].endswith(f"Signature={signature}")


def test_keys_are_read_as_amazon_encodes_them() -> None:
    text = b"""<?xml version="1.0" encoding="UTF-8"?>
        <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
        <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
        <NextContinuationToken>t=/</NextContinuationToken>
        <Contents><Key>a//%C3%A4+b%2Bc%0A</Key><LastModified>2026-03-01T02:00:00.000Z</LastModified>
        <ETag>&quot;e&quot;</ETag><Size>7</Size></Contents></ListBucketResult>"""

    page = page_of(text, "Sun, 01 Mar 2026 12:00:00 GMT")

    [found] = page.objects
    assert (found.key, found.etag, found.size) == ("a//ä b+c\n", '"e"', 7)
    assert found.time == datetime(2026, 3, 1, 2, tzinfo=UTC)
    assert (page.token, page.now) == ("t=/", NOON)


@pytest.mark.parametrize(
    "text",
    [
        b"<html/>",
        b"no XML",
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        (
            b"<ListBucketResult><Contents><Key>a</Key><LastModified>today</LastModified>"
            b"<ETag>e</ETag><Size>7</Size></Contents></ListBucketResult>"
        ),
    ],
)
def test_what_is_no_list_is_told_as_a_fault_of_the_server(text: bytes) -> None:
    with pytest.raises(FAULTS, match="list of S3"):
        page_of(text, None)


def test_a_refusal_without_a_word_of_s3_is_told_by_its_status() -> None:
    assert error_of(503, b"").code == "ServiceUnavailable"
    assert error_of(599, b"<a/>").code == "HTTP599"


# --- what is remembered of objects that are kept ----------------------------------------------


class Store:
    """What a source saves, and what it would read after a crash."""

    def __init__(self) -> None:
        self.place: Any = None

    async def load(self) -> object:
        return self.place

    async def save(self, place: object) -> None:
        self.place = json.loads(json.dumps(place))


def listed(number: int, modified: datetime = NOON) -> Listed:
    key = f"{number:06}"
    return Listed(key=key, etag='"e"', size=1, modified=modified.isoformat(), time=modified)


async def started(store: Store, *, from_end: bool = False) -> Kept:
    context = cast("SourceContext", store)
    kept = Kept(context, look_back=timedelta(hours=1), from_end=from_end)
    await kept.restore()
    return kept


async def walked(
    kept: Kept, objects: list[Listed], *, now: datetime, ends: Callable[[int], bool] = bool
) -> list[Listed]:
    """Walk through pages of 1,000 objects, and return those that were new."""
    found: list[Listed] = []
    after = kept.after
    left = [each for each in objects if after is None or each.key > after]
    await kept.begin(now)
    for number, at in enumerate(range(0, len(left), 1000)):
        if not ends(number + 1):
            return found
        page = left[at : at + 1000]
        new = [each for each in page if kept.is_new(each)]
        found += new
        await kept.emitted(new)
        await kept.passed(page)
    await kept.end()
    return found


async def test_a_place_is_small_however_many_objects_there_are() -> None:
    store = Store()
    objects = [listed(number) for number in range(20_000)]

    assert await walked(await started(store), objects, now=NOON) == objects
    again = await walked(await started(store), objects, now=NOON)

    assert len(json.dumps(store.place)) < 64 << 10
    assert len(again) == 16_000  # none is lost; those that are not remembered come again


async def test_of_old_objects_none_comes_again_however_many_there_are() -> None:
    store = Store()
    objects = [listed(number, NOON - timedelta(hours=2)) for number in range(20_000)]

    await walked(await started(store), objects, now=NOON)

    assert await walked(await started(store), objects, now=NOON) == []


async def test_a_first_walk_that_a_crash_ends_goes_on_where_it_was() -> None:
    store = Store()
    old = NOON - timedelta(hours=2)
    objects = [listed(number, old if number % 5 else NOON) for number in range(3_500)]

    first = await walked(await started(store), objects, now=NOON, ends=lambda page: page < 3)
    later = NOON + timedelta(days=1)
    kept = await started(store)
    rest = await walked(kept, objects, now=later)
    behind = listed(17, NOON)  # which came while the walk was further on
    third = await walked(kept, [*objects[:17], behind, *objects[18:]], now=later)

    assert first + rest == objects
    assert third == [behind]


async def test_the_end_is_where_it_first_was_whatever_becomes_of_the_mesh_then() -> None:
    store = Store()
    await (await started(store, from_end=True)).begin(NOON)

    objects = [listed(1, NOON - timedelta(minutes=1)), listed(2, NOON + timedelta(minutes=1))]
    later = NOON + timedelta(minutes=2)
    found = await walked(await started(store, from_end=True), objects, now=later)

    assert found == objects[1:]


async def test_memory_lasts_as_long_as_it_looks_back() -> None:
    store = Store()
    kept = await started(store)
    await walked(kept, [listed(1)], now=NOON)
    await walked(kept, [listed(1), listed(2)], now=NOON + timedelta(hours=2))

    assert len(kept._seen) == 0
    assert not kept.is_new(listed(1))
    assert kept.is_new(listed(3, NOON + timedelta(hours=1)))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    text = b"12345\r\n\n123456\r\n1234567890123\n  \n12345"
    lines = Lines(5)
    found = [
        line for at in range(0, len(text), size) for line in lines.take(text[at : at + size])
    ] + list(lines.finish())

    assert [(each.number, each.data) for each in found] == [
        (1, b"12345"),
        (3, None),
        (4, None),
        (6, b"12345"),
    ]


@pytest.mark.parametrize(
    ("page", "model"), [("docs/sources/S3Source.md", S3Spec), ("docs/sinks/S3Sink.md", S3SinkSpec)]
)
def test_the_manifest_of_the_page_is_taken(page: str, model: type, tmp_path: Path) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    file = tmp_path / "mesh.yaml"
    file.write_text(shown + OTHERS)

    desired = load([file]).desired

    specs = [each.spec for each in desired.sources.values()]
    sinks = [each.subscriber.sink for each in desired.triggers.values()]
    specs += [each.spec for each in sinks if each is not None]
    assert model in map(type, specs)
