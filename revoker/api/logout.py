"""`POST /logout`: ends the session on the server and in the browser.

    scope=one          this session, with what belongs to it; also with an expired token, twice, or without any session
    scope=everywhere   all of the person's; scope=others  all but this one: those need a session that lives, and a fresh
                       sign-in where [logout] fresh says so (RFC 9470), or a thief could lock the owner out

Kafka has it before we say so. Whatever fails there, the browser's cookies go all the same, each with the attributes
that it was set with, and the person is told. A browser is sent on (303), everybody else gets JSON. No database is
needed; it only says sooner that all is done.

A cookie counts only with the proof that a page of ours sent the request, and so does deleting one: else any page on the
web could sign people out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from revoker.api.asking import STATES, Asked, State
from revoker.api.languages import languages
from revoker.api.leaving import Leaving
from revoker.api.pages.refused import refused
from revoker.api.pages.rendering import Rendering
from revoker.api.parts import Parts
from revoker.api.prefer import PARAMETERS, Waiting, waiting
from revoker.api.problems import NO_STORE, ProblemError, documented
from revoker.api.redirects import Redirects, Why
from revoker.api.who import Principal
from revoker.api.wishes import BODY, Wish, wants_page, wish_of
from revoker.api.wishes import PARAMETERS as WISHES
from revoker.logs import get_logger

_WAITING: Final = Waiting(seconds=2.0)
_UNAUTHORIZED: Final = 401
_UNAVAILABLE: Final = 503
_EXAMPLE: Final = {
    "state": "committed",
    "scope": "one",
    "revocation_id": "0f0e2c5e-7a3b-5d1c-9d0a-6c8f1f2b3a4d",
    "event_id": "logout-5ad7c1de-2f4b-5c39-8a55-0b5d1a6a1f0e",
}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = documented(400, 401, 403, 413, 415, 503) | {
    200: {
        "description": "Logged out. `state` says how far: `nothing` where there was no session to end.",
        "content": {"application/json": {"example": _EXAMPLE}},
    },
    303: {"description": "The same for a browser: `Accept` names text/html."},
}
_log = get_logger(__name__)


def routes(parts: Parts) -> APIRouter:
    """The one route."""
    router = APIRouter(tags=["people"])
    logout = Logout(parts)
    rendering = Rendering(languages(), parts.settings.logout)

    @router.post(
        "/logout",
        summary="Log out",
        response_class=JSONResponse,
        responses=_RESPONSES,
        openapi_extra={"requestBody": BODY, "parameters": [*WISHES, *PARAMETERS]},
    )
    async def log_out(request: Request) -> Response:
        """Ends this session, all others, or all of them, and deletes the browser's cookies."""
        try:
            return await logout.answer(request)
        except ProblemError as error:
            if not wants_page(request):
                raise
            return refused(rendering, languages().best(request.headers.get("accept-language")), error)

    return router


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came of it."""

    asked: Sequence[Asked] = ()
    refused: ProblemError | None = None
    why: Why | None = None
    """What a browser's person is told, where it is not what they wanted."""
    is_over: bool = True
    """This session ends, so its cookies go."""

    @property
    def state(self) -> State | Literal["nothing"]:
        """The least of what was asked for."""
        return min((one.state for one in self.asked), key=STATES.index, default="nothing")


class Logout:
    """The endpoint."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings.logout
        self._who = parts.who
        self._leaving = Leaving(parts.who, parts.asking, parts.settings.claims)
        self._redirects = Redirects(settings)
        self._fresh = settings.fresh
        self._forget = ", ".join(f'"{one}"' for one in settings.clear_site_data)

    async def answer(self, request: Request) -> Response:
        """Raises `ProblemError` only where nothing may be changed: it makes no sense, or no page of ours sent it."""
        wish, wait = await wish_of(request), waiting(request, _WAITING)
        found: Sequence[Principal] = ()
        try:
            found = await self._who.leaving_all(request)
        except ProblemError as error:
            if error.status != _UNAVAILABLE:
                raise
            outcome = _Outcome(refused=error, why="failed")
        else:
            own = wish.scope == "one"
            outcome = await (self._own(request, found, wait) if own else self._all(request, wish, found, wait))
        self._tell(wish, found, outcome)
        return self._answered(wish, wait, outcome)

    async def _own(self, request: Request, found: Sequence[Principal], wait: Waiting) -> _Outcome:
        try:
            return _Outcome(asked=await self._leaving.own(request, found, wait))
        except ProblemError as error:
            return _Outcome(refused=error, why="failed")

    async def _all(self, request: Request, wish: Wish, found: Sequence[Principal], wait: Waiting) -> _Outcome:
        is_over = wish.scope == "everywhere"
        try:
            principal = self._who.acting(request, found)
        except ProblemError as error:
            if error.status == _UNAUTHORIZED:
                # Whoever cannot speak for all sessions any more may leave this one all the same.
                own = await self._own(request, found, wait)
                return own if own.refused else _Outcome(asked=own.asked, refused=error, why="reauthenticate")
            return _Outcome(refused=error, why="failed", is_over=is_over and error.status == _UNAVAILABLE)
        try:
            self._who.fresh(principal, self._fresh)
        except ProblemError as error:
            return _Outcome(refused=error, why="reauthenticate", is_over=False)
        try:
            asked = await self._leaving.all_of(principal, wish.scope, wait)
        except ProblemError as error:
            return _Outcome(refused=error, why="failed", is_over=is_over)
        return _Outcome(asked=asked, is_over=is_over)

    def _tell(self, wish: Wish, found: Sequence[Principal], outcome: _Outcome) -> None:
        whose = next(iter(found), None)
        claims = whose.claims if whose is not None else None
        write = _log.info if outcome.refused is None else _log.warning
        write(
            "logout",
            subject=claims.subject if claims else None,
            tenant=claims.tenant if claims else None,
            session=claims.session_id if claims else None,
            scope=wish.scope,
            why="asked by the person",
            outcome=outcome.state if outcome.refused is None else outcome.why,
            status=outcome.refused.status if outcome.refused else None,
            revocations=[str(one.revocation_id) for one in outcome.asked],
        )

    def _answered(self, wish: Wish, wait: Waiting, outcome: _Outcome) -> Response:
        if wish.is_page:
            response: Response = RedirectResponse(self._place(wish, outcome), 303, NO_STORE)
        elif outcome.refused is not None:
            response = outcome.refused.response()
        else:
            told = next((one.as_json() for one in outcome.asked), {})
            content = told | {"state": outcome.state, "scope": wish.scope}
            response = JSONResponse(content, headers=NO_STORE | wait.headers())
        if outcome.is_over:
            for deletion in self._who.cookies.deletions():
                response.headers.append("Set-Cookie", deletion)
            if self._forget:
                response.headers["Clear-Site-Data"] = self._forget
        return response

    def _place(self, wish: Wish, outcome: _Outcome) -> str:
        if outcome.why is None:
            return self._redirects.after(wish.return_to)
        if outcome.is_over or outcome.why == "reauthenticate":
            return self._redirects.sign_in(outcome.why)
        return self._redirects.back(wish.return_to, outcome.why)
