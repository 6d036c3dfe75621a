"""The rule once more, as short as it can be said: an oracle that knows nothing of order, batches or databases.

From a set of facts (events and activity, in any order) it says which sessions and tokens are over. It shares no code
with the product on purpose; SEMANTICS.md, section 1, is its only source.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from revoker.core.policy import Policy
from schemas.identity_events import IdentityEvent
from schemas.session_activity import SessionActivity, SessionEstablished, TokenIssued

Session = tuple[str, str, str, str]
"""Tenant, subject, session id, client id."""
Token = tuple[str, str, str]
"""Tenant, subject, token id."""


@dataclass(frozen=True)
class Told:
    """An identity event, and whether its input only reports."""

    event: IdentityEvent
    report_only: bool = False


Fact = Told | SessionActivity


@dataclass(frozen=True)
class Act:
    """What one event asks for."""

    tenant: str
    subject: str | None
    session_ids: frozenset[str] | None
    client_id: str | None
    token_id: str | None
    bound: datetime | None
    keep: frozenset[str]
    keep_clients: frozenset[str]

    def ends_session(self, session: Session, established_at: datetime) -> bool:
        tenant, subject, session_id, client_id = session
        return (
            self.token_id is None
            and self.tenant == tenant
            and self.subject in {None, subject}
            and (self.session_ids is None or session_id in self.session_ids)
            and self.client_id in {None, client_id}
            and (self.bound is None or established_at <= self.bound)
            and session_id not in self.keep
            and client_id not in self.keep_clients
        )

    def ends_token(self, token: Token, client_id: str | None, issued_at: datetime | None) -> bool:
        """`issued_at` is None for a token that has a session, which lives and dies with it."""
        tenant, subject, token_id = token
        if self.tenant != tenant or self.subject not in {None, subject}:
            return False
        if self.token_id is not None:
            return self.token_id == token_id
        return (
            issued_at is not None
            and self.session_ids is None
            and self.bound is not None
            and issued_at <= self.bound
            and (client_id or "") not in self.keep_clients
        )


@dataclass
class Heard:
    """What is known of one token."""

    issued_at: datetime
    session_id: str | None
    client_id: str | None


@dataclass
class World:
    """What is over and what lives. `unsettled` are tokens of a sign-in of which only some parts are over."""

    established: dict[Session, datetime] = field(default_factory=dict)
    tokens: dict[Token, Heard] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)

    @property
    def ended_sessions(self) -> set[Session]:
        return {
            session
            for session, at in self.established.items()
            if any(act.ends_session(session, at) for act in self.acts)
        }

    @property
    def ended_tokens(self) -> set[Token]:
        over = self.ended_sessions
        return {token for token, heard in self.tokens.items() if self._is_over(token, heard, over)}

    @property
    def unsettled_tokens(self) -> set[Token]:
        """Which of them are over depends on which part of the sign-in was heard of first: a part that joins a dead
        sign-in does not bring its tokens back.
        """
        over = self.ended_sessions
        return {
            token
            for token, heard in self.tokens.items()
            if 0 < len(self._parts(token, heard) & over) < len(self._parts(token, heard))
        }

    def _is_over(self, token: Token, heard: Heard, over: set[Session]) -> bool:
        own_time = heard.issued_at if heard.session_id is None else None
        if any(act.ends_token(token, heard.client_id, own_time) for act in self.acts):
            return True
        parts = self._parts(token, heard)
        return bool(parts) and parts <= over

    def _parts(self, token: Token, heard: Heard) -> set[Session]:
        return {
            session
            for session in self.established
            if session[:2] == token[:2] and session[2] == heard.session_id and heard.client_id in {None, session[3]}
        }


def world(facts: Iterable[Fact], policy: Policy, appended_at: datetime) -> World:
    """All that follows from `facts`, every time in them at most `appended_at`."""
    result = World()
    for fact in facts:
        match fact:
            case Told(event=event, report_only=report_only):
                act = None if report_only else _act(event, policy, appended_at)
                result.acts += [] if act is None else [act]
            case SessionEstablished(data=data):
                key = fact.tenant, fact.subject, data.session_id, data.client_id or ""
                at = min(data.established_at or fact.time or appended_at, appended_at)
                result.established[key] = min(at, result.established.get(key, at))
            case TokenIssued(data=data):
                at = min(fact.time or appended_at, appended_at)
                heard = result.tokens.setdefault(
                    (fact.tenant, fact.subject, data.token_id), Heard(at, data.session_id, data.client_id)
                )
                heard.issued_at = min(at, heard.issued_at)
            case _:
                pass
    return result


def _act(event: IdentityEvent, policy: Policy, appended_at: datetime) -> Act | None:
    rule = policy.rules[event.type]
    if rule.ends == "nothing":
        return None
    said: dict[str, Any] = dict(event.data)
    ids = said.get("session_ids") or ((said["session_id"],) if "session_id" in said else ())
    if rule.ends == "subject" and event.subject is not None:
        ids, said = (), {name: value for name, value in said.items() if name not in {"client_id", "token_id"}}
    everything = not ids and "token_id" not in said
    return Act(
        tenant=event.tenant,
        subject=event.subject,
        session_ids=frozenset(ids) or None,
        client_id=said.get("client_id"),
        token_id=said.get("token_id"),
        bound=min(event.time or appended_at, appended_at) + rule.margin if everything else None,
        keep=frozenset(said.get("keep", ()) if rule.keep != "never" else ()),
        keep_clients=frozenset(rule.keep_clients if rule.ends == "subject" else ()),
    )
