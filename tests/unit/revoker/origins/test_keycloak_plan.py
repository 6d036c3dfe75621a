"""What ends at a Keycloak: all that is covered as a whole, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from revoker.core import notices
from revoker.core.notices import EndedSession
from revoker.core.revocation import Cover, Credential, Revocation, Selector
from revoker.core.wire import SessionEndedNotice, decode_notice
from revoker.origins.keycloak_plan import KeycloakSession, plan
from tests.factories import NOW, after, revocation

SECONDS = int(NOW.timestamp())


def notice(of: Revocation, *sessions: EndedSession) -> SessionEndedNotice:
    """What announces it."""
    found = decode_notice(notices.ended(of, NOW, sessions)[0].body)
    assert isinstance(found, SessionEndedNotice)
    return found


def there(id_: str, *clients: str, start: int = SECONDS - 60) -> KeycloakSession:
    """A sign-in of a minute ago."""
    return KeycloakSession(id=id_, start=start * 1000, clients=frozenset(clients))


def ended(id_: str, client: str = "web", subject: str | None = None) -> EndedSession:
    return EndedSession(id_, client, None, subject)


def test_what_is_named_ends_without_a_question() -> None:
    logout = revocation(Selector(tenant="", subject="alice", session_ids=("s-1",)))

    wanted = plan(notice(logout))

    assert wanted.named == {"alice": ["s-1"]}
    assert wanted.all_of is None
    assert not wanted.is_narrow


def test_what_we_were_never_told_of_ends_too_if_it_began_before() -> None:
    wanted = plan(notice(revocation(keep=("s-kept",)), ended("s-1")))

    assert wanted.all_of == "alice"
    assert wanted.choose("alice", [there("s-kept"), there("s-unknown")]) == ["s-unknown"]


def test_a_sign_in_of_the_same_second_is_left_alone_until_it_is_named() -> None:
    bound = NOW + timedelta(milliseconds=300)
    wanted = plan(notice(revocation(not_before=bound)))

    assert wanted.choose("alice", [there("s-1", start=SECONDS)]) == []
    assert wanted.choose("alice", [there("s-1", start=SECONDS - 1)]) == ["s-1"]
    assert wanted.choose("alice", [there("s-1", start=SECONDS + 1)]) == []
    named = plan(notice(revocation(not_before=bound), ended("s-1")))
    assert named.choose("alice", [there("s-1", start=SECONDS)]) == ["s-1"]


def test_a_sign_in_that_serves_others_outlives_the_end_of_one_client_s_part() -> None:
    part = revocation(Selector(tenant="", subject="alice", session_ids=("s-1",), client_id="web"))
    wanted = plan(notice(part, ended("s-1")))

    assert wanted.is_narrow
    assert wanted.choose("alice", [there("s-1", "web", "mail")]) == []
    assert wanted.choose("alice", [there("s-1", "web")]) == ["s-1"]
    assert wanted.choose("alice", [there("s-1")]) == []


def test_a_sign_in_of_a_client_that_is_spared_stays() -> None:
    wanted = plan(notice(revocation(keep_clients=("kiosk",)), ended("s-1")))

    found = [there("s-1", "web", "kiosk"), there("s-2", "web"), there("s-3")]
    assert wanted.choose("alice", found) == ["s-2", "s-3"]


def test_whoever_was_born_ended_is_named_and_nobody_is_asked_for_again() -> None:
    of = revocation()
    late = decode_notice(notices.late(of, "alice", ended("s-9"), NOW).body)
    assert isinstance(late, SessionEndedNotice)

    wanted = plan(late)

    assert wanted.named == {"alice": ["s-9"]}
    assert wanted.all_of is None


def test_rows_of_many_subjects_are_named_by_subject() -> None:
    of = revocation(Selector(tenant="", device_id="d-1"))
    wanted = plan(notice(of, ended("s-1", subject="alice"), ended("s-2", subject="bob")))

    assert wanted.named == {"alice": ["s-1"], "bob": ["s-2"]}
    assert wanted.all_of is None


def test_a_token_alone_is_not_keycloak_s_to_end() -> None:
    assert plan(notice(revocation(Selector(tenant="", subject="alice", token_id="t-1")))).is_empty


def test_what_keycloak_could_not_have_made_never_becomes_a_path() -> None:
    names = ("..", ".", "a/b", "a?b", "%2e%2e", "a b", "", "é", "x" * 256)
    hostile = revocation(Selector(tenant="", subject="alice", session_ids=(*names[:6], "s-1")))

    assert plan(notice(hostile, *map(ended, names))).named == {"alice": ["s-1"]}
    entries: list[Any] = [{"id": name, "start": 1, "clients": {}} for name in names]
    assert [KeycloakSession.read(entry) for entry in (*entries, None, "s-1", {"id": "s-1"}, {"start": 1})] == [
        None
    ] * 13


CLIENTS = st.sampled_from(["web", "mail", "kiosk"])
IDS = st.sampled_from(["s-1", "s-2", "s-3"])


@given(
    sessions=st.lists(
        st.tuples(IDS, st.frozensets(CLIENTS, max_size=3), st.integers(-3, 3)), max_size=3, unique_by=lambda s: s[0]
    ),
    bound=st.integers(-2_000_000, 2_000_000),
    keep=st.lists(IDS, max_size=2),
    keep_clients=st.lists(CLIENTS, max_size=1),
    named=st.lists(IDS, max_size=2, unique=True),
    client=st.none() | CLIENTS,
    fraction=st.integers(0, 999_999),
)
def test_nothing_that_is_not_covered_ends_there(
    *,
    sessions: list[tuple[str, frozenset[str], int]],
    bound: int,
    keep: list[str],
    keep_clients: list[str],
    named: list[str],
    client: str | None,
    fraction: int,
) -> None:
    of = revocation(
        Selector(tenant="", subject="alice", session_ids=tuple(named), client_id=client),
        not_before=NOW + timedelta(microseconds=bound),
        keep=tuple(keep),
        keep_clients=tuple(keep_clients),
    )
    wanted = plan(notice(of))
    found = [there(id_, *clients, start=SECONDS + start) for id_, clients, start in sessions]

    chosen = set(wanted.choose("alice", found))

    for one in found:
        began = datetime.fromtimestamp(one.start / 1000, UTC) + timedelta(microseconds=fraction)
        parts = [
            of.covers(Credential(tenant="", subject="alice", session_id=one.id, client_id=name, established_at=began))
            for name in one.clients or {""}
        ]
        if one.id in chosen:
            assert set(parts) == {Cover.YES}
        elif set(parts) == {Cover.YES} and one.clients:
            # What is covered and stays began in the second of the bound.
            assert not named
            assert after(microseconds=bound) < datetime.fromtimestamp(one.start / 1000 + 1, UTC)
