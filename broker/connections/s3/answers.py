"""What S3 answers: lists, and why it does not do something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as Xml

from aiohttp import ClientPayloadError

from broker.connections.s3.faults import S3Error, phrase

_QUOTE: Final = '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a list of a bucket has it. ``modified`` is ``time`` as it stands there."""

    key: str
    etag: str
    size: int
    modified: str
    time: datetime

    @property
    def version(self) -> str:
        """What no other object, and no other content of the same, has as well."""
        # Who puts the same content there once more means to say it once more.
        return f"{self.key}@{self.etag.strip(_QUOTE)}@{self.modified}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Objects in the order of their keys; ``token`` leads to the next page, if there is one.

    ``now`` is what the server's clock shows.
    """

    objects: Sequence[Listed]
    token: str | None
    now: datetime


def page_of(body: bytes, date: str | None) -> Page:
    """Return the page of a list, which was made at that date; raises `ClientPayloadError`."""
    root = _xml(body)
    if root is None or root.tag != "ListBucketResult":
        raise ClientPayloadError("it answers with something that is no list of S3")
    encoded = root.findtext("EncodingType") == "url"
    try:
        objects = [_listed(each, encoded=encoded) for each in root.iter("Contents")]
        now = datetime.now(UTC) if date is None else parsedate_to_datetime(date)
    except ValueError as error:
        raise ClientPayloadError(f"its list of S3 cannot be read: {error}") from error
    more = root.findtext("IsTruncated") == "true"
    token = root.findtext("NextContinuationToken") if more else None
    return Page(objects=objects, token=token, now=now)


def _listed(element: Xml.Element, *, encoded: bool) -> Listed:
    key, modified = _text(element, "Key"), _text(element, "LastModified")
    return Listed(
        key=unquote_plus(key) if encoded else key,
        etag=_text(element, "ETag"),
        size=int(_text(element, "Size")),
        modified=modified,
        time=datetime.fromisoformat(modified).astimezone(UTC),
    )


def error_of(status: int, body: bytes) -> S3Error:
    """Return what S3 has against a request, in its own words where it says any."""
    root = _xml(body)
    if root is None or root.tag != "Error":
        return S3Error(status, phrase(status), "")
    return S3Error(status, root.findtext("Code") or phrase(status), root.findtext("Message") or "")


def _xml(body: bytes) -> Xml.Element | None:
    """Return what the text is without namespaces, or None where it is no XML."""
    try:
        root = Xml.fromstring(body)  # noqa: S314 - expat bounds what entities grow to
    except Xml.ParseError:
        return None
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
    return root


def _text(element: Xml.Element, name: str) -> str:
    found = element.findtext(name)
    if found is None:
        raise ValueError(f"an object has no {name}")
    return found
