"""The page of one's devices in real browsers, on the service as it is run: two browsers of a person, and one without
JavaScript.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, Route, expect

from schemas.topics import Topic
from tests import servers
from tests.browser import browser as a_browser
from tests.people import COOKIE, FIREFOX, PATIENCE, SAFARI, People, people, settings_of

pytestmark = pytest.mark.timeout(240)
LAPTOP: Final = "Firefox on Linux"
PHONE: Final = "Mobile Safari on iOS"
MINE: Final = "You signed this device out from another one"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    # As people have it: with pages put aside and shown again on the way back.
    with a_browser(shows_again=True) as one:
        yield one


@pytest.fixture(scope="module")
def database(session_postgres: str, template_database: str) -> Iterator[str]:
    url = servers.new_database(session_postgres, template_database)
    yield url
    servers.drop_database(session_postgres, url)


@pytest.fixture(scope="module")
def world(
    browser: Browser,
    session_kafka: str,
    session_valkey: str,
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[People]:
    """One for all, since each test has a person of its own. Without a browser none is started."""
    del browser
    with people(settings_of(session_kafka, database, session_valkey), tmp_path_factory.mktemp("people")) as made:
        yield made


@dataclass
class Person:
    """Somebody's browsers, each with a session of its own."""

    world: People
    browser: Browser
    subject: str

    @contextmanager
    def at(self, device: str, agent: str, *, ago: timedelta = timedelta(), **options: Any) -> Iterator[Page]:
        """A browser in which the person has just signed in. It has nothing to complain of."""
        name = f"{self.subject}-{device}"
        token = self.world.signs_in(self.subject, name, user_agent=agent, ago=ago)
        context = self.browser.new_context(**{"locale": "en-GB"} | options)
        context.set_default_timeout(PATIENCE * 1000)
        context.add_cookies([{"name": COOKIE, "value": token, "url": self.world.url}])
        page = context.new_page()
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        yield page
        context.close()
        # Refusals are what these tests are about.
        assert [one for one in troubles if not re.match(r"Failed to load resource|.*net::ERR", one)] == []

    def is_live(self, device: str) -> bool:
        """Whether the registry takes that session for live."""
        rows = self.world.rows("select ended_at from sessions where session_id = $1", f"{self.subject}-{device}")
        return [row[0] for row in rows] == [None]


@pytest.fixture
def person(world: People, browser: Browser, request: pytest.FixtureRequest) -> Person:
    return Person(world, browser, request.node.name.removeprefix("test_")[:40])


def open_devices(person: Person, page: Page) -> None:
    page.goto(f"{person.world.url}/devices")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^(Your devices|Ihre Geräte)$"))


def follows(page: Page) -> None:
    """Returns once the page is told of what happens to its session."""
    with page.expect_response("**/v1/me/notifications") as told:
        page.reload()
    assert told.value.status == 200


def status_of(page: Page, path: str) -> int:
    """What the page itself gets there."""
    return int(page.evaluate("path => fetch(path).then(answer => answer.status)", path))


def goes_back(page: Page) -> Response | None:
    """By the button, in which nothing of any device may show."""
    answer = page.go_back()
    # Whether it was asked for anew or shown again, and then asked for anew.
    expect(page.locator("body")).not_to_contain_text(re.compile("Firefox|Safari"), use_inner_text=True)
    expect(page.locator(".card")).to_have_count(0)
    return answer


