"""The pages without a service: every sentence in every language, colours that can be read, what a browser may do."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from revoker.api import devices
from revoker.api.devices import Ended, Shown
from revoker.api.languages import ENGLISH, LOCALES, Languages, Told, languages
from revoker.api.me import cursor_of, position
from revoker.api.pages.devices import Notice, with_query
from revoker.api.pages.rendering import FOLDER, Rendering, kind_of
from revoker.api.problems import ProblemError
from revoker.core.policy import DEFAULT_RULES
from revoker.core.verdicts import ENDED, HELD
from revoker.settings import LogoutSettings
from revoker.storage.devices import Place

NOW: Final = datetime.now(UTC)
OTHERS: Final = tuple(path.stem for path in sorted(LOCALES.glob("*.po")))
CSS: Final = (FOLDER / "static" / "pages.css").read_text()
HOSTILE: Final = '"><script>alert(1)</script>'


# Languages


def sentences() -> set[str]:
    """All that a person may read, in English."""
    by_folder = ((FOLDER / "templates", "**.html", "jinja2"), (FOLDER, "**.py", "python"))
    found = {
        str(message)
        for folder, pattern, method in by_folder
        for _, _, message, _, _ in extract_from_dir(folder, [(pattern, method)])
    }
    found |= {
        str(message)
        for name, _, message, _, _ in extract_from_dir(FOLDER.parent, [("**.py", "python")])
        if name in {"languages.py", "devices.py"}
    }
    reasons = {rule.reason_user["en"] for rule in DEFAULT_RULES.values()}
    return found | reasons | {ENDED.text, HELD.text, devices.FROM_ELSEWHERE}


@pytest.mark.parametrize("code", OTHERS)
def test_every_sentence_is_translated_and_none_is_left_over(code: str) -> None:
    with (LOCALES / f"{code}.po").open("rb") as file:
        catalogue = read_po(file)
    messages = {str(message.id): message for message in catalogue if message.id}

    assert messages.keys() == sentences()
    for text, message in messages.items():
        assert message.string, text
        assert not message.fuzzy, text
        assert re.findall(r"%\(\w+\)s", str(message.string)) == re.findall(r"%\(\w+\)s", text)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "en"),
        ("de", "de"),
        ("de-AT, en;q=0.5", "de"),
        ("fr, en;q=0.8, de;q=0.9", "de"),
        ("en-GB, de", "en"),
        ("de;q=0, en", "en"),
        ("xx", "en"),
        ("../../etc/passwd", "en"),
        ("*", "en"),
    ],
)
def test_the_language_is_the_best_of_those_asked_for(header: str | None, code: str) -> None:
    assert languages().best(header).code == code


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ({"en": "Your password was changed", "de-AT": "Passwort neu"}, Told("Passwort neu", "de")),
        ({"en": "Your password was changed"}, Told("Ihr Passwort wurde geändert", "de")),
        ({"en": "Call us"}, Told("Call us", "en")),
        ({"fr": "Appelez-nous"}, Told("Appelez-nous", "fr")),
        ({}, Told("Sie haben sich abgemeldet", "de")),
    ],
)
def test_a_reason_is_in_the_best_language_that_there_is(reasons: dict[str, str], told: Told) -> None:
    assert languages().best("de-CH, fr;q=0.5").reason(reasons, "You signed out") == told


def test_a_reason_may_be_in_a_language_that_the_pages_lack() -> None:
    reasons = {"en": "You signed out", "fr": "Au revoir"}

    assert languages().best("fr, de;q=0.5").reason(reasons, "") == Told("Au revoir", "fr")
    assert languages().best("fr, de;q=0.5").code == "de"
    assert languages().best("it").reason(reasons, "") == Told("You signed out", "en")


def test_times_are_told_as_people_do() -> None:
    english, german = (languages().all[code] for code in ("en", "de"))

    assert english.ago(NOW - timedelta(hours=3), NOW) == "3 hours ago"
    assert german.ago(NOW - timedelta(days=3), NOW) == "vor 3 Tagen"
    # A clock that is ahead of ours makes nobody come from the future.
    assert english.ago(NOW + timedelta(hours=1), NOW) == "1 second ago"
    assert german.device("Firefox on Linux") == "Firefox unter Linux"


# What is rendered


def shown(session_id: str = "s-1", **given: Any) -> Shown:
    values: dict[str, Any] = {
        "session_id": session_id,
        "name": "Firefox on Linux",
        "established_at": NOW - timedelta(days=1),
        "seen_at": NOW,
        "place": None,
        "clients": (),
        "current": False,
        "live": True,
        "ended": None,
    }
    return Shown(**values | given)


def over(reason: str) -> Ended:
    return Ended(at=NOW, cause="x", initiator="user", reason=Told(reason, "xx"), revocation_id="r")


def render(code: str, name: str, **values: Any) -> str:
    made = Languages()
    return bytes(Rendering(made, LogoutSettings()).page(made.all[code], name, **values).body).decode()


def page_of_devices(code: str) -> str:
    return render(
        code,
        "devices.html",
        own=shown(current=True),
        others=[shown(HOSTILE, name=HOSTILE)],
        ended=[shown("s-3", live=False, ended=over(HOSTILE))],
        more=HOSTILE,
        paged=False,
        notice=Notice("done", "Done"),
    )


PAGES: Final[dict[str, Callable[[str], str]]] = {
    "devices": page_of_devices,
    "sign-out": lambda code: render(code, "sign-out.html", left="/", failed="/?a", anew="/?b"),
    "not-me": lambda code: render(code, "not-me.html", about=shown(name=HOSTILE), keeps=False),
}


@pytest.mark.parametrize(("name", "code"), tuple(product(PAGES, (ENGLISH, *OTHERS))))
def test_a_page_can_be_used_without_seeing_it(name: str, code: str) -> None:
    html = PAGES[name](code)
    ids = re.findall(r'\bid="([^"]*)"', html)

    assert f'<html lang="{code}">' in html
    assert len(re.findall(r"<main\b", html)) == 1
    assert len(re.findall(r"<h1\b", html.partition("<template")[0])) == 1
    assert re.search(r"<title>[^<]+</title>", html)
    assert len(set(ids)) == len(ids)
    referred = re.findall(r'aria-(?:labelledby|describedby)="([^"]*)"', html)
    assert set(referred) <= set(ids)
    levels = [1, *(int(level) for level in re.findall(r"<h([1-6])\b", html.partition("<template")[0]))]
    assert all(below <= above + 1 for above, below in pairwise(levels))
    for button in re.findall(r"<(?:button|a)\b[^>]*>.*?</(?:button|a)>", html, re.DOTALL):
        assert re.sub(r"<[^>]*>", "", button).strip()
    # Of several that read the same each says whose it is.
    assert len(re.findall(r"<button>", html)) == len(set(re.findall(r"<button>([^<]*)<", html)))


@pytest.mark.parametrize("name", PAGES)
def test_nothing_that_came_from_outside_is_markup(name: str) -> None:
    html = PAGES[name]("en")

    assert "<script>" not in html
    assert not re.search(r"\bon[a-z]+=|\bstyle=|javascript:", html)


def test_the_policy_lets_only_our_own_files_in_and_forms_out_to_where_one_may_land() -> None:
    made = Languages()
    logout = LogoutSettings(sign_in="https://login.example/in?x=1", redirects=("/devices", "https://app.example/*"))
    headers = Rendering(made, logout).page(made.all["en"], "sign-out.html", left="/", failed="/", anew="/").headers
    policy = dict(part.partition(" ")[::2] for part in headers["content-security-policy"].split("; "))

    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert {policy["base-uri"], policy["frame-ancestors"]} == {"'none'"}
    assert policy["form-action"] == "'self' https://login.example https://app.example"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("device", "kind"),
    [("Firefox on Linux", "computer"), ("Mobile Safari on iOS", "phone"), ("Chrome on Mac OS X", "computer")],
)
def test_a_device_looks_like_what_it_is(device: str, kind: str) -> None:
    assert kind_of(device) == kind
    assert kind_of("Something else") == "unknown"


def test_a_query_is_added_to_any_place() -> None:
    assert with_query("/in", "a=1") == "/in?a=1"
    assert with_query("https://login.example/in?x=2", "a=1") == "https://login.example/in?x=2&a=1"


# What is sent to browsers


def test_the_client_for_pages_of_others_is_small() -> None:
    assert len((FOLDER / "static" / "session.js").read_bytes()) <= 2_048


def test_pages_load_nothing_from_elsewhere() -> None:
    for path in (FOLDER / "static").iterdir():
        links = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", path.read_text())
        assert [link for link in links if "www.w3.org" not in link] == [], path


def palette(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{([^}]*)\}", CSS)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return colours if scheme == "light" else colours | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 has it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_and_edge_can_be_seen(scheme: str) -> None:
    colours = palette(scheme)
    grounds = ("ground", "paper", "press", "mine-ground", "alarm-ground")
    texts = [("ink", ground) for ground in grounds]
    texts += [(ink, ground) for ink in ("soft", "mine", "alarm") for ground in ("ground", "paper")]
    texts += [("soft", "press"), ("mine", "mine-ground"), ("alarm", "alarm-ground"), ("on-mine", "mine")]
    edges = [(edge, ground) for edge in ("field", "focus", "mine", "alarm") for ground in ("ground", "paper")]

    for ink, ground in texts:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for edge, ground in edges:
        assert contrast(colours[edge], colours[ground]) >= 3, (edge, ground)


def test_every_colour_has_a_name() -> None:
    rules = re.sub(r":root \{[^}]*\}", "", CSS)

    assert not re.search(r"#[0-9a-f]{3,8}\b|rgb|hsl", rules)
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) == palette("light").keys()


# Cursors


def test_a_cursor_says_where_the_list_goes_on() -> None:
    place = Place(live=False, at=NOW, session_id="s-é")

    assert position(cursor_of(place)) == place
    assert position(None) is None
    assert cursor_of(None) is None


@pytest.mark.parametrize("text", ["", "x", "bnVsbA", "W10", "é", "WzEsMiwzXQ", "=" * 9, "A" * 1_999])
def test_a_cursor_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ProblemError):
        position(text)


def test_the_static_files_are_what_they_are_called() -> None:
    assert {path.suffix for path in (FOLDER / "static").iterdir()} == {".js", ".css", ".svg"}
    assert Path(FOLDER / "static" / "session.js").read_text().startswith("// ")
