"""A DeliveryPolicy says what Knative has no field for, to a trigger or to all of a broker."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from broker import plugins
from broker.errors import InvalidManifest
from broker.manifest import load
from broker.policy import (
    Batch,
    Breaker,
    ClientCertificate,
    Consent,
    Credentials,
    Limits,
    OAuth2,
    Rate,
    Signing,
    Timeouts,
)
from broker.trigger import DeliveryPolicy, Target
from tests.services.certificates import make_certificates

KEY: Final = "whsec_" + base64.b64encode(bytes(24)).decode()
CERTIFICATE: Final = make_certificates().client
PRIVATE: Final = "whsk_" + base64.b64encode(bytes(range(32))).decode()

MESH: Final = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: b, annotations: {%s}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t, annotations: {%s}}
spec: {broker: b, subscriber: {uri: "http://a/"$AUDIENCE}%s}
---
apiVersion: cemesh.dev/v1alpha1
kind: DeliveryPolicy
metadata: {name: mine}
spec: %s
---
apiVersion: cemesh.dev/v1alpha1
kind: DeliveryPolicy
metadata: {name: of-the-broker}
spec: {limits: {maxAge: PT1H}}
---
apiVersion: v1
kind: Secret
metadata: {name: all}
stringData:
  username: mesh
  password: "open sesame"
  token: abc.def
  clientId: mesh
  clientSecret: sesame
  tls.crt: $CERTIFICATE
  tls.key: $PRIVATE_KEY
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {now: $NOW, next: $NEXT}
---
apiVersion: v1
kind: Secret
metadata: {name: headers}
stringData: {X-Api-Key: "open sesame"}
"""

PARALLELISM: Final = "rabbitmq.eventing.knative.dev/parallelism"
ORDER: Final = "kafka.eventing.knative.dev/delivery.order"
MINE: Final = "cemesh.dev/delivery-policy: mine"
OF_THE_BROKER: Final = "cemesh.dev/delivery-policy: of-the-broker"


def policy(
    folder: Path,
    spec: str = "{}",
    *,
    broker: str = "",
    trigger: str = MINE,
    more: str = "",
    certificate: ClientCertificate = CERTIFICATE,
    audience: str | None = None,
) -> DeliveryPolicy:
    """Return the policy of the trigger, where ``mine`` has that spec."""
    path = folder / "mesh.yaml"
    text = MESH % (broker, trigger, more, spec)
    for name, value in {
        "$NOW": KEY,
        "$NEXT": PRIVATE,
        "$CERTIFICATE": json.dumps(certificate.certificate),
        "$PRIVATE_KEY": json.dumps(certificate.key),
        "$AUDIENCE": "" if audience is None else f", audience: {audience}",
    }.items():
        text = text.replace(name, value)
    path.write_text(text)
    return load([path]).desired.triggers["default/t"].delivery


def test_without_one_a_trigger_is_unlimited_and_pauses_by_itself(tmp_path: Path) -> None:
    found = policy(tmp_path, trigger="")

    assert found == DeliveryPolicy()
    assert found.breaker == Breaker()


def test_limits_are_bounds_of_a_trigger(tmp_path: Path) -> None:
    found = policy(
        tmp_path,
        "{limits: {rate: {attempts: 100, per: PT1M, burst: 7}, bytesInFlight: 16Mi, maxAge: P1D}}",
    )

    assert found.limits == Limits(
        rate=Rate(per_second=100 / 60, burst=7),
        bytes_in_flight=16 << 20,
        max_age=timedelta(days=1),
    )


@pytest.mark.parametrize(
    ("broker", "trigger", "parallelism"),
    [
        ("", "", 100),
        ("", "MINE", 7),
        ("MINE", "", 7),
        ("MINE", 'PARALLELISM: "3"', 3),
        ("", 'MINE, PARALLELISM: "3"', 3),
    ],
)
def test_the_concurrency_of_a_policy_holds_where_the_trigger_says_nothing_itself(
    tmp_path: Path, broker: str, trigger: str, parallelism: int
) -> None:
    names = {"MINE": MINE, "PARALLELISM": PARALLELISM}
    for name, text in names.items():
        broker, trigger = broker.replace(name, text), trigger.replace(name, text)
    policy(tmp_path, "{limits: {concurrency: 7}}", broker=broker, trigger=trigger)

    found = load([tmp_path / "mesh.yaml"]).desired.triggers["default/t"]
    assert found.parallelism == parallelism


