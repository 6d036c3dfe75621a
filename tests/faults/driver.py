"""Consumers with faults built in from outside: run as a module, this is the nursery that forks them.

Every fault waits for a file, so that a test decides when: a bullet `<lane>.<step>` in the folder `trips` kills the
process, with SIGKILL and by its own hand, when it reaches that step, and is spent by that; `….stop` stops it. The
product knows nothing of it; what is patched here is looked up by name, so that a step that moves fails loudly.
"""

import asyncio
import contextlib
import functools
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import GroupCoordinatorNotAvailableError
from faststream.kafka import KafkaBroker

import consumers.app
import consumers.lane
import consumers.revocation
import consumers.watchdog
import revoker.storage.receipts
import revoker.storage.revocations
import revoker.storage.sessions
from consumers.lane import Lane
from consumers.receipts import Receipting
from consumers.registration import Registering
from consumers.revocation import Revoking
from revoker.settings import Settings
from schemas.inputs import Lane as LaneName

STEPS: Final = (
    "after-poll",
    "before-commit",
    "after-commit",
    "after-publish",
    "after-mark",
    "after-offsets",
)
"""Where a process can be made to die: `after-publish` is before the mark, `after-mark` before the offsets."""

_lane: ContextVar[str] = ContextVar("lane", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How a child differs from the product."""

    trips: str
    """The folder where bullets and flags lie; `busy.<pid>` appears there with a child's first batch."""
    session_timeout_ms: int = 6_000
    """How soon a dead member is noticed; the broker must allow it."""
    sweep_seconds: float = 60.0
    """How old an unannounced batch must be to be swept."""
    stuck_seconds: float | None = None
    """How long a batch, or the loop, may stand still."""


class Trips:
    """The folder of bullets and flags."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def reach(self, step: str) -> None:
        """Dies here, if there is a bullet for it; or stops, where that is what the bullet says."""
        for number, suffix in ((signal.SIGKILL, ""), (signal.SIGSTOP, ".stop")):
            with contextlib.suppress(FileNotFoundError):
                (self._folder / f"{_lane.get()}.{step}{suffix}").unlink()
                os.kill(os.getpid(), number)

    def is_up(self, flag: str) -> bool:
        """Whether a test has put that file there."""
        return (self._folder / flag).exists()

    def note(self, name: str, line: str) -> None:
        """For the test to read."""
        with (self._folder / name).open("a") as file:
            file.write(line + "\n")


def run(faults: Faults) -> int:
    """The consumers until they end, with `faults`."""
    trips = Trips(faults.trips)
    _kill_between_steps(trips)
    _curse(trips)
    _hasten(faults)
    random.seed()
    return consumers.app.run(Settings())


def _kill_between_steps(trips: Trips) -> None:
    def entered(original: Any) -> Any:
        async def on_batch(self: Lane[Any], message: Any) -> None:
            _lane.set(self.name.value)
            trips.note(f"busy.{os.getpid()}", self.name.value)
            trips.reach("after-poll")
            await original(self, message)
            trips.reach("after-offsets")

        return on_batch

    def before(step: str, original: Any) -> Any:
        @functools.wraps(original)
        async def stepped(*given: Any, **named: Any) -> Any:
            trips.reach(step)
            return await original(*given, **named)

        return stepped

    def after(step: str, original: Any) -> Any:
        @functools.wraps(original)
        async def stepped(*given: Any, **named: Any) -> Any:
            result = await original(*given, **named)
            trips.reach(step)
            return result

        return stepped

    _patch(Lane, "on_batch", entered)
    for module in (revoker.storage.revocations, revoker.storage.sessions, revoker.storage.receipts):
        _patch(module, "move_positions", functools.partial(before, "before-commit"))
    for trade in (Revoking, Registering, Receipting):
        _patch(trade, "store", functools.partial(after, "after-commit"))
    _patch(consumers.lane, "announce", functools.partial(after, "after-publish"))
    _patch(consumers.lane, "mark_announced", functools.partial(after, "after-mark"))


def _curse(trips: Trips) -> None:
    """Defects: the subject `cursed` cannot be decided, a batch hangs, the loop does not turn, offsets are not taken."""

    def decided(original: Any) -> Any:
        def decide(event: Any, *given: Any, **named: Any) -> Any:
            if event.subject == "cursed" and trips.is_up("curse"):
                trips.note("attempts", f"{time.time()}")
                raise LookupError("a defect of ours")
            return original(event, *given, **named)

        return decide

    def worked(original: Any) -> Any:
        async def work_off(self: Lane[Any], records: list[ConsumerRecord]) -> Any:
            while trips.is_up("hang"):  # noqa: ASYNC110 - a flag of another process
                await asyncio.sleep(0.05)
            while trips.is_up("block"):
                time.sleep(0.05)  # noqa: ASYNC251 - that is the fault
            return await original(self, records)

        return work_off

    def taken(original: Any) -> Any:
        async def commit(self: Any, offsets: Any = None) -> Any:
            if trips.is_up("deaf"):
                raise GroupCoordinatorNotAvailableError
            return await original(self, offsets)

        return commit

    _patch(AIOKafkaConsumer, "commit", taken)
    _patch(consumers.revocation, "decide", decided)
    _patch(Lane, "_work_off", worked)


def _hasten(faults: Faults) -> None:
    timeout = faults.session_timeout_ms
    beat = {"session_timeout_ms": timeout, "heartbeat_interval_ms": timeout // 4}

    def hastened(original: Any) -> Any:
        return lambda broker, *given, **options: original(broker, *given, **options | beat)

    _patch(KafkaBroker, "subscriber", hastened)
    swept = {"sweep_after": timedelta(seconds=faults.sweep_seconds)}
    # The denylist has tests of its own, and would make two hundred lives long.
    _patch(consumers.app, "GROUPS", lambda _: tuple(lane.value for lane in LaneName))
    _patch(consumers.app, "Consumers", lambda original: functools.partial(original, **swept))
    if faults.stuck_seconds is not None:
        limit = faults.stuck_seconds
        _patch(consumers.app, "Watchdog", lambda original: functools.partial(original, stuck_seconds=limit))
        _patch(consumers.watchdog, "_LOOP_SECONDS", lambda _: limit)
        _patch(consumers.watchdog, "_LOOK_SECONDS", lambda _: limit / 4)


def _patch(place: Any, name: str, change: Callable[[Any], Any]) -> None:
    setattr(place, name, change(getattr(place, name)))


def _mother() -> None:
    """Forks a child for each line of orders, says when one has ended, and ends all of them with itself."""
    alive: set[int] = set()
    try:
        while _obey(alive):
            pass
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)


def _obey(alive: set[int]) -> bool:
    """One turn. Returns whether orders may still come."""
    if select.select([0], [], [], 0.01)[0]:
        line = _line()
        if not line:
            return False
        pid = os.fork()
        if not pid:
            _become_a_child(line)
        alive.add(pid)
        print(f"started {pid}", flush=True)  # noqa: T201 - that is the protocol
    for pid in list(alive):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            alive.discard(pid)
            print(f"ended {pid} {os.waitstatus_to_exitcode(status)}", flush=True)  # noqa: T201 - likewise
    return True


def _line() -> bytes:
    """Byte by byte: a buffer would hide the next order from `select`, and from the child."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _become_a_child(line: bytes) -> NoReturn:
    code = 1
    try:
        order = json.loads(line)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in enumerate((nothing, log, log)):
            os.dup2(target, number)
        os.environ.clear()
        os.environ.update(order["env"])
        code = run(Faults(**order["faults"]))
    except BaseException:  # noqa: BLE001 - it would run on as a second mother
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _mother()
