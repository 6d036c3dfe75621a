"""Who is asking. Bearer JWTs (RFC 6750, checked as RFC 8725 asks) for everybody, session cookies for people's browsers.

    401  nobody, or a token that does not hold: expired, of another issuer or audience, of a session that is over
    403  a token without the scope or role, of no tenant, on hold; a cookie without proof that our own page sent it
    503  nobody can tell: the issuer's keys or, for opaque cookies, the database cannot be had; the view is too old

The token of an ended session is refused here as everywhere. Of several cookies those count that hold, but each of them:
a dead one could hide behind another.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from starlette.requests import Request

from revoker.api.checks import Checks
from revoker.api.cookies import Cookies, digest
from revoker.api.grants import ALL_TENANTS
from revoker.api.keys import KeysUnavailableError
from revoker.api.limits import Limits
from revoker.api.networks import Networks
from revoker.api.origin_proof import SAFE_METHODS, OriginProof
from revoker.api.principals import Principal, principal_of
from revoker.api.problems import ProblemError, challenge
from revoker.api.registry import Registry
from revoker.api.tokens import TokenRefusedError, Verifier
from revoker.api.verdicts import refuse
from revoker.core.claims import SECOND, SessionClaims, micros
from revoker.errors import UnavailableError
from revoker.gateway.health import Stale
from revoker.settings import Settings

__all__ = ["Principal", "Who"]

Asks = Callable[[Request], Awaitable[Principal]]
"""What a route depends on: somebody, or a `ProblemError`."""

_OWN: Final = "/v1/me"


class Who:
    """Knows everybody by what they bring."""

    def __init__(
        self,
        settings: Settings,
        verifier: Verifier | None,
        checks: Checks,
        registry: Registry,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.cookies = Cookies(settings.cookies)
        self.proof = OriginProof(settings.http)
        self._names = settings.claims
        self._verifier = verifier
        self._checks = checks
        self._registry = registry
        self._networks = Networks(settings.check.trusted_networks)
        self._limits = Limits(settings.http)
        self._lifetime = settings.sessions.lifetime.total_seconds()
        self._now = now

    async def person(self, request: Request) -> Principal:
        """An end user with a live session. Raises `ProblemError`."""
        principal = await self.anybody(request)
        if principal.claims.subject is None:
            raise _not_valid("The token names nobody")
        if self._names.tenant is not None and not principal.claims.tenant:
            raise ProblemError(403, "The token names no tenant")
        return principal

    async def anybody(self, request: Request) -> Principal:
        """Whoever it is, as long as the session lives. Raises `ProblemError`."""
        token = _bearer(request)
        if token is not None:
            found: Sequence[Principal] = [await self._by_token(token, by_cookie=False)]
        else:
            found = await self._by_cookies(request)
        # Whoever ends a session of their own may have to wait for a turn, and is never sent away.
        ends = request.method not in SAFE_METHODS
        await self._limits.turn(found[0].claims, is_person=True, must_pass=ends)
        # After that: a session may have ended meanwhile.
        for principal in found:
            self.judge(request, principal)
        if _is_unbound(found[0]):
            raise ProblemError(403, "The token names no tenant", {"WWW-Authenticate": challenge("insufficient_scope")})
        return found[0]

    async def leaving(self, request: Request) -> Principal | None:
        """Whoever wants to log out, also with a token that is expired or of a session that is over. None: nobody.

        Raises `ProblemError`: a cookie without proof of its origin, or nobody can tell who it is.
        """
        return next(iter(await self.leaving_all(request)), None)

    async def leaving_all(self, request: Request) -> Sequence[Principal]:
        """Everybody of whom the request shows something, since a browser forgets all of them; a bearer first."""
        token = _bearer(request)
        if token is None:
            whence = self.proof.whence(request)
            if whence is not whence.UNKNOWN or self.cookies.brought(request):
                self.proof.demand(request)
        found: list[Principal] = []
        shown = [] if token is None else [(token, False)]
        for raw, by_cookie in shown + [(one, True) for one in self.cookies.holding(request, "token")]:
            try:
                found.append(await self._by_token(raw, by_cookie=by_cookie, even_expired=True))
            except ProblemError as error:
                # Signed by somebody else: whose it is, is not known, and there is nothing of ours to end.
                if error.status != 401:
                    raise
        for raw in self.cookies.holding(request, "hash"):
            unnamed = await self._leaving_unnamed(raw)
            found += [unnamed] if unnamed is not None else []
        return found

    def machine(self, scope: str) -> Asks:
        """For `Depends`: a program that has the scope."""

        async def machine(request: Request) -> Principal:
            return await self._granted(
                request,
                lambda principal: scope in principal.scopes,
                challenge("insufficient_scope", scope=scope),
                scope,
            )

        return machine

    def staff(self, *roles: str) -> Asks:
        """For `Depends`: somebody who has any of the roles."""
        wanted = frozenset(roles)

        async def staff(request: Request) -> Principal:
            return await self._granted(
                request, lambda principal: bool(wanted & principal.roles), challenge("insufficient_scope")
            )

        return staff

    def fresh(self, principal: Principal, within: timedelta | None) -> None:
        """Raises `ProblemError` (RFC 9470) unless the sign-in was so recent; None: it does not matter."""
        if within is None:
            return
        began = principal.claims.established_at
        if began is None or self._now() - micros(began) / SECOND > within.total_seconds():
            seconds = int(within.total_seconds())
            told = challenge("insufficient_user_authentication", "Sign in again first", max_age=seconds)
            raise ProblemError(401, "Sign in again first", {"WWW-Authenticate": told})

    def judge(self, request: Request, principal: Principal) -> None:
        """Raises `ProblemError` where the session is over, on hold, or nobody can tell."""
        verdict = self._checks.check(principal.claims)
        if verdict is None:
            return
        if not isinstance(verdict, Stale):
            ip = self._networks.client(request.scope)
            self._checks.refused(principal.claims, verdict, ip=ip, verified=True)
        raise refuse(verdict, request.headers.get("accept-language"))

    def acting(self, request: Request, leaving: Sequence[Principal]) -> Principal:
        """The one of `leaving` who may still do more than leave. Raises `ProblemError`."""
        if not leaving:
            raise ProblemError(401, "", {"WWW-Authenticate": challenge()})
        found = [one for one in leaving if one.claims.subject is not None and one.until > self._now()]
        if not found:
            raise _not_valid("The session is over, or not known")
        for principal in found:
            self.judge(request, principal)
        return found[0]

    async def _granted(
        self, request: Request, has: Callable[[Principal], bool], missing: str, scope: str | None = None
    ) -> Principal:
        token = _bearer(request)
        if token is None:
            raise ProblemError(401, "", {"WWW-Authenticate": challenge(scope=scope)})
        principal = await self._by_token(token, by_cookie=False)
        await self._limits.turn(principal.claims, is_person=scope is None, must_pass=False)
        self.judge(request, principal)
        if not has(principal) or _is_unbound(principal):
            raise ProblemError(403, "The token does not allow this", {"WWW-Authenticate": missing})
        return principal

    async def _by_cookies(self, request: Request) -> Sequence[Principal]:
        tokens, opaque = self.cookies.holding(request, "token"), self.cookies.holding(request, "hash")
        if not (tokens or opaque):
            raise ProblemError(401, "", {"WWW-Authenticate": challenge()})
        if request.method not in SAFE_METHODS or _is_own(request):
            self.proof.demand(request)
        found: list[Principal] = []
        refused = ProblemError(401, "", {"WWW-Authenticate": challenge()})
        for raw in tokens:
            try:
                found.append(await self._by_token(raw, by_cookie=True))
            except ProblemError as error:
                if error.status != 401:
                    raise
                refused = error
        for raw in opaque:
            try:
                found.append(await self._by_digest(raw))
            except _UnknownError:
                refused = _not_valid("The session is not known, or over")
            except UnavailableError as error:
                raise ProblemError(503, "Sessions cannot be looked up now", {"Retry-After": "2"}) from error
        if not found:
            raise refused
        return found

    async def _by_token(self, token: bytes, *, by_cookie: bool, even_expired: bool = False) -> Principal:
        if self._verifier is None:
            raise ProblemError(503, "This service is not configured to let anybody in")
        try:
            verified = await self._verifier.verify(token, even_expired=even_expired)
            return principal_of(verified, self._names, token, by_cookie=by_cookie)
        except TokenRefusedError as error:
            raise _not_valid(str(error)) from error
        except KeysUnavailableError as error:
            raise ProblemError(503, "Tokens cannot be verified now", {"Retry-After": "5"}) from error

    async def _by_digest(self, raw: bytes) -> Principal:
        """Raises `UnavailableError` and `_UnknownError`."""
        claims = await self._registry.live(digest(raw))
        if claims is None:
            raise _UnknownError
        until = claims.expires_at
        ends = micros(until) / SECOND if until is not None else self._now() + self._lifetime
        return Principal(claims=claims, tenant=claims.tenant, by_cookie=True, until=ends, raw=raw)

    async def _leaving_unnamed(self, raw: bytes) -> Principal | None:
        """Of a session only its name may be known: that suffices to end it, unless there are several tenants."""
        doubtful = False
        try:
            return await self._by_digest(raw)
        except _UnknownError:
            if self._names.tenant is not None:
                return None
            doubtful = True
        except UnavailableError as error:
            if self._names.tenant is not None:
                raise ProblemError(503, "Sessions cannot be looked up now", {"Retry-After": "2"}) from error
        claims = SessionClaims(session_id=digest(raw))
        return Principal(claims=claims, tenant="", by_cookie=True, until=self._now(), raw=raw, doubtful=doubtful)


class _UnknownError(Exception):
    """The registry knows no live session of that name."""


def _bearer(request: Request) -> bytes | None:
    """The token of the Authorization header; None: there is none. Raises `ProblemError` for several."""
    found: list[bytes] = []
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.partition(b" ")
            if kind.lower() == b"bearer":
                found.append(token.strip())
    if len(found) > 1:
        raise _not_valid("There are several tokens")
    return found[0] if found else None


def _is_unbound(principal: Principal) -> bool:
    """Where there are several tenants, whoever names none may act in none, unless in all."""
    return principal.tenant is None and ALL_TENANTS not in principal.scopes | principal.roles


def _is_own(request: Request) -> bool:
    path = request.url.path
    return path == _OWN or path.startswith(f"{_OWN}/")


def _not_valid(why: str) -> ProblemError:
    return ProblemError(401, why, {"WWW-Authenticate": challenge("invalid_token", why)})
