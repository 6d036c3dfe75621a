"""A person signs in: the session is published, waited for, and named in a cookie.

The device can be the browser itself, as it says of itself, or pretend to be another: whoever tries two browsers at one
desk should be able to tell them apart.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from revoker.cli.demo import stage, story
from revoker.cli.demo.issuer.tokens import LONGEST_SECONDS, Signer, Wanted
from revoker.cli.demo.story import SignIn
from revoker.storage.reading import SessionFound
from schemas.codec import encode
from schemas.topics import Topic

Send = Callable[[Topic, str, bytes], Awaitable[object]]
Sessions = Callable[[str], Awaitable[Sequence[SessionFound]]]

CLIENT: Final = "web"
_PATIENCE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Device:
    """What can be signed in on."""

    label: str
    user_agent: str | None = None
    """None: what the browser says."""


DEVICES: Final[Mapping[str, Device]] = {
    "browser": Device("This browser, as it is"),
    "phone": Device("A phone", story.IPHONE),
    "tablet": Device("A tablet", story.IPAD),
    "laptop": Device("A laptop", story.CHROME_ON_MAC),
    "office": Device("The computer in the office", story.FIREFOX_ON_WINDOWS),
}


class Desk:
    """Signs in whoever is among `people`."""

    def __init__(self, signer: Signer, people: Sequence[str], send: Send, sessions: Sessions) -> None:
        self.people = people
        self._signer = signer
        self._send = send
        self._sessions = sessions

    async def sign_in(self, subject: str, device: str, *, user_agent: str, ip: str) -> str:
        """The token of a new session, once the service knows of it. Raises what `send` raises."""
        now = datetime.now(UTC)
        word = f"{device}-{secrets.token_hex(3)}"
        agent = DEVICES[device].user_agent or user_agent
        sign_in = SignIn(subject=subject, device=word, user_agent=agent, client_id=CLIENT, ip=ip)
        session = stage.session_id(subject, word)

        await self._send(Topic.SESSION_ACTIVITY, subject, encode(stage.established(sign_in, subject, now)))
        await self._registered(subject, session)

        wanted = Wanted(subject=subject, session=session, client=CLIENT, expires=LONGEST_SECONDS)
        return self._signer.token(wanted, now)

    async def token(self, wanted: Wanted) -> str:
        """A token as it is wanted. Of a session that the service knows it says since when that is signed in."""
        found = await self._sessions(wanted.subject) if wanted.session is not None else ()
        since = [one.established_at for one in found if one.session_id == wanted.session]
        return self._signer.token(wanted, min(since, default=datetime.now(UTC)))

    async def _registered(self, subject: str, session: str) -> None:
        """So that the person's first look at the own devices shows this one. That it takes longer hinders nobody."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if any(one.session_id == session for one in await self._sessions(subject)):
                return
            await asyncio.sleep(0.02)
