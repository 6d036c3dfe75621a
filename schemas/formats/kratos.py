"""Ory Kratos: the bodies that our Jsonnet templates (`docs/formats/kratos`) make of what a web hook is given.

What Kratos gives does not say by itself which flow it is of, nor what was changed; each template says it. There are web
hooks after signing in, changing settings and recovering an account, and none after logging out. Those after signing in
run before a new session has its id: they can only tell of one that was there, and signed in again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.formats.native import (
    Meaning,
    Native,
    Tree,
    UnknownRecordError,
    address,
    branch,
    instant,
    known,
    named,
    text,
)

_NOT_YET: Final = "00000000-0000-0000-0000-000000000000"
"""The id of a session that is not stored yet."""
_FLOWS: Final = frozenset({"login", "settings", "recovery", "registration", "verification"})


def read(record: Tree) -> Native:
    """What a flow that was completed says. Raises `UnknownRecordError`."""
    flow, method = text(record, "flow"), text(record, "method")
    if flow not in _FLOWS:
        raise UnknownRecordError(flow, "flow: none of Kratos; is the body made by a template of docs/formats/kratos?")
    if flow == "settings" and method is None:
        raise UnknownRecordError(flow, "method: is absent, so nobody knows what was changed")
    meaning = _MEANINGS.get((flow, method)) or _MEANINGS.get((flow, None))
    return Native(
        name=f"{flow}.{method}" if method else flow,
        meaning=meaning(record) if meaning else None,
        # The same for every attempt to deliver it, where the web hook's own header was kept.
        id=named(text(record, "id"), record),
        time=instant(record.get("time")),
    )


def _established(record: Tree) -> Meaning | None:
    session = branch(record, "session")
    session_id, device = _session_id(record), _device(session)
    data = known(
        session_id=session_id,
        established_at=_first(session),
        expires_at=instant(session.get("expires_at")),
        ip=address(device.get("ip_address")),
        user_agent=text(device, "user_agent"),
    )
    return _of(record, "session-established", data) if session_id else None


def _device(session: Tree) -> Tree:
    """The newest."""
    devices = session.get("devices")
    return branch(devices[-1]) if isinstance(devices, list) and devices else {}


def _session_id(record: Tree) -> str | None:
    session_id = text(record, "session", "id")
    return None if session_id == _NOT_YET else session_id


def _first(session: Tree) -> str | None:
    """When the first credential was checked: `authenticated_at` moves on with each further one."""
    checked: Any = session.get("completed_at")
    times = [instant(time) for time in checked if time] if isinstance(checked, list) else []
    return min((time for time in times if time), default=instant(session.get("authenticated_at")))


def _kept(type_: str) -> Callable[[Tree], Meaning]:
    """A change by its owner, whose session stays."""

    def changed(record: Tree) -> Meaning:
        session_id = _session_id(record)
        return _of(record, type_, known(initiator="user", keep=[session_id] if session_id else None))

    return changed


def _recovered(record: Tree) -> Meaning:
    """The session that recovery begins is younger than this and lives on."""
    return _of(record, "logged-out-everywhere", {"initiator": "user"})


def _of(record: Tree, type_: str, data: Mapping[str, object]) -> Meaning:
    return Meaning(type=type_, subject=text(record, "identity", "id"), data=data)


_MEANINGS: Final[Mapping[tuple[str, str | None], Callable[[Tree], Meaning | None]]] = {
    ("login", None): _established,
    ("settings", "password"): _kept("password-changed"),
    ("settings", "email"): _kept("email-changed"),
    ("recovery", None): _recovered,
}
