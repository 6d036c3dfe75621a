"""Spans by OpenTelemetry, for those who installed the extra `otel` and named an endpoint; nothing at all otherwise.

A span's attributes are the parameters of `Tracing.span` and no others: no subject, key or id can slip in. An exception
leaves its type as the status of the span; what it says, and where, stays out.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Thread
from typing import TYPE_CHECKING, Final, Literal

from revoker.logs import get_logger
from schemas.inputs import Lane

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

SpanName = Literal["revoker.batch", "revoker.decode", "revoker.database", "revoker.publish", "revoker.announce"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CLOSE_SECONDS: Final = 2.0
_NOTHING: Final[AbstractContextManager[None]] = nullcontext()
_log = get_logger(__name__)


class Tracing:
    """Spans into `provider`, which it owns; without one, a no-op."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("revoker") if provider else None

    def span(
        self, name: SpanName, *, lane: Lane, records: int | None = None, chunk: int | None = None
    ) -> AbstractContextManager[None]:
        """The time between entering and leaving, as a child of the span around it."""
        if self._tracer is None:
            return _NOTHING
        given = {"lane": str(lane), "records": records, "chunk": chunk}
        return _span(self._tracer, name, {key: value for key, value in given.items() if value is not None})

    def close(self) -> None:
        """Send what is left, for at most two seconds. Twice is as good as once."""
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is not None:
            # An exporter waits much longer for an endpoint that does not answer.
            closing = Thread(target=provider.shutdown, name="close-tracing", daemon=True)
            closing.start()
            closing.join(_CLOSE_SECONDS)


def open_tracing(environ: Mapping[str, str] = os.environ) -> Tracing:
    """Tracing as OpenTelemetry's own environment variables ask for it. No provider becomes the process's global one."""
    if not any(environ.get(name) for name in _ENDPOINTS):
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra
    except ImportError:
        _log.warning("tracing-unavailable", extra="otel")
        return Tracing()
    resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", "revoker")})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


@contextmanager
def _span(tracer: "Tracer", name: SpanName, attributes: Mapping[str, str | int]) -> Iterator[None]:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
