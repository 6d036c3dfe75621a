"""Enforced is proven: a gateway that was killed keeps a revocation waiting until it is back, fenced or retired."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import Topic
from tests.faults.history import Service
from tests.faults.load import Sent
from tests.integration.cli_worker import run
from tests.processes import Process, environment, eventually, spawned

PATIENT = {"REVOKER_GATEWAYS__SILENT_AFTER": "PT6S"}


def event(type_: str, **data: Any) -> bytes:
    envelope = {"specversion": "1.0", "type": type_, "source": "login", "id": type_, "subject": "alice"}
    return json.dumps(envelope | {"data": data}).encode()


@pytest.mark.timeout(240)
async def test_a_killed_gateway_is_named_until_it_is_back_fenced_or_retired(service: Service, tmp_path: Path) -> None:
    env = environment(service.settings, **PATIENT)

    def gateway(name: str, instance: str, mode: str = "best_effort") -> Process:
        log = tmp_path / f"{name}-{instance}-{len(service.processes)}.log"
        words = (sys.executable, "-m", "tests.acceptance.gateway_child", name, instance, mode)
        service.processes.append(spawned(log, env, *words))
        return service.processes[-1]

    async def revoker(*words: str) -> Any:
        return (await run(env, *words, "--json")).json

    async def until(is_so: Callable[[Any], bool], *words: str) -> Any:
        seen: list[Any] = []

        async def said() -> Any:
            seen[:] = [await revoker(*words)]
            return seen[0] if is_so(seen[0]) else None

        return await eventually(said, lambda: json.dumps(seen, indent=1)[:6000])

    consumers = service.run(env=PATIENT)
    await consumers.until("service-started")
    alive = gateway("chat", "alive")
    killed = [gateway("chat", "killed"), gateway("mail", "killed", "strict"), gateway("feed", "killed")]
    for one in (alive, *killed):
        await one.told("ready")
    for one in killed:
        one.kill()
        await one.gone()
    await service.produce([Sent(topic=Topic.IDENTITY_EVENTS, value=event("password-changed"), key=b"alice")])

    await alive.told("cut Revocation")
    [[id_]] = await eventually(lambda: service.rows("select id::text from revocations"), "the revocation")
    named = await until(
        lambda found: {one["how"] for one in found["enforcement"]["waiting_for"]} == {"unknown"}, "revocations", id_
    )
    assert named["state"] == "committed"
    waiting = {(one["gateway"], one["instance"]) for one in named["enforcement"]["waiting_for"]}
    assert waiting == {("chat", "killed"), ("feed", "killed")}
    at = {(one["gateway"], one["instance"]): one for one in named["enforcement"]["instances"]}
    assert (at["chat", "alive"]["how"], at["chat", "alive"]["connections_dropped"]) == ("past", 1)
    assert at["mail", "killed"]["how"] == "fenced"

    retired = await revoker("gateways", "retire", "feed", "--by", "bob")
    assert [one["gateway"] for one in retired["retired"]] == ["feed"]
    back = gateway("chat", "killed")
    await back.told("ready")
    proven = await until(lambda found: found["state"] == "enforced", "revocations", id_)
    at = {(one["gateway"], one["incarnation"]): one["how"] for one in proven["enforcement"]["instances"]}
    assert sorted(how for (name, _), how in at.items() if name == "chat") == ["past", "past", "replaced"]
    assert proven["enforcement"]["waiting_for"] == []
