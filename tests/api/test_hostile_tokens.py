"""Every kind of door, every kind of token that must not open it. None opens, none is a failure of ours, none is told of
itself, and nothing is published.
"""

import json
import uuid
from typing import Any

import httpx
import pytest

from revoker.settings import CheckSettings, CookieSettings, Settings
from tests.api import hostile
from tests.api.serving import HERE, Served, serving
from tests.servers import make_settings

COOKIES = (CookieSettings(name="session", holds="token"),)
UNREACHABLE = "127.0.0.1:1"


def settings() -> Settings:
    """Kafka is not there: whoever got in would be told so."""
    return make_settings(kafka_bootstrap_servers=UNREACHABLE)


async def by_bearer(served: Served, path: str, token: str, method: str = "GET", **given: Any) -> httpx.Response:
    headers = {b"Authorization": b"Bearer " + token.encode("latin-1")}
    return await served.client.request(method, path, headers=headers, **given)


async def by_cookie(served: Served, path: str, token: str, method: str = "GET", **given: Any) -> httpx.Response:
    quoted = token.encode("latin-1").replace(b"\r\n", b"")
    headers = {b"Cookie": b"session=" + quoted, b"Origin": HERE.encode(), b"Sec-Fetch-Site": b"same-origin"}
    return await served.client.request(method, path, headers=headers, **given)


DOORS: dict[str, Any] = {
    "a person's token": lambda served, token: by_bearer(served, "/v1/me/session", token),
    "a person's cookie": lambda served, token: by_cookie(served, "/v1/me/session", token),
    "a client's token": lambda served, token: by_bearer(served, "/v1/revoke", token, "POST", data={"token": "x"}),
    "a machine's token": lambda served, token: by_bearer(served, "/v1/receipts", token, "POST", json={}),
    "a stream": lambda served, token: by_bearer(served, "/v1/notifications", token),
    "a revocation": lambda served, token: by_bearer(served, f"/v1/revocations/{uuid.UUID(int=0)}", token),
    "a proxy's question": lambda served, token: by_bearer(served, "/check/files", token),
    "a proxy's question with a cookie": lambda served, token: by_cookie(served, "/check/files", token),
}


@pytest.mark.parametrize("door", DOORS)
async def test_no_door_opens(door: str) -> None:
    async with serving(settings(), cookies=COOKIES, check=CheckSettings(cookies=("session",))) as served:
        good = served.issuer.token(sid="s-1", azp="web", scope=hostile.SCOPES, roles=hostile.ROLES)
        assert (await DOORS[door](served, good)).status_code != 401, "nobody gets in at all"

        answers = {name: await DOORS[door](served, token) for name, token in hostile.tokens(served.issuer).items()}
        opened = {name: answer.status_code for name, answer in answers.items() if answer.status_code != 401}
        assert not opened
        for answer in answers.values():
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            assert json.loads(answer.content).keys() <= {"title", "status", "detail"}


async def test_nothing_is_said_of_them(served: Served) -> None:
    caller = served.issuer.token(sub="files", scope="revoker.introspect")
    for name, token in hostile.tokens(served.issuer).items():
        sent: Any = {"data": {"token": token}}
        answer = await served.ask("POST", "/v1/introspect", caller, **sent)
        assert (answer.status_code, answer.json()) == (200, {"active": False}), name


async def test_none_of_them_ends_anything() -> None:
    """Nothing listens where Kafka and PostgreSQL should be: an event, or a look-up, would be a 503."""
    async with serving(settings(), cookies=COOKIES) as served:
        for name, token in hostile.tokens(served.issuer).items():
            if name == "expired":
                continue  # whoever leaves may come late
            for answer in (
                await by_bearer(served, "/logout", token, "POST"),
                await by_cookie(served, "/logout", token, "POST"),
            ):
                assert (answer.status_code, answer.json().get("state")) == (200, "nothing"), (name, answer.text)


async def test_a_client_gives_none_of_them_back(served: Served) -> None:
    own = served.issuer.token(client_id="web")
    for name, token in hostile.tokens(served.issuer).items():
        sent: Any = {"data": {"token": token}}
        assert (await served.ask("POST", "/v1/revoke", own, **sent)).status_code == 200, name


async def test_what_a_good_token_says_besides_is_not_looked_at() -> None:
    """Where its key is to be found, says the issuer alone."""
    async with serving(settings()) as served:
        for header in ({"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/c"}, {"cty": "x"}):
            token = served.issuer.token(sid="s-1", header=header)
            assert (await by_bearer(served, "/v1/me/session", token)).status_code == 200
