"""Ending what a group of new revocations covers: sessions, then tokens; and finding those that added nothing.

Locks are held already, so what is read here cannot change before the commit.
"""

import uuid
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from revoker.core.notices import EndedSession, EndedToken
from revoker.core.revocation import Revocation
from revoker.storage import covering
from revoker.storage.columns import driver, fetch, joined, listed, texts
from schemas.fields import wire_time

# The columns that `covering` speaks of, with those that no identity event can name as constants.
_COLUMNS: Final = """(
    select p.ordinal, p.id, p.tenant, p.subject, false as any_tenant,
        string_to_array(p.session_ids, e'\\x1f') as session_ids, p.token_id, p.client_id, null::text as key_id,
        null::text as device_id, null::cidr as ip_network, '{{}}'::jsonb as labels,
        null::timestamptz as established_after, p.not_before,
        coalesce(string_to_array(p.keep, e'\\x1f'), '{{}}') as keep,
        coalesce(string_to_array(p.keep_clients, e'\\x1f'), '{{}}') as keep_clients,
        {until} as covers_until, true as enforced
    from unnest({given}) with ordinality
        as p(id, tenant, subject, session_ids, token_id, client_id, not_before, keep, keep_clients{named}, ordinal)
)"""
_TYPES: Final = ("uuid", "text", "text", "text", "text", "text", "timestamptz", "text", "text", "timestamptz")
_GIVEN: Final = [texts(number, type_) for number, type_ in enumerate(_TYPES, 1)]
_PREDICATES: Final = _COLUMNS.format(given=", ".join(_GIVEN[:-1]), named="", until="null::timestamptz")
_PREDICATES_UNTIL: Final = _COLUMNS.format(given=", ".join(_GIVEN), named=", covers_until", until="p.covers_until")

# How the sessions of a revocation are found, by whether it names no subject.
_FOUND: Final = {
    False: "s.tenant = r.tenant and s.subject = r.subject",
    True: "s.tenant = r.tenant and s.session_id = any (r.session_ids)",
}
# A row without a number says that some of the subjects have live tokens: most have none, and to ask that is cheaper
# than to find out what becomes of none.
_END_SESSIONS: Final = f"""
with ended as (
    update sessions s set ended_at = $10, ended_by = r.id
    from {_PREDICATES} as r
    where {_FOUND[False]} and s.ended_at is null and {covering.SESSION}
    returning r.ordinal, s.session_id, s.client_id, s.expires_at
)
select * from ended
union all
select null, null, null, null where exists (
    select from unnest({texts(2)}, {texts(3)}) as k(tenant, subject)
    join tokens t on t.tenant = k.tenant and t.subject = k.subject where t.ended_at is null)"""

_END_NAMELESS: Final = f"""
update sessions s set ended_at = $10, ended_by = r.id
from {_PREDICATES} as r
where {_FOUND[True]} and s.ended_at is null and {covering.SESSION}
returning r.ordinal, s.session_id, s.client_id, s.expires_at, s.subject, s.tenant"""

_COUNT_SESSIONS: Final = {
    nameless: f"""
select r.ordinal, count(*)
from {_PREDICATES} as r join sessions s on {found}
where s.ended_at is null and {covering.SESSION}
group by r.ordinal"""
    for nameless, found in _FOUND.items()
}

# A token dies when it is named, or when no part of its session lives any more; without a session it stands for itself.
_END_TOKENS: Final = f"""
update tokens as it set ended_at = $10, ended_by = dead.id
from (
    select distinct on (t.tenant, t.subject, t.token_id) t.tenant, t.subject, t.token_id,
        coalesce(r.id, part.ended_by) as id
    from unnest({texts(11)}, {texts(12)}) as k(tenant, subject)
    join tokens t on t.tenant = k.tenant and t.subject = k.subject
    left join lateral (
        select (array_agg(s.ended_by))[1] as ended_by, bool_and(s.ended_at is not null) as over
        from sessions s
        where s.tenant = t.tenant and s.subject = t.subject and s.session_id = t.session_id
            and (t.client_id is null or s.client_id = t.client_id)
    ) as part on t.session_id is not null
    left join {_PREDICATES} as r on {covering.TOKEN}
    where t.ended_at is null and (r.id is not null or part.over)
) as dead
where it.tenant = dead.tenant and it.subject = dead.subject and it.token_id = dead.token_id and it.ended_at is null
returning it.ended_by, it.token_id, it.expires_at, it.session_id"""

# Whoever has a token that is named without a subject: it may have been registered since the event was resolved.
_HOLDERS: Final = f"""
select distinct t.tenant, t.subject
from unnest({texts(1)}, {texts(2)}) as n(tenant, token_id)
join tokens t on t.token_id = n.token_id and t.tenant = n.tenant"""

