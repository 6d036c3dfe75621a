"""For your own tests: a gateway that is fed by hand, without Kafka, Redis or the service.

Everything but the feed is the real thing: the index, the connections, the middleware, the bytes of the notifications.

    import pytest
    from starlette.applications import Starlette
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocket, WebSocketDisconnect
    from starlette.routing import WebSocketRoute

    from revoker.gateway import RevocationMiddleware, header_claims
    from revoker.gateway.testing import TestGateway, ended


    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        async for message in websocket.iter_text():
            await websocket.send_text(message)


    def test_a_password_change_closes_the_socket() -> None:
        gateway = TestGateway()
        app = RevocationMiddleware(Starlette(routes=[WebSocketRoute("/", chat)]), gateway, header_claims())
        alice = {"x-revoker-subject": "alice", "x-revoker-session": "s-1"}

        with TestClient(app) as client, client.websocket_connect("/", headers=alice) as socket:
            gateway.apply(ended("alice", sessions=["s-1"]))

            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_text()
        assert (closed.value.code, closed.value.reason) == (4401, "password-changed")

A test runs this example. In a test that is a coroutine, `await gateway.feed(...)` does what `apply` does.
"""

import asyncio
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from revoker.core import notices
from revoker.core.ids import RevocationId
from revoker.core.revocation import Revocation, Selector
from revoker.gateway.clock import elapsed
from revoker.gateway.feeds import Sink
from revoker.gateway.gateway import Gateway
from schemas.cloudevent import SPECVERSION
from schemas.selectors import Selector as WireSelector
from schemas.session_ended import HoldLiftedNotice, HoldLiftedNoticeData, HoldPlacedNotice, HoldPlacedNoticeData

__all__ = ["TestGateway", "ended", "held", "lifted"]

_PLACE: Final = 0
_FRESH_SECONDS: Final = 0.1
_APPLY_SECONDS: Final = 30.0
_LIFETIME: Final = timedelta(days=30)


def ended(
    subject: str | None = None,
    *,
    sessions: Iterable[str] = (),
    tenant: str = "",
    session_id: str | None = None,
    client_id: str | None = None,
    token_id: str | None = None,
    keep: Iterable[str] = (),
    not_before: datetime | None = None,
    cause: str = "password-changed",
    initiator: str = "user",
    reason: str = "Your password was changed",
) -> bytes:
    """A `session-ended` notification, as it travels.

    What it covers is what the selector (`subject`, `session_id`, `client_id`, `token_id`) matches and what was
    established at or before `not_before` (now), but for `keep`. `sessions` are those that it names besides, as the
    service does: a gateway whose claims know a session id but no time of sign-in goes by them.
    """
    now = datetime.now(UTC)
    about = not_before or now
    revocation = Revocation(
        id=RevocationId(uuid.uuid4()),
        selector=Selector(
            tenant=tenant,
            subject=subject,
            session_ids=(session_id,) if session_id else (),
            client_id=client_id,
            token_id=token_id,
        ),
        not_before=about,
        keep=tuple(keep),
        covers_until=about + _LIFETIME,
        cause=cause,
        initiator=initiator,
        reason_user={"en": reason},
        source="revoker.gateway.testing",
        event_id=uuid.uuid4().hex,
        requested_at=now,
    )
    named = [notices.EndedSession(one, client_id or "", None) for one in sessions]
    return notices.ended(revocation, now, named)[0].body


def held(
    subject: str | None = None,
    *,
    hold_id: str = "hold-1",
    tenant: str = "",
    session_id: str | None = None,
    lasts: timedelta = timedelta(hours=1),
    reason: str = "Your account is being looked at",
) -> bytes:
    """A `hold-placed` notification, as it travels."""
    now = datetime.now(UTC)
    known: dict[str, Any] = {"tenant": tenant, "subject": subject, "session_id": session_id}
    data = HoldPlacedNoticeData(
        hold_id=hold_id,
        selector=WireSelector(**{name: value for name, value in known.items() if value is not None}),
        until=now + lasts,
        reason_user={"en": reason},
    )
    notice = HoldPlacedNotice(type="hold-placed", data=data, **_envelope(now, tenant, subject))
    return notice.model_dump_json(exclude_unset=True).encode()


