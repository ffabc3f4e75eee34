"""The shapes of the objects in a manifest: which fields they have, and what may stand there.

A shape is about one object alone; whether what it refers to exists is found out later.
Fields are those of Knative Eventing v1 and of Kubernetes v1. Where a check needs nothing but
the field itself it stands here, so that it is reported beside all others. Most fields that
have to be there are optional here and asked for later: one that is wrong is left out, and the
rest of its object examined all the same.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticKnownError

from broker.cesql import CesqlSyntaxError, Expression, parse
from broker.manifest.durations import Duration, PositiveDuration

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DNS_LABEL: Final = re.compile(_LABEL)
_DNS_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9]*")
_KEY: Final = re.compile(r"[A-Za-z0-9._-]+")


def _dns_name(text: str) -> str:
    if len(text) > 253 or not _DNS_NAME.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a DNS-1123 name: a-z, 0-9, '-' and '.', beginning and ending with "
            "a letter or digit, at most 253 characters"
        )
    return text


def _dns_label(text: str) -> str:
    if len(text) > 63 or not _DNS_LABEL.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a DNS-1123 label: a-z, 0-9 and '-', beginning and ending with a "
            "letter or digit, at most 63 characters"
        )
    return text


Name = Annotated[str, AfterValidator(_dns_name)]
Namespace = Annotated[str, AfterValidator(_dns_label)]


class Shape(BaseModel):
    """A mapping with known fields. Null is as good as absent, as in Kubernetes."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=False,
        defer_build=True,  # of the kinds that no file has, too, it would cost 50 ms at each start
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        if not isinstance(value, dict) or None not in value.values():
            return value
        known = {field.alias for field in cls.model_fields.values()}
        return {name: each for name, each in value.items() if each is not None or name not in known}


class Meta(Shape):
    """ObjectMeta: what is not named here is the business of Kubernetes, and left alone."""

    name: Name | None = None
    namespace: Namespace = "default"
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    generate_name: object = None
    self_link: object = None
    uid: object = None
    resource_version: object = None
    generation: object = None
    creation_timestamp: object = None
    deletion_timestamp: object = None
    deletion_grace_period_seconds: object = None
    owner_references: object = None
    finalizers: object = None
    managed_fields: object = None


class KubernetesObject(Shape):
    """What every object has. ``status`` is what a cluster wrote, and means nothing here."""

    api_version: str
    kind: str
    metadata: Meta = Meta()
    status: object = None


class Reference(Shape):
    """KReference: another object, in the same namespace unless it says otherwise."""

    api_version: str
    kind: str
    name: Name
    namespace: Namespace | None = None


class Destination(Shape):
    """Where events go: a ``ref``, an absolute ``uri``, or a ``uri`` relative to the ``ref``."""

    ref: Reference | None = None
    uri: Annotated[str, Field(min_length=1)] | None = None
    ca_certs: str | None = Field(default=None, alias="CACerts")
    audience: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if self.ref is None and self.uri is None:
            raise ValueError("names neither 'ref' nor 'uri'")
        return self


class Delivery(Shape):
    """DeliverySpec. A field that is not given takes the mesh's default, not the broker's."""

    dead_letter_sink: Destination | None = None
    retry: Annotated[int, Field(ge=0)] | None = None
    backoff_policy: Literal["linear", "exponential"] | None = None
    backoff_delay: Duration | None = None
    timeout: PositiveDuration | None = None
    retry_after_max: Duration | None = None
    format: Literal["json", "binary"] | None = None


class BrokerSpec(Shape):
    config: Reference | None = None
    delivery: Delivery | None = None


class BrokerObject(KubernetesObject):
    spec: BrokerSpec = BrokerSpec()


def _attribute_names(entries: dict[str, str]) -> dict[str, str]:
    for name in entries:
        if not _ATTRIBUTE.fullmatch(name):
            raise ValueError(
                f"'{name}' is not the name of an attribute: a-z and 0-9, a letter first"
            )
    return entries


def _demanding(entries: dict[str, str]) -> dict[str, str]:
    if not entries:
        raise ValueError("names no attribute, so it would match every event")
    for name, value in entries.items():
        if not value:
            raise ValueError(f"the value of '{name}' is empty")
    return entries


Entries = Annotated[dict[str, str], AfterValidator(_attribute_names)]
DemandingEntries = Annotated[Entries, AfterValidator(_demanding)]


def _parsed(value: object) -> Expression:
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    try:
        return parse(value)
    except CesqlSyntaxError as error:
        raise ValueError(str(error)) from None


Parsed = Annotated[InstanceOf[Expression], BeforeValidator(_parsed)]


class FilterItem(Shape):
    """One item of ``filters``: one dialect (SubscriptionsAPIFilter)."""

    exact: DemandingEntries | None = None
    prefix: DemandingEntries | None = None
    suffix: DemandingEntries | None = None
    all: Annotated[list[FilterItem], Field(min_length=1)] | None = None
    any: Annotated[list[FilterItem], Field(min_length=1)] | None = None
    not_: FilterItem | None = Field(default=None, alias="not")
    cesql: Parsed | None = None

    @model_validator(mode="after")
    def _one_dialect(self) -> Self:
        given = self.model_fields_set
        if len(given) > 1:
            raise ValueError("multiple dialects found, filters can have only one dialect set")
        if not given:
            known = ", ".join(str(field.alias) for field in type(self).model_fields.values())
            raise ValueError(f"no dialect found; give one of {known}")
        return self


class LegacyFilter(Shape):
    attributes: Entries = {}


class TriggerSpec(Shape):
    broker: Name | None = None
    filter: LegacyFilter | None = None
    filters: list[FilterItem] = []
    subscriber: Destination | None = None
    delivery: Delivery | None = None


class TriggerObject(KubernetesObject):
    spec: TriggerSpec = TriggerSpec()


class CloudEventOverrides(Shape):
    extensions: dict[str, str] = {}


class SourceSpec(Shape):
    """What all sources have in common; the rest of a spec is the plug-in's."""

    sink: Destination | None = None
    ce_overrides: CloudEventOverrides = CloudEventOverrides()


class SourceObject(KubernetesObject):
    spec: SourceSpec = SourceSpec()


def _config_key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise ValueError("is not a key of a ConfigMap: a-z, A-Z, 0-9, '-', '_' and '.'")
    return text


class ConfigMapObject(KubernetesObject):
    data: dict[Annotated[str, AfterValidator(_config_key)], str] = {}
    binary_data: object = None
    immutable: bool | None = None


class SecretObject(KubernetesObject):
    """A Secret. Its values are in no `repr`."""

    type: str = "Opaque"
    data: dict[str, str] = Field(default={}, repr=False)
    string_data: dict[str, str] = Field(default={}, repr=False)
    immutable: bool | None = None
