"""What stands between FastStream and a hostile record.

FastStream's own parser decodes every header as UTF-8; one null or odd byte raises there, the handler is never called,
and the next batch commits past the whole one. It also obeys the sender's `reply_to` and `content-type`. So its parser
sees only an empty stand-in, and the handler gets the raw records and decodes them one by one.
"""

import dataclasses
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRecord
from faststream.kafka import KafkaMessage

Records = tuple[ConsumerRecord, ...]


async def parse(records: Records, original: Callable[[Records], Awaitable[KafkaMessage]]) -> KafkaMessage:
    """A FastStream message around `records`, made without looking into them. Cannot raise for any record."""
    message = await original((dataclasses.replace(records[0], value=b"", headers=()),))
    message.raw_message = records
    return message


async def leave_undecoded(message: KafkaMessage) -> KafkaMessage:
    """`message` itself: the handler decodes each record, and FastStream nothing that the sender names a codec for."""
    return message
