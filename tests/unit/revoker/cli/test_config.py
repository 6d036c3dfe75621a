"""`revoker config`: what is in force, where from, and never a secret."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from revoker.cli import app
from revoker.cli.config import without_password

SECRET = "hunter2"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    for name in [name for name in os.environ if name.startswith("REVOKER_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "revoker.toml"
    file.write_text('log_level = "debug"\n[kafka]\npartitions = 7\n[policy.password-changed]\nkeep = "never"\n')
    (tmp_path / "redis").write_text(f"rediss://:{SECRET}@cache/0\n")
    monkeypatch.setenv("REVOKER_CONFIG", str(file))
    monkeypatch.setenv("REVOKER_DATABASE_URL", f"postgresql://app:{SECRET}@db:5432/revoker?sslpassword={SECRET}&a=1")
    monkeypatch.setenv("REVOKER_REDIS_URL_FILE", str(tmp_path / "redis"))
    monkeypatch.setenv("REVOKER_KAFKA__PASSWORD", SECRET)
    monkeypatch.setenv("REVOKER_KAFKA__PARTITIONS", "9")
    return CliRunner()


def test_that_the_effective_value_is_shown_with_where_it_comes_from(runner: CliRunner) -> None:
    done = runner.invoke(app, ["config", "--json"])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["kafka.partitions"] == {"value": 9, "from": "REVOKER_KAFKA__PARTITIONS"}
    assert said["log_level"] == {"value": "debug", "from": os.environ["REVOKER_CONFIG"]}
    assert said["redis_url"]["from"] == "REVOKER_REDIS_URL_FILE"
    assert said["kafka.replication"] == {"value": 3, "from": "default"}
    assert said["policy"]["from"] == os.environ["REVOKER_CONFIG"]
    assert said["policy"]["value"]["password-changed"]["keep"] == "never"
    assert said["sessions.lifetime"]["value"] == 30 * 86_400_000


@pytest.mark.parametrize("words", [["config"], ["config", "--json"]])
def test_that_no_secret_is_shown(runner: CliRunner, words: list[str]) -> None:
    done = runner.invoke(app, words)
    assert done.exit_code == 0
    assert SECRET not in done.output
    assert "postgresql://app:***@db:5432/revoker?sslpassword=***&a=1" in done.output


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pw@h/0", "redis://:***@h/0"),
        ("redis://:p@w@h/0", "redis://:***@h/0"),
        ("postgresql:///revoker?host=/run/pg&password=pw", "postgresql:///revoker?host=/run/pg&password=***"),
        ("just a password", "***"),
        ("postgresql://[bad", "***"),
        ("", "***"),
    ],
)
def test_that_a_url_loses_its_password_and_anything_else_is_hidden(secret: str, shown: str) -> None:
    assert without_password(secret) == shown
