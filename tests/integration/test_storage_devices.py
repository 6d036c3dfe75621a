"""One person's devices, as the registry lists them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.storage import devices, sessions
from revoker.storage.devices import Device, Place
from schemas.session_activity import SessionActivity
from tests.factories import decision, established, presented, registration
from tests.stored import MINUTE, NOWHERE, apply

LIFETIME = timedelta(days=30)
NOW = datetime.now(UTC)


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


def signed_in(session_id: str, subject: str = "alice", tenant: str = "", **data: Any) -> SessionActivity:
    return established(session_id, subject, tenant, **{"established_at": ago(hours=1)} | data)


async def register(engine: AsyncEngine, *events: SessionActivity) -> None:
    await sessions.register(engine, registration(*events, appended_at=datetime.now(UTC)), MINUTE, lambda: NOWHERE)


async def listed(reader: AsyncEngine, after: Place | None = None, limit: int = 50, **more: Any) -> list[Device]:
    who: dict[str, Any] = {"tenant": "", "subject": "alice", "lifetime": LIFETIME, "show_ended": timedelta(days=7)}
    return await devices.devices_of(reader, **who | more, after=after, limit=limit)


async def ended(engine: AsyncEngine, *session_ids: str, **more: Any) -> None:
    data = {"session_ids": session_ids, "reason_user": {"en": "Gone", "de": "Weg"}}
    await apply(engine, decision("session-revoked", appended_at=NOW, data=data, **more))


async def test_the_parts_of_one_sign_in_are_one_device(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await register(
        engine,
        signed_in("s-1", client_id="web", established_at=ago(hours=2), user_agent="Laptop", ip="192.0.2.1"),
        signed_in("s-1", client_id="mail", ip="192.0.2.2"),
        presented("s-1", client_id="web", time=ago(minutes=5), ip="192.0.2.3"),
    )

    [device] = await listed(reader)

    assert (device.session_id, device.live, device.name, device.ip) == ("s-1", True, "Laptop", "192.0.2.3")
    assert (device.established_at, device.seen_at) == (ago(hours=2), ago(minutes=5))
    assert device.live_clients == ("mail", "web")
    assert (device.ended_at, device.ended_by, device.cause, device.reason_user) == (None, None, None, {})


async def test_a_device_is_live_until_its_last_part_is_over(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await register(engine, signed_in("s-1", client_id="web"), signed_in("s-1", client_id="mail"))
    await apply(engine, decision("logged-out", appended_at=NOW, data={"session_id": "s-1", "client_id": "web"}))
    [device] = await listed(reader)
    assert (device.live, device.live_clients, device.ended_at, device.cause) == (True, ("mail",), None, None)

    await ended(engine, "s-1")

    [device] = await listed(reader)
    assert (device.live, device.cause, device.initiator) == (False, "session-revoked", "user")
    assert device.reason_user == {"en": "Gone", "de": "Weg"}
    assert device.ended_at is not None


async def test_what_expired_is_left_out_and_what_ended_stays_for_a_while(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    await register(engine, signed_in("s-1"), signed_in("s-2", expires_at=ago(minutes=1)))
    await ended(engine, "s-1")

    assert [device.session_id for device in await listed(reader)] == ["s-1"]
    assert await listed(reader, show_ended=timedelta()) == []
    one: dict[str, Any] = {"tenant": "", "subject": "alice", "lifetime": LIFETIME}
    assert (await devices.device_of(reader, session_id="s-1", **one)) is not None
    assert (await devices.device_of(reader, session_id="s-2", **one)) is None


async def test_nobody_elses_is_seen(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await register(engine, signed_in("s-1", "bob"), signed_in("s-1", "alice", "acme"), signed_in("s-2", "alice"))

    assert [device.session_id for device in await listed(reader)] == ["s-2"]
    for tenant, subject in (("", "alice"), ("acme", "bob")):
        found = await devices.device_of(reader, tenant=tenant, subject=subject, session_id="s-1", lifetime=LIFETIME)
        assert found is None


async def test_paging_misses_nobody_though_a_device_is_in_use_meanwhile(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    # Two begin in the same moment.
    hours = {"s-1": 1, "s-2": 2, "s-3": 2, "s-4": 3, "s-5": 4, "s-6": 5}
    await register(engine, *(signed_in(name, established_at=ago(hours=hour)) for name, hour in hours.items()))
    await ended(engine, "s-5", id="e-1")
    await ended(engine, "s-6", id="e-2")

    seen: list[str] = []
    after = None
    while page := await listed(reader, after, limit=1):
        seen += [device.session_id for device in page]
        after = page[-1].place
        await register(engine, presented("s-4", time=datetime.now(UTC)))
        await ended(engine, "s-3", id="e-3")

    # The one that ended meanwhile is seen where it was or where it is now.
    assert seen == ["s-1", "s-2", "s-4", "s-3", "s-6", "s-5"]
