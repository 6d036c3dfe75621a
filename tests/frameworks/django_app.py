"""The application as one writes it with Django and Channels. Both are untyped."""

from typing import Any
from urllib.parse import parse_qs

import django  # type: ignore[import-untyped]
from channels.generic.websocket import AsyncWebsocketConsumer  # type: ignore[import-untyped]
from channels.routing import ProtocolTypeRouter, URLRouter  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

from django.core.asgi import get_asgi_application  # type: ignore[import-untyped] # noqa: E402 - Django is set up now
from django.http import (  # type: ignore[import-untyped] # noqa: E402 - as above
    HttpRequest,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # type: ignore[import-untyped] # noqa: E402 - as above

from tests.frameworks.ends import ENDS, SIZE, events, lines  # noqa: E402 - as above


async def hello(_: HttpRequest) -> HttpResponseBase:
    return JsonResponse({"hello": "world"})


async def sse(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(events(request.GET["who"]), content_type="text/event-stream")


async def stream(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(lines(request.GET["who"]), content_type="application/x-ndjson")


async def download(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(lines(request.GET["who"]), headers={"content-length": str(SIZE)})


class Echo(AsyncWebsocketConsumer):  # type: ignore[misc] # untyped
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        query: dict[str, list[str]] = parse_qs(self.scope["query_string"].decode())
        ENDS.append(("socket", query["who"][0], code))


urlpatterns = [
    path("hello", hello),
    path("events", sse),
    path("stream", stream),
    path("download", download),
]
app: Any = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": URLRouter([path("socket", Echo.as_asgi())])}
)
