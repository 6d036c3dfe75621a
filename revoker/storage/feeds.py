"""The lives of the topic `session-ended`, an epoch each: positions of one are never read as those of another."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.storage.columns import fetch, jsonb

_FIRST: Final = """
insert into feeds (topic, epoch, began_at) values ($1, $2::uuid, clock_timestamp()) on conflict (topic) do nothing"""

_CURRENT: Final = "select f.epoch, f.high from feeds f where f.topic = $1 for update"

_STORE: Final = """
update feeds f set
    began_at = case when f.epoch = $2::uuid then f.began_at else clock_timestamp() end,
    epoch = $2::uuid, high = $3::jsonb
where f.topic = $1"""


async def observe(
    engine: AsyncEngine, topic: str, ends: Callable[[], Awaitable[Mapping[int, int]]]
) -> tuple[uuid.UUID, bool]:
    """The epoch of `topic`, and whether it is another than last time.

    `ends` says where its partitions end now; it is asked while nobody else compares, since an older answer than the
    stored one would look like a loss. A partition that is gone, or ends before where it ended once, was created anew,
    or lost records: all positions are void.
    """
    async with engine.begin() as connection:
        await connection.exec_driver_sql(_FIRST, (topic, uuid.uuid4()))
        [(epoch, stored)] = await fetch(connection, _CURRENT, (topic,))
        now = await ends()
        recreated = any(now.get(int(partition), -1) < offset for partition, offset in _tree(stored).items())
        if recreated:
            epoch = uuid.uuid4()
        high = jsonb({str(partition): offset for partition, offset in now.items()})
        await connection.exec_driver_sql(_STORE, (topic, epoch, high))
        return epoch, recreated


def _tree(value: str | dict[str, int]) -> dict[str, int]:
    return msgspec.json.decode(value, type=dict[str, int]) if isinstance(value, str) else value
