"""Cookies: which can be at all, what they hold, and how they are deleted."""

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from revoker.api.cookies import Cookies, digest
from revoker.settings import CookieSettings
from tests.servers import make_settings


def cookie(name: str = "session", **given: Any) -> CookieSettings:
    return CookieSettings.model_validate({"name": name} | given)


def request(*lines: str) -> Request:
    headers = [(b"cookie", line.encode("latin-1")) for line in lines]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers})


@pytest.mark.parametrize(
    ("settings", "deletion"),
    [
        (cookie(), "session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"),
        (
            cookie("__Host-s", same_site="Strict"),
            "__Host-s=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
        ),
        (
            cookie("a", path="/app", domain="example.com", same_site="None", http_only=False),
            "a=; Path=/app; Domain=example.com; Max-Age=0; Secure; SameSite=None",
        ),
        (cookie("b", secure=False, http_only=False, same_site=None), "b=; Path=/; Max-Age=0"),
    ],
)
def test_a_cookie_goes_as_it_came(settings: CookieSettings, deletion: str) -> None:
    assert Cookies([settings]).deletions() == [deletion]


def test_every_spelling_of_a_name_is_deleted() -> None:
    both = [cookie(path="/"), cookie(path="/app", domain="example.com")]

    assert [one.count("session=") for one in Cookies(both).deletions()] == [1, 1]


@pytest.mark.parametrize(
    "given",
    [
        {"name": "__Host-s", "secure": False},
        {"name": "__Host-s", "path": "/app"},
        {"name": "__host-s", "domain": "example.com"},
        {"name": "__Secure-s", "secure": False},
        {"name": "__SECURE-s", "secure": False},
        {"name": "__Http-s", "http_only": False},
        {"name": "__Host-Http-s", "http_only": False},
        {"name": "s", "same_site": "None", "secure": False},
        {"name": ""},
        {"name": "a b"},
        {"name": "a=b"},
        {"name": "a;b"},
        {"name": "a\r\nSet-Cookie: c=d"},
        {"name": "s", "path": "app"},
        {"name": "s", "path": "/a;Domain=x"},
        {"name": "s", "path": "/a\n"},
        {"name": "s", "domain": "example.com; Path=/"},
        {"name": "s", "domain": "ex ample"},
        {"name": "s", "same_site": "lax"},
    ],
)
def test_what_no_browser_would_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CookieSettings.model_validate(given)


def test_the_same_cookie_twice_is_a_mistake() -> None:
    make_settings(cookies=(cookie(), cookie(path="/app")))
    with pytest.raises(ValidationError, match="named twice"):
        make_settings(cookies=(cookie(), cookie(http_only=False)))


def test_what_a_request_brings() -> None:
    cookies = Cookies([cookie("t", holds="token"), cookie("h", holds="hash"), cookie("n")])
    found = request('t=a; x=b; h="c"; t=d; n=e', "t=a; h=; t", "T=f")

    assert cookies.holding(found, "token") == [b"a", b"d"]
    assert cookies.holding(found, "hash") == [b"c"]
    assert cookies.holding(found, "remember-me") == []
    assert cookies.brought(request("n=e"))
    assert not cookies.brought(request("x=b", "N=e"))
    assert len(cookies.holding(request("; ".join(f"t={number}" for number in range(1_000))), "token")) == 8


def test_the_id_of_an_opaque_value_is_its_digest() -> None:
    assert digest(b"secret") == hashlib.sha256(b"secret").hexdigest()
