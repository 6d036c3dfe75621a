r"""Reading records whose header names are not UTF-8.

Kafka takes any bytes for the name of a header; aiokafka decodes them strictly, while it hands out what it has fetched.
One such record makes every poll raise, for ever, whatever partition is meant, and what was taken from other partitions
in the same poll is dropped although its position has moved on: the next batch would commit past it. So for the rest of
such a fetch we read with aiokafka's own pure Python, and odd bytes become `\xff`.

There is no public way to say so: two names of one module of aiokafka are replaced. `tests/faults/test_poison.py` fails
when that does not reach any more.
"""

from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


def read_any_header() -> None:
    """Makes this process's consumers take whatever headers there are. Calling it twice changes nothing."""
    fetcher.MemoryRecords = _Fetched
    fetcher.PartitionRecords = _PartitionRecords


class _Fetched(MemoryRecords):  # type: ignore[misc]  # aiokafka is untyped
    """What was fetched from a partition, with the bytes that it was made of."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # as above
    """An iterator over records, which begins again where it failed."""

    _records: Any

    def __next__(self) -> Any:  # noqa: ANN401 - as above
        try:
            return super().__next__()
        except UnicodeDecodeError:
            self._records = _LenientRecords(self._records.data)
            # It passes over what has been handed out.
            self._records_iterator = self._unpack_records()
            return super().__next__()


class _LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]  # as above
    """`MemoryRecords`, in Python."""

    def next_batch(self) -> Any:  # noqa: ANN401 - as above
        data = self._next_slice
        batch = super().next_batch()
        return _LenientBatch(data) if isinstance(batch, DefaultRecordBatch) else batch


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # as above
    """`DefaultRecordBatch`, in Python. Older formats know no headers."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Buffer(bytearray):
    """Bytes, of which each slice can be decoded."""

    def __getitem__(self, where: Any) -> Any:  # noqa: ANN401 - an index or a slice
        found = super().__getitem__(where)
        return _Slice(found) if isinstance(where, slice) else found


class _Slice(bytes):
    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
