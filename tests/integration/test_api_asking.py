"""Asking over HTTP: what is published and what is waited for. A database that is away changes nothing but that."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.api.asking import Asking
from revoker.api.prefer import Waiting
from revoker.api.problems import ProblemError
from revoker.errors import UnavailableError
from revoker.service.publish import Prepared
from revoker.settings import ClaimSettings, Settings
from schemas import codec
from schemas.inputs import DEFAULT_INPUTS, IDENTITY_EVENTS, Input, Mode
from tests.api_service import Service, api_settings, in_process
from tests.processes import PATIENCE, eventually
from tests.stored import apply

SOON = Waiting(seconds=PATIENCE)


@pytest.fixture
async def service(database_settings: Settings) -> AsyncIterator[Service]:
    url = database_settings.database_url.get_secret_value()
    async with in_process(api_settings(database_url=url)) as service:
        yield service


def prepared(asking: Asking, time: datetime | None = None) -> Prepared:
    return asking.prepare(type="logged-out", tenant="", subject="alice", data={"session_id": "s-1"}, time=time)


async def test_it_waits_until_the_consumers_have_committed(service: Service, engine: AsyncEngine) -> None:
    event = prepared(service.parts.asking)
    asking = asyncio.create_task(service.parts.asking.ask(event, SOON))

    async def sent() -> bool:
        return bool(service.sender.sent)

    await eventually(sent, "the event")
    await apply(engine, event.decision)

    async with asyncio.timeout(PATIENCE):
        asked = await asking

    assert (asked.state, asked.revocation_id, asked.event_id) == ("committed", event.revocation_id, event.event.id)
    assert asked.status(SOON) == 200
    assert asked.status(Waiting(until="enforced")) == 202
    assert asked.headers(SOON)["Location"] == f"/v1/revocations/{event.revocation_id}"
    ((topic, key, _),) = service.sender.sent
    assert (topic, key) == (event.topic, b"alice")


async def test_what_is_published_is_what_the_consumers_will_read(service: Service) -> None:
    event = prepared(service.parts.asking)
    read = codec.decode(codec.IDENTITY, IDENTITY_EVENTS, event.value)

    assert read == event.event
    assert not isinstance(read, codec.Ignored)
    assert (read.source, read.time) == ("revoker-api", None)


async def test_without_waiting_nobody_looks(service: Service) -> None:
    asked = await service.parts.asking.ask(prepared(service.parts.asking))

    assert (asked.state, asked.status(Waiting())) == ("requested", 202)


async def test_what_adds_nothing_is_not_waited_for_in_vain(service: Service, engine: AsyncEngine) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    again = prepared(service.parts.asking, at)
    await apply(engine, prepared(service.parts.asking, at).decision)
    await apply(engine, again.decision)

    async with asyncio.timeout(PATIENCE):
        state, found = await service.parts.asking.look(again.revocation_id, Waiting(seconds=3_600, until="enforced"))

    assert state == "committed"
    assert found is not None
    assert found.redundant


async def test_what_nobody_committed_is_only_requested(service: Service) -> None:
    state, found = await service.parts.asking.look(uuid.uuid4(), Waiting(seconds=0.3))

    assert (state, found) == ("requested", None)


async def test_a_database_that_is_away_changes_nothing_else() -> None:
    async with in_process() as service:
        asked = await service.parts.asking.ask(prepared(service.parts.asking), Waiting(seconds=0.6))

        assert asked.state == "requested"
        assert len(service.sender.sent) == 1
        with pytest.raises(UnavailableError):
            await service.parts.asking.look(asked.revocation_id)
        answer = await service.client.get(f"/v1/revocations/{asked.revocation_id}", headers=service.bearer())
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


async def test_a_database_that_was_never_migrated_is_away_too(empty_database_url: str) -> None:
    async with in_process(api_settings(database_url=empty_database_url)) as service:
        asked = await service.parts.asking.ask(prepared(service.parts.asking), Waiting(seconds=1.0))

        assert asked.state == "requested"


async def test_what_kafka_did_not_take_is_to_be_asked_again(service: Service) -> None:
    service.sender.failing = True

    with pytest.raises(ProblemError) as refused:
        await service.parts.asking.ask(prepared(service.parts.asking), SOON)

    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    ("inputs", "tenant", "status"),
    [
        ((Input(topic="a", types=("password-changed",)),), "", 503),
        ((Input(topic="a", ignore=("logged-*",)),), "", 503),
        ((Input(topic="a", tenant="acme"),), "globex", 503),
        ((Input(topic="a", tenant="acme"),), "acme", None),
        ((Input(topic="a", mode=Mode.REPORT_ONLY), Input(topic="b")), "x", None),
        (DEFAULT_INPUTS, "x", None),
    ],
)
async def test_an_input_must_take_it(inputs: tuple[Input, ...], tenant: str, status: int | None) -> None:
    settings = api_settings(inputs=inputs, claims=ClaimSettings(tenant="org"))
    async with in_process(settings) as service:
        asking = service.parts.asking
        if status is None:
            event = asking.prepare(type="logged-out", tenant=tenant, subject="a", data={"session_id": "s"})
            assert event.event.tenant == tenant
            assert event.source.mode is Mode.ENFORCE
            return
        with pytest.raises(ProblemError) as refused:
            asking.prepare(type="logged-out", tenant=tenant, subject="a", data={"session_id": "s"})
        assert refused.value.status == status
        assert "a" not in refused.value.detail.split()


async def test_what_makes_no_sense_is_refused_by_its_place(service: Service) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("logged-out", {}, "session_id"),
        ("logged-out", {"session_id": "a\nb"}, "session_id"),
        ("logged-out-everywhere", {"keep": ["x"] * 501}, "keep"),
        ("session-revoked", {"session_ids": []}, "session_ids"),
    ]
    for type_, data, place in wrong:
        with pytest.raises(ProblemError) as refused:
            service.parts.asking.prepare(type=type_, tenant="", subject="alice", data=data)
        assert refused.value.status == 400
        assert refused.value.detail.startswith(place)


async def test_who_may_see_a_revocation_and_who_learns_nothing(service: Service, engine: AsyncEngine) -> None:
    event = prepared(service.parts.asking)
    await apply(engine, event.decision)
    place = f"/v1/revocations/{event.revocation_id}"

    mine = await service.client.get(place, headers=service.bearer(sid="s-9"))

    assert mine.status_code == 200
    told = mine.json()
    assert {name: told[name] for name in ("state", "cause", "initiator", "sessions_ended", "announced_at")} == {
        "state": "committed",
        "cause": "logged-out",
        "initiator": "user",
        "sessions_ended": 0,
        "announced_at": None,
    }
    assert "alice" not in mine.text
    absent = await service.client.get(f"/v1/revocations/{uuid.uuid4()}", headers=service.bearer(sid="s-9"))
    for headers in (
        service.bearer(sub="bob", sid="b-1"),
        service.bearer(sub="bob", sid="b-1", roles=["support"]),
        service.machine("revoker.gateway revoker.introspect"),
    ):
        answer = await service.client.get(place, headers=headers)
        assert (answer.status_code, answer.content) == (404, absent.content)
    for headers in (
        service.bearer(sub="bob", sid="b-1", roles=["responder"]),
        service.bearer(sub="bob", sid="b-1", roles=["auditor"]),
        service.machine("revoker.publish"),
    ):
        assert (await service.client.get(place, headers=headers)).status_code == 200
    assert (await service.client.get(place)).status_code == 401


async def test_a_revocation_is_seen_in_its_own_tenant(database_settings: Settings, engine: AsyncEngine) -> None:
    url = database_settings.database_url.get_secret_value()
    async with in_process(api_settings(database_url=url, claims=ClaimSettings(tenant="org"))) as service:
        event = service.parts.asking.prepare(
            type="logged-out", tenant="acme", subject="alice", data={"session_id": "s-1"}
        )
        await apply(engine, event.decision)
        place = f"/v1/revocations/{event.revocation_id}"
        for headers, status in [
            (service.bearer(org="acme", sid="s-9"), 200),
            (service.bearer(org="globex", sid="s-9"), 404),
            (service.machine("revoker.publish", org="acme"), 200),
            (service.machine("revoker.publish", org="globex"), 404),
            (service.machine("revoker.publish all-tenants"), 200),
            (service.bearer(sub="bob", org="globex", roles=["responder"]), 404),
            (service.bearer(sub="bob", org="acme", roles=["responder"]), 200),
            (service.bearer(sub="bob", roles=["responder", "all-tenants"]), 200),
        ]:
            assert (await service.client.get(place, headers=headers)).status_code == status