def test_one_browser_signs_the_other_out(person: Person) -> None:
    with person.at("laptop", FIREFOX) as laptop, person.at("phone", SAFARI, locale="de-DE") as phone:
        open_devices(person, laptop)
        open_devices(person, phone)
        follows(phone)
        expect(phone.locator(".current .name")).to_contain_text("Mobile Safari unter iOS")
        assert status_of(phone, "/v1/me/sessions") == 200
        card = laptop.locator(f'[data-session="{person.subject}-phone"]')
        expect(card.locator(".name")).to_have_text(PHONE)

        card.get_by_role("button", name=f"Sign out {PHONE}").click()

        expect(laptop.get_by_role("status")).to_have_text("The device is signed out.")
        expect(laptop.locator(".over .card .reason")).to_have_text(MINE)
        expect(laptop.get_by_text("You are signed in nowhere else.")).to_be_visible()
        # The other one is shown out and told why, without having asked.
        expect(phone.get_by_role("heading", level=1)).to_have_text("Sie wurden abgemeldet")
        expect(phone.get_by_role("heading", level=1)).to_be_focused()
        expect(phone.locator(".why")).to_have_text("Sie haben dieses Gerät von einem anderen aus abgemeldet")
        expect(phone.locator(".card")).to_have_count(0)
        assert phone.title() == "Sie wurden abgemeldet"
        for path in ("/v1/me/sessions", "/v1/me/session", "/v1/me/notifications", "/check/app"):
            assert status_of(phone, path) == 401
        again = phone.goto(f"{person.world.url}/devices/sign-out")
        assert again is not None
        assert again.status == 401
        expect(phone.locator(".why")).to_have_text("Sie haben dieses Gerät von einem anderen aus abgemeldet")
        goes_back(phone)
        expect(phone.get_by_role("link", name="Anmelden")).to_have_attribute("href", person.world.sign_in_page)
        # The one that did it goes on.
        laptop.reload()
        expect(laptop.locator(".current .name")).to_contain_text(LAPTOP)


def test_a_changed_password_shows_out_whoever_looks(person: Person) -> None:
    with person.at("laptop", FIREFOX) as laptop, person.at("phone", SAFARI) as phone:
        for page in (laptop, phone):
            open_devices(person, page)
            follows(page)

        person.world.tell(
            Topic.IDENTITY_EVENTS, "password-changed", person.subject, {"keep": [f"{person.subject}-phone"]}
        )

        expect(laptop.locator(".why")).to_have_text("Your password was changed")
        phone.reload()
        expect(phone.locator(".over .reason")).to_have_text("Your password was changed")


def test_all_others_go_by_the_keyboard(person: Person) -> None:
    others = ("phone", "tablet")
    with person.at("laptop", FIREFOX, color_scheme="dark", viewport={"width": 360, "height": 740}) as laptop:
        for name in others:
            person.world.signs_in(person.subject, f"{person.subject}-{name}", user_agent=SAFARI, ago=timedelta(days=2))
        open_devices(person, laptop)
        assert laptop.evaluate("document.documentElement.scrollWidth") <= 360
        for _ in range(20):
            laptop.keyboard.press("Tab")
            outline = laptop.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", "whoever comes by the keyboard sees where"
            if laptop.evaluate("document.activeElement.innerText") == "Sign out all other devices":
                break

        laptop.keyboard.press("Enter")

        expect(laptop.get_by_role("status")).to_have_text("All other devices are signed out.")
        expect(laptop).to_have_url(f"{person.world.url}/devices?done=others")
        person.world.until(lambda: not any(person.is_live(name) for name in others), "the others to be over")
        assert person.is_live("laptop")
        laptop.reload()
        expect(laptop.locator(".over .card")).to_have_count(2)


def test_signing_out_asks_of_what_and_leaves_nothing_behind(person: Person) -> None:
    with person.at("laptop", FIREFOX) as laptop, person.at("phone", SAFARI) as phone:
        open_devices(person, phone)
        follows(phone)
        open_devices(person, laptop)
        laptop.get_by_role("link", name="Sign out …").click()
        expect(laptop.locator("#question")).to_have_text("Of this device, or of all devices?")

        laptop.get_by_role("button", name="This device").click()

        expect(laptop).to_have_url(person.world.sign_in_page)
        assert laptop.context.cookies() == []
        for _ in range(2):
            goes_back(laptop)
        person.world.until(lambda: not person.is_live("laptop"), "the session to be over")
        assert person.is_live("phone")

        phone.get_by_role("link", name="Sign out …").click()
        phone.get_by_role("button", name="All devices").click()
        expect(phone).to_have_url(person.world.sign_in_page)
        person.world.until(lambda: not person.is_live("phone"), "the session to be over")


