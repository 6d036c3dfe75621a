"""The issuer's application: what machines read of it, and the page where people sign in."""

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp

from revoker.cli.demo.doors import guarded
from revoker.cli.demo.issuer import COOKIE, SIGN_IN_PATH, SIGNED_OUT
from revoker.cli.demo.issuer.codes import Codes
from revoker.cli.demo.issuer.desk import DEVICES, Desk
from revoker.cli.demo.issuer.tokens import ALGORITHM, LONGEST_SECONDS, Signer, Wanted
from revoker.embedded.ports import HOST

TOKENS_PATH: Final = "/tokens"
DEVICES_PATH: Final = "/devices"
"""Of the API, where a person comes to who has signed in."""
_FOLDER: Final = Path(__file__).parent
_ICON: Final = _FOLDER.parent / "page" / "static" / "icon.svg"
_MOST_BYTES: Final = 8_192
_THIS: Final = "browser"

Notice = tuple[str, str]
"""What a person is told, and how well it went."""
_USED_UP: Final = ("That link was used already, or is too old. Choose who you are.", "failed")
_CHOOSE: Final = ("Choose who you are, and on which device.", "failed")
_LEFT: Final = ("You are signed out.", "done")
_AGAIN: Final = ("Sign in again: other devices can only be signed out by somebody who has just signed in.", "failed")
_LEFT_HERE: Final = ("This browser is signed out. The service did not answer: elsewhere you may not be.", "failed")


def application(signer: Signer, desk: Desk, codes: Codes, *, api: str, secret: str) -> ASGIApp:
    """All of it. Whoever signs in is sent to the devices page of `api`; `secret` is who may have tokens."""
    # A browser that came by another name of this machine would not show the API the cookie that it gets here.
    return guarded(_Application(signer, desk, codes, api, secret).routed(), names=(HOST,), forms_lead_to=api)


class _Application:
    """The routes."""

    def __init__(self, signer: Signer, desk: Desk, codes: Codes, api: str, secret: str) -> None:
        self._signer = signer
        self._desk = desk
        self._codes = codes
        self._api = api
        self._secret = f"Bearer {secret}".encode()
        self._pages = Jinja2Templates(_FOLDER / "templates")

    def routed(self) -> Starlette:
        """As an application."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/keys", self._keys),
                Route(SIGN_IN_PATH, self._page),
                Route(SIGN_IN_PATH, self._sign_in, methods=["POST"]),
                Route(TOKENS_PATH, self._token, methods=["POST"]),
                Mount("/static", StaticFiles(directory=_FOLDER / "static")),
                Route("/icon.svg", FileResponse(_ICON)),
                Route("/", RedirectResponse(SIGN_IN_PATH)),
            ]
        )

    async def _discovery(self, _: Request) -> Response:
        url = self._signer.url
        return JSONResponse(
            {
                "issuer": url,
                "jwks_uri": f"{url}/keys",
                "authorization_endpoint": f"{url}{SIGN_IN_PATH}",
                "response_types_supported": ["none"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            }
        )

    async def _keys(self, _: Request) -> Response:
        return JSONResponse(self._signer.keys())

    async def _page(self, request: Request) -> Response:
        code = request.query_params.get("code")
        # Who only asks whether there is a page shall not use the link up.
        if code is None or request.method == "HEAD":
            return self._shown(request, notice_of(request.query_params))
        subject = self._codes.take(code)
        if subject is None:
            return self._shown(
                request, ("The link was used already, or is too old. Choose who you are.", "failed"), 410
            )
        return await self._signed_in(request, subject, _THIS)

    async def _sign_in(self, request: Request) -> Response:
        fields = await _fields(request)
        person, device = fields.get("person", ""), fields.get("device", "")
        if person not in self._desk.people or device not in DEVICES:
            return self._shown(request, _CHOOSE, 400)
        return await self._signed_in(request, person, device)

    async def _signed_in(self, request: Request, subject: str, device: str) -> Response:
        agent = request.headers.get("user-agent", "")
        ip = request.client.host if request.client else HOST
        token = await self._desk.sign_in(subject, device, user_agent=agent, ip=ip)
        answer = RedirectResponse(f"{self._api}{DEVICES_PATH}", 303)
        answer.set_cookie(COOKIE, token, max_age=LONGEST_SECONDS, httponly=True, samesite="lax")
        return answer

    async def _token(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self._secret):
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
        try:
            wanted = Wanted.model_validate_json(await _body(request))
        except ValidationError as error:
            wrong = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
            return PlainTextResponse("; ".join(wrong), 400)
        return PlainTextResponse(await self._desk.token(wanted))

    def _shown(self, request: Request, notice: Notice | None, status: int = 200) -> Response:
        people = {"people": self._desk.people, "devices": DEVICES, "notice": notice, "api": self._api}
        return self._pages.TemplateResponse(request, "sign-in.html", people, status)


def notice_of(asked: Mapping[str, str]) -> Notice | None:
    """For somebody who comes from signing out, failed or not."""
    match asked.get(SIGNED_OUT):
        case None:
            return None
        case "failed":
            return _LEFT_HERE
        case "reauthenticate":
            return _AGAIN
        case _:
            return _LEFT


async def _fields(request: Request) -> dict[str, str]:
    """Of a small form."""
    found = parse_qs((await _body(request)).decode(errors="replace"))
    return {name: values[-1] for name, values in found.items()}


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise HTTPException(413)
    return body
