"""One person's sign-ins, each as one device: what its clients' parts come to, and why it is over.

Reads only. The order never moves a row to an earlier place: live ones by when they began (which can only become
earlier), then ended ones by their end. So whoever pages through the list misses nobody, a device that is in use
meanwhile least of all. What has expired by itself is no longer anybody's device, and is left out.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.storage.columns import fetch

# Of the parts of one sign-in: the earliest beginning, the latest use, and the words of the first that has any.
_DEVICES: Final = """
with parts as (
    select s.*, coalesce(s.last_active_at, s.established_at) as seen_at, coalesce(s.last_ip, s.ip) as seen_ip,
        s.ended_at is null and coalesce(s.expires_at, s.established_at + $1::interval) > clock_timestamp() as live
    from sessions s
    where s.tenant = $2 and s.subject = $3 and ($4::text is null or s.session_id = $4)
), devices as (
    select session_id, bool_or(live) as live, min(established_at) as established_at, max(seen_at) as seen_at,
        case when bool_or(live) then null else max(ended_at) end as ended_at,
        (array_agg(ended_by order by ended_at desc) filter (where ended_by is not null))[1] as ended_by,
        (array_agg(device_name order by established_at) filter (where device_name is not null))[1] as name,
        host((array_agg(seen_ip order by seen_at desc) filter (where seen_ip is not null))[1]) as ip,
        array_agg(client_id order by client_id) filter (where client_id <> '' and live) as live_clients
    from parts
    group by session_id
), ordered as (
    select *, case when live then established_at else ended_at end as place
    from devices
    where live or ended_at > clock_timestamp() - $5::interval
)
select o.session_id, o.live, o.established_at, o.seen_at, o.ended_at, o.ended_by, o.name, o.ip, o.live_clients,
    o.place, r.cause, r.initiator, r.reason_user
from ordered o left join lateral (
    select r.cause, r.initiator, r.reason_user from revocations r where r.id = o.ended_by and not o.live limit 1
) as r on true
where $6::boolean is null or o.live < $6
    or (o.live = $6 and (o.place < $7 or (o.place = $7 and o.session_id > $8)))
order by o.live desc, o.place desc, o.session_id
limit $9"""

_EVER: Final = timedelta(days=36_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the list a device stands: the list goes on behind it."""

    live: bool
    at: datetime
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One sign-in. It is live while one of its clients' parts is."""

    session_id: str
    live: bool
    established_at: datetime
    seen_at: datetime
    ended_at: datetime | None
    """Of its last part."""
    ended_by: uuid.UUID | None
    name: str | None
    ip: str | None
    """Last seen from there."""
    live_clients: tuple[str, ...]
    cause: str | None
    """Of what ended it; None also where that was pruned."""
    initiator: str | None
    reason_user: Mapping[str, str]
    """Language to text."""
    place: Place


async def devices_of(
    engine: AsyncEngine,
    *,
    tenant: str,
    subject: str,
    lifetime: timedelta,
    show_ended: timedelta,
    after: Place | None = None,
    limit: int,
) -> list[Device]:
    """The subject's devices from `after` on, live ones first; ended ones for as long as `show_ended`."""
    behind = (None, None, None) if after is None else (after.live, after.at, after.session_id)
    return await _devices(engine, (lifetime, tenant, subject, None, show_ended, *behind, limit))


async def device_of(
    engine: AsyncEngine, *, tenant: str, subject: str, session_id: str, lifetime: timedelta
) -> Device | None:
    """That one of the subject, however long it is over. None: there is none, it expired, or it is somebody else's."""
    found = await _devices(engine, (lifetime, tenant, subject, session_id, _EVER, None, None, None, 1))
    return found[0] if found else None


async def _devices(engine: AsyncEngine, parameters: tuple[Any, ...]) -> list[Device]:
    async with engine.connect() as connection:
        return [_device(row._asdict()) for row in await fetch(connection, _DEVICES, parameters)]


def _device(row: dict[str, Any]) -> Device:
    clients: Sequence[str] = row.pop("live_clients") or ()
    reasons: str | Mapping[str, str] | None = row.pop("reason_user")
    place = Place(live=row["live"], at=row.pop("place"), session_id=row["session_id"])
    told = msgspec.json.decode(reasons, type=dict[str, str]) if isinstance(reasons, str) else reasons or {}
    return Device(live_clients=tuple(clients), reason_user=told, place=place, **row)
