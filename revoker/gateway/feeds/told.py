"""Moments that the service tells by its own clock, as moments of ours.

"Everything up to 09:00:00 is there" is worth something only if we know when that was. The clocks may differ by any
amount, so only differences count: the one that was told with the least delay says best how the clocks differ. What was
told first is not believed at all: it may have lain there for an hour.
"""

from datetime import datetime

from revoker.gateway.clock import elapsed


class Told:
    """Of one connection."""

    def __init__(self) -> None:
        self._newest: float | None = None
        self._ahead: float | None = None

    def moment(self, at: float) -> float | None:
        """When (`clock.elapsed`) it was `at` (Unix seconds, theirs), told just now; None: that cannot be said yet."""
        known, self._newest = self._newest, at
        if known is None or known == at:
            return None if self._ahead is None else at + self._ahead
        ahead = elapsed() - at
        self._ahead = ahead if self._ahead is None else min(ahead, self._ahead)
        return at + self._ahead


def unix(text: str) -> float:
    """The Unix time of a time on the wire. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
