"""Short words for what tests of the storage do all the time."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core import notices
from revoker.core.ids import NotificationId
from revoker.core.notices import Notice
from revoker.core.policy import Decision
from revoker.storage import revocations, sessions
from revoker.storage.positions import Positions
from revoker.storage.revocations import Outcome
from revoker.storage.sessions import Registered
from schemas.session_activity import SessionActivity
from tests import factories

NOWHERE: Positions = {}
MINUTE = timedelta(minutes=1)


async def apply(engine: AsyncEngine, *decisions: Decision, positions: Positions = NOWHERE) -> Outcome:
    """The outcome of one chunk of revocations."""
    return await revocations.apply(engine, decisions, lambda: positions)


async def register(engine: AsyncEngine, *events: SessionActivity, positions: Positions = NOWHERE) -> Registered:
    """The outcome of one chunk of session activity."""
    return await sessions.register(engine, factories.registration(*events), MINUTE, lambda: positions)


async def rows(engine: AsyncEngine, statement: str, **parameters: Any) -> Sequence[Any]:
    """All rows of a query."""
    async with engine.connect() as connection:
        return (await connection.execute(text(statement), parameters)).all()


async def execute(engine: AsyncEngine, statement: str, **parameters: Any) -> int:
    """How many rows a statement changed, committed."""
    async with engine.begin() as connection:
        return (await connection.execute(text(statement), parameters)).rowcount


async def live(engine: AsyncEngine) -> set[str]:
    """The sessions that live, as `session_id` or `session_id/client_id`."""
    found = await rows(engine, "select session_id, client_id from sessions where ended_at is null")
    return {"/".join(filter(None, row)) for row in found}


async def live_tokens(engine: AsyncEngine) -> set[str]:
    """The ids of the tokens that live."""
    return {row[0] for row in await rows(engine, "select token_id from tokens where ended_at is null")}


def announced(outcome: Outcome) -> Sequence[Notice]:
    """What a chunk of revocations announces, from its outcome alone."""
    return [
        notice
        for applied in outcome.applied
        if applied.revocation.enforced and not applied.redundant
        for notice in notices.ended(applied.revocation, outcome.committed_at, applied.sessions, applied.tokens)
    ]


def bodies(announcements: Sequence[Notice]) -> Mapping[NotificationId, bytes]:
    """The bytes under each id; an id that came twice must have come with the same bytes."""
    found: dict[NotificationId, bytes] = {}
    for notice in announcements:
        assert found.setdefault(notice.id, notice.body) == notice.body
    return found
