"""Announcing what was committed, again where it is not known to have been announced.

The batch row is the memory: it is marked only after Kafka acknowledged every notice of it. Whatever was committed and
not marked is announced again, from rows, under the same ids: by the redelivery of its events, or by the sweeper after a
restore or where the input is gone.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.service.ports import Announcer
from revoker.service.revoke import Work
from revoker.storage import batches

STALE_AFTER: Final = timedelta(seconds=60)


async def announce(engine: AsyncEngine, announcer: Announcer, work: Work) -> Mapping[int, int]:
    """Publishes what `work` holds. Returns where to: partition to highest offset. Raises `PublishError`."""
    if work.unannounced:
        await announce_again(engine, announcer, sorted(work.unannounced))
    return await announcer.announce(work.notices)


async def announce_again(engine: AsyncEngine, announcer: Announcer, batch_ids: Sequence[UUID]) -> int:
    """Announces batches from their rows, one by one. Returns how many notices that were."""
    told = 0
    for batch_id in batch_ids:
        notices = await batches.derive(engine, [batch_id])
        written = await announcer.announce(notices)
        await batches.mark_announced(engine, [(batch_id, written)])
        told += len(notices)
    return told


async def sweep(engine: AsyncEngine, announcer: Announcer, older_than: timedelta = STALE_AFTER) -> int:
    """Announces what was left unannounced that long ago. Returns how many batches, 0 also while another sweeps."""
    async with batches.sweeping(engine) as mine:
        stale = await batches.stale(engine, older_than) if mine else []
        await announce_again(engine, announcer, stale)
        return len(stale)
