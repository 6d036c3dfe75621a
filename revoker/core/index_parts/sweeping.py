"""Forgetting what has expired, a little at a time.

Nothing says which records belong to a revocation: that would cost as much as the records. So a sweep goes over all,
list by list, drops what has expired and marks what revocations are still referred to. The next begins when something
that it left expires.
"""

import sys
from collections.abc import Iterator

from revoker.core.index_parts.holdings import SUBJECT_MASK, Holdings
from revoker.core.index_parts.ledger import FOREVER
from revoker.core.index_parts.predicates import Group
from revoker.core.index_parts.shelves import MASK
from revoker.core.index_parts.writing import (
    GROUP_BYTES,
    HOLD_BYTES,
    LIFT_BYTES,
    SUBJECT_BYTES,
    chain_bytes,
)


class Sweeper:
    """Sweeps `holdings`."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._steps: Iterator[tuple[int, int]] | None = None

    def sweep(self, limit: int) -> int:
        """Looks at about `limit` things, if any is due. Returns how many it dropped."""
        looked = dropped = 0
        if self._steps is None and self._holdings.due <= self._holdings.now:
            self._steps = self._all()
        while self._steps is not None and looked < limit:
            step = next(self._steps, None)
            if step is None:
                self._steps = None
            else:
                looked += max(step[0], 1)
                dropped += step[1]
        return dropped

    def _all(self) -> Iterator[tuple[int, int]]:
        """After each step, how many it looked at and how many it dropped."""
        holdings = self._holdings
        holdings.ledger.begin_sweep()
        # From here on: the least of what is left and of what comes meanwhile.
        holdings.due = FOREVER
        for which in range(SUBJECT_MASK + 1):
            yield self._subjects(which)
        for which in range(MASK + 1):
            yield holdings.sessions.sweep(which, self._lives)
            yield holdings.tokens.sweep(which, self._lives)
        for group in holdings.groups:
            yield self._group(group)
        holdings.ledger.end_sweep()

    def _lives(self, number: int) -> bool:
        holdings = self._holdings
        until = holdings.ledger.covers_until[number]
        if until <= holdings.now:
            return False
        holdings.ledger.mark(number)
        holdings.due = min(holdings.due, until)
        return True

    def _subjects(self, which: int) -> tuple[int, int]:
        holdings = self._holdings
        subjects = holdings.subjects[which]
        dropped = 0
        for key, there in list(subjects.items()):
            chain = (there,) if isinstance(there, int) else there
            left = tuple(filter(self._lives, chain))
            if left == chain:
                continue
            holdings.other_bytes += chain_bytes(left) - chain_bytes(chain)
            if left:
                subjects[key] = left[0] if len(left) == 1 else left
            else:
                del subjects[key]
                dropped += 1
                holdings.other_bytes -= sys.getsizeof(key) + SUBJECT_BYTES
        return len(subjects) + dropped, dropped

    def _group(self, group: Group) -> tuple[int, int]:
        holdings = self._holdings
        left = tuple(filter(self._lives, group.chain))
        over = tuple(held for held in group.holds if held.until <= holdings.now)
        dropped = len(group.chain) - len(left) + len(over)
        holdings.other_bytes += chain_bytes(left) - chain_bytes(group.chain) - len(over) * HOLD_BYTES
        group.chain = left
        group.holds = tuple(held for held in group.holds if held not in over)
        for held in over:
            if holdings.lifts.pop(held.hold_id, None) is not None:
                holdings.other_bytes -= LIFT_BYTES
        for held in group.holds:
            holdings.due = min(holdings.due, held.until)
        if not group.chain and not group.holds:
            holdings.groups.remove(group)
            holdings.other_bytes -= GROUP_BYTES
        return 1, dropped
