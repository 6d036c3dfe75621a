"""Pruning: forgetting what is over for longer than `retention.ended`, while everything else goes on.

May be stopped at any moment and run again; two at once do each other no harm.
"""

from collections import Counter
from collections.abc import AsyncGenerator

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.settings import Settings
from revoker.storage import pruning
from revoker.storage.pruning import Bounds, Table


async def bounds(engine: AsyncEngine, settings: Settings) -> Bounds:
    """What may go, by the settings and the database's clock."""
    return await pruning.bounds(
        engine,
        ended=settings.retention.ended,
        lifetime=settings.sessions.lifetime,
        inputs=settings.retention.inputs,
    )


async def prune(
    engine: AsyncEngine, bounds_: Bounds, *, dry_run: bool = False, page: int = pruning.PAGE
) -> AsyncGenerator[Counter[Table], None]:
    """Forgets, a page a transaction. Yields the totals so far after each; the last one is what was done."""
    totals: Counter[Table] = Counter(dict.fromkeys(Table, 0))
    walk = pruning.count if dry_run else pruning.delete
    for table in Table:
        async for gone in walk(engine, table, bounds_, page=page):
            totals[table] += gone
            yield totals
    yield totals
