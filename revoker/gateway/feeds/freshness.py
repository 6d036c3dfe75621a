"""As of when a feed that is asked again and again has been read to its end.

An answer says how things were when it was made, not when it was read: a process that was paused reads old ones. All
that is certain is that it was made after the question, and that a question is asked after the answer before it has
arrived. So what the n-th answer says is true as of the arrival of the one before, as early as that can have been.

What an answer calls the end may be reached long after: under load the next one has come by then, with another end. So
an end is kept until it is reached; then the newest takes its place.
"""

from collections.abc import Iterable

from revoker.gateway.clock import elapsed

End = tuple[int, float]
"""An offset, and the moment as of which it was the end."""


class Freshness:
    """Of each place: since when at least it is known to be whole."""

    def __init__(self) -> None:
        self._began = self._sampled = elapsed()
        self._stamps: dict[int, int] = {}
        self._arrived: dict[int, float] = {}
        self._awaited: dict[int, End] = {}
        self._newest: dict[int, End] = {}
        self._whole: dict[int, float] = {}
        self.answered = self._began
        """When the newest answer can have arrived at the earliest."""

    def sample(self, places: Iterable[tuple[int, int | None, int | None, int]]) -> None:
        """Looks at each place now: number, stamp of its newest answer, the end that this one names, what is read next.

        An answer that is new since the last look arrived after that look.
        """
        now = elapsed()
        for place, stamp, end, following in places:
            if stamp is not None and end is not None and self._stamps.get(place) != stamp:
                self._stamps[place] = stamp
                self._newest[place] = (end, self._arrived.get(place, self._began))
                self._awaited.setdefault(place, self._newest[place])
                self._arrived[place] = self.answered = self._sampled
            self._reach(place, following)
        self._sampled = now

    def as_of(self, places: Iterable[int]) -> float | None:
        """When all of `places` were whole; None: one of them never was."""
        moments = [self._whole.get(place) for place in places]
        known = [moment for moment in moments if moment is not None]
        return min(known) if known and len(known) == len(moments) else None

    def _reach(self, place: int, following: int) -> None:
        for ends in (self._awaited, self._newest):
            reached = ends.get(place)
            if reached is not None and following >= reached[0]:
                self._whole[place] = max(reached[1], self._whole.get(place, reached[1]))
                self._awaited[place] = self._newest[place]
