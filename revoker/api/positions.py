"""How far a reader of the stream has come: `epoch.n0.n1…`, the next offset of each partition of `session-ended`.

One partition's offset would not do, and without the epoch a recreated topic would look like a reader that is ahead.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

UNKNOWN_EPOCH: Final = "unknown"
"""Before the first heartbeat. Nobody announces under it, so nothing is proven by it."""

_FORM: Final = re.compile(r"([0-9A-Za-z-]{1,64})((?:\.(?:0|[1-9][0-9]{0,17})){1,1000})")


@dataclass(frozen=True, slots=True)
class Vector:
    """A place in the stream."""

    epoch: str
    next: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None: not one of ours."""
        found = _FORM.fullmatch(text)
        return cls(found[1], tuple(map(int, found[2][1:].split(".")))) if found else None

    def __str__(self) -> str:
        return ".".join((self.epoch, *map(str, self.next)))

    def grown(self, partitions: int) -> Self:
        """The same where partitions were added: nothing of those was read."""
        return type(self)(self.epoch, self.next + (0,) * (partitions - len(self.next)))

    def joined(self, other: "Vector") -> Self:
        """Whatever of the two is further, in each partition."""
        return type(self)(self.epoch, tuple(map(max, self.next, other.next)))

    def passed(self, partition: int, offset: int) -> Self:
        """Once the record there was read."""
        numbers = list(self.next)
        numbers[partition] = max(numbers[partition], offset + 1)
        return type(self)(self.epoch, tuple(numbers))
