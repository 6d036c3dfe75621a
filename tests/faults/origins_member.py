"""A member of the origins' groups that kills itself, as `kill -9` would: `STEP COUNT`, when it is there for that time.

before     a notification is about to be told
taken      the origin has taken one, and we have not noted it
aside      one was set aside, and we have not noted it
committed  Kafka has just taken an offset
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from faststream.kafka import KafkaBroker

from consumers.origins_places import Places
from consumers.publisher import Publisher
from revoker.origins.webhook import WebHook
from revoker.settings import Settings
from tests.origins import member


class Fate:
    """Ends this process at one step, the so-manieth time."""

    def __init__(self, step: str, count: int) -> None:
        self._step = step
        self._left = count

    def at(self, step: str) -> None:
        """Now it is there."""
        self._left -= step == self._step
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def _patch(owner: Any, name: str, made: Callable[[Callable[..., Awaitable[Any]]], Any]) -> None:
    setattr(owner, name, made(getattr(owner, name)))


def _doom(fate: Fate) -> None:
    def told(original: Callable[..., Awaitable[Any]]) -> Any:
        async def tell(self: WebHook, *given: Any) -> Any:
            fate.at("before")
            taken = await original(self, *given)
            fate.at("taken")
            return taken

        return tell

    def aside(original: Callable[..., Awaitable[Any]]) -> Any:
        async def publish(self: Publisher, records: Any) -> Any:
            written = await original(self, records)
            if any(record.topic.endswith("rejected-events") for record in records):
                fate.at("aside")
            return written

        return publish

    def committed(original: Callable[..., Awaitable[Any]]) -> Any:
        async def commit(self: Places) -> Any:
            news = await original(self)
            if news:
                fate.at("committed")
            return news

        return commit

    _patch(WebHook, "tell", told)
    _patch(Publisher, "publish", aside)
    _patch(Places, "commit", committed)


def hastened(subscriber: Any) -> Any:
    """Has Kafka miss a member within a second."""
    beat = {"session_timeout_ms": 1_000, "heartbeat_interval_ms": 250}
    return lambda broker, *given, **options: subscriber(broker, *given, **options | beat)


async def _run(step: str, count: int) -> None:
    _patch(KafkaBroker, "subscriber", hastened)
    _doom(Fate(step, count))
    async with member(Settings()):
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2])))
