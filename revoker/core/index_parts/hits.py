"""Which open connections a notice may concern."""

from collections.abc import Collection

import msgspec

from revoker.core.wire import HoldPlacedNotice, SessionEndedNotice, WireSelector


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """Which open connections a notice may concern. Look each of them up again: it may well not be meant."""

    subjects: Collection[tuple[str, str]] = ()
    """(tenant, subject)"""
    session_ids: Collection[tuple[str, str]] = ()
    """(tenant, session id): among them are sessions of which a gateway may not know the subject."""
    token_ids: Collection[tuple[str, str]] = ()
    """(tenant, token id), likewise."""
    wide: bool = False
    """It may concern everybody."""


def hit_of(notice: SessionEndedNotice | HoldPlacedNotice, *, with_predicate: bool) -> Hit:
    """By all ids, and, where it is news, by the most telling of what the predicate names."""
    subjects: dict[tuple[str, str], None] = {}
    sessions: dict[tuple[str, str], None] = {}
    tokens: dict[tuple[str, str], None] = {}
    selector = notice.selector if with_predicate else None
    wide = selector is not None and not _narrow(selector, subjects, sessions, tokens)
    if isinstance(notice, SessionEndedNotice):
        tenant, whose = notice.tenant, notice.subject
        for session in notice.sessions:
            sessions[tenant, session.session_id] = None
            subject = session.subject or whose
            if subject is not None:
                subjects[tenant, subject] = None
        for token in notice.tokens:
            tokens[tenant, token.token_id] = None
            if whose is not None:
                subjects[tenant, whose] = None
    return Hit(subjects=tuple(subjects), session_ids=tuple(sessions), token_ids=tuple(tokens), wide=wide)


def _narrow(
    selector: WireSelector,
    subjects: dict[tuple[str, str], None],
    sessions: dict[tuple[str, str], None],
    tokens: dict[tuple[str, str], None],
) -> bool:
    """Notes whom the predicate itself names; False where it could be anybody."""
    tenant = selector.tenant
    if tenant is None:
        return False
    if selector.session_id is not None:
        for id_ in selector.session_ids:
            sessions[tenant, id_] = None
    elif selector.token_id is not None:
        tokens[tenant, selector.token_id] = None
    elif selector.subject is None:
        return False
    if selector.subject is not None:
        subjects[tenant, selector.subject] = None
    return True
