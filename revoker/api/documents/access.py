"""Who may ask for what: one table, by method and path. The documents tell it, and a test asks every route as everybody
and holds the answers against it; so a route that does not stand here cannot ship.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from revoker.api.grants import AUDITOR, GATEWAY, GLOBAL_REVOCATION, INTROSPECT, PUBLISH, RESPONDER

BEARER: Final = "bearer"
COOKIE: Final = "cookie"
HOOK: Final = "hook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whoever is any of these. The same for everybody of them; what each then sees is the route's own business."""

    anyone: bool = False
    """Nobody has to prove anything, though it may matter who asks."""
    person: bool = False
    """An end user, by token or by cookie."""
    client: bool = False
    """Whoever has a token, which then has to name a client."""
    scopes: tuple[str, ...] = ()
    """A machine with one of them."""
    roles: tuple[str, ...] = ()
    """Staff in one of them."""
    platform: bool = False
    """An identity platform, by the secret of its hook and by no token."""

    def security(self) -> list[dict[str, list[str]]]:
        """As OpenAPI says it: any of them will do."""
        found: list[dict[str, list[str]]] = [{}] if self.anyone else []
        if self.person or self.client:
            found.append({BEARER: []})
        if self.person:
            found.append({COOKIE: []})
        if self.platform:
            found.append({HOOK: []})
        return found + [{BEARER: [word]} for word in (*self.scopes, *self.roles)]

    def words(self) -> list[str]:
        """As people read it."""
        return [
            *(["anyone"] if self.anyone else []),
            *(["a person, by token or cookie"] if self.person else []),
            *(["an OAuth client, by a token that names it"] if self.client else []),
            *(["a platform, by the secret of its hook"] if self.platform else []),
            *(f"a machine with the scope {scope}" for scope in self.scopes),
            *(f"staff in the role {role}" for role in self.roles),
        ]


ANYONE: Final = Access(anyone=True)
PERSON: Final = Access(person=True)

ACCESS: Final[Mapping[tuple[str, str], Access]] = {
    ("GET", "/asyncapi"): ANYONE,
    ("GET", "/asyncapi.json"): ANYONE,
    ("GET", "/devices"): PERSON,
    ("POST", "/devices/end"): PERSON,
    ("GET", "/devices/not-me"): PERSON,
    ("POST", "/devices/not-me"): PERSON,
    ("GET", "/devices/sign-out"): PERSON,
    ("GET", "/docs"): ANYONE,
    ("POST", "/logout"): ANYONE,
    ("GET", "/openapi.json"): ANYONE,
    ("GET", "/static/{name}"): ANYONE,
    ("POST", "/v1/events"): Access(scopes=(PUBLISH,)),
    ("POST", "/v1/global-token-revocation"): Access(scopes=(GLOBAL_REVOCATION,)),
    ("GET", "/v1/hooks/{name}"): ANYONE,
    ("POST", "/v1/hooks/{name}"): Access(platform=True),
    ("POST", "/v1/introspect"): Access(scopes=(INTROSPECT,)),
    ("GET", "/v1/me/notifications"): PERSON,
    ("POST", "/v1/me/security-concerns"): PERSON,
    ("GET", "/v1/me/session"): PERSON,
    ("GET", "/v1/me/sessions"): PERSON,
    ("DELETE", "/v1/me/sessions/{session_id}"): PERSON,
    ("GET", "/v1/notifications"): Access(scopes=(GATEWAY,)),
    ("POST", "/v1/receipts"): Access(scopes=(GATEWAY,)),
    ("GET", "/v1/revocations/{id}"): Access(person=True, scopes=(PUBLISH,), roles=(RESPONDER, AUDITOR)),
    ("POST", "/v1/revoke"): Access(client=True),
}
"""The table. `/check` stands beside it: it answers for whoever is shown to it."""

SCHEMES: Final[Mapping[str, Any]] = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of the issuer that this service trusts (RFC 6750); of an ended session it is refused.",
    },
    HOOK: {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The secret of a table of `[[hooks]]`, as it is.",
    },
    COOKIE: {
        "type": "apiKey",
        "in": "cookie",
        "name": "session",
        "description": "A cookie that `[[cookies]]` names, from one of our own pages (Sec-Fetch-Site, Origin).",
    },
}
