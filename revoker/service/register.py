"""Taking in a chunk of session activity, and what is to be announced of it."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncEngine
from ua_parser import parse

from revoker.core.registration import Registration
from revoker.service.revoke import Work
from revoker.storage import batches, sessions
from revoker.storage.positions import Positions
from revoker.storage.sessions import Registered


async def register(
    engine: AsyncEngine, chunk: Registration, presented_every: timedelta, positions: Callable[[], Positions]
) -> tuple[Registered, Work, Counter[tuple[str, Literal["session", "token"]]]]:
    """Takes `chunk` in; what a stored revocation covers is born ended, and counted here by cause.

    Raises what the database raises.
    """
    registered = await sessions.register(engine, chunk, presented_every, positions)

    known = await batches.stored(engine, [entry.revocation_id for entry in registered.late])
    told = [batches.late_notice(known[e.revocation_id], e) for e in registered.late if e.revocation_id in known]
    born_ended = Counter((known[by].cause, what) for by, what in registered.ended if by in known)
    return registered, Work(batch_ids=(registered.batch_id,) if registered.batch_id else (), notices=told), born_ended


@lru_cache(maxsize=10_000)
def device_name(user_agent: str) -> str | None:
    """The browser and system of a User-Agent, as a person would say them; None where it says nothing of either."""
    found = parse(user_agent).with_defaults()
    browser, system = found.user_agent.family, found.os.family
    names = [name for name in (browser, system) if name != "Other"]
    return " on ".join(names) or None
