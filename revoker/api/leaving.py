"""What logging out asks for, as events: sessions by their ids, tokens that have none, and remember-me cookies.

The ids of these events are made of what they end: whoever logs out twice has asked for the same, and is told the same.
They carry no time: a session that is named ends whenever it began, and all others end as of when Kafka takes the event.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiolimiter import AsyncLimiter
from starlette.requests import Request

from revoker.api.asking import Asked, Asking, Prepared
from revoker.api.cookies import digest
from revoker.api.prefer import Waiting
from revoker.api.problems import ProblemError
from revoker.api.who import Principal, Who
from revoker.api.wishes import Scope
from revoker.core.claims import SECOND, micros
from revoker.settings import ClaimSettings

_NAMESPACE: Final = uuid.UUID("c5c7f3a2-5b0e-5f63-9c1c-0d6f6a2b8e41")
_UNKNOWN_A_MINUTE: Final = 60
"""Cookies of which nobody knows whose they are: anybody can invent some, and each is remembered for long."""


class Leaving:
    """Ends what a request shows."""

    def __init__(self, who: Who, asking: Asking, claims: ClaimSettings) -> None:
        self._who = who
        self._asking = asking
        self._by_tenant = claims.tenant is not None
        self._unknown = AsyncLimiter(_UNKNOWN_A_MINUTE, 60)

    async def own(self, request: Request, found: Sequence[Principal], waiting: Waiting) -> Sequence[Asked]:
        """Ends all sessions and tokens that are shown. Empty: there was nothing to end. Raises `ProblemError`."""
        events = [*self._own(found), *self._remembered(request, found)]
        if all(principal.doubtful for principal in found):
            events = [event for event in events if await self._is_worth_it()]
        return await self._ask({event.revocation_id: event for event in events}.values(), waiting)

    async def all_of(self, principal: Principal, scope: Scope, waiting: Waiting) -> Sequence[Asked]:
        """Ends all sessions of a person, or all others. Raises `ProblemError`."""
        claims = principal.claims
        data: dict[str, Any] = {}
        if scope == "others":
            if claims.session_id is None:
                raise ProblemError(400, "The token names no session: there is nothing to keep")
            data["keep"] = [claims.session_id]
        event = self._asking.prepare(
            type="logged-out-everywhere", tenant=claims.tenant, subject=claims.subject, data=data
        )
        return await self._ask([event], waiting)

    def _own(self, found: Sequence[Principal]) -> Iterator[Prepared]:
        for principal in found:
            claims = principal.claims
            if claims.session_id is not None:
                yield self._event("logged-out", principal, {"session_id": claims.session_id})
            elif claims.token_id is not None and claims.expires_at is not None:
                ends = datetime.fromtimestamp(micros(claims.expires_at) / SECOND, UTC)
                yield self._event("token-revoked", principal, {"token_id": claims.token_id, "expires_at": ends})

    def _remembered(self, request: Request, found: Sequence[Principal]) -> Iterator[Prepared]:
        whose = next((principal for principal in found if not principal.doubtful), None)
        if whose is None and self._by_tenant:
            return
        for value in self._who.cookies.holding(request, "remember-me"):
            data = {"token_id": digest(value)}
            yield self._prepared("token-revoked", whose.claims.tenant if whose is not None else "", None, data)

    def _event(self, type_: str, principal: Principal, data: dict[str, Any]) -> Prepared:
        return self._prepared(type_, principal.claims.tenant, principal.claims.subject, data)

    def _prepared(self, type_: str, tenant: str, subject: str | None, data: dict[str, Any]) -> Prepared:
        named = msgspec.json.encode([type_, tenant, subject, data], order="deterministic").decode()
        id_ = f"logout-{uuid.uuid5(_NAMESPACE, named)}"
        return self._asking.prepare(type=type_, tenant=tenant, subject=subject, data=data, event_id=id_)

    async def _is_worth_it(self) -> bool:
        if not self._unknown.has_capacity():
            return False
        await self._unknown.acquire()
        return True

    async def _ask(self, events: Iterable[Prepared], waiting: Waiting) -> Sequence[Asked]:
        began = time.monotonic()
        asked = [await self._asking.ask(event) for event in events]
        return [await self._asking.awaited(one, waiting, began=began) for one in asked]
