"""Which feed and which way for receipts the settings ask for. Clients are imported only where they are used."""

from revoker.gateway.feeds import Feed
from revoker.gateway.receipts import Sender
from revoker.gateway.settings import Settings


def feed_of(settings: Settings) -> Feed:
    """Redis or HTTP where one is named, else Kafka."""
    if settings.redis_url:
        from revoker.gateway.feeds.redis import RedisFeed  # noqa: PLC0415 - as the head says

        return RedisFeed(settings.redis_url)
    if settings.feed_url:
        from revoker.gateway.feeds.sse import SSEFeed  # noqa: PLC0415 - as the head says

        return SSEFeed(settings.feed_url, settings.feed_token, credential_lifetime=settings.credential_lifetime)
    from revoker.gateway.feeds.kafka import KafkaFeed  # noqa: PLC0415 - as the head says

    return KafkaFeed(
        settings.kafka(),
        topic_prefix=settings.topic_prefix,
        credential_lifetime=settings.credential_lifetime,
        max_staleness=settings.max_staleness,
    )


def sender_of(settings: Settings) -> Sender | None:
    """Kafka where it can be reached, else HTTP; None: receipts are switched off, or there is no way for them."""
    if not settings.sends_receipts:
        return None
    from revoker.gateway.senders import HTTPSender, KafkaSender  # noqa: PLC0415 - as the head says

    if settings.bootstrap_servers:
        return KafkaSender(settings.kafka(), topic_prefix=settings.topic_prefix)
    return HTTPSender(settings.feed_url or "", settings.feed_token)
