"""What a log line is, and that no secret gets into one, whoever writes it and wherever it hides."""

import base64
import json
import logging
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.logs import get_logger, mask_error, mask_text
from revoker.logs.masking import MASK, describe_error, mask_field

ROOT = Path(__file__).parents[3]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnktand0In0.c2lnbmF0dXJlLWNhbmFyeQ"
BEARER = "canaryBearer0123456789abcdefXYZ"
CANARIES = {
    "canary.mail+x@example.com": "canary.mail",
    JWT: "c2lnbmF0dXJlLWNhbmFyeQ",
    f"Authorization: Bearer {BEARER}": BEARER,
    "postgresql+asyncpg://revoker:canary-p@ss/word@db.internal:5432/revoker": "canary-p",
    "first\nCANARY-LINE 2026-01-01 level=info": "\nCANARY-LINE",
    "\x1b[2Jcanary-escape": "\x1b[2J",
    "password=canary-assigned": "canary-assigned",
}
"""What is written, and what of it must never be read."""

SCRIPT = """
import asyncio, json, logging, os, sys, threading, warnings
from revoker.logs import configure, get_logger, log_crashes

canaries = json.loads(os.environ["CANARIES"])
log = get_logger("revoker.early")
log.warning("stuck", text=canaries[0], password="canary-assigned")   # before configure: masked as well

configure("debug", sys.argv[1])
log_crashes()
log = get_logger("revoker.test")
library = logging.getLogger("aiokafka.consumer")

class Refusing:
    def __str__(self): raise ValueError(canaries[0])

def fail(canary):
    local_of_frame = canary
    raise ValueError("refused: " + canary)

for canary in canaries:
    log.info("batch-applied", text=canary, token=canary, it=(canary,))
    log.info("batch-applied", nested={"a": [canary], "cookie": canary, canary: 1})
    log.bind(bound=canary).debug("batch-applied", raw=canary.encode(), subject=canary, refusing=Refusing())
    library.warning("text %s", canary)
    library.warning(canary)
    library.debug("NEVER SHOWN %s", canary)
    library.error("duplicate key\\nDETAIL:  Key (subject)=(NEVER SHOWN)")
    library.error("%d", canary)   # cannot be formatted
    logging.getLogger("uvicorn.error").error("uvicorn says %s", canary, stack_info=True)
    try:
        try:
            fail(canary)
        except ValueError as error:
            raise ExceptionGroup(canary, [RuntimeError(canary), KeyError(canary)]) from error
    except ExceptionGroup as error:
        log.exception("batch-failed")
        log.error("batch-failed", error=error, cause=error)
        library.exception("library failed")
    warnings.warn(canary, stacklevel=1)
    thread = threading.Thread(target=fail, args=(canary,))
    thread.start()
    thread.join()

async def forgotten():
    task = asyncio.create_task(asyncio.to_thread(fail, canaries[0]))
    await asyncio.wait([task])
    del task

asyncio.run(forgotten())

import faststream.kafka
from faststream._internal.context.repository import ContextRepo
from faststream._internal.logger.logging import get_broker_logger
broker_log = get_broker_logger("kafka", {}, 10, "%(message)s", ContextRepo(), logging.INFO)
for canary in canaries:
    broker_log.info("NEVER SHOWN %s", canary)
    broker_log.error("broker %s", canary)
    logging.getLogger("faststream").error("faststream %s", canary)
print(len(logging.getLogger("faststream.access.kafka").handlers), "handler")
raise ValueError(canaries[0] + canaries[4])
"""


def _run(log_format: str) -> tuple[str, str]:
    # Random hash seeds and no warnings filter: as in production.
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CANARIES": json.dumps(list(CANARIES))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, log_format], env=environ, capture_output=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 1, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_canary_survives_in_fields_exceptions_libraries_or_crashes(log_format: str) -> None:
    out, err = _run(log_format)

    for hidden in CANARIES.values():
        assert hidden not in err
    assert out == "1 handler\n"
    assert "NEVER SHOWN" not in err
    assert "Traceback" not in err
    assert "local_of_frame" not in err
    for seen in ("library failed", "broker", "faststream", "uvicorn says", "log-failed", "crashed", "UserWarning"):
        assert seen in err
    if log_format == "json":
        _check_json_lines(err)


