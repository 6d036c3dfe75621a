"""The recipes of docs/recipes, in the real programs: who passes, who does not, and what is cut."""

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from revoker.gateway.testing import ended, held, lifted
from tests.integration.proxied import RECIPES, Scene, scene
from tests.processes import PATIENCE, eventually
from tests.programs import find, on_path

Proxy = Callable[[Scene], AbstractAsyncContextManager[Scene]]


def nginx(scene: Scene) -> AbstractAsyncContextManager[Scene]:
    (scene.folder / "logs").mkdir()
    log, folder = scene.folder / "error.log", scene.folder
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    recipe = scene.recipe("nginx.conf")
    text = recipe.read_text().replace(
        "http {\n", f"http {{\n    access_log off; client_body_temp_path {folder}/body; {temporary}\n", 1
    )
    recipe.write_text(text)
    globals_ = f"daemon off; master_process off; pid {folder}/pid; error_log {log} warn;"
    return scene.behind(find("nginx"), "-p", folder, "-e", log, "-c", recipe, "-g", globals_)


def caddy(scene: Scene) -> AbstractAsyncContextManager[Scene]:
    recipe = scene.recipe("Caddyfile")
    return scene.behind(find("caddy"), "run", "--config", recipe, "--adapter", "caddyfile")


def haproxy(scene: Scene) -> AbstractAsyncContextManager[Scene]:
    (scene.folder / "open.map").touch()
    scene.recipe("haproxy.lua")
    places = {"etc_haproxy": scene.folder, "run_haproxy": scene.folder}
    return scene.behind(find("haproxy"), "-db", "-f", scene.recipe("haproxy.cfg", **places))


def envoy(scene: Scene) -> AbstractAsyncContextManager[Scene]:
    recipe = scene.recipe("envoy.yaml")
    options = ("--concurrency", 1, "--log-level", "warning", "--disable-hot-restart")
    return scene.behind(find("envoy"), "-c", recipe, *options)


@asynccontextmanager
async def traefik(scene: Scene) -> AsyncIterator[Scene]:
    options = (
        f"--providers.file.filename={scene.recipe('traefik.yaml')}",
        f"--entryPoints.web.address=127.0.0.1:{scene.ports['proxy']}",
        "--global.checkNewVersion=false",
    )
    async with scene.behind(on_path("traefik"), *options):

        async def has_read_it() -> bool:
            return (await scene.ask(None)).status_code != 404

        # It listens before it has read its file.
        await eventually(has_read_it, "Traefik to read its file")
        yield scene


ALL = (nginx, caddy, haproxy, envoy, traefik)
ALIASES = ("X_Revoker_Subject", "X.Revoker.Subject", "x-revoker_subject", "X_REVOKER-SESSION")
"""What an application hears by the names of ours where headers become variables."""
CANNOT_CUT = (nginx, caddy, traefik)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


@pytest.mark.parametrize("proxy", ALL)
async def test_who_passes_and_who_does_not(stage: Scene, proxy: Proxy) -> None:
    async with proxy(stage):
        token = stage.issuer.token(sid="s-1")
        spoofed = {"X-Revoker-Subject": "root", "x-revoker-session": "s-root"} | dict.fromkeys(ALIASES, "root")

        passed = await stage.ask(token, headers=spoofed)
        posted = await stage.ask(token, method="POST", content=b"x" * 100_000)
        nobody = await stage.ask(None, headers=spoofed)
        await stage.gateway.feed(held("alice"))
        on_hold = await stage.ask(token)
        await stage.gateway.feed(lifted(), ended("bob", sessions=["s-2"]))
        again = await stage.ask(token)
        over = await stage.ask(stage.issuer.token(sub="bob", sid="s-2"))
        other = await stage.ask(stage.issuer.token(sid="s-9", aud="https://other.example"))

    assert passed.status_code == 200
    told = passed.json()
    assert (told["path"], told["query"]) == ("/orders/7", "x=1")
    assert (told["headers"]["x-revoker-subject"], told["headers"]["x-revoker-session"]) == ("alice", "s-1")
    assert proxy is traefik or told["headers"].keys().isdisjoint(map(str.lower, ALIASES))
    assert (posted.status_code, len(posted.json()["body"])) == (200, 100_000)
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (on_hold.status_code, on_hold.headers["X-Revoker-Cause"]) == (403, "held")
    assert again.status_code == 200
    assert (over.status_code, over.headers["X-Revoker-Cause"]) == (401, "password-changed")
    assert over.headers["WWW-Authenticate"].endswith('error_description="password-changed"')
    assert over.headers["Cache-Control"] == "no-store"
    assert other.status_code == 401


