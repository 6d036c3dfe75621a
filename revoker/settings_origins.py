"""Settings of origins: where sessions live, and are to be ended too (the others: `revoker.settings`)."""

import base64
import binascii
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from revoker.settings_http import Section, is_protected
from schemas.fields import Tenant

HOOK_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how such a secret begins
_SECRET_BYTES: Final = (24, 64)
_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_REALM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~ -]*")


class OriginSettings(Section):
    """A login service that is told what has ended, so that it ends there too. See docs/origins.md."""

    name: Annotated[str, Field(pattern=_NAME)]
    """Its name in receipts, metrics and lists, and at the end of its Kafka group's. Another name begins anew."""
    kind: Literal["keycloak", "webhook"]
    """`keycloak`: through its admin API. `webhook`: whatever takes signed requests."""
    url: str
    """Where it is. Of a Keycloak without `/realms` and `/admin`; of a web hook all of it."""
    tenant: Tenant | None = None
    """The only tenant whose sessions live there; unset: those of all."""
    realm: str | None = None
    """Keycloak: in which realm, and the client below as well."""
    client_id: str | None = None
    """Keycloak: a confidential client whose service account has `manage-users` of `realm-management`, no more."""
    secret: SecretStr | None = None
    """Keycloak: the client's. Web hook: `whsec_` and base64 of 24 to 64 bytes; while it changes, new and old."""
    secret_file: Path | None = None
    """Instead of `secret`: the file that holds it."""
    offline: bool = True
    """Keycloak: end offline sessions, too. It knows them since 24.0.2."""
    timeout: Annotated[timedelta, Field(gt=timedelta(), le=timedelta(minutes=1))] = timedelta(seconds=10)
    """How long one request may take."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """How many notifications are on their way there at once, those of one subject never."""
    give_up_after: Annotated[timedelta, Field(gt=timedelta())] = timedelta(minutes=10)
    """When a notification that it alone fails to take is set aside. While it takes none it is waited for."""
    allow_http: bool = False
    """Speak to another machine without TLS: whoever is in between learns the secret, or whose session ended."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        parts = urlsplit(self.url)
        if not parts.hostname or parts.username or parts.password or parts.fragment:
            raise ValueError("url must be an address without a user and a fragment")
        if not (is_protected(self.url) or (self.allow_http and parts.scheme == "http")):
            raise ValueError("url must begin with https://, see allow_http")
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("one of secret and secret_file is needed")
        if self.kind == "keycloak":
            if not (self.realm and _REALM.fullmatch(self.realm) and self.client_id):
                raise ValueError("a Keycloak needs realm and client_id")
            if parts.query:
                raise ValueError("the url of a Keycloak has no query")
        elif self.realm is not None or self.client_id is not None:
            raise ValueError("realm and client_id are for a Keycloak")
        elif self.secret is not None:
            hook_keys(self.secret.get_secret_value())
        return self


def hook_keys(text: str) -> tuple[bytes, ...]:
    """The keys of a web hook, as its receivers write them; the newest first. Raises `ValueError` without the value."""
    return tuple(map(_key, text.split())) or (_key(""),)


def _key(word: str) -> bytes:
    least, most = _SECRET_BYTES
    try:
        key = base64.b64decode(word.removeprefix(HOOK_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not word.startswith(HOOK_SECRET_PREFIX) or not least <= len(key) <= most:
        raise ValueError(f"secret must be {HOOK_SECRET_PREFIX} and base64 of {least} to {most} bytes")
    return key
