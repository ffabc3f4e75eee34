"""What is encoded is decoded as it was; what is not an event is refused and nothing worse."""

from __future__ import annotations

import json
import string

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from broker.codecs.http import STRUCTURED_FROM, decode, encode, encode_batch, encode_lines, written
from broker.codecs.json import decode_event, encode_event
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event, Kind
from broker.trigger import ContentMode

# The characters of the type String: no control characters, noncharacters or surrogates.
texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=40)
filled = texts.filter(bool)
path = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/", max_size=20)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=25)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def json_texts(draw: st.DrawFn) -> bytes:
    """JSON as others may write it: odd blanks, escapes, numbers and duplicate keys."""
    indent = draw(st.sampled_from([None, 1]))
    text = json.dumps(draw(json_values), ensure_ascii=draw(st.booleans()), indent=indent)
    odd = draw(st.sampled_from(["", "1E400", "-0", "1.10", '"\\/"', '{"a":1,"a":2}', "[ ]"]))
    return (f"[{text} ,\n\t{odd}]" if odd else text).encode()


CONTENT_TYPES = [
    "application/json",
    "Application/JSON; charset=utf-8",
    "text/x+json",
    "text/plain",
    "application/octet-stream",
    "application/cloudevents+json",
    'multipart/mixed; boundary="a b"',
]

standard = st.fixed_dictionaries(
    {
        "specversion": st.just("1.0"),
        "id": filled,
        "source": path.map("/".__add__).filter(lambda text: not text.startswith("//")),
        "type": filled,
    },
    optional={
        "subject": filled,
        "time": st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        "dataschema": path.map(lambda text: "x:" + text.lstrip("/")),
        "datacontenttype": st.sampled_from(CONTENT_TYPES),
    },
)
TAKEN = {"specversion", "id", "source", "type", "subject", "time", "dataschema", "data"} | {
    "datacontenttype"
}
booleans = st.sampled_from(["true", "false"])
integers = st.integers(-(2**31), 2**31 - 1).map(str)


@st.composite
def events(draw: st.DrawFn) -> Event:
    attributes: dict[str, str] = draw(standard)
    kinds: dict[str, Kind] = {}
    for name in draw(st.lists(names.filter(lambda name: name not in TAKEN), max_size=5)):
        kind: Kind | None = draw(st.sampled_from([None, "boolean", "integer"]))
        kinds.pop(name, None)
        match kind:
            case None:
                attributes[name] = draw(texts)
            case "boolean":
                attributes[name], kinds[name] = draw(booleans), kind
            case "integer":
                attributes[name], kinds[name] = draw(integers), kind
    data = draw(st.none() | st.binary(max_size=200) | json_texts())
    return Event.checked(attributes, data, kinds)


@given(events())
def test_a_structured_event_comes_out_as_it_went_in(event: Event) -> None:
    assert decode(*encode(event, "structured")) == [event]
    assert decode_event(encode_event(event)) == event


@given(events(), st.sampled_from([None, "binary"]))
def test_a_binary_event_comes_out_as_it_went_in(event: Event, mode: ContentMode | None) -> None:
    headers, body = encode(event, mode)

    [read] = decode(headers, body)

    assert read.attributes == event.attributes
    # An HTTP message cannot tell an empty payload from none.
    assert (read.data or b"") == (event.data or b"")


@given(st.lists(events(), max_size=4))
def test_a_batch_comes_out_as_it_went_in(batch: list[Event]) -> None:
    assert decode(*encode_batch(batch)) == batch


@given(events())
def test_what_goes_out_is_plain_http(event: Event) -> None:
    headers, _ = encode(event, "binary")

    for name, value in headers:
        assert name == name.lower()
        assert value.isascii()
        assert value.decode().isprintable()
        assert value == value.strip()


@given(json_texts(), st.sampled_from(["application/json", "text/x+json"]))
def test_the_text_of_json_data_survives_both_modes(text: bytes, content_type: str) -> None:
    body = (
        b'{"specversion":"1.0","id":"1","source":"/","type":"t","datacontenttype":"%s","data":%s}'
        % (content_type.encode(), text)
    )

    event = decode_event(body)

    assert event.data == text
    assert encode_event(event) == body


