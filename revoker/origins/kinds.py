"""The origin that a table of the settings means."""

from typing import assert_never

from revoker.origins.keycloak import Keycloak
from revoker.origins.telling import Origin
from revoker.origins.webhook import WebHook
from revoker.settings_origins import OriginSettings


def origin(settings: OriginSettings) -> Origin:
    """Raises `ConfigurationError` where its secret cannot be had."""
    match settings.kind:
        case "keycloak":
            return Keycloak(settings)
        case "webhook":
            return WebHook(settings)
        case _:
            assert_never(settings.kind)
