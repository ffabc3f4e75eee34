"""Records out of the batches that Kafka answers a fetch with, whatever bytes they are made of.

Kafka does not look into headers. aiokafka takes their names for UTF-8, and where one is not, it
raises `UnicodeDecodeError` instead of handing out any record of the batch. Only such a batch is
taken apart here; all others, and those of the formats that have no headers, are by aiokafka.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from aiokafka import TopicPartition, codec
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.memory_records import MemoryRecords

from broker.channels.kafka.compacted import Read
from broker.codecs.kafka import Headers

_BEGINNING: Final = Struct(">qi")  # of every batch: an offset, and the length of what follows
_MAGIC: Final = 16  # where the number of the format is
_WITH_HEADERS: Final = 2  # the format since Kafka 0.11
_RECORDS: Final = 61  # where its records begin
_LOG_APPEND_TIME: Final = 1
_DECOMPRESS: Final = (
    bytes,
    codec.gzip_decode,
    codec.snappy_decode,
    codec.lz4_decode,
    codec.zstd_decode,
)


def records_in(answer: bytes, partition: TopicPartition, offset: int) -> tuple[Sequence[Read], int]:
    """Return the records of an answer from this offset on, and the offset behind them.

    What Kafka itself writes to end a transaction is no record, but counts for that offset, as
    does what compaction has removed. Bytes of a header's name that are no UTF-8 are what the
    error handler ``surrogateescape`` makes of them. A last batch that is cut off is left out.

    Raises `CorruptRecordException` where the first batch is damaged, and `UnsupportedCodecError`
    where aiokafka lacks the package to decompress it. Where a later one is, what comes before it
    is returned.
    """
    found: list[Read] = []
    reached = offset
    for records, behind in _read_all(answer, partition, offset):
        found += records
        reached = behind
    return found, reached


def handfuls_in(
    answer: bytes, partition: TopicPartition, offset: int, most: int
) -> Iterator[tuple[Sequence[Read], int]]:
    """Yield the same, but no more than so many records at a time, each with the offset behind."""
    found: list[Read] = []
    reached = offset
    for records, behind in _read_all(answer, partition, offset):
        found += records
        reached = behind
        while len(found) > most:
            yield found[:most], found[most].offset
            del found[:most]
    if found or reached > offset:
        yield found, reached


def _read_all(
    answer: bytes, partition: TopicPartition, offset: int
) -> Iterator[tuple[Sequence[Read], int]]:
    """Yield the records of each batch from this offset on, and the offset behind them."""
    reached = offset
    try:
        for data in _batches(answer):
            records, behind = _read(data, partition)
            if records and records[0].offset < offset:
                records = [record for record in records if record.offset >= offset]
            reached = max(reached, behind)
            yield records, reached
    except (CorruptRecordException, UnsupportedCodecError):
        if reached == offset:
            raise


def _batches(answer: bytes) -> Iterator[bytes]:
    """Yield the bytes of every batch, those of the first even if it is cut off."""
    start = 0
    while start + _BEGINNING.size <= len(answer):
        _, length = _BEGINNING.unpack_from(answer, start)
        end = start + _BEGINNING.size + length
        if start == 0 or end <= len(answer):
            yield answer[start:end]
        start = end


def _read(data: bytes, partition: TopicPartition) -> tuple[Sequence[Read], int]:
    """Return all records of a batch, and the offset behind it."""
    batch = MemoryRecords(data).next_batch()
    if batch is None or not batch.validate_crc():
        raise CorruptRecordException("it is cut off, or its checksum is another")
    records: Sequence[Read] = ()
    if not batch.is_control_batch:
        try:
            topic, number = partition
            records = [
                Record(
                    topic,
                    number,
                    each.offset,
                    each.timestamp,
                    each.key,
                    each.value,
                    tuple(each.headers),
                )
                for each in batch
            ]
        except (UnicodeDecodeError, CorruptRecordException, MemoryError, OverflowError):
            # Which, depends on aiokafka's build, and on how far from sense a length is.
            if data[_MAGIC] != _WITH_HEADERS:
                raise
            records = list(_Bytewise(batch, data, partition))
    return records, batch.next_offset


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Record:
    """See `broker.channels.kafka.compacted.Read`. aiokafka's own takes four times as long."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class _Bytewise:
    """Iterates over the records of a batch, whose checksum is right, byte by byte."""

    def __init__(self, batch: Any, data: bytes, partition: TopicPartition) -> None:  # noqa: ANN401 - aiokafka has no types
        self._partition = partition
        self._batch = batch
        self._data = bytearray(_DECOMPRESS[batch.compression_type](data[_RECORDS:]))
        self._at = 0

    def __iter__(self) -> Iterator[Read]:
        try:
            while self._at < len(self._data):
                yield self._next()
        except (ValueError, IndexError) as error:
            raise CorruptRecordException(str(error)) from error

    def _next(self) -> Read:
        size = self._number()
        end = self._at + size
        self._at += 1  # attributes, of which there are none
        timestamp = self._batch.first_timestamp + self._number()
        if self._batch.timestamp_type == _LOG_APPEND_TIME:
            timestamp = self._batch.max_timestamp
        offset = self._batch.base_offset + self._number()
        key, value = self._bytes(), self._bytes()
        headers = [
            ((self._bytes() or b"").decode(errors="surrogateescape"), self._bytes())
            for _ in range(self._number())
        ]
        if self._at != end or end > len(self._data):
            raise ValueError(f"a record of {size} bytes takes {size + self._at - end}")
        topic, partition = self._partition
        return Record(topic, partition, offset, timestamp, key, value, tuple(headers))

    def _bytes(self) -> bytes | None:
        size = self._number()
        if size < 0:
            return None
        start, self._at = self._at, self._at + size
        return bytes(self._data[start : self._at])

    def _number(self) -> int:
        """Return the next number, a zigzag varint of at most 64 bits.

        aiokafka's own reads what is behind the end of its bytes, and ends the process with that.
        """
        coded = 0
        for shift in range(0, 70, 7):
            byte = self._data[self._at]
            self._at += 1
            coded |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (coded >> 1) ^ -(coded & 1)
        raise ValueError("a number of more than 64 bits")
