"""Disconnects in Centrifugo whoever's session ends: from the gateway SDK onto a topic that Centrifugo consumes.

    pip install revoker
    REVOKER_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 python centrifugo.py

Centrifugo knows users, and not our sessions: all connections of the user are closed, with a code that makes clients
connect again, and who is still live gets in again. So whoever answers its connect proxy, or signs its tokens, must ask
first: by the SDK, or at /check. A revocation that names no subject (a whole client, a network) closes nothing here.
"""

# ruff: noqa: INP001 - a program, no package

import asyncio
import json

from aiokafka import AIOKafkaProducer

from revoker.gateway import Ended, Gateway

TOPIC = "centrifugo-commands"
CODE = 4401
"""Of 4000 to 4499: closed, and the client may come back."""


def command(ended: Ended) -> bytes | None:
    """What Centrifugo is told; None: it could not know whom."""
    if ended.subject is None:
        return None
    told = {"code": CODE, "reason": ended.revocation.cause[:32]}
    return json.dumps({"method": "disconnect", "payload": {"user": ended.subject, "disconnect": told}}).encode()


async def main() -> None:
    """Until interrupted."""
    gateway = Gateway.from_env("centrifugo")
    options = gateway.settings.kafka()
    async with AIOKafkaProducer(**options, acks="all", enable_idempotence=True) as producer:

        async def tell(ended: Ended) -> None:
            value = command(ended)
            if value is not None:
                await producer.send_and_wait(TOPIC, value, key=(ended.subject or "").encode())

        gateway.on_ended(tell)
        async with gateway:
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
