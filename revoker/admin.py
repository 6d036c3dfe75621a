"""For the operator, on a port of its own: `/livez` (the process), `/readyz` (what it needs), `/metrics`.

    async with AdminServer(admin_app(metrics.registry, liveness, checks), host="127.0.0.1", port=9000) as server: ...

`/livez` answers 503 when the process itself is stuck and only a restart helps; a dependency that is down is none of its
business. `/readyz` asks every dependency at once, each for two seconds at most; what is not required (Redis) is shown
and never makes the service unready. What is in error texts of dependencies is masked as in the log.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from revoker.errors import ConfigurationError
from revoker.logs import get_logger, mask_error, mask_text
from revoker.serving import GuestServer

Liveness = Callable[[], str | None]
"""Why the process is stuck; None: it is not."""
Probe = Callable[[], Awaitable[str | None]]
"""Why a dependency cannot be used; None: it can. What it raises is a reason, too."""

_CHECK_SECONDS: Final = 2.0
_NO_ANSWER: Final = f"no answer within {_CHECK_SECONDS:g} s"
_STOP_SECONDS: Final = 3.0
_MAX_REASON: Final = 300
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_TITLES: Final = {404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One dependency."""

    probe: Probe
    required: bool = True


class Readiness:
    """Asks all dependencies at once. A probe that still runs is not started again: probes never pile up."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self._running: dict[str, asyncio.Task[str | None]] = {}

    async def report(self) -> dict[str, Any]:
        """`{"ready": …, "checks": {name: {"ok": …, "reason": …, "required": false}}}`."""
        tasks = {name: self._task(name) for name in self._checks}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=_CHECK_SECONDS)
        reasons = {name: _reason(task) for name, task in tasks.items()}
        return {
            "ready": all(reasons[name] is None for name, check in self._checks.items() if check.required),
            "checks": {name: _told(reasons[name], check) for name, check in self._checks.items()},
        }

    def _task(self, name: str) -> asyncio.Task[str | None]:
        running = self._running.get(name)
        if running is None or running.done():
            running = self._running[name] = asyncio.create_task(_asked(self._checks[name].probe))
        return running


def admin_app(registry: CollectorRegistry, liveness: Liveness, checks: Mapping[str, Check]) -> Starlette:
    """The three endpoints, for GET and HEAD."""
    readiness = Readiness(checks)

    async def livez(_request: Request) -> Response:
        stuck = liveness()
        if stuck is None:
            return _json({"alive": True})
        return _json({"alive": False, "reason": mask_text(stuck, _MAX_REASON)}, 503)

    async def readyz(_request: Request) -> Response:
        report = await readiness.report()
        return _json(report, 200 if report["ready"] else 503)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers=_HEADERS | {"Content-Type": content_type})

    app = Starlette(
        routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return app


class AdminServer:
    """Serves an application in the running loop. Leaves signals alone; stops within seconds, once or twice."""

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        self._app = app
        self._address = (host, port)
        self._port: int | None = None
        self._server: GuestServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """Where it listens, also when a free port was asked for."""
        if self._port is None:
            raise RuntimeError("The admin server was never started")
        return self._port

    async def start(self) -> None:
        """Listen. From here on connections are taken, or wait until they are."""
        listening = await _listening(*self._address)
        self._port = listening.getsockname()[1]
        self._server = GuestServer(
            uvicorn.Config(
                self._app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._serving = asyncio.create_task(self._server.serve([listening]), name="admin-server")
        _log.info("admin-listening", host=self._address[0], port=self._port)

    async def stop(self) -> None:
        """Answer what is being asked, then close."""
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        server.should_exit = True
        await asyncio.wait([serving], timeout=_STOP_SECONDS)
        if not serving.done():
            serving.cancel()
        for connection in list(server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        with suppress(asyncio.CancelledError):
            await serving
        self._server = self._serving = None


async def _listening(host: str, port: int) -> socket.socket:
    """A listening socket. uvicorn would leave the process when it gets none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # `localhost` means 127.0.0.1 to most who ask.
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=128, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigurationError(f"admin_host, admin_port: cannot listen on {host}:{port}: {error.strerror}") from error


async def _asked(probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS) as deadline:
            return await probe()
    except Exception as error:  # noqa: BLE001 - whatever a probe raises is the answer
        return _NO_ANSWER if deadline.expired() else mask_error(error)


def _reason(task: asyncio.Task[str | None]) -> str | None:
    if not task.done() or task.cancelled():
        return _NO_ANSWER
    return task.result()


def _told(reason: str | None, check: Check) -> dict[str, Any]:
    told: dict[str, Any] = {"ok": reason is None}
    if reason is not None:
        told["reason"] = mask_text(reason, _MAX_REASON)
    return told if check.required else told | {"required": False}


def _json(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body, status, headers=_HEADERS | dict(headers or {}))


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    return _problem(status, headers)


async def _failed(_request: Request, _error: Exception) -> Response:
    return _problem(500)


def _problem(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """RFC 9457, naming nothing of ours."""
    kind = {"Content-Type": "application/problem+json"}
    return _json({"title": _TITLES.get(status, "Refused"), "status": status}, status, kind | dict(headers or {}))
