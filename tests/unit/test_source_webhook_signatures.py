"""How WebhookSource finds out who sent a request: published examples, and every way to forge."""

from __future__ import annotations

import hmac
import string
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from broker.ports import HttpRequest
from sources.webhook.generic import generic
from sources.webhook.presets import PRESETS
from sources.webhook.services import Service
from sources.webhook.signatures import Unverified
from sources.webhook.spec import EventSpec, HmacSpec

NOW = 1_750_000_000
TOLERANCE = timedelta(minutes=5)
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WHPK = "whpk_" + b64encode(PRIVATE.public_key().public_bytes_raw()).decode()

Headers = dict[str, str]
Sign = Callable[[str, int, bytes], Headers]
"""Return the headers that prove it, by the secret, at that time."""


def hexed(secret: str, content: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), content, algorithm).hexdigest()


def github(secret: str, at: int, body: bytes) -> Headers:
    return {"x-hub-signature-256": f"sha256={hexed(secret, body)}"}


def gitlab(secret: str, at: int, body: bytes) -> Headers:
    return {"x-gitlab-token": secret}


def stripe(secret: str, at: int, body: bytes) -> Headers:
    return {"stripe-signature": f"t={at},v1={hexed(secret, b'%d.%s' % (at, body))}"}


def slack(secret: str, at: int, body: bytes) -> Headers:
    return {
        "x-slack-request-timestamp": str(at),
        "x-slack-signature": f"v0={hexed(secret, b'v0:%d:%s' % (at, body))}",
    }


def standard(secret: str, at: int, body: bytes) -> Headers:
    key = b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, b"msg_1.%d.%s" % (at, body), "sha256").digest()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{b64encode(signature).decode()}",
    }


def ed25519(public: str, at: int, body: bytes) -> Headers:
    signature = b64encode(PRIVATE.sign(b"msg_1.%d.%s" % (at, body))).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1a,{signature}",
    }


def sha512(secret: str, at: int, body: bytes) -> Headers:
    content = b"[%d] %s!" % (at, body)
    signature = b64encode(hmac.new(secret.encode(), content, "sha512").digest()).decode()
    return {"x-time": str(at), "x-signature": f"is {signature}"}


GENERIC = HmacSpec.model_validate(
    {
        "header": "X-Signature",
        "algorithm": "sha512",
        "encoding": "base64",
        "prefix": "is ",
        "signedContent": "[{timestamp}] {body}!",
        "timestampHeader": "X-Time",
    }
)


@dataclass(frozen=True)
class Way:
    """A way to sign, and secrets for it."""

    name: str
    service: Service
    sign: Sign
    secret: str = "first secret"
    other: str = "second secret"


OTHER_WHSEC = "whsec_" + b64encode(b"another one, of 24 bytes").decode()
OTHER_WHPK = "whpk_" + b64encode(bytes(31) + b"\x02").decode()
GITLAB_SIGNS = Way("gitlab-signed", PRESETS["gitlab"], standard, WHSEC, OTHER_WHSEC)
SIGNED = [
    Way("github", PRESETS["github"], github),
    Way("stripe", PRESETS["stripe"], stripe),
    Way("slack", PRESETS["slack"], slack),
    Way("standard", PRESETS["standard-webhooks"], standard, WHSEC, OTHER_WHSEC),
    Way("ed25519", PRESETS["standard-webhooks"], ed25519, WHPK, OTHER_WHSEC),
    GITLAB_SIGNS,
    Way("hmac", generic(GENERIC, EventSpec()), sha512),
]
GITLAB_SHOWS = Way("gitlab", PRESETS["gitlab"], gitlab)
DATED = [way for way in SIGNED if way.service.dated]


def each_of(ways: Sequence[Way]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", ways, ids=lambda way: way.name)


def verify(
    service: Service,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float = NOW,
) -> None:
    request = HttpRequest(headers=[*headers.items()], body=body)
    service.verifier(secrets, TOLERANCE)(request, now)


def refused(
    service: Service,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float = NOW,
) -> str:
    with pytest.raises(Unverified) as caught:
        verify(service, secrets, headers, body, now=now)
    return str(caught.value)


# --- what the services have published -------------------------------------------------------


def test_githubs_example_is_taken() -> None:
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    verify(
        PRESETS["github"],
        ["It's a Secret to Everybody"],
        {"x-hub-signature-256": f"sha256={digest}"},
        b"Hello, World!",
    )


def test_slacks_example_is_taken() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": (
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        ),
    }

    verify(
        PRESETS["slack"],
        ["8f742231b10e8888abcd99yyyzzz85a5"],
        headers,
        body,
        now=1_531_420_618 + 200,
    )


