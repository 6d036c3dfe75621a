"""The parts of the stream that need no Kafka: positions, what a tenant sees, events; and sessions in use."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.api.metrics import ApiMetrics
from revoker.api.networks import Networks
from revoker.api.notices import event, seen_by, told
from revoker.api.positions import Vector
from revoker.api.presented import Presented, input_to_write
from revoker.core.claims import SessionClaims
from revoker.core.revocation import Selector
from revoker.errors import PublishError
from revoker.settings import CheckSettings, Settings
from schemas.inputs import IDENTITY_EVENTS, SESSION_ACTIVITY
from tests.announced import ended

OFFSETS = st.lists(st.integers(0, 10**17), min_size=1, max_size=20).map(tuple)
EPOCHS = st.from_regex(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", fullmatch=True)


@given(EPOCHS, OFFSETS)
def test_a_position_can_be_read_back(epoch: str, offsets: tuple[int, ...]) -> None:
    assert Vector.parse(str(Vector(epoch, offsets))) == Vector(epoch, offsets)


@given(st.text(max_size=40))
def test_anything_else_is_no_position(text: str) -> None:
    found = Vector.parse(text)

    assert found is None or str(found) == text


@given(OFFSETS, st.data())
def test_a_position_only_moves_on(offsets: tuple[int, ...], data: st.DataObject) -> None:
    before = Vector("e", offsets)
    after = before.passed(data.draw(st.integers(0, len(offsets) - 1)), data.draw(st.integers(0, 10**17)))

    assert after.joined(before) == after == before.joined(after)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20)), st.sampled_from([None, 2]))
def test_whatever_is_told_is_one_event(extra: dict[str, str], indent: int | None) -> None:
    tree: dict[str, Any] = json.loads(ended()) | {f"x{name}": value for name, value in extra.items()}
    notice = told(json.dumps(tree, indent=indent).encode())
    assert notice is not None

    lines = event("notification", "e.1", notice.body).decode().split("\n")

    assert lines[:2] == ["id: e.1", "event: notification"]
    assert json.loads(lines[2].removeprefix("data: ")) == tree
    assert lines[3:] == ["", ""]


@pytest.mark.parametrize("value", [None, b"", b"junk", b"[]", b'{"type":7}', b"\xff", b"[" * 100_000])
def test_what_is_no_notification_is_told_to_nobody(value: bytes | None) -> None:
    assert told(value) is None


@pytest.mark.parametrize(
    ("selector", "tenant", "sees"),
    [
        (Selector(tenant="acme", subject="a"), "acme", "all"),
        (Selector(tenant="acme", subject="a"), "other", "nothing"),
        (Selector(tenant="acme", subject="a"), None, "all"),
        (Selector(tenant="", subject="a"), "acme", "nothing"),
        (Selector(key_id="k"), "acme", "predicate"),
        (Selector(key_id="k"), None, "all"),
        (Selector(tenant="other"), "acme", "nothing"),
    ],
)
def test_a_tenant_sees_its_own(selector: Selector, tenant: str | None, sees: str) -> None:
    notice = told(ended(selector, ["s-1"]))
    assert notice is not None

    body = seen_by(notice, tenant)

    sessions = None if body is None else json.loads(body)["data"]["sessions"]
    assert sessions == {"all": [{"session_id": "s-1", "client_id": ""}], "predicate": [], "nothing": None}[sees]


@pytest.mark.parametrize(
    ("address", "inside"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("11.0.0.1", False), ("2001:db8::1", True), ("junk", False)],
)
def test_addresses_are_looked_up_in_every_spelling(address: str, inside: bool) -> None:  # noqa: FBT001 - a table
    assert Networks(("10.0.0.0/8", "2001:db8::/32")).hold(address) is inside


# Sessions in use


class Sender:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.fails = False

    async def send(self, topic: str, records: list[tuple[bytes, bytes]]) -> None:
        assert topic == "p-session-activity"
        if self.fails:
            raise PublishError
        self.sent += [json.loads(value) for _, value in records]


class Clock:
    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def presented(sender: Sender, clock: Clock, metrics: ApiMetrics) -> Presented:
    return Presented(Settings(topic_prefix="p-"), SESSION_ACTIVITY, sender, metrics, clock)  # type: ignore[arg-type]


async def test_a_session_in_use_is_told_of_once_a_minute() -> None:
    sender, clock = Sender(), Clock()
    made = presented(sender, clock, ApiMetrics())
    for _ in range(3):
        for session in ("s-1", "s-2", None):
            made.saw(SessionClaims(subject="alice", session_id=session))
        await made.flush()
        clock.seconds += 25
    clock.seconds += 10
    made.saw(SessionClaims(subject="alice", session_id="s-1"))
    await made.flush()

    assert [event["data"]["session_id"] for event in sender.sent] == ["s-1", "s-2", "s-1"]
    assert len({event["id"] for event in sender.sent}) == len(sender.sent)
    assert abs((datetime.fromisoformat(sender.sent[0]["time"]) - datetime.now(UTC)).total_seconds()) < 60


async def test_what_cannot_be_told_is_counted_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revoker.api.presented._MOST", 3)
    sender, clock, metrics = Sender(), Clock(), ApiMetrics()
    made = presented(sender, clock, metrics)
    for number in range(5):
        made.saw(SessionClaims(subject="alice", session_id=f"s-{number}"))
    sender.fails = True
    await made.flush()
    sender.fails = False
    await made.flush()

    assert sender.sent == []
    assert metrics.registry.get_sample_value("revoker_presented_lost_total") == 5
    clock.seconds += 61
    made.saw(SessionClaims(subject="alice", session_id="s-9"))
    await made.flush()
    assert [event["data"]["session_id"] for event in sender.sent] == ["s-9"]


@pytest.mark.parametrize(
    ("inputs", "wanted", "writes"),
    [
        ((SESSION_ACTIVITY,), None, True),
        ((SESSION_ACTIVITY,), False, False),
        ((IDENTITY_EVENTS,), None, False),
        ((IDENTITY_EVENTS,), True, False),
        ((SESSION_ACTIVITY.model_copy(update={"source": "login"}),), None, False),
        ((SESSION_ACTIVITY.model_copy(update={"source": "login"}),), True, True),
        ((SESSION_ACTIVITY.model_copy(update={"tenant": "acme"}),), None, False),
    ],
)
def test_only_a_topic_that_is_ours_to_write_is_written(inputs: Any, wanted: bool | None, writes: bool) -> None:  # noqa: FBT001 - a table
    settings = Settings(inputs=inputs, check=CheckSettings(presented=wanted))

    assert (input_to_write(settings) is not None) is writes
