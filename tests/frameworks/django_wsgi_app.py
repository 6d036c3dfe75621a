"""The application as one writes it with Django for WSGI."""

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped] # noqa: E402 - Django is set up now
from django.http import (  # type: ignore[import-untyped] # noqa: E402 - as above
    HttpRequest,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # type: ignore[import-untyped] # noqa: E402 - as above

from tests.frameworks.ends import SIZE  # noqa: E402 - as above
from tests.frameworks.flask_app import parts  # noqa: E402 - as above


def hello(_: HttpRequest) -> HttpResponseBase:
    return JsonResponse({"hello": "world"})


def sse(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(parts(b"data: %s\n\n", request.GET["who"]), content_type="text/event-stream")


def stream(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(parts(b"%s\n", request.GET["who"]), content_type="application/x-ndjson")


def download(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(parts(b"%s\n", request.GET["who"]), headers={"content-length": str(SIZE)})


urlpatterns = [
    path("hello", hello),
    path("events", sse),
    path("stream", stream),
    path("download", download),
]
app = get_wsgi_application()
