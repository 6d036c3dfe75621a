"""The demo gateway and its server, in the demo's own process: up, and down again before Kafka goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.cli.demo.page.app import application
from revoker.cli.demo.page.buttons import Pressing
from revoker.cli.demo.page.cast import Cast
from revoker.cli.demo.page.told import Told
from revoker.cli.demo.served import served, why_ended
from revoker.cli.demo.stage import Stage
from revoker.embedded.ports import HOST, free_ports
from revoker.errors import UnavailableError
from revoker.gateway import Gateway, GatewayUnavailable
from revoker.settings import Settings

GATEWAY: Final = "demo-gateway"
_READY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Page:
    """What the story tells the page, and where a browser finds it."""

    cast: Cast
    port: int
    why_broken: Callable[[], str | None]
    """What of it has ended by itself; None: all is well."""

    @property
    def origin(self) -> str:
        """Without a slash at the end."""
        return f"http://{HOST}:{self.port}"


@asynccontextmanager
async def opened(
    settings: Settings, stage: Stage, registry: AsyncEngine, subjects: Iterable[str]
) -> AsyncIterator[Page]:
    """The page, with its gateway up to date and known to the service. Raises `UnavailableError`."""
    gateway = Gateway(
        GATEWAY,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.topic_prefix,
        # One name for every run: in a folder that is kept, this run takes the place of one that was killed.
        instance="demo",
    )
    cast = Cast(subjects, gateway.find)
    told = Told(cast, settings, registry)
    gateway.on_ended(told.hear)

    def state() -> dict[str, Any]:
        return {"people": cast.people(), "told": told.newest()}

    (port,) = free_ports(1)
    app = application(gateway, cast, Pressing(cast, settings, stage.send), state)
    async with gateway, served(app, port, "the server of the demo's page") as server, _running(told) as following:
        try:
            await gateway.ready(_READY_SECONDS)
        except GatewayUnavailable as error:
            raise UnavailableError(f"the demo gateway is {error}") from error
        yield Page(cast, port, lambda: server.why_broken() or why_ended(following, "the news of the demo's page"))


@asynccontextmanager
async def _running(told: Told) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(told.follow(), name="told")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
