"""`/check`: may whoever shows this pass? Raw ASGI on the index, and no I/O once a token was seen.

    200  live; X-Revoker-Subject and X-Revoker-Session say who
    401  over (WWW-Authenticate says error="invalid_token"), or nobody, or a token that does not hold
    403  held for now: signing in again would not help
    503  nobody can tell: the view is too old and the mode strict, or the issuer's keys cannot be had

Every method and every path below `/check` is the same question: proxies repeat the method and path of what they guard.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from revoker.api.callers import ByHeaders, ByToken, Caller, Header, header_safe
from revoker.api.checks import Checks
from revoker.api.keys import KeysUnavailableError
from revoker.api.metrics import Answered
from revoker.api.networks import Networks
from revoker.api.problems import PROBLEM, body, challenge
from revoker.api.tokens import TokenRefusedError
from revoker.core.claims import SessionClaims
from revoker.core.verdicts import STALE, Hold, Revocation, answer, code, text, www_authenticate
from revoker.gateway.health import Stale

_NO_STORE: Final[tuple[Header, ...]] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_NOBODY: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-store"),
    (b"content-length", b"0"),
    (b"x-revoker-subject", b""),
    (b"x-revoker-session", b""),
)
_EMPTY: Final = {"type": "http.response.body", "body": b""}


class Check:
    """The application. `identify` None: nobody can be identified, since nothing is configured to verify tokens with."""

    def __init__(
        self,
        checks: Checks,
        identify: ByToken | ByHeaders | None,
        networks: Networks,
        answered: Answered,
        *,
        lets_anonymous_pass: bool,
        saw: Callable[[SessionClaims, Callable[[], str | None]], None] | None = None,
    ) -> None:
        self._checks = checks
        self._identify = identify
        self._networks = networks
        self._answered = answered
        self._lets_anonymous_pass = lets_anonymous_pass
        self._saw = saw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        del receive
        try:
            callers = await self._callers(scope)
        except TokenRefusedError as error:
            refusal = challenge("invalid_token", str(error))
            await self._refuse(send, 401, str(error), ((b"www-authenticate", refusal.encode()),))
        except KeysUnavailableError:
            await self._refuse(send, 503, "Tokens cannot be verified now", ((b"retry-after", b"5"),))
        else:
            await (self._judged(scope, send, callers) if callers else self._anonymous(send))

    async def _callers(self, scope: Scope) -> Sequence[Caller]:
        identify = self._identify
        if isinstance(identify, ByToken):
            return await identify.callers(scope)
        if identify is None:
            raise KeysUnavailableError
        if not identify.trusted(scope):
            raise TokenRefusedError("This address may not say who is meant")
        try:
            return identify.callers(scope)
        except ValueError as error:
            raise TokenRefusedError("The headers make no sense") from error

    async def _judged(self, scope: Scope, send: Send, callers: Sequence[Caller]) -> None:
        for caller in callers:
            verdict = self._checks.check(caller.claims)
            if isinstance(verdict, Stale):
                await self._refuse(send, STALE.status, STALE.text, ((b"retry-after", b"1"),))
                return
            if verdict is not None:
                await self._over(scope, send, caller, verdict)
                return
        self._answered.live.inc()
        if self._saw is not None:
            self._saw(callers[0].claims, partial(self._networks.client, scope))
        await send({"type": "http.response.start", "status": 200, "headers": callers[0].headers})
        await send(_EMPTY)

    async def _over(self, scope: Scope, send: Send, caller: Caller, verdict: Revocation | Hold) -> None:
        self._checks.refused(caller.claims, verdict, ip=self._networks.client(scope), verified=caller.verified)
        headers: list[Header] = [(b"x-revoker-cause", header_safe(code(verdict)))]
        wanted = www_authenticate(verdict)
        if wanted is not None:
            headers.append((b"www-authenticate", wanted.encode("latin-1")))
        reason = text(verdict, _header(scope, b"accept-language"))
        await self._refuse(send, answer(verdict).status, reason, headers, cause=code(verdict))

    async def _anonymous(self, send: Send) -> None:
        if self._lets_anonymous_pass:
            self._answered.anonymous.inc()
            await send({"type": "http.response.start", "status": 200, "headers": _NOBODY})
            await send(_EMPTY)
        else:
            await self._refuse(send, 401, "", ((b"www-authenticate", challenge().encode()),))

    async def _refuse(
        self, send: Send, status: int, detail: str, headers: Sequence[Header], cause: str | None = None
    ) -> None:
        self._answered.refused[status].inc()
        told = body(status, detail, **({"cause": cause} if cause else {}))
        kind = ((b"content-type", PROBLEM.encode()), (b"content-length", str(len(told)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": [*_NO_STORE, *kind, *headers]})
        await send({"type": "http.response.body", "body": told})


def _header(scope: Scope, wanted: bytes) -> str:
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == wanted)
