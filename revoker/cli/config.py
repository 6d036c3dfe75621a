"""`config`: the settings in force, where each comes from, and no secret."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from revoker.cli.output import as_json as jsonable
from revoker.cli.output import cell, json_out, plain, table
from revoker.cli.output import show as show_table
from revoker.cli.running import Exit
from revoker.settings import SHORT_NAMES, Settings

_HIDDEN: Final = "***"
_SECRET_PARAMETER: Final = re.compile(r"(?i)((?:password|passwd|secret|token|key)[^=&]*=)[^&]*")


async def show(settings: Settings, *, as_json: bool) -> int:
    """The command of that name."""
    file = _file()
    found = {key: {"value": shown(value), "from": _origin(key, file)} for key, value in _flat(settings)}

    if as_json:
        json_out(found)
        return Exit.DONE
    made = table("setting", "value", "from")
    for key, one in found.items():
        made.add_row(key, _text(one["value"]), cell(one["from"], style="dim" if one["from"] == "default" else "bold"))
    show_table(made)
    return Exit.DONE


def shown(value: Any) -> Any:  # noqa: ANN401 - a setting is whatever it is
    """`value` as JSON can say it, without its secrets."""
    if isinstance(value, SecretStr):
        return without_password(value.get_secret_value())
    if isinstance(value, BaseModel):
        return {name: shown(item) for name, item in value}
    if isinstance(value, Mapping):
        return {str(name): shown(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [shown(item) for item in value]
    return str(value) if isinstance(value, Path) else jsonable(value)


def without_password(secret: str) -> str:
    """A URL without its password, or nothing at all where it is not surely a URL."""
    try:
        url = urlsplit(secret)
        user, at, host = url.netloc.rpartition("@")
        if not url.scheme or not (host or url.path):
            return _HIDDEN
    except ValueError:
        return _HIDDEN
    name, colon, _ = user.partition(":")
    netloc = f"{name}{f':{_HIDDEN}' * bool(colon)}{at}{host}"
    query = _SECRET_PARAMETER.sub(rf"\1{_HIDDEN}", url.query)
    return f"{url.scheme}://{netloc}{url.path}" + (f"?{query}" if query else "")


def _flat(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings:
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:  # noqa: ANN401 - as above
    if isinstance(value, list):
        return "\n".join(_text(item) for item in value) or "none"
    if isinstance(value, dict):
        set_ = {name: item for name, item in value.items() if item not in (None, [], "", {})}
        return ", ".join(f"{plain(name)}={_text(item)}" for name, item in set_.items()) or "none"
    return "" if value is None else plain(str(value))


def _file() -> tuple[Path, Mapping[str, Any]]:
    path = Path(os.environ.get("REVOKER_CONFIG", "revoker.toml"))
    try:
        return path, tomllib.loads(path.read_text())
    except OSError:
        return path, {}


def _origin(key: str, file: tuple[Path, Mapping[str, Any]]) -> str:
    variable = f"REVOKER_{key.replace('.', '__').upper()}"
    names = {name.upper(): name for name in os.environ}
    short = variable.replace("__", "_", 1)
    spelled = (variable, short) if short.removeprefix("REVOKER_") in SHORT_NAMES else (variable,)
    for candidate in (f"{variable}_FILE", *spelled, variable.rpartition("__")[0]):
        if candidate in names:
            return names[candidate]
    path = file[0]
    place: Any = file[1]
    for part in key.split("."):
        if not isinstance(place, Mapping) or part not in place:
            # A section may be given as one variable of many keys below it.
            return _nested(variable, names) or "default"
        place = place[part]
    return str(path)


def _nested(variable: str, names: Mapping[str, str]) -> str | None:
    return next((names[name] for name in names if name.startswith(f"{variable}__")), None)
