"""The examples in Node, Go and PHP: their readers against the shared vectors, and each as it serves."""

import asyncio
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from revoker.core.copies import Templates
from revoker.core.revocation import Selector
from revoker.core.wire import decode_notice
from revoker.embedded.ports import free_ports
from revoker.projection.entries import Chunk
from revoker.projection.store import Move, Projection, Server
from schemas.fields import wire_time
from tests import programs, servers
from tests.conformance import test_denylist_reader as reader
from tests.denylist import ended, hold, lift, revocation, session
from tests.processes import PATIENCE, ROOT

EXAMPLES: Final = ROOT / "examples"
LONGEST: Final = 80
UNSWEPT: Final = "unswept.js"
"""The server in Node without its regular look at everybody."""
INSTALL_SECONDS: Final = 110
NOTHING: Final = re.compile(r"\s*(//.*|<\?php)?$")
# Fetching packages and compiling Go's standard library happen once on a machine, and take a while there.
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Example:
    """An example as it can be run."""

    folder: Path
    serves: Sequence[object]
    checks: Sequence[object]
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, command: Sequence[object], redis_url: str, **options: Any) -> subprocess.Popen[str]:
        """Whoever asks for it sees to its end."""
        environment = {"PATH": os.environ.get("PATH", ""), "REVOKER_REDIS_URL": redis_url, **self.environment}
        return subprocess.Popen(
            list(map(str, command)),
            cwd=self.folder,
            env=environment | options.pop("more", {}),
            text=True,
            **options,
        )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Example:
    program("node", "--version", at_least=(20, 0))
    program("npm", "--version", at_least=(7, 0))
    packages = [EXAMPLES / "node" / name for name in ("package.json", "package-lock.json")]
    digest = sha256(b"".join(path.read_bytes() for path in packages)).hexdigest()
    with programs.kept(f"node-{digest[:16]}") as kept:
        if not (kept / ".complete").exists():
            for path in packages:
                shutil.copy(path, kept)
            install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            try:
                done = subprocess.run(
                    install, cwd=kept, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS
                )
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm could not install the example's packages within {INSTALL_SECONDS} s")
            if done.returncode:
                pytest.skip(f"npm could not install the example's packages: {done.stderr.strip()[-300:]}")
            (kept / ".complete").touch()
    folder = tmp_path_factory.mktemp("node")
    for source in (EXAMPLES / "node").glob("*.js*"):
        shutil.copy(source, folder)
    (folder / "node_modules").symlink_to(kept / "node_modules")
    (folder / "client.js").write_text(CLIENT)
    text, found = re.subn(r"(?<=look\(\[\]\), )5_000", "2_000_000", (folder / "server.js").read_text())
    assert found == 1
    (folder / UNSWEPT).write_text(text)
    return Example(folder, ("node", "server.js"), ("node", "check.js"))


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Example:
    # Debian's git would be asked for a revision, and a newer toolchain fetched.
    environment = os.environ | {"GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
    program("go", "version", at_least=(1, 22))
    built = tmp_path_factory.mktemp("go") / "example"
    subprocess.run(["go", "build", "-o", built, "."], cwd=EXAMPLES / "go", env=environment, check=True)
    return Example(EXAMPLES / "go", (built,), (built, "check"))


@pytest.fixture(scope="module")
def php() -> Example:
    found = programs.find("php") if shutil.which("php") else programs.find("php8.2", "php8.2-cli")
    environment = {"LD_LIBRARY_PATH": ":".join(map(str, found.libraries))}
    command = (found.path, "-n")
    return Example(EXAMPLES / "php", command, (*command, "check.php"), environment)


def program(name: str, question: str, *, at_least: tuple[int, int]) -> None:
    """Skips the test where there is no such program of that version."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not on the PATH")
    told = subprocess.run([name, question], check=True, capture_output=True, text=True).stdout
    version = re.search(r"(\d+)\.(\d+)", told)
    assert version is not None, told
    if (int(version[1]), int(version[2])) < at_least:
        pytest.skip(f"{name} is older than {at_least[0]}.{at_least[1]}")


@pytest.fixture(params=["node", "go", "php"])
def example(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["go", "php"])
def page(request: pytest.FixtureRequest) -> Any:
    """An example that answers HTTP requests."""
    return request.getfixturevalue(request.param)


# Redis as our consumers would have left it.


async def _write(redis_url: str, records: Sequence[bytes], *, streamed: bool) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        projection = Projection(client, 86_400)
        state = await projection.state()
        build = state.build or await projection.begin("", "feed", 0)
        start = (await projection.place(build, {0: 0}))[0]
        chunk = Chunk()
        for offset, value in enumerate(records, start):
            notice = decode_notice(value)
            if notice is not None:
                chunk.add(notice, Templates(()))
            if streamed:
                chunk.stream += (value.decode(), 0, offset)
        end = start + len(records)
        await projection.apply(build, chunk, [Move(0, start, end)])
        # A machine that is busy for seconds shall not make it too old.
        as_of = wire_time(datetime.now(UTC) + timedelta(hours=1))
        safe = Server(policy="noeviction", evicted=0)
        assert await projection.vouch(build, None, safe, as_of, {0: end}) == "complete"


def write(redis_url: str, *records: bytes, streamed: bool = True) -> None:
    """Adds what these records say."""
    servers.in_thread(_write(redis_url, records, streamed=streamed))


# The readers


class Asked:
    """The check mode of an example: a question a line, an answer a line."""

    def __init__(self, example: Example, redis_url: str) -> None:
        self._process = example.start(
            example.checks, redis_url, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, known: Mapping[str, Any], now: str, oldest: str = "") -> str:
        """What refuses: `ended` or `held` and its id; `live` or `unknown`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"known": known, "now": now, "oldest": oldest}) + "\n")
        entry = json.loads(self._process.stdout.readline())
        if not isinstance(entry, dict):
            return entry or "live"
        # Names and missing values are each language's own.
        told = {name.lower(): value for name, value in entry.items()}
        return f"{'held' if told.get('until') else 'ended'} {told['id']}"


