"""Where notifications come from: Kafka, the Redis projection's stream, or the service's HTTP feed.

Each follows one port, and one suite holds them to it (tests/conformance/test_feed.py). A feed hands over every record
since the lifetime of a credential began, in the order of its place (a partition), none left out, duplicates allowed; it
says of each place where it begins, under which epoch, and from time to time that everything that the feed held at some
moment has been handed over. What it cannot know it does not say: then the view grows old by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from revoker.gateway.errors import FeedError

__all__ = ["Feed", "FeedError", "Sink"]


class Sink(Protocol):
    """What a feed tells. `records` is awaited before a feed goes on, so that a full index holds it back."""

    def epoch(self, name: str) -> None:
        """Positions are those of this epoch from now on. The feed replays: all that it told of places is void."""
        ...

    def begin(self, place: int, offset: int) -> None:
        """The next record of `place` will be the one at `offset`, whatever was before."""
        ...

    async def records(self, place: int, records: Sequence[tuple[int, bytes | None]], following: int) -> None:
        """Records of `place` with their offsets, and the offset that follows them: none is missing before it."""
        ...

    async def record(self, value: bytes, floors: Mapping[int, int], following: Mapping[int, int]) -> None:
        """The same where a feed says of a record only what follows it: each place it may be in, before and after."""
        ...

    def current(self, as_of: float) -> None:
        """All that the feed held at `as_of` (`clock.elapsed`) has been handed over."""
        ...

    def lost(self, why: str) -> None:
        """Records may be missing until the next `current`: the view is not whole."""
        ...

    def trouble(self, why: str) -> None:
        """The feed cannot be read now. What was handed over stays good for as long as its age allows."""
        ...

    def heard(self, at: float) -> None:
        """The clocks of the service showed `at` (Unix seconds) a moment ago."""
        ...

    def expect(self, total: int) -> None:
        """So many records are to be replayed, as far as is known."""
        ...


class Feed(Protocol):
    """One way to the notifications."""

    async def run(self, sink: Sink) -> None:
        """Follows until cancelled. Raises `FeedError` when it cannot; called again, it goes on where it was."""
        ...
