"""A real Keycloak: its distribution, fetched once and checked, on the Java that comes with the embedded Kafka.

It keeps everything in memory. The first start of a distribution builds it for its options, once.
"""

import asyncio
import hashlib
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx

from revoker.embedded import install, wheels
from revoker.embedded.child import Launch, run_to_end
from revoker.embedded.place import Place, locked_file
from revoker.embedded.server import EmbeddedServer

VERSION: Final = "26.7.0"
_SHA256: Final = "e63bd0167199c0092b8a4d22cc137e6b7a70e0089070f6f7799b1be504b69a8a"
_FETCH: Final = Path(__file__).with_name("fetch.py")
ADMIN: Final = "admin"
PASSWORD: Final = "only-for-this-test"


class EmbeddedKeycloak(EmbeddedServer):
    """Keycloak 26.7 in development mode, on 127.0.0.1 only."""

    name: ClassVar[str] = "keycloak"
    title: ClassVar[str] = "Keycloak"
    port_count: ClassVar[int] = 2

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"start_seconds": 240.0} | given)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _install(self) -> None:
        home = _home()
        home.parent.mkdir(parents=True, exist_ok=True)
        async with locked_file(home.with_name("keycloak.lock"), lambda: self._report("waiting for another fetch")):
            if not home.exists():
                self._report(f"fetching Keycloak {VERSION}, once: 170 MB")
                await _fetch(home)

    async def _prepare(self, place: Place) -> None:
        # What it builds at its first start lies in its own folder, which others may be using.
        await asyncio.to_thread(shutil.copytree, _home(), place.directory / "home", symlinks=True)

    def _command(self, place: Place, ports: tuple[int, ...]) -> Launch:
        port, management = ports
        options = (
            "--db=dev-mem",
            "--cache=local",
            "--http-host=127.0.0.1",
            f"--http-port={port}",
            f"--http-management-port={management}",
        )
        launch = self._launch_of(place, ("/bin/bash", "home/bin/kc.sh", "start-dev", *options))
        return replace(
            launch,
            environment={
                **(launch.environment or {}),
                "JAVA_HOME": str(wheels.java().parents[1]),
                "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true",
                "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
                "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
            },
        )

    async def _answers(self) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{self.url}/realms/master", timeout=5)).is_success
            except httpx.HTTPError:
                return False


def _home() -> Path:
    return install.cache_folder() / f"keycloak-{VERSION}-{_SHA256[:12]}"


async def _fetch(home: Path) -> None:
    draft = home.with_name("keycloak.draft")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "repository").mkdir(parents=True)
    try:
        await run_to_end(
            Launch(
                command=(
                    sys.executable,
                    "-P",
                    str(Path(__file__).with_name("fetch.py")),
                    str(draft / "repository"),
                    VERSION,
                ),
                directory=draft,
                log=draft / "fetch.log",
                remove=draft,
            ),
            "the download of Keycloak",
        )
        await asyncio.to_thread(_unpack, draft)
        (draft / f"keycloak-{VERSION}").rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack(draft: Path) -> None:
    (archive,) = draft.glob("repository/**/*.zip")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _SHA256:
        raise AssertionError(f"{archive.name} is not the pinned one but {found}")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(draft)
