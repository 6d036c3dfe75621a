"""What each event ends in the database, what is redundant, and what is announced, by example."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.ids import WIDE_LOCK, lock_key
from revoker.core.policy import Decision, Policy, Rule
from revoker.core.revocation import Revocation
from revoker.storage import batches, revocations
from revoker.storage.database import Fault, fault_of
from schemas.session_ended import SessionEnded
from tests import factories
from tests.factories import after, decision, established, issued
from tests.processes import eventually
from tests.stored import announced, apply, execute, live, live_tokens, register, rows


def policy(type_: str, **changes: Any) -> Policy:
    """The default one, but for one rule."""
    rule: Rule = replace(factories.POLICY.rules[type_], **changes)
    return replace(factories.POLICY, rules={**factories.POLICY.rules, type_: rule})


async def redundant(engine: AsyncEngine, *decisions: Decision) -> Sequence[bool]:
    return [applied.redundant for applied in (await apply(engine, *decisions)).applied]


# What adds no cover is redundant, and is not announced.


async def test_the_echo_of_a_session_that_we_ended_is_redundant(engine: AsyncEngine) -> None:
    await register(engine, established("s-1"), established("s-2"))
    await apply(engine, decision("password-changed"))

    echo = await apply(engine, decision("logged-out", data={"session_id": "s-1"}))

    assert [applied.redundant for applied in echo.applied] == [True]
    assert echo.batch_id is None
    assert announced(echo) == []
    assert await rows(engine, "select redundant, enforced from revocations where cause = 'logged-out'") == [
        (True, True)
    ]
    assert await batches.stale(engine, timedelta(hours=-1)) != [], "the first batch still waits"


async def test_a_logout_of_sessions_of_which_one_is_unknown_is_not_redundant(engine: AsyncEngine) -> None:
    await register(engine, established("s-1"))
    await apply(engine, decision("password-changed"))

    assert await redundant(engine, decision("session-revoked", data={"session_ids": ["s-1", "s-2"]})) == [False]


async def test_the_end_of_one_clients_part_does_not_make_the_end_of_the_sign_in_redundant(engine: AsyncEngine) -> None:
    """Of other parts the registry need not know; a gateway that has one must be told."""
    await register(engine, established("s-1", client_id="web"))
    await apply(engine, decision("logged-out", data={"session_id": "s-1", "client_id": "web"}))

    assert await redundant(engine, decision("logged-out", data={"session_id": "s-1", "client_id": "web"})) == [True]
    assert await redundant(engine, decision("logged-out", data={"session_id": "s-1", "client_id": "app"})) == [False]
    assert await redundant(engine, decision("logged-out", data={"session_id": "s-1"})) == [False]


async def test_a_sign_in_ended_for_all_clients_but_one_is_not_over(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", client_id="web"))
    await apply(engine, decision("password-changed", policy=policy("password-changed", keep_clients=("app",))))

    assert await redundant(engine, decision("logged-out", data={"session_id": "s-1"})) == [False]


async def test_an_equal_password_change_by_another_source_is_redundant_and_a_later_one_is_not(
    engine: AsyncEngine,
) -> None:
    await register(engine, established())
    then = after(minutes=-5)
    assert await redundant(engine, decision("password-changed", source="login", time=then)) == [False]

    assert await redundant(engine, decision("password-changed", source="directory", time=then)) == [True]
    assert await redundant(engine, decision("email-changed", time=after(minutes=-6))) == [True]
    assert await redundant(engine, decision("password-changed", source="directory", time=after(minutes=-4))) == [False]
    assert await redundant(engine, decision("password-changed", "bob", source="directory", time=then)) == [False]


async def test_a_change_that_keeps_less_is_not_redundant(engine: AsyncEngine) -> None:
    then = after(minutes=-5)
    await register(engine, established("s-1"), established("s-2"))
    await apply(engine, decision(data={"keep": ["s-1"]}, time=then))
    assert await live(engine) == {"s-1"}

    assert await redundant(engine, decision(data={"keep": ["s-1", "s-7"]}, time=then)) == [True]
    assert await redundant(engine, decision(data={"keep": ["s-7"]}, time=then)) == [False]
    assert await live(engine) == set()


async def test_a_known_token_that_is_over_is_redundant_unless_only_its_session_was_announced(
    engine: AsyncEngine,
) -> None:
    await register(engine, established("s-1"), issued("loose"), issued("bound", session_id="s-1"))
    await apply(engine, decision("password-changed"))
    assert await live_tokens(engine) == set()

    assert await redundant(engine, decision("token-revoked", data={"token_id": "loose"})) == [True]
    assert await redundant(engine, decision("token-revoked", data={"token_id": "bound"})) == [False]
    assert await redundant(engine, decision("token-revoked", data={"token_id": "bound"})) == [True]
    assert await redundant(engine, decision("token-revoked", data={"token_id": "unknown"})) == [False]


async def test_what_was_only_reported_makes_nothing_redundant(engine: AsyncEngine) -> None:
    await apply(engine, decision("password-changed", report_only=True))

    assert await redundant(engine, decision("password-changed")) == [False]


async def test_an_event_that_ends_something_is_never_redundant(engine: AsyncEngine) -> None:
    await apply(engine, decision("logged-out", data={"session_id": "s-1"}))
    await register(engine, established("s-2"))

    assert await redundant(engine, decision("logged-out-everywhere"), decision("logged-out-everywhere")) == [
        False,
        False,
    ]


async def test_a_redundant_revocation_covers_all_the_same(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", client_id="web"))
    await apply(engine, decision("password-changed", time=after(minutes=-30)))
    assert await redundant(engine, decision("logged-out", data={"session_id": "s-1"})) == [True]

    late = await register(engine, established("s-1", client_id="app", established_at=after(minutes=-10)))

    assert len(late.late) == 1
    assert await live(engine) == set()


# Ids.


async def test_an_earlier_event_cannot_swallow_another_under_its_id(engine: AsyncEngine) -> None:
    await register(engine, established("s-1"), established("s-2"))
    harmless = decision("logged-out", id="e-1", data={"session_id": "s-1"})
    real = decision("password-changed", id="e-1")

    first, second = await apply(engine, harmless), await apply(engine, real)

    assert (first.duplicates, second.duplicates) == (0, 0)
    assert await live(engine) == set()
    assert second.recorded is not None
    assert await revocations.conflicting(engine, [second.recorded]) == {real.revocation.id}


async def test_an_event_id_conflicts_only_within_its_source_and_not_with_itself(engine: AsyncEngine) -> None:
    one = decision("password-changed", id="e-1")
    other = decision("password-changed", id="e-1", source="directory")
    outcome = await apply(engine, one, other, one)

    assert outcome.recorded is not None
    assert await revocations.conflicting(engine, [outcome.recorded]) == frozenset()
    assert await revocations.conflicting(engine, []) == frozenset()


# What each event ends.


async def test_a_subjects_sessions_and_loose_tokens_end_and_nobody_elses(engine: AsyncEngine) -> None:
    await register(
        engine,
        established("s-1"),
        established("s-1", client_id="web"),
        established("s-2", established_at=after(seconds=-1)),
        established("same", "bob"),
        established("same", "alice", "acme"),
        issued("t-1"),
        issued("t-2", session_id="s-1"),
        issued("t-3", session_id="s-1", client_id="web"),
        issued("t-4", session_id="s-of-nobody"),
        issued("t-5", "bob"),
    )

    outcome = await apply(engine, decision("password-changed", time=after(seconds=-1)))

    assert await live(engine) == {"same"}
    assert await live_tokens(engine) == {"t-4", "t-5"}
    [applied] = outcome.applied
    assert {(s.session_id, s.client_id, s.subject) for s in applied.sessions} == {
        ("s-1", "", None),
        ("s-1", "web", None),
        ("s-2", "", None),
    }
    assert ([t.token_id for t in applied.tokens], applied.tokens_ended) == (["t-1"], 3)
    assert await rows(engine, "select sessions_ended, tokens_ended from revocations") == [(3, 3)]


async def test_a_login_after_the_change_is_not_touched(engine: AsyncEngine) -> None:
    change = after(minutes=-30)
    await register(
        engine,
        established("before", established_at=change - timedelta(microseconds=1)),
        established("same", established_at=change),
        established("after", established_at=change + timedelta(microseconds=1)),
    )

    await apply(engine, decision(time=change))

    assert await live(engine) == {"after"}


async def test_several_sessions_are_revoked_by_one_event(engine: AsyncEngine) -> None:
    await register(engine, *(established(f"s-{number}") for number in range(4)))

    outcome = await apply(engine, decision("session-revoked", data={"session_ids": ["s-3", "s-1", "s-1", "x"]}))

    assert await live(engine) == {"s-0", "s-2"}
    event = SessionEnded.model_validate_json(announced(outcome)[0].body)
    assert event.data.selector.session_id == ("s-1", "s-3", "x")
    assert [entry.session_id for entry in event.data.sessions] == ["s-1", "s-3"]


async def test_a_logout_of_one_client_leaves_the_others_part_and_its_tokens(engine: AsyncEngine) -> None:
    await register(
        engine,
        established("s-1", client_id="web"),
        established("s-1", client_id="app"),
        issued("of-web", session_id="s-1", client_id="web"),
        issued("of-app", session_id="s-1", client_id="app"),
        issued("of-somebody", session_id="s-1"),
    )

    await apply(engine, decision("logged-out", data={"session_id": "s-1", "client_id": "web"}))
    assert await live(engine) == {"s-1/app"}
    assert await live_tokens(engine) == {"of-app", "of-somebody"}

    await apply(engine, decision("refresh-token-reused", data={"session_id": "s-1", "client_id": "app"}))
    assert await live_tokens(engine) == set()


async def test_a_revoked_token_leaves_its_session(engine: AsyncEngine) -> None:
    await register(
        engine, established("s-1"), issued("t-1", session_id="s-1"), issued("t-2", session_id="s-1"), issued("t-3")
    )

    outcome = await apply(
        engine,
        decision("token-revoked", data={"token_id": "t-1"}),
        decision("token-revoked", None, data={"token_id": "t-3"}),
    )

    assert await live(engine) == {"s-1"}
    assert await live_tokens(engine) == {"t-2"}
    assert sorted(applied.tokens_ended for applied in outcome.applied) == [1, 1]


@pytest.mark.parametrize(
    ("type_", "kept"),
    [
        ("password-changed", {"s-1", "app"}),
        ("email-changed", {"s-1", "app"}),
        ("logged-out-everywhere", {"s-1", "app"}),
        ("account-disabled", set()),
        ("account-deleted", set()),
    ],
)
async def test_keep_is_honoured_where_the_policy_says_so(engine: AsyncEngine, type_: str, kept: set[str]) -> None:
    await register(engine, established("s-1"), established("s-2"), established("app"))

    await apply(engine, decision(type_, data={"keep": ["s-1", "app", "s-1"]}))

    assert await live(engine) == kept


async def test_a_reported_concern_keeps_only_what_had_freshly_signed_in(engine: AsyncEngine) -> None:
    """A thief's old session cannot save itself, and neither can one that nobody has heard of, or that is over."""
    await register(
        engine,
        established("fresh", established_at=after(minutes=-9)),
        established("edge", established_at=after(minutes=-10)),
        established("old", established_at=after(days=-2)),
        established("over", established_at=after(minutes=-1)),
        established("unasked", established_at=after(minutes=-1)),
        established("fresh", "bob", established_at=after(minutes=-9)),
    )
    await apply(engine, decision("logged-out", data={"session_id": "over"}))

    reported = decision("security-concern-reported", data={"keep": ["fresh", "edge", "old", "over", "unheard"]})
    outcome = await apply(engine, reported, decision("security-concern-reported", "bob", data={"keep": ["other"]}))

    assert [applied.revocation.keep for applied in outcome.applied] == [("fresh",), ()]
    assert await rows(engine, "select session_id, subject from sessions where ended_at is null") == [("fresh", "alice")]
    late = await register(engine, established("unheard", established_at=after(minutes=-1)))
    assert len(late.late) == 1, "the decision stands as it was made"


