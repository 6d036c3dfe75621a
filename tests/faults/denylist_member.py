"""A member of the denylist group that kills itself, as `kill -9` would, once its first chunk is written."""

import asyncio
import os
import signal
from typing import Any

from revoker.projection.store import Projection
from revoker.settings import Settings
from tests.denylist import member


async def _run() -> None:
    apply = Projection.apply

    async def last(self: Projection, *given: Any) -> int:
        await apply(self, *given)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    setattr(Projection, "apply", last)  # noqa: B010 - mypy knows of no methods that change
    async with member(Settings()):
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(_run())
