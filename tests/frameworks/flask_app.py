"""The application as one writes it with Flask. A stream waits for what the test's `MORE` brings."""

import threading
from collections import defaultdict
from collections.abc import Iterator

from flask import Flask, Response, jsonify, request

from tests.frameworks.ends import SIZE

MORE: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(0))
WAITING: dict[str, threading.Event] = defaultdict(threading.Event)
app = Flask(__name__)


@app.route("/hello", methods=["GET", "POST"])
def hello() -> Response:
    return jsonify(hello="world")


@app.get("/events")
def sse() -> Response:
    return Response(parts(b"data: %s\n\n", request.args["who"]), mimetype="text/event-stream")


@app.get("/stream")
def stream() -> Response:
    return Response(parts(b"%s\n", request.args["who"]), mimetype="application/x-ndjson")


@app.get("/download")
def download() -> Response:
    return Response(parts(b"%s\n", request.args["who"]), headers={"content-length": str(SIZE)})


def parts(form: bytes, who: str) -> Iterator[bytes]:
    yield form % b"hello"
    while True:
        WAITING[who].set()
        MORE[who].acquire()
        yield form % b"more"
