"""Time as a gateway may believe it: what has passed, and what the service's clocks say.

The wall clock of the process is never trusted: one that is a day ahead would forget revocations too early, and one that
jumps would make an old view look fresh. What has passed is counted by the clock that goes on while a process is stopped
and a machine sleeps. What o'clock it is the feed tells with each heartbeat; until then ours serves, and nothing is
forgotten.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final


def _counter() -> Callable[[], float]:
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot is None else partial(time.clock_gettime, boot)


elapsed: Final = _counter()
"""Seconds since some moment; goes on while the process is stopped."""


_REMEMBERED: Final = 64


class ServiceClock:
    """The service's Unix time, from what it last said that it was.

    What was said took its way, so each word is a little late, and some are very: after a pause one reads old ones. The
    earliest of the last is what time it is (`now`); the latest of them is what time it is at least (`late`), which is
    the side to be on when something is to be forgotten, or a hold to end. A clock of theirs that was wrong once is out
    of both after a minute of heartbeats.
    """

    def __init__(self) -> None:
        self._offsets: deque[float] = deque([time.time() - elapsed()], _REMEMBERED)
        self._earliest = self._latest = self._offsets[0]
        self.heard = False

    def hear(self, at: float) -> None:
        """It was `at` (Unix seconds) a moment ago."""
        if not self.heard:
            self._offsets.clear()
            self.heard = True
        self._offsets.append(at - elapsed())
        self._earliest, self._latest = max(self._offsets), min(self._offsets)

    def now(self) -> float:
        return self._earliest + elapsed()

    def late(self) -> float:
        return self._latest + elapsed()
