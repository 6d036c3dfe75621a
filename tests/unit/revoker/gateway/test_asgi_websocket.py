"""WebSockets through the middleware: what the server is told, what the application hears, and when it is over."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from revoker.gateway import Hold, Revocation, RevocationMiddleware, SessionClaims, Stale, header_claims
from revoker.gateway.asgi_guard import App, Message, Receive, Scope, Send
from revoker.gateway.testing import TestGateway, ended, held
from tests.asgi import DEADLINE, Connection, websocket

ALICE = {"x-revoker-subject": "alice", "x-revoker-session": "s-1"}
CLOSED: Message = {"type": "websocket.close", "code": 4401, "reason": "password-changed"}
GONE: Message = {"type": "websocket.disconnect", "code": 4401, "reason": "password-changed"}
ACCEPT: Message = {"type": "websocket.accept"}


class Tries(TestGateway):
    """Remembers what it was told of tries with the dead."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.tries: list[tuple[str, str | None]] = []

    def refused(
        self,
        claims: SessionClaims,
        verdict: Revocation | Hold | Stale,
        ip: str | None = None,
        *,
        verified: bool = False,
    ) -> None:
        super().refused(claims, verdict, ip, verified=verified)
        self.tries.append((claims.subject or "", ip))


@pytest.fixture
async def gateway() -> AsyncIterator[Tries]:
    async with Tries(close_grace=0.2) as running:
        await running.ready(DEADLINE)
        yield running


def opened(app: App, gateway: TestGateway, **scope: Any) -> Connection:
    return websocket(RevocationMiddleware(app, gateway, header_claims()), ALICE, **scope).start()


async def handshake(receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize("wakes", [True, False])
async def test_an_application_that_waits_hears_a_disconnect(gateway: Tries, wakes: bool) -> None:  # noqa: FBT001 - both
    heard: list[Message] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        heard.append(await receive())
        heard.append(await receive())

    connection = opened(app, gateway)
    connection.wakes = wakes
    await connection.says(1)

    await gateway.feed(ended("alice", sessions=["s-1"]))

    assert await connection.over() == [ACCEPT, CLOSED]
    assert heard == [GONE, GONE]
    assert (len(gateway.connections), gateway.tries) == (0, [])


async def test_an_application_hears_it_wherever_it_waits(gateway: Tries) -> None:
    heard: list[Message] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        heard.append(await asyncio.wait_for(receive(), DEADLINE))
        async with asyncio.TaskGroup() as group:
            heard.append(await group.create_task(_coroutine(receive)))

    connection = opened(app, gateway)
    await connection.says(1)
    await gateway.feed(ended("alice", sessions=["s-1"]))
    await connection.over()

    assert heard == [GONE, GONE]


async def _coroutine(receive: Receive) -> Message:
    return await receive()


async def test_messages_pass_both_ways_until_then(gateway: Tries) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    connection = opened(app, gateway)
    connection.put({"type": "websocket.receive", "text": "one"}, {"type": "websocket.receive", "text": "two"})
    await connection.says(3)
    connection.put({"type": "websocket.disconnect", "code": 1001})

    sent = await connection.over()

    assert [message.get("text") for message in sent] == [None, "one", "two"]
    assert len(gateway.connections) == 0


async def test_what_the_client_says_after_the_end_reaches_nobody(gateway: Tries) -> None:
    heard: list[Message] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        await gateway.feed(ended("alice", sessions=["s-1"]))
        heard.append(await receive())

    connection = opened(app, gateway)
    connection.put({"type": "websocket.receive", "text": "transfer all"})
    await connection.over()

    assert heard == [GONE]


async def test_what_the_application_says_after_the_end_reaches_nobody(gateway: Tries) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        await gateway.feed(ended("alice", sessions=["s-1"]))
        await send({"type": "websocket.send", "text": "a secret"})

    assert await opened(app, gateway).over() == [ACCEPT, CLOSED]


async def test_an_application_that_never_stops_sending_is_stopped(gateway: Tries) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        while True:
            await send({"type": "websocket.send", "text": "tick"})
            if len(gateway.connections):
                await asyncio.sleep(0)

    connection = opened(app, gateway)
    await connection.says(2)
    await gateway.feed(ended("alice", sessions=["s-1"]))

    assert (await connection.over())[-1] == CLOSED


@pytest.mark.parametrize("gives_in", [True, False])
async def test_an_application_that_does_not_care_is_cancelled_after_the_grace(gateway: Tries, gives_in: bool) -> None:  # noqa: FBT001 - both ways
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if gives_in:
                raise

    connection = opened(app, gateway)
    await connection.says(1)
    await gateway.feed(ended("alice", sessions=["s-1"]))

    assert await connection.over() == [ACCEPT, CLOSED]
    assert connection.task is not None
    assert connection.task.cancelling() == 0


async def test_an_application_may_take_its_time_to_clean_up(gateway: Tries) -> None:
    cleaned: list[str] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        await receive()
        await asyncio.sleep(0.01)
        cleaned.append("up")

    connection = opened(app, gateway)
    await connection.says(1)
    await gateway.feed(ended("alice", sessions=["s-1"]))
    await connection.over()

    assert cleaned == ["up"]


async def test_a_server_that_cancels_is_obeyed(gateway: Tries) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        await receive()

    connection = opened(app, gateway)
    await connection.says(1)
    assert connection.task is not None
    connection.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await connection.over()
    assert len(gateway.connections) == 0


# Handshakes


async def never(*_: object) -> None:
    pytest.fail("the application was asked")


async def test_a_handshake_of_the_dead_is_accepted_and_closed(gateway: Tries) -> None:
    await gateway.feed(ended("alice", sessions=["s-1"]))

    sent = await opened(never, gateway).over()

    assert sent == [{"type": "websocket.accept", "subprotocol": None}, CLOSED]
    assert gateway.tries == [("alice", "192.0.2.7")]


async def test_a_handshake_on_hold_is_told_so(gateway: Tries) -> None:
    await gateway.feed(held("alice"))

    sent = await opened(never, gateway).over()

    assert sent[1] == {"type": "websocket.close", "code": 4403, "reason": "held"}


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["chat.v2", "chat.v1"], "chat.v2"),
        (["bearer." + "x" * 100, "chat.v1"], "chat.v1"),
        (["bearer." + "x" * 100], "bearer." + "x" * 100),
    ],
)
async def test_one_of_the_offered_subprotocols_is_chosen(
    gateway: Tries, offered: list[str], chosen: str | None
) -> None:
    await gateway.feed(ended("alice", sessions=["s-1"]))

    sent = await opened(never, gateway, subprotocols=offered).over()

    assert sent[0] == {"type": "websocket.accept", "subprotocol": chosen}


