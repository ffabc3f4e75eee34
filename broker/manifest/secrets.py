"""Reads Secrets. No message and no `repr` shows a value of one."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from broker.manifest.objects import Place
from broker.manifest.shapes import SecretObject
from broker.trigger import Access

BASIC_AUTH: Final = "kubernetes.io/basic-auth"

_NOT_IN_A_TOKEN: Final = re.compile(r"[^!-~]")
_NOT_IN_A_USER: Final = re.compile(r"[\x00-\x1f\x7f:]")
_NOT_IN_A_PASSWORD: Final = re.compile(r"[\x00-\x1f\x7f]")


def access(secret: SecretObject, place: Place) -> Access:
    """Return who may send, as the Secret at ``place`` says.

    Of the type ``kubernetes.io/basic-auth`` it holds one client's ``username`` and
    ``password``; of any other, each key is a client's name and its value a bearer token.
    """
    values = _contents(secret, place)
    if secret.type == BASIC_AUTH:
        return _basic(values, place)
    if not values and not secret.data:
        place.at("data").error("is empty, so nobody could send")
    for client, (token, where) in values.items():
        _check(token, _NOT_IN_A_TOKEN, "token", client, where)
    return Access(bearer={client: token for client, (token, _) in values.items()})


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


def _contents(secret: SecretObject, place: Place) -> dict[str, tuple[str, Place]]:
    """Return key → text and where it stands; ``stringData`` goes before ``data``."""
    found: dict[str, tuple[str, Place]] = {}
    for key, encoded in secret.data.items():
        where = place.at("data", key)
        try:
            # Line breaks are allowed, as Kubernetes allows them; nothing else is skipped.
            content = base64.b64decode(re.sub(r"[\r\n]", "", encoded), validate=True)
        except ValueError:
            where.error(f"the value of '{key}' is not base64; plain text belongs in 'stringData'")
            continue
        try:
            found[key] = content.decode(), where
        except UnicodeDecodeError:
            where.error(f"the value of '{key}' is not UTF-8 text")
    for key, text in secret.string_data.items():
        found[key] = text, place.at("stringData", key)
    return found


def _check(text: str, forbidden: re.Pattern[str], what: str, key: str, place: Place) -> None:
    if not text:
        place.error(f"the {what} of '{key}' is empty")
    found = forbidden.search(text)
    if found is None:
        return
    name = _CHARACTERS.get(found[0]) or unicodedata.name(found[0], "a control character").lower()
    hint = "; was it made with 'echo' where 'echo -n' was meant?" if text.endswith("\n") else ""
    place.error(
        f"the {what} of '{key}' has U+{ord(found[0]):04X} ({name}) at character "
        f"{found.start() + 1}, which no {what} may have{hint}"
    )


_CHARACTERS: Final[Mapping[str, str]] = {
    "\t": "tab",
    "\n": "line feed",
    "\r": "carriage return",
    "\0": "null",
}
