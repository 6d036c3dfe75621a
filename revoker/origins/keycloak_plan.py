"""What a notification ends at a Keycloak. Pure.

A session of ours is one client's part of a sign-in; a session of Keycloak's is the sign-in, and can only end as a
whole. So where a predicate spares clients, or names one, a sign-in ends there only if none of its clients is spared:
nothing outside the cover may end. In the ids that a notification lists the database has looked at the rest; Keycloak is
asked only for the sessions of a subject that we were never told of, and those are held against the same rule.

Keycloak's own "sign out all sessions" of a user is never used. It ends everything up to the moment at which it is
called, not up to the moment that the revocation means. A notification that comes late, or once more after a crash,
would sign out whoever has signed in since, and nothing tells which causes are sure to have no such sign-in after them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from revoker.core.wire import SessionEndedNotice, WireSelector
from schemas.session_ended import Kind

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_NARROWING: Final = ("session_id", "token_id", "key_id", "device_id", "ip_network", "labels", "established_after")
_MILLISECOND: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeycloakSession:
    """A sign-in, as Keycloak lists it."""

    id: str
    start: int
    """When it began, in milliseconds; Keycloak counts in whole seconds."""
    clients: frozenset[str] = frozenset()

    @classmethod
    def read(cls, entry: Any) -> Self | None:  # noqa: ANN401 - whatever JSON said
        """What `entry` of a list says; None: nothing that we can judge."""
        if not isinstance(entry, Mapping):
            return None
        id_, start, clients = entry.get("id"), entry.get("start"), entry.get("clients")
        if not isinstance(id_, str) or not is_session_id(id_) or not isinstance(start, int):
            return None
        names = clients.values() if isinstance(clients, Mapping) else ()
        return cls(id=id_, start=start, clients=frozenset(name for name in names if isinstance(name, str)))

    def surely_by(self, bound: int) -> bool:
        """Whether it began at or before `bound` (microseconds), wherever in its second it began."""
        width = 1_000 if self.start % 1_000 == 0 else 1
        return (self.start + width) * _MILLISECOND - 1 <= bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to end. `named` is by subject, as far as that is known; `all_of` are subjects to ask Keycloak about."""

    named: Mapping[str | None, Sequence[str]] = field(default_factory=dict)
    all_of: str | None = None
    not_before: int = 0
    keep: frozenset[str] = frozenset()
    client_id: str | None = None
    keep_clients: frozenset[str] = frozenset()

    @property
    def is_narrow(self) -> bool:
        """Whether it depends on the clients of a sign-in."""
        return self.client_id is not None or bool(self.keep_clients)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.named and self.all_of is None

    def choose(self, subject: str, there: Iterable[KeycloakSession]) -> list[str]:
        """Which of the sessions of `subject` that are there end."""
        named = frozenset(self.named.get(subject, ()))
        return [one.id for one in there if self._allows(one) and (one.id in named or self._covers(subject, one))]

    def _covers(self, subject: str, one: KeycloakSession) -> bool:
        return subject == self.all_of and one.id not in self.keep and one.surely_by(self.not_before)

    def _allows(self, one: KeycloakSession) -> bool:
        """Whether the whole of it is covered, as far as clients go."""
        if self.client_id is not None and one.clients != {self.client_id}:
            return False
        return not one.clients & self.keep_clients


def is_session_id(text: str) -> bool:
    """Whether Keycloak could have made it. What else publishers call a session must not become a path of its API."""
    return _ID.fullmatch(text) is not None


def plan(notice: SessionEndedNotice) -> Plan:
    """What `notice` ends there. Tokens that are ended alone are not Keycloak's to end: it knows no list of them."""
    selector = notice.selector
    about = notice.subject or (selector.subject if selector else None)
    named: dict[str | None, dict[str, None]] = {}
    for session in notice.sessions:
        named.setdefault(session.subject or about, {})[session.session_id] = None
    if selector is not None:
        for id_ in selector.session_ids:
            named.setdefault(about, {})[id_] = None
    keep = frozenset(notice.keep)
    return Plan(
        named={
            who: chosen
            for who, ids in named.items()
            if (chosen := [i for i in ids if is_session_id(i) and i not in keep])
        },
        all_of=about if selector is not None and _means_all(notice, selector) else None,
        not_before=notice.not_before,
        keep=keep,
        client_id=selector.client_id if selector is not None else None,
        keep_clients=frozenset(notice.keep_clients),
    )


def _means_all(notice: SessionEndedNotice, selector: WireSelector) -> bool:
    """Whether the predicate alone says which sessions of one subject end, and nobody has asked Keycloak before."""
    plain = not any(getattr(selector, name) for name in _NARROWING)
    return notice.kind == Kind.ENDED and selector.subject is not None and plain
