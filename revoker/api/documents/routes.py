"""The documents, for programs and for people. The pages are HTML and one style, no script and nothing of elsewhere."""

import base64
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from revoker.api.documents import views
from revoker.api.documents.openapi import openapi
from revoker.api.parts import Parts
from schemas import export

_TEMPLATES: Final = Path(__file__).parent / "templates"


class Documents:
    """Made when they are first asked for: by then all routes are there, and no more come."""

    def __init__(self, base_url: str, app: FastAPI) -> None:
        self._base_url = base_url
        self._app = app
        self._style = (_TEMPLATES / "style.css").read_text()
        self._pages = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    @cached_property
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return openapi(self._app)

    @cached_property
    def asyncapi(self) -> dict[str, Any]:
        """The AsyncAPI document."""
        return export.asyncapi()

    @cached_property
    def openapi_page(self) -> str:
        """The first one for people."""
        return self._page(
            "openapi.html", about=self.openapi["info"], groups=views.of_openapi(self.openapi, self._base_url)
        )

    @cached_property
    def asyncapi_page(self) -> str:
        """The second one for people."""
        return self._page("asyncapi.html", about=self.asyncapi["info"], channels=views.of_asyncapi(self.asyncapi))

    def answer(self, page: str) -> Response:
        """A page as it is sent."""
        return HTMLResponse(page, headers={"Content-Security-Policy": self._policy})

    def _page(self, name: str, **shown: Any) -> str:  # noqa: ANN401 - what a template shows may be anything
        return self._pages.get_template(name).render(style=self._style, **shown)


def routes(parts: Parts) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["documents"])
    made: list[Documents] = []

    def documents(request: Request) -> Documents:
        if not made:
            # Never the Host that somebody sends: the page is made once, for everybody.
            made.append(Documents(parts.settings.http.public_url or "$REVOKER_API_URL", request.app))
        return made[0]

    @router.get("/openapi.json", summary="This API, as OpenAPI 3.1", response_class=JSONResponse)
    async def of_http(request: Request) -> Response:
        return JSONResponse(documents(request).openapi)

    @router.get("/asyncapi.json", summary="The topics, as AsyncAPI 3.0", response_class=JSONResponse)
    async def of_kafka(request: Request) -> Response:
        return JSONResponse(documents(request).asyncapi)

    @router.get("/docs", include_in_schema=False)
    async def about_http(request: Request) -> Response:
        return documents(request).answer(documents(request).openapi_page)

    @router.get("/asyncapi", include_in_schema=False)
    async def about_kafka(request: Request) -> Response:
        return documents(request).answer(documents(request).asyncapi_page)

    return router
