"""The demo gateway and its server, in the demo's own process: up, and down again before Kafka goes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from revoker.cli.demo.page.app import application
from revoker.cli.demo.page.buttons import Pressing
from revoker.cli.demo.page.cast import Cast
from revoker.cli.demo.page.told import Told
from revoker.cli.demo.stage import Stage
from revoker.embedded.ports import HOST, free_ports
from revoker.errors import UnavailableError
from revoker.gateway import Gateway, GatewayUnavailable
from revoker.serving import GuestServer
from revoker.settings import Settings

GATEWAY: Final = "demo-gateway"
_READY_SECONDS: Final = 30.0
_GRACE_SECONDS: Final = 2
_STOP_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Page:
    """What the story tells the page, and where a browser finds it."""

    cast: Cast
    port: int

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
    async with gateway, _served(app, port), _running(told):
        try:
            await gateway.ready(_READY_SECONDS)
        except GatewayUnavailable as error:
            raise UnavailableError(f"the demo gateway is {error}") from error
        yield Page(cast, port)


@asynccontextmanager
async def _running(told: Told) -> AsyncIterator[None]:
    task = asyncio.create_task(told.follow(), name="told")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _served(app: ASGIApp, port: int) -> AsyncIterator[None]:
    with socket.create_server((HOST, port)) as listening:
        server = GuestServer(
            uvicorn.Config(
                app,
                ws="websockets-sansio",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        task = asyncio.create_task(server.serve([listening]), name="page")
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.wait([task], timeout=_STOP_SECONDS)
            if not task.done():
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
