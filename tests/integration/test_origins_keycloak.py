"""The client of a Keycloak, against a realm that listens and answers as 26.7 was seen to."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from revoker.core.revocation import Selector
from revoker.core.wire import decode_notice
from revoker.origins.keycloak import Keycloak
from revoker.origins.telling import Because, NotTakenError, Taken, Told
from revoker.settings_origins import OriginSettings
from tests.denylist import ended, hold, revocation, session
from tests.origins import Realm, Reply, Server, serving

BEFORE = 1_700_000_000


@pytest.fixture
def realm() -> Realm:
    """Alice is signed in twice, once with an offline token."""
    realm = Realm()
    realm.sign_in("s-1", "alice", BEFORE, "web")
    realm.sign_in("s-2", "alice", BEFORE, "web", "mail")
    realm.sign_in("s-2", "alice", BEFORE, "mail", offline=True)
    realm.sign_in("s-3", "bob", BEFORE, "web")
    return realm


@pytest.fixture
def server(realm: Realm) -> Iterator[Server]:
    """Where the realm listens."""
    with serving(realm) as server:
        yield server


@asynccontextmanager
async def keycloak(server: Server, **given: Any) -> AsyncIterator[Keycloak]:
    """Its client."""
    told = {"name": "kc", "kind": "keycloak", "url": server.url, "realm": "people", "client_id": "revoker"}
    client = Keycloak(OriginSettings(**told | {"secret": "s3cret"} | given))
    try:
        yield client
    finally:
        await client.close()


def told(value: bytes) -> Told:
    """On its way."""
    notice = decode_notice(value)
    assert notice is not None
    return Told(notice, value)


async def test_all_of_a_subject_end_and_nobody_else_s(realm: Realm, server: Server) -> None:
    async with keycloak(server) as client:
        it = told(ended(revocation(), session("s-1")))
        taken, again = await client.tell(it), await client.tell(it)
        repeated = await client.tell(told(it.value))

    assert (taken.ended, taken.again_after) == (2, 1.0)
    assert again == repeated == Taken(ended=0)
    assert realm.online.keys() == {"s-3"}
    assert not realm.offline
    assert realm.issued == 1


async def test_one_that_comes_back_while_it_is_deleted_is_deleted_again(realm: Realm, server: Server) -> None:
    realm.returning = {"s-1"}
    it = told(ended(revocation(), session("s-1")))

    async with keycloak(server) as client:
        found = [await client.tell(it) for _ in range(3)]

    assert [one.ended for one in found] == [2, 0, 0]
    assert [one.again_after for one in found] == [1.0, 1.0, None]
    assert not realm.unseen


async def test_whoever_signed_in_since_is_not_touched(realm: Realm, server: Server) -> None:
    realm.sign_in("s-new", "alice", int(datetime.now(UTC).timestamp()) + 5, "web")

    async with keycloak(server) as client:
        await client.tell(told(ended(revocation(keep=("s-2",)))))

    assert realm.online.keys() == {"s-2", "s-3", "s-new"}
    assert realm.offline.keys() == {"s-2"}


async def test_a_sign_in_is_not_ended_for_one_of_its_clients(realm: Realm, server: Server) -> None:
    part = revocation(selector=Selector(tenant="", subject="alice", client_id="web"))

    async with keycloak(server) as client:
        await client.tell(told(ended(part, session("s-1"), session("s-2"))))

    assert realm.online.keys() == {"s-2", "s-3"}


async def test_offline_sessions_can_be_left_alone(realm: Realm, server: Server) -> None:
    async with keycloak(server, offline=False) as client:
        await client.tell(told(ended(revocation())))

    assert realm.offline.keys() == {"s-2"}
    assert realm.online.keys() == {"s-3"}


async def test_an_unknown_user_has_nothing_to_end(server: Server) -> None:
    async with keycloak(server) as client:
        assert await client.tell(told(ended(revocation("nobody"), session("s-gone")))) == Taken(ended=0)


async def test_nobody_is_asked_where_there_is_nothing_to_do(server: Server) -> None:
    token = revocation(selector=Selector(tenant="", subject="alice", token_id="t-1"))
    held = hold("h-1", {"tenant": "", "subject": "alice"}, datetime.now(UTC))

    async with keycloak(server) as client:
        for value in (ended(token), held):
            assert await client.tell(told(value)) == Taken(asked=False)

    assert not server.came


async def test_a_subject_never_becomes_another_path(realm: Realm, server: Server) -> None:
    async with keycloak(server) as client:
        for subject in ("..", ".", "../../sessions", "alice/sessions", "alice?x=", "f:1:é/.."):
            await client.tell(told(ended(revocation(subject))))

    asked = {one.path for one in server.came if one.path.startswith("/admin/")}
    assert all(path.startswith("/admin/realms/people/users/") and path.count("/") == 6 for path in asked)
    assert realm.online.keys() == {"s-1", "s-2", "s-3"}


async def test_a_token_is_fetched_again_when_it_ends_and_when_it_is_refused(realm: Realm, server: Server) -> None:
    realm.lasts = 1
    async with keycloak(server) as client:
        await client.tell(told(ended(revocation(), session("s-1"))))
        realm.tokens.clear()
        await client.tell(told(ended(revocation("bob"), session("s-3"))))

    assert not realm.online
    assert realm.issued >= 2


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_an_admin_api_that_does_not_work_is_away(realm: Realm, server: Server, status: int) -> None:
    realm.fails_with = status

    async with keycloak(server) as client:
        with pytest.raises(NotTakenError, match=f"Keycloak: HTTP {status}") as error:
            await client.tell(told(ended(revocation())))

    assert error.value.because is Because.TROUBLE
    assert len(realm.online) == 3


async def test_a_proxy_that_hides_the_admin_api_is_not_believed(realm: Realm, server: Server) -> None:
    realm.hidden = True

    async with keycloak(server) as client:
        with pytest.raises(NotTakenError, match="Keycloak: HTTP 404"):
            await client.tell(told(ended(revocation(), session("s-1"))))


@pytest.mark.parametrize("given", [{"secret": "wrong"}, {"realm": "elsewhere"}, {"client_id": "other"}])
async def test_wrong_credentials_are_our_fault_alone(server: Server, given: dict[str, Any]) -> None:
    async with keycloak(server, **given) as client:
        with pytest.raises(NotTakenError, match="token endpoint: HTTP 40") as error:
            await client.tell(told(ended(revocation())))

    assert error.value.because is Because.TROUBLE


async def test_what_was_done_is_not_done_again_by_the_next_try(realm: Realm, server: Server) -> None:
    both = told(ended(revocation(selector=Selector(tenant="", session_ids=("s-1", "s-3")))))
    answer, failing = server.behave, {"/admin/realms/people/sessions/s-3"}
    server.behave = lambda asked: realm(asked) if asked.path not in failing else _away()

    async with keycloak(server, offline=False) as client:
        with pytest.raises(NotTakenError):
            await client.tell(both)
        server.behave = answer
        before = len(server.came)
        found = [await client.tell(both) for _ in range(2)]

    assert [one.path.rpartition("/")[2] for one in server.came[before:]] == ["s-3", "s-1", "s-3"]
    assert [one.ended for one in found] == [1, 0]


def _away() -> Reply:
    return Reply(503)
