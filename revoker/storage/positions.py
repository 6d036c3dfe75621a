"""How far each lane has applied each input partition, kept beside the data that it speaks of."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.storage.columns import fetch
from schemas.inputs import Lane

Positions = Mapping[tuple[str, int], int]
"""(topic, partition) to the next offset to apply: all below it is committed."""

_GIVEN = """
insert into lane_positions as p (lane, topic, partition, next_offset, moved_at)
select $1::text, n.topic, n.partition, n.next_offset, clock_timestamp()
from unnest($2::text[], $3::int[], $4::bigint[]) as n(topic, partition, next_offset)
on conflict (lane, topic, partition) do """
_MOVE = f"""{_GIVEN} update
set next_offset = excluded.next_offset, moved_at = excluded.moved_at where p.next_offset < excluded.next_offset"""
_REWIND = f"{_GIVEN} update set next_offset = excluded.next_offset, moved_at = excluded.moved_at"
_ADOPT = f"{_GIVEN} nothing"


async def move_positions(connection: AsyncConnection, lane: Lane, positions: Positions) -> None:
    """Moves positions forward, never back. The last statement of a transaction: these rows are everybody's."""
    if positions:
        await connection.exec_driver_sql(_MOVE, _columns(lane, positions))


async def rewind_positions(engine: AsyncEngine, lane: Lane, positions: Positions) -> None:
    """Sets positions as they are given: the topic was created anew, and the old ones mean nothing."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql(_REWIND, _columns(lane, positions))


async def adopt_positions(engine: AsyncEngine, lane: Lane, positions: Positions) -> None:
    """Sets positions where `lane` has none: what the release before had applied."""
    async with engine.begin() as connection:
        await connection.exec_driver_sql(_ADOPT, _columns(lane, positions))


async def read_positions(engine: AsyncEngine, lane: Lane, topics: Sequence[str]) -> Positions:
    """The stored positions of `topics`. A partition that is absent was never applied by `lane`."""
    statement = """
        select topic, partition, next_offset from lane_positions
        where lane = $1 and topic = any ($2::text[])"""
    async with engine.connect() as connection:
        return _positions(await fetch(connection, statement, (lane.value, list(topics))))


async def read_earlier_positions(engine: AsyncEngine, topics: Sequence[str]) -> Positions:
    """What the release before this table had applied of `topics`, which one lane alone could read then."""
    statement = "select topic, partition, next_offset from input_positions where topic = any ($1::text[])"
    async with engine.connect() as connection:
        return _positions(await fetch(connection, statement, (list(topics),)))


def _positions(rows: Sequence[Sequence[object]]) -> Positions:
    return {(topic, partition): next_offset for topic, partition, next_offset in rows}  # type: ignore[misc]  # as selected


def _columns(lane: Lane, positions: Positions) -> tuple[str, list[str], list[int], list[int]]:
    ordered = sorted(positions.items())
    return lane.value, [key[0] for key, _ in ordered], [key[1] for key, _ in ordered], [offset for _, offset in ordered]
