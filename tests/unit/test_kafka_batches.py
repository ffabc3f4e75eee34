"""Records out of batches: as aiokafka has them, and where it has none."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition, codec
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record import memory_records
from aiokafka.record.default_records import (
    DefaultRecordBatch,
    _DefaultRecordBatchBuilderPy,
    _DefaultRecordBatchPy,
)
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy
from aiokafka.record.util import calc_crc32c, decode_varint_py, encode_varint_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.channels.kafka import batches
from broker.channels.kafka.batches import records_in
from broker.channels.kafka.compacted import Read
from broker.codecs.kafka import Headers

PARTITION = TopicPartition("orders", 3)
NOT_UTF8 = "caf\udce9"

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
AT_HAND = [
    pytest.param(number, id=name)
    for name, number in CODECS.items()
    if name in ("none", "gzip") or getattr(codec, f"has_{name}")()
]


class Written(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Name(str):
    """A header's name that goes out as the bytes that ``surrogateescape`` made it of."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        return super().encode(encoding, "surrogateescape")


def record(offset: int, name: str = "ce_id", value: bytes | None = b"x") -> Written:
    return Written(offset, 1_700_000_000_000 + offset, b"key", value, [(name, b"1")])


def batch(*records: Written, compression: int = 0, **changes: int) -> bytes:
    """Return a batch as Kafka would store it, with its header changed."""
    first = records[0].offset if records else 0
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 30)
    for offset, timestamp, key, value, headers in records:
        named = [(Name(name), content) for name, content in headers]
        builder.append(offset - first, timestamp, key, value, named)
    return with_header(bytes(builder.build()), **{"base_offset": first, **changes})


FIELDS = {
    "base_offset": (">q", 0),
    "attributes": (">h", 21),
    "last_offset_delta": (">i", 23),
    "max_timestamp": (">q", 35),
}


def with_header(built: bytes, **changes: int) -> bytes:
    changed = bytearray(built)
    for name, number in changes.items():
        kind, place = FIELDS[name]
        struct.pack_into(kind, changed, place, number)
    struct.pack_into(">i", changed, 8, len(built) - 12)
    struct.pack_into(">I", changed, 17, calc_crc32c(changed[21:]))
    return bytes(changed)


def seen(records: Sequence[Read]) -> Sequence[Written]:
    assert {(each.topic, each.partition) for each in records} <= {PARTITION}
    return [
        Written(each.offset, each.timestamp, each.key, each.value, list(each.headers))
        for each in records
    ]


