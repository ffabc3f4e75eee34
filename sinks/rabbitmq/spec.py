"""What a RabbitmqSink's ``spec`` says."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, model_validator

from broker.connections.rabbitmq.spec import Name, RabbitmqAccess

PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
"""An attribute of the event, in braces."""

_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")


def _template(text: str) -> str:
    for name in PLACEHOLDER.findall(text):
        if not _ATTRIBUTE.fullmatch(name) or name == "data":
            raise ValueError(f"'{{{name}}}' is not the name of an attribute: a-z and 0-9")
    if set("{}") & set(PLACEHOLDER.sub("", text)):
        raise ValueError("has a brace that belongs to no {attribute}")
    return text


class RabbitmqSinkSpec(RabbitmqAccess):
    """Where messages go, and how. ``routing_key`` may have attributes in it, in braces.

    Without ``exchange`` they go to the queue that the routing key names.
    """

    exchange: Name | None = None
    routing_key: Annotated[str, AfterValidator(_template)] = ""
    content_mode: Literal["binary", "structured"] = "binary"

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if self.exchange is None and not self.routing_key:
            raise ValueError("say 'exchange', or by 'routingKey' the name of a queue, or both")
        return self
