"""Engines, and which failures of PostgreSQL mean what."""

from collections.abc import Mapping
from enum import Enum

from asyncpg import InterfaceError as DriverError
from asyncpg import PostgresError
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from revoker.settings import Settings

# Batches reach every row by key. A plan made while the tables were empty or never analysed must not turn that into
# scans at 3 a.m.
_BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
# A plan that is good for any parameters is good for these, and making one takes longer than running it.
_BY_KEY |= {"plan_cache_mode": "force_generic_plan"}


class Fault(Enum):
    """What a failed statement asks for."""

    PASSING = "passing"  # the database is away or overloaded: wait and do it again
    CONTENDED = "contended"  # somebody holds what we need, or we hold too much: smaller pieces
    REFUSED = "refused"  # this very data can never be stored
    OURS = "ours"  # a defect: stop the partition, loudly


# Classes of SQLSTATE (PostgreSQL, appendix A): what the value itself is guilty of.
_REFUSED = ("22", "54")
_CONTENDED = {"25P04", "40P01", "40001", "53200", "55P03", "57014"}
_PASSING = ("08", "53", "57", "58", "25006", "25P03", "XX000")


def fault_of(error: BaseException) -> Fault:
    """What to do about `error`, by its type and SQLSTATE, never by its message."""
    if isinstance(error, DBAPIError | PostgresError):
        state = sqlstate(error)
        if state in _CONTENDED:
            return Fault.CONTENDED
        if state.startswith(_REFUSED):
            return Fault.REFUSED
        if state.startswith(_PASSING) or (not state and _is_connection(error)):
            return Fault.PASSING
        return Fault.OURS
    return Fault.PASSING if isinstance(error, OSError | TimeoutError | DriverError) else Fault.OURS


def sqlstate(error: DBAPIError | PostgresError) -> str:
    """The five characters of PostgreSQL, or nothing where the driver failed by itself."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(cause, "sqlstate", None) or "")


def _is_connection(error: BaseException) -> bool:
    return isinstance(error, InterfaceError | OperationalError) or getattr(error, "connection_invalidated", False)


def reader(settings: Settings) -> AsyncEngine:
    """An engine for people's commands: any plan, one statement at a time."""
    return _engine(settings, {"jit": "off"}, pool_size=4)


def writer(settings: Settings) -> AsyncEngine:
    """An engine for batches, whose statements reach every row by key."""
    # A client that freezes between two messages of one statement leaves a server that heeds no other timeout, and that
    # holds its subjects' locks. (In the middle of a COPY not even this one counts: there must be none.)
    whole = _milliseconds(2 * settings.limits.statement_timeout.total_seconds() + 10)
    return _engine(settings, _BY_KEY | {"transaction_timeout": whole}, pool_size=settings.limits.in_flight + 2)


def _engine(settings: Settings, options: Mapping[str, str], *, pool_size: int) -> AsyncEngine:
    limits = settings.limits
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+asyncpg")
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=2,
        pool_pre_ping=False,
        hide_parameters=True,
        connect_args={
            "timeout": 10,
            "command_timeout": limits.statement_timeout.total_seconds() + 5,
            "server_settings": {
                "application_name": "revoker",
                "timezone": "UTC",
                "lock_timeout": _milliseconds(limits.lock_timeout.total_seconds()),
                "statement_timeout": _milliseconds(limits.statement_timeout.total_seconds()),
                "idle_in_transaction_session_timeout": _milliseconds(limits.statement_timeout.total_seconds() + 10),
                **options,
            },
        },
    )


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
