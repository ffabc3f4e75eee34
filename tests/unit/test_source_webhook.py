"""WebhookSource: what webhooks become, how they are answered, and what a spec may say."""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml
from pydantic import ValidationError

from broker.errors import ChannelUnavailable, InvalidEvent, UnsupportedContent
from broker.event import Event
from broker.manifest import load
from cemesh import HttpReply, HttpRequest, InvalidManifest
from cemesh.testing.sources import RunningSource, running
from sources.webhook import WebhookSource, WebhookSpec

SECRET = "swordfish"
WHSEC = "whsec_c3dvcmRmaXNoLXN3b3JkZmlzaC1zd29yZGZpc2g="
PAGE = Path(__file__, "../../../docs/sources/WebhookSource.md").resolve()
URI = "/apis/v1/namespaces/default/webhooksources/hook"
FORM = "application/x-www-form-urlencoded"


@asynccontextmanager
async def hook(**spec: object) -> AsyncIterator[RunningSource]:
    async with running(WebhookSource, WebhookSpec.model_validate(spec), name="hook") as source:
        yield source


def unverified(
    preset: str | None = None, event: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return the spec of a source whose requests need not be signed, to look at their events."""
    spec: dict[str, object] = {"unverified": True}
    return {**spec, "preset": preset, "event": event}


def post(
    body: object, headers: Mapping[str, str] | None = None, *, content_type: str | None = None
) -> HttpRequest:
    """Return a request with that body, of which what is no bytes is sent as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = content_type or "application/json"
    return HttpRequest(headers=[("content-type", kind), *(headers or {}).items()], body=sent)


def form(**fields: str) -> HttpRequest:
    return post(urlencode(fields).encode(), content_type=FORM)


async def event_of(source: RunningSource, request: HttpRequest) -> Event:
    await source.call(request)
    [event] = await source.events(1)
    return event


def told(event: Event) -> dict[str, str]:
    """Return its attributes but for those that all of these have."""
    return {
        name: each
        for name, each in event.attributes.items()
        if name not in ("specversion", "datacontenttype")
    }


def signed_by_github(body: bytes, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, "sha256").hexdigest()
    return {"x-hub-signature-256": f"sha256={digest}", "x-github-event": "ping"}


def signed_by_slack(body: bytes) -> dict[str, str]:
    now = int(time.time())
    digest = hmac.new(SECRET.encode(), b"v0:%d:%s" % (now, body), "sha256").hexdigest()
    return {"x-slack-request-timestamp": str(now), "x-slack-signature": f"v0={digest}"}


# --- answers ---------------------------------------------------------------------------------


async def test_what_is_proved_is_stored_before_it_is_answered() -> None:
    body = b'{"zen":  "Half measures."}'

    async with hook(preset="github", secrets=[SECRET]) as source:
        assert await source.call(post(body, signed_by_github(body))) == HttpReply(status=202)
        [event] = await source.events(1)

    assert (event.type, event.data) == ("dev.cemesh.github.ping", body)


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "the header X-Hub-Signature-256 is missing"),
        (
            signed_by_github(b"{}", "another"),
            "the signature in X-Hub-Signature-256 does not match, or is by another secret",
        ),
    ],
)
async def test_what_is_not_proved_is_refused_and_not_kept(
    headers: Mapping[str, str], detail: str
) -> None:
    async with hook(preset="github", secrets=[SECRET]) as source:
        reply = await source.call(post(b"{}", headers))

        assert (reply.status, json.loads(reply.body)["detail"]) == (401, detail)
        assert reply.headers["content-type"] == "application/problem+json"
        assert (source.status.emitted, source.status.rejected) == (0, 0)
        # Anybody can send it, so it makes nothing unhealthy.
        assert source.status.state == "running"


async def test_refusals_are_told_in_the_log_once_in_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="cemesh.sources.webhook")

    async with hook(preset="github", secrets=[SECRET]) as source:
        for _ in range(3):
            await source.call(post(b"not for the log"))

    [record] = caplog.records
    assert vars(record)["source"] == "WebhookSource default/hook"
    assert vars(record)["why"] == "the header X-Hub-Signature-256 is missing"
    assert "not for the log" not in str(vars(record))


async def test_other_methods_are_refused() -> None:
    async with hook(preset="github", secrets=[SECRET]) as source:
        reply = await source.call(
            HttpRequest(method="GET", headers=[*signed_by_github(b"").items()])
        )

    assert (reply.status, reply.headers["allow"]) == (405, "POST")


