"""The part of a ``spec`` that says where an MQTT server is, and who connects to it."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, model_validator

from broker.characters import hidden, misfit
from broker.connections.tls import Certificates
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_URL: Final = re.compile(
    r"(?:(?P<scheme>mqtts?)://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?"
)
_LAST_PORT: Final = 65_535
_LONGEST: Final = 65_535  # bytes of a text, MQTT 5, section 1.5.4


def _url(text: str) -> str:
    if "@" in text:
        # Not quoted: it has a password in it.
        raise ValueError("has a user in it, who belongs into 'user' and 'password'")
    found = _URL.fullmatch(text)
    if found is None or not (found["scheme"] or found["port"]):
        raise ValueError(f"'{text}' is not mqtt://HOST, mqtts://HOST or HOST:PORT")
    if found["port"] is not None and not 1 <= int(found["port"]) <= _LAST_PORT:
        raise ValueError(f"'{text}' has no port from 1 to {_LAST_PORT}")
    return text


class Tls(Certificates):
    """Certificates, which are used with the scheme ``mqtts:`` as well."""

    enable: bool = False


class MqttAccess(Shape):
    """Where the server is, and who connects to it. ``mqtts:`` is with TLS in any case."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)]
    user: SecretText | None = None
    password: SecretText | None = None
    tls: Tls = Tls()

    @property
    def host(self) -> str:
        return self._parts["host"].strip("[]")

    @property
    def port(self) -> int:
        port = self._parts["port"]
        return _PORTS["mqtts" if self.has_tls else "mqtt"] if port is None else int(port)

    @property
    def has_tls(self) -> bool:
        return self.tls.enable or self._parts["scheme"] == "mqtts"

    @property
    def address(self) -> str:
        return f"{self._parts['host']}:{self.port}"

    @property
    def _parts(self) -> re.Match[str]:
        found = _URL.fullmatch(self.url)
        assert found is not None  # noqa: S101 - `_url` has seen it
        return found

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("'password' is of no use without 'user'")
        for name, text in (("user", self.user), ("password", self.password)):
            fault = None if text is None else _fault(text.get_secret_value(), name)
            if fault is not None:
                raise ValueError(f"'{name}' {fault}")
        if self.tls.enable and self._parts["scheme"] == "mqtt":
            raise ValueError("'url' is mqtt:, which is without TLS, and 'tls.enable' is true")
        return self


def _fault(text: str, name: str) -> str | None:
    if len(text.encode(errors="surrogatepass")) > _LONGEST:
        return f"is longer than {_LONGEST} bytes"
    index = hidden(text)
    return None if index is None else misfit(text, index, f"{name} of MQTT")
