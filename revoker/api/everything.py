"""All but `/check`: its parts, what runs beside them, and what has to be there."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from starlette.types import ASGIApp

from revoker.admin import Check as Dependency
from revoker.api.asking import Asking
from revoker.api.headers import guarded
from revoker.api.history import History
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.parts import Parts
from revoker.api.registry import Registry
from revoker.api.routing import application
from revoker.api.sending import Sender
from revoker.api.tail import Tail
from revoker.api.tokens import Verifier
from revoker.api.who import Who
from revoker.errors import ConfigurationError, UnavailableError
from revoker.gateway import Gateway
from revoker.service import reach
from revoker.settings import Settings
from revoker.storage import reading


class Everything:
    """Made once a process."""

    def __init__(
        self,
        settings: Settings,
        *,
        gateway: Gateway,
        sender: Sender,
        verifier: Verifier | None,
        keys: Keys | None,
        metrics: ApiMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._engine = reach.engine(settings)
        tail = Tail(settings)
        self.parts: Final = Parts(
            settings=settings,
            who=Who(settings, verifier, gateway, Registry(settings, self._engine)),
            asking=Asking(settings, sender, self._engine),
            sender=sender,
            engine=self._engine,
            gateway=gateway,
            verifier=verifier,
            keys=keys,
            tail=tail,
            history=History(settings),
            metrics=metrics,
            stopping=stopping,
        )
        self.background: Final[list[Callable[[], Coroutine[Any, Any, None]]]] = [tail.run]
        self.checks: Final[Mapping[str, Dependency]] = {
            "session-ended": Dependency(tail.why_unready),
            # Without it people log out all the same; lists and waiting have to do without.
            "database": Dependency(self._why_no_database, required=False),
        }

    def application(self, operator: ASGIApp | None) -> ASGIApp:
        """The routes. `operator` answers for itself where it has no port of its own."""
        return guarded(application(self.parts, operator), self._settings.http)

    async def close(self) -> None:
        """Lets go of the database."""
        await self._engine.dispose()

    async def _why_no_database(self) -> str | None:
        try:
            with reach.database_errors(self._settings):
                await reading.now(self._engine)
        except (ConfigurationError, UnavailableError) as error:
            return str(error)
        return None
