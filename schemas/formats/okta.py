"""Okta: `LogEvent` objects, from the System Log or out of an event hook's {"data": {"events": […]}}.

Okta tells no `sid` here: `externalSessionId` stands for a session in everything that the log says of it, and in nothing
else. Where applications know a session by another id, these events end what they say of a subject, no single session.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from schemas.formats.native import Meaning, Native, Tree, UnknownRecordError, address, instant, known, named, text

_ELSEWHERE: Final = re.compile(r"(?!user\.)[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+")
"""What is not about users: some nine hundred types of applications, groups, policies and the system."""
_HARMLESS: Final = re.compile(
    r"user\.(?:authentication|behavior|credential|device_session|identity_snapshot|identity_verification|import|mfa"
    r"|risk)(?:\..+)?"
    r"|user\.session\.(?:access_admin_app|context\.changed?|impersonation\..+)"
    r"|user\.lifecycle\.(?:activate|create|jit\..+|password_mass_expiry|reactivate|unsuspend)"
    r"|user\.account\.(?:expire_password|lock|lock\.limit|preference_update|privilege\..+|subscriptions\..+|unlock"
    r"|unlock_by_admin|unlock_failure|unlock_token|update_profile|update_secondary_email|update_user_type|use_token)"
)
_UNKNOWN: Final = "unknown"
_SUCCESS: Final = frozenset({"SUCCESS", None})


def read(record: Tree) -> Native:
    """What a log event says. Raises `UnknownRecordError`."""
    name = text(record, "eventType")
    if name is None:
        raise UnknownRecordError(None, "eventType: a log event of Okta has one")
    if name not in _MEANINGS and not _HARMLESS.fullmatch(name) and not _ELSEWHERE.fullmatch(name):
        raise UnknownRecordError(name, "eventType: none of Okta about users that is known here")
    happened = text(record, "outcome", "result") in _SUCCESS
    return Native(
        name=name,
        meaning=_MEANINGS[name](record) if name in _MEANINGS and happened else None,
        id=named(text(record, "uuid"), record),
        time=instant(record.get("published")),
    )


def _established(record: Tree) -> Meaning | None:
    session_id = _session(record)
    data = known(
        session_id=session_id,
        ip=address(text(record, "client", "ipAddress")),
        user_agent=text(record, "client", "userAgent", "rawUserAgent"),
    )
    return Meaning(type="session-established", subject=_whose(record), data=data) if session_id else None


def _logged_out(record: Tree) -> Meaning:
    data = known(session_id=_session(record), initiator=_initiator(record))
    return Meaning(type="logged-out", subject=_whose(record), data=data)


def _password_changed(record: Tree) -> Meaning:
    """Whoever changes the own password stays signed in where they did it."""
    initiator, session_id = _initiator(record), _session(record)
    keep = [session_id] if session_id and initiator == "user" else None
    return Meaning(type="password-changed", subject=_whose(record), data=known(initiator=initiator, keep=keep))


def _email_changed(record: Tree) -> Meaning:
    return Meaning(type="email-changed", subject=_whose(record), data=_password_changed(record).data)


def _simply(type_: str) -> Callable[[Tree], Meaning]:
    return lambda record: Meaning(type=type_, subject=_whose(record), data={"initiator": _initiator(record)})


def _whose(record: Tree) -> str | None:
    """The user that it was done to, else the one who did it."""
    return _user_in_target(record) or _acting_user(record)


def _initiator(record: Tree) -> str:
    acting, target = _acting_user(record), _user_in_target(record)
    if acting is None:
        return "system" if text(record, "actor", "type") == "SystemPrincipal" else "admin"
    return "user" if target in {None, acting} else "admin"


def _user_in_target(record: Tree) -> str | None:
    targets = record.get("target")
    if not isinstance(targets, list):
        return None
    return next((text(one, "id") for one in targets if text(one, "type") == "User"), None)


def _acting_user(record: Tree) -> str | None:
    return text(record, "actor", "id") if text(record, "actor", "type") == "User" else None


def _session(record: Tree) -> str | None:
    session_id = text(record, "authenticationContext", "externalSessionId")
    return None if session_id == _UNKNOWN else session_id


_MEANINGS: Final[Mapping[str, Callable[[Tree], Meaning | None]]] = {
    "user.session.start": _established,
    "user.session.end": _logged_out,
    "user.session.expire": _logged_out,
    "user.session.clear": _simply("logged-out-everywhere"),
    "user.authentication.universal_logout": _simply("logged-out-everywhere"),
    "user.authentication.universal_logout.scheduled": _simply("logged-out-everywhere"),
    "user.account.update_password": _password_changed,
    "user.account.reset_password": _simply("password-changed"),
    "user.account.update_primary_email": _email_changed,
    "user.account.report_suspicious_activity_by_enduser": _simply("security-concern-reported"),
    "user.lifecycle.suspend": _simply("account-disabled"),
    "user.lifecycle.deactivate": _simply("account-disabled"),
    "user.lifecycle.delete.initiated": _simply("account-deleted"),
    "user.lifecycle.delete.completed": _simply("account-deleted"),
}
