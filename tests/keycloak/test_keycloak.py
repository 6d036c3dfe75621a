"""Keycloak is tried for real: `make test-keycloak`, or REVOKER_TEST_KEYCLOAK=1. It is 170 MB, and takes a minute."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.enforcement import Proof
from revoker.service import gateways, topics
from revoker.service.gateways import Stage
from revoker.settings import OriginSettings, Settings
from revoker.storage import database, reading
from revoker.storage.reading import RevocationFound, SessionFound
from schemas.inputs import Input
from tests import servers
from tests.keycloak.realm import ORIGIN_SECRET, REALM, Browser, Realm
from tests.keycloak.server import EmbeddedKeycloak
from tests.processes import Process, environment, eventually, spawn

pytestmark = [
    pytest.mark.skipif(not os.environ.get("REVOKER_TEST_KEYCLOAK"), reason="REVOKER_TEST_KEYCLOAK=1 asks for it"),
    pytest.mark.timeout(600),
]
TOPIC: Final = "keycloak-events"
PATIENCE: Final = 180.0
"""Seconds: Keycloak on a busy machine is slow."""


@pytest.fixture(scope="module")
def keycloak() -> Iterator[str]:
    """The address of a server for all tests here: one that the environment names, or one that is started."""
    given = os.environ["REVOKER_TEST_KEYCLOAK"]
    if given.startswith("http"):
        yield given
        return
    server = EmbeddedKeycloak(progress=print)
    servers.in_thread(server.start())
    try:
        yield server.url
    finally:
        servers.in_thread(server.stop())


@pytest.fixture
async def realm(keycloak: str) -> AsyncIterator[Realm]:
    """A realm of this test's own."""
    async with Realm(keycloak) as realm:
        yield realm


@dataclass
class World:
    """The whole service, following Keycloak and followed by it."""

    settings: Settings
    engine: AsyncEngine
    realm: Realm
    consumers: Process

    async def sessions(self, subject: str) -> dict[str, SessionFound]:
        """Ours, by id."""
        found = await reading.sessions_of(
            self.engine, tenant="", subject=subject, lifetime=self.settings.sessions.lifetime, limit=100
        )
        return {one.session_id: one for one in found}

    async def revocations(self, subject: str) -> list[RevocationFound]:
        return await reading.newest_of(self.engine, tenant="", subject=subject, limit=100)

    async def live(self, subject: str, *ids: str) -> None:
        """Returns once these, and no others, are live with us."""

        async def just_these() -> bool:
            return {id_ for id_, one in (await self.sessions(subject)).items() if one.ended_at is None} == set(ids)

        await eventually(just_these, lambda: f"{ids} to be live\n{self.consumers.said[-3000:]}", PATIENCE)

    async def there(self, subject: str, *ids: str) -> None:
        """Returns once these, and no others, are Keycloak's."""

        async def just_these() -> bool:
            return await self.realm.sessions(subject) == set(ids)

        await eventually(just_these, lambda: f"{ids} to be at Keycloak\n{self.consumers.said[-3000:]}", PATIENCE)


@pytest.fixture
async def world(settings: Settings, realm: Realm, tmp_path: Path) -> AsyncIterator[World]:
    """Consumers of all kinds in a process, and a bridge for Keycloak's events."""
    given: list[dict[str, Any]] = [
        {"topic": TOPIC, "lane": lane, "format": "keycloak"} for lane in ("revocation", "registration")
    ]
    origin: dict[str, Any] = {
        "name": "keycloak",
        "kind": "keycloak",
        "url": realm.url,
        "realm": REALM,
        "client_id": "revoker",
        "secret": ORIGIN_SECRET,
        # A loaded machine signs in slowly.
        "timeout": 30,
    }
    settings = settings.model_copy(
        update={"inputs": tuple(Input(**one) for one in given), "origins": (OriginSettings(**origin),)}
    )
    await topics.ensure(settings)
    variables = {"REVOKER_INPUTS": json.dumps(given), "REVOKER_ORIGINS": json.dumps([origin])}
    consumers = spawn(tmp_path / "consumers.log", environment(settings, **variables), "consumers")
    engine = database.reader(settings)
    bridge = asyncio.create_task(realm.bridge(settings.kafka_bootstrap_servers, settings.topic(TOPIC)))
    try:
        await consumers.until("service-started", PATIENCE)
        yield World(settings, engine, realm, consumers)
    finally:
        bridge.cancel()
        with suppress(asyncio.CancelledError):
            await bridge
        consumers.signal(signal.SIGTERM)
        await consumers.gone(60)
        await engine.dispose()


