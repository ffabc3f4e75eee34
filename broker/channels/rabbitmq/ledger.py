"""What is known of a broker's triggers: all that its processes have told.

Everybody who has read the same entries, in the order of the stream, knows the same; whether from
the first one on, or from a summary and the entries behind what that covers.

Each process counts for itself. One that has told nothing for a day melts into one sum with all
others like it, so that summaries do not grow with every restart. The summary that proposes so
says by which entry it knows the process; it takes effect where the summary stands in the stream,
unless the process told more before that. One that nobody knows is apart: its counts might be
counted twice, so they do not count until it tells which of them melted, if any did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

import msgspec

from broker.channels.rabbitmq.entries import Counts, Entry, Held, Place, Stamped, Summary
from broker.ports import Pause

_MICROSECOND: Final = timedelta(microseconds=1)
_MELTS_AFTER: Final = timedelta(days=1) // _MICROSECOND
# A message settled by a process that ended before its ack is known again for so long. Should it
# be delivered later than that, it is delivered twice, and counted as often.
_FORGOTTEN_AFTER: Final = timedelta(days=7) // _MICROSECOND
_CLOCKS_DIFFER_BY: Final = timedelta(minutes=10) // _MICROSECOND
_TIDIED_EVERY: Final = timedelta(minutes=1) // _MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What processes have counted for a trigger, and how much they have put off."""

    delivered: int = 0
    dead_lettered: int = 0
    matched: int = 0
    in_hand: int = 0
    put_off: int = 0


class _Told(msgspec.Struct, omit_defaults=True):
    """What one process has told, up to its entry ``number``."""

    number: int = 0
    at: int = 0
    ended: bool = False
    apart: bool = False
    acked: int = 0
    counts: dict[str, Counts] = {}
    waits: dict[str, dict[int, int]] = {}
    settled: dict[int, Stamped] = {}

    def is_alive(self, since: int) -> bool:
        return not self.ended and self.at >= since

    def waiting(self, trigger: str, now: int) -> int:
        return sum(count for due, count in self.waits.get(trigger, {}).items() if due > now)


class _Contents(msgspec.Struct):
    told: dict[str, _Told]
    melted: dict[str, tuple[int, int]]
    held: dict[str, dict[str, Held]]
    places: dict[str, Place]
    pauses: dict[str, Pause] = {}


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Contents)


