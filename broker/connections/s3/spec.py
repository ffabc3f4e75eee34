"""What a ``spec`` says of where a bucket is, and who we are there."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, SecretStr, model_validator

from broker.characters import hidden, misfit
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText
from broker.tls import certificates_fault

_ENDPOINT: Final = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?", re.ASCII
)
_LAST_PORT: Final = 65_535
# Amazon's own have no capitals and underscores in them any more; those of other servers may.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


def _endpoint(text: str) -> str:
    if "@" in text:
        # It may show a password, so it is not repeated.
        raise ValueError(
            "has a user or a password in it; say them by 'accessKeyId' and 'secretAccessKey'"
        )
    found = _ENDPOINT.fullmatch(text)
    if found is None or not 1 <= int(found["port"] or 1) <= _LAST_PORT:
        raise ValueError(
            f"'{text}' is not of the form https://HOST:PORT, or http://HOST:PORT without TLS; "
            "the bucket is said by 'bucket'"
        )
    return text.rstrip("/")


def no_hidden(text: str) -> str:
    """Return the text; raise `ValueError` where it has characters that nobody sees."""
    index = hidden(text)
    if index is not None:
        raise ValueError(misfit(text, index, "name in a bucket"))
    return text


def _bucket(text: str) -> str:
    if not _BUCKET.fullmatch(text):
        raise ValueError(f"'{text}' is not the name of a bucket: a-z, 0-9, '-' and '.'")
    return text


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError(f"'{text}' is not a region such as eu-central-1")
    return text


class Tls(Shape):
    """The authorities that are trusted instead of the system's, as PEM text."""

    ca_cert: SecretText

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        fault = certificates_fault(self.ca_cert.get_secret_value())
        if fault is not None:
            raise ValueError(f"'caCert' {fault}")
        return self


class S3Access(Shape):
    """Which bucket of which server, and who we are there: nobody, without keys.

    Without ``endpoint`` it is Amazon's, in that region. ``path_style`` has the bucket in the path
    of its URLs and not in their host; most other servers want that.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    region: Annotated[str, AfterValidator(_region)] = "us-east-1"
    bucket: Annotated[str, AfterValidator(_bucket)]
    path_style: bool | None = None
    access_key_id: SecretText | None = None
    secret_access_key: SecretText | None = None
    session_token: SecretText | None = None
    tls: Tls | None = None

    @property
    def url(self) -> str:
        """The URL of the bucket, without a slash at its end."""
        endpoint = self.endpoint or f"https://s3.{self.region}.amazonaws.com"
        in_path = self.endpoint is not None if self.path_style is None else self.path_style
        if in_path:
            return f"{endpoint}/{self.bucket}"
        scheme, _, host = endpoint.partition("://")
        return f"{scheme}://{self.bucket}.{host}"

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("'accessKeyId' and 'secretAccessKey' are of no use without each other")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("'sessionToken' is of no use without 'accessKeyId'")
        if self.tls is not None and urlsplit(self.url).scheme == "http":
            raise ValueError("'tls' is of no use with http://; https:// is S3 over TLS")
        for name, value in (
            ("accessKeyId", self.access_key_id),
            ("secretAccessKey", self.secret_access_key),
            ("sessionToken", self.session_token),
        ):
            _check(name, value)
        return self


def _check(name: str, value: SecretStr | None) -> None:
    if value is None:
        return
    text = value.get_secret_value()
    index = hidden(text, but="")
    if not text:
        raise ValueError(f"'{name}' is empty")
    if index is not None:
        raise ValueError(f"'{name}' {misfit(text, index, f'{name} of S3')}")