# Nothing was ended: is it because all of it was over, or covered, before? Bounded, since to announce too much is safe.
# The end of one client's part says nothing of the other parts, of which the registry need not know; nor does the end of
# a session tell its token to a gateway that sees the token alone.
_REDUNDANT: Final = f"""
select n.ordinal from {_PREDICATES_UNTIL} as n
where exists (
    select from (select * from revocations f where f.tenant = n.tenant and f.subject = n.subject limit 1000) as r
    where {covering.DOMINATES}
) or (n.session_ids is not null and not exists (
    select from unnest(n.session_ids) as named(session_id) where not exists (
        select from sessions s join revocations f on f.id = s.ended_by
        where s.tenant = n.tenant and s.subject = n.subject and s.session_id = named.session_id
            and (s.client_id = n.client_id
                or (n.client_id is null and f.client_id is null and f.keep_clients = '{{}}')))
)) or (n.token_id is not null and exists (
    select from tokens t
    where t.tenant = n.tenant and t.subject = n.subject and t.token_id = n.token_id and t.session_id is null
))"""


@dataclass(slots=True)
class Applied:
    """A new revocation and what it ended."""

    revocation: Revocation
    sessions: list[EndedSession] = field(default_factory=list)
    tokens: list[EndedToken] = field(default_factory=list)
    tokens_ended: int = 0
    redundant: bool = False
    matched: int = 0
    """Live sessions that it would have ended, where it is not enforced."""


def home(revocation: Revocation) -> tuple[str, str]:
    """Tenant and subject under which it is filed and locked; no subject where it names none."""
    return revocation.selector.tenant or "", revocation.selector.subject or ""


async def end(connection: AsyncConnection, applied: Sequence[Applied], now: datetime) -> None:
    """Ends what `applied`, in the order of their homes, cover; notes in each what that was."""
    enforced = [a for a in applied if a.revocation.enforced]
    for nameless, members in groupby(enforced, key=_is_nameless):
        await (_end_nameless if nameless else _end_group)(connection, list(members), now)
    if len(enforced) < len(applied):
        await _count_unenforced(connection, [a for a in applied if not a.revocation.enforced])
    await _find_redundant(connection, [a for a in enforced if not a.sessions and not a.tokens_ended])


async def _end_group(connection: AsyncConnection, group: Sequence[Applied], now: datetime) -> None:
    columns = _predicates(group)
    have_tokens = False
    # These rows are most of all that is read: straight from the driver, a third of the time.
    rows = await (await driver(connection)).fetch(_END_SESSIONS, *columns, now)
    for number, session_id, client_id, expires_at in rows:
        if number is None:
            have_tokens = True
        else:
            group[number - 1].sessions.append(EndedSession(session_id, client_id, expires_at))
    if have_tokens:
        await _end_tokens(connection, group, columns, now, {home(a.revocation) for a in group})


async def _end_nameless(connection: AsyncConnection, group: Sequence[Applied], now: datetime) -> None:
    columns = _predicates(group)
    rows = await fetch(connection, _END_NAMELESS, (*columns, now))
    for number, session_id, client_id, expires_at, subject, _ in rows:
        group[number - 1].sessions.append(EndedSession(session_id, client_id, expires_at, subject))
    holders = await fetch(connection, _HOLDERS, (columns[1], columns[4]))
    owners = {(tenant, subject) for *_, subject, tenant in rows} | {(tenant, subject) for tenant, subject in holders}
    await _end_tokens(connection, group, columns, now, owners)


async def _end_tokens(
    connection: AsyncConnection,
    group: Sequence[Applied],
    columns: tuple[Any, ...],
    now: datetime,
    owners: AbstractSet[tuple[str, str]],
) -> None:
    whose = listed([tenant for tenant, _ in owners]), listed([subject for _, subject in owners])
    by_id: dict[uuid.UUID, Applied] = {a.revocation.id: a for a in group}
    for ended_by, token_id, expires_at, session_id in await fetch(connection, _END_TOKENS, (*columns, now, *whose)):
        owner = by_id.get(ended_by)
        if owner is None:
            continue
        owner.tokens_ended += 1
        if session_id is None and owner.revocation.selector.subject is not None:
            owner.tokens.append(EndedToken(token_id, expires_at))


async def _count_unenforced(connection: AsyncConnection, unenforced: Sequence[Applied]) -> None:
    for nameless, members in groupby(unenforced, key=_is_nameless):
        group = list(members)
        for number, count in await fetch(connection, _COUNT_SESSIONS[nameless], _predicates(group)):
            group[number - 1].matched = count


async def _find_redundant(connection: AsyncConnection, idle: Sequence[Applied]) -> None:
    if not idle:
        return
    columns = (*_predicates(idle), listed([wire_time(a.revocation.covers_until) for a in idle]))
    for (number,) in await fetch(connection, _REDUNDANT, columns):
        idle[number - 1].redundant = True


def _is_nameless(applied: Applied) -> bool:
    return applied.revocation.selector.subject is None


def _predicates(group: Sequence[Applied]) -> tuple[Any, ...]:
    """The parameters of `_PREDICATES`, which numbers them from 1."""
    revocations = [a.revocation for a in group]
    selectors = [r.selector for r in revocations]
    return (
        listed([r.id.hex for r in revocations]),
        listed([s.tenant or "" for s in selectors]),
        listed([s.subject or "" for s in selectors]),
        listed([joined(s.session_ids) for s in selectors]),
        listed([s.token_id for s in selectors]),
        listed([s.client_id for s in selectors]),
        listed([wire_time(r.not_before) for r in revocations]),
        listed([joined(r.keep) for r in revocations]),
        listed([joined(r.keep_clients) for r in revocations]),
    )
