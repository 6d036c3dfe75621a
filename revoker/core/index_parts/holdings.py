"""All that an index holds, in one place: what `find` reads, `apply` adds to and `forget` sweeps."""

from typing import Final

import msgspec

from revoker.core.index_parts.chains import Chain
from revoker.core.index_parts.ledger import FOREVER, Ledger
from revoker.core.index_parts.predicates import Predicates
from revoker.core.index_parts.shelves import Shelves

SUBJECT_MASK: Final = 255
"""The bits of the hash that choose a dict: many of them, so that none is slow to grow or to sweep."""

_EMPTY_BYTES: Final = 250_000
"""Of an index that holds nothing."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much an index holds."""

    subjects: int
    """Subjects of which all that began before some time is over."""
    sessions: int
    """Sessions (or one client's part of them) that were named."""
    tokens: int
    """Tokens that were named."""
    wide: int
    """Other predicates."""
    holds: int


class Holdings:
    """Plain data. A subject is filed under `subject_key`, in the dict that its hash chooses."""

    __slots__ = ("due", "groups", "ledger", "lifts", "now", "other_bytes", "sessions", "subjects", "tokens")

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.subjects: list[dict[str, int | Chain]] = [{} for _ in range(SUBJECT_MASK + 1)]
        self.sessions = Shelves()
        self.tokens = Shelves()
        self.groups = Predicates()
        self.lifts: dict[str, int] = {}
        """Hold to the least time at which it was lifted."""
        self.other_bytes = _EMPTY_BYTES
        self.now = -FOREVER
        """What had expired by then counts no more."""
        self.due = FOREVER
        """Nothing expires before."""

    @property
    def size_bytes(self) -> int:
        """About how much memory all of it takes."""
        return self.ledger.size_bytes + self.sessions.size_bytes + self.tokens.size_bytes + self.other_bytes

    def counts(self) -> Counts:
        """How much there is."""
        groups = tuple(self.groups)
        return Counts(
            subjects=sum(map(len, self.subjects)),
            sessions=len(self.sessions),
            tokens=len(self.tokens),
            wide=sum(len(group.chain) for group in groups),
            holds=sum(len(group.holds) for group in groups),
        )
