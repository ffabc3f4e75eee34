"""Reads what proves to a subscriber who sends: keys, credentials and a certificate, from Secrets.

No message and no `repr` shows a value of one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final

from broker import plugins
from broker.characters import misfit
from broker.errors import PluginNotFound, did_you_mean
from broker.manifest.objects import Place
from broker.manifest.policyshapes import CredentialsShape, OAuth2Shape, SecretRef, Secrets
from broker.manifest.secrets import texts
from broker.manifest.shapes import SecretObject
from broker.policy import ClientCertificate, Credentials, OAuth2, Signing

_BARE: Final = re.compile(r"[^!-~]")
_LINE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NULL: Final = re.compile(r"\0")

Found = Mapping[str, tuple[str, Place]]
"""Key → value of a Secret, and where it stands."""


class SecretReader:
    """The Secrets of the manifests, by ``namespace/name``: None where one is there, but wrong.

    ``where`` is what is said of where they are looked for.
    """

    def __init__(
        self,
        secrets: Mapping[str, tuple[SecretObject | None, Place]],
        *,
        where: str = "these files",
    ) -> None:
        self._secrets = secrets
        self._where = where

    def read(self, ref: SecretRef, place: Place) -> tuple[Found, Place] | None:
        """Return what the Secret has that ``ref``, at ``place``, names, and where it stands.

        None where there is none, which has been reported.
        """
        key = f"{place.object.namespace}/{ref.name}"
        if key not in self._secrets:
            if place.report.complete:
                hint = did_you_mean(key, self._secrets)
                place.at("name").error(f"no Secret '{key}' in {place.report.where}{hint}")
            return None
        secret, at_secret = self._secrets[key]
        return None if secret is None else (texts(secret, at_secret), at_secret)

    def reveal(self, name: str, key: str, *, namespace: str) -> str:
        """Return a value, or raise `ValueError`, which says what there is instead."""
        whole = f"{namespace}/{name}"
        if whole not in self._secrets:
            hint = did_you_mean(whole, self._secrets)
            raise ValueError(f"no Secret '{whole}' in {self._where}{hint}")
        secret, at_secret = self._secrets[whole]
        values = {} if secret is None else texts(secret, at_secret)
        if key not in values:
            raise ValueError(f"the Secret '{whole}' has no '{key}'{did_you_mean(key, values)}")
        return values[key][0]

    def value(
        self, ref: SecretRef, key: str, place: Place, *, forbidden: re.Pattern[str] = _BARE
    ) -> tuple[str, Place]:
        """Return the value under that key and where it stands, and report what is wrong with it.

        Where there is none, it is empty, and would stand at ``place``.
        """
        found = self.read(ref, place)
        if found is None:
            return "", place
        values, at_secret = found
        if key not in values:
            hint = did_you_mean(key, values)
            at_secret.at("data", key).error(f"is missing; {place.object.subject} needs it{hint}")
            return "", place
        text, where = values[key]
        check(text, key, where, forbidden)
        return text, where


def check(text: str, key: str, place: Place, forbidden: re.Pattern[str]) -> None:
    """Report what keeps the value of ``key`` from being used."""
    found = forbidden.search(text)
    if not text:
        place.error(f"the value of '{key}' is empty")
    elif found is not None:
        place.error(f"the value of '{key}' {misfit(text, found.start(), 'value')}")


def _prove(proof: Signing | Credentials, place: Place) -> None:
    """Report at ``place`` what those who would show it have against it."""
    try:
        sinks = plugins.webhooks()
        flaw = None if sinks is None else sinks.flaw(proof)
    except PluginNotFound as error:
        flaw = str(error)
    if flaw is not None:
        place.error(flaw)


def signing(shape: Secrets | None, place: Place, secrets: SecretReader) -> Signing | None:
    found = None if shape is None else secrets.read(shape.secret_ref, place.at("secretRef"))
    if found is None:
        return None
    values, at_secret = found
    if not values:
        at_secret.at("data").error("is empty; each key of it would be a signing key")
    for key, (text, where) in values.items():
        check(text, key, where, _BARE)
        _prove(Signing(keys=(text,)), where)
    return Signing(keys=tuple(text for text, _ in values.values()))


def credentials(shape: CredentialsShape | None, place: Place, secrets: SecretReader) -> Credentials:
    if shape is None:
        return Credentials()
    basic = bearer = None
    if shape.basic is not None:
        basic = _basic(shape.basic, place.at("basic", "secretRef"), secrets)
    if shape.bearer is not None:
        key_ref = shape.bearer.secret_ref
        bearer, _ = secrets.value(key_ref, key_ref.key, place.at("bearer", "secretRef"))
    return Credentials(
        headers=_headers(shape.headers, place.at("headers", "secretRef"), secrets),
        basic=basic,
        bearer=bearer,
        oauth2=None if shape.oauth2 is None else _oauth2(shape.oauth2, place.at("oauth2"), secrets),
        token_file=shape.token_file,
        certificate=_certificate(shape.certificate, place.at("certificate", "secretRef"), secrets),
    )


def _basic(shape: Secrets, place: Place, secrets: SecretReader) -> str:
    user, at_user = secrets.value(shape.secret_ref, "username", place, forbidden=_LINE)
    password, _ = secrets.value(shape.secret_ref, "password", place, forbidden=_LINE)
    if ":" in user:
        at_user.error("the value of 'username' has a colon, which no user name may have")
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _headers(shape: Secrets | None, place: Place, secrets: SecretReader) -> Mapping[str, str]:
    found = None if shape is None else secrets.read(shape.secret_ref, place)
    if found is None:
        return {}
    for name, (text, where) in found[0].items():
        _prove(Credentials(headers={name: text}), where)
        check(text, name, where, _LINE)
    return {name: text for name, (text, _) in found[0].items()}


def _oauth2(shape: OAuth2Shape, place: Place, secrets: SecretReader) -> OAuth2:
    at_ref = place.at("secretRef")
    client_id, _ = secrets.value(shape.secret_ref, "clientId", at_ref, forbidden=_LINE)
    client_secret, _ = secrets.value(shape.secret_ref, "clientSecret", at_ref, forbidden=_LINE)
    oauth2 = OAuth2(
        token_url=shape.token_url,
        client_id=client_id,
        client_secret=client_secret,
        scopes=tuple(shape.scopes),
        audience=shape.audience,
        authentication=shape.authentication,
    )
    _prove(Credentials(oauth2=oauth2), place.at("tokenUrl"))
    return oauth2


def _certificate(
    shape: Secrets | None, place: Place, secrets: SecretReader
) -> ClientCertificate | None:
    if shape is None:
        return None
    found = {
        key: secrets.value(shape.secret_ref, key, place, forbidden=_NULL)
        for key in ("tls.crt", "tls.key")
    }
    (chain, _), (key, at_key) = found.values()
    certificate = ClientCertificate(certificate=chain, key=key)
    if all("-----BEGIN " in text for text, _ in found.values()):
        _prove(Credentials(certificate=certificate), at_key)
        return certificate
    for name, (text, where) in found.items():
        if text and "-----BEGIN " not in text:
            where.error(f"the value of '{name}' is not in PEM format")
    return certificate