def test_what_the_library_of_standard_webhooks_signs_is_taken() -> None:
    moment = datetime.fromtimestamp(NOW, UTC)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": str(NOW),
        "webhook-signature": Webhook(WHSEC).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", moment, "{}"),
    }

    verify(PRESETS["standard-webhooks"], [WHSEC], headers, b"{}")


# --- what must hold for each -----------------------------------------------------------------


@each_of([*SIGNED, GITLAB_SHOWS])
def test_a_secret_can_be_rotated(way: Way) -> None:
    headers = way.sign(way.secret, NOW, b"{}")

    verify(way.service, [way.secret], headers, b"{}")
    verify(way.service, [way.other, way.secret], headers, b"{}")
    verify(way.service, [way.secret, way.other], headers, b"{}")
    told = refused(way.service, [way.other], headers, b"{}")
    assert "does not match" in told or "is another one" in told


@each_of([*SIGNED, GITLAB_SHOWS])
def test_a_header_that_is_missing_is_named(way: Way) -> None:
    headers = way.sign(way.secret, NOW, b"{}")

    for missing in headers:
        others = {name: value for name, value in headers.items() if name != missing}
        for each in (others, {**others, missing: ""}):
            told = refused(way.service, [way.secret], each, b"{}")
            assert told.lower() == f"the header {missing} is missing"


@each_of([*SIGNED, GITLAB_SHOWS])
def test_a_refusal_shows_nothing_to_sign_with(way: Way) -> None:
    right = way.sign(way.secret, NOW, b"{}")

    told = refused(way.service, [way.secret], dict.fromkeys(right, "1"), b"{}")

    assert way.secret not in told
    for value in right.values():
        assert not any(part in told for part in value.replace(",", "=").split("=") if len(part) > 9)


