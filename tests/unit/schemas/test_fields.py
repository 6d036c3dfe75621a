"""One value never breaks its neighbours: what each field type takes, and how it comes out."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.fields import (
    MAX_ID_BYTES,
    MAX_TEXT,
    Address,
    Count,
    Id,
    Instant,
    Labels,
    Network,
    Reasons,
    Tenant,
    Text,
    UserAgent,
    wire_time,
)

ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "id": TypeAdapter(Id),
    "tenant": TypeAdapter(Tenant),
    "text": TypeAdapter(Text),
    "user agent": TypeAdapter(UserAgent),
    "instant": TypeAdapter(Instant),
    "address": TypeAdapter(Address),
    "network": TypeAdapter(Network),
    "reasons": TypeAdapter(Reasons),
    "labels": TypeAdapter(Labels),
    "count": TypeAdapter(Count),
}


def read(name: str, value: object) -> Any:
    return ADAPTERS[name].validate_json(json.dumps(value))


def is_taken(name: str, value: object) -> bool:
    try:
        read(name, value)
    except ValidationError:
        return False
    return True


@given(st.text(max_size=20) | st.integers(120, 520).map("x".__mul__) | st.integers(60, 260).map("é".__mul__))
def test_an_id_has_1_to_512_bytes_and_no_control_characters(text: str) -> None:
    fits = 1 <= len(text.encode()) <= MAX_ID_BYTES and all(unicodedata.category(letter) != "Cc" for letter in text)

    assert is_taken("id", text) is fits
    assert is_taken("tenant", text) is (fits or not text)


@pytest.mark.parametrize("name", ["id", "tenant", "text"])
def test_no_text_holds_a_control_character(name: str) -> None:
    controls = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cc"]

    assert len(controls) == 65
    assert not any(is_taken(name, f"a{control}{end}") for control in controls for end in ("", "b"))
    assert is_taken(name, "a\u2028😀\u00a0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 7),
        ("tenant", None),
        ("text", "x" * (MAX_TEXT + 1)),
        ("user agent", 7),
        ("instant", 1_700_000_000),
        ("instant", "1700000000"),
        ("instant", "1.7e9"),
        ("instant", "2026-11-21"),
        ("instant", "2026-11-21T09:00:00"),
        ("instant", "0001-01-01T00:00:00+14:00"),
        ("instant", "9999-12-31T23:59:59-14:00"),
        ("instant", "2026-11-21T09:00:00Z\n"),
        ("address", "fe80::1%eth0"),
        ("address", "203.0.113.0/24"),
        ("address", "203.0.113.009"),
        ("address", 3_405_803_785),
        ("network", "fe80::%1/64"),
        ("network", "203.0.113.0/33"),
        ("network", 7),
        ("reasons", {}),
        ("reasons", {"": "x"}),
        ("reasons", {"e n": "x"}),
        ("reasons", {"en": "x\n"}),
        ("labels", {"": "x"}),
        ("labels", {"x": ""}),
        ("labels", {str(number): "x" for number in range(51)}),
        ("count", -1),
        ("count", 2**31),
        ("count", 1.0),
        ("count", True),
    ],
)
def test_refused(name: str, value: object) -> None:
    assert not is_taken(name, value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("text", "x" * MAX_TEXT, "x" * MAX_TEXT),
        ("instant", "2026-11-21T09:00:00Z", datetime(2026, 11, 21, 9, tzinfo=UTC)),
        ("instant", "2026-11-21t14:30:00.1234567+05:30", datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)),
        ("address", "::ffff:203.0.113.9", "203.0.113.9"),
        ("address", "2001:DB8::0:1", "2001:db8::1"),
        ("network", "203.0.113.9/24", "203.0.113.0/24"),
        ("network", "::ffff:203.0.113.9/120", "203.0.113.0/24"),
        ("network", "::ffff:0:0/96", "0.0.0.0/0"),
        ("network", "2001:DB8::1", "2001:db8::1/128"),
        ("network", "::/0", "::/0"),
        ("reasons", {"zh-Hant-TW": "x"}, {"zh-Hant-TW": "x"}),
        ("labels", {}, {}),
        ("count", 2**31 - 1, 2**31 - 1),
    ],
)
def test_read_as(name: str, value: object, expected: object) -> None:
    assert read(name, value) == expected


@given(st.ip_addresses())
def test_every_address_has_one_spelling_which_is_read_as_itself(address: object) -> None:
    spelled = read("address", str(address))

    assert read("address", spelled) == spelled
    assert read("network", str(address)).partition("/")[0] == spelled
    if isinstance(address, IPv4Address):
        assert read("address", f"::ffff:{address}") == spelled


@pytest.mark.parametrize("value", ["not an address", "1.2.3.4.5"])
def test_what_a_validator_says_does_not_repeat_the_value(value: str) -> None:
    for name in ("address", "network"):
        with pytest.raises(ValidationError) as caught:
            read(name, value)
        assert value not in caught.value.errors(include_input=False)[0]["msg"]


def test_a_strange_user_agent_is_made_to_fit() -> None:
    assert read("user agent", "Mozilla/5.0 (é)") == "Mozilla/5.0 (é)"
    assert read("user agent", "curl\x00\x85\r\n") == "curl????"
    assert read("user agent", "x" * 3_000) == "x" * MAX_TEXT


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_a_time_is_27_characters_in_order_and_read_as_itself(instant: datetime) -> None:
    try:
        utc = instant.astimezone(UTC)
    except OverflowError:
        return
    text = wire_time(utc)

    assert len(text) == 27
    assert read("instant", text) == utc
    assert ADAPTERS["instant"].dump_json(utc) == f'"{text}"'.encode()
    assert wire_time(datetime(2026, 11, 21, tzinfo=UTC)) == "2026-11-21T00:00:00.000000Z"
    assert (text < "2026-11-21T00:00:00.000000Z") is (utc < datetime(2026, 11, 21, tzinfo=UTC))


def test_our_own_code_builds_messages_with_aware_datetimes_alone() -> None:
    instant = ADAPTERS["instant"]
    there = datetime(2026, 11, 21, 14, 30, tzinfo=timezone(timedelta(hours=5.5)))

    assert instant.validate_python(there).isoformat() == "2026-11-21T09:00:00+00:00"
    assert instant.validate_python(there.astimezone(UTC)).isoformat() == "2026-11-21T09:00:00+00:00"
    for wrong in (there.replace(tzinfo=None), "2026-11-21T09:00:00Z", 1_700_000_000):
        with pytest.raises(ValidationError):
            instant.validate_python(wrong)
