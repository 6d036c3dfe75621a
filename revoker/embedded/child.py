"""Our end of `supervise.py`: start a command under it, see how it fares, end it.

A Child belongs to no event loop, so a server started in one loop may be stopped in another. Its blocking methods
are short or bounded and are meant for a thread.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from revoker.embedded.errors import ServerFailedError
from revoker.embedded.supervise import Spec

_SUPERVISE = Path(__file__).with_name("supervise.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user a server runs as when we are root and it refuses to be."""

    user: int
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One command. `remove` goes away with our program; `lock` stays locked while the command runs."""

    command: tuple[str, ...]
    directory: Path
    log: Path
    account: Account | None = None
    environment: Mapping[str, str] | None = None
    grace_seconds: float = 10.0
    lock: int | None = None
    remove: Path | None = None
    stop_signal: int = signal.SIGTERM

    def spec(self) -> Spec:
        return {
            "command": list(self.command),
            "directory": str(self.directory),
            "environment": None if self.environment is None else dict(self.environment),
            "grace_seconds": self.grace_seconds,
            "group": None if self.account is None else self.account.group,
            "log": str(self.log),
            "parent": os.getpid(),
            "remove": None if self.remove is None else str(self.remove),
            "stop_signal": int(self.stop_signal),
            "user": None if self.account is None else self.account.user,
        }


class Child:
    """A command that runs under the supervisor."""

    def __init__(self, launch: Launch) -> None:
        self._grace_seconds = launch.grace_seconds
        self._log = launch.log
        launch.log.touch(mode=0o600)
        self._log_start = launch.log.stat().st_size
        with launch.log.open("ab") as log:
            self._supervisor = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-I", "-S", str(_SUPERVISE), json.dumps(launch.spec())],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                pass_fds=() if launch.lock is None else (launch.lock,),
            )
        assert self._supervisor.stdout is not None  # noqa: S101 - tells mypy what PIPE means
        os.set_blocking(self._supervisor.stdout.fileno(), False)
        self._said = b""
        self._exit_code: int | None = None
        self.pid: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while the command runs. Also learns the pid."""
        over = self._supervisor.poll() is not None
        self._listen()
        if over and self._exit_code is None:
            self._exit_code = -signal.SIGKILL  # The supervisor died and took the server with it.
        if over:
            self._close()
        return self._exit_code

    def stop(self) -> None:
        """End the command in good order and keep its files."""
        self._order(b"S")

    def kill(self) -> None:
        """SIGKILL the command and everything below it, and keep its files."""
        self._order(b"K")

    def finish(self) -> None:
        """End the command in good order and remove its files if they are temporary."""
        self._order(b"")

    def log_tail(self, limit: int = 4000) -> str:
        """The end of what this launch, not an earlier one, has logged."""
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(max(self._log_start, self._log.stat().st_size - limit))
            return log.read(limit).decode(errors="replace").strip()
        return ""

    def _order(self, order: bytes) -> None:
        assert self._supervisor.stdin is not None  # noqa: S101 - tells mypy what PIPE means
        with contextlib.suppress(OSError, ValueError):
            if order:
                self._supervisor.stdin.write(order)
            else:
                self._supervisor.stdin.close()
        try:
            # The supervisor's own bound is the grace period and 5 s for the rest.
            self._supervisor.wait(self._grace_seconds + 10)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        self.poll()

    def _listen(self) -> None:
        stdout = self._supervisor.stdout
        if stdout is None or stdout.closed:
            return
        self._said += stdout.read() or b""
        for line in self._said.decode().splitlines():
            match line.split():
                case ["pid", pid]:
                    self.pid = int(pid)
                case ["exit", code]:
                    self._exit_code = int(code)

    def _close(self) -> None:
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


async def run_to_end(launch: Launch, what: str) -> None:
    """Run a command that ends by itself. Cancelling ends it."""
    child = Child(launch)
    try:
        while (code := child.poll()) is None:  # noqa: ASYNC110 - a Child belongs to no loop
            await asyncio.sleep(0.01)
    finally:
        await asyncio.to_thread(child.finish)
    if code != 0:
        raise ServerFailedError(f"{what} ended with exit code {code}\n{child.log_tail()}")
