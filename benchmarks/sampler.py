"""Where a process spends its processor time: a look at the stack every few milliseconds of it.

A profiler that hooks every call makes small functions look large, and SQLAlchemy's greenlets confuse it. Time inside
of C counts for the line that called it.
"""

import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

_EVERY_SECONDS: Final = 0.002
_OWN: Final = 30
_WITHIN: Final = 45


class Sampler:
    """Start and stop it in the main thread."""

    def __init__(self) -> None:
        self._functions: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._within: Counter[str] = Counter()

    def start(self) -> None:
        """Looks from now on."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_SECONDS, _EVERY_SECONDS)

    def stop(self) -> str:
        """What it saw, as text; forgets it."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        total = self._functions.total() or 1
        kinds = (
            ("own time by function", self._functions, _OWN),
            ("own time by line and caller", self._lines, _OWN),
            ("time with all that was called", self._within, _WITHIN),
        )
        lines = []
        for title, counted, most in kinds:
            lines.append(f"{title}:")
            lines += [f"{count / total:6.1%}  {name}" for name, count in counted.most_common(most)]
            counted.clear()
        return "\n".join(lines)

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._functions[_name(frame, frame.f_code.co_firstlineno)] += 1
        caller = frame.f_back
        place = f", from {_name(caller, caller.f_lineno)}" if caller is not None else ""
        self._lines[_name(frame, frame.f_lineno) + place] += 1
        within: set[str] = set()
        outer: FrameType | None = frame
        while outer is not None:
            within.add(_name(outer, outer.f_code.co_firstlineno))
            outer = outer.f_back
        self._within.update(within)


def _name(frame: FrameType, line: int) -> str:
    path = frame.f_code.co_filename
    _, _, package = path.partition("/site-packages/")
    _, _, standard = path.partition(f"{Path(os.__file__).parent}/")
    return f"{frame.f_code.co_qualname}  {package or standard or os.path.relpath(path)}:{line}"