async def test_while_the_store_is_away_the_service_is_told_to_come_again() -> None:
    async with hook(**unverified("github")) as source:
        with source.outage(), pytest.raises(ChannelUnavailable):
            await source.call(post({}))


async def test_what_is_compressed_is_not_taken_for_what_it_is_not() -> None:
    async with hook(**unverified("github")) as source:
        await source.call(post({}, {"content-encoding": "identity"}))
        with pytest.raises(UnsupportedContent, match="gzip"):
            await source.call(post(b"\x1f\x8b", {"content-encoding": "gzip"}))


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{", b"[1]", b"null", b"[" * 100_000, b'{"action": {}}']
)
@pytest.mark.parametrize("preset", ["github", "gitlab", "stripe", "slack", "standard-webhooks"])
async def test_a_body_that_nobody_expects_is_an_event_all_the_same(
    preset: str, body: bytes
) -> None:
    async with hook(**unverified(preset)) as source:
        event = await event_of(source, post(body))

    assert told(event) == {
        "id": sha256(body).hexdigest(),
        "source": URI,
        "type": f"dev.cemesh.{preset}.webhook",
    }
    assert event.data == (body or None)


async def test_what_no_event_can_have_is_left_out() -> None:
    headers = {"x-github-event": "a\x00b", "x-github-delivery": "\x7f"}
    body = {"repository": {"html_url": "no uri"}, "ref": "a\nb"}

    async with hook(**unverified("github")) as source:
        event = await event_of(source, post(body, headers, content_type="no media type"))

    assert (event.type, event.source) == ("dev.cemesh.github.webhook", URI)
    assert set(event.attributes) == {"specversion", "id", "source", "type"}


# --- presets ---------------------------------------------------------------------------------


async def test_githubs_events_are_told_of_by_their_headers_and_bodies() -> None:
    headers = {"x-github-event": "issues", "x-github-delivery": "72d3162e-cc78"}
    repository = {"html_url": "https://github.com/octocat/hello"}
    body = {"action": "opened", "issue": {"number": 7}, "repository": repository}
    attributes = {
        "id": "72d3162e-cc78",
        "source": "https://github.com/octocat/hello",
        "type": "dev.cemesh.github.issues.opened",
        "subject": "7",
    }

    async with hook(**unverified("github")) as source:
        event = await event_of(source, post(body, headers))
        assert told(event) == attributes

        # The other way to send that GitHub offers: a form, with the JSON in it.
        request = post(
            urlencode({"payload": json.dumps(body)}).encode(), headers, content_type=FORM
        )
        same = await event_of(source, request)
        assert (told(same), json.loads(same.data or b"")) == (attributes, body)
        assert same.attributes["datacontenttype"] == "application/json"

        push = {"ref": "refs/heads/main", "organization": {"url": "https://api.github.com/orgs/o"}}
        pushed = told(await event_of(source, post(push, {"x-github-event": "push"})))
        assert pushed["type"] == "dev.cemesh.github.push"
        assert pushed["subject"] == "refs/heads/main"
        assert pushed["source"] == "https://api.github.com/orgs/o"


async def test_gitlabs_events_are_told_of_by_their_headers_and_bodies() -> None:
    headers = {
        "x-gitlab-event": "Merge Request Hook",
        "x-gitlab-event-uuid": "shared",
        "x-gitlab-instance": "https://gitlab.example.com",
        "idempotency-key": "f5e5f430",
    }
    body = {
        "object_kind": "merge_request",
        "project": {"web_url": "https://gitlab.example.com/a/b"},
        "object_attributes": {"iid": 3, "id": 99, "action": "open"},
    }

    async with hook(**unverified("gitlab")) as source:
        assert told(await event_of(source, post(body, headers))) == {
            "id": "f5e5f430",
            "source": "https://gitlab.example.com/a/b",
            "type": "dev.cemesh.gitlab.merge_request.open",
            "subject": "3",
        }
        del headers["idempotency-key"]
        assert told(await event_of(source, post({}, headers))) == {
            "id": "shared",
            "source": "https://gitlab.example.com",
            "type": "dev.cemesh.gitlab.merge_request",
        }


@pytest.mark.parametrize("created", [1_772_330_400, "2026-03-01T02:00:00Z"])
async def test_stripes_events_are_told_of_by_their_bodies(created: object) -> None:
    body = {
        "id": "evt_1",
        "type": "invoice.paid",
        "created": created,
        "data": {"object": {"id": "in_1"}},
    }

    async with hook(**unverified("stripe")) as source:
        assert told(await event_of(source, post(body))) == {
            "id": "evt_1",
            "source": URI,
            "type": "dev.cemesh.stripe.invoice.paid",
            "subject": "in_1",
            "time": "2026-03-01T02:00:00Z",
        }


async def test_slacks_challenge_is_answered_once_it_is_proved() -> None:
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1a"}).encode()

    async with hook(preset="slack", secrets=[SECRET]) as source:
        assert (await source.call(post(body))).status == 401

        reply = await source.call(post(body, signed_by_slack(body)))
        assert (reply.status, reply.body) == (200, b"3eZbrw1a")
        assert reply.headers["content-type"] == "text/plain"
        assert source.status.emitted == 0


async def test_slacks_events_keep_their_ids_when_they_come_again() -> None:
    body = {
        "type": "event_callback",
        "event": {"type": "reaction_added", "item": {"channel": "C1"}, "user": "U1"},
        "event_id": "Ev123",
        "event_time": 1_772_330_400,
    }

    async with hook(**unverified("slack")) as source:
        assert (await source.call(post(body))).status == 200
        again = await source.call(post(body, {"x-slack-retry-num": "1"}))
        assert again.status == 200
        one, other = await source.events(2)

    assert (
        told(one)
        == told(other)
        == {
            "id": "Ev123",
            "source": URI,
            "type": "dev.cemesh.slack.reaction_added",
            "subject": "C1",
            "time": "2026-03-01T02:00:00Z",
        }
    )


async def test_slacks_commands_and_interactions_come_as_json() -> None:
    async with hook(**unverified("slack")) as source:
        command = await event_of(
            source, form(command="/weather", text="94070 ä", trigger_id="13.9", user_id="")
        )
        interaction = {
            "type": "view_submission",
            "trigger_id": "12.3",
            "view": {"callback_id": "v"},
        }
        clicked = await event_of(source, form(payload=json.dumps(interaction)))

    assert told(command) == {
        "id": "13.9",
        "source": URI,
        "type": "dev.cemesh.slack.slash_command",
        "subject": "/weather",
    }
    assert json.loads(command.data or b"") == {
        "command": "/weather",
        "text": "94070 ä",
        "trigger_id": "13.9",
        "user_id": "",
    }
    assert told(clicked) == {
        "id": "12.3",
        "source": URI,
        "type": "dev.cemesh.slack.view_submission",
        "subject": "v",
    }
    assert json.loads(clicked.data or b"") == interaction
    assert clicked.attributes["datacontenttype"] == "application/json"


async def test_standard_webhooks_have_their_senders_own_types() -> None:
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1772330400"}

    async with hook(**unverified("standard-webhooks")) as source:
        body = {"type": "user.created", "timestamp": "2026-02-28T23:59:59.5Z", "data": {}}
        assert told(await event_of(source, post(body, headers))) == {
            "id": "msg_1",
            "source": URI,
            "type": "user.created",
            "time": "2026-02-28T23:59:59.5Z",
        }
        bare = told(await event_of(source, post({}, headers)))
        assert bare["time"] == "2026-03-01T02:00:00Z"
        assert bare["type"] == "dev.cemesh.standard-webhooks.webhook"


# --- any other service -----------------------------------------------------------------------


async def test_attributes_are_taken_from_where_the_spec_says() -> None:
    event = {
        "id": {"header": "X-Id"},
        "type": {"json": "event.types.1"},
        "source": {"value": "https://shop.example.com"},
        "subject": {"json": "number"},
        "time": {"json": "at"},
    }
    body = {"event": {"types": ["a", "b"]}, "number": 5, "at": 1_772_330_400}

    async with hook(**unverified(event=event)) as source:
        assert told(await event_of(source, post(body, {"x-id": "1"}))) == {
            "id": "1",
            "source": "https://shop.example.com",
            "type": "b",
            "subject": "5",
            "time": "2026-03-01T02:00:00Z",
        }
        # Nothing there, or nothing that an attribute could be.
        for other in ({}, {"event": {"types": "ab"}, "number": True, "at": "soon"}):
            assert told(await event_of(source, post(other))) == {
                "id": sha256(json.dumps(other).encode()).hexdigest(),
                "source": "https://shop.example.com",
                "type": "dev.cemesh.unverified.webhook",
            }


async def test_of_a_form_nothing_is_lost() -> None:
    async with hook(**unverified(event={"id": {"json": "a.1"}, "type": {"json": "t"}})) as source:
        event = await event_of(source, post(b"a=1&t=x&a=2&b=", content_type=FORM))
        assert (event.id, event.type) == ("2", "x")
        assert json.loads(event.data or b"") == {"a": ["1", "2"], "t": "x", "b": ""}
        assert event.attributes["datacontenttype"] == "application/json"

        for none in (b"a=%ff", b"", b'{"t": "y"}', b"\xff=1"):  # as `curl -d` sends it, say
            unread = await event_of(source, post(none, content_type=FORM))
            assert (unread.data, unread.attributes["datacontenttype"]) == (none or None, FORM)
            assert unread.type == ("y" if none[:1] == b"{" else "dev.cemesh.unverified.webhook")


async def test_without_an_id_what_comes_again_is_the_same_and_nothing_else_is() -> None:
    signing = {
        "header": "X-Sig",
        "signedContent": "{timestamp}{body}",
        "timestampHeader": "X-Time",
    }
    now = int(time.time())

    def request(at: int) -> HttpRequest:
        digest = hmac.new(SECRET.encode(), b"%d{}" % at, "sha256").hexdigest()
        return post(b"{}", {"x-sig": digest, "x-time": str(at)})

    async with hook(hmac=signing, secrets=[SECRET]) as source:
        first, again, later = [await event_of(source, request(at)) for at in (now, now, now + 1)]

    assert first.id == again.id != later.id
    assert first.type == "dev.cemesh.hmac.webhook"
    assert "time" in first.attributes


# --- webhooks that are CloudEvents ------------------------------------------------------------

EVENT = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order"}
EVENT_TOLD = {name: each for name, each in EVENT.items() if name != "specversion"}


@pytest.mark.parametrize("preset", ["standard-webhooks", None])
async def test_a_cloudevent_stays_that_event(preset: str | None) -> None:
    async with hook(**unverified(preset)) as source:
        binary = post({"a": 1}, {f"ce-{name}": each for name, each in EVENT.items()})
        event = await event_of(source, binary)
        assert (told(event), event.data) == (EVENT_TOLD, b'{"a": 1}')

        structured = post(EVENT, content_type="application/cloudevents+json")
        assert told(await event_of(source, structured)) == EVENT_TOLD

        with pytest.raises(InvalidEvent):
            await source.call(post({}, {"ce-id": "7"}))


async def test_what_github_sends_is_githubs() -> None:
    async with hook(**unverified("github")) as source:
        event = await event_of(source, post({}, {"ce-id": "7", "x-github-event": "ping"}))

    assert event.type == "dev.cemesh.github.ping"


# --- the spec --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({}, "names neither 'preset' (github, gitlab, stripe, slack, standard-webhooks) nor"),
        ({"secrets": [SECRET]}, "names neither 'preset'"),
        ({"preset": "github"}, "'secrets' is missing or empty"),
        ({"preset": "github", "secrets": []}, "'secrets' is missing or empty"),
        ({"hmac": {"header": "X-Sig"}}, "'secrets' is missing or empty"),
        ({"preset": "github", "unverified": False}, "'secrets' is missing or empty"),
        ({"preset": "github", "secrets": ["a", ""]}, "secrets.1: is empty"),
        ({"preset": "github", "secrets": [SECRET + "\n"]}, "secrets.0: has U+000A (line feed)"),
        ({"preset": "github", "secrets": [SECRET], "unverified": True}, "'unverified' leaves"),
        ({"hmac": {"header": "X-Sig"}, "unverified": True}, "'unverified' leaves no use for"),
        (
            {"preset": "github", "hmac": {"header": "X-Sig"}, "secrets": [SECRET]},
            "'preset' and 'hmac' are two ways",
        ),
        (
            {"preset": "github", "secrets": [SECRET], "event": {"id": {"header": "X"}}},
            "'event' is not for presets",
        ),
        (
            {"preset": "standard-webhooks", "secrets": [WHSEC, SECRET]},
            "'secrets[1]' begins with neither whsec_",
        ),
        ({"preset": "standard-webhooks", "secrets": ["whsec_?"]}, "'secrets[0]' is not base64"),
        ({"preset": "standard-webhooks", "secrets": ["whsec_"]}, "'secrets[0]' is not base64"),
        ({"preset": "standard-webhooks", "secrets": ["whpk_AAAA"]}, "is 3 bytes long"),
        ({"preset": "standard-webhooks", "secrets": ["whsk_AAAA"]}, "is the private key"),
        ({"preset": "gitlab", "secrets": ["whsec_?"]}, "'secrets[0]' is not base64"),
        ({"preset": "github", "secrets": [SECRET], "tolerance": "PT1M"}, "'tolerance' is of no"),
        (
            {"hmac": {"header": "X-Sig"}, "secrets": [SECRET], "tolerance": "PT1M"},
            "'tolerance' is of no use",
        ),
        ({"preset": "stripe", "secrets": [SECRET], "tolerance": "PT0S"}, "longer than zero"),
    ],
)
def test_nothing_is_left_unverified_by_mistake(spec: Mapping[str, object], wrong: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSpec.model_validate(spec)

    [error] = caught.value.errors()
    message = error["msg"].removeprefix("Value error, ")
    assert wrong in f"{'.'.join(map(str, error['loc']))}: {message}"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ({"hmac": {"header": "X Sig"}}, "no name of a header"),
        ({"hmac": {"header": "X-Sig", "signedContent": "{url}{body}"}}, "'{url}' is not known"),
        ({"hmac": {"header": "X-Sig", "signedContent": "fixed"}}, "{body} in it, once"),
        (
            {"hmac": {"header": "X-Sig", "signedContent": "{timestamp}.{body}"}},
            "of no use without each other",
        ),
        ({"hmac": {"header": "X-Sig", "timestampHeader": "X-T"}}, "of no use without each other"),
        ({"event": {"id": {}}}, "one of 'header', 'json' and 'value'"),
        ({"event": {"id": {"header": "X", "value": "1"}}}, "one of 'header', 'json' and 'value'"),
        ({"event": {"source": {"value": "no uri"}}}, "'source' is not a URI-reference"),
    ],
)
def test_what_could_never_work_is_refused(part: Mapping[str, object], wrong: str) -> None:
    with pytest.raises(ValidationError, match="1 validation error") as caught:
        WebhookSpec.model_validate({"hmac": {"header": "X-Sig"}, "secrets": [SECRET], **part})

    assert wrong in str(caught.value)