@pytest.mark.parametrize("how", ["abort", "refuse"])
def test_one_ends_at_the_sign_in_page_though_the_server_failed(person: Person, how: str) -> None:
    def fail(route: Route) -> None:
        if how == "abort":
            route.abort()
        else:
            route.fulfill(status=503, body="{}")

    with person.at("laptop", FIREFOX) as laptop:
        laptop.goto(f"{person.world.url}/devices/sign-out")
        laptop.route("**/logout", fail)

        laptop.get_by_role("button", name="This device").click()

        expect(laptop).to_have_url(f"{person.world.sign_in_page}?signed-out=failed")
        laptop.unroute("**/logout")
        # Nothing of the page comes back by itself, signed in or not.
        expect(laptop.locator("h1")).to_have_text("Please sign in")


def test_all_of_it_works_without_javascript(person: Person) -> None:
    old = timedelta(days=1)
    with (
        person.at("laptop", FIREFOX, java_script_enabled=False) as laptop,
        person.at("phone", SAFARI, java_script_enabled=False, ago=old) as phone,
        person.at("tablet", SAFARI, java_script_enabled=False, ago=old) as tablet,
    ):
        for page in (phone, tablet, laptop):
            open_devices(person, page)
        laptop.locator(f'[data-session="{person.subject}-phone"]').get_by_role("button").click()
        expect(laptop.get_by_role("status")).to_have_text("The device is signed out.")
        phone.reload()
        expect(phone.get_by_role("heading", level=1)).to_have_text("You have been signed out")
        expect(phone.locator(".why")).to_have_text(MINE)

        # Whoever has just signed in stays; who reports from an old session does not.
        laptop.locator(f'[data-session="{person.subject}-tablet"]').get_by_role("link").click()
        expect(laptop.locator(".steps")).to_contain_text("You stay signed in here")
        laptop.get_by_role("button", name="Report it").click()
        expect(laptop.get_by_role("status")).to_contain_text("Thank you for telling us.")
        tablet.reload()
        expect(tablet.locator(".why")).to_have_text("A security concern was reported")

        laptop.get_by_role("link", name="Sign out …").click()
        laptop.get_by_role("button", name="All devices").click()
        expect(laptop).to_have_url(person.world.sign_in_page)
        assert laptop.context.cookies() == []
        for _ in range(2):
            goes_back(laptop)
            expect(laptop).to_have_url(person.world.sign_in_page)


def test_a_report_from_an_old_session_signs_it_out_and_says_so_before(person: Person) -> None:
    with person.at("laptop", FIREFOX, ago=timedelta(days=1)) as laptop:
        open_devices(person, laptop)
        laptop.get_by_role("link", name="This was not me").click()
        expect(laptop.locator(".steps")).to_contain_text("This device is signed out, too.")

        laptop.get_by_role("button", name="Report it").click()

        expect(laptop.get_by_role("heading", level=1)).to_have_text("You have been signed out")
        expect(laptop.locator(".why")).to_have_text("A security concern was reported")


def test_somebody_elses_device_is_as_good_as_none(person: Person) -> None:
    person.world.signs_in("somebody-else", "somebody-elses")
    with person.at("laptop", FIREFOX) as laptop:
        open_devices(person, laptop)
        texts = []
        for name in ("somebody-elses", "nobodys"):
            answer = laptop.goto(f"{person.world.url}/devices/not-me?session_id={name}")
            assert answer is not None
            assert answer.status == 404
            texts.append(laptop.locator("main").inner_text())
        assert texts[0] == texts[1]
        assert "There is no such device." in texts[0]
        # Not by a form of one's own, either.
        status = "form => fetch('/devices/end', {method: 'POST', body: new URLSearchParams(form)}).then(a => a.status)"
        assert [laptop.evaluate(status, {"session_id": name}) for name in ("somebody-elses", "nobodys")] == [404, 404]
    assert person.world.told("somebody-else") == []


