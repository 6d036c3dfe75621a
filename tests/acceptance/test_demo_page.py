"""The demo's page in a real browser: a button is pressed, and the right cards end before one's eyes."""

import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import browser as a_browser
from tests.demo import PATIENCE, REVOKER, Demo, assert_nothing_left

pytestmark = pytest.mark.timeout(240)
TOOK = re.compile(r"^[\d,]+ ms$")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with a_browser() as one:
        yield one


@pytest.fixture(scope="module")
def demo(browser: Browser) -> Iterator[Demo]:
    """One for all, since each test has a person of its own. Without a browser none is started."""
    expect.set_options(timeout=PATIENCE * 1000)
    folder = Path(tempfile.mkdtemp(prefix="demo-page-")).resolve()
    folder.chmod(0o711)
    with Demo(folder) as one:
        one.until("Everything stays up")
        yield one
        it_stops_under_open_sockets(one, browser)
    shutil.rmtree(folder)


def it_stops_under_open_sockets(demo: Demo, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address(demo))
    expect(page.locator('main .card[data-state="live"]')).not_to_have_count(0)

    demo.interrupt(signal.SIGINT)

    assert demo.code() == 0
    expect(page.locator("#connection")).to_contain_text("The demo has stopped")
    assert_nothing_left(demo.folder, 0)
    context.close()


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    """The page, with nothing to complain of."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.goto(address(demo))
    yield opened
    context.close()
    assert not troubles


def address(demo: Demo) -> str:
    found = re.search(r"the demo gateway serves: (http://127\.0\.0\.1:\d+/)", demo.text)
    assert found is not None, demo.text
    return found[1]


def card(page: Page, session: str) -> Locator:
    return page.locator(f'[data-session="{session}"]')


def expect_state(page: Page, state: str, *sessions: str) -> None:
    for session in sessions:
        expect(card(page, session)).to_have_attribute("data-state", state)


def press(page: Page, subject: str, button: str) -> None:
    page.locator(f'form[data-subject="{subject}"]').get_by_role("button", name=button).click()


def states(page: Page) -> dict[str, str]:
    found = page.eval_on_selector_all("main .card", "all => all.map(one => [one.dataset.session, one.dataset.state])")
    return dict(found)


def test_a_changed_password_ends_the_other_devices(page: Page) -> None:
    expect_state(page, "live", "alice-phone")
    # What the story has ended is shown with its time, also to who comes later.
    expect(card(page, "alice-laptop").locator(".took")).to_have_text(TOOK)
    press(page, "alice", "Sign in again")
    others = ("alice-laptop-2", "alice-office-2", "alice-tablet-2")
    expect_state(page, "live", "alice-phone", *others)
    expect(page.locator('main .card:not([data-state="live"], [data-state="ended"])')).to_have_count(0)
    before = states(page)
    card(page, "alice-phone").get_by_role("radio").check()

    press(page, "alice", "Change password")

    expect_state(page, "ended", *others)
    for session in others:
        ended = card(page, session)
        expect(ended.locator(".code")).to_have_text("4401")
        expect(ended.locator(".cause")).to_have_text("password-changed")
        expect(ended.locator(".text")).to_have_text("Your password was changed")
        expect(ended.locator(".took")).to_have_text(TOOK)
        # What the browser itself was told, and not what the page was told of it.
        frame = page.evaluate("id => ({code: closed.get(id).code, reason: closed.get(id).reason})", session)
        assert frame == {"code": 4401, "reason": "password-changed"}
        assert page.evaluate("id => sockets.get(id).readyState === WebSocket.CLOSED", session)
    assert page.evaluate("sockets.get('alice-phone').readyState === WebSocket.OPEN")
    answer = page.locator('form[data-subject="alice"] .answer')
    expect(answer).to_have_text("Ended: laptop-2, office-2, tablet-2. Live: phone.")
    newest = page.locator(".entry").first
    expect(newest.locator(".where")).to_contain_text("demo-gateway: cut 3 connections")
    expect(newest).to_have_attribute("data-enforced", "yes")
    expect(newest.locator(".steps")).to_have_text(
        re.compile(r"committed after .*announced after .*enforced after .* ms")
    )
    # All that was to happen has happened, everywhere: nobody else was touched.
    assert states(page) == before | dict.fromkeys(others, "ended")


def test_the_keyboard_signs_one_device_out(page: Page) -> None:
    expect_state(page, "live", "carol-phone", "carol-laptop", "carol-tablet")
    card(page, "carol-phone").get_by_role("radio").focus()
    page.keyboard.press("ArrowUp")
    expect(card(page, "carol-laptop").get_by_role("radio")).to_be_checked()

    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.locator('form[data-subject="carol"]').get_by_role("button", name="Sign out")).to_be_focused()
    page.keyboard.press("Enter")

    expect_state(page, "ended", "carol-laptop")
    expect(card(page, "carol-laptop").locator(".cause")).to_have_text("logged-out")
    expect_state(page, "live", "carol-phone", "carol-tablet")
    expect(card(page, "carol-laptop").locator("input")).to_be_disabled()


def test_the_command_in_a_terminal_ends_a_card(page: Page, demo: Demo) -> None:
    expect_state(page, "live", "bob-desktop")
    environment = re.search(r"source (\S+)/env", demo.text)
    assert environment is not None

    command = [REVOKER, "revoke", "bob", "--reason", "Call us"]
    config = {"REVOKER_CONFIG": f"{environment[1]}/revoker.toml", "PATH": "/usr/bin:/bin"}
    subprocess.run(command, check=True, env=config, timeout=PATIENCE, capture_output=True)

    expect_state(page, "ended", "bob-desktop")
    expect(card(page, "bob-desktop").locator(".text")).to_have_text("Call us")
    expect(card(page, "bob-desktop").locator(".took")).to_have_text(TOOK)
    # With nobody left there is only one thing to press.
    buttons = page.locator('form[data-subject="bob"]').get_by_role("button")
    assert [one.is_enabled() for one in buttons.all()] == [True, False, False, False, False]


def test_a_fresh_sign_in_spares_itself_in_every_window(page: Page, browser: Browser, demo: Demo) -> None:
    context = browser.new_context(color_scheme="dark", viewport={"width": 360, "height": 740})
    other = context.new_page()
    other.goto(address(demo))
    press(page, "dave", "Sign in again")
    for each in (page, other):
        expect_state(each, "live", "dave-laptop-2", "dave-tablet-2", "dave-phone")
    card(page, "dave-tablet-2").get_by_role("radio").check()

    press(page, "dave", "Report a stolen device")

    for each in (page, other):
        expect_state(each, "ended", "dave-laptop-2", "dave-phone")
        expect_state(each, "live", "dave-tablet-2")
    assert other.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()

    # The buttons do not need the script.
    bare = browser.new_context(java_script_enabled=False)
    form = bare.new_page()
    form.goto(address(demo))
    press(form, "dave", "Sign out")
    expect_state(page, "ended", "dave-tablet-2")
    expect(form).to_have_url(address(demo))
    form.reload()
    expect_state(form, "ended", "dave-tablet-2")
    bare.close()
