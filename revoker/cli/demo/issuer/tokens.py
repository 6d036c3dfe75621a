"""Tokens, signed by a key that lives as long as the process."""

import secrets
import time
import uuid
from datetime import datetime
from typing import Annotated, Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import Field

from revoker.cli.demo.issuer import AUDIENCE
from schemas.fields import Id, Message

ALGORITHM: Final = "ES256"
LONGEST_SECONDS: Final = 30 * 86_400
"""As long as the service takes anything to live: `sessions.lifetime`."""


class Wanted(Message):
    """What a token is to say."""

    subject: Id
    session: Id | None = None
    client: Id | None = None
    scope: tuple[Id, ...] = ()
    role: tuple[Id, ...] = ()
    tenant: Id | None = None
    audience: Id = AUDIENCE
    expires: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] = 3_600.0


class Signer:
    """The issuer `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._key = ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig", "alg": ALGORITHM})

    def token(self, wanted: Wanted, signed_in_at: datetime) -> str:
        """A token for somebody whose first credential was checked at `signed_in_at`."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.url,
            "sub": wanted.subject,
            "aud": wanted.audience,
            "iat": now,
            "exp": now + max(1, round(wanted.expires)),
            "jti": str(uuid.uuid4()),
            # With its fraction: a change of password in the same second ends what was there before it, and no more.
            "auth_time": signed_in_at.timestamp(),
            "sid": wanted.session,
            "client_id": wanted.client,
            "scope": " ".join(wanted.scope) or None,
            "roles": list(wanted.role) or None,
            "tenant": wanted.tenant,
        }
        header = {"alg": ALGORITHM, "kid": self._key.kid, "typ": "at+jwt"}
        return jwt.encode(header, {name: value for name, value in claims.items() if value is not None}, self._key)

    def keys(self) -> dict[str, Any]:
        """The public half."""
        return {"keys": [self._key.as_dict(private=False)]}
