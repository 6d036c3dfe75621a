"""A demo as a person starts it, in a terminal of its own, and what is left of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import psutil

REVOKER = str(Path(sys.executable).with_name("revoker"))
# The others are busy; what is at stake here is whether it happens, not how fast.
PATIENCE = 60.0


class Demo:
    """A demo in a session of its own, as in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str, through: tuple[str, ...] = ()) -> None:
        self.folder = folder
        # What a person has set for other servers must not reach it.
        hostile = {"REVOKER_DATABASE_URL": "postgresql://nowhere.invalid/production", "REVOKER_TOPIC_PREFIX": "other-"}
        self.process = subprocess.Popen(
            [*through, REVOKER, "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | hostile | {"TMPDIR": str(folder)},
            cwd=folder,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, words: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: words in self.text or not self._reader.is_alive(), PATIENCE), self.text
        assert words in self.text, self.text

    def interrupt(self, number: int = signal.SIGINT) -> None:
        os.killpg(self.process.pid, number)

    def code(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert "Traceback" not in self.text, self.text
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._more.notify_all()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Everything that runs below the folder or was told of it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and str(folder) in " ".join([*process.cmdline(), process.cwd()]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def assert_nothing_left(folder: Path, seconds: float, kept: str | None = None) -> None:
    deadline = time.monotonic() + seconds
    while left := [str(p) for p in processes_of(folder) if p.is_running()] + [
        path.name for path in folder.iterdir() if path.name != kept
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
