"""Which offsets of a batch are settled: pure bookkeeping, a value in, a value out.

A batch is cut into chunks that may finish in any order; a record that cannot be stored for a reason of our own is
parked, and nothing of its partition from there on counts as done, though it may be applied already (doing it again
changes nothing). A position handed out here never lies beyond a record that is not committed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Place = tuple[str, int]
"""A topic and one of its partitions."""


@dataclass(slots=True)
class _Span:
    chunk: int
    start: int
    end: int


@dataclass(slots=True)
class Ledger:
    """The offsets of one batch. `end` is one past the last record of a span, as Kafka counts positions."""

    _spans: dict[Place, list[_Span]] = field(default_factory=dict)
    _committed: set[int] = field(default_factory=set)
    _announced: set[int] = field(default_factory=set)
    _parked: dict[Place, int] = field(default_factory=dict)

    def enter(self, chunk: int, offsets: Iterable[tuple[Place, int]]) -> None:
        """Notes that `chunk` holds these records, in the order in which they were read."""
        for place, offset in offsets:
            spans = self._spans.setdefault(place, [])
            if spans and spans[-1].chunk == chunk:
                spans[-1].end = offset + 1
            else:
                spans.append(_Span(chunk, offset, offset + 1))

    def commit(self, chunk: int) -> None:
        """The database holds all of `chunk` but what is parked."""
        self._committed.add(chunk)

    def announce(self, chunk: int) -> None:
        """All that `chunk` announces was acknowledged by Kafka."""
        self._announced.add(chunk)

    def park(self, place: Place, offset: int) -> None:
        """This record, and all behind it in its partition, must be read again."""
        self._parked[place] = min(offset, self._parked.get(place, offset))

    def committed_with(self, chunk: int) -> dict[Place, int]:
        """How far each partition of `chunk` will be committed once `chunk` is: for its own transaction."""
        return self._reached(self._committed | {chunk}, [p for p, s in self._spans.items() if _holds(s, chunk)])

    def settled(self) -> dict[Place, int]:
        """How far each partition is done, announcements included: the offset to continue from."""
        return self._reached(self._announced, list(self._spans))

    def unsettled(self) -> Mapping[Place, int]:
        """The partitions that must be read again, and from where."""
        settled = self.settled()
        return {place: settled[place] for place, spans in self._spans.items() if settled[place] < spans[-1].end}

    def _reached(self, done: set[int], places: Sequence[Place]) -> dict[Place, int]:
        reached: dict[Place, int] = {}
        for place in places:
            spans = self._spans[place]
            position = spans[0].start
            for span in spans:
                if span.chunk not in done:
                    break
                position = span.end
            reached[place] = min(position, self._parked.get(place, position))
        return reached


def _holds(spans: Sequence[_Span], chunk: int) -> bool:
    return any(span.chunk == chunk for span in spans)
