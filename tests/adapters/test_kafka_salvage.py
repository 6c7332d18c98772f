"""Our own reading of a batch: right where aiokafka's is, lenient in one point, strict elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiokafka import TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as some

from gateway.adapters.kafka_salvage import NOT_UTF8, Fetched, read_first_batch
from gateway.core.model import Record
from tests.adapters.raw_batches import raw_batch

PLACE = TopicPartition("t", 3)
ODD = [(b"\xffname", b"v"), (b"fine", None)]

Headers = list[tuple[str, bytes | None]]
rows = some.lists(
    some.tuples(
        some.integers(0, 2**41),
        some.none() | some.binary(max_size=300),
        some.none() | some.binary(max_size=300),
        some.lists(some.tuples(some.text(max_size=9), some.none() | some.binary(max_size=9))),
    ),
    min_size=1,
    max_size=6,
)


def read(raw: bytes, offset: int = 0, aborted: tuple[tuple[int, int], ...] = ()) -> list[Record]:
    return read_first_batch(Fetched(raw, aborted), PLACE, offset).records


@given(rows, some.sampled_from([0, 1, 2, 3, 4]))
def test_it_reads_what_aiokafka_writes(
    rows: list[tuple[int, bytes | None, bytes | None, Headers]], codec: int
) -> None:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    for number, (stamp, key, value, headers) in enumerate(rows):
        builder.append(number, timestamp=stamp, key=key, value=value, headers=headers)
    found = read_first_batch(Fetched(bytes(builder.build()), ()), PLACE, 0)
    assert found.next_offset == len(rows)
    assert found.records == [
        Record("t", 3, number, stamp / 1000, key, value, tuple(headers))
        for number, (stamp, key, value, headers) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("codec", "compress"),
    [(0, bytes), (1, gzip_encode), (2, snappy_encode), (3, lz4_encode), (4, zstd_encode)],
)
def test_a_header_name_that_is_not_utf8_is_marked_and_kept(
    codec: int, compress: Callable[[bytes], bytes]
) -> None:
    (record,) = read(raw_batch([(b"v", ODD)], attributes=codec, compress=compress))
    assert record.headers == ((NOT_UTF8 + "\\xffname", b"v"), ("fine", None))
    assert record.headers[0][0].encode().decode() == record.headers[0][0]


def test_records_below_the_offset_asked_for_are_left_out() -> None:
    raw = raw_batch([(b"%d" % n, ODD) for n in range(5)], base_offset=40)
    found = read_first_batch(Fetched(raw + raw, ()), PLACE, 43)
    assert [record.offset for record in found.records] == [43, 44]
    assert found.next_offset == 45


def test_records_of_an_aborted_transaction_are_passed_over() -> None:
    raw = raw_batch([(b"v", ODD)], attributes=0x10, base_offset=7, producer_id=9)
    assert read(raw, 7, ((9, 5),)) == []
    assert len(read(raw, 7, ((9, 8),))) == 1  # that transaction began later
    assert len(read(raw, 7, ((8, 5),))) == 1  # that one is another producer's
    assert len(read(raw, 7)) == 1


def test_a_control_batch_is_passed_over() -> None:
    raw = raw_batch([(b"v", [])], attributes=0x30, base_offset=7)
    assert read_first_batch(Fetched(raw, ()), PLACE, 7) == ([], 8)


@given(some.data())
def test_no_byte_may_change(data: some.DataObject) -> None:
    """Offsets, leader epoch and length stand before what the checksum covers: brokers write them,
    and a wrong length is seen as a batch that is not whole or has a wrong checksum."""
    raw = bytearray(raw_batch([(b"value", ODD)]))
    place = data.draw(some.integers(16, len(raw) - 1))
    raw[place] ^= data.draw(some.integers(1, 255))
    with pytest.raises(CorruptRecordException):
        read(bytes(raw))


@given(some.integers(0, 200))
def test_a_batch_that_is_not_whole_is_not_read(size: int) -> None:
    raw = raw_batch([(b"value" * 40, ODD)])
    with pytest.raises(CorruptRecordException):
        read(raw[:size])


def test_a_batch_of_other_offsets_is_not_read() -> None:
    with pytest.raises(CorruptRecordException):
        read(raw_batch([(b"v", [])], base_offset=3), offset=4)
