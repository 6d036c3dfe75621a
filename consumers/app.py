"""The consumers process: makes its parts, runs them in FastStream, and takes them down in order.

    database, topics, feed, publisher, admin port     before the first record is read
    the lanes (FastStream subscribers)                until SIGTERM; the batch in hand is finished
    heartbeats, sweeper, prover, watchdog             beside them

Nothing happens at import.
"""

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import uvloop
from aiokafka.errors import KafkaConnectionError
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.assignment import Assignment
from consumers.denylist import Denylist
from consumers.feed import Feed
from consumers.heartbeats import Heartbeats
from consumers.lane import Lane
from consumers.origins import Origins
from consumers.publisher import Publisher, SessionEndedAnnouncer
from consumers.receipts import Proving, Receipting
from consumers.records import read_any_header
from consumers.registration import Registering
from consumers.revocation import Revoking
from consumers.security import broker_security
from consumers.subscribing import subscriber
from consumers.watchdog import EXIT_STUCK, Watchdog
from revoker.admin import AdminServer, Check, admin_app
from revoker.errors import ConfigurationError, PublishError, UnavailableError
from revoker.kafka import REQUEST_TIMEOUT_MS
from revoker.logs import configure, get_logger, log_crashes
from revoker.service.announce import STALE_AFTER, sweep
from revoker.service.topics import ensure
from revoker.settings import Settings
from revoker.storage.database import writer
from revoker.storage.migrate import is_usable, revisions
from revoker.telemetry import Metrics, open_tracing
from schemas.inputs import Lane as LaneName
from schemas.topics import Topic

DENYLIST: Final = "denylist"
ORIGINS: Final = "origins"
GROUPS: Final = (*(lane.value for lane in LaneName), DENYLIST, ORIGINS)
"""What `--only` may name. The last two are no lanes: what they have done lies in Redis, or at an origin."""
_GRACE_SECONDS: Final = 20.0
_GATHER_SECONDS: Final = 0.1
_SWEEP_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 28.0
_CANCEL_TIMES: Final = 10
_CANCEL_SECONDS: Final = 0.5
_log = get_logger(__name__)


def run(settings: Settings, only: str | None = None) -> int:
    """Runs the consumers until SIGINT or SIGTERM. `only` names one group. Returns the exit code."""
    configure(settings.log_level, settings.log_format)
    log_crashes()
    # A batch makes a hundred thousand objects and drops them all: looking for cycles among them finds none.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_stopped(settings, only))
    return 0


async def _until_stopped(settings: Settings, only: str | None) -> None:
    await Consumers(settings, only).run()


