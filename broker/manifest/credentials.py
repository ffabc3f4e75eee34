"""Reads what proves to a subscriber who sends: keys, credentials and a certificate, from Secrets.

No message and no `repr` shows a value of one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from broker.characters import misfit
from broker.errors import did_you_mean
from broker.manifest.objects import Place
from broker.manifest.policyshapes import CredentialsShape, OAuth2Shape, SecretRef, Secrets
from broker.manifest.secrets import texts
from broker.manifest.shapes import SecretObject
from broker.policy import ClientCertificate, Credentials, OAuth2, Signing

_BARE: Final = re.compile(r"[^!-~]")
_LINE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NULL: Final = re.compile(r"\0")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_RESERVED: Final = frozenset(
    {
        "authorization", "connection", "content-encoding", "content-length", "content-type",
        "expect", "host", "keep-alive", "kn-namespace", "prefer", "proxy-authorization", "te",
        "traceparent", "trailer", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip
_RESERVED_BEGINNINGS: Final = ("ce-", "webhook-")
_SYMMETRIC, _PRIVATE = "whsec_", "whsk_"

Found = Mapping[str, tuple[str, Place]]
"""Key → value of a Secret, and where it stands."""


class SecretReader:
    """The Secrets of the files, by ``namespace/name``: None where one is there, but wrong."""

    def __init__(self, secrets: Mapping[str, tuple[SecretObject | None, Place]]) -> None:
        self._secrets = secrets

    def read(self, ref: SecretRef, place: Place) -> tuple[Found, Place] | None:
        """Return what the Secret has that ``ref``, at ``place``, names, and where it stands.

        None where there is none, which has been reported.
        """
        key = f"{place.object.namespace}/{ref.name}"
        if key not in self._secrets:
            if place.report.complete:
                hint = did_you_mean(key, self._secrets)
                place.at("name").error(f"no Secret '{key}' in these files{hint}")
            return None
        secret, at_secret = self._secrets[key]
        return None if secret is None else (texts(secret, at_secret), at_secret)

    def value(
        self, ref: SecretRef, key: str, place: Place, *, forbidden: re.Pattern[str] = _BARE
    ) -> str:
        """Return the value under that key, or report why it cannot be used."""
        found = self.read(ref, place)
        if found is None:
            return ""
        values, at_secret = found
        if key not in values:
            hint = did_you_mean(key, values)
            at_secret.at("data", key).error(f"is missing; {place.object.subject} needs it{hint}")
            return ""
        text, where = values[key]
        check(text, key, where, forbidden)
        return text


def check(text: str, key: str, place: Place, forbidden: re.Pattern[str]) -> None:
    """Report what keeps the value of ``key`` from being used."""
    found = forbidden.search(text)
    if not text:
        place.error(f"the value of '{key}' is empty")
    elif found is not None:
        place.error(f"the value of '{key}' {misfit(text, found.start(), 'value')}")


def signing(shape: Secrets | None, place: Place, secrets: SecretReader) -> Signing | None:
    found = None if shape is None else secrets.read(shape.secret_ref, place.at("secretRef"))
    if found is None:
        return None
    values, at_secret = found
    if not values:
        at_secret.at("data").error("is empty; each key of it would be a signing key")
    for key, (text, where) in values.items():
        fault = key_fault(text)
        if fault is not None:
            where.error(f"the value of '{key}' {fault}")
    return Signing(keys=tuple(text for text, _ in values.values()))


def key_fault(text: str) -> str | None:
    """Return why the text is no key of Standard Webhooks, without showing it, or None."""
    prefix = next((each for each in (_SYMMETRIC, _PRIVATE) if text.startswith(each)), None)
    if prefix is None:
        return f"is no signing key: it has to begin with {_SYMMETRIC} or {_PRIVATE}"
    try:
        size = len(base64.b64decode(text.removeprefix(prefix), validate=True))
    except (binascii.Error, ValueError):
        return f"is no signing key: what follows {prefix} is not base64"
    if prefix == _SYMMETRIC and not 24 <= size <= 64:
        return f"is no signing key: it has {size} bytes, and needs 24 to 64"
    if prefix == _PRIVATE and size not in (32, 64):
        return f"is no signing key: it has {size} bytes, and a private key of ed25519 has 32 or 64"
    return None


def credentials(shape: CredentialsShape | None, place: Place, secrets: SecretReader) -> Credentials:
    if shape is None:
        return Credentials()
    basic = bearer = None
    if shape.basic is not None:
        ref, at_ref = shape.basic.secret_ref, place.at("basic", "secretRef")
        user = secrets.value(ref, "username", at_ref, forbidden=_LINE)
        password = secrets.value(ref, "password", at_ref, forbidden=_LINE)
        if ":" in user:
            at_ref.error("the username in the Secret has a colon, which no username may have")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    if shape.bearer is not None:
        key_ref = shape.bearer.secret_ref
        bearer = secrets.value(key_ref, key_ref.key, place.at("bearer", "secretRef"))
    return Credentials(
        headers=_headers(shape.headers, place.at("headers", "secretRef"), secrets),
        basic=basic,
        bearer=bearer,
        oauth2=None if shape.oauth2 is None else _oauth2(shape.oauth2, place.at("oauth2"), secrets),
        certificate=_certificate(shape.certificate, place.at("certificate", "secretRef"), secrets),
    )


def _headers(shape: Secrets | None, place: Place, secrets: SecretReader) -> Mapping[str, str]:
    found = None if shape is None else secrets.read(shape.secret_ref, place)
    if found is None:
        return {}
    for name, (text, where) in found[0].items():
        if not _TOKEN.fullmatch(name):
            where.error(f"'{name}' is no name of a header")
        elif name.lower() in _RESERVED or name.lower().startswith(_RESERVED_BEGINNINGS):
            where.error(f"the header '{name}' is the mesh's own to set")
        check(text, name, where, _LINE)
    return {name: text for name, (text, _) in found[0].items()}


def _oauth2(shape: OAuth2Shape, place: Place, secrets: SecretReader) -> OAuth2:
    at_ref = place.at("secretRef")
    try:
        is_url = urlsplit(shape.token_url).scheme in ("http", "https")
    except ValueError:
        is_url = False
    if not is_url:
        place.at("tokenUrl").error("is not an http or https URL")
    return OAuth2(
        token_url=shape.token_url,
        client_id=secrets.value(shape.secret_ref, "clientId", at_ref, forbidden=_LINE),
        client_secret=secrets.value(shape.secret_ref, "clientSecret", at_ref, forbidden=_LINE),
        scopes=tuple(shape.scopes),
        audience=shape.audience,
    )


def _certificate(
    shape: Secrets | None, place: Place, secrets: SecretReader
) -> ClientCertificate | None:
    if shape is None:
        return None
    found = {
        key: secrets.value(shape.secret_ref, key, place, forbidden=_NULL)
        for key in ("tls.crt", "tls.key")
    }
    for key, text in found.items():
        if text and "-----BEGIN " not in text:
            place.error(f"the value of '{key}' in the Secret is not in PEM format")
    return ClientCertificate(certificate=found["tls.crt"], key=found["tls.key"])
