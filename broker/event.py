"""The event: an immutable value that nothing on its way re-encodes.

Follows the CloudEvents specification 1.0.2, sections "Context Attributes" and "Type System".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Final, Literal, assert_never

from broker.errors import InvalidEvent
from broker.formats import is_media_type, is_time, is_uri, is_uri_reference

Kind = Literal["boolean", "integer"]
Value = str | int | bool

REQUIRED: Final = ("specversion", "id", "source", "type")
MAX_HOPS: Final = 255
"""How often an event may re-enter a broker by way of replies (Knative's limit)."""

INTEGER_RANGE: Final = range(-(2**31), 2**31)
"""The integers of the CloudEvents type system."""

_NO_KINDS: Final[Mapping[str, Kind]] = {}


@dataclass(frozen=True, slots=True, init=False)
class Event:
    """One CloudEvent.

    ``attributes``  every context attribute, ``specversion`` included, as canonical text:
                    ``true``/``false`` for booleans, decimal digits for integers, otherwise
                    just what came in. Extensions stand beside the standard attributes.
    ``data``        the payload's bytes, or None where the event has none.
    ``kinds``       the type of each attribute that is known not to be a string.
    ``hops``        how many replies led to this event; kept beside it, never sent out.
    ``trace``       the span that this event comes from, as `broker.tracecontext` writes it, or
                    None; kept beside it, whatever its attributes say of traces.

    Construct events from outside through `Event.checked`; the plain constructor is for
    attributes that have been checked before.
    """

    attributes: Mapping[str, str]
    data: bytes | None
    kinds: Mapping[str, Kind]
    hops: int
    trace: str | None

    def __init__(
        self,
        attributes: Mapping[str, str],
        data: bytes | None = None,
        kinds: Mapping[str, Kind] = _NO_KINDS,
        hops: int = 0,
        trace: str | None = None,
    ) -> None:
        # What a dataclass makes of frozen fields asks for each slot by its name: twice the time.
        _set_attributes(self, attributes)
        _set_data(self, data)
        _set_kinds(self, kinds)
        _set_hops(self, hops)
        _set_trace(self, trace)

    @classmethod
    def checked(
        cls,
        attributes: Mapping[str, str],
        data: bytes | None = None,
        kinds: Mapping[str, Kind] = _NO_KINDS,
        hops: int = 0,
    ) -> Event:
        """Return the event, or raise `InvalidEvent` naming the attribute that is wrong."""
        check_attributes(attributes)
        for name, kind in kinds.items():
            _check_kind(name, kind, attributes.get(name))
        return cls(attributes, data, kinds, hops)

    @classmethod
    def of_typed(
        cls,
        typed: Mapping[str, Value],
        data: bytes | None = None,
        hops: int = 0,
        trace: str | None = None,
    ) -> Event:
        """Return the event that has these as its `typed`. Nothing is checked."""
        attributes: dict[str, str] = {}
        kinds: dict[str, Kind] = {}
        for name, value in typed.items():
            match value:
                case str():
                    attributes[name] = value
                case bool():
                    attributes[name] = "true" if value else "false"
                    kinds[name] = "boolean"
                case int():
                    attributes[name] = str(value)
                    kinds[name] = "integer"
        return cls(attributes, data, kinds, hops, trace)

    @property
    def typed(self) -> Mapping[str, Value]:
        """The attributes as values of the types that are known: ``True`` for ``"true"``."""
        if not self.kinds:
            return self.attributes
        typed: dict[str, Value] = dict(self.attributes)
        for name, kind in self.kinds.items():
            text = self.attributes[name]
            typed[name] = text == "true" if kind == "boolean" else int(text)
        return typed

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @property
    def source(self) -> str:
        return self.attributes["source"]

    @property
    def type(self) -> str:
        return self.attributes["type"]

    def with_attributes(self, extra: Mapping[str, str], kinds: Mapping[str, Kind]) -> Event:
        """Return a copy that carries ``extra`` too; the same names are replaced."""
        kept = {name: kind for name, kind in self.kinds.items() if name not in extra}
        return Event(
            {**self.attributes, **extra}, self.data, {**kept, **kinds}, self.hops, self.trace
        )

    def without_data(self) -> Event:
        """Return the attributes alone: the same event with no payload."""
        return Event(self.attributes, None, self.kinds, self.hops, self.trace)


_set_attributes: Final = Event.__dict__["attributes"].__set__
_set_data: Final = Event.__dict__["data"].__set__
_set_kinds: Final = Event.__dict__["kinds"].__set__
_set_hops: Final = Event.__dict__["hops"].__set__
_set_trace: Final = Event.__dict__["trace"].__set__


def check_attributes(attributes: Mapping[str, str]) -> None:
    """Raise `InvalidEvent` unless these are the attributes of a valid CloudEvent.

    Nothing is repaired or invented: a missing id stays missing, and is refused.
    """
    if not _are_plain(attributes):
        _check_each(attributes)


def are_plain(events: Iterable[Mapping[str, str]]) -> bool:
    """Return True only if `check_attributes` finds nothing in any of these attributes.

    What is odd is False, though it may be right. A fifth of the time: events that come together
    have their names in common and many of their values, and each of those is looked at once.
    """
    shapes = defaultdict(list)
    for each in events:
        shapes[tuple(each)].append(each.values())
    return all(_is_plain_shape(names, values) for names, values in shapes.items())


def _is_plain_shape(names: tuple[str, ...], events: Iterable[Iterable[str]]) -> bool:
    """Return whether the events with these values of these attributes are plain."""
    if sum(map(len, names)) > _SHORT or not _can_be_all(names):
        return False
    columns = [set(column) for column in zip(*events, strict=True)]
    return "".join(chain.from_iterable(columns)).isprintable() and all(  # nothing forbidden is
        all(map(_PLAIN[name], column))
        for name, column in zip(names, columns, strict=True)
        if name in _PLAIN
    )


@lru_cache(maxsize=1024)
def _can_be_all(names: tuple[str, ...]) -> bool:
    """Return whether these are all attributes that some valid event has."""
    return (
        all(map(names.__contains__, REQUIRED))
        and all(map(_NAME.fullmatch, names))
        and "data" not in names
    )


def _are_plain(attributes: Mapping[str, str]) -> bool:
    """Return True only if `_check_each` finds nothing, as it does for most events.

    It takes a third of the time: all names and all values are looked at in one go, and what
    many events share is remembered.
    """
    names, values = "".join(attributes), "".join(attributes.values())
    get = attributes.get
    return (
        names.isascii()
        and names.isalnum()
        and names.islower()
        and "" not in attributes
        and "data" not in attributes
        and len(values) <= _SHORT
        and values.isprintable()  # nothing forbidden is
        and _are_in_order(
            get("specversion"),
            get("source"),
            get("type"),
            get("datacontenttype"),
            get("dataschema"),
        )
        and bool(get("id"))
        and get("subject") != ""
        and ((time := get("time")) is None or is_time(time))
    )


@lru_cache(maxsize=1024)
def _are_in_order(
    specversion: str | None,
    source: str | None,
    type: str | None,
    datacontenttype: str | None,
    dataschema: str | None,
) -> bool:
    """Return whether these attributes are there that must be, and none breaks its rule."""
    return (
        specversion == "1.0"
        and bool(source)
        and is_uri_reference(source or "")
        and bool(type)
        and (datacontenttype is None or is_media_type(datacontenttype))
        and (dataschema is None or bool(dataschema and is_uri(dataschema)))
    )


def _check_each(attributes: Mapping[str, str]) -> None:
    for name in REQUIRED:
        if name not in attributes:
            raise InvalidEvent(f"the required attribute '{name}' is missing", attribute=name)
    for name in attributes:
        check_name(name)
    for name, value in attributes.items():
        _check_characters(name, value)
    for name, rule in _RULES.items():
        known = attributes.get(name)
        if known is not None:
            rule(name, known)


def check_attribute(name: str, value: str) -> None:
    """Raise `InvalidEvent` unless a valid CloudEvent can have this attribute, a string.

    A valid one is what has all of `REQUIRED`, and no attribute that this refuses.
    """
    rule = _RULES.get(name)
    if rule is None:
        check_name(name)
    if not value.isprintable():  # nothing forbidden is
        _check_characters(name, value)
    if rule is not None:
        rule(name, value)


def check_name(name: str) -> None:
    """Raise `InvalidEvent` unless ``name`` can be an attribute's name: ``[a-z0-9]+``, not data."""
    if not _NAME.fullmatch(name):
        raise InvalidEvent(
            f"'{shown(name)}' is not an attribute name: only a-z and 0-9 are allowed",
            attribute=shown(name),
        )
    if name == "data":
        raise InvalidEvent("'data' cannot be the name of an attribute", attribute=name)


def shown(text: str) -> str:
    """Return ``text``, cut where it is too long for a message to quote it."""
    return text if len(text) <= 128 else f"{text[:128]}…"


_SHORT: Final = 1024
"""Characters of all attributes of an event up to which what was found of some is remembered."""

_NAME: Final = re.compile(r"[a-z0-9]+")

# Control characters, noncharacters and surrogates: what the type String excludes.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,9}")


def _check_characters(name: str, value: str) -> None:
    found = _FORBIDDEN.search(value)
    if found:
        raise InvalidEvent(
            f"'{name}' contains U+{ord(found[0]):04X} at character {found.start() + 1}, "
            "which no attribute may contain",
            attribute=name,
        )


def _check_kind(name: str, kind: Kind, value: str | None) -> None:
    if name in _RULES:
        raise InvalidEvent(f"'{name}' is always a string", attribute=name)
    match kind:
        case "boolean":
            fits, expected = value in ("true", "false"), "true or false"
        case "integer":
            fits = bool(value and _INTEGER.fullmatch(value) and int(value) in INTEGER_RANGE)
            expected = "an integer of 32 bits"
        case _:
            assert_never(kind)
    if not fits:
        raise InvalidEvent(f"'{name}' is not {expected}", attribute=name)


def _specversion(name: str, value: str) -> None:
    if value != "1.0":
        raise InvalidEvent(
            f"'specversion' is '{shown(value)}'; only 1.0 is supported", attribute=name
        )


def _not_empty(name: str, value: str) -> None:
    if not value:
        raise InvalidEvent(f"'{name}' is empty", attribute=name)


def _source(name: str, value: str) -> None:
    _not_empty(name, value)
    if not is_uri_reference(value):
        raise InvalidEvent(
            f"'source' is not a URI-reference (RFC 3986): '{shown(value)}'", attribute=name
        )


def _dataschema(name: str, value: str) -> None:
    _not_empty(name, value)
    if not is_uri(value):
        raise InvalidEvent(
            f"'dataschema' is not an absolute URI (RFC 3986): '{shown(value)}'", attribute=name
        )


def _time(name: str, value: str) -> None:
    if not is_time(value):
        raise InvalidEvent(f"'time' is not an RFC 3339 timestamp: '{shown(value)}'", attribute=name)


def _datacontenttype(name: str, value: str) -> None:
    if not is_media_type(value):
        raise InvalidEvent(
            f"'datacontenttype' is not a media type (RFC 2046): '{shown(value)}'", attribute=name
        )


_RULES: Final = {
    "specversion": _specversion,
    "id": _not_empty,
    "type": _not_empty,
    "subject": _not_empty,
    "source": _source,
    "dataschema": _dataschema,
    "time": _time,
    "datacontenttype": _datacontenttype,
}

_PLAIN: Final[Mapping[str, Callable[[str], bool]]] = {
    "specversion": "1.0".__eq__,
    "id": bool,
    "type": bool,
    "subject": bool,
    "source": lambda value: value != "" and is_uri_reference(value),
    "dataschema": lambda value: value != "" and is_uri(value),
    "time": is_time,
    "datacontenttype": is_media_type,
}
"""Of each rule, what keeps it."""
