"""The gateway SDK: what another team puts around its own application so that ended sessions fall at once.

It runs in other people's processes: no global state, no signal handlers, no database, no web framework. Nothing is
verified here either, since it only ever denies; who somebody is remains the application's to prove.
"""

from revoker.core.claims import SessionClaims
from revoker.core.verdicts import Hold, Revocation
from revoker.gateway.asgi import RevocationMiddleware
from revoker.gateway.callbacks import Ended
from revoker.gateway.claims_from import bearer_claims, hashed_cookie_claims, header_claims
from revoker.gateway.connections import Connections, Handle
from revoker.gateway.errors import GatewayError, GatewayUnavailable
from revoker.gateway.gateway import Gateway
from revoker.gateway.health import Health, Stale
from revoker.gateway.wsgi import WSGIRevocationMiddleware

__all__ = [
    "Connections",
    "Ended",
    "Gateway",
    "GatewayError",
    "GatewayUnavailable",
    "Handle",
    "Health",
    "Hold",
    "Revocation",
    "RevocationMiddleware",
    "SessionClaims",
    "Stale",
    "WSGIRevocationMiddleware",
    "bearer_claims",
    "hashed_cookie_claims",
    "header_claims",
]
