"""`revoker demo token`: asks the issuer of a demo that runs for a token. It has the key, and we have its secret."""

import http.client
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from revoker.cli.demo.issuer import ADDRESS_FILE
from revoker.errors import ConfigurationError, UnavailableError

_SECONDS: Final = 20.0
_HOW: Final = "start `revoker demo`, and run the `source …/env` that it prints in this terminal"


class RefusedError(ConfigurationError):
    """There can be no such token."""


def token(wanted: Mapping[str, Any]) -> str:
    """A token that says what is `wanted`. Raises `ConfigurationError` and `UnavailableError`."""
    address = _address()
    url, origin = urlsplit(address["url"]), address["url"].rpartition("/")[0]
    # No proxy that is set here may come in between: neither library nor variable knows of one.
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_SECONDS)
    headers = {"Authorization": f"Bearer {address['secret']}", "Origin": origin}
    try:
        connection.request("POST", url.path, json.dumps(wanted), headers)
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"the demo of {_config()} does not answer: {_HOW}") from error
    finally:
        connection.close()
    match answer.status:
        case 200:
            return said
        case 400:
            raise RefusedError(said)
        case status:
            raise UnavailableError(f"the demo of {_config()} answers {status}: {_HOW}")


def _address() -> Mapping[str, str]:
    """Where the demo is that this terminal speaks to."""
    config = _config()
    if config is None:
        raise ConfigurationError(f"no demo is named here: {_HOW}")
    try:
        found: Mapping[str, str] = json.loads((config.parent / ADDRESS_FILE).read_text())
    except (OSError, ValueError) as error:
        raise UnavailableError(f"no demo runs in {config.parent}: {_HOW}") from error
    return found


def _config() -> Path | None:
    name = os.environ.get("REVOKER_CONFIG")
    return Path(name) if name else None
