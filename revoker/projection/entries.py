"""A notification as what is written to Redis because of it. Pure.

Every key that a reader asks for is a hash of entries, and every entry is JSON of one form, so that one loop reads them
all: a `selector` to compare with, and what limits it (`not_before`, `keep`, `keep_clients`; for a hold `until`). Where
an entry stands only decides who comes across it: what names sessions or a token stands with them, what names a subject
stands there, and only the rest, which is rare, is read by everybody.

A session or token that a notification lists as ended, or that is all that its selector names, gets an entry that says
so (`named`): it counts also for whoever does not know all of what is in its selector. The field of an entry is the
revocation's id, or for a listed session its part, so that writing an entry twice changes nothing, and two revocations
never overwrite each other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

import msgspec

from revoker.core.claims import from_micros
from revoker.core.copies import Templates
from revoker.core.wire import HoldLiftedNotice, HoldPlacedNotice, Notice, SessionEndedNotice, WireSelector
from revoker.projection import keys
from schemas.fields import wire_time

_SECOND: Final = 1_000_000
_EVERYBODY: Final = (keys.WIDE,)
_FURTHER: Final = ("device_id", "key_id", "ip_network", "labels", "established_after")


class Entry(msgspec.Struct, omit_defaults=True, gc=False):
    """What a reader compares a session with."""

    selector: msgspec.Raw
    id: str
    cause: str | None = None
    named: bool = False
    not_before: str | None = None
    until: str | None = None
    covers_until: str | None = None
    """Only where the key does not expire by itself."""
    keep: tuple[str, ...] = ()
    keep_clients: tuple[str, ...] = ()
    reason_user: Mapping[str, str] | None = None


class _Named(msgspec.Struct, omit_defaults=True, gc=False):
    """The selector of a session or token that is listed. What is not known names nothing."""

    tenant: str | None = None
    subject: str | None = None
    client_id: str | None = None


class _Lift(msgspec.Struct, gc=False):
    lift: str
    at: str


_bytes: Final = msgspec.json.Encoder().encode
_bytes_in_order: Final = msgspec.json.Encoder(order="deterministic").encode


@dataclass(slots=True)
class Chunk:
    """What one atomic write holds. `entries` is flat for speed: key, field, value, expiry in Unix seconds or ""."""

    entries: list[str] = field(default_factory=list)
    stream: list[str | int] = field(default_factory=list)
    """Flat as well: value, place, offset."""
    copies: list[tuple[list[str], list[str], str]] = field(default_factory=list)
    """Of each notification that ended something: the sets that list copies, the names of copies, the revocation."""

    def add(self, notice: Notice, templates: Templates) -> None:
        """Adds what `notice` writes, all but the stream."""
        match notice:
            case SessionEndedNotice():
                self._ended(notice)
                self.drop_copies(notice, templates)
            case HoldPlacedNotice():
                self._held(notice)
            case HoldLiftedNotice(hold_id=id_, at=at):
                self._put(_EVERYBODY, f"lift:{id_}", _encode(_Lift(id_, _text(at))), "")
            case _:
                assert_never(notice)

    def drop_copies(self, notice: SessionEndedNotice, templates: Templates) -> None:
        """The cached copies of what it ended."""
        tenant = notice.tenant
        selector = notice.selector
        about = notice.subject or (selector.subject if selector else None) or ""
        parts = {(s.session_id, s.client_id): s.subject or about for s in notice.sessions}
        if selector is not None:
            named = ((id_, selector.client_id or "") for id_ in selector.session_ids if id_ not in notice.keep)
            parts |= {part: about for part in named if part not in parts}
        subjects = {subject for subject in parts.values() if subject} | ({about} if about else set())
        if not parts and not subjects:
            return
        sets = list(dict.fromkeys(keys.CACHED + session_id for session_id, _ in parts))
        names = [
            key
            for (session_id, client_id), subject in parts.items()
            for key in templates.of_session(tenant, subject, session_id, client_id)
        ]
        names += [key for subject in subjects for key in templates.of_subject(tenant, subject)]
        names = [name for name in names if not name.startswith(keys.OURS)]
        if sets or names:
            self.copies.append((sets, names, notice.revocation_id))

    def _ended(self, notice: SessionEndedNotice) -> None:
        expiry = _expiry(notice.covers_until)
        selector = notice.selector
        if selector is not None:
            bounded = not (selector.session_id or selector.token_id or selector.key_id)
            places = _places(selector)
            rule = Entry(
                selector=_selector(selector),
                id=notice.revocation_id,
                cause=notice.cause,
                named=_names(notice, selector),
                not_before=_text(notice.not_before) if bounded else None,
                covers_until=_text(notice.covers_until) if places == _EVERYBODY else None,
                keep=notice.keep,
                keep_clients=notice.keep_clients,
            )
            self._put(places, notice.revocation_id, _encode(rule), expiry)
        if notice.sessions or notice.tokens:
            self._list(notice, expiry)

    def _list(self, notice: SessionEndedNotice, expiry: str) -> None:
        """What is over by name. A part without a client stands for all but those that were to be kept."""
        selector = notice.selector
        # Where the predicate names no tenant, its sessions are of any.
        tenant = selector.tenant if selector is not None else notice.tenant or None
        about = notice.subject or (selector.subject if selector else None)
        for session in notice.sessions:
            named = _Named(tenant, session.subject or about, session.client_id or None)
            kept = () if session.client_id else notice.keep_clients
            part = [tenant, named.subject, session.client_id, *((notice.revocation_id,) if kept else ())]
            entry = Entry(_raw(named), notice.revocation_id, notice.cause, named=True, keep_clients=kept)
            self._put((keys.SESSION + session.session_id,), _encode(part), _encode(entry), expiry)
        for token in notice.tokens:
            named = _Named(tenant, about)
            entry = Entry(_raw(named), notice.revocation_id, notice.cause, named=True)
            self._put((keys.TOKEN + token.token_id,), _encode([tenant, about]), _encode(entry), expiry)

    def _held(self, notice: HoldPlacedNotice) -> None:
        selector = notice.selector
        if selector is not None:
            entry = Entry(
                _selector(selector), notice.hold_id, until=_text(notice.until), reason_user=notice.reason_user
            )
            self._put(_places(selector), notice.hold_id, _encode(entry), _expiry(notice.until))
            self._put((keys.HOLDS,), notice.hold_id, _text(notice.until), "")

    def _put(self, places: Iterable[str], name: str, value: str, expiry: str) -> None:
        for place in places:
            self.entries += (place, name, value, "" if place == keys.WIDE else expiry)


def _names(notice: SessionEndedNotice, selector: WireSelector) -> bool:
    """Whether the predicate itself is a list of sessions, or a token, and nothing more."""
    plain = selector.tenant is not None and not any(getattr(selector, name) for name in _FURTHER)
    if selector.token_id is not None:
        return plain and not (selector.session_id or selector.client_id or notice.keep or notice.keep_clients)
    return plain and bool(selector.session_id) and not (selector.client_id and notice.keep_clients)


def _places(selector: WireSelector) -> tuple[str, ...]:
    """Where a predicate stands: wherever everybody whom it can cover comes by."""
    if selector.session_ids:
        return tuple(keys.SESSION + id_ for id_ in selector.session_ids)
    if selector.token_id is not None:
        return (keys.TOKEN + selector.token_id,)
    if selector.subject is not None and selector.tenant is not None:
        return (keys.subject(selector.tenant, selector.subject),)
    return _EVERYBODY


def _selector(selector: WireSelector) -> msgspec.Raw:
    if selector.established_after is None:
        return _raw(selector)
    # msgspec leaves out a fraction that is zero.
    tree = msgspec.to_builtins(selector) | {"established_after": wire_time(selector.established_after)}
    return _raw(tree)


def _raw(value: Any) -> msgspec.Raw:  # noqa: ANN401 - whatever JSON can say
    return msgspec.Raw(_bytes_in_order(value))


def _encode(value: Any) -> str:  # noqa: ANN401 - as above
    return _bytes(value).decode()


def _text(moment: int) -> str:
    return wire_time(from_micros(moment))


def _expiry(moment: int) -> str:
    """The first whole second in which nothing of it counts any more."""
    return str(moment // _SECOND + 1)
