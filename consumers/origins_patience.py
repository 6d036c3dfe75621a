"""When what an origin did not take is tried again, and when it is set aside. Pure.

It is set aside where waiting does not help: the origin takes others meanwhile, for long, or says that nobody is there
any more. An origin that takes nothing is away, or does not let us in. It is waited for, however long it takes: nothing
waits behind this notification that would be taken, and once it is back it must hear of everything.
"""

from dataclasses import dataclass
from typing import Final

from revoker.origins.telling import Because, NotTakenError

_BACK_OFF_SECONDS: Final = (0.5, 15.0)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A notification that was not taken yet. Times are monotonic seconds."""

    first_at: float
    tries: int
    next_at: float


def once_more(before: Trouble | None, error: NotTakenError, now: float, chance: float) -> Trouble:
    """How long to wait after `error`: longer each time, and at least as long as the origin asks. `chance`: 0 to 1."""
    first_at, tries = (before.first_at, before.tries) if before else (now, 0)
    least, most = _BACK_OFF_SECONDS
    delay = min(most, least * 2 ** min(tries, 10)) * (0.5 + chance / 2)
    return Trouble(first_at, tries + 1, now + max(delay, error.after or 0.0))


def gives_up(trouble: Trouble, error: NotTakenError, now: float, taken_at: float, patience: float) -> bool:
    """Whether it is set aside. `taken_at` is when the origin last took something else."""
    if error.because is Because.GONE:
        return True
    return taken_at > trouble.first_at and now - trouble.first_at >= patience
