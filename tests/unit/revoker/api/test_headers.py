"""What every answer carries, who may read it from elsewhere, and how much a request may bring."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Form, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message

from revoker.api.bodies import Bodies, body
from revoker.api.failing import HANDLERS
from revoker.api.headers import HEADERS, guarded
from revoker.settings import HttpSettings

APP = "https://app.example"
READER = "https://reader.example"


def routes() -> FastAPI:
    app = FastAPI(exception_handlers=dict(HANDLERS))

    @app.get("/plain")
    async def plain() -> Response:
        return PlainTextResponse("x")

    @app.get("/own")
    async def own() -> Response:
        return PlainTextResponse("x", headers={"Content-Security-Policy": "default-src 'self'", "Cache-Control": "x"})

    @app.post("/raw")
    async def raw(request: Request) -> Response:
        return PlainTextResponse(str(len(await body(request, 70_000, "text/plain"))))

    @app.post("/form")
    async def form(field: Annotated[str, Form()]) -> Response:
        return PlainTextResponse(str(len(field)))

    return app


def client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here.example")


async def asked(http: HttpSettings, method: str, path: str, **given: Any) -> httpx.Response:
    async with client(guarded(routes(), http)) as asking:
        return await asking.request(method, path, **given)


@pytest.mark.parametrize("path", ["/plain", "/nowhere", "/own"])
async def test_every_answer_has_them(path: str) -> None:
    answer = await asked(HttpSettings(), "GET", path)

    assert HEADERS.keys() <= answer.headers.keys()
    assert all(len(answer.headers.get_list(name)) == 1 for name in HEADERS)
    if path == "/own":
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        assert answer.headers["cache-control"] == "x"
    else:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


async def test_only_https_is_told_to_stay_so() -> None:
    name = "strict-transport-security"
    assert name not in (await asked(HttpSettings(), "GET", "/plain")).headers
    assert name not in (await asked(HttpSettings(public_url="http://here.example"), "GET", "/plain")).headers
    assert name in (await asked(HttpSettings(public_url="https://here.example"), "GET", "/plain")).headers


async def test_only_named_origins_may_read_and_only_trusted_ones_with_cookies() -> None:
    http = HttpSettings(origins=(APP,), cors_origins=(READER,))
    for origin, allowed, cookies in ((APP, APP, "true"), (READER, READER, None), ("https://evil.example", None, None)):
        answer = await asked(http, "GET", "/plain", headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers.get("access-control-allow-credentials") == cookies
        assert "origin" in answer.headers["vary"].lower()
        preflight = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
        answer = await asked(http, "OPTIONS", "/plain", headers=preflight)
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers.get("access-control-allow-credentials") == cookies

    answer = await asked(HttpSettings(), "GET", "/plain", headers={"Origin": APP})
    assert "access-control-allow-origin" not in answer.headers


async def _parts(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize(("path", "kind"), [("/raw", "text/plain"), ("/form", "application/x-www-form-urlencoded")])
async def test_long_bodies_are_refused(path: str, kind: str, *, is_announced: bool) -> None:
    http = HttpSettings(max_body=65_536)
    sent: Any = b"field=" + b"x" * 65_531 if is_announced else _parts(40_000, 40_000)
    answer = await asked(http, "POST", path, content=sent, headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.headers["connection"] == "close"

    sent = b"field=" + b"x" * 65_530
    assert (await asked(http, "POST", path, content=sent, headers={"Content-Type": kind})).status_code == 200


async def test_what_does_not_come_in_time_is_refused() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        if not sent_first:
            sent_first.append(True)
            return {"type": "http.request", "body": b"x", "more_body": True}
        return await asyncio.Event().wait()  # type: ignore[return-value] # never

    async def send(message: Message) -> None:
        sent.append(message)

    sent_first: list[bool] = []
    headers = [(b"content-type", b"text/plain")]
    scope = {"type": "http", "method": "POST", "path": "/raw", "headers": headers, "query_string": b""}
    async with asyncio.timeout(30):
        await Bodies(routes(), 100, seconds=0.05)(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_a_stream_may_last() -> None:
    """Once a request is complete, waiting for somebody to leave has no end."""
    left = asyncio.Event()

    async def receive() -> Message:
        if not asked_before:
            asked_before.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        kinds.append((await receive())["type"])

    asked_before: list[bool] = []
    kinds: list[str] = []
    streaming = asyncio.create_task(Bodies(app, 100, seconds=0.01)({"type": "http", "headers": []}, receive, _nothing))
    await asyncio.sleep(0.05)
    left.set()
    async with asyncio.timeout(30):
        await streaming
    assert kinds == ["http.disconnect"]


async def _nothing(_message: Message) -> None:
    pass