@pytest.fixture
def ask(example: Example, redis_url: str) -> Iterator[Asked]:
    asked = Asked(example, redis_url)
    yield asked
    asked.close()


@dataclass(frozen=True)
class Case:
    """A vector as a question to a reader."""

    name: str
    records: Sequence[bytes]
    known: Mapping[str, Any]
    now: str
    answer: str


def cases() -> Iterator[Case]:
    """Both files of vectors, as the reader of the document is held to them."""
    for vector in reader.VECTORS:
        revoked, credential = vector["revocation"], vector["credential"]
        record = reader.record(revoked | {"covers_until": reader.FAR})
        named = "session_id" in revoked["selector"] and "session_id" in credential
        named &= "established_after" not in revoked["selector"]
        over = vector["covers"] == "yes" or (vector["covers"] == "unknown" and named)
        answer = f"ended {revoked['revocation_id']}" if over else "live"
        yield Case(vector["name"], [record], reader.known(credential), wire_time(reader.NOW), answer)
    for vector in map(reader.today, reader.GATEWAY_VECTORS):
        claimed = dict(vector["claims"])
        moment = claimed.get("established_at")
        if isinstance(moment, int):
            claimed |= {"established_at": wire_time(datetime.fromtimestamp(moment, UTC)), "whole_second": True}
        told = vector["answer"]
        who = told.get("revocation_id", told.get("hold_id", ""))
        records = [json.dumps(each).encode() for each in vector["records"]]
        yield Case(vector["name"], records, reader.known(claimed), vector["now"], f"{told['verdict']} {who}".strip())


