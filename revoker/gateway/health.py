"""How good a gateway's view is, and what follows from it.

The view is as old as the last moment of which we know that everything that the feed then held is in the index. That
moment is told by the feed; the age is counted from it by a clock that nobody sets and that goes on while the process is
stopped. So a process that was paused for a minute wakes up with a view a minute old, and a strict one refuses by itself
at its first check, before any timer has run.
"""

import math
from typing import Literal

import msgspec

from revoker.gateway.clock import elapsed

Mode = Literal["strict", "best_effort"]
State = Literal["replaying", "serving", "stopped"]


class Stale(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of a gateway that cannot know: refuse for now (503), and cut what is open."""

    age: float
    """Seconds; infinite where nothing was ever known."""
    why: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the replay is: records applied, and how many there were to apply when it began."""

    applied: int = 0
    total: int | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `Gateway.health` tells."""

    synced: bool
    """The replay is done, and nothing is known to be missing."""
    age: float
    """Seconds since the view was last known to be complete; infinite before it ever was."""
    position: str
    mode: Mode
    state: State
    progress: Progress
    error: str | None = None
    """What keeps the view from being complete now."""
    receipts: str | None = None
    """Why the service does not hear of this instance."""
    skipped: int = 0
    """Records that could not be read. Anything but 0 deserves a look."""


class View:
    """What is known of the feed, and until when it is good enough to let anybody pass."""

    def __init__(self, *, mode: Mode, max_staleness: float, acknowledged: bool) -> None:
        self.mode: Mode = mode
        self.synced = False
        self.stopped = False
        self.full = False
        self.error: str | None = "not started"
        self._acknowledged = acknowledged
        self._max_staleness = max_staleness
        self._as_of = -math.inf
        self.good_until = -math.inf if mode == "strict" else math.inf
        """By `elapsed`. All that a check reads."""

    @property
    def state(self) -> State:
        if self.stopped:
            return "stopped"
        return "serving" if self.serves else "replaying"

    @property
    def serves(self) -> bool:
        """The replay is done, and the service knows of us: it can no longer think that nobody is left."""
        return self.synced and self._acknowledged

    @property
    def acknowledged(self) -> bool:
        return self._acknowledged

    def age(self) -> float:
        return elapsed() - self._as_of

    def current(self, as_of: float) -> None:
        """All that the feed held at `as_of` is in the index."""
        self.synced = True
        self.error = None
        self._as_of = max(as_of, self._as_of)
        self._judge()

    def lost(self, why: str) -> None:
        """Something may be missing, until the next `current`."""
        self.synced = False
        self.error = why
        self._judge()

    def acknowledge(self) -> None:
        """The first receipt is where the service finds it."""
        self._acknowledged = True
        self._judge()

    def fill(self, *, full: bool) -> None:
        """The index cannot take another record, or can again."""
        self.full = full
        self._judge()

    def stop(self) -> None:
        self.stopped = True
        self._judge()

    def stale(self) -> Stale | None:
        """Why nobody may pass now; None: a live session may."""
        if elapsed() <= self.good_until:
            return None
        return Stale(age=self.age(), why=self._why())

    def _judge(self) -> None:
        if self.stopped:
            self.good_until = -math.inf
        elif self.mode == "strict":
            knows = self.serves and not self.full
            self.good_until = self._as_of + self._max_staleness if knows else -math.inf

    def _why(self) -> str:
        if self.stopped:
            return "the gateway is stopped"
        if self.full:
            return "the index is full"
        if not self.synced:
            return "the replay is not done"
        if not self._acknowledged:
            return "the service does not know of this gateway yet"
        return "the view is too old"
