"""Where lines go: one handler for the whole process. Called once, by the composition root."""

import json
import logging
import sys
import threading
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog

from revoker.logs.logger import get_logger, library_line, line

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "text"]
Renderer = Callable[[Any, str, MutableMapping[str, Any]], str]

_MAX_LINE: Final = 64_000
_SELDOM_SECONDS: Final = 10.0
_OURS: Final = ("revoker", "consumers", "schemas", "__main__")
_QUIET: Final = ("sqlalchemy", "uvicorn", "faststream", "httpx", "httpcore")
"""Below a warning they write statements with their parameters, or a line for each record."""
_ON_THEIR_OWN: Final = ("faststream", "faststream.access.kafka")


def configure(log_level: Level, log_format: Format, stream: TextIO | None = None) -> None:
    """Send everything that is logged in this process to `stream`, standard error by default.

    Our own lines from `log_level`, those of libraries from `info` at most, the talkative ones' from `warning`.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]
    target = stream or sys.stderr
    handler = _Handler(target, _for_programs if log_format == "json" else _for_people(target))

    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in _ON_THEIR_OWN:
        _take_over(logging.getLogger(name))
    logging.captureWarnings(capture=True)


def log_crashes() -> None:
    """Send what nobody caught through the log as well: Python would print it with its message, unmasked."""
    log = get_logger("revoker.crash")

    def crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.error("crashed", error=error)

    def thread_crashed(args: threading.ExceptHookArgs) -> None:
        log.error("crashed", error=args.exc_value, thread=args.thread.name if args.thread else None)

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        log.error("crashed", error=args.exc_value)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed
    sys.unraisablehook = unraisable


class _Handler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO, render: Renderer) -> None:
        super().__init__(stream)
        formatter = structlog.stdlib.ProcessorFormatter
        self._render = render
        self.setFormatter(
            formatter(processors=[formatter.remove_processors_meta, render], foreign_pre_chain=[library_line])
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base's
        """Say that a line is missing, where the base prints the arguments as they are."""
        with suppress(Exception):
            failed = line(logging.getLogger(record.name), "error", {"event": "log-failed"})
            self.stream.write(self._render(None, "error", failed) + self.terminator)
            self.flush()


class _Seldom(logging.Filter):
    """While a broker is away the clients say so a hundred times a second: each place of theirs may once in 10 s."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno < logging.WARNING or record.name.partition(".")[0] in _OURS:
            return True
        place = (record.pathname, record.lineno)
        if record.created - self._said.get(place, 0.0) < _SELDOM_SECONDS:
            return False
        self._said[place] = record.created
        return True


class _ToRoot(logging.StreamHandler[TextIO]):
    """FastStream gives its loggers a handler for standard output, unless they have one: this, which writes nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().handle(record)


def _take_over(logger: logging.Logger) -> None:
    passing = _ToRoot(sys.stdout)
    # FastStream sets the level of its logger whenever a broker starts.
    passing.setLevel(logging.WARNING)
    logger.handlers[:] = [passing]
    logger.propagate = False


def _for_programs(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> str:
    told = json.dumps(fields)
    if len(told) <= _MAX_LINE:
        return told
    return json.dumps({name: fields[name] for name in ("time", "level", "event", "logger")} | {"cut": len(told)})


def _for_people(stream: TextIO) -> Renderer:
    console = structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time", sort_keys=False)

    def render(logger: object, method: str, fields: MutableMapping[str, Any]) -> str:
        exceptions = fields.pop("exception", ())
        below = [
            text
            for error in exceptions
            for text in (f"    {error['type']}: {error['message']}", *(f"        {at}" for at in error["frames"]))
        ]
        told = [console(logger, method, fields), *below]
        return "\n".join(told)[:_MAX_LINE]

    return render
