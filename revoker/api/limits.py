"""How often somebody may ask. Whoever asks more often waits for a turn; what ends a session is delayed, never lost.

A bucket each for everybody who has proven to be somebody, remembered while it matters and at most so many of them. Who
may have no more requests waiting is told to come back (429), with one exception: a person who ends sessions of their
own is never refused, however long the queue is. Only as many can wait as there are connections.
"""

import math
from collections import OrderedDict
from typing import Final

from aiolimiter import AsyncLimiter

from revoker.api.problems import ProblemError
from revoker.core.claims import SessionClaims
from revoker.settings import HttpSettings

_LOOKED_AT: Final = 8
"""How many of the oldest buckets are looked at, for one to forget."""

_Key = tuple[bool, str, str | None]


class _Bucket:
    """Somebody's turns: as many a second as the rate, and once as many at once."""

    __slots__ = ("limiter", "rate", "waiting")

    def __init__(self, rate: int) -> None:
        self.limiter = AsyncLimiter(rate, 1.0)
        self.rate = rate
        self.waiting = 0

    @property
    def is_idle(self) -> bool:
        """Whether a new one would be just the same."""
        return not self.waiting and self.limiter.has_capacity(self.rate)


class Limits:
    """Of one process, and in its event loop."""

    def __init__(self, http: HttpSettings) -> None:
        self._person = http.person_rate
        self._machine = http.machine_rate
        self._most_waiting = http.waiting
        self._most = http.remembered
        self._buckets: OrderedDict[_Key, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._buckets)

    async def turn(self, who: SessionClaims, *, is_person: bool, must_pass: bool) -> None:
        """Returns when it is `who`'s turn. Raises `ProblemError` (429) where too many wait, unless it `must_pass`."""
        key = is_person, who.tenant, who.subject or who.client_id or who.session_id
        bucket = self._bucket(key, self._person if is_person else self._machine)
        if bucket.limiter.has_capacity() and not bucket.waiting:
            await bucket.limiter.acquire()
            return
        if bucket.waiting >= self._most_waiting and not must_pass:
            seconds = math.ceil((bucket.waiting + 1) / bucket.rate)
            raise ProblemError(429, "Too many requests at once", {"Retry-After": str(seconds)})
        bucket.waiting += 1
        try:
            await bucket.limiter.acquire()
        finally:
            bucket.waiting -= 1

    def _bucket(self, who: _Key, rate: int) -> _Bucket:
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._forget()
            bucket = self._buckets[who] = _Bucket(rate)
        self._buckets.move_to_end(who)
        return bucket

    def _forget(self) -> None:
        """Forgets the oldest that nobody would miss; else the oldest for whom nobody waits."""
        oldest = [who for who, _ in zip(self._buckets, range(_LOOKED_AT), strict=False)]
        unmissed = next((who for who in oldest if self._buckets[who].is_idle), None)
        resting = (who for who, bucket in self._buckets.items() if not bucket.waiting)
        gone = next(resting, None) if unmissed is None else unmissed
        if gone is not None:
            del self._buckets[gone]
