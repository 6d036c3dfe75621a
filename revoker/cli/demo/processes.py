"""Commands of ours as real processes, as in operation: supervised, logged, noticed when they die, and gone with us."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from revoker.cli.demo.configuration import SETTINGS
from revoker.embedded import ServerFailedError
from revoker.embedded.child import Child, Launch
from revoker.embedded.ports import HOST

_READY_SECONDS: Final = 60.0
# With Kafka gone, too, there is nothing to wait for.
_GRACE_SECONDS: Final = 5.0
_RUN: Final = "from revoker.cli import main; main()"


class Process:
    """`revoker COMMAND` under a supervisor of its own, which also removes the folder if it is told to."""

    def __init__(self, command: str, folder: Path, *, admin_port: int, remove: bool = False) -> None:
        self._title = {"serve": "the API"}.get(command, f"the {command}")
        self._admin_port = admin_port
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REVOKER_")}
        self._child = Child(
            Launch(
                command=(sys.executable, "-P", "-c", _RUN, command),
                directory=folder,
                environment=environment
                | {"REVOKER_CONFIG": str(folder / SETTINGS), "REVOKER_ADMIN_PORT": str(admin_port)},
                grace_seconds=_GRACE_SECONDS,
                log=folder / f"{command}.log",
                remove=folder if remove else None,
            )
        )

    async def wait_until_ready(self) -> None:
        """Raises `ServerFailedError` with the end of its log."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_SECONDS):
                while self._child.poll() is None:
                    if await _is_ready(self._admin_port):
                        return
                    await asyncio.sleep(0.05)
        why = self.why_broken() or f"{self._title} did not get ready within {_READY_SECONDS:g} s"
        raise ServerFailedError(f"{why}. The end of the log:\n{self._child.log_tail()}")

    def why_broken(self) -> str | None:
        """Whether it has ended by itself."""
        code = self._child.poll()
        return None if code is None else f"{self._title} ended with exit code {code}"

    async def stop(self) -> None:
        """In good order, and its folder with it if that is to be removed."""
        await asyncio.to_thread(self._child.finish)


async def _is_ready(admin_port: int) -> bool:
    with suppress(OSError):  # TimeoutError is one.
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(HOST, admin_port)
            try:
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False