async def test_the_margin_and_the_clients_of_a_policy(engine: AsyncEngine) -> None:
    lenient = policy("password-changed", margin=timedelta(minutes=5), keep_clients=("kiosk", "tv"))
    change = after(minutes=-30)
    await register(
        engine,
        established("within", established_at=change + timedelta(minutes=5)),
        established("beyond", established_at=change + timedelta(minutes=5, microseconds=1)),
        established("s-1", client_id="kiosk"),
        established("s-1", client_id="web"),
        issued("t-1", client_id="tv"),
        issued("t-2", client_id="web"),
    )

    await apply(engine, decision(time=change, policy=lenient))

    assert await live(engine) == {"beyond", "s-1/kiosk"}
    assert await live_tokens(engine) == {"t-1"}


async def test_what_is_only_reported_is_counted_and_ends_nothing(engine: AsyncEngine) -> None:
    await register(engine, established("s-1"), established("s-2"), established("b-1", "bob"), issued("t-1"))

    outcome = await apply(
        engine,
        decision("password-changed", report_only=True),
        decision("logged-out", None, data={"session_id": "b-1"}, report_only=True),
        decision("logged-out", None, data={"session_id": "x"}, report_only=True),
    )

    assert await live(engine) == {"s-1", "s-2", "b-1"}
    assert await live_tokens(engine) == {"t-1"}
    assert outcome.batch_id is None
    assert {(a.revocation.cause, a.revocation.selector.subject): a.matched for a in outcome.applied} == {
        ("password-changed", "alice"): 2,
        ("logged-out", "bob"): 1,
        ("logged-out", None): 0,
    }
    assert await rows(engine, "select sum(sessions_ended), bool_or(enforced) from revocations") == [(3, False)]
    late = await register(engine, established("x", "carol"))
    assert late.late == []