def _check_json_lines(err: str) -> None:
    early, *lines = err.splitlines()
    assert "stuck" in early
    parsed = [json.loads(line) for line in lines]
    for line in parsed:
        assert list(line)[:4] == ["time", "level", "event", "logger"]
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
    crashes = [line for line in parsed if line["event"] == "crashed"]
    assert len(crashes) == len(CANARIES) + 1
    (type_and_place,) = crashes[-1]["exception"]
    assert type_and_place["type"] == "ValueError"
    assert type_and_place["frames"][0].startswith("__main__:")
    chain = next(line for line in parsed if line["event"] == "batch-failed")["exception"]
    assert [one["type"] for one in chain] == ["ExceptionGroup", "RuntimeError", "KeyError", "ValueError"]
    assert {line["logger"] for line in parsed if line["event"] == "log-failed"} == {"aiokafka.consumer"}


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    taken: list[logging.LogRecord] = []

    class Taking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            taken.append(record)

    handler = Taking()
    logger = logging.getLogger("revoker.test_logs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield taken
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_a_line_is_an_event_and_its_fields(records: list[logging.LogRecord]) -> None:
    get_logger("revoker.test_logs").bind(lane="revocation").info("batch-applied", records=500, seconds=0.25)

    line: Any = records[0].msg
    line.pop("time")
    told = {"level": "info", "event": "batch-applied", "logger": "revoker.test_logs"}
    assert line == told | {"lane": "revocation", "records": 500, "seconds": 0.25}


def test_fields_cannot_pass_for_what_a_line_begins_with(records: list[logging.LogRecord]) -> None:
    hostile: dict[str, Any] = {
        "time": "then",
        "level": "fine",
        "logger": "me",
        "self": 1,
        "method_name": 2,
        "_record": 3,
    }
    get_logger("revoker.test_logs").error("batch-failed", **hostile)

    line: Any = records[0].msg
    assert (line["level"], line["level_"], line["logger"], line["time_"]) == (
        "error",
        "fine",
        "revoker.test_logs",
        "then",
    )
    assert line["method_name"] == 2


def test_below_the_level_nothing_is_built(records: list[logging.LogRecord]) -> None:
    log = get_logger("revoker.test_logs")

    def thousand() -> float:
        start = time.perf_counter()
        for _ in range(1000):
            log.debug("batch-applied", records=5)
        return time.perf_counter() - start

    assert min(thousand() for _ in range(10)) < 2e-3
    assert not records


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to alice@example.com now", f"to {MASK} now"),
        ("to bob%40example.com", f"to {MASK}"),
        ("to o'brien@mail.example.co.uk!", f"to {MASK}!"),
        ("to jürgen@bücher.example", f"to {MASK}"),
        ('to "a;b"@[192.168.0.1]', f"to {MASK}"),
        ("redis://:pa:ss@h:6379/0", f"redis://{MASK}@h:6379/0"),
        ("dsn revoker:hunter2@db:5432", f"dsn {MASK}@db:5432"),
        ("{'password': 'a b\\'c', 'x': 1}", f"{{'password': {MASK}, 'x': 1}}"),
        ("('api_key', 'x y')", f"('api_key', {MASK})"),
        ("?access_token=abc&x=1 then", f"?access_token={MASK} then"),
        ("Cookie: a=b; c=d\nnext", f"Cookie: {MASK}\\nnext"),
        ("(b'authorization', b'Basic YTpi')", f"(b'authorization', {MASK}"),
        ("with Bearer abc.def-123", f"with Bearer {MASK}"),
        (f"jwt={JWT}.", f"jwt={MASK}"),
        ("gho_16C7e42F292c6912E7710c838347Ae178B4a", MASK),
        ("Key DETAIL: stays in texts", "Key DETAIL: stays in texts"),
    ],
)
def test_secrets_in_a_text_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Connect call failed ('127.0.0.1', 5432)",
        "kafka-1.kafka.svc.cluster.local:9092 in revoker-registration-consumer-group-12",
        "session 6f1c1d0e-3f0b-4f0e-9a53-3a1f4f9e2b11, token_id=t-1",
        f"session {'ab12' * 16}",
        "TopicPartition(topic='identity-events', partition=0)",
        "/srv/revoker/lib/python3.11/site-packages/uvicorn/server.py",
        "2026-11-21T09:00:00.000000Z, postgresql://localhost/revoker",
        "sauter la ligne après l'été — 東京",
    ],
)
def test_what_an_operator_needs_stays_readable(text: str) -> None:
    assert mask_text(text) == text