class Ledger:
    """Bookkeeping alone: reads no stream and no clock. Times are in microseconds since 1970."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._melted: dict[str, tuple[int, int]] = {}
        self._held: dict[str, dict[str, Held]] = {}
        self._places: dict[str, Place] = {}
        self._pauses: dict[str, Pause] = {}
        # How many entries that are kept tell of it.
        self._settled: dict[str, Counter[str]] = {}
        self._tidied = 0

    def apply(self, entry: Entry) -> None:
        """Note the next entry of the stream.

        One that comes behind a later one of its process is passed over: a process that does not
        know whether an entry was stored tells all of it again.
        """
        told = self._told.get(entry.process)
        if told is None:
            told = self._told[entry.process] = _Told(apart=True)
        if entry.number <= told.number:
            return
        told.number, told.at, told.ended = entry.number, entry.at, entry.ended
        if told.apart and entry.melted is not None:
            self._take_out(told, entry.melted)
        if not told.apart:
            told.counts.update(entry.counts)
        self._add_waits(told, entry)
        if entry.at - self._tidied > _TIDIED_EVERY:
            self._tidy(entry.at)
        for trigger, held in entry.held.items():
            settled = self._settled.get(trigger, ())
            open_ones = {stamp: each for stamp, each in held.items() if stamp not in settled}
            self._held.setdefault(trigger, {}).update(open_ones)
        if entry.settled:
            told.settled[entry.number] = entry.settled
            self._settle(entry.settled)
        self._forget(told, entry.acked)
        self._places.update(entry.places)
        self._pauses.update({key: each for key, each in entry.pauses.items() if each is not None})
        for trigger in [key for key, each in entry.pauses.items() if each is None]:
            self._pauses.pop(trigger, None)
        if entry.summary is not None:
            self._melt(entry.summary.melting)

    # --- what is known ---------------------------------------------------------------------

    def was_settled(self, trigger: str, stamp: str) -> bool:
        """Return whether somebody has counted that message, and may not have acked it."""
        return stamp in self._settled.get(trigger, ())

    def settled_by(self, process: str, trigger: str) -> Collection[str]:
        """Return the messages that a process has counted, and may not have acked."""
        told = self._told.get(process)
        entries = () if told is None else told.settled.values()
        return {stamp for each in entries for stamp in each.get(trigger, ())}

    def triggers(self) -> Mapping[str, Place]:
        """Return the triggers that run, and those that were removed."""
        return self._places

    def pauses(self) -> Mapping[str, Pause]:
        """Return the triggers that are paused."""
        return self._pauses

    def held(self, trigger: str) -> Mapping[str, Held]:
        """Return what was told of deliveries that keep their turn, by their stamps."""
        return self._held.get(trigger, {})

    def sums(self, trigger: str, *, now: int, alive_since: int, but: str) -> Sums:
        """Return the sums over all processes but the one named.

        What a process has in hand, and took for it, counts if it was heard of at ``alive_since``
        or later and has not ended: otherwise it is in the queue again. What was put off counts if
        it is due later than ``now``.
        """
        delivered, dead_lettered = self._melted.get(trigger, (0, 0))
        matched = delivered + dead_lettered
        in_hand = put_off = 0
        for process, told in self._told.items():
            if process == but:
                continue
            put_off += told.waiting(trigger, now)
            counts = told.counts.get(trigger)
            if counts is None:
                continue
            delivered += counts.delivered
            dead_lettered += counts.dead_lettered
            if told.is_alive(alive_since):
                matched += counts.taken
                in_hand += counts.in_hand
            else:
                matched += counts.delivered + counts.dead_lettered
        return Sums(
            delivered=delivered,
            dead_lettered=dead_lettered,
            matched=matched,
            in_hand=in_hand,
            put_off=put_off,
        )

    def floor(self, trigger: str) -> int | None:
        """Return the lowest floor that a process has told and not raised since, if any has.

        Of processes that have ended, the last one that told a floor is kept.
        """
        return min(self._floors(trigger), default=None)

    def floor_since(self, trigger: str, heard_since: int) -> int | None:
        """Return the lowest floor of processes that were heard of then or later.

        Where none of them has one, the highest of all.
        """
        told = [each for each in self._told.values() if each.at >= heard_since]
        return min(self._floors(trigger, told), default=max(self._floors(trigger), default=None))

    def is_in_hand(self, trigger: str, *, alive_since: int, but: str) -> bool:
        """Return whether a process other than that one has anything of the trigger in hand."""
        return any(
            told.is_alive(alive_since) and told.counts[trigger].in_hand
            for process, told in self._told.items()
            if process != but and trigger in told.counts
        )

    def _floors(self, trigger: str, told: Iterable[_Told] | None = None) -> Iterator[int]:
        for each in self._told.values() if told is None else told:
            counts = each.counts.get(trigger)
            if counts is not None and counts.floor is not None:
                yield counts.floor

    def number(self, process: str) -> int:
        """Return the number of the last entry of a process, or 0 if there is none."""
        told = self._told.get(process)
        return 0 if told is None else told.number

    def counted(self, process: str) -> Mapping[str, Counts] | None:
        """Return which counts of a process count as its own, or None if it is apart or unknown."""
        told = self._told.get(process)
        return None if told is None or told.apart else told.counts

    # --- summaries -------------------------------------------------------------------------

    def summary(self, through: int, *, at: int) -> Summary:
        """Return what is known now, by the entries up to the offset ``through``."""
        self._tidy(at)
        contents = _Contents(self._told, self._melted, self._held, self._places, self._pauses)
        return Summary(
            through=through,
            contents=msgspec.Raw(_encoder.encode(contents)),
            melting=self._melting(at),
        )

    @classmethod
    def from_summary(cls, contents: msgspec.Raw) -> Self:
        """Return the ledger as it was. Raises one of `UNREADABLE`."""
        found = _decoder.decode(contents)
        ledger = cls()
        ledger._told, ledger._melted = found.told, found.melted
        ledger._held, ledger._places = found.held, found.places
        ledger._pauses = found.pauses
        for told in found.told.values():
            for settled in told.settled.values():
                ledger._settle(settled)
        return ledger

    def _melting(self, at: int) -> Mapping[str, int]:
        by_age = sorted(self._told.items(), key=lambda item: item[1].at)
        last_with_a_floor = {
            trigger: process
            for process, each in by_age
            for trigger, counts in each.counts.items()
            if counts.floor is not None
        }
        kept = set(last_with_a_floor.values())
        return {
            process: each.number
            for process, each in by_age
            if process not in kept
            and at - each.at >= (_FORGOTTEN_AFTER if each.settled else _MELTS_AFTER)
            and not any(due > at for waits in each.waits.values() for due in waits)
        }

    def _melt(self, melting: Mapping[str, int]) -> None:
        for process, number in melting.items():
            told = self._told.get(process)
            if told is None or told.number != number:
                continue
            self._forget(told, number)
            del self._told[process]
            for trigger, counts in told.counts.items():
                delivered, dead = self._melted.get(trigger, (0, 0))
                self._melted[trigger] = delivered + counts.delivered, dead + counts.dead_lettered

    def _take_out(self, told: _Told, melted: Mapping[str, Counts]) -> None:
        told.apart = False
        for trigger, counts in melted.items():
            delivered, dead = self._melted.get(trigger, (0, 0))
            self._melted[trigger] = delivered - counts.delivered, dead - counts.dead_lettered
            told.counts[trigger] = counts

    # --- stamps and waits ------------------------------------------------------------------

    def _settle(self, settled: Stamped) -> None:
        for trigger, stamps in settled.items():
            self._settled.setdefault(trigger, Counter()).update(stamps)
            held = self._held.get(trigger, {})
            for stamp in held.keys() & stamps:
                del held[stamp]

    def _forget(self, told: _Told, acked: int) -> None:
        told.acked = max(told.acked, acked)
        for number in [each for each in told.settled if each <= told.acked]:
            for trigger, stamps in told.settled.pop(number).items():
                kept = self._settled[trigger]
                for stamp in stamps:
                    times = kept.pop(stamp)
                    if times > 1:
                        kept[stamp] = times - 1

    def _add_waits(self, told: _Told, entry: Entry) -> None:
        for trigger, waits in entry.waits.items():
            known = told.waits.setdefault(trigger, {})
            for due, count in waits:
                known[due] = known.get(due, 0) + count

    def _tidy(self, at: int) -> None:
        """Forget what was put off and must have been back for a while."""
        self._tidied = at
        for told in self._told.values():
            told.waits = {
                trigger: kept
                for trigger, waits in told.waits.items()
                if (kept := {due: n for due, n in waits.items() if due > at - _CLOCKS_DIFFER_BY})
            }
