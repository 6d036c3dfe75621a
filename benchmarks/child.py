"""The product's own consumers process, which can be held and released, and says when it works.

    python -m benchmarks.child LANE [--profile]

It runs `consumers.app.run`, nothing less. What is added: the partitions are paused on `hold` and resumed on `release`
(lines on standard input), and each batch is reported when it is done (JSON lines on standard output), with the moment
at which it was handed to the lane. Moments are of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any, Final, TextIO

from aiokafka import AIOKafkaConsumer
from faststream.kafka import KafkaMessage

from benchmarks.sampler import Sampler
from consumers.app import run
from consumers.lane import Lane
from revoker.settings import Settings

_work_off: Final = Lane.on_batch


class Gate:
    """Stands around `Lane.on_batch`."""

    def __init__(self, reports: TextIO, *, profile: bool) -> None:
        self._reports = reports
        self._sampler = Sampler() if profile else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def on_batch(self, lane: Lane[Any], message: KafkaMessage) -> None:
        """Works the batch off as ever, and reports it."""
        self._loop, self._consumer = asyncio.get_running_loop(), message.consumer
        began = time.monotonic()
        await _work_off(lane, message)
        self._report(batch=len(message.raw_message), began=began, ended=time.monotonic())

    def listen(self, orders: TextIO) -> None:
        """Passes orders on to the loop. With the end of its orders the process ends: nobody waits for it any more."""
        known = {"hold": self._hold, "release": self._release, "profile": self._profile}
        for line in orders:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(known[line.strip()])
        os._exit(0)

    def _hold(self) -> None:
        assert self._consumer is not None
        self._consumer.pause(*self._consumer.assignment())
        self._report(held=len(self._consumer.assignment()))

    def _release(self) -> None:
        assert self._consumer is not None
        self._report(released=time.monotonic())
        self._consumer.resume(*self._consumer.assignment())
        if self._sampler is not None:
            self._sampler.start()

    def _profile(self) -> None:
        self._report(profile=self._sampler.stop() if self._sampler is not None else "")

    def _report(self, **fields: object) -> None:
        self._reports.write(json.dumps(fields) + "\n")
        self._reports.flush()


def main(arguments: list[str]) -> int:
    """Runs the consumers of one lane until told to stop."""
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    gate = Gate(reports, profile="--profile" in arguments)

    async def on_batch(lane: Lane[Any], message: KafkaMessage) -> None:
        await gate.on_batch(lane, message)

    # The one place where the product is touched.
    Lane.on_batch = on_batch  # type: ignore[method-assign, assignment]
    threading.Thread(target=gate.listen, args=(sys.stdin,), daemon=True).start()
    return run(Settings(), arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