class Consumers:
    """The process's parts, made inside the loop that runs them.

    `only` names one of `GROUPS`; `sweep_after` is how long a batch may stay unannounced before the sweeper takes it.
    """

    def __init__(self, settings: Settings, only: str | None = None, sweep_after: timedelta = STALE_AFTER) -> None:
        read_any_header()
        self._settings = settings
        self._sweep_after = sweep_after
        self._groups = [only] if only else list(GROUPS)
        # One chunk at a time: what a gateway counts adds up, so its receipts must be taken in their order.
        self._in_turn = settings.model_copy(update={"limits": settings.limits.model_copy(update={"in_flight": 1})})
        self._metrics = Metrics()
        self._tracing = open_tracing()
        self._engine: AsyncEngine = writer(settings)
        self._publisher = Publisher(settings)
        self._announcer = SessionEndedAnnouncer(self._publisher, settings, self._metrics)
        self._feed = Feed(self._engine, settings, self._metrics)
        self._proving = Proving(self._engine, settings, self._metrics)
        self._broker = _broker(settings)
        self._lanes = [lane for name in LaneName if name in self._groups and (lane := self._lane(name)) is not None]
        self._denylist = Denylist(settings, self._metrics) if DENYLIST in self._groups else None
        if self._denylist is not None:
            self._denylist.subscribe(self._broker)
        if only == ORIGINS and not settings.origins:
            raise ConfigurationError("there are no origins: [[origins]] in revoker.toml names them")
        self._origins = Origins(settings, self._metrics) if ORIGINS in self._groups and settings.origins else None
        if self._origins is not None:
            self._origins.subscribe(self._broker)
        self._watchdog = Watchdog(self._lanes)

    async def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises `ConfigurationError` or `UnavailableError` when it cannot begin."""
        app = FastStream(
            self._broker,
            logger=None,
            lifespan=self._lifespan,
            after_startup=[self._on_started],
            on_shutdown=[self._on_stopping],
        )
        try:
            await app.run()
        except KafkaConnectionError as error:
            # It was there when the topics were looked at, and went before the last group had joined.
            raise UnavailableError("Kafka cannot be reached: it went away while the groups were joined") from error

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(self._tracing.close)
            stack.push_async_callback(self._engine.dispose)
            for lane in self._lanes:
                stack.push_async_callback(lane.close)
            await self._check_database()
            await ensure(self._settings)
            await stack.enter_async_context(self._publisher)
            await stack.enter_async_context(self._feed)
            await self._listen(stack)
            tasks: list[asyncio.Task[None]] = []
            stack.push_async_callback(_cancel, tasks)
            tasks += [asyncio.create_task(work()) for work in self._background()]
            yield

    def _on_started(self) -> None:
        _log.info("service-started", lanes=self._groups)

    async def _on_stopping(self) -> None:
        _log.info("service-stopping")
        asyncio.get_running_loop().call_later(_STOP_SECONDS, self._give_up)
        if self._origins is not None:
            self._origins.hurry()
        for lane in self._lanes:
            await lane.assignment.close()

    def _give_up(self) -> None:
        """Leaves, come what may: after its broker had died twice, aiokafka has been seen not to let go of a group."""
        busy = [lane.name.value for lane in self._lanes if lane.busy_since is not None]
        _log.error("stop-overdue", seconds=_STOP_SECONDS, lanes=busy)
        os._exit(EXIT_STUCK if busy else 0)

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        beats = [
            (Heartbeats(lane, self._feed, self._publisher, self._settings, self._metrics), lane) for lane in self._lanes
        ]
        return [
            self._feed.watch,
            self._watchdog.watch,
            self._sweep,
            *(lane.offsets.commit_again for lane in self._lanes),
            *([self._proving.run] if LaneName.RECEIPTS in self._groups else []),
            *([self._denylist.run] if self._denylist is not None else []),
            *([self._origins.run] if self._origins is not None else []),
            *(lambda beat=beat, lane=lane: beat.beat(aloud=lane.name is LaneName.REVOCATION) for beat, lane in beats),
        ]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._sweep_after.total_seconds()))
            try:
                swept = await sweep(self._engine, self._announcer, self._sweep_after)
            except (SQLAlchemyError, PublishError, OSError, TimeoutError) as error:
                _log.warning("sweep-failed", error=error)
            else:
                if swept:
                    self._metrics.swept(swept)
                    _log.warning("batch-swept", batches=swept)

    def _lane(self, name: LaneName) -> Lane[Any] | None:
        topics = list(self._settings.inputs_of(name))
        settings = self._settings
        trade: Any
        match name:
            case LaneName.REVOCATION:
                trade = Revoking(self._engine, settings, self._metrics)
            case LaneName.REGISTRATION:
                trade = Registering(self._engine, settings, self._metrics)
            case LaneName.RECEIPTS:
                trade = Receipting(self._engine, settings, self._metrics, self._proving.hear)
                topics, settings = [settings.topic(Topic.GATEWAY_RECEIPTS)], self._in_turn
        if not topics:
            return None
        assignment = Assignment(name, self._engine, self._metrics)
        lane: Lane[Any] = Lane(trade, assignment, self._announcer, self._engine, settings, self._metrics, self._tracing)
        reading = subscriber(self._broker, self._settings, f"revoker-{name.value}", topics, assignment)
        assignment.bind(lambda: reading.consumer)

        @reading
        async def on_batch(message: KafkaMessage) -> None:
            await lane.on_batch(message)
            if name is LaneName.RECEIPTS:
                # A hundred gateways speak four hundred times a second: not each time a transaction.
                await asyncio.sleep(_GATHER_SECONDS)

        return lane

    async def _check_database(self) -> None:
        try:
            current, wanted = await revisions(self._engine)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise UnavailableError(f"the database cannot be reached: {type(error).__name__}") from error
        if not is_usable(current):
            raise ConfigurationError(
                f"the schema is at {current or 'nothing'}, this release needs {wanted}: revoker migrate"
            )

    async def _listen(self, stack: AsyncExitStack) -> None:
        if self._settings.admin_port is None:
            return
        redis = Redis.from_url(self._settings.redis_url.get_secret_value(), socket_timeout=1, socket_connect_timeout=1)
        stack.push_async_callback(redis.aclose)

        async def database() -> None:
            async with self._engine.connect() as connection:
                await connection.exec_driver_sql("select 1")

        async def ping() -> None:
            await redis.ping()

        checks = {
            "kafka": Check(self._feed.why_unready),
            "database": Check(database),
            "redis": Check(ping, required=False),
        }
        if self._denylist is not None:
            checks["denylist"] = Check(self._denylist.why_unready, required=False)
        if self._origins is not None:
            checks["origins"] = Check(self._origins.why_unready, required=False)
        app = admin_app(self._metrics.registry, self._watchdog.why_stuck, checks)
        server = AdminServer(app, host=self._settings.admin_host, port=self._settings.admin_port)
        await stack.enter_async_context(server)


def _broker(settings: Settings) -> KafkaBroker:
    return KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        client_id="revoker",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        # Topics that come back, and partitions that are added, are noticed that soon; the default is five minutes.
        metadata_max_age_ms=10_000,
        security=broker_security(settings),
        # We publish through a producer of our own, which can be made anew when it is broken.
        consumer_only=True,
        allow_auto_create_topics=False,
        # The default commits before the handler has run. The lanes settle offsets themselves; should one of them ever
        # raise, the batch is read again.
        ack_policy=AckPolicy.NACK_ON_ERROR,
        graceful_timeout=_GRACE_SECONDS,
        logger=logging.getLogger("revoker.faststream"),
        log_level=logging.DEBUG,
        apply_types=False,
    )


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Within bounds, and more than once: redis-py has been seen to swallow a cancellation."""
    running = set(tasks)
    for _ in range(_CANCEL_TIMES):
        for task in running:
            task.cancel()
        if running:
            _, running = await asyncio.wait(running, timeout=_CANCEL_SECONDS)
