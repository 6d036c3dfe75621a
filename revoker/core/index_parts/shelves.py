"""Millions of ended ids in little room.

As Python objects an id costs two hundred bytes before anything is said of it. Here records are text, and a handful of
them share one string: the hash of the id says in which of them a record would stand, and a look for `id` between two
separators, in a few hundred characters, finds it or not. That takes about as long as a look into a dict.

Strings and the lists of them are replaced, never changed, so that another thread may read at any moment. A list that
has become too full is dealt out anew to twice as many strings; there are a thousand lists, so that nobody waits long.
"""

import sys
from array import array
from collections.abc import Callable
from typing import Final

MASK: Final = 1_023
"""The lowest bits of the hash choose the list, the others the string in it."""
SHIFT: Final = 10

_FULL: Final = 6
"""Records in a string, on average, before there are twice as many strings."""
_SLOT_BYTES: Final = 8


Record = tuple[str, str, str, int]
"""Tenant, subject, client and the number of the revocation. An empty subject or client is whichever."""


class Shelves:
    """Id to records."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = [[""] for _ in range(MASK + 1)]
        """To look into without a call: `f"\\x1e{id}\\x1f" in lists[h & MASK][(h >> SHIFT) & (len - 1)]`."""
        self.size_bytes = 0
        self._counts = array("I", bytes(4 * (MASK + 1)))

    def __len__(self) -> int:
        return sum(self._counts)

    def __contains__(self, id_: str) -> bool:
        """Whether there are records of it."""
        hashed = hash(id_)
        strings = self.lists[hashed & MASK]
        return f"\x1e{id_}\x1f" in strings[(hashed >> SHIFT) & (len(strings) - 1)]

    def records(self, id_: str) -> list[Record]:
        """What is known of `id_`."""
        hashed = hash(id_)
        strings = self.lists[hashed & MASK]
        held = strings[(hashed >> SHIFT) & (len(strings) - 1)]
        needle = f"\x1e{id_}\x1f"
        found = []
        start = held.find(needle)
        while start >= 0:
            end = held.index("\x1e", start + 1)
            tenant, subject, client_id, number = held[start + len(needle) : end].split("\x1f")
            found.append((tenant, subject, client_id, int(number, 16)))
            start = held.find(needle, end)
        return found

    def add(self, id_: str, record: Record) -> None:
        """Notes `record`."""
        self._append(hash(id_), _text(id_, record))

    def add_first(self, id_: str, tenant: str, subject: str, client_id: str, number: int) -> bool:
        """Notes the first record of `id_`; False where there is one already. Most are the first, so this is quick."""
        hashed = hash(id_)
        strings = self.lists[hashed & MASK]
        needle = f"\x1e{id_}\x1f"
        if needle in strings[(hashed >> SHIFT) & (len(strings) - 1)]:
            return False
        self._append(hashed, f"{needle}{tenant}\x1f{subject}\x1f{client_id}\x1f{number:x}\x1e")
        return True

    def _append(self, hashed: int, told: str) -> None:
        which = hashed & MASK
        strings = self.lists[which]
        place = (hashed >> SHIFT) & (len(strings) - 1)
        held = strings[place]
        strings[place] = changed = held[:-1] + told
        self.size_bytes += len(told) - 1 if held and changed.isascii() else _grown(held, changed)
        self._counts[which] = count = self._counts[which] + 1
        if count > _FULL * len(strings):
            self._deal_out(which)

    def replace(self, id_: str, old: Record, new: Record) -> None:
        """Notes `new` in place of `old`, which is there."""
        hashed = hash(id_)
        strings = self.lists[hashed & MASK]
        place = (hashed >> SHIFT) & (len(strings) - 1)
        held = strings[place]
        strings[place] = changed = held.replace(_text(id_, old), _text(id_, new), 1)
        self.size_bytes += _grown(held, changed)

    def sweep(self, which: int, lives: Callable[[int], bool]) -> tuple[int, int]:
        """Drops the records of list `which` whose number lives no more; how many there were, and how many went."""
        strings = self.lists[which]
        before = self._counts[which]
        gone = 0
        for place, held in enumerate(strings):
            kept = [text for text in held.split("\x1e") if text and lives(int(text[text.rindex("\x1f") + 1 :], 16))]
            dropped = held.count("\x1e") - 1 - len(kept) if held else 0
            if dropped:
                gone += dropped
                changed = "\x1e".join(("", *kept, "")) if kept else ""
                strings[place] = changed
                self.size_bytes += _grown(held, changed)
        self._counts[which] -= gone
        if len(strings) > 1 and self._counts[which] < _FULL * len(strings) // 8:
            self._deal_out(which)
        return before, gone

    def _deal_out(self, which: int) -> None:
        old = self.lists[which]
        size = 1
        while self._counts[which] * 2 > _FULL * size:
            size *= 2
        dealt: list[list[str]] = [[] for _ in range(size)]
        for held in old:
            for text in held.split("\x1e"):
                if text:
                    dealt[(hash(text[: text.index("\x1f")]) >> SHIFT) & (size - 1)].append(text)
        new = ["\x1e".join(("", *texts, "")) if texts else "" for texts in dealt]
        self.size_bytes += _size(new) - _size(old)
        self.lists[which] = new


def _grown(old: str, new: str) -> int:
    """By how many bytes. The empty string is always there already."""
    return (sys.getsizeof(new) if new else 0) - (sys.getsizeof(old) if old else 0)


def _size(strings: list[str]) -> int:
    return sum(sys.getsizeof(held) for held in strings if held) + _SLOT_BYTES * len(strings)


def _text(id_: str, record: Record) -> str:
    tenant, subject, client_id, number = record
    return f"\x1e{id_}\x1f{tenant}\x1f{subject}\x1f{client_id}\x1f{number:x}\x1e"
