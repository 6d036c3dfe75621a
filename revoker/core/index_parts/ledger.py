"""What is known of each revocation, in columns: sixty bytes each instead of a thousand as objects.

A revocation is a number, given out when a notice brings something new. Two notices of one revocation may get two
numbers; that costs room and changes no answer. What many have in common (cause, initiator, words for people) is kept
once.

A number that nothing refers to any more rests until the next sweep is over before it is given out again, since another
thread may just be reading it.
"""

import sys
from array import array
from collections.abc import Mapping
from typing import Final

from revoker.core.claims import from_micros
from revoker.core.verdicts import Revocation
from revoker.core.wire import SessionEndedNotice

FOREVER: Final = 1 << 62
"""Later than every time."""
SEPARATOR: Final = "\x1f"
"""Ids hold no control characters."""

_ROW_BYTES: Final = 66
"""Of one number in all columns, with the room that they keep for the next."""
_SHARED_BYTES: Final = 600
_MOST_VERDICTS: Final = 4_000
_NOBODY: Final[frozenset[str]] = frozenset()


class Shared:
    """What many revocations have in common, and how many have it."""

    __slots__ = ("cause", "initiator", "keep_clients", "key", "reason_user", "uses")

    def __init__(self, key: tuple[object, ...], notice: SessionEndedNotice) -> None:
        self.key = key
        self.cause = notice.cause
        self.initiator = notice.initiator
        self.reason_user: Mapping[str, str] = notice.reason_user
        self.keep_clients = frozenset(notice.keep_clients) or _NOBODY
        self.uses = 0


class Ledger:
    """Columns; a row is a number."""

    def __init__(self) -> None:
        self.not_before = array("q")
        self.covers_until = array("q")
        self.keep: list[str | None] = []
        """Kept session ids, each between two separators."""
        self.shared: list[Shared | None] = []
        self.size_bytes = 0
        self._ids = bytearray()
        self._odd_ids: dict[int, str] = {}
        self._requested_at = array("q")
        self._committed_at = array("q")
        self._known: dict[tuple[object, ...], Shared] = {}
        self._verdicts: dict[int, Revocation] = {}
        self._free: list[int] = []
        self._resting: list[int] = []
        self._marks: bytearray | None = None

    def __len__(self) -> int:
        return len(self.keep) - len(self._free) - len(self._resting)

    def add(self, notice: SessionEndedNotice, not_before: int) -> int:
        """The number under which `notice` is known from now on."""
        keep = SEPARATOR.join(("", *notice.keep, "")) if notice.keep else None
        shared = self._share(notice)
        number = self._free.pop() if self._free else self._grow()
        self.not_before[number] = not_before
        self.covers_until[number] = notice.covers_until
        self._requested_at[number] = notice.requested_at
        self._committed_at[number] = notice.committed_at
        self.keep[number] = keep
        self.shared[number] = shared
        self._write_id(number, notice.revocation_id)
        self._verdicts.pop(number, None)
        self.size_bytes += sys.getsizeof(keep) if keep else 0
        return number

    def keeps(self, number: int, session_id: str | None, client_id: str | None) -> bool:
        """Whether revocation `number` leaves such a session alone."""
        keep = self.keep[number]
        if keep is not None and session_id is not None and f"\x1f{session_id}\x1f" in keep:
            return True
        return client_id in self.keep_clients(number)

    def keep_clients(self, number: int) -> frozenset[str]:
        """The clients that revocation `number` leaves alone."""
        shared = self.shared[number]
        return _NOBODY if shared is None else shared.keep_clients

    def verdict(self, number: int) -> Revocation:
        """Revocation `number`, as whoever asks is told."""
        found = self._verdicts.get(number)
        if found is not None:
            return found
        shared = self.shared[number]
        verdict = Revocation(
            id=self._odd_ids.get(number) or _as_uuid(self._ids[number * 16 : number * 16 + 16].hex()),
            cause=shared.cause if shared else "",
            initiator=shared.initiator if shared else "",
            reason_user=shared.reason_user if shared else {},
            requested_at=from_micros(self._requested_at[number]),
            committed_at=from_micros(self._committed_at[number]),
        )
        if len(self._verdicts) >= _MOST_VERDICTS:
            self._verdicts.clear()
        self._verdicts[number] = verdict
        return verdict

    def begin_sweep(self) -> None:
        """From now on, what is still referred to is marked. What is free, and so what comes meanwhile, already is."""
        self._marks = bytearray(len(self.keep))
        for number in (*self._free, *self._resting):
            self._marks[number] = 1

    def mark(self, number: int) -> None:
        """Something refers to `number`."""
        if self._marks is not None and number < len(self._marks):
            self._marks[number] = 1

    def end_sweep(self) -> None:
        """What was not marked is free, after a rest."""
        marks, self._marks = self._marks or bytearray(), None
        self._free += self._resting
        self._resting = []
        number = marks.find(0)
        while number >= 0:
            self._release(number)
            number = marks.find(0, number + 1)

    def _release(self, number: int) -> None:
        shared, keep = self.shared[number], self.keep[number]
        self.shared[number] = self.keep[number] = None
        self._odd_ids.pop(number, None)
        self._verdicts.pop(number, None)
        self._resting.append(number)
        self.size_bytes -= sys.getsizeof(keep) if keep else 0
        if shared is not None:
            shared.uses -= 1
            if not shared.uses:
                del self._known[shared.key]
                self.size_bytes -= _SHARED_BYTES

    def _grow(self) -> int:
        for column in (self.not_before, self.covers_until, self._requested_at, self._committed_at):
            column.append(0)
        self._ids += bytes(16)
        self.shared.append(None)
        self.keep.append(None)
        self.size_bytes += _ROW_BYTES
        return len(self.keep) - 1

    def _share(self, notice: SessionEndedNotice) -> Shared:
        key = (notice.cause, notice.initiator, notice.keep_clients, *notice.reason_user.items())
        shared = self._known.get(key)
        if shared is None:
            shared = self._known[key] = Shared(key, notice)
            self.size_bytes += _SHARED_BYTES
        shared.uses += 1
        return shared

    def _write_id(self, number: int, id_: str) -> None:
        packed = id_.replace("-", "")
        if len(packed) == 32:
            try:
                self._ids[number * 16 : number * 16 + 16] = raw = bytes.fromhex(packed)
            except ValueError:
                pass
            else:
                if _as_uuid(raw.hex()) == id_:
                    return
        self._odd_ids[number] = id_


def _as_uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
