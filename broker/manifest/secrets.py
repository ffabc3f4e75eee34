"""Reads Secrets. No message and no `repr` shows a value of one."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final

from broker.characters import NOT_TEXT, misfit
from broker.manifest.objects import Place
from broker.manifest.shapes import SecretObject
from broker.trigger import Access

BASIC_AUTH: Final = "kubernetes.io/basic-auth"

_NOT_IN_A_TOKEN: Final = re.compile(r"[^!-~]")
_NOT_IN_A_USER: Final = re.compile(r"[\x00-\x1f\x7f:]")
_NOT_IN_A_PASSWORD: Final = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def access(secret: SecretObject, place: Place) -> Access:
    """Return who may send, as the Secret at ``place`` says.

    Of the type ``kubernetes.io/basic-auth`` it holds one client's ``username`` and
    ``password``; of any other, each key is a client's name and its value a bearer token.
    """
    values = texts(secret, place)
    if secret.type == BASIC_AUTH:
        return _basic(values, place)
    if not values and not secret.data:
        place.at("data").error("is empty, so nobody could send")
    for client, (token, where) in values.items():
        _check(token, _NOT_IN_A_TOKEN, "token", client, where)
    return Access(bearer={client: token for client, (token, _) in values.items()})


def contents(secret: SecretObject, place: Place) -> dict[str, tuple[str, Place]]:
    """Return key → text and where it stands; ``stringData`` goes before ``data``.

    Bytes that are not UTF-8 become surrogates (PEP 383): a Secret may have values for others
    than the mesh, such as a key store. What is not base64 is reported, and left out.
    """
    found: dict[str, tuple[str, Place]] = {}
    for key, encoded in secret.data.items():
        where = place.at("data", key)
        try:
            # Line breaks are allowed, as Kubernetes allows them; nothing else is skipped.
            content = base64.b64decode(re.sub(r"[\r\n]", "", encoded), validate=True)
        except ValueError:
            where.error(f"the value of '{key}' is not base64; plain text belongs in 'stringData'")
            continue
        found[key] = content.decode(errors="surrogateescape"), where
    for key, text in secret.string_data.items():
        found[key] = text, place.at("stringData", key)
    return found


def _basic(values: Mapping[str, tuple[str, Place]], place: Place) -> Access:
    for key, forbidden in (("username", _NOT_IN_A_USER), ("password", _NOT_IN_A_PASSWORD)):
        if key in values:
            text, where = values[key]
            _check(text, forbidden, key, key, where)
        else:
            place.at("data", key).error(f"is missing; a Secret of type {BASIC_AUTH} needs it")
    if not {"username", "password"} <= values.keys():
        return Access()
    user, password = values["username"][0], values["password"][0]
    credential = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Access(basic={user: credential})


def texts(secret: SecretObject, place: Place) -> dict[str, tuple[str, Place]]:
    """Return the `contents`, and report what of them is no text."""
    found = contents(secret, place)
    for key, (text, where) in list(found.items()):
        if _SURROGATE.search(text):
            where.error(f"the value of '{key}' {NOT_TEXT}")
            del found[key]
    return found


def _check(text: str, forbidden: re.Pattern[str], what: str, key: str, place: Place) -> None:
    if not text:
        place.error(f"the {what} of '{key}' is empty")
    found = forbidden.search(text)
    if found is not None:
        place.error(f"the {what} of '{key}' {misfit(text, found.start(), what)}")
