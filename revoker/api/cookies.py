"""Cookies of applications: what they hold, and how they are deleted: with the very attributes they were set with."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from starlette.requests import Request

from revoker.settings import CookieSettings

_MOST: Final = 8
"""Values of one name that are looked at: a browser sends one for each path and domain, never many."""


def digest(value: bytes) -> str:
    """The id of whatever an opaque value stands for."""
    return hashlib.sha256(value).hexdigest()


class Cookies:
    """Those of the settings."""

    def __init__(self, settings: Sequence[CookieSettings]) -> None:
        self._settings = tuple(settings)
        self._by_use: dict[str, frozenset[bytes]] = {}
        for use in ("token", "hash", "remember-me"):
            self._by_use[use] = frozenset(one.name.encode() for one in settings if one.holds == use)
        self._names = frozenset(one.name.encode() for one in settings)

    def holding(self, request: Request, use: str) -> Sequence[bytes]:
        """The values that `request` brings of cookies that hold such a thing, each once, in the order of the browser:
        those of longer paths first.
        """
        found: dict[bytes, None] = {}
        for name, value in _pairs(request):
            if name in self._by_use[use]:
                # Quotes are part of what browsers store, but not of what anybody means.
                found.setdefault(value.strip(b'"'))
        found.pop(b"", None)
        return list(found)[:_MOST]

    def brought(self, request: Request) -> bool:
        """Whether `request` brings any of ours."""
        return any(name in self._names for name, _ in _pairs(request))

    def deletions(self) -> list[str]:
        """`Set-Cookie`, once for every cookie of the settings."""
        return [_deleted(one) for one in self._settings]


def _pairs(request: Request) -> Iterator[tuple[bytes, bytes]]:
    for header, line in request.scope["headers"]:
        if header == b"cookie":
            for part in line.split(b";"):
                name, equals, value = part.partition(b"=")
                if equals:
                    yield name.strip(), value.strip()


def _deleted(cookie: CookieSettings) -> str:
    parts = [f"{cookie.name}=", f"Path={cookie.path}"]
    if cookie.domain is not None:
        parts.append(f"Domain={cookie.domain}")
    parts.append("Max-Age=0")
    if cookie.secure:
        parts.append("Secure")
    if cookie.http_only:
        parts.append("HttpOnly")
    if cookie.same_site is not None:
        parts.append(f"SameSite={cookie.same_site}")
    return "; ".join(parts)
