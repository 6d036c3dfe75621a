"""The policy's table, line by line, and how a decision follows from it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.core.policy import DEFAULT_RULES, NAMING, Ends, KeepRule, Policy, Rule, decide
from revoker.core.revocation import Selector
from schemas.codec import IDENTITY
from schemas.fields import wire_time
from schemas.inputs import IDENTITY_EVENTS
from tests import factories
from tests.factories import NOW, POLICY, after, decision

SESSION = {"session_id": "s-1"}
DATA: dict[str, dict[str, Any]] = {
    "logged-out": SESSION,
    "refresh-token-reused": SESSION,
    "session-revoked": {"session_ids": ["s-2", "s-1", "s-2"]},
    "token-revoked": {"token_id": "t-1"},
}
ALL = Selector(tenant="acme", subject="alice")
ONE = Selector(tenant="acme", subject="alice", session_ids=("s-1",))
TOKEN = Selector(tenant="acme", subject="alice", token_id="t-1")


def with_rule(type_: str, **changes: Any) -> Policy:
    return replace(POLICY, rules={**POLICY.rules, type_: replace(POLICY.rules[type_], **changes)})


@pytest.mark.parametrize(
    ("type_", "selector", "keeps", "initiator", "reason"),
    [
        ("password-changed", ALL, True, "user", "Your password was changed"),
        ("email-changed", ALL, True, "user", "Your e-mail address was changed"),
        ("logged-out", ONE, False, "user", "You signed out"),
        ("logged-out-everywhere", ALL, True, "user", "You signed out everywhere"),
        (
            "session-revoked",
            Selector(tenant="acme", subject="alice", session_ids=("s-1", "s-2")),
            False,
            "user",
            "This session was ended",
        ),
        ("security-concern-reported", ALL, True, "user", "A security concern was reported"),
        ("account-disabled", ALL, False, "admin", "This account was disabled"),
        ("account-deleted", ALL, False, "admin", "This account was deleted"),
        ("refresh-token-reused", ONE, False, "system", "This session was used from two places"),
        ("token-revoked", TOKEN, False, "user", "This access was withdrawn"),
    ],
)
def test_what_each_event_asks_for(type_: str, selector: Selector, keeps: bool, initiator: str, reason: str) -> None:  # noqa: FBT001 - what a table expects
    data = {"keep": ["k-2", "k-1", "k-2"]} | DATA.get(type_, {})
    made = decision(type_, tenant="acme", id="e-9", source="idp", time=after(minutes=-1), data=data)
    revocation = made.revocation

    assert revocation.selector == selector
    assert revocation.keep == (("k-2", "k-1") if keeps else ())
    assert revocation.not_before == revocation.requested_at == after(minutes=-1)
    assert revocation.covers_until == after(minutes=-1) + POLICY.lifetime
    assert (revocation.cause, revocation.initiator, revocation.reason_user) == (type_, initiator, {"en": reason})
    assert (revocation.source, revocation.event_id, revocation.reason_admin) == ("idp", "e-9", None)
    assert revocation.enforced
    assert not made.clamped
    assert made.fresh_after == (after(minutes=-11) if type_ == "security-concern-reported" else None)


def test_the_table_has_a_line_for_each_event_and_no_other() -> None:
    assert DEFAULT_RULES.keys() == IDENTITY.types
    assert {rule.keep for rule in DEFAULT_RULES.values()} == set(KeepRule)


def test_what_the_event_says_of_who_and_why_wins() -> None:
    said = {"initiator": "policy", "reason_user": {"de": "Darum"}, "reason_admin": "ticket 7"}
    revocation = decision(data=said).revocation

    assert (revocation.initiator, revocation.reason_user, revocation.reason_admin) == (
        "policy",
        {"de": "Darum"},
        "ticket 7",
    )


@pytest.mark.parametrize(
    ("time", "happened", "clamped"),
    [
        (None, NOW, False),
        (NOW, NOW, False),
        (NOW + timedelta(microseconds=1), NOW, True),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), NOW, True),
        (NOW - timedelta(microseconds=1), NOW - timedelta(microseconds=1), False),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), False),
    ],
)
def test_times_are_clamped_to_what_kafka_and_the_database_know(
    time: datetime | None,
    happened: datetime,
    clamped: bool,  # noqa: FBT001 - as above
) -> None:
    attributes: dict[str, Any] = {} if time is None else {"time": time}
    made = decision(**attributes)

    assert (made.revocation.not_before, made.revocation.requested_at, made.clamped) == (happened, happened, clamped)


def test_a_margin_moves_the_bound_and_how_long_it_covers_not_when_it_was_asked() -> None:
    made = decision(policy=with_rule("password-changed", margin=timedelta(minutes=5)))

    assert made.revocation.not_before == after(minutes=5)
    assert made.revocation.covers_until == after(minutes=5) + POLICY.lifetime
    assert made.revocation.requested_at == NOW


@pytest.mark.parametrize(
    ("keep", "kept", "fresh_after"),
    [(KeepRule.ALWAYS, ("s-1",), None), (KeepRule.FRESH, ("s-1",), after(minutes=-10)), (KeepRule.NEVER, (), None)],
)
def test_whether_keep_counts_is_policy(keep: KeepRule, kept: tuple[str, ...], fresh_after: datetime | None) -> None:
    made = decision(policy=with_rule("password-changed", keep=keep), data={"keep": ["s-1"]})

    assert (made.revocation.keep, made.fresh_after) == (kept, fresh_after)


def test_where_nothing_is_to_be_kept_nobody_need_be_asked() -> None:
    assert decision("security-concern-reported").fresh_after is None


@pytest.mark.parametrize(("ends", "kept"), [(Ends.SUBJECT, ("tv",)), (Ends.NAMED, ())])
def test_clients_are_spared_only_by_what_ends_everything(ends: Ends, kept: tuple[str, ...]) -> None:
    policy = with_rule("logged-out", ends=ends, keep_clients=("tv",))

    assert decision("logged-out", policy=policy, data=SESSION).revocation.keep_clients == kept


@pytest.mark.parametrize("type_", sorted(DATA))
def test_a_policy_may_let_what_names_a_session_end_all_of_its_subjects(type_: str) -> None:
    policy = with_rule(type_, ends=Ends.SUBJECT)

    assert decision(type_, policy=policy, data=DATA[type_]).revocation.selector == Selector(tenant="", subject="alice")
    # Of nobody there is no "all": then the named one ends.
    nameless = decision(type_, None, policy=policy, data=DATA[type_]).revocation.selector
    assert nameless.subject is None
    assert nameless.session_ids or nameless.token_id


def test_an_event_that_names_nothing_ends_all_whatever_the_policy_calls_it() -> None:
    made = decision(policy=with_rule("password-changed", ends=Ends.NAMED))

    assert made.revocation.selector == Selector(tenant="", subject="alice")
    assert not isinstance(factories.identity_event("password-changed"), NAMING)


@pytest.mark.parametrize(("ends", "report_only"), [(Ends.NOTHING, False), (Ends.SUBJECT, True), (Ends.NOTHING, True)])
def test_what_is_only_recorded_is_not_enforced(ends: Ends, report_only: bool) -> None:  # noqa: FBT001 - as above
    made = decision(policy=with_rule("password-changed", ends=ends), report_only=report_only)

    assert not made.revocation.enforced
    assert made.revocation.id == decision(id=made.revocation.event_id).revocation.id


def test_one_clients_part_is_named() -> None:
    made = decision("logged-out", data=SESSION | {"client_id": "web"})

    assert made.revocation.selector == Selector(tenant="", subject="alice", session_ids=("s-1",), client_id="web")


@pytest.mark.parametrize(
    ("expires_at", "covers_until"),
    [
        (after(days=1), after(days=1)),
        (after(days=90), after(days=30)),
        (after(days=-1), NOW),
        (None, after(days=30)),
    ],
)
def test_a_token_is_covered_until_it_expires_and_never_longer_than_any_lives(
    expires_at: datetime | None, covers_until: datetime
) -> None:
    data = {"token_id": "t-1"} | ({} if expires_at is None else {"expires_at": wire_time(expires_at)})

    assert decision("token-revoked", data=data).revocation.covers_until == covers_until


MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(
    st.sampled_from(sorted(IDENTITY.types)),
    MOMENTS | st.none(),
    st.booleans(),
    st.timedeltas(timedelta(0), timedelta(days=1)),
)
def test_a_decision_never_raises_and_always_makes_sense(
    type_: str,
    time: datetime | None,
    named: bool,  # noqa: FBT001 - drawn
    margin: timedelta,
) -> None:
    subject = "alice" if named or type_ not in DATA else None
    event = factories.identity_event(
        type_, subject, data=DATA.get(type_, {}), **({} if time is None else {"time": time})
    )
    made = decide(event, with_rule(type_, margin=margin), NOW)

    assert made.revocation.requested_at <= NOW
    assert made.revocation.covers_until >= made.revocation.not_before == made.revocation.requested_at + margin
    assert made.revocation.selector.bounded is (type_ not in DATA)
    assert IDENTITY_EVENTS.topic


def test_rules_differ_in_nothing_that_is_not_said() -> None:
    assert Rule(ends=Ends.SUBJECT, reason_user={}) == Rule(
        ends=Ends.SUBJECT,
        keep=KeepRule.ALWAYS,
        keep_clients=(),
        margin=timedelta(0),
        initiator=DEFAULT_RULES["logged-out"].initiator,
        reason_user={},
    )
