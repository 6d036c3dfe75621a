"""The two ways that a receipt takes to the service: the topic `gateway-receipts`, or `POST /v1/receipts`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from revoker.clients import started, stopped
from revoker.gateway.errors import ReceiptError
from schemas.cloudevent import CONTENT_TYPE
from schemas.topics import Topic

if TYPE_CHECKING:
    import httpx

Token = str | Callable[[], str]

_STOP_SECONDS: Final = 2.0
_SECONDS: Final = 10.0


class KafkaSender:
    """Through Kafka. The client is built when it is first needed, and anew after each failure."""

    def __init__(self, options: Mapping[str, Any], *, topic_prefix: str) -> None:
        self._topic = topic_prefix + Topic.GATEWAY_RECEIPTS
        self._options = {"request_timeout_ms": int(_SECONDS * 1000), **options, "acks": "all"}
        self._producer: AIOKafkaProducer | None = None

    async def send(self, key: bytes, body: bytes) -> None:
        try:
            producer = await self._ready()
            await producer.send_and_wait(self._topic, body, key=key)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise ReceiptError(f"{self._topic} did not take it: {type(error).__name__}") from error

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        await stopped(producer)

    async def _ready(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(**self._options)
            await started(self._producer)
        return self._producer


class HTTPSender:
    """Through the service's API. Needs the extra `http`."""

    def __init__(self, feed_url: str, token: Token | None) -> None:
        self._url = feed_url.rstrip("/") + "/v1/receipts"
        self._token = token
        self._client: httpx.AsyncClient | None = None

    async def send(self, key: bytes, body: bytes) -> None:  # noqa: ARG002 - only Kafka has keys
        import httpx  # noqa: PLC0415 - an extra: gateways on Kafka or Redis do not have it

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_SECONDS)
        try:
            answer = await self._client.post(self._url, content=body, headers=headers(self._token))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ReceiptError(f"{self._url} cannot be reached: {type(error).__name__}") from error
        if not answer.is_success:
            raise ReceiptError(f"{self._url} answered {answer.status_code}")

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def headers(token: Token | None) -> dict[str, str]:
    """What a request of ours carries."""
    plain = {"content-type": CONTENT_TYPE}
    if token is None:
        return plain
    return plain | {"authorization": f"Bearer {token if isinstance(token, str) else token()}"}
