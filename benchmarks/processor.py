"""Who used the processor meanwhile, as the operating system counts it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psutil

from revoker.embedded import EmbeddedServers

OTHERS: Final = "everybody else"

Cores = dict[str, float]
"""How many cores each kept busy on average."""


class Meter:
    """Counts from its making on. `processes` are other processes by name."""

    def __init__(self, servers: EmbeddedServers, processes: Mapping[str, Sequence[int]]) -> None:
        self._pids = {**processes, "bench": [psutil.Process().pid], "Kafka": [servers.kafka.pid]}
        self._postgres = servers.postgres.pid
        self._began = time.monotonic()
        self._then = self._used()

    async def cores(self) -> Cores:
        """Since then."""
        now, seconds = await asyncio.to_thread(self._used), time.monotonic() - self._began
        cores = {name: (used - self._then[name]) / seconds for name, used in now.items()}
        cores[OTHERS] = max(0.0, 2 * cores[OTHERS] - sum(cores.values()))
        return {name: round(busy, 3) for name, busy in cores.items()}

    def _used(self) -> Cores:
        machine = psutil.cpu_times()
        used = {name: sum(_seconds(psutil.Process(pid)) for pid in pids) for name, pids in self._pids.items()}
        main = psutil.Process(self._postgres)
        used["PostgreSQL"] = sum(map(_seconds, [main, *main.children()]))
        return used | {OTHERS: sum(machine) - machine.idle - _get(machine, "iowait") - _get(machine, "guest")}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _get(times: Any, name: str) -> float:  # noqa: ANN401 - it differs by platform
    return float(getattr(times, name, 0.0))
