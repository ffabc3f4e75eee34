"""Requests to an API server, and to its etcd, by a connection for each."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from tests.services.kubernetes.place import Place

Object = dict[str, Any]

_ANSWERS_WITHIN: Final = 60  # seconds


class Refused(Exception):
    """The API server did not do what it was asked to; ``status`` and the message say why."""

    def __init__(self, asked: str, status: int, answer: bytes) -> None:
        self.status: Final = status
        said = answer.decode(errors="replace")
        super().__init__(f"{asked}: {status} {said}")


def asked(
    place: Place, method: str, path: str, body: object = None, *, type: str = "application/json"
) -> bytes:
    """Return what the API server answers the user who may do everything, or raise `Refused`."""
    trusted = ssl.create_default_context(cafile=place.authority)
    where = urlsplit(place.url).netloc
    connection = HTTPSConnection(where, timeout=_ANSWERS_WITHIN, context=trusted)
    headers = {"Authorization": f"Bearer {place.token}", "Content-Type": type}
    return _answer(connection, method, path, body, headers)


def asked_etcd(place: Place, path: str, body: object) -> Object:
    """Return what etcd answers in JSON, or raise `Refused`."""
    connection = HTTPConnection(place.etcd, timeout=_ANSWERS_WITHIN)
    answer: Object = json.loads(_answer(connection, "POST", path, body, {}))
    return answer


def _answer(
    connection: HTTPConnection, method: str, path: str, body: object, headers: Mapping[str, str]
) -> bytes:
    sent = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, body=sent, headers=headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status >= 300:
        raise Refused(f"{method} {path}", response.status, answer)
    return answer
