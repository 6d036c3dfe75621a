"""Revoking a chunk of decisions, and what is to be announced of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core import notices
from revoker.core.notices import Notice
from revoker.core.policy import Decision
from revoker.storage import revocations
from revoker.storage.positions import Positions
from revoker.storage.revocations import Applied, Outcome

Told = Literal["applied", "redundant", "report_only", "duplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a committed chunk leaves to do: announce `notices` under `batch_ids`, and repeat `unannounced` batches."""

    batch_ids: tuple[UUID, ...] = ()
    notices: Sequence[Notice] = ()
    unannounced: frozenset[UUID] = frozenset()


async def revoke(
    engine: AsyncEngine, decisions: Sequence[Decision], positions: Callable[[], Positions]
) -> tuple[Outcome, Work]:
    """Ends what `decisions` cover. Raises what the database raises; `storage.database.fault_of` tells what it means."""
    outcome = await revocations.apply(engine, decisions, positions)

    announced = [a for a in outcome.applied if a.revocation.enforced and not a.redundant]
    told = [
        notice for a in announced for notice in notices.ended(a.revocation, outcome.committed_at, a.sessions, a.tokens)
    ]
    return outcome, Work(
        batch_ids=(outcome.batch_id,) if outcome.batch_id else (),
        notices=told,
        unannounced=outcome.unannounced,
    )


def outcomes(outcome: Outcome) -> Counter[Told]:
    """How many events of a chunk were applied, redundant, only reported, or known before."""
    counted: Counter[Told] = Counter(map(_outcome, outcome.applied))
    counted["duplicate"] += outcome.duplicates
    return counted


def _outcome(applied: Applied) -> Told:
    if not applied.revocation.enforced:
        return "report_only"
    return "redundant" if applied.redundant else "applied"
