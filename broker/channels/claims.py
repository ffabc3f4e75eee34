"""The events of one trigger that were claimed and are not done with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from broker.channels.backlog import Entry
from broker.channels.clock import Alarm
from broker.channels.stored import Held, Log, Stored
from broker.ports import Refusal

MAX_CONDEMNED: Final = 200
"""Claims that wait in line for the dead-letter sink; with as many, nothing new is taken in.

Each is stored with a refusal of up to 2 KiB, and Kafka takes no record of more than 1 MiB.
"""

E = TypeVar("E", bound=Entry)


class Claims(Generic[E]):
    """What is open: out, returned, put off, or left by a former process.

    ``open`` has all that is in memory, by position, and ``returned`` those of it that wait to be
    claimed again. ``unloaded`` are those that a former process did not settle, and that are to be
    read from the log: position → attempts and condemnation. ``on_due`` is called when something
    that was put off is among the returned again.
    """

    def __init__(self, stored: Stored, *, on_due: Callable[[], None]) -> None:
        self.open: dict[int, Held[E]] = {}
        self.returned: deque[Held[E]] = deque()
        self.unloaded = {position: (tries, why) for position, tries, why in stored.open}
        self._unloaded_due = dict(stored.due)
        self._alarm = Alarm(self._ring)  # of what is put off
        self._condemned: set[int] = set()  # among that
        self._on_due = on_due

    def __len__(self) -> int:
        return len(self.open) + len(self.unloaded)

    def positions(self) -> Iterator[int]:
        yield from self.open
        yield from self.unloaded

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait for the dead-letter sink that nothing new may be taken in."""
        return len(self._condemned) >= MAX_CONDEMNED

    @property
    def is_roomy(self) -> bool:
        """Whether so few wait for it that being crowded was another time."""
        return len(self._condemned) <= MAX_CONDEMNED // 2

    def turn_on(self) -> None:
        """Return what is put off when it is due, from now on."""
        self._alarm.turn_on()

    def turn_off(self) -> None:
        self._alarm.turn_off()

    # --- what comes again ------------------------------------------------------------------

    def give_back(self, held: Held[E]) -> None:
        """Let it be claimed again, or for the first time, behind those that were given back."""
        self.open[held.entry.position] = held
        self.returned.append(held)

    def release(self, position: int) -> None:
        """Let a claim that is out be claimed again, before all others."""
        self.returned.appendleft(self.open[position])

    def put_off(self, held: Held[E], due: int) -> None:
        """Return it when it is due, in microseconds since 1970."""
        position = held.entry.position
        self.open[position] = held
        self._alarm.put(position, due)
        if held.condemned is not None:
            self._condemned.add(position)

    def _ring(self) -> None:
        for position in self._alarm.take_due():
            self._condemned.discard(position)
            self.returned.append(self.open[position])
        self._on_due()

    # --- what a former process left --------------------------------------------------------

    async def load(
        self, log: Log[E], held_again: Callable[[E, int, Refusal | None], Held[E]]
    ) -> tuple[Sequence[E], int]:
        """Take up the unloaded; raises what the log raises.

        Returns those that the log had, and how many are not in it any more.
        """
        wanted = dict(self.unloaded)
        found = await log.fetch(sorted(wanted))
        for entry in found:
            held = held_again(entry, *wanted.pop(entry.position))
            due = self._unloaded_due.get(entry.position)
            if due is None:
                self.give_back(held)
            else:
                self.put_off(held, due)
        self.unloaded.clear()
        self._unloaded_due.clear()
        return found, len(wanted)

    # --- what is stored --------------------------------------------------------------------

    def open_items(self) -> list[tuple[int, int, Refusal | None]]:
        """Return position, attempts and condemnation of all."""
        items = [(at, held.attempts, held.condemned) for at, held in self.open.items()]
        return items + [(at, *rest) for at, rest in self.unloaded.items()]

    def due_items(self) -> list[tuple[int, int]]:
        """Return position and time, in microseconds since 1970, of those that wait for it."""
        return [*self._alarm.items(), *self._unloaded_due.items()]
