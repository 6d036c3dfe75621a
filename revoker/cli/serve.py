"""`serve`: HTTP for gateways, until it is told to stop."""

from revoker.api.serve import run
from revoker.settings import Settings


def serve(settings: Settings, only: str | None) -> int:
    """The command of that name."""
    return run(settings, only)
