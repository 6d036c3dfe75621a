"""The folder of one server: temporary and removed afterwards, or the user's and kept.

A kept folder is locked. The supervisor inherits the lock, so a second program waits until the server of a killed
first one has really ended. Nobody else may look into a new folder.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from revoker.embedded.errors import DataDirectoryError

_LOCK_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    directory: Path
    lock: int | None

    @property
    def temporary(self) -> Path | None:
        """The folder if it is ours to remove."""
        return self.directory if self.lock is None else None

    def close(self) -> None:
        if self.lock is None:
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            os.close(self.lock)


async def open_place(data: Path | None, name: str) -> Place:
    if data is None:
        return Place(directory=_temporary_folder(name), lock=None)
    directory, lock = _kept_folder(data)
    try:
        async with asyncio.timeout(_LOCK_WAIT_SECONDS):
            await _acquire(lock)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, TimeoutError):
            raise DataDirectoryError(f"another process is using the data directory {directory}") from None
        raise
    return Place(directory=directory, lock=lock)


@asynccontextmanager
async def locked_file(path: Path, waiting: Callable[[], object]) -> AsyncIterator[None]:
    """Hold a lock that ends with the process, however it ends. Waits as long as it takes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _try_lock(descriptor):
            waiting()
            await _acquire(descriptor)
        yield
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int) -> None:
    while not _try_lock(descriptor):  # noqa: ASYNC110 - nothing tells us when a lock is released
        await asyncio.sleep(0.1)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _temporary_folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"revoker-{name}-")).resolve()


def _kept_folder(data: Path) -> tuple[Path, int]:
    directory = data.expanduser().resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory, os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataDirectoryError(f"cannot use the data directory {directory}: {error}") from error
