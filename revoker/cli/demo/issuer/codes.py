"""Links that sign a person in: each once, and not for long. Without them a demo would need a password."""

import secrets
import time
from collections.abc import Callable
from typing import Final

LASTS_MINUTES: Final = 10


class Codes:
    """Those that were handed out and are not used yet."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: dict[str, tuple[str, float]] = {}

    def new(self, subject: str) -> str:
        """One that signs `subject` in."""
        code = secrets.token_urlsafe(24)
        self._open[code] = (subject, self._now() + LASTS_MINUTES * 60)
        return code

    def take(self, code: str) -> str | None:
        """Whom it signs in; nobody the second time, or later."""
        subject, until = self._open.pop(code, ("", 0.0))
        return subject if subject and self._now() < until else None
