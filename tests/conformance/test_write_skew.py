"""A registration and a revocation of one subject never pass each other unseen: invariant I5, raced.

Each race runs with the product's locks, where nothing may survive, and without them, where something must: a race that
cannot be lost proves nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from revoker.core.policy import Decision
from revoker.storage import revocations, sessions
from revoker.storage.columns import fetch
from schemas.session_activity import SessionActivity
from tests import factories

CHUNK = 100
CHUNKS = 30

Race = tuple[Callable[[int], SessionActivity], Callable[[int], Decision]]
RACES: dict[str, Race] = {
    "everything of a subject": (
        lambda n: factories.established(f"s-{n}", f"u-{n}"),
        lambda n: factories.decision("password-changed", f"u-{n}"),
    ),
    "a session, whoever has it": (
        lambda n: factories.established(f"s-{n}", f"u-{n}"),
        lambda n: factories.decision("logged-out", None, data={"session_id": f"s-{n}"}),
    ),
    "a token, whoever has it": (
        lambda n: factories.issued(f"t-{n}", f"u-{n}"),
        lambda n: factories.decision("token-revoked", None, data={"token_id": f"t-{n}"}),
    ),
}


async def unlocked(connection: AsyncConnection, chunk: Any, *_: object) -> datetime:
    del chunk
    now: datetime = (await fetch(connection, "select clock_timestamp()", ()))[0][0]
    return now


async def left_alive(engine: AsyncEngine, race: Race) -> int:
    """How many sessions and tokens outlive a race of `CHUNKS` rounds, each transaction against its opponent."""
    appears, ends = race
    for start in range(0, CHUNKS * CHUNK, CHUNK):
        numbers = range(start, start + CHUNK)
        await asyncio.gather(
            sessions.register(engine, factories.registration(*map(appears, numbers)), timedelta(minutes=1), dict),
            revocations.apply(engine, [ends(number) for number in numbers], dict),
        )
    return await count(engine, "ended_at is null")


async def count(engine: AsyncEngine, condition: str) -> int:
    statement = " + ".join(f"(select count(*) from {table} where {condition})" for table in ("sessions", "tokens"))
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"select {statement}"))).scalar_one())


@pytest.mark.parametrize("name", RACES)
async def test_nothing_that_is_covered_survives_a_race(engine: AsyncEngine, name: str) -> None:
    assert await left_alive(engine, RACES[name]) == 0
    assert await count(engine, "true") == CHUNKS * CHUNK


@pytest.mark.parametrize("name", RACES)
async def test_without_the_locks_the_race_is_lost(
    engine: AsyncEngine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_lock", unlocked)
    monkeypatch.setattr(revocations, "_lock", unlocked)

    assert await left_alive(engine, RACES[name]) > 0


async def test_writers_that_take_the_same_subjects_in_any_order_do_not_deadlock(engine: AsyncEngine) -> None:
    subjects = [f"u-{number}" for number in range(50)]

    async def work(order: Sequence[str], round_: int) -> None:
        await revocations.apply(
            engine, [factories.decision("password-changed", subject, id=f"{round_}") for subject in order], dict
        )
        await sessions.register(
            engine,
            factories.registration(*(factories.established(f"s-{round_}", subject) for subject in order)),
            timedelta(minutes=1),
            dict,
        )

    async with asyncio.TaskGroup() as group:
        for round_ in range(8):
            group.create_task(work(subjects if round_ % 2 else subjects[::-1], round_))

    assert await count(engine, "ended_at is null") == 0
    assert await count(engine, "true") == 8 * len(subjects)
