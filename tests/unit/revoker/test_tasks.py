"""A loop ends when it is cancelled, whatever a library makes of that."""

import asyncio

from revoker.tasks import was_cancelled


async def work() -> None:
    while not was_cancelled():
        await asyncio.wait_for(asyncio.sleep(0), 60)


async def test_it_ends_wherever_it_was_when_it_was_cancelled() -> None:
    for turns in range(12):
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)

        task.cancel()

        await asyncio.wait({task}, timeout=20)
        assert task.done(), f"cancelled after {turns} turns, it went on"