# Logouts whose subject is not told.


async def test_a_logout_without_a_subject_is_filed_under_the_one_that_the_registry_knows(engine: AsyncEngine) -> None:
    await register(engine, established("s-1"), established("s-1", "bob", "acme"))

    outcome = await apply(engine, decision("logged-out", None, id="e-1", data={"session_id": "s-1"}))

    [notice] = announced(outcome)
    event = SessionEnded.model_validate_json(notice.body)
    assert (notice.key, event.subject, event.data.selector.subject) == (b"alice", "alice", "alice")
    assert await rows(engine, "select tenant, subject from sessions where ended_at is null") == [("acme", "bob")]
    again = await apply(engine, decision("logged-out", None, id="e-1", data={"session_id": "s-1"}))
    assert again.duplicates == 1


async def test_a_logout_of_an_unknown_session_covers_whoever_registers_it(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    outcome = await apply(engine, decision("logged-out", None, id="e-1", data={"session_id": "s-1"}))
    [notice] = announced(outcome)
    assert notice.key.decode() == str(outcome.applied[0].revocation.id)

    late = await register(
        engine, established("s-1", "carol", established_at=after(days=-1)), established("s-1", "dave", "acme")
    )

    assert await rows(engine, "select subject from sessions where ended_at is null") == [("dave",)]
    [told] = await batches.derive_late(reader, late.late)
    assert SessionEnded.model_validate_json(told.body).subject == "carol"
    again = await apply(engine, decision("logged-out", None, id="e-1", data={"session_id": "s-1"}))
    assert again.duplicates == 1, "though the registry knows its subject by now"


async def test_one_event_is_filed_once_though_the_registry_grows_between_two_deliveries(engine: AsyncEngine) -> None:
    """The first finds nobody, and waits for lock W; meanwhile the session is registered and the event comes again."""
    logout = decision("logged-out", None, id="e-1", data={"session_id": "s-1"})
    async with engine.begin() as held:
        await held.exec_driver_sql(f"select pg_advisory_xact_lock_shared({WIDE_LOCK})")
        first = asyncio.create_task(apply(engine, logout))
        waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted"
        await eventually(lambda: rows(engine, waiting), "the first to wait")
        await execute(
            engine,
            """insert into sessions (tenant, subject, session_id, client_id, established_at, registered_at)
               values ('', 'alice', 's-1', '', now(), now())""",
        )
        again = await apply(engine, logout)

    assert (again.duplicates, (await first).duplicates) == (0, 1)
    assert await rows(engine, "select subject from revocations") == [("alice",)]


async def test_what_names_no_subject_is_derived_as_it_was_told_beside_what_names_one(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    await register(engine, established("s-1"), established("s-1", "bob"), established("s-2"))

    outcome = await apply(
        engine, decision("logged-out", None, id="e-1", data={"session_id": "s-1"}), decision(id="e-2")
    )

    assert outcome.batch_id is not None
    derived = await batches.derive(reader, [outcome.batch_id])
    assert {notice.body for notice in derived} == {notice.body for notice in announced(outcome)}


async def test_a_session_id_of_two_subjects_ends_for_both_and_the_notice_names_each(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    await register(engine, established("s-1"), established("s-1", "bob"), issued("t-1"), issued("t-1", "bob"))

    outcome = await apply(
        engine,
        decision("logged-out", None, data={"session_id": "s-1"}),
        decision("token-revoked", None, data={"token_id": "t-1"}),
    )

    assert await live(engine) | await live_tokens(engine) == set()
    events = {
        event.data.cause: event
        for event in (SessionEnded.model_validate_json(notice.body) for notice in announced(outcome))
    }
    assert {entry.subject for entry in events["logged-out"].data.sessions} == {"alice", "bob"}
    assert events["token-revoked"].data.selector.token_id == "t-1"
    assert outcome.batch_id is not None
    assert {n.body for n in await batches.derive(reader, [outcome.batch_id])} == {n.body for n in announced(outcome)}


# Times and text that nobody means well.


async def test_the_future_and_antiquity_are_clamped(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", established_at="9999-12-31T23:59:59Z"), established("s-2", "bob"))

    outcome = await apply(
        engine,
        decision(time="9999-12-31T23:59:59.999999Z"),
        decision("password-changed", "bob", time="0001-01-01T00:00:00Z"),
        decision("token-revoked", "bob", data={"token_id": "t-1", "expires_at": "9999-12-31T23:59:59Z"}),
        decision("token-revoked", "bob", data={"token_id": "t-2", "expires_at": "0001-01-01T00:00:00Z"}),
    )

    stored = {
        (applied.revocation.cause, applied.revocation.selector.token_id): applied.revocation
        for applied in outcome.applied
        if applied.revocation.selector.subject == "bob"
    }
    assert await live(engine) == {"s-2"}
    assert stored["password-changed", None].not_before == datetime(1970, 1, 1, tzinfo=UTC)
    assert stored["token-revoked", "t-1"].covers_until == factories.NOW + factories.POLICY.lifetime
    assert stored["token-revoked", "t-2"].covers_until == factories.NOW


HOSTILE = [
    "'; drop table sessions; --",
    'a"b\\"c',
    "back\\slash\\",
    "{curly,array}",
    "NULL",
    "null",
    "%s $1 :name ?",
    "🔐👩‍👩‍👧",
    "\u2028\u2029\u202e",
    "é" * 256,
    "x" * 512,
    " leading and trailing ",
    ",",
    "()",
]


async def test_hostile_text_is_only_text(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await register(
        engine,
        *(established(word, word, word, client_id=word, device_id=word, labels={word: word}) for word in HOSTILE),
        *(issued(word, word, word, client_id=word) for word in HOSTILE),
        *(established("kept", word, word) for word in HOSTILE),
    )

    outcome = await apply(
        engine,
        *(
            decision(
                "password-changed",
                word,
                tenant=word,
                id=word,
                source=word,
                data={"keep": ["kept", *HOSTILE[:1]], "reason_user": {"en": word}, "reason_admin": word},
            )
            for word in HOSTILE[1:]
        ),
        decision("session-revoked", HOSTILE[0], tenant=HOSTILE[0], data={"session_ids": HOSTILE}),
        *(decision("logged-out", None, tenant=word, data={"session_id": f"x{word}"[:200]}) for word in HOSTILE),
    )

    assert await live(engine) == {"kept"}
    assert await live_tokens(engine) == {HOSTILE[0]}
    assert sum(len(applied.sessions) for applied in outcome.applied) == len(HOSTILE)
    assert outcome.batch_id is not None
    derived = {notice.id: notice.body for notice in await batches.derive(reader, [outcome.batch_id])}
    assert derived == {notice.id: notice.body for notice in announced(outcome)}
    reread = {
        row[0] for row in await rows(engine, "select reason_admin from revocations where cause = 'password-changed'")
    }
    assert reread == set(HOSTILE[1:])


async def test_a_stored_revocation_comes_back_as_it_was(engine: AsyncEngine, reader: AsyncEngine) -> None:
    changed = policy("password-changed", keep_clients=("tv",), margin=timedelta(seconds=1))
    outcome = await apply(
        engine,
        decision(data={"keep": ["b", "a"], "reason_user": {"xx": "1", "a": "2"}, "reason_admin": "z"}, policy=changed),
        decision("session-revoked", None, data={"session_ids": ["b", "a"]}),
        decision("logged-out", "bob", data={"session_id": "b", "client_id": "c"}),
        decision("token-revoked", "bob", data={"token_id": "t"}, report_only=True),
    )

    given: dict[Any, Revocation] = {applied.revocation.id: applied.revocation for applied in outcome.applied}
    assert await batches.stored(reader, list(given)) == given


# Failures.


async def test_who_waits_too_long_for_a_subject_is_told_that_it_is_contended(engine: AsyncEngine) -> None:
    await register(engine, established())
    async with engine.begin() as held:
        await held.exec_driver_sql(f"select pg_advisory_xact_lock({lock_key('', 'alice')})")
        await held.exec_driver_sql("select 1")
        with pytest.raises(Exception, match="lock timeout") as failure:
            await apply(engine, decision())

    assert fault_of(failure.value) is Fault.CONTENDED
    assert await live(engine) == {"s-1"}
    await apply(engine, decision())
    assert await live(engine) == set()


async def test_an_empty_chunk_is_nothing(engine: AsyncEngine) -> None:
    outcome = await apply(engine)

    assert (outcome.applied, outcome.duplicates, outcome.batch_id) == ([], 0, None)
    assert await execute(engine, "delete from batches") == 0