@pytest.mark.parametrize("proxy", ALL)
async def test_nobody_passes_while_nobody_can_tell(tmp_path: Path, proxy: Proxy) -> None:
    async with scene(tmp_path, mode="strict") as stage, proxy(stage):
        token = stage.issuer.token(sid="s-1")
        await stage.gateway.ready(30)
        assert (await stage.ask(token)).status_code == 200

        stage.gateway.lose_feed()
        stale = await stage.ask(token)
        await stage.check.aclose()
        away = await stage.ask(token)

    assert stale.status_code == 503
    # By its source, Traefik says 500.
    assert away.status_code in ({500} if proxy is traefik else {502, 503})


@pytest.mark.parametrize("proxy", ALL)
async def test_a_websocket_is_asked_about_when_it_opens(stage: Scene, proxy: Proxy) -> None:
    async with proxy(stage), cutting(stage, proxy):
        token = stage.issuer.token(sid="s-1")
        async with stage.socket(token) as socket:
            assert await socket.recv() == "alice"
            await socket.send("hello")
            assert await socket.recv() == "hello"
        await stage.gateway.feed(ended("alice", sessions=["s-1"]))

        with pytest.raises(websockets.InvalidStatus) as refused:
            await stage.socket(token)

    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("proxy", CANNOT_CUT)
async def test_what_is_open_stays_open_where_the_recipe_says_so(stage: Scene, proxy: Proxy) -> None:
    async with proxy(stage), stage.socket(stage.issuer.token(sid="s-1")) as socket:
        await socket.recv()
        await stage.gateway.feed(ended("alice", sessions=["s-1"]))
        await socket.send("still there")
        assert await socket.recv() == "still there"


@pytest.mark.parametrize("proxy", [haproxy, envoy])
async def test_what_is_open_is_cut(stage: Scene, proxy: Proxy, record_property: Callable[[str, object], None]) -> None:
    async with proxy(stage), cutting(stage, proxy) as look:
        alice, bob = stage.issuer.token(sid="s-1"), stage.issuer.token(sub="bob", sid="s-2")
        async with stage.socket(alice) as dead, stage.socket(alice) as dead_too, stage.socket(bob) as live:
            for socket in (dead, dead_too, live):
                await socket.recv()
            await look()
            began = time.perf_counter()
            await stage.gateway.feed(ended("alice", sessions=["s-1"]))
            for socket in (dead, dead_too):
                async with asyncio.timeout(PATIENCE):
                    with pytest.raises(websockets.ConnectionClosed):
                        await socket.recv()
            took = time.perf_counter() - began
            await live.send("still there")
            assert await live.recv() == "still there"
            await stage.gateway.feed(held("bob"))
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(websockets.ConnectionClosed):
                    await live.recv()
    record_property("milliseconds", round(took * 1000, 1))


@pytest.mark.parametrize("proxy", [haproxy, envoy])
async def test_a_stream_of_events_is_cut(stage: Scene, proxy: Proxy) -> None:
    async with proxy(stage), cutting(stage, proxy) as look, httpx.AsyncClient(timeout=PATIENCE) as client:
        headers = {"Authorization": f"Bearer {stage.issuer.token(sid='s-1')}", "Accept": "text/event-stream"}
        async with client.stream("GET", f"http://{stage.proxy}/live/events", headers=headers) as response:
            lines = response.aiter_lines()
            assert await anext(lines) == 'data: "tick"'
            await look()
            await stage.gateway.feed(ended("alice", sessions=["s-1"]))
            async with asyncio.timeout(PATIENCE):
                # A proxy cannot end a chunked body in good order on somebody else's behalf.
                with suppress(httpx.RemoteProtocolError):
                    async for _ in lines:
                        pass


@asynccontextmanager
async def cutting(stage: Scene, proxy: Proxy) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """With the cutter that the recipe names. Gives what makes it look at what is open."""

    async def nothing() -> None:
        pass

    if proxy is envoy:
        async with recipe("envoy_cutter").serving(stage.gateway, f"127.0.0.1:{stage.ports['cutter']}"):
            yield nothing
    elif proxy is haproxy:
        folder = stage.folder
        yield (
            recipe("haproxy_cutter").Cutter(stage.gateway, str(folder / "revoker.sock"), str(folder / "open.map")).look
        )
    else:
        yield nothing


def recipe(name: str) -> Any:
    """The program of that name, as a module."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
