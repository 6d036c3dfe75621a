"""Templates in every language, the few files beside them, and what a browser may do with a page: as little as it needs.

A page of one's devices is in no cache, so that the way back shows nothing once one has signed out. Its policy lets
nothing load or run but our own files; forms may lead to where logging out may lead, since browsers hold redirects to
that, too.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from revoker.api.languages import Language, Languages
from revoker.api.problems import ProblemError
from revoker.settings import LogoutSettings
from schemas.fields import wire_time

FOLDER: Final = Path(__file__).parent
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_KINDS: Final = (
    ("tablet", ("ipad", "tablet")),
    ("phone", ("ios", "iphone", "android")),
    ("computer", ("windows", "mac os", "macos", "linux", "ubuntu", "debian", "fedora", "chrome os", "freebsd")),
)
_POLICY: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)


class Rendering:
    """Pages, ready to send."""

    def __init__(self, languages: Languages, logout: LogoutSettings) -> None:
        places = (logout.sign_in, logout.default_redirect, *logout.redirects)
        policy = "; ".join((*_POLICY, " ".join(("form-action 'self'", *_origins(places)))))
        self._headers = {"Cache-Control": "no-store", "Content-Security-Policy": policy, "Vary": "Accept-Language"}
        self.sign_in = logout.sign_in
        self._environments = {code: _environment(language) for code, language in languages.all.items()}

    def page(
        self,
        language: Language,
        name: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,  # noqa: ANN401 - what templates take
    ) -> Response:
        """The page of that name in that language."""
        template = self._environments[language.code].get_template(name)
        html = template.render(sign_in=self.sign_in, now=datetime.now(UTC), **values)
        told = {"Content-Language": language.code} | self._headers
        return HTMLResponse(html, status, told | dict(headers or {}))


class Files:
    """What pages load, by name; read at the start."""

    def __init__(self, folder: Path = FOLDER / "static") -> None:
        self._files = {path.name: _File(path) for path in folder.iterdir()}

    async def serve(self, request: Request) -> Response:
        """Raises `ProblemError`."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise ProblemError(404)
        fresh = request.headers.get("if-none-match") == found.headers["ETag"]
        return Response(None, 304, found.headers) if fresh else Response(found.content, 200, found.headers)


class _File:
    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.headers = {
            "Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8",
            # A copy may be kept, if it is asked each time whether it is the newest.
            "Cache-Control": "no-cache",
            "ETag": f'"{hashlib.sha256(self.content).hexdigest()[:16]}"',
        }


def kind_of(device: str) -> str:
    """What a device looks like, by its name."""
    name = device.lower()
    return next((kind for kind, words in _KINDS if any(word in name for word in words)), "unknown")


def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # the extension adds it
        language.gettext, language.ngettext, newstyle=True
    )
    environment.globals["language"] = language
    environment.filters["wire"] = wire_time
    environment.filters["kind"] = kind_of
    return environment


def _origins(places: Iterable[str | None]) -> list[str]:
    """Of those that are elsewhere, each once."""
    found: dict[str, None] = {}
    for place in places:
        parts = urlsplit(place or "")
        if parts.netloc:
            found[f"{parts.scheme}://{parts.netloc}"] = None
    return list(found)
