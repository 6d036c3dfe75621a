"""How far an instance has come, as it may be claimed: a vector of next offsets, one a partition, under an epoch.

The claim is: every record below is in the index, and every drop that it caused is finished. Records go into the index
in order, drops finish in any order; so a record whose drop still runs holds its partition back, and nothing behind it
is claimed. A partition that begins again (its log was cut, or the topic was created anew) is held back by the drops of
its earlier life, too: the same record, read a second time, causes none.
"""

from collections.abc import Mapping
from typing import Final

UNKNOWN_EPOCH: Final = "unknown"
"""Before the first heartbeat. Nobody announces under it, so nothing is proven by it."""


class Positions:
    """Where each place (a partition) of the feed stands."""

    def __init__(self) -> None:
        self.epoch = UNKNOWN_EPOCH
        self._next: dict[int, int] = {}
        self._held: dict[int, dict[int, int] | None] = {}
        """Unfinished: the floors that the claim may not pass. None: of an earlier epoch, it may claim nothing."""
        self._token = 0

    def restart(self, epoch: str) -> None:
        """All positions are void: from now on they are those of `epoch`."""
        self.epoch = epoch
        self._next.clear()
        self._held = dict.fromkeys(self._held)

    def begin(self, place: int, offset: int) -> None:
        """The next record of `place` is the one at `offset`, whatever was there before."""
        self._next[place] = offset
        for floors in self._held.values():
            if floors is not None and place in floors:
                floors[place] = min(offset, floors[place])

    def hold(self, floors: Mapping[int, int]) -> int:
        """A record is in the index, and what it causes is not finished: no place may pass its floor until `release`.

        The floor is the offset of the record. A feed that does not know its place names each that it may be in.
        """
        self._token += 1
        self._held[self._token] = dict(floors)
        return self._token

    def release(self, token: int) -> None:
        """It is finished."""
        del self._held[token]

    def advance(self, place: int, offset: int) -> None:
        """Every record of `place` below `offset` is in the index."""
        self._next[place] = offset

    def proven(self) -> tuple[int, ...]:
        """The claim, by place. One that was never heard of stands at 0."""
        claims = [self._next.get(place, 0) for place in range(max(self._next, default=-1) + 1)]
        for floors in self._held.values():
            if floors is None:
                return (0,) * len(claims)
            for place, floor in floors.items():
                if place < len(claims):
                    claims[place] = min(claims[place], floor)
        return tuple(claims)

    def __str__(self) -> str:
        return ".".join((self.epoch, *map(str, self.proven())))
