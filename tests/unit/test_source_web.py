"""HttpPollerSource and WebSocketSource without a server: what their specs may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from yarl import URL

from broker.connections.web import WebAccess
from broker.errors import InvalidManifest
from broker.manifest import load
from sources.httppoller import HttpPollerSpec
from sources.httppoller.client import next_page
from sources.httppoller.exchange import Response
from sources.httppoller.memory import MOST, Memory, key_of
from sources.websocket import WebSocketSpec

ROOT = Path(__file__, "../../..").resolve()
PASSWORD = "swordfish"
URLS: Mapping[type, str] = {HttpPollerSpec: "http://server", WebSocketSpec: "ws://server"}
BROKER = """
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: v1
kind: Secret
metadata: {name: api}
stringData: {token: swordfish}
---
apiVersion: v1
kind: Secret
metadata: {name: feed}
stringData: {apiKey: swordfish}
"""

both = pytest.mark.parametrize("model", [HttpPollerSpec, WebSocketSpec])


def refused(model: type[WebAccess], **spec: object) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"url": URLS[model], **spec})
    assert PASSWORD not in str(caught.value)
    [error] = caught.value.errors()
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


def test_a_spec_needs_no_more_than_a_url() -> None:
    polled = HttpPollerSpec.model_validate({"url": "https://server/x?y"})
    heard = WebSocketSpec.model_validate({"url": "WSS://server"})

    assert (polled.interval, polled.max_pages) == (timedelta(minutes=1), 1)
    assert polled.said_headers() == heard.said_headers() == []
    assert heard.secure


@both
@pytest.mark.parametrize("url", ["server", "ftp://server", "x:", "://", "mailto:me", "redis://s"])
def test_a_url_is_one_of_the_protocol(model: type[WebAccess], url: str) -> None:
    assert "is not a URL of " in refused(model, url=url)


@both
@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("me:swordfish@server/", "url: has a user, or an '@', in it; who asks is said by 'auth'"),
        (
            "server/#top",
            "url: has a fragment, which no server sees; leave out what follows the '#'",
        ),
        ("server:99999/", "url: is not a URL such as "),
        ("server/a b", "url: has U+0020 (space) at "),
    ],
)
def test_a_url_has_nothing_in_it_that_is_not_sent(
    model: type[WebAccess], rest: str, told: str
) -> None:
    scheme = URLS[model].partition("server")[0]

    assert refused(model, url=scheme + rest).startswith(told)


@both
@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"headers": {"a b": "c"}}, "'a b' is not the name of a header"),
        ({"headers": {"Host": "x"}}, "'Host' is said by the source itself"),
        ({"headers": {"A": "b\r\nC: d"}}, ": 'A' has U+000D (carriage return) at character 2"),
        ({"headers": {"A": "b", "a": "c"}}, ": 'headers' has one of its names twice"),
        (
            {"headers": {"authorization": "x"}, "auth": {"bearer": PASSWORD}},
            ": 'headers' and 'auth' both say 'Authorization'",
        ),
        ({"auth": {}}, "auth: takes one of 'bearer' and 'basic'"),
        ({"auth": {"bearer": ""}}, "auth: 'bearer' is empty"),
        (
            {"auth": {"bearer": f"{PASSWORD}\n"}},
            "auth: 'bearer' has U+000A (line feed) at character 10, which no header may have; was",
        ),
        (
            {"auth": {"basic": {"user": "a:b", "password": PASSWORD}}},
            "auth: 'user' has a ':' in it",
        ),
        ({"tls": {}}, ": 'tls' is of no use with "),
        ({"tls": {"key": PASSWORD}}, "tls: 'cert' and 'key' are of no use without each other"),
        ({"tls": {"caCert": PASSWORD}}, "tls: 'caCert' holds no certificates in PEM format"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_is_shown(
    model: type[WebAccess], spec: Mapping[str, object], told: str
) -> None:
    assert told in refused(model, **spec)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"itemId": "id"}, ": 'itemId' is of no use without 'items'"),
        ({"maxPages": 2}, ": 'maxPages' is of no use without 'items'"),
        ({"items": "a..b"}, "items: 'a..b' is not a path such as data.items"),
        ({"items": ".", "itemId": "."}, "itemId: '.' is not a path such as data.items"),
    ],
)
def test_what_is_polled_can_be_found(spec: Mapping[str, object], told: str) -> None:
    assert refused(HttpPollerSpec, **spec) == told


def test_a_subprotocol_is_a_name() -> None:
    told = refused(WebSocketSpec, subprotocols=["a b"])

    assert told == "subprotocols.0: 'a b' is not the name of a subprotocol"


@both
def test_a_secret_is_in_no_repr(model: type[WebAccess]) -> None:
    secret = {"headers": {"X-Api-Key": PASSWORD}, "auth": {"bearer": PASSWORD}}

    spec = model.model_validate({"url": URLS[model], **secret})

    assert PASSWORD not in repr(spec)
    assert dict(spec.said_headers()) == {
        "X-Api-Key": PASSWORD,
        "Authorization": f"Bearer {PASSWORD}",
    }


@pytest.mark.parametrize(
    ("link", "following"),
    [
        ('<https://a/2>; rel="next"', "https://a/2"),
        ('<1>; rel=prev, <2>; title="<3>; rel=x"; rel="next"', "https://server/2"),
        ("<?page=2>; REL=NEXT", "https://server/list?page=2"),
        ('<2>; rel="nextish"', None),
        ("<2>", None),
    ],
)
def test_the_next_page_is_where_a_link_says(link: str, following: str | None) -> None:
    headers = [(b"link", link.encode())]
    url = URL("https://server/list?page=1")
    response = Response(url=url, status=200, headers=headers, body=b"")

    assert next_page(response) == (None if following is None else URL(following))


def test_what_may_be_a_text_or_a_secret_is_read_from_manifests(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    manifest = """\
apiVersion: sources.cemesh.dev/v1alpha1
kind: WebSocketSource
metadata: {name: ticks}
spec:
  url: ws://server
  headers: {X-Version: VERSION}
  subscribe: [hello, {secretKeyRef: {name: api, key: token}}]
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: default}}
"""
    file.write_text(manifest.replace("VERSION", '"2"') + BROKER)

    [source] = load([file]).desired.sources.values()
    file.write_text(manifest.replace("VERSION", "2") + BROKER)
    with pytest.raises(InvalidManifest) as caught:
        load([file])

    assert isinstance(source.spec, WebSocketSpec)
    assert [each.get_secret_value() for each in source.spec.subscribe] == ["hello", PASSWORD]
    assert source.spec.said_headers() == [("X-Version", "2")]
    assert "spec.headers.X-Version: must be a string, or {secretKeyRef: " in str(caught.value)


def test_what_has_not_been_there_for_longest_is_forgotten_first() -> None:
    spec = HttpPollerSpec.model_validate({"url": "http://server", "items": "."})
    keys = [key_of(b"%d" % number) for number in range(MOST + 1)]
    memory = Memory(spec, None)

    memory.see(keys[:MOST])
    memory.see(keys[:1])
    memory = Memory(spec, memory.stored())
    memory.see(keys[MOST:])

    assert [key for key in keys if not memory.knows(key)] == [keys[1]]


def test_of_another_list_nothing_was_seen_and_no_id_is_given_twice() -> None:
    spec = {"url": "http://server", "items": "a", "itemId": "id"}
    memory = Memory(HttpPollerSpec.model_validate(spec), None)
    memory.see([key_of(b"1")])
    memory.body, memory.changes = "digest", 7
    for change in ({"url": "http://server/2"}, {"items": "b"}, {"itemId": "uuid"}):
        other = Memory(HttpPollerSpec.model_validate({**spec, **change}), memory.stored())

        assert not other.knows(key_of(b"1"))
        assert (other.body, other.changes) == (None, 7)


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("docs/sources/HttpPollerSource.md", HttpPollerSpec),
        ("docs/sources/WebSocketSource.md", WebSocketSpec),
    ],
)
def test_the_manifest_of_the_page_is_taken(
    page: str, model: type[WebAccess], tmp_path: Path
) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    file = tmp_path / "mesh.yaml"
    file.write_text(shown + BROKER)

    [source] = load([file]).desired.sources.values()

    assert isinstance(source.spec, model)
    assert PASSWORD in str(source.spec.said_headers())
