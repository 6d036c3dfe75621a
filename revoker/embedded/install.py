"""Kafka's jars in the user's cache folder: fetched once, checked on every start.

`REVOKER_CACHE_DIR` moves the folder (default ~/.cache/revoker). A download goes to a draft folder and is renamed when
it is complete and has been checked, under a file lock: two programs that start at once fetch once, and what an
interrupted download leaves is removed by the next.
"""

import asyncio
import os
import shutil
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from revoker.embedded import jars, wheels
from revoker.embedded.child import Launch, run_to_end
from revoker.embedded.errors import KafkaUnavailableError, ServerFailedError
from revoker.embedded.place import locked_file
from revoker.embedded.server import Progress

_FETCH = Path(__file__).with_name("fetch.py")
# After each failed download; the last one is the end.
PAUSES_SECONDS = (1.0, 3.0, 9.0, 0.0)


def cache_folder() -> Path:
    named = os.environ.get("REVOKER_CACHE_DIR")
    return Path(named).expanduser().resolve() if named else Path.home() / ".cache" / "revoker"


def kafka_folder() -> Path:
    return cache_folder() / f"kafka-{jars.VERSION}-{jars.fingerprint()}"


async def ensure_jars(report: Progress) -> tuple[Path, ...]:
    """The class path."""
    home = kafka_folder()
    try:
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            async with locked(report):
                if not home.exists():
                    await _fetch(home, report)
        return await asyncio.to_thread(jars.require_pinned, home / "jars")
    except OSError as error:
        raise KafkaUnavailableError(f"cannot use the Kafka cache {home}: {error}") from error


def locked(report: Progress) -> AbstractAsyncContextManager[None]:
    return locked_file(cache_folder() / "kafka.lock", lambda: report("waiting for another program to fetch Kafka"))


async def _fetch(home: Path, report: Progress) -> None:
    wheels.require("jgo", "jgo")
    draft = home.with_name("kafka.draft")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "home" / "jars").mkdir(parents=True)
    (draft / "repository").mkdir()
    try:
        await _download_with_retries(draft, report)
        for jar in _downloaded(draft):
            jar.rename(draft / "home" / "jars" / jar.name)
        await asyncio.to_thread(jars.require_pinned, draft / "home" / "jars")
        (draft / "home").rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


async def _download_with_retries(draft: Path, report: Progress) -> None:
    for pause in PAUSES_SECONDS:
        try:
            await _download_with_progress(draft, report)
        except ServerFailedError as error:
            if pause == PAUSES_SECONDS[-1]:
                reason = str(error).splitlines()[-1]
                raise KafkaUnavailableError(f"the jars of Kafka {jars.VERSION} cannot be fetched: {reason}") from error
            report(f"fetching Kafka failed, trying again in {pause:g} s")
        else:
            return
        # The resolver takes a half-written file for a whole one.
        _keep_good_jars(draft / "repository")
        await asyncio.sleep(pause)


async def _download_with_progress(draft: Path, report: Progress) -> None:
    report(f"fetching Kafka {jars.VERSION}, once: reading what it needs")
    download, seen = asyncio.create_task(_download(draft)), 0
    try:
        while not (await asyncio.wait({download}, timeout=0.5))[0]:
            if (count := len(_downloaded(draft))) != seen:
                seen = count
                report(f"fetching Kafka {jars.VERSION}: {count} of {len(jars.pins())} jars")
    finally:
        download.cancel()
        await asyncio.wait({download})
    download.result()


async def _download(draft: Path) -> None:
    words = [word for coordinate in jars.COORDINATES for word in coordinate]
    repository = draft / "repository"
    await run_to_end(
        Launch(
            # -P keeps this folder, with its module names, off the path; the environment may name a proxy.
            command=(sys.executable, "-P", str(_FETCH), str(repository), *words),
            directory=draft,
            log=draft / "fetch.log",
            grace_seconds=1,
            remove=draft,
        ),
        "the download",
    )


def _downloaded(draft: Path) -> list[Path]:
    return sorted((draft / "repository").rglob("*.jar"))


def _keep_good_jars(repository: Path) -> None:
    for file in repository.rglob("*"):
        if file.is_file() and not (file.suffix == ".jar" and jars.matches(file)):
            file.unlink()
