"""Whether a request comes from a page of ours, or from one that may act for people: cookies alone prove nothing.

Browsers say so in `Sec-Fetch-Site`, older ones in `Origin`, others yet in `Referer`; no page can change any of them.
"""

import re
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from revoker.api.problems import ProblemError
from revoker.settings import HttpSettings

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_ORIGIN: Final = re.compile(r"(https?)://([^/?#@\\\s]+)(?=[/?#]|\Z)", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class From(Enum):
    """Where a request comes from, as the browser says."""

    OURS = "ours"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"  # it is no browser, or one that says nothing


class OriginProof:
    """Knows our origins."""

    def __init__(self, http: HttpSettings) -> None:
        self._trusted = frozenset(_normal(origin) for origin in http.origins)
        self._own = _normal(http.public_url) if http.public_url is not None else None

    def whence(self, request: Request) -> From:
        """Where `request` comes from."""
        headers = request.headers
        origins = headers.getlist("origin")
        if any(_normal(origin) in self._trusted for origin in origins[:1]) and len(origins) == 1:
            return From.OURS
        site = headers.getlist("sec-fetch-site")
        if site:
            return From.OURS if site in (["same-origin"], ["none"]) else From.ELSEWHERE
        said = origins or headers.getlist("referer")
        if not said:
            return From.UNKNOWN
        return From.OURS if len(said) == 1 and self._is_ours(said[0], request) else From.ELSEWHERE

    def demand(self, request: Request) -> None:
        """Raises `ProblemError` unless `request` may count on a cookie."""
        whence = self.whence(request)
        if whence is From.ELSEWHERE or (whence is From.UNKNOWN and request.method not in SAFE_METHODS):
            raise ProblemError(403, "A cookie counts only for requests from our own pages")

    def _is_ours(self, said: str, request: Request) -> bool:
        origin = _normal(said)
        if origin is None:
            return False
        if origin in self._trusted:
            return True
        if self._own is not None:
            return origin == self._own
        # Behind a proxy that ends TLS the scheme here is not the browser's.
        hosts = request.headers.getlist("host")
        scheme, _, host = origin.partition("://")
        return len(hosts) == 1 and host == _without_default(hosts[0].lower(), scheme)


def _normal(url: str) -> str | None:
    """The origin of `url`; None: it has none, such as `null`."""
    found = _ORIGIN.match(url)
    if found is None:
        return None
    try:
        urlsplit(url).port  # noqa: B018 - raises for what is no port
    except ValueError:
        return None
    scheme = found[1].lower()
    return f"{scheme}://{_without_default(found[2].lower(), scheme)}"


def _without_default(host: str, scheme: str) -> str:
    return host.removesuffix(_DEFAULT_PORTS[scheme])