@each_of(DATED)
@pytest.mark.parametrize("away", [-301, 301])
def test_what_was_signed_too_long_ago_or_ahead_is_refused(way: Way, away: int) -> None:
    headers = way.sign(way.secret, NOW, b"{}")

    verify(way.service, [way.secret], headers, b"{}", now=NOW + away * 300 // 301)
    told = refused(way.service, [way.secret], headers, b"{}", now=NOW + away)
    assert told.endswith("is 301 s from now, and may be 300 s")


@each_of(DATED)
def test_another_time_is_another_signature(way: Way) -> None:
    headers = way.sign(way.secret, NOW, b"{}")
    later = {name: value.replace(str(NOW), str(NOW + 1)) for name, value in headers.items()}

    assert "does not match" in refused(way.service, [way.secret], later, b"{}")


@each_of(SIGNED)
@given(body=st.binary(max_size=64), place=st.integers(0), flip=st.integers(1, 255))
def test_no_byte_of_the_body_can_be_another(way: Way, body: bytes, place: int, flip: int) -> None:
    headers = way.sign(way.secret, NOW, body)
    verify(way.service, [way.secret], headers, body)

    forged = bytearray(body or b"\0")
    forged[place % len(forged)] ^= flip if body else 0
    assert "does not match" in refused(way.service, [way.secret], headers, bytes(forged))


@each_of([*SIGNED, GITLAB_SHOWS])
@given(data=st.data())
def test_no_character_of_what_proves_it_can_be_another(way: Way, data: st.DataObject) -> None:
    headers = way.sign(way.secret, NOW, b"{}")
    name = data.draw(st.sampled_from(sorted(headers)))
    value = headers[name]
    place = data.draw(st.integers(0, len(value) - 1))
    character = data.draw(
        st.characters(min_codepoint=0x20, max_codepoint=0xFF).filter(lambda c: c != value[place])
    )

    headers[name] = value[:place] + character + value[place + 1 :]
    refused(way.service, [way.secret], headers, b"{}")


@each_of([*SIGNED, GITLAB_SHOWS])
@given(values=st.lists(st.text(st.characters(max_codepoint=0xFF)), min_size=3, max_size=3))
def test_nonsense_is_refused_and_nothing_else(way: Way, values: Sequence[str]) -> None:
    names = way.sign(way.secret, NOW, b"{}")

    refused(way.service, [way.secret], dict(zip(names, values, strict=False)), b"{}")


# --- what is one service's own ---------------------------------------------------------------


def test_one_of_several_signatures_of_stripe_is_enough() -> None:
    signature = stripe("secret", NOW, b"{}")["stripe-signature"].partition(",")[2]
    service = PRESETS["stripe"]

    for several in (f"{signature},v1=00,v0=00", f"v1=00,{signature}"):
        verify(service, ["secret"], {"stripe-signature": f"t={NOW},{several}"}, b"{}")
    for wrong in (f"t={NOW},v1=00", f"t={NOW},v0{signature[2:]}", signature, f"t={NOW},t={NOW}"):
        refused(service, ["secret"], {"stripe-signature": wrong}, b"{}")


def test_one_of_several_signatures_of_standard_webhooks_is_enough() -> None:
    headers = standard(WHSEC, NOW, b"{}")
    service = PRESETS["standard-webhooks"]
    signature = headers["webhook-signature"]

    for several in (f"v1,AAAA {signature}", f"{signature} v1a,AAAA", f"v9,? {signature}"):
        verify(service, [WHSEC, WHPK], {**headers, "webhook-signature": several}, b"{}")


def test_what_only_decodes_to_the_same_is_no_signature() -> None:
    headers = ed25519(WHPK, NOW, b"{}")
    signature = headers["webhook-signature"]
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    # The last letter has four bits that are in no byte.
    twin = f"{signature[:-3]}{letters[letters.index(signature[-3]) ^ 1]}=="
    assert b64decode(twin.removeprefix("v1a,")) == b64decode(signature.removeprefix("v1a,"))

    told = refused(
        PRESETS["standard-webhooks"], [WHPK], {**headers, "webhook-signature": twin}, b"{}"
    )
    assert "does not match" in told


def test_a_request_cannot_have_any_number_of_signatures_looked_at() -> None:
    headers = standard(WHSEC, NOW, b"{}")
    service, signature = PRESETS["standard-webhooks"], headers["webhook-signature"]

    for count, taken in ((15, True), (16, False)):
        several = {**headers, "webhook-signature": "v1,AAAA " * count + signature}
        if taken:
            verify(service, [WHSEC], several, b"{}")
        else:
            refused(service, [WHSEC], several, b"{}")


def test_an_id_of_standard_webhooks_is_signed_as_the_bytes_that_it_is() -> None:
    identity, body = "ä".encode(), b"{}"
    signature = hmac.new(
        b64decode(WHSEC.removeprefix("whsec_")), b"%s.%d.%s" % (identity, NOW, body), "sha256"
    ).digest()
    headers = {
        "webhook-id": identity.decode("latin-1"),
        "webhook-timestamp": str(NOW),
        "webhook-signature": f"v1,{b64encode(signature).decode()}",
    }

    verify(PRESETS["standard-webhooks"], [WHSEC], headers, body)


def test_gitlab_can_go_from_a_token_to_signing() -> None:
    service, both = PRESETS["gitlab"], ["a token", WHSEC]

    verify(service, both, gitlab("a token", NOW, b"{}"), b"{}")
    verify(service, both, standard(WHSEC, NOW, b"{}"), b"{}")
    forged = {**gitlab("a token", NOW, b"{}"), **standard(OTHER_WHSEC, NOW, b"{}")}
    assert "does not match" in refused(service, both, forged, b"{}")
    # A key to sign with is none to show.
    assert "is missing" in refused(service, [WHSEC], gitlab(WHSEC, NOW, b"{}"), b"{}")
    assert "another" in refused(service, both, gitlab(WHSEC, NOW, b"{}"), b"{}")


def test_a_token_of_gitlab_may_be_any_text() -> None:
    shown = {"x-gitlab-token": "tökén 😀".encode().decode("latin-1")}

    verify(PRESETS["gitlab"], ["tökén 😀"], shown, b"{}")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_service_that_is_not_known_may_sign_the_body_alone(algorithm: str) -> None:
    spec = HmacSpec.model_validate({"header": "X-Sig", "algorithm": algorithm})
    service = generic(spec, EventSpec())
    right = hexed("secret", b"{}", algorithm)

    verify(service, ["secret"], {"x-sig": right}, b"{}")
    refused(service, ["secret"], {"x-sig": f"sha256={right}"}, b"{}")
    refused(service, ["secret"], {"x-sig": right[:-2]}, b"{}")
