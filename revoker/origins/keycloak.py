"""Keycloak, through its admin REST API (seen with 26.7): sessions end there one by one, online and offline.

    token      client credentials, kept until shortly before they expire, fetched anew once when they are refused
    list       of a subject: its sessions, and its offline sessions of each client that its consents name
    end        DELETE of a session by its id; that it is not there any more is what we want

A 404 counts only when Keycloak itself says it: a proxy that hides the admin API answers so, too. And what was live is
deleted once more a second later, until it is not there: whoever reads a session while it is deleted has been seen to
bring it back, out of sight of every list, and its tokens were refreshed (Keycloak issue 51127).
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from revoker.core.wire import SessionEndedNotice
from revoker.origins import telling
from revoker.origins.keycloak_plan import KeycloakSession, Plan, plan
from revoker.origins.telling import Answer, NotTakenError, Taken, Told
from revoker.settings_origins import OriginSettings

_READ_BYTES: Final = 8_000_000
_SPARE_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 1.0
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_DOTS: Final = frozenset({".", ".."})


class Keycloak:
    """`revoker.origins.telling.Origin` of one realm."""

    def __init__(self, settings: OriginSettings) -> None:
        self._settings = settings
        self._secret = telling.secret(settings)
        self._client = telling.client(settings)
        self._seconds = settings.timeout.total_seconds()
        base = settings.url.rstrip("/")
        realm = quote(settings.realm or "", safe="")
        self._token_url = f"{base}/realms/{realm}/protocol/openid-connect/token"
        self._admin_url = f"{base}/admin/realms/{realm}"
        self._fetching = asyncio.Lock()
        self._token = ""
        self._token_until = 0.0

    async def tell(self, told: Told) -> Taken:
        """Ends there what is covered. Holds end nothing: they are for whoever lets people in."""
        if not isinstance(told.notice, SessionEndedNotice):
            return Taken(asked=False)
        wanted = plan(told.notice)
        if wanted.is_empty:
            return Taken(asked=False)
        if told.chosen is None:
            told.chosen = await self._chosen(wanted)
        before = len(told.there)
        left = [id_ for id_ in told.chosen if id_ not in told.over]
        for id_ in [id_ for id_ in left if id_ not in told.there] or left:
            (told.there if await self._end(id_) else told.over).add(id_)
        is_over = told.over.issuperset(told.chosen)
        return Taken(ended=len(told.there) - before, again_after=None if is_over else _AGAIN_SECONDS)

    async def close(self) -> None:
        """Lets the connections go."""
        await self._client.aclose()

    async def _chosen(self, wanted: Plan) -> list[str]:
        """The ids to end, each once."""
        chosen: dict[str, None] = {}
        if not wanted.is_narrow:
            chosen.update(dict.fromkeys(id_ for ids in wanted.named.values() for id_ in ids))
        asked = {who for who in wanted.named if who is not None} if wanted.is_narrow else set()
        for subject in sorted(asked | ({wanted.all_of} if wanted.all_of is not None else set())):
            if subject not in _DOTS:
                chosen.update(dict.fromkeys(wanted.choose(subject, await self._sessions(subject))))
        return list(chosen)

    async def _sessions(self, subject: str) -> list[KeycloakSession]:
        """Online and offline. Nobody there of that name: none."""
        user = f"{self._admin_url}/users/{quote(subject, safe='')}"
        found = await self._list(f"{user}/sessions")
        if self._settings.offline:
            clients = {uuid for consent in await self._list(f"{user}/consents") for uuid in _with_offline(consent)}
            for uuid in sorted(clients):
                found += await self._list(f"{user}/offline-sessions/{quote(uuid, safe='')}")
        return list(_merged(found).values())

    async def _end(self, id_: str) -> bool:
        """Whether it was there."""
        url = f"{self._admin_url}/sessions/{quote(id_, safe='')}"
        was_there = (await self._admin("DELETE", url)) is not None
        if self._settings.offline:
            was_there |= (await self._admin("DELETE", f"{url}?isOffline=true")) is not None
        return was_there

    async def _list(self, url: str) -> list[Any]:
        answer = await self._admin("GET", url)
        if answer is None:
            return []
        found = _json(answer.body)
        if not isinstance(found, list):
            raise NotTakenError("Keycloak: no list, where one was asked for")
        return found

    async def _admin(self, method: str, url: str) -> Answer | None:
        """The good answer, or None where Keycloak knows of no such thing. Raises `NotTakenError`."""
        answer = await self._authorized(method, url)
        if answer.status == _UNAUTHORIZED:
            self._token = ""
            answer = await self._authorized(method, url)
        if answer.is_good:
            return answer
        if answer.status == _NOT_FOUND and _is_error(answer.body):
            return None
        raise answer.refusal("Keycloak")

    async def _authorized(self, method: str, url: str) -> Answer:
        headers = {"authorization": f"Bearer {await self._bearer()}", "accept": "application/json"}
        request = self._client.build_request(method, url, headers=headers)
        return await telling.ask(self._client, request, self._seconds, _READ_BYTES)

    async def _bearer(self) -> str:
        async with self._fetching:
            if not self._token or time.monotonic() >= self._token_until:
                await self._fetch_token()
            return self._token

    async def _fetch_token(self) -> None:
        asked_at = time.monotonic()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id or "",
            "client_secret": self._secret,
        }
        request = self._client.build_request("POST", self._token_url, data=form)
        answer = await telling.ask(self._client, request, self._seconds, _READ_BYTES)
        if not answer.is_good:
            refusal = answer.refusal("Keycloak's token endpoint")
            # Whatever is wrong with our credentials says nothing of the notification.
            raise NotTakenError(refusal.why, after=refusal.after)
        found = _json(answer.body)
        token = found.get("access_token") if isinstance(found, Mapping) else None
        lasts = found.get("expires_in") if isinstance(found, Mapping) else None
        if not isinstance(token, str) or not isinstance(lasts, int):
            raise NotTakenError("Keycloak's token endpoint: no token")
        self._token = token
        self._token_until = asked_at + max(1.0, lasts - _SPARE_SECONDS)


def _json(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON says
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise NotTakenError("Keycloak: no JSON, or too much of it") from None


def _is_error(body: bytes) -> bool:
    """Whether that is how Keycloak says no."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("error"), str)


def _with_offline(consent: Any) -> list[str]:  # noqa: ANN401 - as above
    """The clients (by their internal id) that an entry of a user's consents says have offline tokens."""
    grants = consent.get("additionalGrants") if isinstance(consent, Mapping) else None
    found = [grant.get("client") for grant in grants or () if isinstance(grant, Mapping)]
    return [uuid for uuid in found if isinstance(uuid, str) and uuid not in _DOTS]


def _merged(entries: list[Any]) -> dict[str, KeycloakSession]:
    """By id: a sign-in with offline tokens of several clients is listed several times. Its earliest start counts."""
    merged: dict[str, KeycloakSession] = {}
    for entry in entries:
        one = KeycloakSession.read(entry)
        if one is not None:
            known = merged.get(one.id, one)
            merged[one.id] = KeycloakSession(
                id=one.id, start=min(one.start, known.start), clients=one.clients | known.clients
            )
    return merged
