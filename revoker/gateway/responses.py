"""What somebody who is not served is answered over HTTP. Pure: both middlewares send what this says.

A program gets a problem (RFC 9457) that names the cause, and a 401 says so in WWW-Authenticate (RFC 6750) too. A person
whose browser opens a page gets a page, or is sent to sign in where the application has said where that is. No cache
keeps any of it.
"""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

import msgspec

from revoker.core import verdicts
from revoker.core.verdicts import Answer, Revocation
from revoker.gateway.health import Stale
from revoker.gateway.refusals import Refusal, answer, text, word

_RETRY_AFTER_SECONDS: Final = 5
_PROBLEMS: Final = "urn:revoker:session-"
_PAGE: Final = """\
<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body>
<h1>{title}</h1>
<p>{text}</p>
</body>
</html>
"""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the request says about how it wants to be answered."""

    navigation: bool = False
    """A browser that opens a page, rather than a program."""
    languages: str | None = None


def asked(headers: Iterable[tuple[bytes, bytes]]) -> Asked:
    """What `headers` (of ASGI) say."""
    said: Mapping[bytes, bytes] = {bytes(name).lower(): bytes(value) for name, value in headers}
    mode = said.get(b"sec-fetch-mode")
    html = b"text/html" in said.get(b"accept", b"")
    languages = said.get(b"accept-language")
    return Asked(
        # Old browsers do not tell the mode; a script that fetches says another one.
        navigation=html if mode is None else mode == b"navigate",
        languages=None if languages is None else languages.decode("latin-1"),
    )


def refusal(why: Refusal, request: Asked, sign_in_url: str | None = None) -> Response:
    """The answer to `request`."""
    told = answer(why)
    headers = [("cache-control", "no-store")]
    if request.navigation and sign_in_url is not None and isinstance(why, Revocation):
        return Response(status=303, headers=(*headers, ("location", sign_in_url), ("content-length", "0")), body=b"")
    if isinstance(why, Stale):
        headers.append(("retry-after", str(_RETRY_AFTER_SECONDS)))
    elif (challenge := verdicts.www_authenticate(why)) is not None:
        headers.append(("www-authenticate", challenge))
    if request.navigation:
        kind, body = "text/html; charset=utf-8", _page(told, text(why, request.languages))
        headers += [("content-security-policy", "default-src 'none'"), ("x-content-type-options", "nosniff")]
    else:
        kind, body = "application/problem+json", _problem(why, told, text(why, request.languages))
    headers += [("content-type", kind), ("content-length", str(len(body)))]
    return Response(status=told.status, headers=tuple(headers), body=body)


def last_event(why: Refusal, languages: str | None = None) -> bytes:
    """What an event stream ends with: `session-ended`, `session-held` or `session-stale`."""
    data = {"cause": word(why), "reason": text(why, languages)}
    return b"event: session-%s\ndata: %s\n\n" % (answer(why).code.encode(), msgspec.json.encode(data))


def _problem(why: Refusal, told: Answer, detail: str) -> bytes:
    return msgspec.json.encode(
        {
            "type": f"{_PROBLEMS}{told.code}",
            "title": told.text,
            "status": told.status,
            "detail": detail,
            "cause": word(why),
        }
    )


def _page(told: Answer, detail: str) -> bytes:
    return _PAGE.format(title=escape(told.text), text=escape(detail)).encode()
