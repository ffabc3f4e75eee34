"""Messages that were published, and that the server has not answered yet."""

from __future__ import annotations

import asyncio

from paho.mqtt.reasoncodes import ReasonCode


class Unanswered:
    """No more than ``most`` messages at a time, until the connection fails.

    One keeps its place until it is answered, also where nobody waits for that any more: the
    server counts it, and ends connections that have more on their way than it allows.
    """

    def __init__(self, most: int) -> None:
        self._places = asyncio.Semaphore(most)
        self._answers: dict[int, asyncio.Future[ReasonCode]] = {}
        self._why: Exception | None = None

    async def turn(self) -> None:
        """Return once there is a place. Raises what `fail` was told."""
        await self._places.acquire()
        if self._why is not None:
            self._places.release()
            raise self._why

    def give_back(self) -> None:
        """Have the place for another: nothing was published."""
        self._places.release()

    async def answer_to(self, number: int) -> ReasonCode:
        """Return the answer to the message of that number. Raises what `fail` was told."""
        answer: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        return await answer

    def answered(self, number: int, reason: ReasonCode) -> None:
        answer = self._answers.pop(number, None)
        if answer is None:
            return
        self._places.release()
        if not answer.done():  # or whoever waited has given up
            answer.set_result(reason)

    def fail(self, why: Exception) -> None:
        """Tell all who wait, and whoever comes: there will be no answer."""
        self._why = why
        for each in self._answers.values():
            if not each.done():
                each.set_exception(why)
            self._places.release()
        self._answers.clear()
