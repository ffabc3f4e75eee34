"""Events that are read and checked together come out as they do one by one, or are refused so."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.codecs.alike import decode_alike
from broker.codecs.json import decode_batch, decode_event, encode_batch, encode_event
from broker.errors import InvalidEvent
from broker.event import Event, are_plain, check_attributes
from tests.property.test_codec_roundtrip import damaged, events, json_texts

Outcome = list[Event] | tuple[str, str | None, int | None]

VALID = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t"}

# Of each name, values that are in order, and values that are not.
VALUES = {
    "specversion": (["1.0"], ["", "0.3"]),
    "id": (["1", "2"], ["", "\x00"]),
    "source": (["/x", "x:y"], ["", "%", " "]),
    "type": (["t", "u"], [""]),
    "subject": (["s", "é"], [""]),
    "time": (["2026-01-31T12:00:00Z"], ["", "2026-02-30T12:00:00Z"]),
    "dataschema": (["x:y"], ["", "/x"]),
    "datacontenttype": (["a/b"], ["", "a"]),
    "note": (["", "n", "a" * 1025], ["\x00", "\ufffe", "\ud800"]),
}
ODD_NAMES = ["", "data", "data_base64", "Note", "né", "a b", "a" * 1025]


@st.composite
def batches(draw: st.DrawFn) -> list[Mapping[str, str]]:
    """Attributes of several events, most of which have the same names, and are in order."""
    names = draw(st.lists(st.sampled_from([*VALUES])))
    if draw(st.integers(0, 5)) == 0:
        names.append(draw(st.sampled_from(ODD_NAMES)))
    found: list[Mapping[str, str]] = []
    for _ in range(draw(st.integers(1, 4))):
        each = {name: draw(values(name)) for name in [*VALID, *names]}
        if draw(st.integers(0, 7)) == 0:
            each.pop(draw(st.sampled_from([*each])))
        found.append(each)
    return found


def values(name: str) -> st.SearchStrategy[str]:
    right, wrong = VALUES.get(name, (["x"], ["x"]))
    return st.integers(0, 19).flatmap(lambda dice: st.sampled_from(right if dice else wrong))


@given(batches())
@example([{}])
@example([VALID, {**VALID, "id": ""}])
@example([VALID, {**VALID, "data": "x"}])
def test_what_is_plain_together_is_valid_one_by_one(batch: list[Mapping[str, str]]) -> None:
    if are_plain(batch):
        for each in batch:
            check_attributes(each)


@pytest.mark.parametrize("name", VALUES)
def test_what_is_wrong_with_one_of_many_is_seen(name: str) -> None:
    right, wrong = VALUES[name]
    many: list[Mapping[str, str]] = [{**VALID, name: value} for value in right * 3]

    assert are_plain(many)
    for value in wrong:
        for at in range(len(many)):
            assert not are_plain([*many[:at], {**VALID, name: value}, *many[at:]])


@given(st.lists(events(), min_size=1, max_size=5))
def test_what_is_valid_and_visible_is_plain(batch: list[Event]) -> None:
    # What Python does not call printable is left to be checked one by one.
    assert are_plain(
        [{n: v for n, v in each.attributes.items() if v.isprintable()} | VALID for each in batch]
    )


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """An event as others may write it: odd blanks, escapes, members twice, values of any kind."""
    event = draw(events())
    members = [
        (json.dumps(name).encode(), json.dumps(value, ensure_ascii=draw(st.booleans())).encode())
        for name, value in event.attributes.items()
    ]
    if draw(st.booleans()):
        members.append((b'"data"', draw(json_texts())))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        odd = draw(
            st.sampled_from([b'"id"', b'"\\u0069d"', b'"note"', b'"data"', b'"data_base64"'])
        )
        value = draw(st.sampled_from([b'"1"', b'"AAA="', b"7", b"true", b"null", b"[]", b'" "']))
        members.insert(draw(st.integers(0, len(members))), (odd, value))
    comma = draw(st.sampled_from([b",", b", ", b" ,\n"]))
    colon = draw(st.sampled_from([b":", b": ", b"\t:  "]))
    return b"{" + comma.join([name + colon + value for name, value in members]) + b"}"


def one_by_one(elements: list[bytes]) -> Outcome:
    events = []
    for index, element in enumerate(elements):
        try:
            events.append(decode_event(element))
        except InvalidEvent as error:
            return error.detail, error.attribute, index
    return events


def together(batch: bytes) -> Outcome:
    try:
        return decode_batch(batch)
    except InvalidEvent as error:
        return error.detail, error.attribute, error.index


@given(
    st.lists(written() | events().map(encode_event), max_size=5),
    st.sampled_from([b",", b", ", b"\n,\r\n"]),
)
def test_a_batch_is_what_its_events_are(elements: list[bytes], comma: bytes) -> None:
    batch = b"[" + comma.join(elements) + b"]"

    assert together(batch) == one_by_one(elements)


@given(st.lists(damaged(), max_size=4))
def test_a_damaged_batch_is_refused_as_its_events_are(elements: list[bytes]) -> None:
    found = together(b"[" + b",".join(elements) + b"]")

    if all(map(is_json_text, elements)):
        assert found == one_by_one(elements)
    else:
        assert not isinstance(found, list) or is_json_text(b"[" + b",".join(elements) + b"]")


def is_json_text(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
        text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


SEPARATORS = [(",", ":"), (", ", ": ")]
PAYLOADS = [None, {}, {"text": 'it has "data": in it'}, '"data":"data":', 1, [" "], " ' \\ ☃"]


def text_of(document: object, separators: tuple[str, str]) -> bytes:
    return json.dumps(document, separators=separators, ensure_ascii=False).encode()


@pytest.mark.parametrize("separators", SEPARATORS)
@pytest.mark.parametrize("content_type", [{}, {"datacontenttype": "text/plain"}])
@pytest.mark.parametrize("data", PAYLOADS)
def test_ordinary_batches_are_read_together(
    separators: tuple[str, str], content_type: Mapping[str, str], data: object
) -> None:
    plain = {**VALID, "time": "2026-01-31T12:00:00.5Z", "note": " a b", **content_type}
    payload = {} if data is None else {"data": data}
    every = [{**plain, **payload, "id": str(number)} for number in range(3)]
    every.append({"subject": "x", **every[0]})

    read = decode_alike(text_of(every, separators))

    assert read is not None
    assert read == one_by_one([text_of(each, separators) for each in every])


@pytest.mark.parametrize("separators", SEPARATORS)
@pytest.mark.parametrize("data", PAYLOADS)
@pytest.mark.parametrize(
    "again", [b'"id":"1"', b'"id" : "22"', b'"note":""', b'"data":{}', b'"\\u0069d":"1"']
)
@pytest.mark.parametrize("last", [True, False])
def test_a_member_that_occurs_twice_is_seen(
    separators: tuple[str, str], data: object, again: bytes, last: bool
) -> None:
    whole = text_of({**VALID, "note": " a b", "data": data}, separators)
    twice = whole[:-1] + b"," + again + b"}" if last else b"{" + again + b"," + whole[1:]

    found = together(b"[" + b",".join([whole, twice, whole]) + b"]")

    assert found == one_by_one([whole, twice, whole])
    assert isinstance(found, tuple)
    assert "occurs twice" in found[0]


def test_an_event_keeps_the_order_of_its_attributes() -> None:
    one = Event({"type": "t", "id": "1", "note": "n", "specversion": "1.0", "source": "/"}, b"1")
    other = Event({**VALID, "subject": "s"}, b"1")

    read = decode_batch(encode_batch([one, other]))

    assert [[*each.attributes][:5] for each in read] == [
        ["type", "id", "note", "specversion", "source"],
        [*VALID, "subject"],
    ]
