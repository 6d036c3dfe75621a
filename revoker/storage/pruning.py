"""Forgetting what is over for so long that nothing can ask for it any more, a page of rows a transaction.

Each walk goes over a primary key, so that it needs no index of its own, can stop after any page and begins again at the
start. Rows that somebody else holds are left for the next time: a walk never waits, and never makes others wait long.

What goes, and why it cannot come back:

- A session or token: over for longer than `retention.ended` (ended, or expired by itself), and so old that it could
  not be registered again (`registration.too_old`). Not while a batch that may have to name it is unannounced.
- A revocation: `covers_until` passed so long ago that no input still holds a record of what it covers, committed
  before `retention.ended`, and no row of its subject is left that it ended.
- A batch: announced, as old, and its revocations are gone.
- What gateways did, incarnations that have left or were silent for longer than `retention.ended`, and proofs that
  proved nothing for as long: a proof names who was there, so nothing is lost that it needs.
"""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.storage.columns import fetch

PAGE: Final = 2_000

# A committed but unannounced batch derives its notices from rows: none of those may go before.
_BOUNDS: Final = """
select least(now.at - $1::interval, (select min(committed_at) from batches where announced_at is null)),
    now.at - $2::interval - $3::interval, now.at - $3::interval
from (select clock_timestamp() as at) as now"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Fixed when a walk begins, by the database's clock."""

    ended: datetime
    """What was over before this may go."""
    lifetime: timedelta
    too_old: datetime
    """What began before this could not be registered again, by no record that an input still holds."""
    uncovered: datetime
    """A revocation that covered until before this covers nothing that an input still holds."""


class Table(StrEnum):
    """What is walked, in this order: nothing goes before what refers to it."""

    TOKENS = "tokens"
    SESSIONS = "sessions"
    REVOCATIONS = "revocations"
    BATCHES = "batches"
    EFFECTS = "gateway_effects"
    GATEWAYS = "gateways"
    PROOFS = "proofs"


@dataclass(frozen=True, slots=True)
class _Walk:
    key: Mapping[str, str]
    """The columns of the primary key, with their types."""
    over: str
    """Whether a row `{x}` may go, by the bounds `b`."""


_NIL: Final = uuid.UUID(int=0)
_FIRST: Final[Mapping[str, str | uuid.UUID]] = {"text": "", "uuid": _NIL}

# What would go itself does not count as a row that is left: so a dry run counts what a run deletes.
_OVER: Final = (
    "coalesce({x}.ended_at, {x}.expires_at, {x}.%(began)s + b.lifetime) < b.ended and {x}.%(began)s < b.too_old"
)
_OVER_TOKEN: Final = _OVER % {"began": "issued_at"}
_OVER_SESSION: Final = _OVER % {"began": "established_at"}


def _left(table: str, over: str, named: str) -> str:
    return f"""not exists (
        select from {table} e where e.tenant = {{x}}.tenant and {named} and e.ended_by = {{x}}.id
            and not ({over.format(x="e")}))"""


_REVOCATION: Final = f"""{{x}}.covers_until < b.uncovered and {{x}}.committed_at < b.ended
    and {_left("sessions", _OVER_SESSION, "e.subject = {x}.subject")}
    and {_left("tokens", _OVER_TOKEN, "e.subject = {x}.subject")}
    and ({{x}}.subject <> '' or {_left("sessions", _OVER_SESSION, "e.session_id = any ({x}.session_ids)")})
    and ({{x}}.subject <> '' or {_left("tokens", _OVER_TOKEN, "e.token_id = {x}.token_id")})"""
_BATCH: Final = f"""{{x}}.announced_at is not null and {{x}}.committed_at < b.ended and not exists (
    select from revocations r where r.committed_at = {{x}}.committed_at and r.batch_id = {{x}}.id
        and not ({_REVOCATION.format(x="r")}))"""

# `used_at` is moved once an hour at most.
_PROOF: Final = f"""{{x}}.used_at < b.ended - interval '1 day' and not exists (
    select from batches o where o.proof_id = {{x}}.id and not ({_BATCH.format(x="o")}))"""

