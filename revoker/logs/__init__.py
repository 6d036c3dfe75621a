"""Logs: one event a line, for programs (JSON) or for people, and no secret in any of them.

    log = get_logger(__name__)                       # at module level: it does nothing until it is called
    log.warning("publish-failed", topic=topic, attempt=3, error=error)

Every line has `time`, `level`, `event` and `logger`, then the fields. What other libraries write is the event
`library-log` with their text as `message`. All of it goes through the mask of `revoker.logs.masking`, whoever wrote
it, also before `configure` was called.
"""

from revoker.logs.logger import Log, LogEvent, get_logger
from revoker.logs.masking import mask_error, mask_text
from revoker.logs.setup import configure, log_crashes

__all__ = ["Log", "LogEvent", "configure", "get_logger", "log_crashes", "mask_error", "mask_text"]
