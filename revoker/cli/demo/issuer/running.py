"""The issuer, up and down again. It writes to Kafka like any login service; that it can look into the registry, so that
nobody has to wait for a page to be right, is because it is a demo.
"""

import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.cli.demo.configuration import write_for_us
from revoker.cli.demo.issuer import ADDRESS_FILE, SIGN_IN_PATH
from revoker.cli.demo.issuer.app import TOKENS_PATH, application
from revoker.cli.demo.issuer.codes import Codes
from revoker.cli.demo.issuer.desk import Desk
from revoker.cli.demo.issuer.tokens import Signer
from revoker.cli.demo.served import served
from revoker.embedded.ports import HOST
from revoker.service import reach
from revoker.settings import Settings
from revoker.storage import reading
from revoker.storage.reading import SessionFound
from schemas.topics import Topic

_MANY: Final = 200


@dataclass(frozen=True, slots=True)
class Issuer:
    """What the rest of the demo wants of it."""

    url: str
    codes: Codes
    why_broken: Callable[[], str | None]
    """Whether it has ended by itself."""

    @property
    def sign_in(self) -> str:
        """The page."""
        return f"{self.url}{SIGN_IN_PATH}"

    def link(self, subject: str) -> str:
        """It signs `subject` in, once."""
        return f"{self.sign_in}?code={self.codes.new(subject)}"


@asynccontextmanager
async def opened(
    settings: Settings, registry: AsyncEngine, folder: Path, people: Sequence[str]
) -> AsyncIterator[Issuer]:
    """The issuer that `settings` believe. `folder` gets the file that `revoker demo token` looks for."""
    url = settings.auth.issuer or ""
    signer, codes, secret = Signer(url), Codes(), secrets.token_urlsafe(32)
    file = folder / ADDRESS_FILE
    async with reach.producer(settings) as producer:

        async def send(topic: Topic, subject: str, value: bytes) -> object:
            return await producer.send_and_wait(settings.topic(topic), value, key=subject.encode())

        async def sessions(subject: str) -> list[SessionFound]:
            lifetime = settings.sessions.lifetime
            return await reading.sessions_of(registry, tenant="", subject=subject, lifetime=lifetime, limit=_MANY)

        desk = Desk(signer, people, send, sessions)
        api = f"http://{HOST}:{settings.http.port}"
        app = application(signer, desk, codes, api=api, secret=secret)
        async with served(app, int(url.rpartition(":")[2]), "the demo's issuer") as server:
            write_for_us(file, [json.dumps({"url": f"{url}{TOKENS_PATH}", "secret": secret})])
            try:
                yield Issuer(url, codes, server.why_broken)
            finally:
                file.unlink(missing_ok=True)
