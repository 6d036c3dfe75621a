"""What the demo prints to be tried over HTTP: pasted as it stands into a shell, with the real curl, and judged by what
comes back.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
from playwright.sync_api import expect

from revoker.api.asking import STATES
from revoker.cli.demo.curl import STEPS
from tests.browser import browser
from tests.demo import PATIENCE, REVOKER, Demo, assert_nothing_left

pytestmark = pytest.mark.timeout(240)
HEADING, END = "The same over HTTP", "The consumers:"


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """One for all: each test has people of its own."""
    folder = Path(tempfile.mkdtemp(prefix="demo-api-")).resolve()
    folder.chmod(0o711)
    with Demo(folder) as one:
        one.until("Everything stays up")
        yield one
        one.interrupt()
        assert one.code() == 0
        assert_nothing_left(folder, 0)
    shutil.rmtree(folder)


def source(demo: Demo) -> str:
    return next(line.strip() for line in demo.lines if line.startswith("  source "))


def printed(demo: Demo) -> list[str]:
    """The commands; what ends in a backslash goes on in the next line."""
    block = demo.text.partition(HEADING)[2].partition(END)[0]
    typed = "\n".join(line for line in block.splitlines() if line.startswith("    "))
    return [line.strip() for line in re.split(r"(?<!\\)\n", typed)]


class Terminal:
    """A shell that a person has open, with something else set up before."""

    MARK = "-- that was it --"

    def __init__(self, demo: Demo) -> None:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(demo.folder), "REVOKER_LOG_LEVEL": "debug"}
        self._shell = subprocess.Popen(
            ["timeout", str(4 * PATIENCE), "bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.communicate(timeout=PATIENCE)

    def paste(self, line: str) -> str:
        """What it prints."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{line}\necho; echo '{self.MARK}'\n")
        self._shell.stdin.flush()
        return "".join(iter(self._shell.stdout.readline, f"{self.MARK}\n")).strip()


def test_the_printed_lines_do_what_is_said_of_them(demo: Demo) -> None:
    assert shutil.which("curl")
    lines = printed(demo)
    assert len(lines) == sum(len(step.lines) for step in STEPS)

    with Terminal(demo) as terminal:
        said = answers(terminal, demo, lines)
        judge_the_first(said)
        # They can be pasted once more: the same events change nothing, and who is out stays out.
        again = answers(terminal, demo, lines)

    assert accepted(again[0]) == 4
    assert '"state":"enforced"' in again[-1]
    assert "401 Unauthorized" in again[-2]
    assert "401 Unauthorized" in again[-1]
    for subject in ("erin", "bob"):
        demo.until(f"session-ended for {subject} after")


def answers(terminal: Terminal, demo: Demo, lines: list[str]) -> list[str]:
    """Of each line that is to print something."""
    terminal.paste(source(demo))
    found = []
    for line in lines:
        said = terminal.paste(line)
        if "=$(revoker demo token " in line:
            assert not said, line
            continue
        assert said, line
        found.append(said)
        if "sign-ins.json" in line:
            # A person is not that fast; a machine is, and this one may be busy.
            deadline = time.monotonic() + PATIENCE
            while terminal.paste("revoker sessions erin --all").count("began") < 4:
                assert time.monotonic() < deadline
    return found


def judge_the_first(said: list[str]) -> None:
    published, listed, one, others, before, refused, out, after, passed, changed = said
    assert accepted(published) == 4
    assert {each["session_id"]: each["current"] for each in json.loads(listed)["sessions"] if each["live"]} == {
        "erin-phone": True,
        "erin-laptop": False,
        "erin-tablet": False,
        "erin-office": False,
    }
    assert json.loads(one)["state"] in STATES
    assert json.loads(others)["state"] in STATES
    assert json.loads(before)["active"] is True
    assert (refused.splitlines()[0], "allow: POST" in refused) == ("HTTP/1.1 405 Method Not Allowed", True)
    # On a machine that is busy, five seconds may be too few for all gateways; the one that is asked here knows.
    assert json.loads(out)["state"] in STATES[1:]
    assert json.loads(after) == {"active": False}
    assert passed.startswith("HTTP/1.1 200 ")
    told, _, checked = changed.partition("HTTP/1.1 ")
    [result] = json.loads(told)["results"]
    assert result["state"] in STATES[1:]
    assert checked.startswith("401 ")
    assert "x-revoker-cause: password-changed" in checked


def accepted(answer: str) -> int:
    return sum(one["status"] == "accepted" for one in json.loads(answer)["results"])


def test_the_link_signs_in_once_and_the_cookie_reaches_the_api(demo: Demo) -> None:
    found = re.search(r"(http://127\.0\.0\.1:\d+)/sign-in\?code=\S+", demo.text)
    assert found is not None, demo.text
    with httpx.Client(timeout=PATIENCE, follow_redirects=True) as visitor:
        page = visitor.get(found[0])
        assert (page.status_code, page.url.path) == (200, "/devices"), page.text
        api = f"http://127.0.0.1:{page.url.port}"
        assert "alice-phone" in page.text
        checked = visitor.get(f"{api}/check")
        assert checked.status_code == 200
        assert checked.headers["x-revoker-session"].startswith("alice-browser-")

        assert visitor.get(found[0]).status_code == 410


def test_a_person_shows_another_browser_out(demo: Demo) -> None:
    """The whole way in Chromium: its own idea of cookies, redirects and policies is what counts."""
    found = re.search(r"as whom you like: (http://\S+)", demo.text)
    assert found is not None
    expect.set_options(timeout=PATIENCE * 1000)
    with browser() as chromium:
        pages = [chromium.new_context().new_page() for _ in range(2)]
        for page, device in zip(pages, ("This browser, as it is", "A tablet"), strict=True):
            page.goto(found[1])
            page.get_by_role("radio", name="dave").check()
            page.get_by_label("On which device?").select_option(device)
            page.get_by_role("button", name="Sign in").click()
            expect(page).to_have_url(re.compile(r"/devices$"))
        first, second = pages

        card = second.locator("[data-session^=dave-browser-]")
        card.get_by_role("button", name="Sign out").click()
        expect(second.locator("[data-session^=dave-tablet-].current")).to_be_visible()
        expect(first.get_by_role("heading", name="You have been signed out")).to_be_visible()
        first.reload()
        expect(first.locator("[data-session]")).to_have_count(0)

        second.get_by_role("link", name=re.compile("^Sign out")).click()
        second.get_by_role("button", name=re.compile("this device", re.IGNORECASE)).click()
        expect(second.locator(".notice")).to_have_text("You are signed out.")
        assert not [one for one in second.context.cookies() if "session" in one.get("name", "")]


def test_without_a_demo_the_token_command_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [REVOKER, "demo", "token", "alice"],
        env={"REVOKER_CONFIG": str(tmp_path / "revoker.toml"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith(f"revoker: no demo runs in {tmp_path}: start `revoker demo`")
