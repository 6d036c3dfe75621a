"""Auth0's `sapi`: what was done through its Management API. Whom it was done to is in the path of the request."""

import re
from typing import Any, Final
from urllib.parse import unquote

from schemas.formats.native import Meaning, Tree, branch, text

_USER: Final = re.compile(r"(?:/api)?/v2/users/([^/]+)(?:/([^/]+))?")
_SESSION: Final = re.compile(r"(?:/api)?/v2/sessions/([^/]+)(?:/([^/]+))?")


def read(event: Tree) -> Meaning | None:
    """What an operation that succeeded means; None for all the others."""
    request = branch(event, "details", "request")
    method, path = (text(request, "method") or "").upper(), text(request, "path") or ""
    if of_user := _USER.fullmatch(path):
        return _about_user(method, of_user[2], unquote(of_user[1]), branch(request, "body"))
    of_session = _SESSION.fullmatch(path)
    if of_session and (method, of_session[2]) in {("DELETE", None), ("POST", "revoke")}:
        return _admins("session-revoked", None, session_ids=[unquote(of_session[1])])
    return None


def _about_user(method: str, what: str | None, subject: str, body: Tree) -> Meaning | None:
    match method, what:
        case "PATCH", None:
            # One request may change several things; the one that ends most is told.
            changed = "account-disabled" if body.get("blocked") is True else None
            changed = changed or ("password-changed" if "password" in body else None)
            changed = changed or ("email-changed" if "email" in body else None)
            return _admins(changed, subject) if changed else None
        case "DELETE", None:
            return _admins("account-deleted", subject)
        case "DELETE", "sessions":
            return _admins("logged-out-everywhere", subject)
        case "POST", "revoke-access":
            session_id = text(body, "session_id")
            if session_id:
                return _admins("session-revoked", subject, session_ids=[session_id])
            return _admins("logged-out-everywhere", subject)
        case _:
            return None


def _admins(type_: str, subject: str | None, **data: Any) -> Meaning:  # noqa: ANN401 - whatever JSON can say
    return Meaning(type=type_, subject=subject, data={"initiator": "admin", **data})
