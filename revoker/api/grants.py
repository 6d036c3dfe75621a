"""The words of a token that let somebody do something: scopes for programs, roles for people."""

from typing import Final

PUBLISH: Final = "revoker.publish"
GATEWAY: Final = "revoker.gateway"
INTROSPECT: Final = "revoker.introspect"
GLOBAL_REVOCATION: Final = "revoker.global-revocation"
ALL_TENANTS: Final = "all-tenants"
"""A scope or a role: bound to no tenant."""

RESPONDER: Final = "responder"
AUDITOR: Final = "auditor"
SUPPORT: Final = "support"
