"""schemathesis over our own OpenAPI document: whatever it can think of, the running application answers as the document
says, with a token of full rights and without one.

The application runs in a thread of its own, behind a real socket, with Kafka and PostgreSQL.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from revoker.api.documents.access import ACCESS
from revoker.api.documents.openapi import openapi
from revoker.api.server import answering, listen
from revoker.settings import HttpSettings, Settings
from tests.api.hostile import ROLES, SCOPES
from tests.api.serving import Served, serving, with_topics
from tests.processes import PATIENCE

THOROUGH = hypothesis_settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
# As many requests as there are must not wait for each other, and none for consumers, which are not there.
HTTP = HttpSettings(person_rate=100_000, machine_rate=100_000)
AT_ONCE = {"Prefer": "wait=0"}


Check = Callable[[Case[Any]], None]

STREAMS = {("GET", "/v1/notifications"), ("GET", "/v1/me/notifications")}
"""There are none from a process that is stopping, which is why it is: they would last."""
JUDGED = {("POST", "/v1/events"), ("POST", "/v1/receipts")}
"""What is in a message says more than its schema can: whose it is, and that 1.0 is no whole number."""


@dataclass(frozen=True)
class Running:
    """Where it is, and who may do everything there."""

    url: str
    token: str
    document: dict[str, Any]


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """The application in a loop of its own."""
    started: Future[Running] = Future()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def run() -> None:
        listening = listen("127.0.0.1", 0)
        async with serving(await with_topics(settings), http=HTTP) as served:
            served.parts.stopping.set()  # so that no stream lasts
            async with answering(served.app, listening, asyncio.Event()):
                started.set_result(_told(served, f"http://127.0.0.1:{listening.getsockname()[1]}"))
                await over.wait()
        listening.close()

    def thread() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    running_in = threading.Thread(target=thread, daemon=True)
    running_in.start()
    try:
        yield started.result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(over.set)
        running_in.join(PATIENCE)
        loop.close()


def _told(served: Served, url: str) -> Running:
    token = served.issuer.token(sid="s-1", jti="t-1", client_id="web", scope=SCOPES, roles=ROLES, lasts=3600)
    return Running(url, token, openapi(served.routed))


@pytest.fixture
def service(settings: Settings) -> Iterator[Running]:
    with running(settings) as service:
        yield service


def operations(service: Running) -> Iterator[Any]:
    """All of the document, but for `/check`, which answers every method and means it."""
    paths = {path: item for path, item in service.document["paths"].items() if path != "/check"}
    schema = schemathesis.openapi.from_dict(service.document | {"paths": paths})
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        yield found.ok()


def wrong(service: Running, check: Check, most: int) -> str:
    """Whatever `check` does not like, of all that can be thought of."""
    return "\n\n".join(
        str(error)
        for operation in operations(service)
        for mode in GenerationMode
        for error in tried(operation, mode, check, most)
    )


def tried(operation: Any, mode: GenerationMode, check: Check, most: int) -> list[BaseException]:
    @hypothesis_settings(THOROUGH, max_examples=most)
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Case[Any]) -> None:
        check(case)

    try:
        each()
    except (Unsatisfiable, SkipTest):
        return []  # there is nothing to get wrong
    except (FailureGroup, AssertionError) as error:
        return [error]
    return []


def none_of(case: Case[Any]) -> list[Any]:
    """The checks that would ask too much here."""
    route = case.method.upper(), case.path
    none = []
    if route in STREAMS:
        none.append(not_a_server_error)
    if route in JUDGED:
        none.append(positive_data_acceptance)
    meta = case.meta
    body = meta.components.get(ParameterLocation.BODY) if meta is not None else None
    if body is None or body.mode is not GenerationMode.NEGATIVE:
        # Parameters that nobody knows are ignored, and the token is put there afterwards.
        none.append(negative_data_rejection)
    return none


@pytest.mark.timeout(240)
def test_with_all_rights_it_answers_as_it_says(service: Running) -> None:
    headers = {"Authorization": f"Bearer {service.token}"} | AT_ONCE

    def check(case: Case[Any]) -> None:
        if case.query:
            case.query = {name: value for name, value in case.query.items() if name != "cursor"}  # is ours to make
        case.call_and_validate(base_url=service.url, headers=headers, excluded_checks=none_of(case))

    assert not (found := wrong(service, check, 8)), found


@pytest.mark.timeout(240)
def test_without_a_token_it_answers_as_it_says(service: Running) -> None:
    def check(case: Case[Any]) -> None:
        case.headers.pop("Authorization", None)
        answer = case.call_and_validate(base_url=service.url, headers=AT_ONCE, excluded_checks=none_of(case))
        if not ACCESS[case.method.upper(), case.path].anyone:
            assert answer.status_code in {401, 400, 405}, f"{case.method} {case.path}: {answer.status_code}"

    assert not (found := wrong(service, check, 3)), found
