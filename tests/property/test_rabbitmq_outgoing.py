"""The frames of a message are those that pamqp makes of it, which knows all of AMQP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from broker.channels.rabbitmq.outgoing import Outgoing, frames
from broker.codecs.amqp import Message
from broker.errors import TooLarge

AROUND = 8
"""Bytes of a frame beside what is in it."""

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
short = st.text(st.characters(exclude_categories=["Cs"]), max_size=63)  # of 4 bytes each at most
name = st.text(st.characters(exclude_categories=["Cs"]), max_size=32)
# pamqp writes headers in the order of their names.
in_order = st.dictionaries(name, text, max_size=5).map(
    lambda headers: dict(sorted(headers.items()))
)
messages = st.builds(
    Message, body=st.binary(max_size=400), headers=in_order, content_type=st.none() | short
)
outgoings = st.builds(
    Outgoing,
    message=messages,
    stamp=short.filter(bool),
    exchange=st.from_regex(r"[A-Za-z0-9_.:-]{0,127}", fullmatch=True),
    routing_key=short,
)


def header_of(outgoing: Outgoing) -> ContentHeader:
    message = outgoing.message
    properties = Basic.Properties(
        content_type=message.content_type,
        headers={**message.headers},
        delivery_mode=message.delivery_mode,
        message_id=outgoing.stamp,
    )
    return ContentHeader(body_size=len(message.body), properties=properties)


@given(outgoing=outgoings, channel=st.integers(1, 65_535), more=st.none() | st.integers(0, 300))
def test_the_frames_are_those_of_pamqp(outgoing: Outgoing, channel: int, more: int | None) -> None:
    body = outgoing.message.body
    publish = Basic.Publish(
        exchange=outgoing.exchange, routing_key=outgoing.routing_key, mandatory=True
    )
    header = header_of(outgoing)
    room = len(header.marshal()) + more if more is not None else len(body) or 1
    bodies = [ContentBody(body[start : start + room]) for start in range(0, len(body), room)]
    expected = [marshal(publish, channel), marshal(header, channel)]
    expected += [marshal(each, channel) for each in bodies]

    frame_max = 0 if more is None else room + AROUND
    found = frames(outgoing, channel=channel, frame_max=frame_max)

    assert b"".join(found) == b"".join(expected)


@given(outgoing=outgoings)
def test_headers_that_do_not_fit_into_a_frame_are_refused(outgoing: Outgoing) -> None:
    room = len(header_of(outgoing).marshal()) - 1

    with pytest.raises(TooLarge, match=f"more than the {room:,} "):
        list(frames(outgoing, channel=1, frame_max=room + AROUND))


@given(message=messages, headers=in_order)
def test_headers_are_added_to_those_of_the_message_and_go_before_them(
    message: Message, headers: dict[str, str]
) -> None:
    both = Message(
        body=message.body,
        headers={**message.headers, **headers},
        content_type=message.content_type,
    )

    found = frames(Outgoing(message=message, stamp="1", headers=headers), channel=1, frame_max=0)

    expected = frames(Outgoing(message=both, stamp="1"), channel=1, frame_max=0)
    assert [*found] == [*expected]
