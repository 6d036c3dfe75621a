"""Waiting for others on the machine to leave it alone, within a budget.

A round is thrown away for what others did meanwhile, never for what came out of it.
"""

import asyncio
import os
import time
from typing import Final

import psutil

QUIET_CORES: Final = 0.2
"""Others may keep that many cores busy; what is measured beside more than that means little."""

_LOOK_SECONDS: Final = 0.25


class Patience:
    """So many seconds of it."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    async def quiet(self) -> None:
        """Waits while others are busy. Nothing of ours may be."""
        while self._left > 0:
            psutil.cpu_percent()
            await asyncio.sleep(_LOOK_SECONDS)
            if psutil.cpu_percent() / 100 * (os.cpu_count() or 1) < QUIET_CORES:
                return
            self._left -= _LOOK_SECONDS

    def again(self, disturbance: float, since: float) -> bool:
        """Whether what was measured from `since` (monotonic) on is to be measured again."""
        if disturbance < QUIET_CORES or self._left <= 0:
            return False
        self._left -= time.monotonic() - since
        return True
