"""Whoever asks too often is delayed, then sent away: but nobody who ends a session of their own, and nobody else."""

import asyncio
from collections import Counter
from typing import Any

from revoker.settings import HttpSettings
from tests.api.serving import Served, serving
from tests.servers import make_settings

RARELY = HttpSettings(person_rate=1, machine_rate=1, waiting=0)
NOWHERE = {"kafka_bootstrap_servers": "127.0.0.1:1", "database_url": "postgresql://127.0.0.1:1/nothing"}


async def statuses(served: Served, count: int, method: str, path: str, token: str, **given: Any) -> Counter[int]:
    """What comes of so many requests at once."""
    answers = await asyncio.gather(*[served.ask(method, path, token, **given) for _ in range(count)])
    for answer in answers:
        assert answer.status_code != 429 or int(answer.headers["retry-after"]) >= 1
    return Counter(answer.status_code for answer in answers)


async def test_who_reads_is_sent_away() -> None:
    async with serving(make_settings(**NOWHERE), http=RARELY) as served:
        alice, bob = served.issuer.token(sid="s-1"), served.issuer.token(sub="bob", sid="s-2")
        read = await statuses(served, 20, "GET", "/v1/me/session", alice)
        assert read.keys() == {200, 429}
        # A proxy's question is not counted, and nobody pays for another.
        assert await statuses(served, 20, "GET", "/check", alice) == {200: 20}
        assert await statuses(served, 1, "GET", "/v1/me/session", bob) == {200: 1}


async def test_who_ends_own_sessions_is_not() -> None:
    """Kafka is not there, which each of them learns when it is its turn."""
    async with serving(make_settings(**NOWHERE), http=HttpSettings(person_rate=5, waiting=0)) as served:
        alice = served.issuer.token(sid="s-1")
        assert await statuses(served, 8, "DELETE", "/v1/me/sessions/s-1", alice) == {503: 8}
        assert await statuses(served, 8, "POST", "/v1/me/security-concerns", alice) == {503: 8}
        assert await statuses(served, 20, "POST", "/logout", alice) == {503: 20}


async def test_a_machine_is_sent_away() -> None:
    async with serving(make_settings(**NOWHERE), http=RARELY) as served:
        caller = served.issuer.machine("revoker.introspect")
        sent: Any = {"data": {"token": served.issuer.token()}}
        assert (await statuses(served, 20, "POST", "/v1/introspect", caller, **sent)).keys() == {200, 429}


async def test_who_may_not_ask_takes_nobodys_turn() -> None:
    async with serving(make_settings(**NOWHERE), http=RARELY) as served:
        forged = served.issuer.token(sid="s-1", aud="https://elsewhere.example")
        assert await statuses(served, 30, "GET", "/v1/me/session", forged) == {401: 30}
        assert (await served.ask("GET", "/v1/me/session", served.issuer.token(sid="s-1"))).status_code == 200