PIECES = [
    *("{", "}", "[", "]", ",", ":", '"', "\\", " ", "\n", "null", "true", "1", "1.5", "-", "e9"),
    *('"id"', '"specversion"', '"source"', '"type"', '"data"', '"data_base64"', '"note"', '"1.0"'),
    *('"AAA="', '"/x"', "NaN", "\\ud800", "\\u0061", "é", "\x00", '"id":"1",', '"note":1,'),
]
VALID = '{"specversion":"1.0","id":"1","source":"/x","type":"t","note":1,"data":{"a":[1,"b"]}}'


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An event with pieces put in, taken out and put in place of others."""
    text = VALID if draw(st.booleans()) else VALID.replace(",", " , ").replace(":", ": ")
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        text = text[:start] + draw(st.sampled_from(["", *PIECES])) + text[end:]
    body = text.encode()
    if draw(st.integers(0, 9)) == 0:
        position = draw(st.integers(0, len(body)))
        body = body[:position] + draw(st.binary(max_size=3)) + body[position:]
    return body


@given(damaged() | st.lists(st.sampled_from(PIECES)).map("".join).map(str.encode) | st.binary())
@example(b"")
def test_no_json_does_worse_than_to_be_refused(body: bytes) -> None:
    try:
        event = decode_event(body)
    except InvalidEvent:
        return
    # What was taken is an object with no member twice for Python's parser too.
    members = json.loads(body, object_pairs_hook=list)
    assert len({name for name, _ in members}) == len(members)
    assert decode_event(encode_event(event)) == event


header_names = st.sampled_from(
    b"content-type content-encoding accept ce ce- ce-id ce-source ce-type ce-specversion "
    b"ce-time ce-data ce-datacontenttype ce-note".split()
)
header_values = st.sampled_from(
    b"application/cloudevents+json application/cloudevents-batch+json 1.0 /x gzip % %C0 "
    b'application/cloudevents+avro text/plain;charset= " "\\"'.split()
)


@given(
    st.lists(st.tuples(header_names, header_values | st.binary(max_size=30)), max_size=8),
    st.binary() | damaged() | st.lists(damaged()).map(lambda each: b"[" + b",".join(each) + b"]"),
)
def test_no_message_does_worse_than_to_be_refused(
    headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    try:
        taken = decode(headers, body)
    except (InvalidEvent, UnsupportedContent):
        return
    for event in taken:
        assert decode(*encode(event, "structured")) == [event]


@given(st.lists(st.tuples(names, json_values), max_size=8), st.booleans())
def test_duplicates_are_found_however_the_json_is_written(
    members: list[tuple[str, object]], compact: bool
) -> None:
    comma, colon = (b",", b":") if compact else (b" ,\n", b" : ")
    body = comma.join(
        msgspec.json.encode(name) + colon + msgspec.json.encode(value) for name, value in members
    )
    body = b"{" + body + b"}"
    twice = len({name for name, _ in members}) != len(members)

    try:
        decode_event(body)
        detail = ""
    except InvalidEvent as error:
        detail = error.detail

    assert ("occurs twice" in detail) == twice


plain = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/ %\"\r\n", max_size=30)
modes = st.sampled_from([None, "binary", "structured"])


def replaced(event: Event, value: str) -> Event:
    return Event({**event.attributes, "subject": value}, event.data)


@given(
    events() | st.builds(replaced, events(), plain.filter(bool)),
    modes,
)
@example(Event({"specversion": "1.0", "id": "1", "source": "/", "type": "t"}, None), None)
@example(
    Event({"specversion": "1.0", "id": "i" * STRUCTURED_FROM, "source": "/", "type": "t"}, b""),
    None,
)
def test_headers_as_lines_say_what_headers_say(event: Event, mode: ContentMode | None) -> None:
    headers, body = encode(event, mode)
    lines, same_body = encode_lines(event, mode)

    assert same_body == body
    assert sorted(lines.split(b"\r\n")) == sorted(written(headers).split(b"\r\n"))