def test_parts_of_an_attempt_have_bounds_of_their_own(tmp_path: Path) -> None:
    spec = "{timeouts: {connect: PT1S, write: PT2S, firstByte: PT3S, body: PT4S}}"

    assert policy(tmp_path, spec).timeouts == Timeouts(
        connect=timedelta(seconds=1),
        write=timedelta(seconds=2),
        first_byte=timedelta(seconds=3),
        body=timedelta(seconds=4),
    )


def test_a_rate_is_per_second_and_may_come_at_once_unless_it_says_otherwise(tmp_path: Path) -> None:
    found = policy(tmp_path, "{limits: {rate: {attempts: 50}}}")

    assert found.limits.rate == Rate(per_second=50, burst=50)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ('"2"', 2), ("3k", 3000), ("4Ki", 4096), ("5M", 5_000_000)]
)
def test_bytes_are_written_as_in_kubernetes(tmp_path: Path, text: str, size: int) -> None:
    assert policy(tmp_path, f"{{limits: {{bytesInFlight: {text}}}}}").limits.bytes_in_flight == size


@pytest.mark.parametrize(
    ("spec", "breaker"),
    [
        ("{enabled: false}", None),
        ("{failures: 3}", Breaker(failures=3)),
        (
            "{pause: PT1S, maxPause: PT2S}",
            Breaker(pause=timedelta(seconds=1), max_pause=timedelta(seconds=2)),
        ),
        (
            "{pause: PT10M}",
            Breaker(pause=timedelta(minutes=10), max_pause=timedelta(minutes=10)),
        ),
    ],
)
def test_the_breaker_can_be_set_and_switched_off(
    tmp_path: Path, spec: str, breaker: Breaker | None
) -> None:
    assert policy(tmp_path, f"{{breaker: {spec}}}").breaker == breaker


def test_each_value_of_a_secret_is_a_key_that_signs(tmp_path: Path) -> None:
    found = policy(tmp_path, "{signing: {secretRef: {name: keys}}}")

    assert found.signing == Signing(keys=(KEY, PRIVATE))
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("spec", "credentials"),
    [
        (
            "{headers: {secretRef: {name: headers}}}",
            Credentials(headers={"X-Api-Key": "open sesame"}),
        ),
        (
            "{basic: {secretRef: {name: all}}}",
            Credentials(basic=base64.b64encode(b"mesh:open sesame").decode()),
        ),
        ("{bearer: {secretRef: {name: all}}}", Credentials(bearer="abc.def")),
        ("{bearer: {secretRef: {name: all, key: clientId}}}", Credentials(bearer="mesh")),
        (
            """{oauth2: {tokenUrl: 'https://id.example.com/token', secretRef: {name: all},
                         scopes: [events, more], audience: hooks, authentication: post}}""",
            Credentials(
                oauth2=OAuth2(
                    token_url="https://id.example.com/token",
                    client_id="mesh",
                    client_secret="sesame",
                    scopes=("events", "more"),
                    audience="hooks",
                    authentication="post",
                )
            ),
        ),
        ("{certificate: {secretRef: {name: all}}}", Credentials(certificate=CERTIFICATE)),
        ("{tokenFile: /var/run/tokens/a}", Credentials(token_file="/var/run/tokens/a")),
    ],
)
def test_credentials_come_from_secrets_and_show_nothing_of_them(
    tmp_path: Path, spec: str, credentials: Credentials
) -> None:
    found = policy(tmp_path, f"{{credentials: {spec}}}")

    assert found.credentials == credentials
    assert "sesame" not in repr(found)


def test_a_certificate_whose_key_is_anothers_is_told_where_the_key_stands(tmp_path: Path) -> None:
    other = make_certificates().client
    mixed = ClientCertificate(certificate=CERTIFICATE.certificate, key=other.key)

    with pytest.raises(InvalidManifest) as caught:
        policy(
            tmp_path, "{credentials: {certificate: {secretRef: {name: all}}}}", certificate=mixed
        )

    (problem,) = caught.value.problems
    assert (problem.subject, problem.path) == ("Secret default/all", 'stringData["tls.key"]')
    assert problem.message.endswith("cannot be used: they do not belong together")


OAUTH2: Final = "tokenUrl: 'https://id.example.com/token', secretRef: {name: all}"


def test_tokens_are_for_the_audience_of_the_subscriber_unless_they_say_otherwise(
    tmp_path: Path,
) -> None:
    inherited = policy(tmp_path, f"{{credentials: {{oauth2: {{{OAUTH2}}}}}}}", audience="billing")
    own = policy(
        tmp_path,
        f"{{credentials: {{oauth2: {{{OAUTH2}, audience: own}}}}}}",
        audience="billing",
    )

    for found, audience in ((inherited, "billing"), (own, "own")):
        assert found.credentials.oauth2 is not None
        assert found.credentials.oauth2.audience == audience


