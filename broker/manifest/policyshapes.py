"""The shape of a DeliveryPolicy: what the mesh's own kind has to say of a trigger's deliveries."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from broker.manifest.durations import PositiveDuration
from broker.manifest.shapes import Destination, KubernetesObject, Name, Shape

_QUANTITY: Final = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi|k|M|G)?")
_UNITS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20} | {
    "Gi": 1 << 30
}
_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_BASE_URL: Final = re.compile(r"https?://[a-zA-Z0-9.:\[\]-]+(?:/[!-~]*)?")
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def _bytes(value: object) -> int:
    """Return a quantity of bytes, as Kubernetes writes them."""
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, int | str) else None
    if found is None or isinstance(value, bool):
        raise ValueError(f"'{value}' is not a number of bytes such as 65536, 64Ki or 16Mi")
    size = int(found[1]) * _UNITS[found[2] or ""]
    if not size:
        raise ValueError("must be more than 0 bytes")
    return size


def _dns_name(text: str) -> str:
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise ValueError(f"'{text}' is not a DNS name such as mesh.example.com")
    return text


def _base_url(text: str) -> str:
    """Return the URL without a slash at its end."""
    if not _BASE_URL.fullmatch(text) or "?" in text or "#" in text:
        raise ValueError(
            f"'{text}' is not an https or http URL, without a query, such as "
            "https://mesh.example.com"
        )
    return text.rstrip("/")


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute() or "\0" in path:
        raise ValueError(f"'{path}' is not an absolute path such as /var/run/tokens/billing")
    return path


Bytes = Annotated[int, BeforeValidator(_bytes)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
File = Annotated[str, AfterValidator(_absolute)]
Host = Annotated[str, AfterValidator(_dns_name)]
Text = Annotated[str, Field(min_length=1)]


class SecretRef(Shape):
    """A Secret in the same namespace."""

    name: Name


class SecretKeyRef(SecretRef):
    key: Text = "token"


class RateShape(Shape):
    attempts: Annotated[int, Field(ge=1, le=1_000_000)]
    per: PositiveDuration = timedelta(seconds=1)
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class LimitsShape(Shape):
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    rate: RateShape | None = None
    bytes_in_flight: Bytes | None = None
    max_age: PositiveDuration | None = None


class TimeoutsShape(Shape):
    connect: PositiveDuration | None = None
    write: PositiveDuration | None = None
    first_byte: PositiveDuration | None = None
    body: PositiveDuration | None = None


class BreakerShape(Shape):
    enabled: bool = True
    failures: Annotated[int, Field(ge=1)] | None = None
    pause: PositiveDuration | None = None
    max_pause: PositiveDuration | None = None


class Secrets(Shape):
    """Something that is all in a Secret."""

    secret_ref: SecretRef


class Bearer(Shape):
    secret_ref: SecretKeyRef


class OAuth2Shape(Shape):
    secret_ref: SecretRef
    token_url: Text
    scopes: list[Text] = Field(default=[])
    audience: Text | None = None
    authentication: Literal["basic", "post"] = "basic"


class CredentialsShape(Shape):
    headers: Secrets | None = None
    basic: Secrets | None = None
    bearer: Bearer | None = None
    oauth2: OAuth2Shape | None = None
    token_file: File | None = None
    certificate: Secrets | None = None

    @model_validator(mode="after")
    def _one_authorization(self) -> Self:
        each = {
            "basic": self.basic,
            "bearer": self.bearer,
            "oauth2": self.oauth2,
            "tokenFile": self.token_file,
        }
        given = [name for name, value in each.items() if value is not None]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} cannot go together: a request has one Authorization"
            )
        return self


class BatchShape(Shape):
    max_events: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_bytes: Bytes | None = None
    max_wait: PositiveDuration | None = None


class OrderShape(Shape):
    when_given_up: Literal["deadLetter", "park"] = "deadLetter"


class ConsentShape(Shape):
    origin: Host
    callback: BaseUrl | None = None


class DeliveryPolicySpec(Shape):
    timeouts: TimeoutsShape = TimeoutsShape()
    limits: LimitsShape | None = None
    breaker: BreakerShape | None = None
    signing: Secrets | None = None
    credentials: CredentialsShape | None = None
    consent: ConsentShape | None = None
    batch: BatchShape | None = None
    order: OrderShape = OrderShape()
    reply: Destination | None = None


class DeliveryPolicyObject(KubernetesObject):
    kind: Literal["DeliveryPolicy"]
    spec: DeliveryPolicySpec = DeliveryPolicySpec()
