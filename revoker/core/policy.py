"""Which event ends what: one table, and the pure decision that reads it.

The decision is made once, by the policy of that moment, and stored. Every time inside a record is clamped to the
moment at which Kafka took it: rejecting a future date would let a session live, believing it would lock people out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from revoker.core.ids import revocation_id
from revoker.core.revocation import Revocation, Selector
from schemas.fields import Initiator, wire_time
from schemas.identity_events import (
    BecauseKeeping,
    IdentityEvent,
    LoggedOut,
    RefreshTokenReused,
    SessionNamed,
    SessionRevoked,
    SessionsNamed,
    TokenNamed,
    TokenRevoked,
)

NAMING = (LoggedOut, SessionRevoked, RefreshTokenReused, TokenRevoked)
"""The events that name a session or a token."""

_OLDEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""No session is older; and times before it have no room for subtraction."""


class Ends(StrEnum):
    """How much an event ends."""

    SUBJECT = "subject"  # all of the subject's sessions
    NAMED = "named"  # the sessions or the token that the event names
    NOTHING = "nothing"  # recorded only


class KeepRule(StrEnum):
    """Whether the sessions that an event asks to keep are kept."""

    ALWAYS = "always"
    FRESH = "fresh"  # only those established shortly before: a thief's old session cannot save itself
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the policy."""

    ends: Ends
    keep: KeepRule = KeepRule.ALWAYS
    keep_clients: tuple[str, ...] = ()
    """Clients whose sessions this type of event leaves alone."""
    margin: timedelta = timedelta()
    """Added to the event's time: how much later a session may have begun and still be ended."""
    initiator: Initiator = Initiator.USER
    """Who asked, where the event does not say."""
    reason_user: Mapping[str, str]
    """What the person is told, by language, where the event does not say."""


DEFAULT_RULES: Final[Mapping[str, Rule]] = {
    "password-changed": Rule(ends=Ends.SUBJECT, reason_user={"en": "Your password was changed"}),
    "email-changed": Rule(ends=Ends.SUBJECT, reason_user={"en": "Your e-mail address was changed"}),
    "logged-out": Rule(ends=Ends.NAMED, reason_user={"en": "You signed out"}),
    "logged-out-everywhere": Rule(ends=Ends.SUBJECT, reason_user={"en": "You signed out everywhere"}),
    "session-revoked": Rule(ends=Ends.NAMED, reason_user={"en": "This session was ended"}),
    "security-concern-reported": Rule(
        ends=Ends.SUBJECT, keep=KeepRule.FRESH, reason_user={"en": "A security concern was reported"}
    ),
    "account-disabled": Rule(
        ends=Ends.SUBJECT,
        keep=KeepRule.NEVER,
        initiator=Initiator.ADMIN,
        reason_user={"en": "This account was disabled"},
    ),
    "account-deleted": Rule(
        ends=Ends.SUBJECT,
        keep=KeepRule.NEVER,
        initiator=Initiator.ADMIN,
        reason_user={"en": "This account was deleted"},
    ),
    "refresh-token-reused": Rule(
        ends=Ends.NAMED, initiator=Initiator.SYSTEM, reason_user={"en": "This session was used from two places"}
    ),
    "token-revoked": Rule(ends=Ends.NAMED, reason_user={"en": "This access was withdrawn"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The whole of it."""

    rules: Mapping[str, Rule]
    lifetime: timedelta
    """The longest that a session or token can live."""
    fresh: timedelta
    """How shortly before a report a session must have begun to be kept by it."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What one event asks for."""

    revocation: Revocation
    fresh_after: datetime | None
    """Where set, only those of `keep` that began after it are kept; the registry knows which."""
    clamped: bool
    """The event claimed to lie in the future."""


def decide(event: IdentityEvent, policy: Policy, appended_at: datetime, *, report_only: bool = False) -> Decision:
    """The revocation that `event` asks for. Never raises for an event that the codec let through.

    `appended_at` is the last moment at which Kafka can have taken the record; it bounds the event's own time.
    """
    rule = policy.rules[event.type]
    data = event.data
    happened = max(_OLDEST, min(event.time or appended_at, appended_at))
    keep = data.keep if isinstance(data, BecauseKeeping) and rule.keep is not KeepRule.NEVER else ()
    not_before = happened + rule.margin
    revocation = Revocation(
        id=revocation_id(
            event.source,
            event.id,
            event.type,
            event.tenant,
            event.subject,
            wire_time(event.time) if event.time else None,
            data.model_dump(mode="json", exclude_defaults=True) if data.model_fields_set else {},
        ),
        selector=_selector(event, rule),
        not_before=not_before,
        keep=tuple(dict.fromkeys(keep)) if keep else (),
        keep_clients=rule.keep_clients if rule.ends is Ends.SUBJECT else (),
        covers_until=_covers_until(data, not_before, policy),
        cause=event.type,
        initiator=data.initiator or rule.initiator,
        reason_user=data.reason_user or rule.reason_user,
        reason_admin=data.reason_admin,
        source=event.source,
        event_id=event.id,
        requested_at=happened,
        enforced=not report_only and rule.ends is not Ends.NOTHING,
    )
    return Decision(
        revocation=revocation,
        fresh_after=happened - policy.fresh if keep and rule.keep is KeepRule.FRESH else None,
        clamped=event.time is not None and event.time > appended_at,
    )


def _selector(event: IdentityEvent, rule: Rule) -> Selector:
    # Without a subject there is no "all of the subject's": what the event names must do.
    if (rule.ends is Ends.SUBJECT and event.subject is not None) or not isinstance(event, NAMING):
        return Selector(tenant=event.tenant, subject=event.subject)
    data = event.data
    if isinstance(data, SessionNamed):
        return Selector(
            tenant=event.tenant, subject=event.subject, session_ids=(data.session_id,), client_id=data.client_id
        )
    if isinstance(data, SessionsNamed):
        return Selector(tenant=event.tenant, subject=event.subject, session_ids=tuple(sorted(set(data.session_ids))))
    return Selector(tenant=event.tenant, subject=event.subject, token_id=data.token_id)


def _covers_until(data: object, not_before: datetime, policy: Policy) -> datetime:
    longest = not_before + policy.lifetime
    if isinstance(data, TokenNamed) and data.expires_at is not None:
        return min(longest, max(not_before, data.expires_at))
    return longest
