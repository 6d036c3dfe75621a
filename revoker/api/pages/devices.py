"""`/devices`: one's devices as a page, with forms for what one may do. Whoever is turned away sees why.

    GET   /devices                   the list
    GET   /devices/sign-out          this device or all? Its forms, like "all others", post to /logout
    POST  /devices/end               ends one, and comes back
    GET   /devices/not-me            what "this was not me" will do
    POST  /devices/not-me            does it, and comes back
    GET   /static/{name}             what pages load, and `session.js` for pages of others

An address says by a word of ours what has happened, never by a text: nobody can make this page say anything.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from revoker.api.asking import Asked
from revoker.api.bodies import body
from revoker.api.devices import DatabaseAwayError, Devices, Shown
from revoker.api.languages import Language, languages
from revoker.api.me import cursor_of, may_be_id, position
from revoker.api.pages.refused import HOME, Link, refused
from revoker.api.pages.rendering import Files, Rendering
from revoker.api.parts import Parts
from revoker.api.prefer import Waiting
from revoker.api.problems import ProblemError
from revoker.api.who import Principal
from revoker.core.verdicts import HELD

_PAGE: Final = 50
_MAX_FORM: Final = 4_096
_FORM: Final = "application/x-www-form-urlencoded"
_WAITING: Final = Waiting(seconds=2.0, until="committed")
"""So that the list shows already what has just been asked for."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What has just happened."""

    kind: str
    text: str


Show = Callable[[Request, Principal, Language], Awaitable[Response]]


def routes(parts: Parts) -> APIRouter:
    """The page and what it loads."""
    pages = _Pages(parts)
    router = APIRouter(include_in_schema=False)
    for path, method, show in (
        (HOME, "GET", pages.list),
        (f"{HOME}/sign-out", "GET", pages.sign_out),
        (f"{HOME}/end", "POST", pages.end),
        (f"{HOME}/not-me", "GET", pages.not_me),
        (f"{HOME}/not-me", "POST", pages.report),
    ):
        router.add_api_route(path, pages.for_person(show), methods=[method], response_class=Response)
    router.add_api_route("/static/{name}", Files().serve, methods=["GET"], response_class=Response)
    return router


class _Pages:
    def __init__(self, parts: Parts) -> None:
        self._who = parts.who
        self._logout = parts.settings.logout
        self._languages = languages()
        self._devices = Devices(parts, self._languages)
        self._rendering = Rendering(self._languages, parts.settings.logout)

    def for_person(self, show: Show) -> Callable[[Request], Awaitable[Response]]:
        """`show` for whoever is signed in; for others what a person understands."""

        async def answer(request: Request) -> Response:
            language = self._languages.best(request.headers.get("accept-language"))
            try:
                who = await self._who.person(request)
            except ProblemError as error:
                return self._turned_away(language, error)
            try:
                return await show(request, who, language)
            except ProblemError as error:
                return refused(self._rendering, language, error)

        return answer

    async def list(self, request: Request, who: Principal, language: Language) -> Response:
        """All devices; where the database is away, this one."""
        after = position(request.query_params.get("cursor"))
        others: list[Shown] | None = None
        ended: list[Shown] = []
        more = None
        try:
            found = await self._devices.listed(who, language, after, _PAGE)
        except DatabaseAwayError:
            own = self._devices.unlisted(who, language)
        else:
            mine = next((one for one in found.devices if one.current and one.live), None)
            own = mine or await self._devices.own(who, language)
            others = [one for one in found.devices if one.live and not one.current]
            ended = [one for one in found.devices if not one.live]
            more = cursor_of(found.next)
        return self._rendering.page(
            language,
            "devices.html",
            own=own,
            others=others,
            ended=ended,
            more=more,
            paged=after is not None,
            notice=_notice(request, language),
        )

    async def sign_out(self, _request: Request, _who: Principal, language: Language) -> Response:
        """This device or all?"""
        return self._rendering.page(
            language,
            "sign-out.html",
            left=self._logout.default_redirect or self._logout.sign_in,
            failed=with_query(self._logout.sign_in, "signed-out=failed"),
            anew=with_query(self._logout.sign_in, "signed-out=reauthenticate"),
        )

    async def end(self, request: Request, who: Principal, _language: Language) -> Response:
        """Ends one of the devices."""
        session_id = (await _fields(request)).get("session_id", "")
        if not may_be_id(session_id):
            raise ProblemError(404)
        asked = await self._devices.end(who, session_id, _WAITING)
        return _back(asked if isinstance(asked, Asked) else None, "ended")

    async def not_me(self, request: Request, who: Principal, language: Language) -> Response:
        """What a report will do."""
        session_id = request.query_params.get("session_id")
        about = None
        if session_id is not None:
            about = await self._devices.one(who, session_id, language) if may_be_id(session_id) else None
            if about is None:
                raise ProblemError(404)
        return self._rendering.page(language, "not-me.html", about=about, keeps=await self._devices.keeps(who))

    async def report(self, request: Request, who: Principal, _language: Language) -> Response:
        """Reports."""
        session_id = (await _fields(request)).get("session_id")
        if session_id is not None and not may_be_id(session_id):
            raise ProblemError(404)
        return _back(await self._devices.report(who, session_id, _WAITING), "reported")

    def _turned_away(self, language: Language, error: ProblemError) -> Response:
        """Somebody whose session is over or on hold is told so; somebody else signs in."""
        cause = error.more.get("cause")
        if error.status == 401 and cause is None:
            return RedirectResponse(self._logout.sign_in, 303, {"Cache-Control": "no-store"})
        if cause is None:
            return refused(self._rendering, language, error)
        held = cause == HELD.code
        return self._rendering.page(
            language,
            "over.html",
            error.status,
            error.headers,
            title=language.gettext("Your access is on hold") if held else language.gettext("You have been signed out"),
            reason=error.detail,
            lines=[],
            link=Link(self._logout.sign_in, language.gettext("Sign in")),
        )


def with_query(place: str, query: str) -> str:
    """`place` with one thing more in its query."""
    return f"{place}{'&' if urlsplit(place).query else '?'}{query}"


def _back(asked: Asked | None, done: str) -> Response:
    """To the list, which says what was done; `later`: it is on its way."""
    word = f"{done}-later" if asked is not None and asked.state == "requested" else done
    return RedirectResponse(f"{HOME}?{urlencode({'done': word})}", 303, {"Cache-Control": "no-store"})


def _notice(request: Request, language: Language) -> Notice | None:
    texts = {
        "ended": language.gettext("The device is signed out."),
        "ended-later": language.gettext("The device will be signed out in a moment."),
        "others": language.gettext("All other devices are signed out."),
        "reported": language.gettext("Thank you for telling us. All other devices are signed out."),
        "reported-later": language.gettext(
            "Thank you for telling us. All other devices will be signed out in a moment."
        ),
    }
    if request.query_params.get("signed-out") == "failed":
        return Notice("failed", language.gettext("This did not work. Please try again in a moment."))
    text = texts.get(request.query_params.get("done", ""))
    return Notice("done", text) if text is not None else None


async def _fields(request: Request) -> dict[str, str]:
    """Of a small form. Raises `ProblemError`."""
    raw = await body(request, _MAX_FORM, _FORM)
    return {name: values[-1] for name, values in parse_qs(raw.decode(errors="replace")).items()}
