"""Where a browser is sent after logging out: places of the settings, and nowhere else, however it is spelled.

A place that was asked for is compared as text with what is allowed, so nothing here depends on how a browser reads
odd spellings: what holds anything odd (`//host`, a backslash, somebody@host, a control character, a letter that is not
ASCII) is no place at all (`revoker.settings_http.is_place`), and below an allowed prefix no dots lead out of it again.
"""

import re
from typing import Final, Literal

from revoker.settings import LogoutSettings
from revoker.settings_http import is_place

Why = Literal["failed", "reauthenticate"]
"""What the sign-in page is told: it did not work, or one has to sign in first."""

_OWN: Final = ("/devices", "/devices?done=others")
"""The page of devices, which posts to us itself."""
_LONGEST: Final = 2_000
_DOTS: Final = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|\?|$)", re.IGNORECASE)


class Redirects:
    """Those of the settings."""

    def __init__(self, settings: LogoutSettings) -> None:
        self._sign_in = settings.sign_in
        self._default = settings.default_redirect or settings.sign_in
        self._exactly = frozenset(_OWN) | {one for one in settings.redirects if not one.endswith("*")}
        self._below = tuple(one[:-1] for one in settings.redirects if one.endswith("*"))

    def after(self, wanted: str | None) -> str:
        """`wanted` where it is allowed, else the default."""
        return wanted if wanted is not None and self.allows(wanted) else self._default

    def sign_in(self, why: Why) -> str:
        """The sign-in page, told why."""
        return _with(self._sign_in, why)

    def back(self, wanted: str | None, why: Why) -> str:
        """Where somebody who is still signed in goes on, told why."""
        return _with(self.after(wanted), why)

    def allows(self, wanted: str) -> bool:
        """Whether a browser may be sent there because a request says so."""
        if wanted in self._exactly:
            return True
        if len(wanted) > _LONGEST or not wanted.startswith(self._below) or not is_place(wanted):
            return False
        return _DOTS.search(wanted.partition("?")[0]) is None


def _with(place: str, why: Why) -> str:
    return f"{place}{'&' if '?' in place else '?'}signed-out={why}"
