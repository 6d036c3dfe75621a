"""What the demo's processes and the reader's commands are told: `revoker.toml`, and `env` for a second terminal.

Nothing that is set outside (REVOKER_…, a revoker.toml here) reaches the demo.
"""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from revoker.cli.demo.issuer import AUDIENCE, COOKIE, SIGN_IN_PATH, SIGNED_OUT
from revoker.embedded import EmbeddedServers
from revoker.embedded.ports import HOST
from revoker.settings import (
    AuthSettings,
    CheckSettings,
    CookieSettings,
    GatewaySettings,
    HttpSettings,
    KafkaSettings,
    LogoutSettings,
    Settings,
)

SETTINGS: Final = "revoker.toml"
_RETIRE_AFTER: Final = timedelta(seconds=30)


class DemoSettings(Settings):
    """Settings that come from us alone."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is made with, and nothing else."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def settings_for(servers: EmbeddedServers, *, admin_port: int, port: int, issuer: str) -> Settings:
    """The service on these servers and ports, which believes this issuer."""
    sign_in = f"{issuer}{SIGN_IN_PATH}"
    return DemoSettings(
        kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
        database_url=SecretStr(servers.database_url),
        redis_url=SecretStr(servers.redis_url),
        admin_port=admin_port,
        log_level="warning",
        log_format="text",
        kafka=KafkaSettings(partitions=4, replication=1),
        # In a folder that is kept, whoever was killed with an earlier run shall not be waited for for ever.
        gateways=GatewaySettings(retire_after=_RETIRE_AFTER),
        http=HttpSettings(host=HOST, port=port),
        auth=AuthSettings(issuer=issuer, audience=AUDIENCE),
        check=CheckSettings(cookies=(COOKIE,)),
        cookies=(CookieSettings(name=COOKIE, holds="token", secure=False),),
        logout=LogoutSettings(sign_in=sign_in, default_redirect=f"{sign_in}?{SIGNED_OUT}=done"),
    )


def write(settings: Settings, folder: Path) -> None:
    """For us alone: the database's password is in it."""
    write_for_us(
        folder / SETTINGS, ["# The demo that runs, or ran last.", *_toml(settings.model_dump(exclude_unset=True))]
    )
    write_for_us(
        folder / "env",
        [
            "# For a second terminal: the commands speak to the demo, and to nothing that was set before.",
            r"for name in $(env | sed -n 's/^\(REVOKER_[A-Z0-9_]*\)=.*/\1/p'); do unset $name; done",
            f"export REVOKER_CONFIG={shlex.quote(str(folder / SETTINGS))}",
            f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
            "# For curl.",
            f"export API=http://{HOST}:{settings.http.port} DEMO={shlex.quote(str(folder))}",
            f'export no_proxy="{HOST}${{no_proxy:+,$no_proxy}}"',
        ],
    )


def write_for_us(file: Path, lines: list[str]) -> None:
    """A file that nobody else can read, whatever was there before."""
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text("".join(f"{line}\n" for line in lines))


def _toml(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Values first: what comes after the head of a table belongs to that table."""
    for name, value in table.items():
        if not _is_table(value):
            yield f"{name} = {_value(value)}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield f"[{above}{name}]"
            yield from _toml(value, f"{above}{name}.")
        elif _is_table(value):
            for one in value:
                yield f"[[{above}{name}]]"
                yield from _toml(one, f"{above}{name}.")


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(one, Mapping) for one in value)
    )


def _value(value: object) -> str:
    match value:
        case SecretStr():
            return json.dumps(value.get_secret_value())
        case timedelta():
            return str(value.total_seconds())
        case _:
            return json.dumps(value)