def test_who_is_not_signed_in_is_sent_to_where_one_does(person: Person) -> None:
    context = person.browser.new_context()
    page = context.new_page()
    page.goto(f"{person.world.url}/devices")
    expect(page).to_have_url(person.world.sign_in_page)
    context.close()


def test_a_page_that_was_put_aside_is_not_shown_again(person: Person) -> None:
    with person.at("laptop", FIREFOX) as laptop:
        open_devices(person, laptop)
        # As when it is put aside.
        laptop.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        expect(laptop.locator("body")).to_be_hidden()
        with laptop.expect_navigation():
            laptop.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        expect(laptop.locator(".current")).to_be_visible()


# The client for pages of others

LISTEN: Final = """async () => {
    const {onSessionEnded, dispose} = await import("/static/session.js");
    window.told = [];
    window.dispose = dispose;
    window.one = onSessionEnded((ended) => window.told.push(ended));
}"""


@contextmanager
def a_page(person: Person) -> Iterator[Page]:
    """One that follows nothing by itself."""
    with person.at("laptop", FIREFOX) as page:
        page.goto(f"{person.world.url}/devices/sign-out")
        yield page


def end_session(person: Person) -> None:
    told = {"session_id": f"{person.subject}-laptop"}
    person.world.tell(Topic.IDENTITY_EVENTS, "logged-out", person.subject, told)


def asked(context: BrowserContext, path: str) -> list[str]:
    """The requests for it, as they come."""
    found: list[str] = []
    context.on("request", lambda request: found.append(request.url) if request.url.endswith(path) else None)
    return found


def test_the_client_tells_each_listener_once_by_one_stream(person: Person) -> None:
    with a_page(person) as page:
        with page.expect_response("**/v1/me/notifications"):
            page.evaluate(LISTEN)
        requests = asked(page.context, "/notifications")
        page.evaluate(LISTEN)
        end_session(person)
        page.wait_for_function("() => told.length === 2")
        ended = {"kind": "ended", "cause": "logged-out", "initiator": "user", "reason": "You signed out"}
        assert page.evaluate("told") == [ended, ended]
        # Who listens later is told as well.
        page.evaluate(LISTEN)
        page.wait_for_function("() => told.length === 1")
        assert requests == []


def test_the_client_comes_back_and_hears_what_happened_meanwhile(person: Person) -> None:
    with a_page(person) as page:
        requests = asked(page.context, "/notifications")
        page.context.route("**/v1/me/**", lambda route: route.abort())
        page.evaluate(LISTEN)
        page.wait_for_event("requestfailed", lambda request: request.url.endswith("/v1/me/session"))
        assert page.evaluate("told") == []
        # It is reachable again: it follows, without having been told to.
        with page.expect_response("**/v1/me/notifications"):
            page.context.unroute("**/v1/me/**")
        assert len(requests) == 2
        page.context.route("**/v1/me/notifications", lambda route: route.abort())
        page.evaluate("dispose()")
        page.evaluate(LISTEN)
        end_session(person)

        page.wait_for_function("() => told.length === 1")

        told = page.evaluate("told[0]")
        assert (told["kind"], told["cause"], told["reason"]) == ("ended", "logged-out", "You signed out")


@pytest.mark.parametrize("how", ["one.dispose()", "dispose()"])
def test_the_client_stops_when_told_to(person: Person, how: str) -> None:
    with a_page(person) as page:
        with page.expect_response("**/v1/me/notifications"):
            page.evaluate(LISTEN)
        with page.expect_event("requestfailed", lambda request: request.url.endswith("/notifications")):
            page.evaluate(how)
        requests = asked(page.context, "")
        end_session(person)
        person.world.until(lambda: not person.is_live("laptop"), "the session to be over")
        assert status_of(page, "/v1/me/session") in {200, 401}
        assert page.evaluate("told") == []
        assert [url for url in requests if "notifications" in url] == []
