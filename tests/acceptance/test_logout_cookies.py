"""A real browser forgets what it was told to forget: cookies of every kind, by a form of ours and of nobody else."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from revoker.api.server import answering, listen
from revoker.settings import CookieSettings, LogoutSettings
from tests.api_service import Service, api_settings, in_process
from tests.browser import browser as a_browser
from tests.processes import PATIENCE

COOKIES = (
    CookieSettings(name="__Host-session", holds="token", same_site="Strict"),
    CookieSettings(name="__Secure-of-domain", domain="app.localhost", same_site="None"),
    CookieSettings(name="sid", path="/logout", http_only=False),
    CookieSettings(name="sid", path="/"),
    CookieSettings(name="plain", secure=False, http_only=False, same_site=None),
)
FORM = """<!doctype html><title>form</title><form method="post" action="{0}/logout?return_to=/bye">
<button>out</button></form><script>localStorage.setItem("draft", "secret")</script>"""


class Site:
    """The service, with a page that signs in and one that asks to be signed out."""

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self.ours = f"http://app.localhost:{port}"
        self.evil = f"http://evil.localhost:{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/in":
            response = Response("in")
            for line in self.service.parts.who.cookies.deletions():
                value = self.service.token() if line.startswith("__Host-session") else "value"
                response.headers.append("Set-Cookie", line.replace("=;", f"={value};", 1).replace("; Max-Age=0", ""))
        elif path in {"/form", "/bye"}:
            response = HTMLResponse(FORM.format(self.ours) if path == "/form" else "<title>bye</title>")
        else:
            await self.service.app(scope, receive, send)
            return
        await response(Request(scope), receive, send)  # type: ignore[arg-type]


@contextmanager
def served() -> Iterator[Site]:
    """The site in a thread: the browser's own interface does not want a loop beside it."""
    settings = api_settings(cookies=COOKIES, logout=LogoutSettings(redirects=("/bye",), sign_in="/form"))
    listening, stopping, ready, found = listen("127.0.0.1", 0), asyncio.Event(), threading.Event(), list[Site]()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        async with in_process(settings) as service:
            found.append(Site(service, listening.getsockname()[1]))
            loops.append(asyncio.get_running_loop())
            async with answering(found[0], listening, asyncio.Event()):
                ready.set()
                await stopping.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield found[0]
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        thread.join(PATIENCE)
        listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with a_browser() as one:
        yield one


@pytest.fixture(scope="module")
def site(browser: Browser) -> Iterator[Site]:
    del browser
    with served() as site:
        yield site


@pytest.fixture
def signed_in(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.new_page().goto(f"{site.ours}/in")
    assert len(context.cookies()) == len(COOKIES)
    site.service.sender.sent.clear()
    yield context
    context.close()


def test_the_browser_forgets_every_cookie_and_what_pages_stored(site: Site, signed_in: BrowserContext) -> None:
    page = signed_in.pages[0]
    page.goto(f"{site.ours}/form")
    assert page.evaluate("localStorage.getItem('draft')") == "secret"

    page.click("button")
    page.wait_for_url(f"{site.ours}/bye")

    assert signed_in.cookies() == []
    assert page.evaluate("localStorage.getItem('draft')") is None
    assert [event["type"] for event in site.service.sender.events] == ["logged-out"]


def test_a_form_of_another_site_signs_nobody_out(site: Site, signed_in: BrowserContext) -> None:
    page = signed_in.pages[0]
    page.goto(f"{site.evil}/form")

    with page.expect_response(lambda response: response.request.method == "POST") as answered:
        page.click("button")

    assert answered.value.status == 403
    assert len(signed_in.cookies()) == len(COOKIES)
    assert not site.service.sender.events
