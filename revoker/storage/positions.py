"""How far each input partition is applied, kept beside the data that it speaks of."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.storage.columns import fetch

Positions = Mapping[tuple[str, int], int]
"""(topic, partition) to the next offset to apply: all below it is committed."""

_MOVE = """
insert into input_positions as p (topic, partition, next_offset, moved_at)
select n.topic, n.partition, n.next_offset, clock_timestamp()
from unnest($1::text[], $2::int[], $3::bigint[]) as n(topic, partition, next_offset)
on conflict (topic, partition) do update
set next_offset = excluded.next_offset, moved_at = excluded.moved_at where p.next_offset < excluded.next_offset"""

_REWIND = """
insert into input_positions as p (topic, partition, next_offset, moved_at)
select n.topic, n.partition, n.next_offset, clock_timestamp()
from unnest($1::text[], $2::int[], $3::bigint[]) as n(topic, partition, next_offset)
on conflict (topic, partition) do update set next_offset = excluded.next_offset, moved_at = excluded.moved_at"""


async def move_positions(connection: AsyncConnection, positions: Positions) -> None:
    """Moves positions forward, never back. The last statement of a transaction: these rows are everybody's."""
    if positions:
        await connection.exec_driver_sql(_MOVE, _columns(positions))


async def rewind_positions(engine: AsyncEngine, positions: Positions) -> None:
    """Sets positions as they are given: the topic was created anew, and the old ones mean nothing."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql(_REWIND, _columns(positions))


async def read_positions(engine: AsyncEngine, topics: Sequence[str]) -> Positions:
    """The stored positions of `topics`. A partition that is absent was never applied."""
    statement = "select topic, partition, next_offset from input_positions where topic = any ($1::text[])"
    async with engine.connect() as connection:
        rows = await fetch(connection, statement, (list(topics),))
        return {(topic, partition): next_offset for topic, partition, next_offset in rows}


def _columns(positions: Positions) -> tuple[list[str], list[int], list[int]]:
    ordered = sorted(positions.items())
    return [key[0] for key, _ in ordered], [key[1] for key, _ in ordered], [offset for _, offset in ordered]
