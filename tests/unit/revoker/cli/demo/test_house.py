"""What the demo writes down, and how it notices that a part of it has died, without any server."""

import asyncio
import json
import os
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.responses import PlainTextResponse

from revoker.cli.demo import configuration
from revoker.cli.demo.house import House
from revoker.cli.demo.issuer import ADDRESS_FILE, asking
from revoker.cli.demo.page import Page
from revoker.cli.demo.play import _Performance
from revoker.cli.demo.served import served, why_ended
from revoker.cli.demo.stage import Stage
from revoker.cli.demo.telling import Teller
from revoker.cli.running import Exit
from revoker.embedded import EmbeddedServers
from revoker.embedded.ports import free_ports
from revoker.errors import ConfigurationError, UnavailableError
from revoker.settings import Settings

SERVERS = cast(
    "EmbeddedServers",
    SimpleNamespace(
        kafka_bootstrap_servers="127.0.0.1:9",
        database_url='postgresql://demo:a"b\\c@127.0.0.1:5/x',
        redis_url="redis://:secret@127.0.0.1:6/0",
    ),
)


def settings() -> Settings:
    return configuration.settings_for(SERVERS, admin_port=7, port=8, issuer="http://127.0.0.1:9")


# What is written down


def test_the_processes_read_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "revoker.toml").write_text("whatever lay here, and could be read by all")
    (tmp_path / "revoker.toml").chmod(0o644)
    for name in list(os.environ):
        if name.startswith("REVOKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REVOKER_CONFIG", str(tmp_path / "revoker.toml"))

    configuration.write(settings(), tmp_path)

    assert Settings() == Settings.model_construct(**settings().__dict__)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("folder", ["plain", 'it\'s a "$folder"'])
def test_a_terminal_that_sources_env_speaks_to_the_demo_alone(tmp_path: Path, folder: str, shell: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    configuration.write(settings(), place)
    hostile = {"REVOKER_DATABASE_URL": "postgresql://elsewhere", "no_proxy": "intranet", "PATH": os.environ["PATH"]}

    said = subprocess.run(
        [shell, "-c", '. "$1/env"; env', shell, str(place)],
        check=True,
        capture_output=True,
        text=True,
        env=hostile,
    ).stdout
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    assert {name: told[name] for name in told if name.startswith("REVOKER_")} == {
        "REVOKER_CONFIG": f"{place}/revoker.toml"
    }
    assert (told["API"], told["DEMO"], told["no_proxy"]) == ("http://127.0.0.1:8", str(place), "127.0.0.1,intranet")


# `revoker demo token` without a demo


def test_without_a_demo_there_is_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVOKER_CONFIG", raising=False)
    with pytest.raises(ConfigurationError, match="start `revoker demo`"):
        asking.token({"subject": "alice"})

    monkeypatch.setenv("REVOKER_CONFIG", str(tmp_path / "revoker.toml"))
    with pytest.raises(UnavailableError, match=f"no demo runs in {tmp_path}"):
        asking.token({"subject": "alice"})

    # It was killed, and its folder is kept.
    (tmp_path / ADDRESS_FILE).write_text(json.dumps({"url": f"http://127.0.0.1:{free_ports(1)[0]}/t", "secret": "s"}))
    with pytest.raises(UnavailableError, match="does not answer"):
        asking.token({"subject": "alice"})


async def test_a_stranger_on_the_port_of_a_demo_that_is_gone_is_no_issuer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVOKER_CONFIG", str(tmp_path / "revoker.toml"))
    (port,) = free_ports(1)
    (tmp_path / ADDRESS_FILE).write_text(json.dumps({"url": f"http://127.0.0.1:{port}/tokens", "secret": "s"}))

    async with served(PlainTextResponse("no", 404), port, "a stranger"):
        with pytest.raises(UnavailableError, match="answers 404"):
            await asyncio.to_thread(asking.token, {"subject": "alice"})


# What dies is noticed


async def test_a_server_that_ends_by_itself_is_noticed() -> None:
    (port,) = free_ports(1)
    async with served(PlainTextResponse("here"), port, "the page") as server:
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "here"
        assert server.why_broken() is None

        server.task.cancel()
        await asyncio.wait([server.task])
        assert server.why_broken() == "the page ended"


async def test_a_task_that_fails_says_why() -> None:
    async def fails() -> None:
        raise OSError("no route")

    task = asyncio.create_task(fails())
    assert why_ended(task, "the news") is None
    await asyncio.wait([task])
    assert why_ended(task, "the news") == "the news ended: OSError: no route"


@pytest.mark.parametrize("part", ["place", "page"])
async def test_the_demo_ends_when_a_part_of_it_has_ended(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def why(name: str) -> str | None:
        return f"the {name} ended" if name == part else None

    async def nothing() -> None:
        await asyncio.sleep(0)

    names = {name: name for name in ("alice", "bob", "carol", "dave", "erin")}
    issuer: Any = SimpleNamespace(link=lambda subject: f"link of {subject}", sign_in="sign in")
    place = House(
        settings=settings(),
        folder=tmp_path,
        registry=cast("Any", None),
        issuer=issuer,
        names=names,
        until_api_answers=nothing,
        why_broken=lambda: why("place"),
    )
    shown = Page(cast("Any", None), 1, lambda: why("page"))
    stage = cast("Stage", SimpleNamespace(arrival=nothing))

    assert await _Performance(place, stage, shown, Teller()).stay() == Exit.FAILED

    assert capsys.readouterr().err == f"revoker: the {part} ended\n"
