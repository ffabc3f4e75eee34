"""The part of a ``spec`` that says where Kafka is, and who connects to it."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from broker.characters import hidden, misfit
from broker.connections.tls import Tls
from broker.errors import did_you_mean
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_SERVER: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_LAST_PORT: Final = 65_535
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _server(text: str) -> str:
    found = _SERVER.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= _LAST_PORT:
        raise ValueError(f"'{text}' is not of the form HOST:PORT, with a port up to {_LAST_PORT}")
    return text


def _topic(text: str) -> str:
    if text in (".", "..") or not _TOPIC.fullmatch(text):
        raise ValueError(
            f"'{text}' is no name of a topic: a-z, A-Z, 0-9, '.', '_' and '-', at most 249 of "
            "them, and not '.' or '..'"
        )
    return text


ServerName = Annotated[str, AfterValidator(_server)]
TopicName = Annotated[str, AfterValidator(_topic)]


class Sasl(Shape):
    """Who connects. ``type`` is PLAIN where nothing else is said."""

    enable: bool = False
    user: SecretText | None = None
    password: SecretText | None = None
    type: SecretText | None = None

    @property
    def mechanism(self) -> str:
        return "PLAIN" if self.type is None else self.type.get_secret_value()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.enable:
            return self
        for name, value in (("user", self.user), ("password", self.password)):
            if value is None or not value.get_secret_value():
                raise ValueError(f"'{name}' is missing or empty; SASL needs it")
            text = value.get_secret_value()
            index = hidden(text)
            if index is not None:
                raise ValueError(f"'{name}' {misfit(text, index, f'SASL {name}')}")
        if self.mechanism not in MECHANISMS:
            hint = did_you_mean(self.mechanism, MECHANISMS)
            known = ", ".join(MECHANISMS)
            raise ValueError(f"the value of 'type' is not known{hint}; known: {known}")
        return self


class Net(Shape):
    sasl: Sasl = Sasl()
    tls: Tls = Tls()


class KafkaAccess(Shape):
    """Where Kafka is, and who connects to it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    bootstrap_servers: Annotated[list[ServerName], Field(min_length=1)]
    net: Net = Net()
