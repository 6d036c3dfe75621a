"""A realm of a real Keycloak: people sign in there with browsers, and its events go to Kafka as they come.

Keycloak has no Kafka of its own; extensions put its events there as the JSON that `bridge` puts there, too.
"""

import asyncio
import base64
import html
import json
import re
from typing import Any, Final, Self

import httpx
from aiokafka import AIOKafkaProducer

from tests.keycloak.server import ADMIN, PASSWORD

REALM: Final = "people"
CLIENT: Final = "web"
CALLBACK: Final = "http://127.0.0.1:1/callback"
ORIGIN_SECRET: Final = "of-the-service-account"
_EVERY_SECONDS: Final = 0.3


def claims(token: str) -> dict[str, Any]:
    """What a token says; nobody verifies it here."""
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


class Realm:
    """Made anew, with Alice in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin = httpx.AsyncClient(base_url=url, timeout=60)
        self.lost: set[str] = set()
        """Sessions of which no event is published: we are never told of them."""
        self.quiet = asyncio.Lock()
        """Held while nothing is published."""
        self.published: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        await self._authorize()
        # What a killed run left on a server that goes on.
        await self.admin.delete(f"/admin/realms/{REALM}")
        made = await self.admin.post("/admin/realms", json=_REALM)
        assert made.is_success, made.text
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._authorize()
        await self.admin.delete(f"/admin/realms/{REALM}")
        await self.admin.aclose()

    async def _authorize(self) -> None:
        form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": PASSWORD}
        answer = await self.admin.post("/realms/master/protocol/openid-connect/token", data=form)
        assert answer.is_success, answer.text
        self.admin.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    async def sessions(self, user: str) -> set[str]:
        """Those that Keycloak has of that user."""
        return {one["id"] for one in await self.ask(f"users/{user}/sessions")}

    async def set_password(self, user: str, password: str) -> None:
        """As an admin does."""
        await self._authorize()
        form = {"type": "password", "value": password, "temporary": False}
        answer = await self.admin.put(f"/admin/realms/{REALM}/users/{user}/reset-password", json=form)
        assert answer.is_success, answer.text

    async def ask(self, path: str) -> Any:
        """What its admin API answers."""
        answer = await self.admin.get(f"/admin/realms/{REALM}/{path}")
        if answer.status_code == 401:
            await self._authorize()
            answer = await self.admin.get(f"/admin/realms/{REALM}/{path}")
        return answer.raise_for_status().json()

    async def bridge(self, bootstrap_servers: str, topic: str) -> None:
        """Its events, in order, until cancelled."""
        known: set[str] = set()
        async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
            while True:
                async with self.quiet:
                    found = await self.ask("events?max=500") + await self.ask("admin-events?max=500")
                    for event in sorted(found, key=lambda one: one["time"]):
                        if event["id"] not in known and not self.lost & set(map(str, event.values())):
                            key = event.get("userId") or event.get("resourcePath") or ""
                            await producer.send_and_wait(topic, json.dumps(event).encode(), key=key.encode())
                            self.published.append(event)
                        known.add(event["id"])
                await asyncio.sleep(_EVERY_SECONDS)


class Browser:
    """A browser with its cookies: it follows the forms of Keycloak's pages."""

    def __init__(self, realm: Realm) -> None:
        self._client = httpx.AsyncClient(base_url=realm.url, timeout=60, event_hooks={"response": [self._take_cookies]})
        self.tokens: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def sid(self) -> str:
        """Of its tokens."""
        found: str = claims(self.tokens["access_token"])["sid"]
        return found

    @property
    def subject(self) -> str:
        found: str = claims(self.tokens["access_token"])["sub"]
        return found

    async def visit(self, **more: str) -> httpx.Response:
        """What the application's redirect to Keycloak brings: its form, or the way back."""
        wanted = {"client_id": CLIENT, "response_type": "code", "redirect_uri": CALLBACK, "scope": "openid"}
        path = f"/realms/{REALM}/protocol/openid-connect/auth"
        return await self._arrived(await self._client.get(path, params=wanted | more))

    async def submit(self, page: httpx.Response, **fields: str) -> httpx.Response:
        """Sends the form of `page`."""
        assert page.status_code == 200, page.headers
        action = re.search(r'<form[^>]* action="([^"]+)"', page.text)
        assert action, page.text[-3000:]
        return await self._arrived(await self._client.post(html.unescape(action[1]), data=fields))

    async def sign_in(self, password: str, **more: str) -> None:
        """With a form, and never silently."""
        page = await self.visit(**more)
        await self.back(await self.submit(page, username="alice", password=password))

    async def back(self, answer: httpx.Response) -> None:
        """Redeems the code that Keycloak sends back."""
        place = answer.headers.get("location", "")
        code = re.search(r"[?&]code=([^&]+)", place)
        assert place.startswith(CALLBACK), answer.text[-3000:] or place
        assert code, place
        self.tokens = (await self._token(grant_type="authorization_code", code=code[1], redirect_uri=CALLBACK)).json()

    async def refresh(self) -> httpx.Response:
        """Asks for new tokens."""
        return await self._token(grant_type="refresh_token", refresh_token=self.tokens["refresh_token"])

    async def change_password(self, password: str) -> None:
        """While signed in, as an action that the application asks for."""
        page = await self.visit(kc_action="UPDATE_PASSWORD")
        form = {"password-new": password, "password-confirm": password}
        await self.back(await self.submit(page, **form))

    async def _arrived(self, answer: httpx.Response) -> httpx.Response:
        """Where Keycloak's own redirects lead: to one of its pages, or away from it."""
        while answer.is_redirect and not answer.headers["location"].startswith(CALLBACK):
            answer = await self._client.get(answer.headers["location"])
        return answer

    async def _token(self, **form: str) -> httpx.Response:
        path = f"/realms/{REALM}/protocol/openid-connect/token"
        return await self._client.post(path, data={"client_id": CLIENT} | form)

    async def _take_cookies(self, _: httpx.Response) -> None:
        """Browsers send a secure cookie to their own machine without TLS."""
        for cookie in self._client.cookies.jar:
            cookie.secure = False


_REALM: Final[dict[str, Any]] = {
    "realm": REALM,
    "enabled": True,
    "eventsEnabled": True,
    "adminEventsEnabled": True,
    "adminEventsDetailsEnabled": True,
    "clients": [
        {"clientId": CLIENT, "publicClient": True, "redirectUris": [CALLBACK]},
        {
            "clientId": "revoker",
            "secret": ORIGIN_SECRET,
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
        },
    ],
    "users": [
        {
            "username": "alice",
            "enabled": True,
            "email": "alice@example.org",
            "emailVerified": True,
            "firstName": "Alice",
            "lastName": "Example",
            "realmRoles": [f"default-roles-{REALM}", "offline_access"],
            "credentials": [{"type": "password", "value": "first"}],
        },
        {
            "username": "service-account-revoker",
            "enabled": True,
            "serviceAccountClientId": "revoker",
            "clientRoles": {"realm-management": ["manage-users"]},
        },
    ],
}