def test_the_reader_answers_as_the_vectors_say(ask: Asked, redis_url: str) -> None:
    answers, expected = {}, {}

    for number, case in enumerate(cases()):
        servers.emptied(redis_url)
        write(redis_url, *case.records)
        answers[number, case.name] = ask(case.known, case.now)
        expected[number, case.name] = case.answer

    assert len(answers) > 100
    assert answers == expected


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(reader.ENDED | reader.HOLDS | reader.LIFTS, min_size=1, max_size=8, unique=True),
    st.lists(reader.CREDENTIALS, min_size=20, max_size=20),
)
def test_the_reader_agrees_with_the_document(
    ask: Asked, redis_url: str, records: list[bytes], credentials: list[dict[str, Any]]
) -> None:
    servers.emptied(redis_url)
    write(redis_url, *records)
    now = wire_time(reader.NOW)

    with Redis.from_url(redis_url, decode_responses=True) as redis:
        for credential in credentials:
            known = reader.known(credential)
            entry = reader.READER["refusal"](redis, known, now, "")
            expected = "live" if entry is None else f"{reader.verdict_of(entry)} {entry['id']}"
            assert ask(known, now) == expected, credential


NETWORKS: Final = ("0.0.0.0/1", "10.32.0.0/11", "203.0.113.128/25", "203.0.113.8/31", "2001:db8:8000::/33", "::2/127")


def test_the_reader_knows_networks_of_any_length(ask: Asked, redis_url: str) -> None:
    now = wire_time(datetime.now(UTC))
    for name in NETWORKS:
        network = ipaddress.ip_network(name)
        first, last = network[0], network[-1]
        addresses = [first, last, last + 1, *([first - 1] if int(first) else [])]
        servers.emptied(redis_url)
        write(redis_url, ended(revocation(selector=Selector(tenant="", ip_network=name))))

        for address in addresses:
            verdict = ask(reader.known({"tenant": "", "ip": str(address)}), now).partition(" ")[0]
            assert verdict == ("ended" if address in network else "live"), (address, name)


def test_without_an_epoch_or_a_time_or_with_an_old_one_the_reader_does_not_know(ask: Asked, redis_url: str) -> None:
    write(redis_url)
    known, now = reader.known({"session_id": "s-1"}), wire_time(datetime.now(UTC))
    later = wire_time(datetime.now(UTC) + timedelta(hours=2))

    told = [ask(known, now, now), ask(known, now, later)]
    with Redis.from_url(redis_url) as redis:
        for missing in ("epoch", "as-of"):
            kept = redis.getdel(f"revoker:revoked:{missing}")
            told.append(ask(known, now, now))
            redis.set(f"revoker:revoked:{missing}", kept)

    assert told == ["live", "unknown", "unknown", "unknown"]


LEAST: Final = "+@read +@transaction +ping +client|setinfo +hello resetkeys ~revoker:*"


def test_the_reader_needs_a_password_and_no_more_than_to_read(example: Example, redis_url: str) -> None:
    write(redis_url, ended(revocation(), session("s-1")))
    known, now = reader.known({"session_id": "s-1"}), wire_time(datetime.now(UTC))
    address = redis_url.partition("://")[2].rpartition("@")[2]
    answers = {}

    with Redis.from_url(redis_url) as redis:
        redis.execute_command(f"ACL SETUSER examples reset on >p@ss:word/1 {LEAST}")
        try:
            for password in ("p@ss:word/1", "wrong"):
                ask = Asked(example, f"redis://examples:{quote(password, safe='')}@{address}")
                # The client for Node does not get as far as to a question.
                if password != "wrong" or example.checks[0] != "node":
                    answers[password] = ask(known, now)
                ask.close()
        finally:
            redis.acl_deluser("examples")

    assert answers.pop("p@ss:word/1").startswith("ended ")
    assert set(answers.values()) <= {"unknown"}


# The pages in Go and PHP


