"""Starting and stopping Kafka's clients so that nothing is left open, whoever stops waiting for it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from aiokafka.errors import KafkaError

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0


async def started(client: Any) -> None:  # noqa: ANN401 - aiokafka is untyped
    """Raises `KafkaError`, `OSError` and `TimeoutError`; the client is then to be stopped all the same."""
    await _to_its_end(_within(_START_SECONDS, client.start()))


async def stopped(client: Any) -> None:  # noqa: ANN401 - aiokafka is untyped
    """Stops it, but not for ever: with a batch pending and no broker, its own stop would wait without end."""
    if client is not None:
        with suppress(KafkaError, OSError, TimeoutError):
            await _to_its_end(_within(_STOP_SECONDS, client.stop()))


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(seconds):
        await work


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """A client whose start is cancelled half-way leaves its socket behind: so it is waited for even then."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
