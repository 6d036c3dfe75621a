"""What each application has seen come to its end, for the tests to ask: (kind, whose, code)."""

import asyncio
from collections.abc import AsyncIterator

SIZE = 100_000
"""Bytes that a download promises."""
ENDS: list[tuple[str, str, int | None]] = []


async def events(who: str) -> AsyncIterator[bytes]:
    """One event, and then nothing until somebody ends it."""
    try:
        yield b"data: hello\n\n"
        await asyncio.Event().wait()
    finally:
        ENDS.append(("events", who, None))


async def lines(who: str) -> AsyncIterator[bytes]:
    """One line of many, and then nothing until somebody ends it."""
    try:
        yield b"hello\n"
        await asyncio.Event().wait()
    finally:
        ENDS.append(("lines", who, None))