async def test_a_password_is_changed_and_the_other_browser_is_asked_to_sign_in_anew(world: World) -> None:
    realm = world.realm
    async with Browser(realm) as mine, Browser(realm) as other, Browser(realm) as app:
        await mine.sign_in("first")
        await other.sign_in("first")
        await app.sign_in("first", scope="openid offline_access")
        alice, old = mine.subject, other.sid
        await world.live(alice, mine.sid, other.sid, app.sid)
        assert (await other.refresh()).is_success

        await mine.change_password("second")

        await world.live(alice, mine.sid)
        await world.there(alice, mine.sid)
        # What Keycloak gave them is worth nothing any more, and no cookie signs them in silently.
        for browser in (other, app):
            await _refused(browser)
        assert "error=login_required" in (await other.visit(prompt="none")).headers["location"]
        wrong = await other.submit(await other.visit(), username="alice", password="first")
        assert "Invalid username or password" in wrong.text
        await other.sign_in("second")
        assert other.sid != old
        await world.live(alice, mine.sid, other.sid)

        # No loop: what we ended there comes back as an event, adds no cover, and that is all.
        def echoes() -> set[str]:
            return {one["resourcePath"] for one in realm.published if one.get("resourceType") == "USER_SESSION"}

        async def heard() -> bool:
            return f"sessions/{old}" in echoes()

        await eventually(heard, "the echo", PATIENCE)
        effective = [one for one in await world.revocations(alice) if not one.redundant and one.sessions_ended]
        assert [one.revocation.cause for one in effective] == ["password-changed"]
        assert mine.sid in effective[0].revocation.keep
        await world.there(alice, mine.sid, other.sid)
        assert (await mine.refresh()).is_success
        assert (await other.refresh()).is_success
        await _enforced(world, effective[0])


async def test_a_session_of_which_we_never_heard_ends_with_the_others(world: World) -> None:
    realm = world.realm
    async with Browser(realm) as mine, Browser(realm) as unheard:
        await mine.sign_in("first")
        alice = mine.subject
        async with realm.quiet:
            await unheard.sign_in("first")
            realm.lost.add(unheard.sid)
        await world.live(alice, mine.sid)
        # Keycloak counts in seconds, and one that began in that of the change is left alone.
        await asyncio.sleep(1.1)

        await mine.change_password("second")

        await world.there(alice, mine.sid)
        await _refused(unheard)


async def test_an_admin_sets_a_password_and_whoever_signs_in_with_it_stays(world: World) -> None:
    realm = world.realm
    async with Browser(realm) as one, Browser(realm) as another:
        await one.sign_in("first")
        await another.sign_in("first")
        alice = one.subject
        await world.live(alice, one.sid, another.sid)

        await realm.set_password(alice, "of-the-admin")

        await world.live(alice)
        await world.there(alice)
        for browser in (one, another):
            await _refused(browser)
        await one.sign_in("of-the-admin")
        await world.live(alice, one.sid)
        await world.there(alice, one.sid)
        assert (await one.refresh()).is_success


async def _refused(browser: Browser) -> None:
    """Returns once its refresh token is worth nothing."""

    async def refused() -> bool:
        answer = await browser.refresh()
        return answer.status_code == 400 and answer.json()["error"] == "invalid_grant"

    await eventually(refused, "the refresh token to be refused", PATIENCE)


async def _enforced(world: World, found: RevocationFound) -> None:
    """Returns once it is proven, and the origin is among those that prove it."""
    seen: list[Any] = []

    async def proven() -> bool:
        enforcement = await gateways.enforcement_of(world.engine, world.settings, await _again(world, found))
        how = {one.gateway: one.how for one in enforcement.instances}
        seen[:] = [enforcement.stage, how]
        return enforcement.stage is Stage.ENFORCED and how.get("keycloak") is Proof.PAST

    await eventually(proven, lambda: f"the proof: {seen}\n{world.consumers.said[-3000:]}", PATIENCE)


async def _again(world: World, found: RevocationFound) -> RevocationFound:
    again = await reading.revocation(world.engine, found.revocation.id)
    assert again is not None
    return again
