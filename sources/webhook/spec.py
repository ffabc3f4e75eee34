"""What a WebhookSource's ``spec`` says beside its sink."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, model_validator

from broker.characters import hidden, misfit
from broker.errors import InvalidEvent
from broker.event import check_attribute
from broker.manifest.durations import PositiveDuration
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText
from sources.webhook.presets import PRESETS

BODY: Final = "{body}"
TIMESTAMP: Final = "{timestamp}"

_TOLERANCE: Final = timedelta(minutes=5)
_HEADER: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLACEHOLDER: Final = re.compile(r"(\{[^{}]*\})")


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f"'{text}' is no name of a header")
    return text


def _secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text:
        raise ValueError("is empty")
    index = hidden(text)
    if index is not None:  # the line's end of a file, mostly
        raise ValueError(misfit(text, index, "secret"))
    return secret


def _template(text: str) -> str:
    found = [each for each in _PLACEHOLDER.split(text) if _PLACEHOLDER.fullmatch(each)]
    unknown = [each for each in found if each not in (BODY, TIMESTAMP)]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is not known, only {BODY} and {TIMESTAMP} are")
    if found.count(BODY) != 1:
        raise ValueError(f"has to have {BODY} in it, once: all of that must be signed")
    return text


Header = Annotated[str, AfterValidator(_header)]


class HmacSpec(Shape):
    """How a service signs that is not known by name: an HMAC, keyed by the secret as it stands.

    ``signed_content`` is what is signed, with the body and the value of ``timestamp_header``
    where their placeholders are.
    """

    header: Header
    algorithm: Literal["sha256", "sha1", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    signed_content: Annotated[str, AfterValidator(_template)] = BODY
    timestamp_header: Header | None = None

    @property
    def pieces(self) -> list[str]:
        """What is signed, piece by piece, the placeholders among them."""
        return _PLACEHOLDER.split(self.signed_content)

    @model_validator(mode="after")
    def _signs_its_time(self) -> Self:
        if (TIMESTAMP in self.signed_content) != (self.timestamp_header is not None):
            raise ValueError(
                f"'timestampHeader' and {TIMESTAMP} in 'signedContent' are of no use without each "
                "other: a time that is not signed can be any"
            )
        return self


class Taken(Shape):
    """Where an attribute is taken from: a header, a place in the JSON, or nowhere."""

    header: Header | None = None
    path: Annotated[str, Field(min_length=1)] | None = Field(default=None, alias="json")
    value: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("has to be one of 'header', 'json' and 'value'")
        return self


class EventSpec(Shape):
    """Where the attributes of an event are taken from."""

    id: Taken | None = None
    type: Taken | None = None
    source: Taken | None = None
    subject: Taken | None = None
    time: Taken | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, taken in self:
            if taken is not None and taken.value is not None:
                try:
                    check_attribute(name, taken.value)
                except InvalidEvent as error:
                    raise ValueError(error.detail) from None
        return self


class WebhookSpec(Shape):
    """Who sends the webhooks, and how that is proved.

    Nothing is taken without proof, unless ``unverified`` says so.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    preset: Literal["github", "gitlab", "stripe", "slack", "standard-webhooks"] | None = None
    hmac: HmacSpec | None = None
    secrets: list[Annotated[SecretText, AfterValidator(_secret)]] = Field(default_factory=list)
    unverified: bool = False
    tolerance: PositiveDuration = _TOLERANCE
    event: EventSpec | None = None

    @property
    def keys(self) -> list[str]:
        return [each.get_secret_value() for each in self.secrets]

    @model_validator(mode="after")
    def _says_how(self) -> Self:
        if self.preset is not None and self.hmac is not None:
            raise ValueError("'preset' and 'hmac' are two ways to say how it is signed: give one")
        if self.preset is not None and self.event is not None:
            raise ValueError("'event' is not for presets, which know what their events are")
        if self.unverified:
            if self.secrets or self.hmac is not None:
                raise ValueError("'unverified' leaves no use for 'secrets' and 'hmac': give one")
        elif self.preset is None and self.hmac is None:
            raise ValueError(f"names neither 'preset' ({', '.join(PRESETS)}) nor 'hmac'")
        elif not self.secrets:
            raise ValueError(
                "'secrets' is missing or empty: without one, anybody could send anything"
            )
        return self

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.preset is not None:
            for index, key in enumerate(self.keys):
                try:
                    PRESETS[self.preset].verifier([key], self.tolerance)
                except ValueError as error:
                    raise ValueError(f"'secrets[{index}]' {error}") from None
        return self

    @model_validator(mode="after")
    def _has_times(self) -> Self:
        dated = (
            PRESETS[self.preset].dated
            if self.preset is not None
            else self.hmac is not None and self.hmac.timestamp_header is not None
        )
        if "tolerance" in self.model_fields_set and (self.unverified or not dated):
            raise ValueError("'tolerance' is of no use where no time is signed")
        return self
