"""How much is measured."""

from dataclasses import dataclass, replace
from typing import Final

ROWS: Final = ("revocations", "newcomer", "receipts", "registration", "idle", "index", "sockets", "check")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Of one run."""

    rows: tuple[str, ...] = ROWS
    rounds: int = 5
    processes: int = 2
    """Of the consumer group, sharing its partitions."""
    events: int = 40_000
    """Password changes a round, of four sessions each."""
    newcomer_events: int = 500
    """The same for the newcomer, whose rate hardly depends on how long it has to keep it up."""
    sessions: int = 40_000
    """Sessions registered a round."""
    idle_events: int = 200
    revoked: int = 100_000
    """Sessions that the gateway's index holds as over, of each kind."""
    sockets: int = 10_000
    """WebSockets that one revocation closes."""
    patience: float = 60.0
    """Seconds for waiting until others leave the machine alone, and for repeating what they disturbed."""
    fresh: bool = False
    """Begin with tables that hold nothing else, instead of a history as large as a round."""
    profile: bool = False

    def quick(self) -> "Plan":
        """For less than a minute."""
        return replace(
            self,
            rounds=3,
            events=8_000,
            newcomer_events=100,
            sessions=8_000,
            idle_events=100,
            patience=0,
            sockets=1_000,
        )
