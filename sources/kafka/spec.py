"""What a KafkaSource's ``spec`` says beside its sink, in Knative's words."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, model_validator

from broker.characters import hidden, misfit
from broker.errors import did_you_mean
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText
from broker.tls import certificates_fault, pair_fault

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


class Sasl(Shape):
    """Who the source is. ``type`` is PLAIN where nothing else is said."""

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


class Tls(Shape):
    """Certificates, as PEM texts. Without ``caCert`` the system's authorities are trusted."""

    enable: bool = False
    cert: SecretText | None = None
    key: SecretText | None = None
    ca_cert: SecretText | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.enable:
            return self
        if (self.cert is None) != (self.key is None):
            raise ValueError("'cert' and 'key' are of no use without each other")
        for name, pem in (("caCert", self.ca_cert), ("cert", self.cert)):
            fault = None if pem is None else certificates_fault(pem.get_secret_value())
            if fault is not None:
                raise ValueError(f"'{name}' {fault}")
        if self.cert is not None and self.key is not None:
            texts = self.cert.get_secret_value(), self.key.get_secret_value()
            wrong = pair_fault(*texts, names=("cert", "key"))
            if wrong is not None:
                raise ValueError(f"'{wrong[0]}' {wrong[1]}")
        return self


class Net(Shape):
    sasl: Sasl = Sasl()
    tls: Tls = Tls()


class KafkaSpec(Shape):
    """Which topics are read, where, from where on, and as which consumer group.

    ``ordering`` is taken as Knative has it, and changes nothing: the source keeps the order of a
    partition in both cases. So is ``consumers``: each process has one.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    bootstrap_servers: Annotated[list[Annotated[str, AfterValidator(_server)]], Field(min_length=1)]
    topics: Annotated[list[Annotated[str, AfterValidator(_topic)]], Field(min_length=1)]
    consumer_group: Annotated[str, Field(min_length=1, max_length=249)] | None = None
    initial_offset: Literal["earliest", "latest"] = "latest"
    ordering: Literal["ordered", "unordered"] = "ordered"
    consumers: Annotated[int, Field(ge=0)] | None = None
    net: Net = Net()

    def group(self, namespace: str, name: str) -> str:
        """Return the consumer group of the source of that name, the same for ever."""
        # A namespace has no dot in it, so that no two sources share one.
        return self.consumer_group or f"cemesh-source.{namespace}.{name}"


def revealed(text: SecretStr | None) -> str | None:
    return None if text is None else text.get_secret_value()
