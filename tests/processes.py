"""The consumers as processes of their own, to be killed, paused, asked and read.

`spawn` starts the real command. A `Nursery` forks children that have everything imported already, and can carry faults
(`tests.faults.driver`): so two hundred lives cost minutes and not hours. Nothing here outlives the test run.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from revoker.settings import Settings

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 60.0
"""Seconds that a shared, busy machine may take for what usually takes two."""

T = TypeVar("T")


async def eventually(probe: Callable[[], Awaitable[T | None]], what: object, within: float = PATIENCE) -> T:
    """The first answer of `probe` that is something."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        answer = await probe()
        if answer:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within:g} s: {what() if callable(what) else what}")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """What makes a child use `settings`."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "REVOKER_CONFIG": os.devnull,
        "REVOKER_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "REVOKER_DATABASE_URL": settings.database_url.get_secret_value(),
        "REVOKER_REDIS_URL": settings.redis_url.get_secret_value(),
        "REVOKER_TOPIC_PREFIX": settings.topic_prefix,
        "REVOKER_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "REVOKER_KAFKA__REPLICATION": str(settings.kafka.replication),
        "REVOKER_LIMITS__BATCH": str(settings.limits.batch),
        "REVOKER_LIMITS__CHUNK": str(settings.limits.chunk),
        "TZ": "UTC",
    } | more


class Process:
    """One life of a service process. What it says goes to `log`."""

    def __init__(self, pid: int, log: Path, code: Callable[[], int | None]) -> None:
        self.pid = pid
        self.log = log
        self._code = code

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._code()

    def signal(self, number: signal.Signals) -> None:
        """Nothing, if it is gone already."""
        if self.code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        self.signal(signal.SIGKILL)

    async def gone(self, within: float = PATIENCE) -> int:
        """The exit code, once it is gone."""

        async def code() -> tuple[int] | None:
            return None if self.code is None else (self.code,)

        return (await eventually(code, lambda: f"{self.pid} to end\n{self.said[-3000:]}", within))[0]

    @property
    def said(self) -> str:
        """All that it wrote so far."""
        return self.log.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The lines of its log, or those of one event."""
        lines = [json.loads(line) for line in self.said.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if name in {None, line.get("event")}]

    async def until(self, name: str, within: float = PATIENCE) -> dict[str, Any]:
        """The first line of that event."""

        async def said() -> dict[str, Any] | None:
            assert self.code is None, f"ended with {self.code} before {name}\n{self.said[-3000:]}"
            return next(iter(self.events(name)), None)

        return await eventually(said, lambda: f"{name}\n{self.said[-3000:]}", within)

    async def told(self, line: str, within: float = PATIENCE) -> None:
        """Returns once it has written just that line."""

        async def written() -> bool:
            assert self.code is None, f"ended with {self.code} before {line}\n{self.said[-3000:]}"
            return line in self.said.splitlines()

        await eventually(written, lambda: f"{line}\n{self.said[-3000:]}", within)

    async def ask(self, path: str) -> tuple[int, str]:
        """The status and body of a page on its admin port (`REVOKER_ADMIN_PORT=0`)."""
        port = (await self.until("admin-listening"))["port"]

        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, refused.read().decode()

        return await asyncio.to_thread(fetch)

    async def metric(self, name: str) -> float:
        """The sum of all samples of `name` (or of those whose text begins so, labels included)."""
        _, body = await self.ask("/metrics")
        return sum(float(line.rpartition(" ")[2]) for line in body.splitlines() if line.startswith(name))


def spawn(log: Path, env: Mapping[str, str], *words: str) -> Process:
    """`revoker <words>`. Whoever asks for it sees to its end."""
    return spawned(log, env, sys.executable, "-c", "from revoker.cli import main; main()", *words)


def spawned(log: Path, env: Mapping[str, str], *command: str) -> Process:
    """Any command. Whoever asks for it sees to its end."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, env=dict(env), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    return Process(child.pid, log, child.poll)


class Nursery:
    """A process that has imported all, and forks. Whoever leaves the context leaves no child behind."""

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        self._told = threading.Condition()
        self._mother = subprocess.Popen(
            (sys.executable, "-m", "tests.faults.driver"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._mother.stdin is not None
        self._mother.stdin.close()
        try:
            self._mother.wait(10)
        finally:
            self._mother.kill()
        self._listener.join(10)
        if self._mother.stdout is not None:
            self._mother.stdout.close()

    def start(self, log: Path, env: Mapping[str, str], **faults: Any) -> Process:
        """A child; `faults` as `tests.faults.driver.Faults` has them."""
        order = {"env": dict(env), "log": str(log), "faults": faults}
        assert self._mother.stdin is not None
        with self._told:
            before = len(self._started)
            self._mother.stdin.write(json.dumps(order).encode() + b"\n")
            self._mother.stdin.flush()
            assert self._told.wait_for(lambda: len(self._started) > before, PATIENCE), "the nursery is silent"
            pid = self._started[before]
        return Process(pid, log, lambda: self._codes.get(pid))

    def _listen(self) -> None:
        assert self._mother.stdout is not None
        for line in self._mother.stdout:
            with self._told:
                match line.decode().split():
                    case ["started", pid]:
                        self._codes.pop(int(pid), None)
                        self._started.append(int(pid))
                    case ["ended", pid, code]:
                        self._codes[int(pid)] = int(code)
                self._told.notify_all()
