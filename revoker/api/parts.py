"""What the routes are made of: one of each in a process."""

import asyncio
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.api.asking import Asking
from revoker.api.history import History
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.sending import Sender
from revoker.api.tail import Tail
from revoker.api.tokens import Verifier
from revoker.api.who import Who
from revoker.gateway import Gateway
from revoker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Every router module makes its routes of these: `routes(parts)`."""

    settings: Settings
    who: Who
    asking: Asking
    sender: Sender
    engine: AsyncEngine
    """For reading. It connects when it is first used, so that serving does not wait for the database."""
    gateway: Gateway
    """The index of what is over, in this process."""
    verifier: Verifier | None
    keys: Keys | None
    tail: Tail
    history: History
    metrics: ApiMetrics
    stopping: asyncio.Event
    """Streams end when it is set."""
