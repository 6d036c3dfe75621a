"""Many gateways in one process: each reads as one does, and reports as one does (`revoker.gateway.receipts`).

    python -m benchmarks.talkers COUNT EPOCH

All share one reader of session-ended, which goes on all the time. On `talk` (a line on standard input) each begins to
report, as a new incarnation; on `hush` each says goodbye. Both are answered with a JSON line on standard output. A
receipt tells of some of the revocations that were read since the last one, as if a few of the people had been there.
"""

import asyncio
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from revoker.gateway.clock import ServiceClock
from revoker.gateway.health import State
from revoker.gateway.ledger import Ledger
from revoker.gateway.receipts import Identity, Reporter, Standing
from revoker.gateway.senders import KafkaSender
from revoker.kafka import client_options
from revoker.settings import Settings
from schemas.topics import Topic

_CUT_EACH: Final = 20
"""So many of the revocations of a fetch found somebody at one gateway."""
_FAREWELL_SECONDS: Final = 5.0


class _Data(msgspec.Struct):
    revocation_id: str


class _Told(msgspec.Struct):
    data: _Data


_told = msgspec.json.Decoder(_Told).decode


class Talker:
    """One gateway, while it talks."""

    def __init__(self, number: int, reading: "Reading", sender: KafkaSender) -> None:
        self._state: State = "serving"
        self.ledger = Ledger()
        identity = Identity(
            gateway="bench",
            instance=f"bench-{number}",
            incarnation=str(uuid.uuid4()),
            mode="best_effort",
            max_staleness=10.0,
        )
        self._reporter = Reporter(
            identity,
            self.ledger,
            sender,
            ServiceClock(),
            standing=lambda: Standing(state=self._state, epoch=reading.epoch, position=reading.position),
            acknowledged=lambda: None,
        )
        self._task = asyncio.create_task(self._reporter.run())

    async def stop(self) -> None:
        """Says goodbye."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._state = "stopped"
        await self._reporter.farewell(_FAREWELL_SECONDS)


class Reading:
    """What all have read."""

    def __init__(self, settings: Settings, epoch: str) -> None:
        self.epoch = epoch
        self.talkers: list[Talker] = []
        self._next: dict[int, int] = {}
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._partitions = settings.kafka.partitions
        self._options = client_options(settings)

    @property
    def position(self) -> str:
        """As receipts say it."""
        return ".".join([self.epoch, *(str(self._next[number]) for number in sorted(self._next))])

    async def follow(self) -> None:
        """From now on, until cancelled."""
        async with AIOKafkaConsumer(**self._options, max_partition_fetch_bytes=2_000_000) as consumer:
            places = [TopicPartition(self._topic, number) for number in range(self._partitions)]
            consumer.assign(places)
            self._next = {place.partition: end for place, end in (await consumer.end_offsets(places)).items()}
            for place in places:
                consumer.seek(place, self._next[place.partition])
            _say(reading=True)
            while True:
                fetched = await consumer.getmany(timeout_ms=500, max_records=2_000)
                ids = [_told(record.value).data.revocation_id for records in fetched.values() for record in records]
                for place, records in fetched.items():
                    self._next[place.partition] = records[-1].offset + 1
                if ids:
                    self._tell(ids)

    def _tell(self, ids: list[str]) -> None:
        now = time.time()
        for talker, first in zip(self.talkers, _starts(len(ids)), strict=False):
            for id_ in ids[first : first + _CUT_EACH]:
                talker.ledger.applied(id_, now, 1, 0)
            talker.ledger.touch()


def _starts(count: int) -> Iterator[int]:
    number = 0
    while True:
        yield number * _CUT_EACH % count
        number += 1


def _say(**told: Any) -> None:  # noqa: ANN401 - whatever can be said in JSON
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


async def main(count: int, epoch: str) -> None:
    """Until its orders end."""
    settings = Settings()
    reading, sender = Reading(settings, epoch), KafkaSender(client_options(settings), topic_prefix="")
    orders: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, line.strip())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    following = asyncio.create_task(reading.follow())
    while True:
        waiting = asyncio.create_task(orders.get())
        await asyncio.wait({waiting, following}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
        if await waiting == "talk":
            reading.talkers = [Talker(number, reading, sender) for number in range(count)]
            _say(talking=True)
        else:
            talkers, reading.talkers = reading.talkers, []
            await asyncio.gather(*(talker.stop() for talker in talkers))
            _say(hushed=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
