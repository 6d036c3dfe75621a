"""The recipes that no test runs in the real program, and what all recipes have in common."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from revoker.gateway import Ended, Revocation

RECIPES = Path(__file__).parents[2] / "docs/recipes"
PROXIES = ("nginx.conf", "Caddyfile", "haproxy.cfg", "envoy.yaml", "traefik.yaml")


def centrifugo() -> Any:
    spec = importlib.util.spec_from_file_location("centrifugo", RECIPES / "centrifugo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def over(subject: str | None) -> Ended:
    revocation = Revocation(id="r-1", cause="password-changed", initiator="user", reason_user={"en": "Changed"})
    return Ended(revocation=revocation, subject=subject, session_ids=("s-1",))


def test_centrifugo_is_told_whom_to_disconnect() -> None:
    value = centrifugo().command(over("alice"))

    assert json.loads(value) == {
        "method": "disconnect",
        "payload": {"user": "alice", "disconnect": {"code": 4401, "reason": "password-changed"}},
    }


def test_centrifugo_is_not_told_to_disconnect_nobody_in_particular() -> None:
    assert centrifugo().command(over(None)) is None


def test_centrifugo_consumes_what_it_is_told() -> None:
    (consumer,) = json.loads((RECIPES / "centrifugo.json").read_text())["consumers"]

    assert (consumer["type"], consumer["enabled"]) == ("kafka", True)
    assert consumer["kafka"]["topics"] == [centrifugo().TOPIC]


def test_traefik_asks_and_passes_on_the_names() -> None:
    http = yaml.safe_load((RECIPES / "traefik.yaml").read_text())["http"]
    forward = http["middlewares"]["revoker"]["forwardAuth"]

    assert forward["address"].endswith("/check")
    assert forward["authResponseHeaders"] == ["X-Revoker-Subject", "X-Revoker-Session"]
    for router in http["routers"].values():
        assert set(router["middlewares"]) <= http["middlewares"].keys()
        assert router["service"] in http["services"]


@pytest.mark.parametrize("name", PROXIES)
def test_a_recipe_names_the_same_addresses_as_all_others(name: str) -> None:
    ports = set(re.findall(r"\b(?:127\.0\.0\.1:|port_value: )(\d+)", (RECIPES / name).read_text()))

    assert {"8080", "9000"} <= ports <= {"8000", "8080", "8081", "9000"}


def test_every_recipe_is_in_the_list() -> None:
    listed = set(re.findall(r"\]\(([\w.]+)\)", (RECIPES / "README.md").read_text()))

    assert listed == {path.name for path in RECIPES.iterdir() if path.is_file()} - {"README.md"}
