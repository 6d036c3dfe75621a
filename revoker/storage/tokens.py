"""Looking up one token by its id, for whoever shows it: what it is, whose, and whether anything has ended it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.storage.columns import fetch

# What a gateway would know of the sign-in stands with the session. Two tokens of one id: nobody can say which is meant.
_NAMED: Final = """
select t.tenant, t.subject, t.token_id, t.kind, t.client_id, t.session_id, t.issued_at,
    coalesce(t.expires_at, t.issued_at + $1::interval) as expires_at, t.ended_at is not null as ended,
    coalesce(t.expires_at, t.issued_at + $1::interval) <= clock_timestamp() as expired,
    case when t.session_id is null then t.issued_at else s.established_at end as established_at,
    s.device_id, host(s.ip) as ip, s.key_id, coalesce(s.labels, '{}') as labels
from tokens t left join lateral (
    select * from sessions p
    where p.tenant = t.tenant and p.subject = t.subject and p.session_id = t.session_id
        and (t.client_id is null or p.client_id = t.client_id)
    order by p.established_at, p.client_id limit 1
) as s on true
where t.token_id = $2 and ($3::text is null or t.tenant = $3)
limit 2"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedToken:
    """A token as the registry knows it, with what its session says of the sign-in."""

    tenant: str
    subject: str
    token_id: str
    kind: str
    client_id: str | None
    session_id: str | None
    issued_at: datetime
    expires_at: datetime
    """Where the issuer gave none, the longest that any token can live."""
    ended: bool
    """It was named by a revocation, or no part of its session lives."""
    expired: bool
    established_at: datetime | None
    """None: its session is not known."""
    device_id: str | None
    ip: str | None
    key_id: str | None
    labels: Mapping[str, str]

    @property
    def is_live(self) -> bool:
        """Neither ended nor expired."""
        return not (self.ended or self.expired)


async def named(engine: AsyncEngine, token_id: str, *, tenant: str | None, lifetime: timedelta) -> NamedToken | None:
    """The token of that id, in one tenant or (None) in any. None: there is none, or more than one."""
    async with engine.connect() as connection:
        rows = await fetch(connection, _NAMED, (lifetime, token_id, tenant))
        return NamedToken(**rows[0]._asdict()) if len(rows) == 1 else None
