"""Everything that runs: Kafka, PostgreSQL and Valkey, the schema, the topics, an issuer, and the consumers and the API
as real processes.

Whatever interrupts it, all of it goes away again, the processes first. Were we killed, their supervisors would see to
it. It never touches other servers.
"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.cli.demo import configuration
from revoker.cli.demo.issuer import running
from revoker.cli.demo.issuer.running import Issuer
from revoker.cli.demo.processes import Process
from revoker.cli.demo.story import PEOPLE
from revoker.embedded import EmbeddedServers
from revoker.embedded.ports import HOST, free_ports
from revoker.embedded.server import Progress
from revoker.service import reach, topics
from revoker.settings import Settings
from revoker.storage import reading
from revoker.storage.migrate import migrate


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What runs, and how to reach it."""

    settings: Settings
    folder: Path
    registry: AsyncEngine
    issuer: Issuer
    names: Mapping[str, str]
    """What the people of the story are called this time."""
    until_api_answers: Callable[[], Awaitable[None]]
    """It starts beside everything else, and is the last to be needed. Raises `ServerFailedError`."""
    why_broken: Callable[[], str | None]
    """What has ended by itself; None: all is well."""

    @property
    def address(self) -> str:
        """Of the consumers' `/livez`, `/readyz` and `/metrics`."""
        return f"http://{HOST}:{self.settings.admin_port}"

    @property
    def api(self) -> str:
        """Of the API."""
        return f"http://{HOST}:{self.settings.http.port}"

    @property
    def environment(self) -> Path:
        """The file to source in another terminal."""
        return self.folder / "env"


@asynccontextmanager
async def opened(data: Path | None, progress: Progress) -> AsyncIterator[House]:
    """All of it, ready to work but for the API. Raises `EmbeddedError` and `RevokerError`."""
    async with EmbeddedServers(data, progress=progress) as servers, AsyncExitStack() as stack:
        admin_port, api_admin_port, api_port, issuer_port = free_ports(4)
        issuer_url = f"http://{HOST}:{issuer_port}"
        settings = configuration.settings_for(servers, admin_port=admin_port, port=api_port, issuer=issuer_url)
        registry = await stack.enter_async_context(reach.postgres(settings))
        _, schema = await migrate(registry)
        await topics.ensure(settings)
        progress(f"schema {schema} is in place, and so are the topics")
        names = await _names(registry, settings)

        folder = _folder(data)
        configuration.write(settings, folder)
        consumers = Process("consumers", folder, admin_port=admin_port, remove=data is None)
        stack.push_async_callback(consumers.stop)
        issuer = await stack.enter_async_context(running.opened(settings, registry, folder, list(names.values())))
        api = Process("serve", folder, admin_port=api_admin_port)
        stack.push_async_callback(api.stop)
        await consumers.wait_until_ready()

        def why_broken() -> str | None:
            return consumers.why_broken() or api.why_broken() or issuer.why_broken() or _why_broken(servers)

        yield House(
            settings=settings,
            folder=folder,
            registry=registry,
            issuer=issuer,
            names=names,
            until_api_answers=api.wait_until_ready,
            why_broken=why_broken,
        )


def _folder(data: Path | None) -> Path:
    """For the settings and the logs: the one that is kept, or one that goes with the consumers."""
    return data.expanduser().resolve() if data else Path(tempfile.mkdtemp(prefix="revoker-demo-")).resolve()


def _why_broken(servers: EmbeddedServers) -> str | None:
    ended = [s.title for s in (servers.kafka, servers.postgres, servers.valkey) if not s.running]
    return f"{' and '.join(ended)} ended" if ended else None


async def _names(registry: AsyncEngine, settings: Settings) -> Mapping[str, str]:
    """Whoever was here in an earlier run of a kept folder is another person."""
    number = 1
    while True:
        names = {name: name if number == 1 else f"{name}-{number}" for name in PEOPLE}
        known = [
            await reading.sessions_of(
                registry, tenant="", subject=subject, lifetime=settings.sessions.lifetime, limit=1
            )
            for subject in names.values()
        ]
        if not any(known):
            return names
        number += 1
