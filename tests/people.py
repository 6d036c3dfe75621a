"""People and their browsers: consumers and API as processes, an issuer with a sign-in page beside them.

All of it is synchronous, for tests that hold a real browser, and shared by a module: each test has people of its own.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from sqlalchemy import make_url
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from revoker.api.server import answering, listen
from revoker.kafka import client_options, producer_options
from revoker.service import topics
from revoker.settings import Settings
from schemas.fields import wire_time
from schemas.topics import Topic
from tests.issuer import AUDIENCE, Issuer
from tests.processes import Process, environment, spawn
from tests.servers import in_thread, make_settings

COOKIE: Final = "session"
FIREFOX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1"
)
PATIENCE: Final = 60.0
"""Seconds: a browser beside two processes and their servers is much for a busy machine."""
_SIGN_IN: Final = "<!doctype html><html lang=en><title>Sign in</title><main><h1>Please sign in</h1></main>"

T = TypeVar("T")


@dataclass
class People:
    """The world."""

    settings: Settings
    url: str
    issuer: Issuer
    processes: Mapping[str, Process]
    tokens: list[str] = field(default_factory=list)
    """All that were issued."""
    _established: dict[str, datetime] = field(default_factory=dict)

    @property
    def _database(self) -> str:
        url = make_url(self.settings.database_url.get_secret_value()).set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    @property
    def sign_in_page(self) -> str:
        """Where applications let people sign in."""
        return f"{self.issuer.url}/sign-in"

    def signs_in(self, subject: str, session_id: str, **data: Any) -> str:
        """The token of a new session, once the registry knows it. `ago` is how long ago that was."""
        at = (datetime.now(UTC) - data.pop("ago", timedelta())).replace(microsecond=0)
        self._established[session_id] = at
        told = {"session_id": session_id, "established_at": wire_time(at)} | data
        self.tell(Topic.SESSION_ACTIVITY, "session-established", subject, told)
        self.until(lambda: self.rows("select 1 from sessions where session_id = $1", session_id), session_id)
        return self.token(subject, session_id)

    def token(self, subject: str, session_id: str, **claims: Any) -> str:
        """One of a session."""
        at = self._established.get(session_id)
        auth_time = int(at.timestamp()) if at is not None else None
        token = self.issuer.token(**{"sub": subject, "sid": session_id, "auth_time": auth_time} | claims)
        self.tokens.append(token)
        return token

    def said(self) -> list[dict[str, Any]]:
        """What should not have been said: errors of the API, and lines with a token in them."""
        lines = [line for process in self.processes.values() for line in process.events()]
        told = [line for line in lines if any(token in str(line) for token in self.tokens)]
        return told + [line for line in self.processes["serve"].events() if line["level"] == "error"]

    def tell(self, topic: Topic, type_: str, subject: str, data: Mapping[str, Any]) -> None:
        """An event of the login service."""
        name = f"{type_}-{subject}-{time.monotonic_ns()}"
        event = {"specversion": "1.0", "type": type_, "source": "login", "id": name, "subject": subject}
        in_thread(self._send(topic, subject.encode(), json.dumps(event | {"data": data}).encode()))

    def announce(self, subject: str, body: bytes) -> None:
        """A record of `session-ended`."""
        in_thread(self._send(Topic.SESSION_ENDED, subject.encode(), body))

    async def _send(self, topic: Topic, key: bytes, value: bytes) -> None:
        producer = AIOKafkaProducer(**producer_options(self.settings))
        await producer.start()
        try:
            await producer.send_and_wait(self.settings.topic(topic), value, key=key)
        finally:
            await producer.stop()

    def told(self, subject: str) -> list[dict[str, Any]]:
        """The identity events about somebody."""
        events = in_thread(self._read(Topic.IDENTITY_EVENTS))
        return [event for event in events if event.get("subject") == subject]

    async def _read(self, topic: Topic) -> list[dict[str, Any]]:
        name = self.settings.topic(topic)
        consumer = AIOKafkaConsumer(name, **client_options(self.settings), auto_offset_reset="earliest")
        await consumer.start()
        try:
            ends = await consumer.end_offsets(consumer.assignment())
            found: list[dict[str, Any]] = []
            while [place for place, end in ends.items() if await consumer.position(place) < end]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [json.loads(record.value) for record in records]
            return found
        finally:
            await consumer.stop()

    def rows(self, statement: str, *values: Any) -> Sequence[Any]:
        """What the database says."""
        return in_thread(self._rows(statement, values))

    async def _rows(self, statement: str, values: Sequence[Any]) -> Sequence[Any]:
        connection = await asyncpg.connect(self._database)
        try:
            rows: Sequence[Any] = await connection.fetch(statement, *values)
            return rows
        finally:
            await connection.close()

    @contextmanager
    def without_sessions(self) -> Iterator[None]:
        """Nobody can read the registry's sessions meanwhile."""
        locked, over = threading.Event(), threading.Event()

        async def lock() -> None:
            connection = await asyncpg.connect(self._database)
            try:
                async with connection.transaction():
                    await connection.execute("lock table sessions in access exclusive mode")
                    locked.set()
                    await asyncio.to_thread(over.wait)
            finally:
                await connection.close()

        thread = threading.Thread(target=lambda: asyncio.run(lock()))
        thread.start()
        try:
            assert locked.wait(PATIENCE)
            yield
        finally:
            over.set()
            thread.join(PATIENCE)

    def until(self, probe: Callable[[], T], what: object, within: float = PATIENCE) -> T:
        """The first answer of `probe` that is something."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = probe()
            if found:
                return found
            time.sleep(0.05)
        said = "\n".join(process.said[-2000:] for process in self.processes.values())
        raise AssertionError(f"not within {within:g} s: {what}\n{said}")

    @contextmanager
    def client(self, token: str | None = None, *, cookie: str | None = None, **headers: str) -> Iterator[httpx.Client]:
        """A program of somebody, or with a cookie a browser that says that our own page asks."""
        given = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if cookie is not None:
            given |= {"Cookie": f"{COOKIE}={cookie}", "Sec-Fetch-Site": "same-origin"}
        with httpx.Client(base_url=self.url, headers=given | headers, timeout=PATIENCE) as client:
            yield client


def settings_of(kafka: str, database: str, redis: str) -> Settings:
    """On servers that others use, too."""
    prefix = f"{make_url(database).database}-"
    return make_settings(kafka_bootstrap_servers=kafka, database_url=database, redis_url=redis, topic_prefix=prefix)


class _WithSignIn:
    """The issuer, and where applications send people."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = Request(scope).url.path == "/sign-in"
        await (HTMLResponse(_SIGN_IN) if page else self._issuer)(scope, receive, send)