def test_random_tokens_are_found_without_a_hint() -> None:
    tokens = [
        base64.urlsafe_b64encode(random.randbytes(length)).decode() for length in (24, 32, 48) for _ in range(500)
    ]
    missed = [token for token in tokens if mask_text(f"got {token} here") != f"got {MASK} here"]
    # Now and then a short one looks like words.
    assert len(missed) <= 5
    assert mask_text(f"got {secrets.token_hex(24)} here") == f"got {MASK} here"


@pytest.mark.parametrize("secret", ["alice@example.com", JWT, "postgresql://u:hunter2@h/d"])
def test_a_secret_at_the_edge_of_what_is_read_does_not_survive_in_part(secret: str) -> None:
    for padding in range(1_900, 4_100, 7):
        masked = mask_text("x " * (padding // 2) + secret + " y" * 100)
        assert not any(part in masked for part in ("alice", "hunter2", JWT[10:20], JWT[-10:]))
        assert len(masked) < 2_020


@given(st.text(alphabet=st.characters(), max_size=300))
def test_a_text_becomes_one_printable_line_and_never_fails(text: str) -> None:
    masked = mask_text(text)

    assert masked.splitlines() in ([masked], [])
    masked.encode()
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in masked)


@pytest.mark.parametrize("bomb", ["a:", "://", "@", "a@", "eyJ", '"', "password", "token='\\", "_-", "a.b", "x://y@"])
def test_no_text_takes_long(bomb: str) -> None:
    start = time.perf_counter()
    mask_text(bomb * 1_000_000)

    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize("name", ["token", "password", "db_password", "Set-Cookie", "authorization", "client_secret"])
def test_fields_with_secret_names_are_masked_whatever_they_hold(name: str) -> None:
    for value in ("x", b"x", 1234, ["x"], {"a": "x"}, object()):
        assert mask_field(name, value) == MASK


def test_counts_and_public_ids_are_no_secrets() -> None:
    assert mask_field("tokens", 3) == 3
    assert mask_field("token_id", "t-1") == "t-1"
    assert mask_field("session_ids", ["s-1", "s-2"]) == ["s-1", "s-2"]


def test_subjects_and_record_keys_become_digests_that_can_be_compared() -> None:
    digest = mask_field("subject", "alice")

    assert digest == mask_field("key", b"alice")
    assert isinstance(digest, str)
    assert digest.startswith("sha256:")
    assert mask_field("subjects", ["alice", "\ud800"])[0] == digest  # type: ignore[index]


def test_every_value_becomes_plain_data_of_a_bounded_size() -> None:
    endless: list[Any] = []
    endless.append(endless)
    values = {
        "huge": 10**5000,
        "nan": float("nan"),
        "deep": endless,
        "wide": {str(index): index for index in range(1000)},
        "bytes": b"\xff" * 10_000,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "uuid": UUID(int=7),
        "set": frozenset({1}),
        "none": None,
        "flag": True,
    }

    told = json.dumps({name: mask_field(name, value) for name, value in values.items()}, allow_nan=False)
    assert len(told) < 3_000


def test_an_exception_leaves_its_type_and_no_values_of_a_statement_or_model() -> None:
    sql = ValueError("duplicate key\nDETAIL:  Key (subject)=(alice)\n[SQL: insert …]\n[parameters: ('alice',)]")
    model = ValueError("1 error\n  Input should be text [type=text, input_value='alice', input_type=str]")

    assert mask_error(sql) == f"ValueError: duplicate key\\n{MASK}"
    assert "alice" not in mask_error(model)
    assert mask_error(TimeoutError()) == "TimeoutError"


def test_a_chain_of_exceptions_that_goes_round_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first

    assert [one["message"] for one in describe_error(first) if isinstance(one, dict)] == ["first", "second"]


def test_a_deep_recursion_leaves_a_bounded_trace() -> None:
    def deeper(levels: int) -> None:
        if levels == 0:
            raise ValueError("bottom")
        deeper(levels - 1)

    with pytest.raises(ValueError) as caught:
        deeper(300)
    (one,) = describe_error(caught.value)
    assert isinstance(one, dict)
    assert len(list(one["frames"] or ())) == 20  # type: ignore[arg-type]
