"""RedisStreamSource and RedisStreamSink without a Redis: what their specs may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.manifest import load
from sinks.redis import RedisStreamSinkSpec
from sources.redis import RedisStreamSpec
from sources.redis.entries import Entry, event_of

ROOT = Path(__file__, "../../..").resolve()
MINIMAL: Mapping[str, object] = {"url": "redis://redis", "stream": "orders"}
PASSWORD = "swordfish"
OTHERS = """
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: v1
kind: Secret
metadata: {name: redis}
stringData: {user: me, password: swordfish}
"""


def refused(**spec: object) -> str:
    with pytest.raises(ValidationError) as caught:
        RedisStreamSpec.model_validate({**MINIMAL, **spec})
    assert PASSWORD not in str(caught.value)
    [error] = caught.value.errors()
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


def test_a_spec_needs_no_more_than_a_url_and_a_stream() -> None:
    spec = RedisStreamSpec.model_validate(MINIMAL)

    assert spec.address == ("redis", 6379)
    assert (spec.start_at, spec.claim_after) == ("end", timedelta(minutes=1))
    assert spec.group_of("shop", "orders") == "cemesh-source.shop.orders"
    assert spec.group_of("a", "b.c") != spec.group_of("a-b", "c")


def test_an_address_may_be_of_ip_version_6() -> None:
    spec = RedisStreamSpec.model_validate({**MINIMAL, "url": "rediss://[::1]:7000/"})

    assert (spec.address, spec.encrypted) == (("::1", 7000), True)


@pytest.mark.parametrize("url", ["redis", "http://redis", "redis://redis:0", "redis://redis/3"])
def test_a_url_is_a_scheme_a_host_and_a_port(url: str) -> None:
    assert refused(url=url).startswith(f"url: '{url}' is not of the form redis://HOST:PORT")


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    told = refused(url=f"redis://me:{PASSWORD}@redis")

    assert told == "url: has a user or a password in it; say them by 'user' and 'password'"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"user": "me"}, ": 'password' is missing; 'user' needs it"),
        ({"password": ""}, ": 'password' is empty"),
        (
            {"password": f"{PASSWORD}\n"},
            (
                ": 'password' has U+000A (line feed) at character 10, which no password of Redis "
                "may have; was it made with 'echo' where 'echo -n' was meant?"
            ),
        ),
        ({"tls": {}}, ": 'tls' is of no use with redis://; rediss:// is Redis over TLS"),
        (
            {"url": "rediss://redis", "tls": {"caCert": PASSWORD}},
            "tls: 'caCert' holds no certificates in PEM format",
        ),
        (
            {"url": "rediss://redis", "tls": {"key": PASSWORD}},
            "tls: 'cert' and 'key' are of no use without each other",
        ),
        ({"claimAfter": "PT0.01S"}, "claimAfter: must be PT0.1S or longer"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_is_shown(
    spec: Mapping[str, object], message: str
) -> None:
    assert refused(**spec) == message


def test_a_secret_is_in_no_repr() -> None:
    assert PASSWORD not in repr(RedisStreamSpec.model_validate({**MINIMAL, "password": PASSWORD}))


def test_the_name_of_a_stream_may_be_any_and_the_source_stays_a_uri() -> None:
    entry = Entry(id="1-0", fields=[(b"a", b"1")])

    assert event_of(entry, "/source", "a b#ä").source == "/source#a%20b%23%C3%A4"


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("docs/sources/RedisStreamSource.md", RedisStreamSpec),
        ("docs/sinks/RedisStreamSink.md", RedisStreamSinkSpec),
    ],
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
