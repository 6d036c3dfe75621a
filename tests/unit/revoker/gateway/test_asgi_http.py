"""Requests through the middleware: which answers pass, which are refused, which are cut, and how."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from revoker.gateway import RevocationMiddleware, header_claims
from revoker.gateway.asgi_guard import App, Message, Receive, Scope, Send
from revoker.gateway.testing import TestGateway, ended, held
from tests.asgi import DEADLINE, Connection, http

ALICE = {"x-revoker-subject": "alice", "x-revoker-session": "s-1"}
OVER = ended("alice", sessions=["s-1"])
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


@pytest.fixture
async def gateway() -> AsyncIterator[TestGateway]:
    async with TestGateway(close_grace=0.2) as running:
        await running.ready(DEADLINE)
        yield running


def asked(app: App, gateway: TestGateway, method: str = "GET", path: str = "/", **options: Any) -> Connection:
    headers = ALICE | options.pop("headers", {})
    return http(RevocationMiddleware(app, gateway, header_claims(), **options), headers, method, path=path).start()


def start(status: int = 200, /, **headers: str) -> Message:
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def body(text: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": text, "more_body": more}


def headers_of(message: Message) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in message["headers"]}


class Answer:
    """An application that sends these, and waits for the test before each that is marked so."""

    def __init__(self, *messages: Message | None) -> None:
        self.messages = messages
        self.waits = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.heard: list[Message] = []

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in self.messages:
            if message is None:
                self.waits.set()
                await self.goes_on.wait()
            else:
                await send(message)


async def while_it_waits(answer: Answer, gateway: TestGateway, method: str = "GET", **options: Any) -> list[Message]:
    """What is sent when the session ends while the application waits."""
    connection = asked(answer, gateway, method, **options)
    async with asyncio.timeout(DEADLINE):
        await answer.waits.wait()
    await gateway.feed(OVER)
    answer.goes_on.set()
    return await connection.over()


# Ordinary answers


async def test_an_ordinary_answer_passes_and_is_never_registered(gateway: TestGateway) -> None:
    answer = Answer(start(content_length="5"), None, body(b"hello"))
    connection = asked(answer, gateway)
    await answer.waits.wait()

    assert len(gateway.connections) == 0
    answer.goes_on.set()
    assert await connection.over() == [start(content_length="5"), body(b"hello")]


async def test_a_dead_session_is_refused_before_the_application_is_asked(gateway: TestGateway) -> None:
    await gateway.feed(OVER)

    sent = await asked(_never, gateway).over()

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 401
    assert headers_of(sent[0])["content-length"] == str(len(sent[1]["body"]))


async def test_a_request_that_waited_is_refused_like_a_new_one(gateway: TestGateway) -> None:
    sent = await while_it_waits(Answer(None, start(content_length="8"), body(b"a secret")), gateway)

    assert sent[0]["status"] == 401
    assert b"secret" not in sent[1]["body"]
    assert len(sent) == 2


@pytest.mark.parametrize(
    "answer",
    [
        (start(200, content_length="4"), body(b"done")),
        (start(200), body(b"done")),
        (start(303, location="/bye"), body(b"")),
        (start(204), body(b"")),
    ],
)
async def test_the_answer_to_what_ended_the_session_passes(gateway: TestGateway, answer: tuple[Message, ...]) -> None:
    assert await while_it_waits(Answer(None, *answer), gateway, "POST") == list(answer)


@pytest.mark.parametrize("form", [EVENTS, {}])
async def test_a_stream_that_begins_after_the_end_is_refused_whatever_the_method(
    gateway: TestGateway, form: dict[str, str]
) -> None:
    sent = await while_it_waits(Answer(None, start(**form), body(b"data: a secret\n\n", more=True)), gateway, "POST")

    assert [message.get("status") for message in sent] == [401, None]
    assert b"secret" not in sent[1]["body"]


async def test_an_application_that_says_no_more_is_left_to_the_server(gateway: TestGateway) -> None:
    assert await asked(Answer(start()), gateway, "POST").over() == [start()]


async def test_other_messages_pass_in_their_order(gateway: TestGateway) -> None:
    path = {"type": "http.response.pathsend", "path": "/srv/file"}

    assert await asked(Answer(start(), path), gateway, "POST").over() == [start(), path]


# Streams


async def test_an_event_stream_gets_a_last_event(gateway: TestGateway) -> None:
    sent = await while_it_waits(Answer(start(**EVENTS), body(b"data: 1\n\n", more=True), None), gateway)

    last = b'event: session-ended\ndata: {"cause":"password-changed","reason":"Your password was changed"}\n\n'
    assert sent[2:] == [body(last)]
    assert len(gateway.connections) == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_event_stream_is_open_before_its_first_event(gateway: TestGateway, method: str) -> None:
    connection = asked(answer := Answer(start(**EVENTS), None), gateway, method)
    await answer.waits.wait()

    assert connection.sent == [start(**EVENTS)]
    assert len(gateway.connections) == 1
    await gateway.feed(OVER)
    answer.goes_on.set()
    assert b"session-ended" in (await connection.over())[1]["body"]


async def test_the_last_event_stands_apart_from_one_that_was_begun(gateway: TestGateway) -> None:
    answer = Answer(start(**EVENTS), body(b"data: 1\n\nda", more=True), body(b"ta: 2\n", more=True), None)

    sent = await while_it_waits(answer, gateway)

    assert sent[-1]["body"].startswith(b"\n\nevent: session-ended\n")


async def test_a_held_event_stream_is_told_so(gateway: TestGateway) -> None:
    connection = asked(answer := Answer(start(**EVENTS), None), gateway)
    await answer.waits.wait()
    await gateway.feed(held("alice"))
    answer.goes_on.set()

    assert (await connection.over())[1]["body"].startswith(b'event: session-held\ndata: {"cause":"held"')


async def test_nothing_is_added_to_what_is_compressed(gateway: TestGateway) -> None:
    answer = Answer(start(**EVENTS, content_encoding="gzip"), body(b"\x1f\x8b", more=True), None)

    assert (await while_it_waits(answer, gateway))[2:] == [body(b"")]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_stream_ends(gateway: TestGateway, method: str) -> None:
    answer = Answer(start(), body(b"1\n", more=True), None, body(b"2\n", more=True), body(b""))

    assert (await while_it_waits(answer, gateway, method))[2:] == [body(b"")]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_was_promised_a_length_is_left_unfinished(gateway: TestGateway, method: str) -> None:
    answer = Answer(start(content_length="9"), body(b"1", more=True), None, body(b"a secret"))

    assert (await while_it_waits(answer, gateway, method))[2:] == []


async def test_what_ends_between_two_parts_is_not_sent_the_second(gateway: TestGateway) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(start(content_length="9"))
        await gateway.feed(OVER)
        await send(body(b"a", more=True))
        await send(body(b" secret!"))

    assert await asked(app, gateway).over() == [start(content_length="9")]


async def test_the_application_hears_a_disconnect(gateway: TestGateway) -> None:
    heard: list[Message] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(start(**EVENTS))
        heard.append(await receive())

    connection = asked(app, gateway)
    await connection.says(1)
    await gateway.feed(OVER)
    await connection.over()

    assert heard == [{"type": "http.disconnect"}]


async def test_a_stream_that_does_not_care_is_cancelled_after_the_grace(gateway: TestGateway) -> None:
    answer = Answer(start(), body(b"1\n", more=True), None)
    connection = asked(answer, gateway)
    await answer.waits.wait()

    await gateway.feed(OVER)

    assert (await connection.over())[2:] == [body(b"")]


async def test_a_client_that_does_not_read_is_given_up(gateway: TestGateway) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(start())
        while True:
            await send(body(b"more", more=True))
            await asyncio.sleep(0)

    connection = asked(app, gateway)
    await connection.says(2)
    connection.reads.clear()

    await gateway.feed(OVER)

    assert body(b"") not in await connection.over()


# Who is asked, and where browsers are sent


@pytest.mark.parametrize(
    ("path", "options"),
    [("/login", {"open_paths": ["/login"]}), ("/login", {"sign_in_url": "/login?next=/"})],
)
async def test_open_paths_are_open_to_everybody(gateway: TestGateway, path: str, options: dict[str, Any]) -> None:
    await gateway.feed(OVER)

    sent = await asked(Answer(start(), body(b"sign in")), gateway, path=path, **options).over()

    assert sent == [start(), body(b"sign in")]


async def test_a_browser_is_sent_to_sign_in(gateway: TestGateway) -> None:
    await gateway.feed(OVER)
    url = "https://login.example/"

    page = asked(_never, gateway, sign_in_url=url, headers={"sec-fetch-mode": "navigate", "accept": "text/html"})
    script = asked(_never, gateway, sign_in_url=url, headers={"sec-fetch-mode": "cors", "accept": "*/*"})

    sent = await page.over()
    assert (sent[0]["status"], headers_of(sent[0])["location"], sent[1]["body"]) == (303, url, b"")
    assert headers_of(sent[0])["cache-control"] == "no-store"
    assert (await script.over())[0]["status"] == 401


async def test_a_strict_gateway_that_cannot_know_asks_to_come_again() -> None:
    async with TestGateway(mode="strict") as gateway:
        await gateway.ready(DEADLINE)
        gateway._feed.lose()

        sent = await asked(_never, gateway).over()

    assert (sent[0]["status"], headers_of(sent[0])["retry-after"]) == (503, "5")


async def _never(*_: object) -> None:
    pytest.fail("the application was asked")
