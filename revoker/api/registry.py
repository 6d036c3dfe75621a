"""The registry of sessions, as the API asks it: a database that is away is an answer, too."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.claims import SessionClaims
from revoker.service import reach
from revoker.settings import Settings
from revoker.storage import reading

_SECONDS: Final = 3.0


class Registry:
    """Looks sessions up."""

    def __init__(self, settings: Settings, engine: AsyncEngine) -> None:
        self._settings = settings
        self._engine = engine

    async def live(self, session_id: str) -> SessionClaims | None:
        """The live session of that id; None: there is none. Raises `UnavailableError`."""
        with reach.database_errors(self._settings):
            found = await reading.live_named(self._engine, session_id, lifetime=self._settings.sessions.lifetime)
        if not found or len({(one.tenant, one.subject) for one in found}) > 1:
            # An id of two people's sessions would let one act for the other.
            return None
        first, *others = found
        return SessionClaims(
            subject=first.subject,
            tenant=first.tenant,
            session_id=first.session_id,
            client_id=None if others else first.client_id or None,
            established_at=first.established_at,
            device_id=first.device_id,
            ip=first.ip,
            expires_at=first.expires_at,
        )