@contextmanager
def served(example: Example, redis_url: str, log: Path) -> Iterator[str]:
    """The URL of an example that serves."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE
    command = [*example.serves, "-S", address] if "-n" in example.serves else example.serves
    with log.open("w") as out:
        process = example.start(command, redis_url, more={"PORT": str(port)}, stdout=out, stderr=out)
    try:
        while not answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def asked(url: str, subject: str, session_id: str) -> httpx.Response:
    headers = {"X-Revoker-Subject": quote(subject, safe=""), "X-Revoker-Session": quote(session_id, safe="")}
    return httpx.get(f"{url}/orders", headers=headers, timeout=PATIENCE)


def test_a_page_refuses_what_is_over_and_lets_everybody_else_pass(
    page: Example, redis_url: str, tmp_path: Path
) -> None:
    write(redis_url)
    until = datetime.now(UTC) + timedelta(days=1)

    with served(page, redis_url, tmp_path / "log") as url:
        before = asked(url, "alice", "s-1")
        write(redis_url, ended(revocation(), session("s-1")), hold("h-1", {"tenant": "", "subject": "bób 1"}, until))
        over, other, held = asked(url, "alice", "s-1"), asked(url, "alice", "s-2"), asked(url, "bób 1", "s-3")
        write(redis_url, lift("h-1", datetime.now(UTC)))
        again = asked(url, "bób 1", "s-3")
        nobody = httpx.get(url, timeout=PATIENCE)
        with Redis.from_url(redis_url) as redis:
            redis.delete("revoker:revoked:epoch")
        unknown = asked(url, "alice", "s-2")

    assert (before.status_code, before.text) == (200, "hello alice\n")
    assert (over.status_code, over.text) == (401, "password-changed\n")
    assert over.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert over.headers["Cache-Control"] == "no-store"
    assert (other.status_code, other.text) == (200, "hello alice\n")
    assert (held.status_code, held.text) == (403, "held\n")
    assert (again.status_code, again.text) == (200, "hello bób 1\n")
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (unknown.status_code, unknown.text) == (503, "nobody can tell now\n")


def test_nobody_passes_a_page_while_redis_is_away(page: Example, tmp_path: Path) -> None:
    (closed,) = free_ports(1)

    with served(page, f"redis://127.0.0.1:{closed}", tmp_path / "log") as url:
        answer = asked(url, "alice", "s-1")

    assert (answer.status_code, answer.text) == (503, "nobody can tell now\n")


# The sockets in Node

CLIENT: Final = """
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const say = (...what) => console.log(JSON.stringify(what));
for await (const line of createInterface({ input: process.stdin })) {
  const [name, transport, subject, session] = JSON.parse(line);
  const extraHeaders = { "X-Revoker-Subject": subject, "X-Revoker-Session": session };
  const socket = io(process.env.SERVER, { extraHeaders, transports: [transport], forceNew: true });
  socket.on("connect_error", (error) => say(name, "refused", error.message));
  socket.on("disconnect", (why) => say(name, "disconnect", why));
  socket.onAny((event, ...told) => say(name, event, ...told));
}
"""


class Sockets:
    """Socket.IO's own clients, and what they hear."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: dict[str, list[Any]] = {}

    def open(self, name: str, transport: str, subject: str, session_id: str) -> None:
        """What it hears is then heard under `name`."""
        assert self._process.stdin is not None
        told = [name, transport, quote(subject, safe=""), quote(session_id, safe="")]
        self._process.stdin.write(json.dumps(told).encode() + b"\n")

    async def until(self, name: str, *events: Any) -> None:
        """Until `name` has heard just these, each with what came with it."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while len(self.heard.get(name, [])) < len(events):
                line = await self._process.stdout.readline()
                assert line, self.heard
                who, *what = json.loads(line)
                self.heard.setdefault(who, []).append(tuple(what))
        assert self.heard[name] == list(events)


@pytest.fixture
async def sockets(
    request: pytest.FixtureRequest, node: Example, redis_url: str, tmp_path: Path
) -> AsyncIterator[Sockets]:
    write(redis_url)
    server = replace(node, serves=("node", getattr(request, "param", UNSWEPT)))
    with served(server, redis_url, tmp_path / "log") as url:
        process = await asyncio.create_subprocess_exec(
            "node",
            "client.js",
            cwd=node.folder,
            env={"PATH": os.environ.get("PATH", ""), "SERVER": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        yield Sockets(process)
        process.kill()
        await process.communicate()


HELLO: Final = ("hello", "alice")
GONE: Final = ("disconnect", "io server disconnect")
CHANGED: Final[Any] = ("revoked", "password-changed", {})


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_sockets_of_a_session_that_ended_fall_and_no_others(
    sockets: Sockets, redis_url: str, transport: str
) -> None:
    for session_id in ("s-1", "s-2"):
        sockets.open(session_id, transport, "alice", session_id)
        await sockets.until(session_id, HELLO)

    write(redis_url, ended(revocation(), session("s-1")))
    await sockets.until("s-1", HELLO, CHANGED, GONE)
    sockets.open("again", transport, "alice", "s-1")
    await sockets.until("again", ("refused", "password-changed"))
    sockets.open("nobody", transport, "alice", "")
    await sockets.until("nobody", ("refused", "sign in"))

    assert sockets.heard["s-2"] == [HELLO]


async def test_a_hold_cuts_sockets_and_its_lift_lets_them_in_again(sockets: Sockets, redis_url: str) -> None:
    sockets.open("before", "websocket", "bób 1", "s-1")
    await sockets.until("before", ("hello", "bób 1"))

    write(redis_url, hold("h-1", {"tenant": "", "subject": "bób 1"}, datetime.now(UTC) + timedelta(days=1)))
    await sockets.until("before", ("hello", "bób 1"), ("revoked", "held", {"en": "Held"}), GONE)
    sockets.open("meanwhile", "websocket", "bób 1", "s-1")
    await sockets.until("meanwhile", ("refused", "held"))
    write(redis_url, lift("h-1", datetime.now(UTC)))
    sockets.open("after", "websocket", "bób 1", "s-1")

    await sockets.until("after", ("hello", "bób 1"))


async def test_sockets_fall_by_a_rule_about_nobody_in_particular(sockets: Sockets, redis_url: str) -> None:
    sockets.open("s-1", "websocket", "alice", "s-1")
    await sockets.until("s-1", HELLO)

    write(redis_url, ended(revocation(selector=Selector(tenant="")), session("s-1", subject="alice")))

    await sockets.until("s-1", HELLO, CHANGED, GONE)


@pytest.mark.parametrize("sockets", ["server.js"], indirect=True)
async def test_sockets_fall_though_the_stream_does_not_say_so(sockets: Sockets, redis_url: str) -> None:
    sockets.open("s-1", "websocket", "alice", "s-1")
    await sockets.until("s-1", HELLO)

    write(redis_url, ended(revocation(), session("s-1")), streamed=False)

    await sockets.until("s-1", HELLO, CHANGED, GONE)


async def test_while_nobody_can_tell_open_sockets_stay_and_new_ones_are_refused(
    sockets: Sockets, redis_url: str
) -> None:
    sockets.open("s-1", "websocket", "alice", "s-1")
    await sockets.until("s-1", HELLO)

    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    sockets.open("s-2", "websocket", "alice", "s-2")
    await sockets.until("s-2", ("refused", "nobody can tell now"))
    write(redis_url, ended(revocation(), session("s-3")))
    sockets.open("s-4", "websocket", "alice", "s-4")
    await sockets.until("s-4", HELLO)
    assert sockets.heard["s-1"] == [HELLO]
    # The stream began anew, and is still followed.
    write(redis_url, ended(revocation(), session("s-1")))

    await sockets.until("s-1", HELLO, CHANGED, GONE)


def test_no_file_of_an_example_has_more_than_eighty_lines() -> None:
    lines = {
        str(path.relative_to(EXAMPLES)): sum(not NOTHING.match(line) for line in path.read_text().splitlines())
        for kind in ("*.js", "*.go", "*.php")
        for path in EXAMPLES.rglob(kind)
    }

    assert len(lines) == 10
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_the_packages_of_the_example_come_from_no_place_in_particular() -> None:
    locked = json.loads((EXAMPLES / "node/package-lock.json").read_text())
    wanted = json.loads((EXAMPLES / "node/package.json").read_text())

    del locked["packages"][""]
    assert all("integrity" in package and "resolved" not in package for package in locked["packages"].values())
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert locked["packages"][f"node_modules/{name}"]["version"] == version
