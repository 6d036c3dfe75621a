"""Running a command: settings, exit codes, and one clear line for what was to be expected.

Only a defect of ours shows a traceback.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from revoker.errors import ConfigurationError, RevokerError, UnavailableError

if TYPE_CHECKING:
    from revoker.settings import Settings


class Exit(IntEnum):
    """What the exit code of each command says."""

    DONE = 0  # and proven
    FAILED = 1
    MISUSED = 2
    NOTHING = 3  # nothing matched
    UNPROVEN = 4  # accepted, but not seen done within --wait
    REFUSED = 5  # or needs approval
    UNREACHABLE = 6  # a dependency
    INTERRUPTED = 130
    READER_GONE = 141  # as a program that SIGPIPE ended


Command = Callable[["Settings"], Awaitable[int]]


def run(command: Command) -> NoReturn:
    """Runs `command` with the settings in force and exits with what it returns."""

    async def told() -> int:
        return await command(load_settings())

    # The clients' own warnings are noise beside the one line that we print; only a defect is worth a traceback.
    logging.getLogger().addHandler(logging.NullHandler())
    finish(lambda: _in_loop(told()))


def finish(work: Callable[[], int]) -> NoReturn:
    """Exits with what `work` returns, or with what its failure means."""
    try:
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has gone; without this Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.READER_GONE
    except KeyboardInterrupt:
        complain("interrupted")
        code = Exit.INTERRUPTED
    except RevokerError as error:
        code = _told(error)
    except ExceptionGroup as group:
        # Whoever runs tasks in groups wraps even a single failure.
        ours = group.subgroup(RevokerError)
        if ours is None or group.split(RevokerError)[1] is not None:
            raise
        code = _told(_first(ours))
    raise typer.Exit(int(code))


def complain(text: str) -> None:
    """One line on standard error."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    print(f"revoker: {line}", file=sys.stderr, flush=True)  # noqa: T201 - it is a command


def load_settings() -> "Settings":
    """The settings in force. Raises `ConfigurationError` that names every wrong key and repeats no value."""
    from tomllib import TOMLDecodeError  # noqa: PLC0415 - as in the package's head

    from pydantic import ValidationError  # noqa: PLC0415 - as in the package's head
    from pydantic_settings import SettingsError  # noqa: PLC0415 - as in the package's head

    from revoker.settings import Settings  # noqa: PLC0415 - as in the package's head

    try:
        return Settings()
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in told)
        raise ConfigurationError(f"settings: {wrong}") from None
    except (SettingsError, TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"settings cannot be read: {type(error).__name__}: {error}") from None


def _in_loop(work: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner() as runner:
        return runner.run(work)


def _told(error: RevokerError) -> Exit:
    complain(str(error) or type(error).__doc__ or type(error).__name__)
    return _meaning(error)


def _first(group: ExceptionGroup[RevokerError]) -> RevokerError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, ExceptionGroup) else inner


def _meaning(error: RevokerError) -> Exit:
    """The exit code of a failure. Those that say their own are declared where commands are made."""
    match error:
        case ConfigurationError():
            return Exit.MISUSED
        case UnavailableError():
            return Exit.UNREACHABLE
        case _:
            return Exit(getattr(error, "exit_code", Exit.FAILED))