def test_a_manifest_has_its_secrets_in_a_secret(tmp_path: Path) -> None:
    manifest = tmp_path / "mesh.yaml"
    manifest.write_text(
        """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
apiVersion: v1
kind: Secret
metadata: {name: github}
stringData: {secret: swordfish, none: ""}
---
apiVersion: sources.cemesh.dev/v1alpha1
kind: WebhookSource
metadata: {name: github}
spec:
  preset: github
  secrets:
  - secretKeyRef: {name: github, key: secret}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: default}}
"""
    )
    [source] = load([manifest]).desired.sources.values()
    assert isinstance(source.spec, WebhookSpec)
    assert (source.spec.keys, source.receives) == ([SECRET], True)
    assert SECRET not in repr(source)

    manifest.write_text(manifest.read_text().replace("key: secret", "key: none"))
    with pytest.raises(InvalidManifest, match=r"mesh\.yaml:\d+: .*spec\.secrets\[0\]: is empty"):
        load([manifest])
    manifest.write_text(
        manifest.read_text().replace("secretKeyRef: {name: github, key: none}", SECRET)
    )
    with pytest.raises(InvalidManifest, match="it does not stand here itself"):
        load([manifest])


def test_the_manifests_of_the_page_are_taken(tmp_path: Path) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}
    documents = [
        {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "default"}}
    ]
    for name in ("github", "shop"):
        metadata = {"name": name}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        documents.append({**secret, "stringData": {"secret": SECRET}})
    for number, each in enumerate(map(yaml.safe_load, shown)):
        documents.append(
            {
                "apiVersion": "sources.cemesh.dev/v1alpha1",
                "kind": "WebhookSource",
                "metadata": {"name": str(number)},
                "spec": {"sink": {"ref": ref}, **each["spec"]},
            }
        )
    file = tmp_path / "mesh.yaml"
    file.write_text(yaml.safe_dump_all(documents))

    specs = [each.spec for each in load([file]).desired.sources.values()]

    assert len(specs) == 2
    assert all(isinstance(each, WebhookSpec) for each in specs)
