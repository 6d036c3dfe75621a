"""Which lane reads what, and topics that two lanes read."""

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from pydantic import ValidationError

from consumers.registration import Registering
from consumers.revocation import Revoking
from revoker.settings import Settings
from revoker.telemetry import Metrics
from schemas import codec
from schemas.codec import ACTIVITY, IDENTITY, Ignored, Reason, Rejected
from schemas.inputs import DEFAULT_INPUTS, Format, Input, Lane
from schemas.lanes import lane_of, of_lane
from tests.servers import make_settings


def both(**table: Any) -> tuple[Input, ...]:
    return tuple(Input.model_validate({"topic": "t", **table, "lane": lane}) for lane in ("revocation", "registration"))


def event(type_: str, **more: Any) -> bytes:
    data = {"session_id": "s", "session_ids": ["s"], "token_id": "t", "kind": "refresh"}
    envelope = {"specversion": "1.0", "type": type_, "source": "l", "id": "1", "subject": "a", "data": data}
    return json.dumps(envelope | more).encode()


def test_a_type_is_of_one_lane() -> None:
    assert not IDENTITY.types & ACTIVITY.types
    assert {lane_of(name) for name in IDENTITY.types} == {Lane.REVOCATION}
    assert {lane_of(name) for name in ACTIVITY.types} == {Lane.REGISTRATION}
    assert lane_of("hold-placed") is None


def test_inputs_of_one_lane_are_as_they_were_given() -> None:
    assert of_lane(DEFAULT_INPUTS, Lane.REVOCATION) == DEFAULT_INPUTS[:1]
    assert of_lane(DEFAULT_INPUTS, Lane.REGISTRATION) == DEFAULT_INPUTS[1:]
    assert of_lane(DEFAULT_INPUTS, Lane.RECEIPTS) == ()


@pytest.mark.parametrize("prefix", ["", "com.example."])
@pytest.mark.parametrize("type_", sorted(IDENTITY.types | ACTIVITY.types))
def test_on_a_shared_topic_each_lane_passes_by_what_is_the_others(type_: str, prefix: str) -> None:
    lanes = {Lane.REVOCATION: IDENTITY, Lane.REGISTRATION: ACTIVITY}

    for lane, vocabulary in lanes.items():
        [source] = of_lane(both(ignore=("x-*",)), lane)
        read = codec.decode(vocabulary, source, event(prefix + type_))  # type: ignore[arg-type]  # of both
        assert isinstance(read, Ignored) is (lane_of(type_) is not lane)
        assert source.ignore[0] == "x-*"


def test_what_is_not_shared_is_refused_as_ever() -> None:
    with pytest.raises(Rejected):
        codec.decode(IDENTITY, DEFAULT_INPUTS[0], event("session-established"))


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ((Input(topic="t"), Input(topic="t", tenant="acme")), "twice in one lane"),
        ((Input(topic="t"), Input(topic="t", lane=Lane.REGISTRATION, format=Format.OKTA)), "one format"),
    ],
)
def test_a_topic_stands_once_in_a_lane_and_has_one_format(inputs: tuple[Input, ...], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        make_settings(inputs=inputs)
    assert make_settings(inputs=both(format="okta")).inputs_of(Lane.REGISTRATION).keys() == {"t"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "okta", "realms": {"a": "b"}},
        {"realms": {"a": "b"}},
        {"format": "keycloak", "realms": {"a": "b"}, "tenant": "c"},
        {"format": "carrier-pigeon"},
    ],
)
def test_what_an_input_cannot_keep_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Input.model_validate({"topic": "t"} | wrong)


class Lanes:
    """What the consumers of both lanes make of a record."""

    def __init__(self, settings: Settings) -> None:
        no_database: Any = None
        parts = (no_database, settings, Metrics())
        self.trades: tuple[Any, ...] = (Revoking(*parts), Registering(*parts))

    def read(self, value: bytes | None) -> list[str]:
        record = ConsumerRecord("t", 0, 0, 1_795_251_600_000, 1, b"k", value, None, 0, 0, ())
        return [self._told(trade, record) for trade in self.trades]

    def _told(self, trade: Any, record: Any) -> str:
        try:
            read = trade.read(record)
        except Rejected as error:
            return error.reason
        return "ignored" if isinstance(read, Ignored) else type(read).__name__


@pytest.mark.parametrize("format_", ["cloudevents", "keycloak"])
def test_what_nobody_can_read_is_set_aside_by_one_lane(format_: str) -> None:
    lanes = Lanes(make_settings(inputs=both(format=format_)))

    assert lanes.read(None) == [Reason.EMPTY, "ignored"]
    assert lanes.read(b"\xff") == [Reason.NOT_JSON, "ignored"]
    assert lanes.read(b'{"type": "never-heard-of"}') == [Reason.UNKNOWN_TYPE, "ignored"]


def test_what_is_wrong_with_a_lanes_own_is_set_aside_by_it() -> None:
    lanes = Lanes(make_settings(inputs=both(format="keycloak", realms={"r": "acme"})))

    def told(type_: str, **more: Any) -> list[str]:
        return lanes.read(json.dumps({"type": type_, "realmId": "r", "userId": "u", "sessionId": "s"} | more).encode())

    assert told("LOGIN") == ["ignored", "SessionSeen"]
    assert told("LOGOUT") == ["Claim", "ignored"]
    assert told("LOGIN", userId=None) == ["ignored", Reason.INVALID]
    assert told("LOGIN", realmId="other") == ["ignored", Reason.WRONG_TENANT]
    assert told("LOGOUT", realmId="other") == [Reason.WRONG_TENANT, "ignored"]