@contextmanager
def people(settings: Settings, folder: Path, **variables: str) -> Iterator[People]:
    """The world, up and then down again. Raises `AssertionError` for what should not have been said."""
    in_thread(topics.ensure(settings))
    with _issuing() as issuer:
        auth = {
            "REVOKER_AUTH_ISSUER": issuer.url,
            "REVOKER_AUTH_AUDIENCE": AUDIENCE,
            "REVOKER_HTTP_PORT": "0",
            "REVOKER_COOKIES": json.dumps([{"name": COOKIE, "holds": "token", "secure": False}]),
            "REVOKER_LOGOUT__SIGN_IN": f"{issuer.url}/sign-in",
            "REVOKER_CHECK__COOKIES": json.dumps([COOKIE]),
        }
        env = environment(settings, **auth | variables)
        processes = {
            "consumers": spawn(folder / "consumers.log", env, "consumers"),
            "serve": spawn(folder / "serve.log", env, "serve"),
        }
        try:
            port = in_thread(processes["serve"].until("http-listening", PATIENCE))["port"]
            world = People(settings, f"http://127.0.0.1:{port}", issuer, processes)
            with world.client() as client:
                world.until(lambda: client.get("/readyz").status_code == 200, "the API to be ready")
            yield world
            assert not (said := world.said()), said[:5]
        finally:
            for process in processes.values():
                process.kill()
                in_thread(process.gone())


@contextmanager
def _issuing() -> Iterator[Issuer]:
    """In a thread and loop of its own."""
    listening = listen("127.0.0.1", 0)
    issuer = Issuer(f"http://127.0.0.1:{listening.getsockname()[1]}")
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with answering(_WithSignIn(issuer), listening, asyncio.Event()):
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield issuer
    finally:
        over.set()
        thread.join(PATIENCE)
        listening.close()