@pytest.mark.parametrize(
    ("credentials", "warns"),
    [
        ("{}", True),
        ("{basic: {secretRef: {name: all}}}", True),
        ("{bearer: {secretRef: {name: all}}}", False),
        ("{tokenFile: /var/run/tokens/billing}", False),
        (f"{{oauth2: {{{OAUTH2}}}}}", False),
    ],
)
def test_an_audience_that_no_token_is_made_for_is_warned_of(
    tmp_path: Path, credentials: str, warns: bool
) -> None:
    policy(tmp_path, f"{{credentials: {credentials}}}", audience="billing")

    warnings = load([tmp_path / "mesh.yaml"]).warnings

    assert [each.path for each in warnings] == ["spec.subscriber.audience"] * warns


def test_an_audience_of_a_dead_letter_sink_is_warned_of(tmp_path: Path) -> None:
    sink = ', delivery: {deadLetterSink: {uri: "http://dead/", audience: billing}}'
    policy(tmp_path, "{credentials: {tokenFile: /token}}", more=sink)

    (warning,) = load([tmp_path / "mesh.yaml"]).warnings

    assert warning.path == "spec.delivery.deadLetterSink.audience"


def test_sinks_that_judge_no_credentials_have_nothing_against_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bare:
        @classmethod
        def check(cls, target: Target) -> str | None:
            return None

    monkeypatch.setattr(plugins, "sinks", lambda scheme: Bare)

    found = policy(tmp_path, "{credentials: {headers: {secretRef: {name: headers}}}}")

    assert found.credentials.headers == {"X-Api-Key": "open sesame"}


def test_consent_is_asked_for_in_the_name_of_an_origin(tmp_path: Path) -> None:
    found = policy(tmp_path, "{consent: {origin: mesh.example.com}}")

    assert found.consent == Consent(origin="mesh.example.com")


def test_consent_is_asked_for_at_the_rate_of_the_trigger_and_may_be_given_later(
    tmp_path: Path,
) -> None:
    found = policy(
        tmp_path,
        """{consent: {origin: mesh.example.com, callback: "https://mesh.example.com/in/"},
            limits: {rate: {attempts: 2}}}""",
    )

    assert found.consent == Consent(
        origin="mesh.example.com", callback="https://mesh.example.com/in", rate=120
    )


def test_batches_have_bounds_of_their_own(tmp_path: Path) -> None:
    spec = "{batch: {maxEvents: 7, maxBytes: 64Ki, maxWait: PT2S}}"

    assert policy(tmp_path, "{batch: {}}").batch == Batch()
    assert policy(tmp_path, spec).batch == Batch(
        max_events=7, max_bytes=65536, max_wait=timedelta(seconds=2)
    )


def test_as_many_events_are_under_way_as_the_requests_of_a_trigger_hold(tmp_path: Path) -> None:
    policy(tmp_path, "{batch: {maxEvents: 7}}", trigger=f'{MINE}, {PARALLELISM}: "3"')

    assert load([tmp_path / "mesh.yaml"]).desired.triggers["default/t"].window == 21


def test_what_an_ordered_trigger_gives_up_is_parked_where_that_is_asked_for(tmp_path: Path) -> None:
    ordered = f"{MINE}, {ORDER}: ordered"

    assert policy(tmp_path, "{order: {whenGivenUp: park}}", trigger=ordered).parks
    assert not policy(tmp_path, "{order: {whenGivenUp: deadLetter}}", trigger=ordered).parks
    assert not policy(tmp_path, "{order: {}}", trigger=ordered).parks


def test_only_an_ordered_trigger_parks(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest) as caught:
        policy(tmp_path, "{order: {whenGivenUp: park}}")

    (problem,) = caught.value.problems
    assert problem.subject == "Trigger default/t"
    assert problem.message == "must be 'ordered' where the DeliveryPolicy says 'whenGivenUp: park'"


def test_a_broker_has_one_for_all_its_triggers_that_have_none(tmp_path: Path) -> None:
    inherited = policy(tmp_path, broker=OF_THE_BROKER, trigger="")
    own = policy(tmp_path, "{limits: {bytesInFlight: 1}}", broker=OF_THE_BROKER)

    assert inherited.limits == Limits(max_age=timedelta(hours=1))
    assert own.limits == Limits(bytes_in_flight=1)


def test_it_stands_beside_the_delivery_that_knative_has(tmp_path: Path) -> None:
    found = policy(
        tmp_path, broker=OF_THE_BROKER, trigger="", more=", delivery: {retry: 3, timeout: PT1S}"
    )

    assert (found.retry, found.timeout) == (3, timedelta(seconds=1))
    assert found.limits.max_age == timedelta(hours=1)
