"""What the API asks of the gateway in its process."""

from typing import Protocol

from revoker.core.claims import SessionClaims
from revoker.core.verdicts import Hold, Revocation
from revoker.gateway.health import Stale


class Checks(Protocol):
    """What is asked: `revoker.gateway.Gateway`."""

    def check(self, claims: SessionClaims) -> Revocation | Hold | Stale | None:
        """Why it may not pass; None: it may."""
        ...

    def refused(
        self, claims: SessionClaims, verdict: Revocation | Hold, *, ip: str | None = None, verified: bool = False
    ) -> None:
        """Somebody tried with what is over."""
        ...
