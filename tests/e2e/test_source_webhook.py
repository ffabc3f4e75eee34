"""WebhookSources in a real mesh: each service's own signatures, at the data port."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from standardwebhooks import Webhook

from broker.admin.models import StatusDocument
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as status_of
from tests.services.subscribers import Subscriber

SECRET = "swordfish"
WHSEC = "whsec_" + b64encode(b"swordfish swordfish swordfish").decode()


def webhooks(name: str, *, key: str = "plain", to: str = "default", **spec: object) -> str:
    ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": to}
    secrets = [{"secretKeyRef": {"name": "keys", "key": each}} for each in ("next", key)]
    return json.dumps(
        {
            "apiVersion": "sources.cemesh.dev/v1alpha1",
            "kind": "WebhookSource",
            "metadata": {"name": name},
            "spec": {**spec, "secrets": secrets, "sink": {"ref": ref}},
        }
    )


def keys() -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "keys"},
            # One to rotate to, which is one for every service.
            "stringData": {"next": f"{WHSEC[:-8]}AAAAAAAA", "plain": SECRET, "standard": WHSEC},
        }
    )


def signing_policy() -> str:
    return json.dumps(
        {
            "apiVersion": "cemesh.dev/v1alpha1",
            "kind": "DeliveryPolicy",
            "metadata": {"name": "signed"},
            "spec": {"signing": {"secretRef": {"name": "signing"}}},
        }
    )


def signing_key() -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "signing"},
            "stringData": {"now": WHSEC},
        }
    )


def signed(text: str, policy: str = "signed") -> str:
    """Return that trigger, with what it delivers signed."""
    document = json.loads(text)
    document["metadata"]["annotations"]["cemesh.dev/delivery-policy"] = policy
    return json.dumps(document)


def delivered(status: StatusDocument, key: str) -> int:
    return status_of(status, key).delivered


def digest(content: bytes) -> str:
    return hmac.new(SECRET.encode(), content, "sha256").hexdigest()


def requests() -> Mapping[str, tuple[dict[str, str], bytes]]:
    """Return, by the source that it is for, a request that its service could send now."""
    now = int(time.time())
    github = urlencode({"payload": '{"zen": "Half measures."}'}).encode()
    stripe = b'{"id": "evt_1", "type": "invoice.paid"}'
    slack = b'{"type": "event_callback", "event": {"type": "message"}, "event_id": "Ev1"}'
    moment = datetime.fromtimestamp(now, UTC)
    return {
        "github": (
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "X-GitHub-Event": "ping",
                "X-Hub-Signature-256": f"sha256={digest(github)}",
            },
            github,
        ),
        "gitlab": ({"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": SECRET}, b"{}"),
        "stripe": (
            {"Stripe-Signature": f"t={now},v1={digest(b'%d.%s' % (now, stripe))}"},
            stripe,
        ),
        "slack": (
            {
                "X-Slack-Request-Timestamp": str(now),
                "X-Slack-Signature": f"v0={digest(b'v0:%d:%s' % (now, slack))}",
            },
            slack,
        ),
        "standard": (
            {
                "Webhook-Id": "msg_1",
                "Webhook-Timestamp": str(now),
                "Webhook-Signature": Webhook(WHSEC).sign("msg_1", moment, '{"type":"t"}'),
            },
            b'{"type":"t"}',
        ),
        "shop": ({"X-Shop-Signature": digest(b"{}")}, b"{}"),
    }


SOURCES = manifest(
    keys(),
    *(webhooks(name, preset=name) for name in ("github", "gitlab", "stripe", "slack")),
    webhooks("standard", preset="standard-webhooks", key="standard"),
    webhooks("shop", hmac={"header": "X-Shop-Signature"}),
)
TYPES = {
    "dev.cemesh.github.ping",
    "dev.cemesh.gitlab.push",
    "dev.cemesh.hmac.webhook",
    "dev.cemesh.slack.message",
    "dev.cemesh.stripe.invoice.paid",
    "t",
}


async def test_webhooks_that_are_proved_are_events_that_survive_a_crash(tmp_path: Path) -> None:
    async with Subscriber() as subscriber:
        subscriber.answers("/all", lambda _: 200 if crashed else 503)
        crashed = False
        everything = trigger("all", subscriber.url("/all"), retry=100, backoff="PT0.5S")
        text = manifest(broker(), everything, SOURCES)
        async with RunningMesh(tmp_path, text) as mesh:
            for name, (headers, body) in requests().items():
                path = f"/webhooksources/default/{name}"
                forged = await mesh.request("POST", path, headers=headers, body=body + b" ")
                unsigned = await mesh.request("POST", path, body=body)
                # What GitLab shows proves nothing of the body.
                assert forged.status == (202 if name == "gitlab" else 401), name
                assert (unsigned.status, b"missing" in unsigned.body) == (401, True), name
                assert (await mesh.request("GET", path, headers=headers)).status == 405

                taken = await mesh.request("POST", path, headers=headers, body=body)
                assert taken.status == (200 if name == "slack" else 202), taken
            await mesh.kill9()

            subscriber.received.clear()
            crashed = True
            await mesh.start()
            await mesh.until(lambda status: delivered(status, "default/all") > len(TYPES))

    assert {each.header("ce-type") for each in subscriber.received} == TYPES
    assert SECRET not in mesh.output()
    assert "webhooks refused" in mesh.output()


async def test_what_a_mesh_signs_a_mesh_takes_as_the_event_that_it_is(tmp_path: Path) -> None:
    async with Subscriber() as subscriber:
        mesh = RunningMesh(tmp_path, "")
        there = f"http://127.0.0.1:{mesh.port}/webhooksources/default/standard"
        text = manifest(
            broker(),
            broker("second"),
            keys(),
            signing_policy(),
            signing_key(),
            signed(trigger("over", there)),
            webhooks("standard", preset="standard-webhooks", key="standard", to="second"),
            trigger("second", subscriber.url("/second"), broker="second"),
        )
        mesh.manifest.write_text(text)
        async with mesh:
            assert await mesh.send("default/default", event("7", data=b'{"a": 1}')) == 202
            [came] = await subscriber.received_at("/second")

    assert (came.header("ce-id"), came.header("ce-source")) == ("7", "/tests")
    assert (came.header("ce-type"), came.body) == ("com.example.thing", b'{"a": 1}')
