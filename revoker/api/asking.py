"""Whatever changes something is asked for here: an event on Kafka like anybody else's, and nothing beside it.

Asking decides nothing and waits only where it is told to: by looking at the database, which may be away. Then all that
is known is that Kafka took the event, and that suffices: what Kafka acknowledged is applied.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.api.prefer import NO_WAIT, Waiting
from revoker.api.problems import NO_STORE, ProblemError
from revoker.api.sending import Sender
from revoker.errors import ConfigurationError, PublishError, UnavailableError
from revoker.logs import get_logger
from revoker.service import gateways, publish, reach
from revoker.service.publish import MisusedError, Prepared, Wanted
from revoker.settings import Settings
from revoker.storage.reading import RevocationFound

__all__ = ["STATES", "Asked", "Asking", "Prepared", "State"]

SOURCE: Final = "revoker-api"
State = Literal["requested", "committed", "enforced"]

STATES: Final[tuple[State, ...]] = ("requested", "committed", "enforced")
"""In their order."""
_RETRY_SECONDS: Final = 0.25
_GRACE_SECONDS: Final = 1.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of it until now."""

    revocation_id: uuid.UUID
    state: State
    event_id: str

    def as_json(self) -> dict[str, str]:
        """For an answer."""
        return {"revocation_id": str(self.revocation_id), "state": self.state, "event_id": self.event_id}

    def status(self, waiting: Waiting) -> int:
        """200 where it came as far as was asked for, else 202."""
        reached = STATES.index(self.state) >= STATES.index(waiting.until)
        return 200 if reached else 202

    def headers(self, waiting: Waiting) -> dict[str, str]:
        """Where to look later, and whether the wish was heard."""
        return NO_STORE | {"Location": f"/v1/revocations/{self.revocation_id}"} | waiting.headers()


class Asking:
    """Asks for revocations, on behalf of people and programs."""

    def __init__(self, settings: Settings, sender: Sender, engine: AsyncEngine) -> None:
        self._settings = settings
        self._sender = sender
        self._engine = engine

    def prepare(
        self,
        *,
        type: str,  # noqa: A002 - the contract's word
        tenant: str,
        subject: str | None,
        data: Mapping[str, Any],
        event_id: str | None = None,
        time: datetime | None = None,
    ) -> Prepared:
        """The event, as the consumers will read it. Raises `ProblemError` where it makes no sense or no input takes it.

        Without `time` it happens when Kafka takes it, which no clock of ours can get wrong.
        """
        wanted = Wanted(
            type=type,
            subject=subject,
            # Where tokens name no tenant there is one, and the input says which.
            tenant=tenant if tenant or self._settings.claims.tenant is not None else None,
            data=data,
            event_id=event_id or str(uuid.uuid4()),
            source=SOURCE,
            time=time,
        )
        try:
            return publish.prepare_event(self._settings, wanted, datetime.now(UTC))
        except MisusedError as error:
            raise ProblemError(400, str(error)) from error
        except ConfigurationError as error:
            _log.error("input-missing", type=type, error=error)
            raise ProblemError(503, "This service is not configured to take this") from error

    async def ask(self, prepared: Prepared, waiting: Waiting = NO_WAIT) -> Asked:
        """Returns once Kafka has it, and then as soon as it came as far as `waiting` wants. Raises `ProblemError`."""
        began = time.monotonic()
        try:
            await self._sender.send(prepared.topic, [(prepared.key, prepared.value)])
        except PublishError as error:
            _log.error("publish-failed", error=error)
            raise ProblemError(503, "It was not taken; ask again", {"Retry-After": "1"}) from error
        asked = Asked(revocation_id=prepared.revocation_id, state="requested", event_id=prepared.event.id)
        return await self.awaited(asked, waiting, began=began)

    async def awaited(self, asked: Asked, waiting: Waiting, *, began: float) -> Asked:
        """The same once it came as far as `waiting` wants, or as it is when the time since `began` is over."""
        if waiting.seconds <= 0:
            return asked
        try:
            state, _ = await self.look(asked.revocation_id, waiting, began=began)
        except UnavailableError as error:
            # Once for every request of somebody who waits: so without the whole way of it.
            _log.warning("dependency-unavailable", why=str(error))
            return asked
        return replace(asked, state=state)

    async def look(
        self, id_: uuid.UUID, waiting: Waiting = NO_WAIT, *, began: float | None = None
    ) -> tuple[State, RevocationFound | None]:
        """How far it has come within the time, and what is stored; looks once at least. Raises `UnavailableError`."""
        deadline = (time.monotonic() if began is None else began) + waiting.seconds
        while True:
            try:
                with reach.database_errors(self._settings):
                    async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + _GRACE_SECONDS):
                        found = await publish.look(self._engine, id_, deadline, self._enough(waiting))
                        return await self._state(found), found
            except ConfigurationError as error:
                raise UnavailableError(str(error)) from error
            except UnavailableError:
                if time.monotonic() + _RETRY_SECONDS > deadline:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    def _enough(self, waiting: Waiting) -> Any:  # noqa: ANN401 - a coroutine function
        async def is_enough(found: RevocationFound) -> bool:
            # What adds no cover is announced by nobody, and so proven by nobody.
            if waiting.until == "committed" or found.redundant or not found.revocation.enforced:
                return True
            return await self._state(found) == "enforced"

        return is_enough

    async def _state(self, found: RevocationFound | None) -> State:
        if found is None:
            return "requested"
        proven = await gateways.enforced_among(self._engine, [found])
        return "enforced" if found.revocation.id in proven else "committed"
