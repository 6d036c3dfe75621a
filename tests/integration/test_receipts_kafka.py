"""What whoever proves asks of a real Kafka."""

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from consumers.receipts import KafkaEnds
from revoker.errors import UnavailableError
from revoker.kafka import client_options, producer_options
from revoker.service import topics
from revoker.settings import Settings
from schemas.topics import Topic


async def test_where_topics_end_is_asked_anew_and_partitions_that_were_added_count_at_once(settings: Settings) -> None:
    await topics.ensure(settings)
    name = settings.topic(Topic.GATEWAY_RECEIPTS)
    ends = KafkaEnds(settings)
    try:
        assert await ends.receipts() == dict.fromkeys(range(3), (0, 0))
        async with AIOKafkaProducer(**producer_options(settings)) as producer:
            await producer.send_and_wait(name, b"x", partition=1)
        assert await ends.receipts() == {0: (0, 0), 1: (0, 1), 2: (0, 0)}
        assert await ends.feed() == dict.fromkeys(range(3), 0)

        admin = AIOKafkaAdminClient(**client_options(settings))
        await admin.start()
        try:
            await admin.create_partitions({name: NewPartitions(5)})
        finally:
            await admin.close()
        assert set(await ends.receipts()) == set(range(5))
    finally:
        await ends.close()


async def test_to_know_of_no_partition_proves_nothing(settings: Settings) -> None:
    ends = KafkaEnds(settings)
    try:
        with pytest.raises(UnavailableError):
            await ends.receipts()
    finally:
        await ends.close()
