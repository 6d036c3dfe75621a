"""A web hook: the notification as it is, signed as Standard Webhooks 1.0.0 says, so that receivers find a library.

All notifications go there, holds and lifts as well: a login service should refuse new sign-ins while a hold is in
force. The id is that of the notification, which a repeat bears as well; the time is that of the try.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Final

from revoker.errors import ConfigurationError
from revoker.origins import telling
from revoker.origins.telling import Taken, Told
from revoker.settings_origins import OriginSettings, hook_keys
from schemas.cloudevent import CONTENT_TYPE

_READ_BYTES: Final = 1_024


class WebHook:
    """`revoker.origins.telling.Origin` of whatever takes signed requests."""

    def __init__(self, settings: OriginSettings) -> None:
        try:
            self._keys = hook_keys(telling.secret(settings))
        except ValueError as error:
            raise ConfigurationError(f"[[origins]] {settings.name}: {error}") from None
        self._settings = settings
        self._client = telling.client(settings)

    async def tell(self, told: Told) -> Taken:
        """Sends it. Any 2xx means that it was taken; what else is said nobody listens to."""
        headers = signed(self._keys, told.notice.id, int(time.time()), told.value)
        request = self._client.build_request("POST", self._settings.url, content=told.value, headers=headers)
        answer = await telling.ask(self._client, request, self._settings.timeout.total_seconds(), _READ_BYTES)
        if not answer.is_good:
            raise answer.refusal("web hook")
        return Taken()

    async def close(self) -> None:
        """Lets the connections go."""
        await self._client.aclose()


def signed(keys: Sequence[bytes], id_: str, at: int, body: bytes) -> Mapping[str, str]:
    """The headers of a try at `at` (Unix seconds), with a signature for each key."""
    content = b".".join((id_.encode(), str(at).encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "content-type": CONTENT_TYPE,
        "webhook-id": id_,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