async def test_a_session_that_ends_before_the_application_accepts_is_told_all_the_same(gateway: Tries) -> None:
    asked = asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asked.set()
        await receive()
        await send({"type": "websocket.accept"})

    connection = opened(app, gateway)
    await asked.wait()
    await gateway.feed(ended("alice", sessions=["s-1"]))

    assert await connection.over() == [{"type": "websocket.accept", "subprotocol": None}, CLOSED]


@pytest.mark.parametrize("answer", ["websocket.close", "websocket.http.response.start"])
async def test_what_the_application_refuses_itself_stays_refused(gateway: Tries, answer: str) -> None:
    asked = asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": answer})
        asked.set()
        await receive()

    connection = opened(app, gateway)
    await asked.wait()
    await gateway.feed(ended("alice", sessions=["s-1"]))

    assert await connection.over() == [{"type": answer}]


async def test_a_client_that_has_left_already_is_told_nothing(gateway: Tries) -> None:
    await gateway.feed(ended("alice", sessions=["s-1"]))
    connection = Connection(
        RevocationMiddleware(never, gateway, header_claims()),
        {"type": "websocket", "path": "/", "headers": [(k.encode(), v.encode()) for k, v in ALICE.items()]},
    )

    assert await connection.put({"type": "websocket.disconnect", "code": 1006}).start().over() == []


# Clients that do not read, and views that grow old


async def test_a_client_that_does_not_read_holds_up_nobody(gateway: Tries) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        while True:
            await send({"type": "websocket.send", "text": "tick"})
            await asyncio.sleep(0)

    slow = [opened(app, gateway) for _ in range(20)]
    for connection in slow:
        await connection.says(2)
        connection.reads.clear()
    quick = opened(app, gateway)
    await quick.says(2)

    feeding = asyncio.create_task(gateway.feed(ended("alice", sessions=["s-1"])))

    assert (await quick.over())[-1] == CLOSED
    for connection in slow:
        sent = await connection.over()
        assert CLOSED not in sent
    async with asyncio.timeout(DEADLINE):
        await feeding


async def test_nothing_is_sent_once_a_strict_gateway_cannot_know() -> None:
    async with TestGateway(mode="strict", close_grace=0.2) as gateway:
        await gateway.ready(DEADLINE)

        async def app(_: Scope, receive: Receive, send: Send) -> None:
            await handshake(receive, send)
            gateway._feed.lose()  # as a process that was stopped for long wakes up: no timer has run yet
            await send({"type": "websocket.send", "text": "a secret"})
            assert (await receive())["type"] == "websocket.disconnect"

        sent = await opened(app, gateway).over()

        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
        assert sent[1]["reason"] == "stale"


# Who is asked, and who is not


async def test_anonymous_connections_pass_untouched(gateway: Tries) -> None:
    given: list[object] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        given.extend((receive, send))

    connection = websocket(RevocationMiddleware(app, gateway, header_claims()), {}).start()
    await connection.over()

    assert given == [connection._receive, connection._send]


async def test_identify_may_be_a_coroutine_and_name_several(gateway: Tries) -> None:
    async def identify(_: Scope) -> list[SessionClaims]:
        await asyncio.sleep(0)
        return [SessionClaims(subject="mallory"), SessionClaims(subject="alice")]

    await gateway.feed(ended("alice"))

    sent = await websocket(RevocationMiddleware(never, gateway, identify), {}).start().over()

    assert sent[1] == CLOSED


async def test_a_bug_in_identify_lets_nobody_in(gateway: Tries) -> None:
    def identify(_: Scope) -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        await websocket(RevocationMiddleware(never, gateway, identify), {}).start().over()


async def test_no_handshake_slips_past_its_revocation(gateway: Tries) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await handshake(receive, send)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def revoke(name: str) -> None:
        for _ in range(random.randrange(8)):
            await asyncio.sleep(0)
        await gateway.feed(ended(name, sessions=[f"s-{name}"]))

    guarded = RevocationMiddleware(app, gateway, header_claims())
    for number in range(1_000):
        name = f"u-{number}"
        revoking = asyncio.create_task(revoke(name))
        for _ in range(random.randrange(8)):
            await asyncio.sleep(0)
        connection = websocket(guarded, {"x-revoker-subject": name, "x-revoker-session": f"s-{name}"})
        connection.wakes = True
        connection.start()

        sent = await connection.over()
        await revoking

        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert len(gateway.connections) == 0
