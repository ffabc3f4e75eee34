"""The rules of CloudEvents on the wire: HTTP binding and JSON format, vector by vector."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable

import msgspec
import pytest

from broker.codecs.http import (
    claims_event,
    decode,
    encode,
    encode_batch,
    encode_binary,
    encode_structured,
)
from broker.codecs.json import decode_batch, decode_event, encode_event
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event
from broker.formats import is_json
from broker.trigger import ContentMode

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order"}
CONTEXT = [(b"ce-" + name.encode(), value.encode()) for name, value in REQUIRED.items()]
JSON_TYPE = (b"content-type", b"application/json")


def binary(*headers: tuple[bytes, bytes], body: bytes = b"") -> Event:
    [event] = decode([*CONTEXT, *headers], body)
    return event


def attribute(value: bytes) -> str:
    return binary((b"ce-note", value)).attributes["note"]


def structured(members: str) -> Event:
    """The event of the required attributes and these further members, as JSON text."""
    return decode_event(document(members))


def document(members: str) -> bytes:
    return (json.dumps(REQUIRED)[:-1] + ", " + members + "}").encode()


def refused(call: Callable[[], object]) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        call()
    return caught.value


# --- the content mode ----------------------------------------------------------------------

STRUCTURED_BODY = json.dumps({**REQUIRED, "id": "inside"}).encode()


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"Application/CloudEvents+JSON",
        b"application/cloudevents+json; charset=utf-8",
        b'application/cloudevents+json;charset="UTF-8"',
        b"application/cloudevents+json ; profile=x",
        b" application/cloudevents+json\t",
    ],
)
def test_the_content_type_alone_makes_a_message_structured(content_type: bytes) -> None:
    [event] = decode([*CONTEXT, (b"content-type", content_type)], STRUCTURED_BODY)

    assert event.id == "inside"


def test_headers_beside_a_structured_body_are_ignored_even_if_wrong() -> None:
    beside = [(b"ce-id", b"a"), (b"ce-id", b"b"), (b"ce-Bad_Name", b"%C0"), (b"ce-data", b"")]
    [event] = decode([*beside, (b"content-type", b"application/cloudevents+json")], STRUCTURED_BODY)

    assert event.attributes == {**REQUIRED, "id": "inside"}


@pytest.mark.parametrize(
    "content_type", [b"application/cloudevents-batch+json", b"APPLICATION/CLOUDEVENTS-BATCH+JSON"]
)
def test_a_batch_holds_any_number_of_events(content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    two = b"[" + STRUCTURED_BODY + b",\n" + STRUCTURED_BODY + b"]"

    assert [event.id for event in decode(headers, two)] == ["inside", "inside"]
    assert decode(headers, b" [ ] ") == []


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents",
        b"application/cloudevents; charset=utf-8",
        b"application/cloudevents+avro",
        b"application/cloudevents+protobuf",
        b"application/cloudevents+xml",
        b"application/cloudevents-batch",
        b"application/cloudevents-batch+avro",
        b"application/cloudeventsish",
        b"application/cloudevents+json; charset=utf-16",
        b"application/cloudevents+json; a=b; Charset=latin1",
        b'application/cloudevents-batch+json; charset="iso-8859-1"',
    ],
)
def test_formats_and_charsets_that_are_not_read_are_unsupported(content_type: bytes) -> None:
    with pytest.raises(UnsupportedContent):
        decode([(b"content-type", content_type)], STRUCTURED_BODY)


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"gzip, identity", b"x"])
def test_an_encoded_body_is_unsupported_in_every_mode(encoding: bytes) -> None:
    header = (b"content-encoding", encoding)
    with pytest.raises(UnsupportedContent):
        decode([*CONTEXT, header], b"")
    with pytest.raises(UnsupportedContent):
        decode([(b"content-type", b"application/cloudevents+json"), header], STRUCTURED_BODY)


def test_the_identity_encoding_is_none() -> None:
    assert binary((b"content-encoding", b"Identity"), body=b"x").data == b"x"


def test_everything_else_is_binary_whatever_is_in_the_body() -> None:
    event = binary(JSON_TYPE, body=STRUCTURED_BODY)

    assert event.id == "1"
    assert event.data == STRUCTURED_BODY


@pytest.mark.parametrize(
    ("headers", "claims"),
    [
        ([(b"content-type", b"application/cloudevents+json")], True),
        ([(b"content-type", b" Application/CloudEvents-batch+avro")], True),
        ([(b"ce-specversion", b"1.0")], True),
        ([(b"ce-type", b"x"), (b"ce-id", b"1")], True),
        ([(b"content-type", b"application/json"), (b"ce-tracestate", b"x")], False),
        ([(b"content-type", b"\xff")], False),
        ([], False),
    ],
)
def test_a_message_claims_to_carry_an_event(
    headers: list[tuple[bytes, bytes]], claims: bool
) -> None:
    assert claims_event(headers) is claims


# --- binary, in ----------------------------------------------------------------------------


def test_the_body_is_the_data_byte_for_byte() -> None:
    body = b'\x00\xff {"a":1e400,"a" :2}\n'

    assert binary(JSON_TYPE, body=body).data == body


def test_no_content_type_means_no_datacontenttype() -> None:
    event = binary(body=b"x")

    assert event.attributes == REQUIRED
    assert event.data == b"x"


def test_an_empty_body_is_no_data() -> None:
    assert binary(JSON_TYPE).data is None


def test_the_content_type_keeps_its_text() -> None:
    event = binary((b"content-type", b"Text/Plain;  Charset=ISO-8859-1"), body=b"\xe9")

    assert event.attributes["datacontenttype"] == "Text/Plain;  Charset=ISO-8859-1"


@pytest.mark.parametrize("content_type", [b"xyz", b"", b"text/\xff", b"text/plain x"])
def test_a_content_type_that_is_none_is_refused(content_type: bytes) -> None:
    error = refused(lambda: binary((b"content-type", content_type)))

    assert error.attribute == "datacontenttype"


def test_two_content_types_are_refused() -> None:
    assert refused(lambda: binary(JSON_TYPE, JSON_TYPE)).attribute == "datacontenttype"


def test_the_content_type_is_no_ce_header() -> None:
    header = (b"ce-datacontenttype", b"text/plain")

    assert refused(lambda: binary(header)).attribute == "datacontenttype"
    assert refused(lambda: binary(header, JSON_TYPE)).attribute == "datacontenttype"


def test_an_attribute_that_occurs_twice_is_refused() -> None:
    assert refused(lambda: binary((b"ce-id", b"1"))).attribute == "id"


def test_other_headers_may_occur_twice_and_are_no_attributes() -> None:
    event = binary((b"accept", b"a"), (b"accept", b"b"), (b"traceparent", b"00-x"), (b"cex", b""))

    assert event.attributes == REQUIRED


@pytest.mark.parametrize("name", [b"ce-", b"ce-my-note", b"ce-my_note", b"ce-\xe9", b"ce-data"])
def test_a_header_that_names_no_attribute_is_refused(name: bytes) -> None:
    assert refused(lambda: binary((name, b"x"))).attribute == name[3:].decode("latin-1")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"  around \t", "around"),
        (b"in  between", "in  between"),
        (b"", ""),
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        ("raw € 😀".encode(), "raw € 😀"),
        ("raw € and %E2%82%AC".encode(), "raw € and €"),
        (b"%41%2541", "A%41"),  # decoded once only
        (b"%zz", "%zz"),
        (b"100%", "100%"),
        (b"%4", "%4"),
        (b"%%41", "%A"),
        (b"a+b", "a+b"),
        (b'"quoted"', "quoted"),
        (b'"a \\"b\\" \\\\ c"', 'a "b" \\ c'),
        (b'"  kept  "', "  kept  "),
        (b'"%41\\%42"', "AB"),  # unquoted first, decoded then
        (b'""', ""),
        (b'"open', '"open'),
        (b'"', '"'),
        (b'"a"b"', '"a"b"'),
        (b'"a\\"', '"a\\"'),
        (b'a "b"', 'a "b"'),
        (b"%22a%22", '"a"'),
        (b"%20", " "),
        (b"back\\slash", "back\\slash"),
    ],
)
def test_a_header_value_is_unquoted_and_then_decoded_once(value: bytes, text: str) -> None:
    assert attribute(value) == text


@pytest.mark.parametrize(
    "value", [b"%C0%A0", b"%FF", b"%ED%A0%80", b"\xc0\xa0", b"\xe9", b"%F4%90%80%80", b"%E2%82"]
)
def test_a_header_value_that_is_not_utf_8_is_refused(value: bytes) -> None:
    assert refused(lambda: attribute(value)).attribute == "note"


@pytest.mark.parametrize("value", [b"%00", b"a%0D%0Ab", b"%7F", b"%EF%BF%BF", b"a\tb"])
def test_a_forbidden_character_does_not_come_in_encoded(value: bytes) -> None:
    assert refused(lambda: attribute(value)).attribute == "note"


# --- binary, out ---------------------------------------------------------------------------


def test_a_binary_message_has_just_the_headers_of_the_event() -> None:
    event = Event({**REQUIRED, "datacontenttype": "text/plain; charset=utf-8"}, b"hi")

    headers, body = encode(event)

    assert headers == [*CONTEXT, (b"content-type", b"text/plain; charset=utf-8")]
    assert body == b"hi"


def test_an_event_without_datacontenttype_goes_without_content_type() -> None:
    assert encode_binary(Event(REQUIRED, b"x")) == (CONTEXT, b"x")
    assert encode_binary(Event(REQUIRED)) == (CONTEXT, b"")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("".join(map(chr, range(0x21, 0x7F))), None),
        ("a b", b"a%20b"),
        ('"', b"%22"),
        ("100%", b"100%25"),
        ("%41", b"%2541"),
        ("Euro € 😀", b"Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("\xa0", b"%C2%A0"),
        ("", b""),
    ],
)
def test_a_header_value_is_encoded_where_it_must_be(text: str, value: bytes | None) -> None:
    if value is None:
        value = text.replace("%", "%25").replace('"', "%22").encode()
    headers, _ = encode(Event({**REQUIRED, "note": text}))

    assert headers[-1] == (b"ce-note", value)


def test_an_event_with_long_headers_goes_structured() -> None:
    def content_type(note: str) -> bytes | None:
        headers, _ = encode(Event({**REQUIRED, "note": note}))
        return dict(headers).get(b"content-type")

    fixed = sum(len(name) + len(value) + 4 for name, value in CONTEXT) + len(b"ce-note") + 4
    most = 6 * 1024 - fixed

    assert content_type("x" * most) is None
    assert content_type("x" * (most + 1)) == b"application/cloudevents+json"
    assert content_type("€" * (most // 9 + 1)) == b"application/cloudevents+json"


def test_the_mode_that_is_asked_for_is_kept() -> None:
    event = Event({**REQUIRED, "note": "x" * 10_000})

    assert encode(event, "binary") == encode_binary(event)
    assert encode(Event(REQUIRED), "structured") == encode_structured(Event(REQUIRED))


@pytest.mark.parametrize("mode", [None, "binary", "structured"])
def test_an_event_within_an_event_is_not_taken_for_the_message(mode: ContentMode | None) -> None:
    inner = encode_event(Event({**REQUIRED, "id": "inner"}))
    outer = Event({**REQUIRED, "datacontenttype": "Application/CloudEvents+json"}, inner)

    assert decode(*encode(outer, mode)) == [outer]


def test_a_batch_is_encoded_as_one_message() -> None:
    events = [Event({**REQUIRED, "id": str(n)}, b"x") for n in range(3)]

    assert decode(*encode_batch(events)) == events
    assert encode_batch([])[1] == b"[]"


# --- JSON, in: attributes ------------------------------------------------------------------


def test_attributes_are_read_with_their_types() -> None:
    event = structured('"s": "1", "b": true, "c": false, "i": 42, "j": -2147483648')

    assert event.attributes == {
        **REQUIRED,
        "s": "1",
        "b": "true",
        "c": "false",
        "i": "42",
        "j": "-2147483648",
    }
    assert event.kinds == {"b": "boolean", "c": "boolean", "i": "integer", "j": "integer"}


def test_a_null_attribute_is_absent() -> None:
    assert structured('"subject": null, "note": null').attributes == REQUIRED
    assert refused(lambda: decode_event(STRUCTURED_BODY.replace(b'"inside"', b"null")))


@pytest.mark.parametrize(
    "value",
    ["1.0", "1e2", "-0.0", "2147483648", "-2147483649", "99999999999", "1E400", "{}", "[]", "[1]"],
)
def test_any_other_type_is_no_attribute(value: str) -> None:
    assert refused(lambda: structured(f'"note": {value}')).attribute == "note"


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
@pytest.mark.parametrize("value", ["1", "true", "1.0", "{}"])
def test_an_attribute_of_the_specification_is_a_string(name: str, value: str) -> None:
    body = json.dumps({**REQUIRED, name: "VALUE"}).replace('"VALUE"', value).encode()

    assert refused(lambda: decode_event(body)).attribute == name


def test_escapes_are_read() -> None:
    event = structured(r'"note": "\u00e9\/\"\\\ud83d\ude00", "\u0061": "x"')

    assert event.attributes["note"] == 'é/"\\😀'
    assert event.attributes["a"] == "x"


@pytest.mark.parametrize("name", ["Note", "my_note", "", "é", "datacontentencoding_"])
@pytest.mark.parametrize("value", ['"x"', "null", "1", "1.5"])
def test_a_member_that_names_no_attribute_is_refused(name: str, value: str) -> None:
    error = refused(lambda: structured(f'"{name}": {value}'))

    assert "is not an attribute name" in error.detail
    assert error.attribute == name


DUPLICATES = [
    '"id": "1"',
    '"id": "2"',
    '"\\u0069d": "1"',
    '"note": "x", "note": "x"',
    '"note": 1, "note": 12',
    '"note": 12, "note": 1',
    '"note": null, "note": "x"',
    '"note": [1, 2], "note": 10',
    '"data": 1, "data": 1',
    '"data": 12, "data": 1',
    '"data": {"a": 1}, "note": "x", "data": {"a": 2}',
    '"data_base64": "", "data_base64": ""',
    '"note": ",\\"note\\": 1}", "note": "y"',
]


@pytest.mark.parametrize("members", DUPLICATES)
@pytest.mark.parametrize("blanks", [False, True])
def test_a_member_that_occurs_twice_is_refused(members: str, blanks: bool) -> None:
    if not blanks:
        members = members.replace(", ", ",").replace(": ", ":")
    body = document(members)
    if not blanks:
        body = body.replace(b", ", b",").replace(b": ", b":")

    assert "occurs twice" in refused(lambda: decode_event(body)).detail


@pytest.mark.parametrize(
    "members",
    [
        '"data": {"a": 1, "a": 2}',
        '"data": ",\\"id\\":1,"',
        '"note": "\\"id\\":\\"1\\",", "other" : "}"',
        '"data": [1, {"id": "1"}]',
        '"a": 1, "b": 1, "aa": 11',
    ],
)
def test_what_only_looks_like_a_duplicate_is_taken(members: str) -> None:
    structured(members)
    structured(members.replace(", ", " \r\n\t, ").replace(": ", "\t:\n "))


# --- JSON, in: data ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "true",
        '"str"',
        '""',
        "12345678901234567890123",
        "1e400",
        "1.10",
        "-0",
        '{"b" :1, "b": 2 ,"a":\t[ ]}',
        '"\\u00e9 é \\/"',
        "[[],[{}]]",
    ],
)
@pytest.mark.parametrize("content_type", [None, "application/json", "Text/X+JSON; a=b"])
def test_json_data_keeps_its_text(text: str, content_type: str | None) -> None:
    members = f'"data":  {text}  '
    if content_type:
        members += f', "datacontenttype": "{content_type}"'

    event = structured(members)

    assert event.data == text.encode()
    assert event.attributes["datacontenttype"] == (content_type or "application/json")
    assert decode(*encode(event, "binary")) == [event]
    assert decode(*encode(event, "structured")) == [event]
    assert f'"data":{text}'.encode() in encode_event(event)


def test_data_alone_implies_json_and_says_so() -> None:
    assert structured('"data": 1').attributes["datacontenttype"] == "application/json"
    assert structured('"data": 1, "datacontenttype": null').attributes["datacontenttype"] == (
        "application/json"
    )


def test_no_data_implies_nothing() -> None:
    event = structured('"note": "x"')

    assert event.data is None
    assert "datacontenttype" not in event.attributes


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('"a\\n\\u00e9"', "a\né".encode()),
        ('""', b""),
        ("1.10", b"1.10"),
        ('{"a" : 1}', b'{"a" : 1}'),
        ("null", b"null"),
    ],
)
def test_a_string_as_data_of_another_type_is_its_content(text: str, data: bytes) -> None:
    assert structured(f'"data": {text}, "datacontenttype": "text/plain"').data == data


def test_base64_data_is_decoded_and_implies_nothing() -> None:
    event = structured('"data_base64": "AP\\/+"')

    assert event.data == b"\x00\xff\xfe"
    assert "datacontenttype" not in event.attributes


def test_empty_base64_data_is_data() -> None:
    assert structured('"data_base64": ""').data == b""


def test_base64_data_that_is_null_is_absent() -> None:
    assert structured('"data_base64": null').data is None
    assert structured('"data_base64": null, "data": 1').data == b"1"


@pytest.mark.parametrize(
    "text", ['"A"', '"AA"', '"A==="', '"AA=="AA', '"A A="', '"AA==\\n"', '"_-8="', '"é"', "1", "{}"]
)
def test_base64_data_that_is_none_is_refused(text: str) -> None:
    assert refused(lambda: structured(f'"data_base64": {text}'))


def test_data_and_base64_data_exclude_each_other() -> None:
    assert refused(lambda: structured('"data": null, "data_base64": ""')).attribute == "data_base64"


# --- JSON, in: what is no JSON -------------------------------------------------------------

NO_JSON = [
    "NaN",
    "Infinity",
    "-Infinity",
    "nul",
    "01",
    "1.",
    ".5",
    "+1",
    "0x1",
    "1e",
    "'a'",
    '"a',
    '"\t"',
    '"\\x"',
    '"\\u12"',
    '"\\ud800"',
    '"\\udc00 and more"',
    '"\\ud800\\u0041 and more"',
    '"\\ude00\\ud83d and more"',
    "[1,]",
    "[1 2]",
    "[",
    "{a: 1}",
    '{"a": 1,}',
    '{"\\ud800 and more": 1}',
    "// comment\n1",
    "\ufeff1",
    "\xa01",
    "\x0b1",
]


@pytest.mark.parametrize("text", NO_JSON)
@pytest.mark.parametrize("around", ["{}", "[{}]", '{{"a": {}}}'])
def test_what_is_no_json_is_refused_within_data_too(text: str, around: str) -> None:
    assert refused(lambda: structured(f'"data": {around.format(text)}'))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"1",
        b'"x"',
        b"[]",
        STRUCTURED_BODY + b"x",
        STRUCTURED_BODY + b"{}",
        STRUCTURED_BODY + b"\x00",
        STRUCTURED_BODY[:-1],
        b"\xef\xbb\xbf" + STRUCTURED_BODY,
        STRUCTURED_BODY.decode().encode("utf-16"),
        b"x" + STRUCTURED_BODY,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert refused(lambda: decode_event(body)).attribute is None


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\xa0", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
@pytest.mark.parametrize("member", ["data", "note"])
def test_invalid_utf_8_is_refused_wherever_it_is(raw: bytes, member: str) -> None:
    body = document(f'"{member}": "x?"').replace(b"x?", raw)

    assert "not UTF-8" in refused(lambda: decode_event(body)).detail


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_that_is_nested_too_deep_is_refused(opening: bytes, closing: bytes) -> None:
    deep = opening * 1_000_000 + b"1" + closing * 1_000_000
    body = document('"data": "DEEP"').replace(b'"DEEP"', deep)

    assert "nested too deep" in refused(lambda: decode_event(body)).detail
    assert "nested too deep" in refused(lambda: decode_batch(b"[" + body + b"]")).detail


@pytest.mark.parametrize("body", [b"{}", b"null", b"", b"[", b"[1", STRUCTURED_BODY, b"[]x"])
def test_a_batch_that_is_no_json_array_is_refused(body: bytes) -> None:
    assert refused(lambda: decode_batch(body)).index is None


@pytest.mark.parametrize("element", [b"1", b"null", b"[]", b"{}", b'{"id": "1", "id": "2"}'])
def test_the_index_of_what_is_wrong_in_a_batch_is_told(element: bytes) -> None:
    body = b"[" + STRUCTURED_BODY + b"," + element + b"]"

    assert refused(lambda: decode_batch(body)).index == 1


# --- JSON, out -----------------------------------------------------------------------------


def test_an_event_is_written_with_its_types() -> None:
    event = Event(
        {**REQUIRED, "b": "true", "c": "false", "i": "-5", "s": "5"},
        kinds={"b": "boolean", "c": "boolean", "i": "integer"},
    )

    headers, body = encode_structured(event)

    assert headers == [(b"content-type", b"application/cloudevents+json")]
    assert json.loads(body) == {**REQUIRED, "b": True, "c": False, "i": -5, "s": "5"}


def test_json_data_is_spliced_in_as_it_is() -> None:
    data = b'{"b" :1,\n "b": 1e400, "big": 123456789012345678901234567890}'
    event = Event({**REQUIRED, "datacontenttype": "application/json"}, data)

    assert encode_event(event).endswith(b'"data":' + data + b"}")


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("text/plain", b"1"),
        (None, b"1"),
        ("application/xml", b"<a/>"),
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b"{} {}"),
        ("application/json", b"NaN"),
        ("application/json", b'"\xff"'),
        ("application/json", b'"\\ud800"'),
        ("application/json", b"1,2"),
        ("application/json", b'1,"x":2'),
        ("application/json", b"1],[2"),
        ("application/json", b" 1"),
        ("application/json", b'{"a":1}\n'),
        ("application/json", b"\xef\xbb\xbf1"),
        ("application/json", b"[" * 100_000 + b"]" * 100_000),
        ("application/json", (b"[" * 300 + b"]" * 300)[:-1]),
        ("application/json", b"]" * 300 + b"[" * 300),
        ("application/json", b"1" + b"],[1" * 300),
    ],
)
def test_any_other_data_is_written_as_base64(content_type: str | None, data: bytes) -> None:
    attributes = REQUIRED if content_type is None else {**REQUIRED, "datacontenttype": content_type}
    event = Event(attributes, data)

    members = msgspec.json.decode(encode_event(event))

    assert members["data_base64"] == b64encode(data).decode()
    assert "data" not in members
    assert decode_event(encode_event(event)) == event


def test_wide_json_is_spliced_in_whatever_the_number_of_its_brackets() -> None:
    data = b"[" + b"[],{}," * 1_000 + b'"[[[["]'
    event = Event({**REQUIRED, "datacontenttype": "application/json"}, data)

    assert data in encode_event(event)


def test_what_was_encoded_can_be_decoded_further_down_in_the_calls() -> None:
    # How deep JSON may be nested depends on how deep the calls are that decode it.
    def decode_below(calls: int, text: bytes) -> Event:
        return decode_below(calls - 1, text) if calls else decode_event(text)

    for depth in range(50, 1_000, 50):
        data = b"[" * depth + b"]" * depth
        event = Event({**REQUIRED, "datacontenttype": "application/json"}, data)

        assert decode_below(150, encode_event(event)) == event


def test_no_data_is_written_as_none() -> None:
    event = Event({**REQUIRED, "datacontenttype": "application/json"})

    assert json.loads(encode_event(event)) == {**event.attributes}


@pytest.mark.parametrize(
    ("content_type", "json_type"),
    [
        ("application/json", True),
        ("text/JSON", True),
        ("application/problem+json; charset=utf-8", True),
        ("application/x.y+JSON ;a=b", True),
        ("application/jsonl", False),
        ("application/json-seq", False),
        ("text/plain; x=y/json", False),
        ("json", False),
        ("", False),
    ],
)
def test_json_types_are_told_from_others(content_type: str, json_type: bool) -> None:
    assert is_json(content_type) is json_type
