"""Who may use what is for machines: bearer JWTs with a scope, bound to a tenant where there are several."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from revoker.api.callers import tenant_of
from revoker.api.keys import KeysUnavailableError
from revoker.api.problems import ProblemError, challenge
from revoker.api.tokens import TokenRefusedError, Verified, Verifier
from revoker.settings import ClaimSettings

GATEWAY: Final = "revoker.gateway"
ALL_TENANTS: Final = "all-tenants"


@dataclass(frozen=True, slots=True)
class Machine:
    """A program that was let in. `tenant` None: it may see all of them."""

    tenant: str | None
    until: float
    """Unix time at which it has to prove itself again."""


class Doorkeeper:
    """Lets machines in. Without a verifier, nobody."""

    def __init__(self, verifier: Verifier | None, names: ClaimSettings) -> None:
        self._verifier = verifier
        self._names = names

    async def machine(self, request: Request, scope: str) -> Machine:
        """Raises `ProblemError`."""
        if self._verifier is None:
            raise ProblemError(503, "This service is not configured to let anybody in")
        given = request.headers.getlist("authorization")
        kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if kind.lower() != "bearer" or not token.strip():
            raise ProblemError(401, "", {"WWW-Authenticate": challenge(scope=scope)})
        try:
            verified = await self._verifier.verify(token.strip().encode("latin-1"))
            tenant = tenant_of(verified.claims, self._names)
        except TokenRefusedError as error:
            raise ProblemError(
                401, str(error), {"WWW-Authenticate": challenge("invalid_token", str(error), scope)}
            ) from error
        except KeysUnavailableError as error:
            raise ProblemError(503, "Tokens cannot be verified now", {"Retry-After": "5"}) from error
        scopes = self._scopes(verified)
        if scope not in scopes or (self._names.tenant is not None and tenant is None and ALL_TENANTS not in scopes):
            told = {"WWW-Authenticate": challenge("insufficient_scope", scope=scope)}
            raise ProblemError(403, "The token does not allow this", told)
        return Machine(None if ALL_TENANTS in scopes else tenant, verified.expires_at)

    def _scopes(self, verified: Verified) -> frozenset[str]:
        found: Any = next((verified.claims[name] for name in self._names.scope if name in verified.claims), "")
        if isinstance(found, str):
            return frozenset(found.split(" "))
        return frozenset(item for item in found if isinstance(item, str)) if isinstance(found, list) else frozenset()
