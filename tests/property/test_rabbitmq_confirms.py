"""Whatever the order of a server's answers, each message is told once what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from broker.channels.rabbitmq.confirms import Call, Confirms, Fate, Part
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.codecs.amqp import Message

MESSAGE = Message(body=b"", headers={}, content_type=None)
FATES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Fate)), min_size=1, max_size=12)


class Server:
    """Answers messages of these stamps and fates in any order, one by one or many at once."""

    def __init__(self, messages: Sequence[tuple[int, Fate]], confirms: Confirms) -> None:
        self._open = dict(enumerate(messages, start=1))
        self._to_return = {
            tag: stamp for tag, (stamp, fate) in self._open.items() if fate is Fate.UNROUTABLE
        }
        self._confirms = confirms
        self.told: list[tuple[Part, Fate]] = []

    def give_back(self, tag: int) -> None:
        if tag in self._to_return:
            self._confirms.returned(str(self._to_return.pop(tag)), "", "")

    def answer(self, tag: int, *, multiple: bool) -> None:
        """Answer one message, or all up to it if one answer fits all of them."""
        before = [each for each in self._open if each <= tag]
        is_taken = {self._open[each][1] is not Fate.REFUSED for each in before}
        multiple = multiple and len(is_taken) == 1
        answered = before if multiple else [tag] if tag in self._open else []
        if not answered:
            return
        for each in answered:
            self.give_back(each)
        fates = [self._open.pop(each)[1] for each in answered]
        self.told += self._confirms.answered(
            tag, multiple=multiple, is_taken=fates[0] is not Fate.REFUSED
        )


@given(messages=FATES, data=st.data())
async def test_each_message_is_told_once_what_became_of_it(
    messages: list[tuple[int, Fate]], data: st.DataObject
) -> None:
    confirms = Confirms()
    server = Server(messages, confirms)
    call = Call([Outgoing(message=MESSAGE, stamp=str(stamp)) for stamp, _ in messages])
    tags = range(1, len(messages) + 1)

    for place in range(len(messages)):
        confirms.written(Part(call, place))
    for tag in data.draw(st.lists(st.sampled_from(tags))):
        server.give_back(tag)
    for tag in [*data.draw(st.lists(st.sampled_from(tags))), *tags]:
        server.answer(tag, multiple=data.draw(st.booleans()))
        assert len(confirms.left) == len(messages) - len(server.told)

    assert sorted(part.place for part, _ in server.told) == [*range(len(messages))]
    # Of messages that are the same, it makes no difference which came back.
    found = Counter((int(part.outgoing.stamp), fate) for part, fate in server.told)
    assert found == Counter(messages)


async def test_an_answer_for_what_was_never_written_or_is_answered_tells_nothing() -> None:
    confirms = Confirms()
    confirms.written(Part(Call([Outgoing(message=MESSAGE, stamp="1")]), 0))

    for tag, count in ((2, 0), (0, 0), (1, 1), (1, 0)):
        assert len([*confirms.answered(tag, multiple=False, is_taken=True)]) == count