@pytest.fixture(params=["compiled", "plain"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have aiokafka read records as it does where it was built with a compiler, and without."""
    compiled = request.param == "compiled"
    reader = DefaultRecordBatch if compiled else _DefaultRecordBatchPy
    monkeypatch.setattr(memory_records, "DefaultRecordBatch", reader)
    monkeypatch.setattr(batches, "MemoryRecords", MemoryRecords if compiled else _MemoryRecordsPy)
    monkeypatch.setattr(_DefaultRecordBatchPy._read_msg, "__defaults__", (decode_varint_py,))


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("compression", AT_HAND)
def test_a_name_that_is_not_utf8_hides_neither_its_record_nor_others(compression: int) -> None:
    body = b"x" * 200
    written = [record(7, value=body), record(8, NOT_UTF8, body), record(9, "é", body)]
    answer = batch(*written, compression=compression) + batch(record(10))

    records, on = records_in(answer, PARTITION, 7)

    assert seen(records) == [*written, record(10)]
    assert on == 11


names = st.text(max_size=5) | st.binary(max_size=5).map(
    lambda name: name.decode(errors="surrogateescape")
)
contents = st.none() | st.binary(max_size=300)
written_records = st.builds(
    Written,
    st.integers(0, 2**40),
    st.integers(0, 2**50),
    contents,
    contents,
    st.lists(st.tuples(names, contents), max_size=3),
)


@given(
    records=st.lists(written_records, min_size=1, max_size=5, unique_by=lambda each: each.offset),
    appended_at=st.none() | st.integers(0, 2**50),
)
def test_whatever_stands_in_a_batch_is_read(
    records: list[Written], appended_at: int | None
) -> None:
    first = min(each.offset for each in records)
    records = sorted(each._replace(offset=first + place) for place, each in enumerate(records))
    kept = batch(*records)
    if appended_at is not None:  # the topic has its own clock
        kept = with_header(kept, attributes=0b1000, max_timestamp=appended_at)
        records = [each._replace(timestamp=appended_at) for each in records]

    assert seen(records_in(kept, PARTITION, first)[0]) == records


@given(records=st.lists(written_records, min_size=1, max_size=5))
def test_read_byte_by_byte_a_batch_is_what_aiokafka_makes_of_it(records: list[Written]) -> None:
    records = [
        each._replace(
            offset=place,
            headers=[(name.encode(errors="replace").decode(), text) for name, text in each.headers],
        )
        for place, each in enumerate(records)
    ]
    kept = batch(*records)
    by_aiokafka: Any = MemoryRecords(kept).next_batch()

    found = list(batches._Bytewise(by_aiokafka, kept, PARTITION))

    assert seen(found) == [
        Written(each.offset, each.timestamp, each.key, each.value, each.headers)
        for each in by_aiokafka
    ]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("compression", [0, CODECS["gzip"]])
def test_records_of_old_formats_are_read(magic: int, compression: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, compression, 1 << 20)
    for offset in range(3):
        builder.append(offset, 1_700_000_000_000, b"key", b"value")

    kept = builder.build()
    if compression:  # Kafka gives what it is wrapped in the offset of the last
        struct.pack_into(">q", kept, 0, 2)

    records, on = records_in(bytes(kept), PARTITION, 1)

    assert [(each.offset, each.key, each.value, each.headers) for each in records] == [
        (1, b"key", b"value", ()),
        (2, b"key", b"value", ()),
    ]
    assert on == 3


# --- where to read on -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ce_id", NOT_UTF8])
def test_records_before_the_offset_are_left_out(name: str) -> None:
    records, on = records_in(batch(*(record(at, name) for at in range(5))), PARTITION, 3)

    assert [each.offset for each in records] == [3, 4]
    assert on == 5


@pytest.mark.parametrize("name", ["ce_id", NOT_UTF8])
def test_what_compaction_has_removed_is_passed_over(name: str) -> None:
    emptied = batch(base_offset=10, last_offset_delta=4)
    thinned = batch(record(20, name), record(22), last_offset_delta=9)

    records, on = records_in(emptied + thinned, PARTITION, 10)

    assert [each.offset for each in records] == [20, 22]
    assert on == 30


def test_the_end_of_a_transaction_is_no_record_but_has_an_offset() -> None:
    ended = batch(record(1, NOT_UTF8), attributes=0b110000)

    assert records_in(ended, PARTITION, 1) == ([], 2)
    assert records_in(batch(record(0)) + ended, PARTITION, 0)[1] == 2


def test_of_nothing_comes_nothing() -> None:
    assert records_in(b"", PARTITION, 5) == ([], 5)


@pytest.mark.parametrize("name", ["ce_id", NOT_UTF8])
@pytest.mark.parametrize("left", [-1, 5, 20])
def test_a_last_batch_that_is_cut_off_is_for_the_next_answer(name: str, left: int) -> None:
    answer = batch(record(0)) + batch(record(1, name))[:left]

    records, on = records_in(answer, PARTITION, 0)

    assert [each.offset for each in records] == [0]
    assert on == 1


# --- what cannot be read ----------------------------------------------------------------------

DAMAGED = batch(record(1, value=b"x" * 50))[:-1] + b"?"
CUT_OFF = batch(record(1))[:-1]
NO_LENGTH = struct.pack(">qi", 1, -5) + bytes(60)
NO_NUMBERS = with_header(batch(record(1, NOT_UTF8, b"x" * 50))[:-20] + b"\xff" * 20)
# A value that says that it is longer, and is so by what follows, or by all that there is not.
LONG_VALUE = with_header(batch(record(1)).replace(b"\x02x", b"\x04x"))
BEYOND = with_header(batch(record(1, NOT_UTF8))[:-2] + b"\x041")
ENDLESS = with_header(BEYOND[:61] + bytes([BEYOND[61] + 2]) + BEYOND[62:])


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    "unreadable", [DAMAGED, CUT_OFF, NO_LENGTH, NO_NUMBERS, LONG_VALUE, BEYOND, ENDLESS]
)
def test_a_batch_that_is_damaged_is_refused_and_not_passed_over(unreadable: bytes) -> None:
    with pytest.raises(CorruptRecordException):
        records_in(unreadable, PARTITION, 1)


@pytest.mark.usefixtures("build")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["ce_id", NOT_UTF8]),
    damage=st.lists(st.tuples(st.integers(0, 30), st.binary(min_size=1, max_size=12)), min_size=1),
)
def test_records_of_any_bytes_are_read_or_refused(
    name: str, damage: list[tuple[int, bytes]]
) -> None:
    damaged = bytearray(batch(record(1, name), record(2, name)))
    for at, written in damage:
        damaged[61 + at : 61 + at + len(written)] = written

    try:
        records, on = records_in(with_header(bytes(damaged)), PARTITION, 1)
    except CorruptRecordException:
        return
    assert on == 3
    assert len(records) <= len(damaged)


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("size", [2**62, 2**63 - 100, 2**63 - 40, 2**63 - 1])
@pytest.mark.parametrize("before", [3, 7], ids=["key", "value"])
def test_a_length_that_no_memory_has_is_refused(size: int, before: int) -> None:
    sound = batch(record(1))
    assert sound[61 + 1 + before :].startswith((b"\x06key", b"\x02x"))
    written = bytearray()
    encode_varint_py(size, written.append)

    with pytest.raises(CorruptRecordException):
        records_in(with_header(sound[: 62 + before] + written + b"x" * 50), PARTITION, 1)


def test_a_number_that_has_no_end_is_refused() -> None:
    endless = with_header(batch(record(1, NOT_UTF8))[:61] + b"\x80" * 5_000)

    with pytest.raises(CorruptRecordException, match="more than 64 bits"):
        records_in(endless, PARTITION, 1)


@pytest.mark.parametrize("unreadable", [DAMAGED, NO_NUMBERS, batch(record(1), attributes=7)])
def test_what_comes_before_a_batch_that_cannot_be_read_is_read(unreadable: bytes) -> None:
    records, on = records_in(batch(record(0)) + unreadable + batch(record(2)), PARTITION, 0)

    assert [each.offset for each in records] == [0]
    assert on == 1


def test_a_compression_that_aiokafka_cannot_undo_is_told() -> None:
    with pytest.raises(UnsupportedCodecError, match="codec"):
        records_in(batch(record(1), attributes=7), PARTITION, 1)
