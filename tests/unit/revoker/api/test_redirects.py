"""Where a browser is sent after logging out: judged by a browser, for every spelling that one can think of."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from playwright.sync_api import Page
from pydantic import ValidationError

from revoker.api.redirects import Redirects
from revoker.settings import LogoutSettings
from tests.browser import browser

HOME = "https://sessions.example"
ALLOWED = ("/bye", "/app/*", "/*", "https://app.example/*", "https://docs.example/out?x=1", "http://localhost:3000/*")
ORIGINS = {HOME, "https://app.example", "https://docs.example", "http://localhost:3000"}

HOSTILE = (
    "//evil.example",
    "///evil.example",
    "////evil.example/%2e%2e",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "/\x00/evil.example",
    "/.//evil.example",
    "/..//evil.example",
    "/%2e%2e//evil.example",
    "/%2f/evil.example",
    "/%5cevil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "http://evil.example",
    "HTTPS://EVIL.EXAMPLE",
    "https://app.example@evil.example",
    "https://app.example:pw@evil.example/",
    "https://app.example%40evil.example/",
    "https://app.example\\@evil.example/",
    "https://app.example%2f@evil.example/",
    "https://app.example#@evil.example/",
    "https://app.example?@evil.example/",
    "https://app.example.evil.example/",
    "https://app.example\u3002evil.example/",
    "https://app.example\uff0f.evil.example/",
    "https://app.example;.evil.example/",
    "https://evil.example/https://app.example/",
    "https://\u0430pp.example/",
    "https://app\u00ad.example.evil.example/",
    "https://[::1]/",
    "//\u200bevil.example",
    "\u2028//evil.example",
    "/\u2215/evil.example",
    "\uff0f\uff0fevil.example",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "view-source:https://evil.example",
    "evil.example",
    "?//evil.example",
    "#//evil.example",
    "",
    "/",
    ".",
    "/app/../../evil",
    "/bye\r\nSet-Cookie: a=b",
    "/bye%0d%0aSet-Cookie:%20a=b",
    "/app/" + "a" * 10_000,
    "\ud800//evil.example",
)

_pieces = st.sampled_from(
    (
        *"/\\@:?#.;%&=\t\n\r\0 \u3002\uff0f\u2028",
        "//",
        "..",
        "%2e",
        "%2F",
        "%5c",
        "%09",
        "evil.example",
        "app.example",
        "app",
        "https:",
        "http:",
        "https://",
        "HTTPS://",
        "javascript:",
        "https://app.example",
        "/app/",
        "/bye",
        "localhost:3000",
        "http://localhost:3000/",
        "docs.example/out?x=1",
        "[::1]",
        "127.1",
        "x",
        "\u00e9",
        "\u0430",
    )
)
spellings = st.one_of(
    st.lists(_pieces, max_size=8).map("".join),
    st.tuples(st.sampled_from((*HOSTILE, *(one.rstrip("*") for one in ALLOWED))), st.text(max_size=6)).map("".join),
    st.text(max_size=30),
)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as chromium:
        page = chromium.new_page()
        yield page
        page.close()


def as_browsers_read(page: Page, places: list[str]) -> list[str]:
    """The addresses that a browser at our place would go to, with their fragments and all."""
    return list(page.evaluate("([places, base]) => places.map(p => new URL(p, base).href)", [places, f"{HOME}/logout"]))


def redirects(*allowed: str, **given: str) -> Redirects:
    return Redirects(LogoutSettings.model_validate({"redirects": allowed, "sign_in": "/sign-in"} | given))


@pytest.mark.parametrize("wanted", HOSTILE)
def test_what_is_not_allowed_leads_to_the_default(wanted: str) -> None:
    for allowed in (ALLOWED[:2], ("https://app.example/*",), ()):
        assert redirects(*allowed).after(wanted) == "/sign-in"
    assert redirects(*ALLOWED[:2], default_redirect="/out").after(wanted) == "/out"


@given(places=st.lists(spellings, min_size=40, max_size=40))
@hypothesis_settings(max_examples=60)
def test_no_spelling_leads_elsewhere(page: Page, places: list[str]) -> None:
    ours = redirects(*ALLOWED)
    sent = [ours.after(place) for place in places]

    for place, address in zip(sent, as_browsers_read(page, sent), strict=True):
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        assert origin in ORIGINS
        # And to the very place: nothing of it means another one to a browser.
        assert address in {place, HOME + place}


def test_the_browser_would_have_been_led_elsewhere(page: Page) -> None:
    """The list above is worth something: a check that a newcomer writes lets many of them through."""
    led = [one for one in HOSTILE if one.startswith("/") and one[1:2] != "/" and one.isprintable()]
    hosts = {urlsplit(address).netloc for address in as_browsers_read(page, [*led, "/\t/evil.example"])}

    assert "evil.example" in hosts


@pytest.mark.parametrize(
    ("wanted", "is_allowed"),
    [
        ("/bye", True),
        ("/bye/", False),
        ("/bye?x=1", False),
        ("/app/", True),
        ("/app/a/b?next=/c&lang=de", True),
        ("/app", False),
        ("/app/..", False),
        ("/app/%2E./x", False),
        ("/app/.%2e", False),
        ("/app/...", True),
        ("/app/.well-known/x", True),
        ("/app/a..b", True),
        ("/app/?x=../y", True),
        ("https://app.example/a", True),
        ("https://app.example", False),
        ("https://app.example/a#b", False),
        ("http://app.example/a", False),
        ("https://docs.example/out?x=1", True),
        ("https://docs.example/out?x=2", False),
    ],
)
def test_what_is_allowed_is_allowed_exactly_or_below(wanted: str, *, is_allowed: bool) -> None:
    allowed = ("/bye", "/app/*", "https://app.example/*", "https://docs.example/out?x=1")

    assert redirects(*allowed).allows(wanted) is is_allowed


def test_the_sign_in_page_is_told_why() -> None:
    assert redirects().sign_in("failed") == "/sign-in?signed-out=failed"
    told = redirects(sign_in="https://login.example/?client=a").sign_in("reauthenticate")
    assert told == "https://login.example/?client=a&signed-out=reauthenticate"
    assert redirects("/devices").back("/devices", "failed") == "/devices?signed-out=failed"


@pytest.mark.parametrize(
    "place",
    [
        "",
        "bye",
        "//evil",
        "/\\x",
        "http://app.example/",
        "https://a@b/",
        "https://App.example/",
        "ftp://x/",
        "/a b",
        "/ä",
    ],
)
@pytest.mark.parametrize("key", ["sign_in", "default_redirect", "redirects"])
def test_settings_name_places_that_every_browser_reads_alike(key: str, place: str) -> None:
    with pytest.raises(ValidationError, match="no place"):
        LogoutSettings.model_validate({key: [place] if key == "redirects" else place})


def test_a_star_means_all_below_and_nothing_else() -> None:
    for place in ("/app*", "*", "https://app.example*", "/a/*/b"):
        with pytest.raises(ValidationError):
            LogoutSettings(redirects=(place,))
