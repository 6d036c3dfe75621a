"""What the use cases need from the outside, declared by the side that uses it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from revoker.core.notices import Notice


class Announcer(Protocol):
    """Publishes notices on `session-ended`."""

    async def announce(self, notices: Sequence[Notice]) -> Mapping[int, int]:
        """The highest offset in each partition, once all are acknowledged. Raises `PublishError`."""
        ...
