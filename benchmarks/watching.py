"""What PostgreSQL is busy with while the product works: a look at the product's sessions every few milliseconds.

It tells how many of them were, on average, at which statement, and what they waited for: `computing` is nothing,
`Client:ClientRead` that the product let a transaction wait.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

_EVERY_SECONDS: Final = 0.004
_SHOWN: Final = 25
_LOOK: Final = """
select left(regexp_replace(query, '\\s+', ' ', 'g'), 100), coalesce(wait_event_type || ':' || wait_event, 'computing')
from pg_stat_activity
where application_name = 'revoker' and state <> 'idle' and backend_type = 'client backend'"""


class Looks:
    """What was seen."""

    def __init__(self) -> None:
        self.times = 0
        self.seen: Counter[tuple[str, str]] = Counter()

    def __str__(self) -> str:
        lines = [
            f"{count / max(1, self.times):6.1%}  {wait:28}  {statement}"
            for (statement, wait), count in self.seen.most_common(_SHOWN)
        ]
        return "\n".join(["PostgreSQL, sessions at a statement:", *lines])


@asynccontextmanager
async def watching(dsn: str) -> AsyncIterator[Looks]:
    """Looks until the end of the context."""
    connection = await asyncpg.connect(dsn)
    looks = Looks()
    task = asyncio.create_task(_watch(connection, looks))
    try:
        yield looks
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.close()


async def _watch(connection: asyncpg.Connection, looks: Looks) -> None:
    look = await connection.prepare(_LOOK)
    while True:
        looks.seen.update((statement, wait) for statement, wait in await look.fetch())
        looks.times += 1
        await asyncio.sleep(_EVERY_SECONDS)
