"""`POST /v1/receipts`: what a gateway applied, for gateways that reach us over HTTP alone. Onto `gateway-receipts`,
acknowledged, under the key that all receipts have: the instance.

A token speaks for the gateway that its client id names, and for those of its scopes `revoker.gateway:NAME`: else any
gateway could prove, or say goodbye, in the name of another.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from revoker.api.bodies import body
from revoker.api.grants import GATEWAY
from revoker.api.inlined import inlined
from revoker.api.parts import Parts
from revoker.api.problems import NO_STORE, ProblemError, challenge, documented
from revoker.api.who import Principal
from revoker.errors import PublishError
from schemas import codec
from schemas.cloudevent import CONTENT_TYPE
from schemas.codec import MAX_BYTES, RECEIPTS, Ignored, Reason, Rejected
from schemas.gateway_receipts import GatewayReceipt
from schemas.inputs import Input, Lane
from schemas.topics import Topic

_KINDS: Final = (CONTENT_TYPE, "application/json")
_SOURCE: Final = Input(topic=Topic.GATEWAY_RECEIPTS, lane=Lane.REGISTRATION)
"""Where receipts come in, for the decoder; bound to nobody."""
_RESPONSES: Final = documented(400, 401, 403, 413, 415, 503) | {202: {"description": "Kafka has it."}}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {CONTENT_TYPE: {"schema": inlined(GatewayReceipt)}},
}


def routes(parts: Parts) -> APIRouter:
    """`POST /v1/receipts`."""
    router = APIRouter(tags=["gateways"])
    topic = parts.settings.topic(Topic.GATEWAY_RECEIPTS)

    @router.post(
        "/v1/receipts",
        summary="Say what a gateway applied",
        status_code=202,
        response_class=Response,
        responses=_RESPONSES,
        openapi_extra={"requestBody": _BODY},
    )
    async def take(request: Request, machine: Annotated[Principal, Depends(parts.who.machine(GATEWAY))]) -> Response:
        """Acknowledged once Kafka has it."""
        receipt = await _receipt(request)
        if not speaks_for(machine, receipt.data.gateway):
            told = challenge("insufficient_scope", scope=f"{GATEWAY} {GATEWAY}:NAME")
            raise ProblemError(403, "The token does not speak for that gateway", {"WWW-Authenticate": told})
        try:
            await parts.sender.send(topic, [(receipt.data.instance.encode(), codec.encode(receipt))])
        except PublishError as error:
            raise ProblemError(503, "The receipt was not taken; send it again", {"Retry-After": "1"}) from error
        parts.metrics.receipts.inc()
        return Response(status_code=202, headers=NO_STORE)

    return router


def speaks_for(machine: Principal, gateway: str) -> bool:
    """Whether that token may send receipts of the gateway of that name."""
    return machine.claims.client_id == gateway or f"{GATEWAY}:{gateway}" in machine.scopes


async def _receipt(request: Request) -> GatewayReceipt:
    """Raises `ProblemError`."""
    value = await body(request, MAX_BYTES, *_KINDS)
    try:
        receipt = codec.decode(RECEIPTS, _SOURCE, value)
    except Rejected as error:
        raise ProblemError(413 if error.reason is Reason.TOO_LARGE else 400, str(error)) from error
    if isinstance(receipt, Ignored):
        raise ProblemError(400, "Not a receipt")
    return receipt
