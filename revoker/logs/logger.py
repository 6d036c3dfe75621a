"""How a line is written: `get_logger(__name__)`, an event of the closed set, and fields."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog

from revoker.logs.masking import Safe, describe_error, mask_field, mask_text, without_values

LogEvent = Literal[
    "admin-listening",
    "admin-stopped",
    "attribute-conflict",
    "auth-not-configured",
    "batch-applied",
    "batch-failed",
    "batch-swept",
    "concern-reported",
    "configuration-refused",
    "crashed",
    "dead-session-served",
    "dependency-available",
    "dependency-unavailable",
    "device-ended",
    "event-clamped",
    "feed-recreated",
    "gateway-left",
    "gateway-not-ready",
    "heartbeat-failed",
    "http-listening",
    "id-conflict",
    "input-missing",
    "keys-fetched",
    "keys-unavailable",
    "logout",
    "migrated",
    "notifications-followed",
    "origin-away",
    "origin-back",
    "origin-gave-up",
    "partition-paused",
    "partition-resumed",
    "partitions-assigned",
    "partitions-unassigned",
    "position-beyond-end",
    "position-gap",
    "prove-failed",
    "projection-rebuilding",
    "projection-trusted",
    "projection-untrusted",
    "pruned",
    "receipt-odd",
    "publish-failed",
    "rebalance-did-not-wait",
    "record-rejected",
    "rejected-flood",
    "service-started",
    "service-starting",
    "service-stopped",
    "service-stopping",
    "stop-overdue",
    "start-positions-unknown",
    "stream-cut",
    "stuck",
    "sweep-failed",
    "topic-created",
    "topic-refused",
    "tracing-unavailable",
    # Written by the log itself.
    "library-log",
    "log-failed",
]

_RESERVED: Final = frozenset({"time", "level", "event", "logger", "exception"})
_MAX_FIELDS: Final = 50
_META: Final = ("_record", "_from_structlog")


class Log(structlog.BoundLoggerBase):
    """A logger of structlog's on top of one of the standard library's. `bind(**fields)` gives one that adds fields.

    `error` is the exception to tell of. Below the level in force a call costs a look-up.
    """

    def debug(self, event: LogEvent, /, *, error: BaseException | None = None, **fields: object) -> None:
        """For whoever looks for a fault."""
        self._write(logging.DEBUG, "debug", event, error, fields)

    def info(self, event: LogEvent, /, *, error: BaseException | None = None, **fields: object) -> None:
        """Something began, ended or changed, as it should."""
        self._write(logging.INFO, "info", event, error, fields)

    def warning(self, event: LogEvent, /, *, error: BaseException | None = None, **fields: object) -> None:
        """Somebody should look, some day; the service goes on by itself."""
        self._write(logging.WARNING, "warning", event, error, fields)

    def error(self, event: LogEvent, /, *, error: BaseException | None = None, **fields: object) -> None:
        """Somebody should look now."""
        self._write(logging.ERROR, "error", event, error, fields)

    def exception(self, event: LogEvent, /, **fields: object) -> None:
        """As `error`, with the exception that is being handled."""
        self._write(logging.ERROR, "error", event, sys.exception(), fields)

    def _write(
        self, level: int, method: str, event: LogEvent, error: BaseException | None, fields: Mapping[str, object]
    ) -> None:
        if self._logger.isEnabledFor(level):
            arguments, keywords = self._process_event(method, event, {**fields, "exc_info": error})
            getattr(self._logger, method)(*arguments, **keywords)


def get_logger(name: str) -> Log:
    """The logger of a module. Masks by itself: whether and how its lines are shown is up to `configure`."""
    return Log(logging.getLogger(name), (line, structlog.stdlib.ProcessorFormatter.wrap_for_formatter), {})


def line(logger: logging.Logger | None, method: str, fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """A processor: everything of a line, in order, masked. Nothing after it adds a value."""
    meta = {name: fields.pop(name) for name in _META if name in fields}
    error = fields.pop("exc_info", None)
    head: dict[str, Safe] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": "error" if method == "exception" else method,
        "event": mask_text(str(fields.pop("event", "")), 200),
        "logger": mask_text(logger.name, 200) if logger else "?",
    }
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        head["exception"] = describe_error(error)
    for name, value in list(fields.items())[:_MAX_FIELDS]:
        head[f"{name}_" if name in _RESERVED else mask_text(name, 64)] = mask_field(name, value)
    return {**head, **meta}


def library_line(logger: logging.Logger | None, method: str, fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """The same for a record of the standard library's, whose text is no event name."""
    record = fields["_record"]
    told = {"event": "library-log", "message": without_values(fields["event"]), "exc_info": fields.get("exc_info")}
    del logger
    return line(logging.getLogger(record.name), method, told) | {name: fields[name] for name in _META}
