"""Ending the demo when somebody wants it to end: Ctrl-C, SIGTERM, a closed terminal, or the death of our parent.

A KeyboardInterrupt strikes between any two instructions, also between the start of a process and the note that it was
started. So there is none: a signal cancels the task that does everything, which happens at its awaits only. Further
signals change nothing: stopping takes as long as it takes, and every step of it is bounded.

Whoever starts us with SIGHUP ignored (`nohup`) wants us to outlive our parent; then we do.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_SECONDS: Final = 0.5


class Stopper:
    """Runs one coroutine that ends early when it is asked to."""

    def __init__(self) -> None:
        self._asked = False
        self._cancel: Callable[[], object] = lambda: None
        self._parent: int | None = None

    def listen(self) -> None:
        """From here on signals are wishes, until the process ends."""
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._parent = os.getppid()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def run(self, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
        """What `work` returns, or 0 when it was ended by a wish."""
        if self._is_asked():
            return 0
        try:
            with asyncio.Runner() as runner:
                return runner.run(self._watched(work))
        except (asyncio.CancelledError, OSError):
            # After a closed terminal nothing can be printed.
            if not self._is_asked():
                raise
            return 0

    async def _watched(self, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
        task = asyncio.create_task(work())
        self._cancel = task.cancel
        if self._asked:
            task.cancel()
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            if self._parent not in {None, os.getppid()}:
                self._ask()
        self._cancel = lambda: None
        return await task

    def _is_asked(self) -> bool:
        return self._asked

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._ask()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._cancel()
