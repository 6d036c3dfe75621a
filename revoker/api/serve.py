"""The process of `revoker serve`: makes its parts, answers, and takes them down in order.

    the issuer's keys, the gateway, the tail of the notifications     beside everything, tried again when they fail
    uvicorn                                                           until SIGINT or SIGTERM; streams are ended first

Before it listens it gives the gateway `max_staleness` to replay what is over. After that it answers as well as it can,
and `/readyz` says what is missing. The database is for lists and for waiting: nothing here waits for it to start.
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import uvloop
from starlette.types import ASGIApp

from revoker.admin import AdminServer, admin_app
from revoker.admin import Check as Dependency
from revoker.api.app import Api, nothing_else
from revoker.api.callers import ByHeaders, ByToken
from revoker.api.check import Check
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.networks import Networks
from revoker.api.presented import Presented, input_to_write
from revoker.api.sending import Sender
from revoker.api.server import answering, listen
from revoker.api.tokens import Verifier
from revoker.errors import ConfigurationError
from revoker.gateway import Gateway, GatewayUnavailable, header_claims
from revoker.kafka import client_options
from revoker.logs import configure, get_logger, log_crashes
from revoker.settings import Settings

ONLY_CHECK: Final = "check"
_log = get_logger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


def run(settings: Settings, only: str | None = None) -> int:
    """Serves until SIGINT or SIGTERM. `only` may be `check`. Returns the exit code."""
    configure(settings.log_level, settings.log_format)
    log_crashes()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_stopped(settings, only))
    return 0


async def _until_stopped(settings: Settings, only: str | None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with serving(settings, only, stopping):
        await stopping.wait()
        _log.info("service-stopping")


@asynccontextmanager
async def serving(settings: Settings, only: str | None, stopping: asyncio.Event) -> AsyncIterator[int]:
    """All of it, for as long as the context lasts; gives the port. Raises `ConfigurationError`."""
    parts = _Parts(settings, only, stopping)
    async with AsyncExitStack() as stack:
        for close in parts.closing:
            stack.push_async_callback(close)
        await stack.enter_async_context(parts.sender)
        await stack.enter_async_context(parts.gateway)
        tasks: list[asyncio.Task[None]] = []
        stack.push_async_callback(_cancel, tasks)
        tasks += [asyncio.create_task(work()) for work in parts.background]
        if settings.admin_port is not None:
            admin = AdminServer(parts.operator, host=settings.admin_host, port=settings.admin_port)
            await stack.enter_async_context(admin)
        await _replayed(parts.gateway, settings.check.max_staleness.total_seconds(), stopping)
        listening = listen(settings.http.host, settings.http.port)
        stack.callback(listening.close)
        await stack.enter_async_context(answering(parts.app, listening, stopping))
        port = int(listening.getsockname()[1])
        _log.info("http-listening", host=settings.http.host, port=port)
        _log.info("service-started", only=only or "everything")
        yield port


class _Parts:
    """What the process is made of."""

    def __init__(self, settings: Settings, only: str | None, stopping: asyncio.Event) -> None:
        metrics = ApiMetrics()
        self.sender = Sender(settings)
        self.gateway = _gateway(settings)
        self.background: list[Work] = []
        self.closing: list[Work] = []
        checks: dict[str, Dependency] = {"gateway": Dependency(self._why_not_synced)}

        verifier, keys = None, None
        if settings.auth.issuer is None:
            _log.warning("auth-not-configured", why="[auth] issuer is unset: whoever must prove something gets a 503")
        else:
            keys = Keys(settings.auth)
            verifier = Verifier(settings.auth, keys)
            self.background.append(keys.watch)
            checks["issuer"] = Dependency(keys.why_unready)

        source = input_to_write(settings)
        presented = Presented(settings, source, self.sender, metrics) if source is not None else None
        if presented is not None:
            self.background.append(presented.publish)
        networks = Networks(settings.check.trusted_networks)
        check = Check(
            self.gateway,
            _identify(settings, verifier, keys, networks),
            networks,
            metrics.answered,
            lets_anonymous_pass=settings.check.anonymous == "pass",
            saw=presented.saw if presented is not None else None,
        )
        rest: Callable[[ASGIApp | None], ASGIApp] = nothing_else
        if only != ONLY_CHECK:
            # Not above: whoever answers /check alone needs neither routes nor a database.
            from revoker.api.everything import Everything  # noqa: PLC0415

            everything = Everything(
                settings,
                gateway=self.gateway,
                sender=self.sender,
                verifier=verifier,
                keys=keys,
                metrics=metrics,
                stopping=stopping,
            )
            self.background += everything.background
            checks |= everything.checks
            self.closing.append(everything.close)
            rest = everything.application
        self.operator = admin_app(metrics.registry, lambda: None, checks)
        self.app = Api(check, rest(self.operator if settings.admin_port is None else None))

    async def _why_not_synced(self) -> str | None:
        health = self.gateway.health()
        return None if health.synced else health.error or "the replay is not done"


def _gateway(settings: Settings) -> Gateway:
    options = client_options(settings)
    known: Mapping[str, Any] = {
        name: value for name, value in options.items() if name not in {"bootstrap_servers", "client_id"}
    }
    return Gateway(
        settings.check.name,
        bootstrap_servers=options["bootstrap_servers"],
        topic_prefix=settings.topic_prefix,
        mode=settings.check.mode,
        max_staleness=settings.check.max_staleness.total_seconds(),
        credential_lifetime=settings.sessions.lifetime.total_seconds(),
        kafka_options=known,
    )


def _identify(
    settings: Settings, verifier: Verifier | None, keys: Keys | None, networks: Networks
) -> ByToken | ByHeaders | None:
    if settings.check.identify == "headers":
        if not networks:
            raise ConfigurationError("[check] identify = headers needs trusted_networks: else anybody may be anybody")
        return ByHeaders(header_claims(prefix=settings.check.header_prefix), networks)
    if verifier is None or keys is None:
        return None
    return ByToken(verifier, keys, settings.check, settings.claims)


async def _replayed(gateway: Gateway, seconds: float, stopping: asyncio.Event) -> None:
    """Waits for the gateway, but not for ever and not when it is told to stop."""
    waiting = [asyncio.create_task(gateway.ready(seconds)), asyncio.create_task(stopping.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    told, _ = await asyncio.gather(*waiting, return_exceptions=True)
    if isinstance(told, GatewayUnavailable):
        _log.warning("gateway-not-ready", error=told)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