_WALKS: Final[Mapping[Table, _Walk]] = {
    Table.TOKENS: _Walk({"tenant": "text", "subject": "text", "token_id": "text"}, _OVER_TOKEN),
    Table.SESSIONS: _Walk(
        {"tenant": "text", "subject": "text", "session_id": "text", "client_id": "text"}, _OVER_SESSION
    ),
    Table.REVOCATIONS: _Walk({"tenant": "text", "subject": "text", "id": "uuid"}, _REVOCATION),
    Table.BATCHES: _Walk({"id": "uuid"}, _BATCH),
    Table.EFFECTS: _Walk({"revocation_id": "uuid", "gateway_id": "uuid"}, "{x}.heard_at < b.ended"),
    Table.GATEWAYS: _Walk({"id": "uuid"}, "greatest({x}.heard_at, {x}.left_at) < b.ended"),
    Table.PROOFS: _Walk({"id": "uuid"}, _PROOF),
}


async def bounds(engine: AsyncEngine, *, ended: timedelta, lifetime: timedelta, inputs: timedelta) -> Bounds:
    """What may go now: `ended` and `inputs` are retentions, `lifetime` is the longest of a session."""
    async with engine.connect() as connection:
        row = (await fetch(connection, _BOUNDS, (ended, lifetime, inputs)))[0]
        return Bounds(ended=row[0], lifetime=lifetime, too_old=row[1], uncovered=row[2])


def delete(engine: AsyncEngine, table: Table, bounds_: Bounds, *, page: int = PAGE) -> AsyncIterator[int]:
    """Deletes what may go, a page of rows a transaction. Yields how many each deleted: zero is common."""
    return _walked(engine, table, _DELETE[table], bounds_, page)


def count(engine: AsyncEngine, table: Table, bounds_: Bounds, *, page: int = PAGE) -> AsyncIterator[int]:
    """The same walk, changing nothing. Yields how many each page would delete."""
    return _walked(engine, table, _COUNT[table], bounds_, page)


async def _walked(engine: AsyncEngine, table: Table, statement: str, bounds_: Bounds, page: int) -> AsyncIterator[int]:
    after: Sequence[Any] = [_FIRST[type_] for type_ in _WALKS[table].key.values()]
    fixed = bounds_.ended, bounds_.lifetime, bounds_.too_old, bounds_.uncovered
    while True:
        async with engine.begin() as connection:
            rows = await fetch(connection, statement, (*fixed, page, *after))
        if not rows:
            return
        yield rows[0][0]
        after = rows[0][1:]


def _paged(table: Table, walk: _Walk) -> str:
    columns = ", ".join(walk.key)
    after = ", ".join(f"${6 + number}::{type_}" for number, type_ in enumerate(walk.key.values()))
    return f"""
with b as (
    select $1::timestamptz as ended, $2::interval as lifetime, $3::timestamptz as too_old, $4::timestamptz as uncovered
), page as materialized (
    select {columns} from {table} where ({columns}) > ({after}) order by {columns} limit $5
), last as (
    select {columns} from page order by {", ".join(f"{column} desc" for column in walk.key)} limit 1
)"""


def _counting(table: Table, walk: _Walk) -> str:
    columns = ", ".join(walk.key)
    return f"""{_paged(table, walk)}
select (
    select count(*) from page join {table} x using ({columns}) cross join b
    where {walk.over.format(x="x")}), last.* from last"""


def _deleting(table: Table, walk: _Walk) -> str:
    columns = ", ".join(walk.key)
    return f"""{_paged(table, walk)}, doomed as materialized (
    select {", ".join(f"x.{column}" for column in walk.key)}
    from page join {table} x using ({columns}) cross join b where {walk.over.format(x="x")}
    for update of x skip locked
), gone as (
    delete from {table} x using doomed d where {" and ".join(f"x.{column} = d.{column}" for column in walk.key)}
    returning 1
)
select (select count(*) from gone), last.* from last"""


_COUNT: Final = {table: _counting(table, walk) for table, walk in _WALKS.items()}
_DELETE: Final = {table: _deleting(table, walk) for table, walk in _WALKS.items()}
