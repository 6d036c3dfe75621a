"""What an operator's probe and scrape get, over real HTTP, and that the server comes and goes cleanly."""

import asyncio
import json
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from revoker import admin
from revoker.admin import AdminServer, Check, admin_app
from revoker.errors import ConfigurationError, UnavailableError
from revoker.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


async def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    named = (field.partition(": ") for field in fields)
    return Answer(int(status.split()[1]), {name.lower(): value for name, _, value in named}, body)


async def fine() -> str | None:
    return None


def saying(reason: str) -> Callable[[], Awaitable[str | None]]:
    async def probe() -> str | None:
        return reason

    return probe


def raising(error: Exception) -> Callable[[], Awaitable[str | None]]:
    async def probe() -> str | None:
        raise error

    return probe


def serving(*, stuck: str | None = None, registry: CollectorRegistry | None = None, **checks: Check) -> AdminServer:
    app = admin_app(registry or CollectorRegistry(), lambda: stuck, checks)
    return AdminServer(app, host="127.0.0.1", port=0)


async def test_a_process_that_moves_is_alive() -> None:
    async with serving() as server:
        answer = await ask(server.port, "/livez")

    assert (answer.status, answer.told) == (200, {"alive": True})
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


async def test_a_process_that_is_stuck_says_why() -> None:
    async with serving(stuck="no poll for 61 s", database=Check(fine)) as server:
        answer = await ask(server.port, "/livez")

    assert (answer.status, answer.told) == (503, {"alive": False, "reason": "no poll for 61 s"})


async def test_ready_when_every_dependency_is() -> None:
    async with serving(kafka=Check(fine), redis=Check(fine, required=False)) as server:
        answer = await ask(server.port, "/readyz")

    checks = {"kafka": {"ok": True}, "redis": {"ok": True, "required": False}}
    assert (answer.status, answer.told) == (200, {"ready": True, "checks": checks})


async def test_a_required_dependency_makes_it_unready() -> None:
    async with serving(kafka=Check(fine), database=Check(saying("schema 0001, needs 0002"))) as server:
        answer = await ask(server.port, "/readyz")

    assert answer.status == 503
    checks = {"kafka": {"ok": True}, "database": {"ok": False, "reason": "schema 0001, needs 0002"}}
    assert answer.told == {"ready": False, "checks": checks}


async def test_redis_never_makes_it_unready() -> None:
    redis = Check(raising(UnavailableError("connection refused")), required=False)
    async with serving(database=Check(fine), redis=redis) as server:
        answer = await ask(server.port, "/readyz")

    assert (answer.status, answer.told["ready"]) == (200, True)
    reason = "revoker.errors.UnavailableError: connection refused"
    assert answer.told["checks"]["redis"] == {"ok": False, "reason": reason, "required": False}


@pytest.mark.parametrize(
    "check",
    [
        saying("cannot reach postgresql://revoker:hunter2@db:5432/revoker"),
        raising(OSError("cannot reach postgresql://revoker:hunter2@db:5432/revoker")),
        raising(RuntimeError("password=hunter2\nfor alice@example.com")),
    ],
)
async def test_a_reason_holds_no_credentials(check: Callable[[], Awaitable[str | None]]) -> None:
    async with serving(stuck="redis://:hunter2@cache", database=Check(check)) as server:
        answers = [await ask(server.port, "/readyz"), await ask(server.port, "/livez")]

    for answer in answers:
        assert answer.status == 503
        assert b"hunter2" not in answer.body
        assert b"alice" not in answer.body


async def test_checks_run_side_by_side_each_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_CHECK_SECONDS", 0.2)
    release = asyncio.Event()
    asked: list[str] = []

    async def hanging() -> str | None:
        asked.append("hanging")
        await release.wait()
        return None

    async def stubborn() -> str | None:
        asked.append("stubborn")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return None

    checks = {f"hanging-{index}": Check(hanging) for index in range(5)}
    app = admin_app(CollectorRegistry(), lambda: None, checks | {"stubborn": Check(stubborn), "fine": Check(fine)})
    async with AdminServer(app, host="127.0.0.1", port=0) as server:
        start = asyncio.get_running_loop().time()
        answer = await ask(server.port, "/readyz")
        again = await ask(server.port, "/readyz")
        took = asyncio.get_running_loop().time() - start
        times_asked = asked.count("stubborn")
        release.set()
        last = await ask(server.port, "/readyz")

    assert took < 1.5
    for one in (answer, again):
        told = one.told["checks"]
        assert told.pop("fine") == {"ok": True}
        assert {check["reason"] for check in told.values()} == {"no answer within 2 s"}
    assert times_asked == 1
    assert last.told["ready"] is True


