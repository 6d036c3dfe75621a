"""`POST /v1/receipts`: what a gateway applied, for gateways that reach us over HTTP alone. Onto `gateway-receipts`,
acknowledged, under the key that all receipts have: the instance.
"""

from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from revoker.api.machines import GATEWAY, Doorkeeper
from revoker.api.metrics import ApiMetrics
from revoker.api.problems import NO_STORE, ProblemError
from revoker.api.sending import Sender
from revoker.errors import PublishError
from revoker.settings import Settings
from schemas import codec
from schemas.cloudevent import CONTENT_TYPE
from schemas.codec import MAX_BYTES, RECEIPTS, Ignored, Reason, Rejected
from schemas.inputs import Input, Lane
from schemas.topics import Topic

_KINDS: Final = frozenset({CONTENT_TYPE, "application/json"})
_SOURCE: Final = Input(topic=Topic.GATEWAY_RECEIPTS, lane=Lane.REGISTRATION)
"""Where receipts come in, for the decoder; bound to nobody."""


class Receipts:
    """The endpoint."""

    def __init__(self, settings: Settings, sender: Sender, doorkeeper: Doorkeeper, metrics: ApiMetrics) -> None:
        self._topic = settings.topic(Topic.GATEWAY_RECEIPTS)
        self._sender = sender
        self._doorkeeper = doorkeeper
        self._metrics = metrics

    async def __call__(self, request: Request) -> Response:
        """Starlette's handler. Raises `ProblemError`."""
        await self._doorkeeper.machine(request, GATEWAY)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _KINDS:
            raise ProblemError(415, f"Send {CONTENT_TYPE}")
        value = await _body(request)
        try:
            receipt = codec.decode(RECEIPTS, _SOURCE, value)
        except Rejected as error:
            raise ProblemError(413 if error.reason is Reason.TOO_LARGE else 400, str(error)) from error
        if isinstance(receipt, Ignored):
            raise ProblemError(400, "Not a receipt")
        try:
            await self._sender.send(self._topic, [(receipt.data.instance.encode(), codec.encode(receipt))])
        except PublishError as error:
            raise ProblemError(503, "The receipt was not taken; send it again", {"Retry-After": "1"}) from error
        self._metrics.receipts.inc()
        return Response(status_code=202, headers=NO_STORE)


async def _body(request: Request) -> bytes:
    """All of it, as long as it is not too much."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BYTES:
                raise ProblemError(413, f"A receipt has at most {MAX_BYTES} bytes", {"Connection": "close"})
    except ClientDisconnect as error:
        raise ProblemError(400) from error
    return bytes(body)
