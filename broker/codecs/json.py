"""The JSON event format: strict when reading, and the payload's own text goes through untouched.

Follows the JSON Event Format of CloudEvents 1.0.2. msgspec keeps a member's raw text, which is
what lets the payload through byte for byte; it refuses all that RFC 8259 does not allow, but
looks neither at UTF-8 in what it skips nor for members that occur twice, so both are done here.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from broker.codecs.alike import BLANKS, decode_alike, json_payload
from broker.errors import InvalidEvent
from broker.event import Event, Kind, check_name, shown
from broker.formats import is_json

EVENT_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"

_SURELY_FLAT: Final = 200
"""Levels of nesting that are left to whoever decodes what was encoded here."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])
_value: Final = msgspec.json.Decoder(msgspec.Raw)
_string: Final = msgspec.json.Decoder(str)
_encoder: Final = msgspec.json.Encoder()

_INTEGER: Final = re.compile(rb"-?[0-9]{1,10}")
_MEMBER_NAME: Final = re.compile(rb'[ \t\n\r]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*:[ \t\n\r]*')
_MEMBER_END: Final = re.compile(rb"[ \t\n\r]*[,}]")

_Parsed = TypeVar("_Parsed")


def decode_event(text: bytes) -> Event:
    """Return the event that this JSON object is; raises `InvalidEvent`."""
    _check_utf8(text)
    return _event(text)


def decode_batch(text: bytes) -> list[Event]:
    """Return the events of this JSON array, of which there may be none.

    Raises `InvalidEvent`, with the index of the first that is wrong.
    """
    _check_utf8(text)
    alike = decode_alike(text)
    if alike is not None:
        return alike
    events = []
    elements = _parse(_elements, text, "an array of events")
    for index, element in enumerate(elements):
        try:
            events.append(_event(element))
        except InvalidEvent as error:
            raise error.at(index) from error
    return events


def encode_event(event: Event) -> bytes:
    """Return the event as a JSON object, which `decode_event` makes the same event of."""
    return _encoder.encode(_document(event))


def encode_batch(events: Iterable[Event]) -> bytes:
    """Return the events as a JSON array, which `decode_batch` makes the same events of."""
    return _encoder.encode([_document(event) for event in events])


# --- reading -------------------------------------------------------------------------------


def _event(text: bytes | msgspec.Raw) -> Event:
    members = _parse(_members, text, "an event, an object")
    names, values = "".join(members), b"".join(members.values())
    if 1 + len(names) + len(values) + 4 * len(members) != len(text):
        _look_for_duplicates(bytes(text), members, names, values)

    data = members.pop("data", None)
    data_base64 = members.pop("data_base64", None)
    kinds: Mapping[str, Kind] = {}
    try:
        attributes = {name: _string.decode(raw) for name, raw in members.items()}
    except msgspec.ValidationError:
        attributes, kinds = _attributes(members)
    payload = _payload(data and bytes(data), data_base64 and bytes(data_base64), attributes)
    return Event.checked(attributes, payload, kinds)


def _attributes(
    members: Mapping[str, msgspec.Raw],
) -> tuple[dict[str, str], Mapping[str, Kind]]:
    """Return the attributes where not all of them are strings."""
    attributes: dict[str, str] = {}
    kinds: dict[str, Kind] = {}
    for name, member in members.items():
        raw = bytes(member)
        if raw[0] == 0x22:  # a quotation mark, so a string
            attributes[name] = _string.decode(raw)
        elif raw == b"null":
            check_name(name)
        else:
            attributes[name], kinds[name] = _boolean_or_integer(name, raw)
    return attributes, kinds


def _boolean_or_integer(name: str, raw: bytes) -> tuple[str, Kind]:
    if raw in (b"true", b"false"):
        return raw.decode(), "boolean"
    if _INTEGER.fullmatch(raw):
        return str(int(raw)), "integer"
    check_name(name)
    raise InvalidEvent(
        f"'{name}' is neither a string, a boolean nor an integer of 32 bits", attribute=name
    )


def _payload(
    data: bytes | None, data_base64: bytes | None, attributes: dict[str, str]
) -> bytes | None:
    """Return the payload's bytes, after `json_payload` where they are ``data``."""
    if data_base64 is None or data_base64 == b"null":
        return None if data is None else json_payload(data, attributes)
    if data is not None:
        raise InvalidEvent("'data' and 'data_base64' exclude each other", attribute="data_base64")
    try:
        return b64decode(_string.decode(data_base64), validate=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidEvent("'data_base64' is not base64 text", attribute="data_base64") from error


def _check_utf8(text: bytes) -> None:
    if text.isascii():
        return
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"the body is not UTF-8: {error.reason} (byte {error.start})") from error


def _parse(
    decoder: msgspec.json.Decoder[_Parsed], text: bytes | msgspec.Raw, expected: str
) -> _Parsed:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"the JSON is not {expected}") from error
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidEvent("the JSON is nested too deep") from error


def _look_for_duplicates(
    text: bytes, members: Mapping[str, msgspec.Raw], names: str, values: bytes
) -> None:
    """Raise `InvalidEvent` if a member of the object ``text`` occurs twice.

    What was kept is, blanks aside, as long as the whole text only if nothing was overwritten:
    four times the speed of walking through the members.
    """
    least = 1 + len(names.replace(" ", "")) + len(values.translate(None, BLANKS)) + 4 * len(members)
    if least != len(text.translate(None, BLANKS)):
        _refuse_duplicates(text, {name: bytes(raw) for name, raw in members.items()})


def _refuse_duplicates(text: bytes, members: Mapping[str, bytes]) -> None:
    """Raise `InvalidEvent` if a member of the object ``text`` occurs twice.

    ``text`` is valid JSON, and ``members`` the raw value of the last member of every name.
    So a member whose value is not the one that was kept is followed by another of its name.
    """
    seen: set[str] = set()
    position = text.index(b"{") + 1
    while found := _MEMBER_NAME.match(text, position):
        name = _string.decode(found[1])
        value = members[name]
        end = _MEMBER_END.match(text, found.end() + len(value))
        if name in seen or end is None or not text.startswith(value, found.end()):
            raise InvalidEvent(f"'{shown(name)}' occurs twice", attribute=shown(name))
        seen.add(name)
        position = end.end()


# --- writing -------------------------------------------------------------------------------


def _document(event: Event) -> dict[str, object]:
    document: dict[str, object] = dict(event.typed)
    if event.data is not None:
        if is_json(event.attributes.get("datacontenttype", "")) and _can_be_spliced(event.data):
            document["data"] = msgspec.Raw(event.data)
        else:
            document["data_base64"] = event.data
    return document


def _can_be_spliced(data: bytes) -> bool:
    """Return whether ``data`` can stand in a JSON document and come out of it byte for byte."""
    # Blanks around the value would be lost, being the document's rather than the value's.
    if not data or data[0] in b" \t\n\r" or data[-1] in b" \t\n\r":
        return False
    try:
        if not data.isascii():
            data.decode()
        _value.decode(data)
        if data.count(b"[") + data.count(b"{") > _SURELY_FLAT:
            _value.decode(b"[" * _SURELY_FLAT + data + b"]" * _SURELY_FLAT)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return True
