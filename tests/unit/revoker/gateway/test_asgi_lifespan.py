"""The gateway's life beside the application's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from revoker.gateway import RevocationMiddleware, header_claims
from revoker.gateway.asgi_guard import App, Message, Receive, Scope, Send
from revoker.gateway.testing import TestGateway
from tests.asgi import Connection, http

STARTUP: Message = {"type": "lifespan.startup"}
SHUTDOWN: Message = {"type": "lifespan.shutdown"}


def lived(app: App, gateway: TestGateway) -> Connection:
    return Connection(RevocationMiddleware(app, gateway, header_claims()), {"type": "lifespan"}).start()


async def test_the_gateway_lives_longer_than_the_application() -> None:
    gateway = TestGateway()
    seen: list[bool] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        seen.append(gateway._is_running())
        assert await receive() == STARTUP
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == SHUTDOWN
        seen.append(gateway._is_running())
        await send({"type": "lifespan.shutdown.complete"})

    connection = lived(app, gateway).put(STARTUP)
    await connection.says(1)
    await gateway.ready(10)
    connection.put(SHUTDOWN)

    sent = await connection.over()

    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert seen == [True, True]
    assert gateway.health().state == "stopped"


async def raises_at_once(*_: object) -> None:
    raise ValueError("no lifespan here")


async def raises_after_asking(_: Scope, receive: Receive, __: Send) -> None:
    await receive()
    raise ValueError("no lifespan here")


async def returns(*_: object) -> None:
    pass


@pytest.mark.parametrize("app", [raises_at_once, raises_after_asking, returns])
async def test_without_a_lifespan_of_the_application_the_gateway_has_its_own(
    app: Callable[..., Awaitable[None]],
) -> None:
    gateway = TestGateway()
    connection = lived(app, gateway).put(STARTUP)
    await connection.says(1)
    assert gateway._is_running()
    connection.put(SHUTDOWN)

    sent = await connection.over()

    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert gateway.health().state == "stopped"


async def test_an_application_that_fails_to_start_is_believed() -> None:
    gateway = TestGateway()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    sent = await lived(app, gateway).put(STARTUP).over()

    assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]
    assert gateway.health().state == "stopped"


async def test_an_application_that_breaks_later_is_served_and_guarded_on() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise LookupError("a bug")

    gateway = TestGateway()
    with pytest.raises(LookupError):
        await lived(app, gateway).put(STARTUP).over()
    assert gateway._is_running()
    await gateway.stop()


async def test_a_gateway_that_cannot_start_is_told_at_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise OSError("no such file")

    gateway = TestGateway()
    monkeypatch.setattr(gateway, "start", broken)
    connection = lived(returns, gateway).put(STARTUP)

    with pytest.raises(OSError, match="no such file"):
        await connection.over()
    assert connection.sent == [{"type": "lifespan.startup.failed", "message": "revoker.gateway: no such file"}]


async def test_without_any_lifespan_the_first_request_starts_it() -> None:
    gateway = TestGateway()
    app = RevocationMiddleware(returns, gateway, header_claims())

    await http(app, {}).start().over()

    assert gateway._is_running()
    await gateway.stop()


async def test_a_request_after_the_shutdown_does_not_start_it_again() -> None:
    gateway = TestGateway()
    app = RevocationMiddleware(returns, gateway, header_claims())
    await Connection(app, {"type": "lifespan"}).put(STARTUP, SHUTDOWN).start().over()

    await http(app, {}).start().over()

    assert not gateway._is_running()


async def test_other_scopes_are_none_of_our_business() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        await asyncio.sleep(0)
        seen.append(scope["type"])

    await Connection(RevocationMiddleware(app, TestGateway(), header_claims()), {"type": "http3.new"}).start().over()

    assert seen == ["http3.new"]
