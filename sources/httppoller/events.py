"""The events that a body, or an element of a list in it, tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec

from broker.codecs import http
from broker.codecs.fitting import fitting
from broker.codecs.paths import json_of, text_at
from broker.errors import InvalidEvent
from broker.event import Event
from sources.httppoller.client import date_of
from sources.httppoller.exchange import Response
from sources.httppoller.memory import key_of
from sources.httppoller.spec import ALL, HttpPollerSpec

BODY_TYPE: Final = "dev.cemesh.http.body"
ITEM_TYPE: Final = "dev.cemesh.http.item"

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that was found, by a key that it is known again by.

    It is ``data``, and has an event, or a flaw that says why it can become none.
    """

    key: bytes
    id: str
    data: bytes
    event: Event | None = None
    flaw: str = ""


def event_of(response: Response, uri: str, change: int) -> Event:
    """Return the event of a body that is the ``change``th; ``uri`` is the source's."""
    identity = {
        "specversion": "1.0",
        # The same body can come back after another one; that is a change, too.
        "id": f"{change}-{sha256(response.body).hexdigest()}",
        "source": uri,
        "type": BODY_TYPE,
    }
    modified = date_of(response.header("last-modified") or "")
    found = {
        "datacontenttype": response.header("content-type"),
        "time": None if modified is None else modified.isoformat().replace("+00:00", "Z"),
        "etag": response.header("etag"),
    }
    return Event.checked(fitting(identity, found), response.body or None)


def events_in(response: Response) -> list[Item] | None:
    """Return the CloudEvents that the response is, or None where it does not say that it is any.

    Raises `InvalidEvent` or `UnsupportedContent` where that is not so.
    """
    if not http.claims_event(response.headers):
        return None
    return [
        Item(
            key=key_of(each.source.encode(), each.id.encode()),
            id=each.id,
            data=each.data or b"",
            event=each,
        )
        for each in http.decode(response.headers, response.body)
    ]


def items_in(body: bytes, spec: HttpPollerSpec, uri: str) -> list[Item]:
    """Return the elements of the list in a body. Raises `ValueError` where there is no list."""
    return [_item(each, spec, uri) for each in _elements_of(body, spec.items or ALL)]


def _item(data: bytes, spec: HttpPollerSpec, uri: str) -> Item:
    digest = sha256(data).hexdigest()
    found = digest if spec.item_id is None else text_at(json_of(data), spec.item_id)
    if found is None:
        flaw = f"there is no text and no number at '{spec.item_id}', which itemId says"
        return Item(key=key_of(data), id=digest, data=data, flaw=flaw)
    key = key_of(b"id", found.encode()) if spec.item_id is not None else key_of(data)
    attributes = {
        "specversion": "1.0",
        "id": found,
        "source": uri,
        "type": ITEM_TYPE,
        "datacontenttype": "application/json",
    }
    try:
        return Item(key=key, id=found, data=data, event=Event.checked(attributes, data))
    except InvalidEvent as error:
        return Item(key=key, id=digest, data=data, flaw=str(error))


def _elements_of(body: bytes, path: str) -> Sequence[bytes]:
    try:
        body.decode()  # which msgspec leaves alone in what it does not unpack
        for step in [] if path == ALL else path.split("."):
            body = bytes(_members.decode(body)[step])
        return [bytes(each) for each in _elements.decode(body)]
    except UnicodeDecodeError as error:
        raise ValueError(f"its answer is not UTF-8: {error.reason} (byte {error.start})") from None
    except (KeyError, msgspec.ValidationError):
        raise ValueError(f"its answer has no list at '{path}', which items says") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"its answer is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("its answer is JSON that is nested too deep") from None