async def test_a_time_out_of_the_probe_itself_is_told_as_it_is() -> None:
    async with serving(kafka=Check(raising(TimeoutError("no metadata in 0.5 s")))) as server:
        answer = await ask(server.port, "/readyz")

    assert answer.told["checks"]["kafka"]["reason"] == "TimeoutError: no metadata in 0.5 s"


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", b"\n"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0", b"# EOF\n"),
    ],
)
async def test_metrics_are_given_as_asked(accept: str, content_type: str, end: bytes) -> None:
    metrics = Metrics()
    metrics.swept(3)
    async with serving(registry=metrics.registry) as server:
        answer = await ask(server.port, "/metrics", Accept=accept)

    assert answer.status == 200
    assert answer.headers["content-type"].startswith(content_type)
    assert answer.headers["cache-control"] == "no-store"
    assert b"revoker_swept_batches_total 3.0" in answer.body
    assert answer.body.endswith(end)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_only_get_and_head(path: str) -> None:
    async with serving() as server:
        head, get = await ask(server.port, path, "HEAD"), await ask(server.port, path)
        others = [await ask(server.port, path, method) for method in ("POST", "DELETE", "OPTIONS", "TRACE")]

    assert (head.status, head.body) == (get.status, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    for answer in others:
        assert (answer.status, answer.told) == (405, {"title": "Method Not Allowed", "status": 405})
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/", "/livez/", "/docs", "/metrics/../etc/passwd", "/%00", "/livez%0d%0aSet-Cookie:x"]
)
async def test_what_is_not_there_says_nothing_more(path: str) -> None:
    async with serving() as server:
        answer = await ask(server.port, path)

    assert (answer.status, answer.told) == (404, {"title": "Not Found", "status": 404})
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_failure_of_ours_names_no_internals(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str | None:
        raise RuntimeError("hunter2")

    async with AdminServer(admin_app(CollectorRegistry(), broken, {}), host="127.0.0.1", port=0) as server:
        answer = await ask(server.port, "/livez")

    assert (answer.status, answer.told) == (500, {"title": "Internal Server Error", "status": 500})
    assert "RuntimeError" in caplog.text


async def test_signals_are_left_to_others() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving() as server:
        await ask(server.port, "/livez")
        during = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    assert during == before


async def test_it_stops_twice_and_at_once_and_frees_the_port() -> None:
    server = serving()
    await server.stop()
    await server.start()
    port = server.port
    await asyncio.gather(server.stop(), server.stop())
    await server.stop()

    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_stopping_is_bounded_whatever_clients_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_STOP_SECONDS", 1.0)
    entered = asyncio.Event()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive, send
        entered.set()
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                if asyncio.get_running_loop().time() > start + 5:
                    raise

    async with asyncio.timeout(10):
        server = AdminServer(never, host="127.0.0.1", port=0)
        await server.start()
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", server.port)
        asking, asking_writer = await asyncio.open_connection("127.0.0.1", server.port)
        asking_writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await entered.wait()
        start = asyncio.get_running_loop().time() - 4.5
        stopping = asyncio.get_running_loop().time()
        await server.stop()
        took = asyncio.get_running_loop().time() - stopping

        assert took < 3
        assert await silent.read() == b""
        with suppress(ConnectionResetError):
            assert await asking.read() == b""
        for writer in (silent_writer, asking_writer):
            writer.close()


async def test_localhost_means_ipv4_first() -> None:
    app = admin_app(CollectorRegistry(), lambda: None, {})
    async with AdminServer(app, host="localhost", port=0) as server:
        assert (await ask(server.port, "/livez")).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_an_address_that_cannot_be_had_is_a_configuration_error(host: str) -> None:
    async with serving() as server:
        other = AdminServer(admin_app(CollectorRegistry(), lambda: None, {}), host=host, port=server.port)
        with pytest.raises(ConfigurationError, match=f"cannot listen on {host}"):
            await other.start()
        await other.stop()
