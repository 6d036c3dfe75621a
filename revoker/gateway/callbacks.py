"""What an application wants to be told, and how it is kept from harming the gateway.

Callbacks may be plain functions or coroutines. One that fails is logged and does not stop the others; one that hangs is
given up after a while, since a position must not wait for somebody else's server: the index refuses the dead meanwhile,
whatever is left in a cache.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from revoker.core.verdicts import Revocation
from revoker.core.wire import SessionEndedNotice

_log: Final = logging.getLogger("revoker.gateway")

_DEADLINE_SECONDS: Final = 5.0


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One notification: what is over, and why.

    `session_ids` are those that the service knew of. A revocation may cover more than it names; `Gateway.find` tells.
    """

    revocation: Revocation
    tenant: str = ""
    subject: str | None = None
    session_ids: tuple[str, ...] = ()
    token_ids: tuple[str, ...] = ()


OnEnded = Callable[[Ended], Awaitable[None] | None]
DropCached = Callable[[Ended], Awaitable[int] | int]


def public(notice: SessionEndedNotice) -> Ended:
    """`notice` as an application sees it."""
    return Ended(
        revocation=notice.revocation,
        tenant=notice.tenant,
        subject=notice.subject,
        session_ids=tuple(dict.fromkeys(session.session_id for session in notice.sessions)),
        token_ids=tuple(token.token_id for token in notice.tokens),
    )


class Callbacks:
    """Those of one gateway. They are the application's, so they outlive a fork and a restart."""

    def __init__(self) -> None:
        self._ended: list[OnEnded] = []
        self._cached: list[DropCached] = []

    def __bool__(self) -> bool:
        return bool(self._ended or self._cached)

    def on_ended(self, callback: OnEnded) -> None:
        self._ended.append(callback)

    def drop_cached(self, callback: DropCached) -> None:
        self._cached.append(callback)

    async def tell(self, ended: Ended) -> int:
        """Calls them all at once. How many cached sessions they dropped."""
        called = (*self._cached, *self._ended)
        counts = await asyncio.gather(*(_call(callback, ended) for callback in called))
        return sum(count for count in counts[: len(self._cached)] if isinstance(count, int) and count > 0)


async def _call(callback: Callable[[Ended], Any], ended: Ended) -> object:
    try:
        answer = callback(ended)
        if not inspect.isawaitable(answer):
            return answer
        async with asyncio.timeout(_DEADLINE_SECONDS):
            return await answer
    except Exception:  # noqa: BLE001 - it is not ours, and the others are to be told
        _log.exception("callback-failed: revocation %s", ended.revocation.id)
        return None
