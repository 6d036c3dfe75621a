"""The settings of `revoker serve` that the contract names with one underscore."""

from pathlib import Path
from typing import Any

import pytest

from revoker.cli import config
from revoker.settings import SHORT_NAMES, Settings


@pytest.mark.parametrize("name", SHORT_NAMES)
@pytest.mark.parametrize("spelled", [lambda name: name, lambda name: name.replace("_", "__", 1)])
async def test_both_spellings_are_understood(
    name: str, spelled: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REVOKER_AUTH_ISSUER", "https://login.example")
    value = "https://one.example" if "URL" in name or "ISSUER" in name else "8123"
    variable = f"REVOKER_{spelled(name)}"
    monkeypatch.setenv(variable, value)
    section, _, key = name.lower().partition("_")

    settings = Settings()

    assert str(getattr(getattr(settings, section), key)) == value
    await config.show(settings, as_json=True)
    assert f'"from": "{variable}"' in capsys.readouterr().out
