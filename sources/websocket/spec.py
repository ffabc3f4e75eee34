"""What a WebSocketSource's ``spec`` says beside its sink."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from broker.connections.web import WebAccess, checked_url, dotted_path
from broker.manifest.durations import PositiveDuration
from broker.manifest.specs import PlainOrSecretText

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _url(text: str) -> str:
    return checked_url(text, "ws", "wss")


def _subprotocol(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"'{text}' is not the name of a subprotocol")
    return text


class WebSocketSpec(WebAccess):
    """Where the server is, and what it is told before it sends.

    ``subscribe`` has the texts that are sent after each connecting, in their order. ``id_from``
    says where in a message that is JSON its id is.
    """

    url: Annotated[str, AfterValidator(_url)]
    subprotocols: list[Annotated[str, AfterValidator(_subprotocol)]] = Field(default_factory=list)
    subscribe: list[PlainOrSecretText] = Field(default_factory=list)
    id_from: Annotated[str, AfterValidator(dotted_path)] | None = None
    ping: PositiveDuration = timedelta(seconds=20)
    max_message_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 1 << 20

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if self.tls is not None and not self.secure:
            raise ValueError("'tls' is of no use with ws://; wss:// is WebSocket over TLS")
        return self

    @property
    def secure(self) -> bool:
        return self.url.lower().startswith("wss:")
