"""Notices a process that is alive and does nothing, says so on `/livez`, and ends it if it stays so.

The libraries below retry for ever and restart a dead loop on the same dead consumer. So progress is measured by what
we see ourselves: records are waiting, the broker answers, and no batch was finished; or one batch takes for ever. A
dependency that is away is not a reason: a restart would not bring it back.
"""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from consumers.lane import Lane
from revoker.logs import get_logger

_STUCK_SECONDS: Final = 120.0
EXIT_STUCK: Final = 70
_TICK_SECONDS: Final = 1.0
_LOOP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 5.0
_log = get_logger(__name__)


class Watchdog:
    """Watches lanes and the event loop itself."""

    def __init__(self, lanes: Sequence[Lane[Any]], stuck_seconds: float = _STUCK_SECONDS) -> None:
        self._lanes = lanes
        self._stuck_seconds = stuck_seconds
        self._ticked = time.monotonic()
        self._stopped = threading.Event()

    def why_stuck(self) -> str | None:
        """Why this process needs a restart; None: it does not."""
        now = time.monotonic()
        for lane in self._lanes:
            if lane.busy_since is not None and now - lane.busy_since > self._stuck_seconds:
                return f"{lane.name.value}: one batch since {now - lane.busy_since:.0f} s"
            idle = now - lane.last_done
            if lane.busy_since is None and idle > self._stuck_seconds and lane.offsets.is_waiting_in_vain():
                return f"{lane.name.value}: records wait, none was taken for {idle:.0f} s"
            owed = lane.offsets.owed_for()
            if owed > self._stuck_seconds:
                # After its broker had died twice, aiokafka has been seen to look for a group's coordinator for ever.
                return f"{lane.name.value}: Kafka answers, and has not taken offsets for {owed:.0f} s"
        return None

    async def watch(self) -> None:
        """Looks until cancelled. Ends the process when it was stuck twice as long as it takes to be called stuck."""
        thread = threading.Thread(target=self._watch_loop, name="watchdog", daemon=True)
        thread.start()
        since: float | None = None
        try:
            while True:
                self._ticked = time.monotonic()
                await asyncio.sleep(_TICK_SECONDS)
                reason = self.why_stuck()
                if reason is None:
                    since = None
                    continue
                if since is None:
                    since = time.monotonic()
                    _log.error("stuck", reason=reason)
                elif time.monotonic() - since > self._stuck_seconds:
                    _end(reason)
        finally:
            self._stopped.set()

    def _watch_loop(self) -> None:
        """A loop that does not turn cannot watch itself. Twice, because a stopped process wakes up with an old tick."""
        late = 0
        while not self._stopped.wait(_LOOK_SECONDS):
            late = late + 1 if time.monotonic() - self._ticked > _LOOP_SECONDS else 0
            if late > 1:
                _end(f"the event loop has not turned for {_LOOP_SECONDS:.0f} s")


def _end(reason: str) -> None:
    """Ends the process as kill -9 would: nothing is lost by that, and nothing of it may hang."""
    _log.error("stuck", reason=reason, exit_code=EXIT_STUCK)
    os._exit(EXIT_STUCK)
