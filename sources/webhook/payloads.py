"""What the body of a webhook has in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

import msgspec

from broker.codecs.paths import json_of, text_at
from broker.formats import is_time
from broker.ports import HttpRequest, Json

_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_IN_A_FORM: Final = "payload"
"""The field of a form that has all of it as JSON, at GitHub and Slack alike."""

_SECONDS: Final = re.compile(r"([0-9]{1,11})(?:\.[0-9]+)?", re.ASCII)  # up to the year 5138


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A body: as the event has it, and as the JSON that it is, or None where it is none."""

    data: bytes | None
    content_type: str | None
    json: Json = None

    def text(self, path: str) -> str | None:
        """Return what is at ``path`` of the JSON, as text; see `text_at`."""
        return text_at(self.json, path)

    def first(self, *paths: str) -> str | None:
        """Return the text at the first of these paths that has one."""
        return next(filter(None, map(self.text, paths)), None)


def payload_of(request: HttpRequest) -> Payload:
    """Return what the request brings.

    Of a form with a field ``payload`` that is the JSON in it. Of any other form it is its fields,
    as JSON: a list where one is there several times.
    """
    content_type = request.header("content-type")
    if (content_type or "").partition(";")[0].strip().lower() == _FORM:
        return _of_form(request.body, content_type)
    return Payload(data=request.body or None, content_type=content_type, json=json_of(request.body))


def _of_form(body: bytes, content_type: str | None) -> Payload:
    try:
        form = parse_qs(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except ValueError:  # it only says that it is one
        form = {}
    if not form:
        return Payload(data=body or None, content_type=content_type, json=json_of(body))
    inner = form.get(_IN_A_FORM, [""])[0].encode()
    json = json_of(inner)
    if json is not None:
        return Payload(data=inner, content_type=_JSON, json=json)
    fields: Json = {name: [*each] if each[1:] else each[0] for name, each in form.items()}
    return Payload(data=msgspec.json.encode(fields), content_type=_JSON, json=fields)


def time_of(text: str | None) -> str | None:
    """Return a timestamp (RFC 3339): the text itself, or what it says in seconds since 1970."""
    if text is None or is_time(text):
        return text
    found = _SECONDS.fullmatch(text)
    if found is None:
        return None
    return datetime.fromtimestamp(int(found[1]), UTC).isoformat().replace("+00:00", "Z")
