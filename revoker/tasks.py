"""Tasks that end when they are told to."""

import asyncio


def was_cancelled() -> bool:
    """Whether somebody cancelled this task, also where that got lost: for loops that nothing else would end.

    Until Python 3.12, `asyncio.wait_for` swallows a cancellation that comes just as its work is done, and redis-py
    writes every command through it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
