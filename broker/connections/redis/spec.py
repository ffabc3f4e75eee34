"""What a ``spec`` says of where Redis is, and who we are there."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from broker.characters import hidden, misfit
from broker.connections.tls import Certificates
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText

_URL: Final = re.compile(
    r"(?P<scheme>rediss?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?"
)
_PORT: Final = 6379
_LAST_PORT: Final = 65_535


def _url(text: str) -> str:
    if "@" in text:
        # It may show a password, so it is not repeated.
        raise ValueError("has a user or a password in it; say them by 'user' and 'password'")
    found = _URL.fullmatch(text)
    if found is None or not 1 <= int(found["port"] or _PORT) <= _LAST_PORT:
        raise ValueError(
            f"'{text}' is not of the form redis://HOST:PORT, or rediss://HOST:PORT for TLS; "
            "which database is said by 'database'"
        )
    return text


def _stream(text: str) -> str:
    index = hidden(text)
    if index is not None:
        raise ValueError(misfit(text, index, "stream's name"))
    return text


StreamName = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_stream)]


class RedisSpec(Shape):
    """Where Redis is, and who we are there. Without ``user`` the password is the default user's."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)]
    user: SecretText | None = None
    password: SecretText | None = None
    tls: Certificates | None = None
    database: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    @property
    def address(self) -> tuple[str, int]:
        found = _URL.fullmatch(self.url)
        assert found is not None, "it was checked"  # noqa: S101 - tells mypy what _url has seen
        return found["host"].strip("[]"), int(found["port"] or _PORT)

    @property
    def encrypted(self) -> bool:
        return self.url.startswith("rediss:")

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if self.tls is not None and not self.encrypted:
            raise ValueError("'tls' is of no use with redis://; rediss:// is Redis over TLS")
        if self.user is not None and self.password is None:
            raise ValueError("'password' is missing; 'user' needs it")
        for name, value in (("user", self.user), ("password", self.password)):
            if value is None:
                continue
            text = value.get_secret_value()
            index = hidden(text)
            if not text:
                raise ValueError(f"'{name}' is empty")
            if index is not None:
                raise ValueError(f"'{name}' {misfit(text, index, f'{name} of Redis')}")
        return self
