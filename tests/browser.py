"""Chromium for tests of pages: the one of this machine, or Debian's, installed where we are root; else a skip.

Never a download of playwright's own. Its package cannot be unpacked beside the tests as others are (tests/programs.py):
a browser looks for its parts where its distribution has put them.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_SECONDS: Final = 300


@contextmanager
def browser(*, shows_again: bool = False) -> Iterator[Browser]:
    """A Chromium without a window. `shows_again`: with its cache of pages for the way back, as people have it."""
    path = _path()
    # Its sandbox wants more than a container or root grants, and it sees no page but ours.
    words = ["--no-sandbox", "--disable-dev-shm-usage"]
    without = ["--disable-back-forward-cache"] if shows_again else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=words, ignore_default_args=without)
        try:
            yield started
        finally:
            started.close()


@cache
def _path() -> Path:
    found = _installed()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _installed()
    if found is None:
        pytest.skip("Chromium is not installed, and could not be (on Debian: apt-get install chromium)")
    return found


def _installed() -> Path | None:
    return next((Path(path) for name in _NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        command = ["apt-get", "-q", *words]
        try:
            subprocess.run(command, check=True, capture_output=True, env=environment, timeout=_INSTALL_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return
