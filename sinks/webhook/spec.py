"""What a manifest says to a WebhookSink: where the request goes, and what it is made of."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from broker.characters import hidden, misfit
from broker.event import Event
from broker.formats import is_json, is_media_type
from broker.manifest.shapes import Shape
from broker.manifest.specs import PlainOrSecretText
from broker.policy import Credentials
from sinks.http.address import InvalidUrl, parse
from sinks.http.flaws import flaw
from sinks.webhook.presets import CHATS, Preset, message
from sinks.webhook.template import Template


def _url(url: SecretStr) -> SecretStr:
    try:
        parse(url.get_secret_value())
    except InvalidUrl as error:
        raise ValueError(str(error)) from None
    return url


def _header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    index = hidden(text)
    if index is not None:
        raise ValueError(misfit(text, index, "header"))
    return value


def _header_name(name: str) -> str:
    # What the mesh's own credentials are for elsewhere is this sink's to say.
    fault = None if name.lower() == "authorization" else flaw(Credentials(headers={name: ""}))
    if fault is not None:
        raise ValueError(fault)
    return name


def _content_type(value: str) -> str:
    if not is_media_type(value):
        raise ValueError(f"'{value}' is no media type, such as application/json")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[PlainOrSecretText, AfterValidator(_header)]


class WebhookSinkSpec(Shape):
    """One request for each event: of a ``template``, or of a chat's ``preset`` with a ``text``."""

    url: Annotated[PlainOrSecretText, AfterValidator(_url)]
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    content_type: Annotated[str, AfterValidator(_content_type)] | None = None
    template: str | None = None
    preset: Preset | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _makes_a_body(self) -> Self:
        if (self.template is None) == (self.preset is None):
            raise ValueError("needs either 'template', or 'preset' and 'text'")
        if (self.preset is None) != (self.text is None):
            raise ValueError("'preset' and 'text' are of no use without each other")
        if self.preset is not None and self.content_type is not None:
            raise ValueError(f"'contentType' is not to be said with 'preset': {self.preset}'s is")
        try:
            _ = self._made
        except ValueError as error:
            raise ValueError(f"'{'template' if self.preset is None else 'text'}' {error}") from None
        return self

    @property
    def media_type(self) -> str:
        return self.content_type or "application/json"

    def body(self, event: Event) -> bytes:
        """Return the body of the event's request. Raises `Lacking`, or `ValueError`."""
        text = self._made.of(event)
        return (text if self.preset is None else message(self.preset, text)).encode()

    @cached_property
    def _made(self) -> Template:
        if self.preset is not None:
            return Template(self.text or "", escape=CHATS[self.preset].escape)
        return Template(self.template or "", of_json=is_json(self.media_type))