def lifted(hold_id: str = "hold-1", *, tenant: str = "") -> bytes:
    """A `hold-lifted` notification, as it travels."""
    now = datetime.now(UTC)
    data = HoldLiftedNoticeData(hold_id=hold_id, at=now)
    notice = HoldLiftedNotice(type="hold-lifted", data=data, **_envelope(now, tenant, None))
    return notice.model_dump_json(exclude_unset=True).encode()


class TestGateway(Gateway):
    """A gateway that is fed by hand. It is ready as soon as it is started, and sends no receipts."""

    __test__: ClassVar[bool] = False
    """Pytest collects what is called Test-something."""

    def __init__(self, name: str = "testing", **options: Any) -> None:  # noqa: ANN401 - those of Gateway, as they are there
        """Takes what `Gateway` takes, such as `mode` and `close_grace`."""
        chosen: dict[str, Any] = {"bootstrap_servers": "by.hand:0", "receipts": False} | options
        super().__init__(name, **chosen)
        self._feed = _ByHand()

    async def start(self) -> None:
        """As `Gateway.start`."""
        with self._starting:
            if not self._is_running():
                if self._instance.view.stopped or self._instance.loop is not None:
                    self._renew(self.connections)
                self._instance.start(self._feed, None)

    async def feed(self, *notifications: bytes) -> None:
        """Applies them; returns when every connection that they concern is closed. The gateway must be started."""
        home = self._home()
        if home is asyncio.get_running_loop():
            await self._apply(notifications)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._apply(notifications), home))

    def apply(self, *notifications: bytes) -> None:
        """The same for a test that is no coroutine; the gateway runs in another thread then."""
        home = self._home()
        asyncio.run_coroutine_threadsafe(self._apply(notifications), home).result(_APPLY_SECONDS)

    def lose_feed(self) -> None:
        """From now on it cannot know who is ended: a strict one refuses and cuts."""
        self._home().call_soon_threadsafe(self._feed.lose)

    def regain_feed(self) -> None:
        """It knows again."""
        self._home().call_soon_threadsafe(self._feed.regain)

    async def _apply(self, notifications: Iterable[bytes]) -> None:
        await self._feed.hand_over(list(notifications))
        await self._instance.applier.finished()

    def _home(self) -> asyncio.AbstractEventLoop:
        loop = self._instance.loop
        if loop is None:
            raise RuntimeError("the gateway is not started: enter it, or make a request through the middleware")
        return loop


class _ByHand:
    """`revoker.gateway.feeds.Feed`."""

    def __init__(self) -> None:
        self._sink: Sink | None = None
        self._lost = False
        self._following = 0

    async def run(self, sink: Sink) -> None:
        sink.epoch("testing")
        sink.begin(_PLACE, self._following)
        self._sink = sink
        try:
            while True:
                if not self._lost:
                    sink.current(elapsed())
                await asyncio.sleep(_FRESH_SECONDS)
        finally:
            self._sink = None

    async def hand_over(self, notifications: list[bytes]) -> None:
        while self._sink is None:  # noqa: ASYNC110 - it runs from the next turn of its loop on
            await asyncio.sleep(0)
        first, self._following = self._following, self._following + len(notifications)
        await self._sink.records(_PLACE, list(enumerate(notifications, first)), self._following)

    def lose(self) -> None:
        self._lost = True
        if self._sink is not None:
            self._sink.lost("the test says so")

    def regain(self) -> None:
        self._lost = False
        if self._sink is not None:
            self._sink.current(elapsed())


def _envelope(now: datetime, tenant: str, subject: str | None) -> dict[str, Any]:
    envelope = {"specversion": SPECVERSION, "id": str(uuid.uuid4()), "source": "revoker", "time": now, "tenant": tenant}
    return envelope | ({} if subject is None else {"subject": subject})
