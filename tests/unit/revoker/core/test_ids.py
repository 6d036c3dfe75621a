"""Ids never change by accident: what they are is written down here."""

import hashlib
import json
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from revoker.core.ids import NAMESPACE, WIDE_LOCK, canonical, derive, lock_key, notification_id, revocation_id

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def test_the_ids_of_an_event_are_for_ever() -> None:
    made = revocation_id(
        "https://idp.example", "e-1", "password-changed", "", "alice", "2026-11-21T09:00:00.000000Z", {"keep": ["s-1"]}
    )

    assert made == uuid.UUID("a90f5b94-04c1-535b-b3a8-7263d9ea40a7")
    assert notification_id(made, "ended", "alice", 0) == uuid.UUID("1b798b0c-3c68-5d3b-a088-8839bc9d13f7")
    assert revocation_id("s", "e", "logged-out", "t", None, None, {}) == uuid.UUID(
        "85b82b78-6d95-5bb5-bb60-b8b1747b81f6"
    )


def test_the_locks_of_subjects_are_for_ever() -> None:
    """Two releases that run side by side must take the same locks."""
    assert lock_key("", "alice") == 5427351492043370286
    assert lock_key("acme", "Zoë 🔐") == 8392001327265364087
    assert WIDE_LOCK == 32199706694870386


def test_the_namespace_is_for_ever() -> None:
    assert str(NAMESPACE) == "6c1f0a52-6f0e-5b7e-9d2a-3a4f5d0c7e11"


@given(JSON)
def test_an_id_is_the_uuid5_of_the_canonical_json(value: Any) -> None:
    made = derive(value)

    assert made == uuid.uuid5(NAMESPACE, canonical(value).decode())
    assert (made.version, made.variant) == (5, uuid.RFC_4122)


@given(JSON)
def test_canonical_json_is_compact_sorted_and_says_the_same(value: Any) -> None:
    text = canonical(value).decode()

    assert json.loads(text) == value
    assert canonical(json.loads(text)).decode() == text


def test_canonical_json_sorts_keys_at_every_depth() -> None:
    assert canonical({"b": [{"z": 1, "a": "é"}], "a": None}) == '{"a":null,"b":[{"a":"é","z":1}]}'.encode()


@given(st.lists(st.text(max_size=3), min_size=7, max_size=7), st.integers(0, 6), st.text(max_size=3))
def test_every_part_of_an_event_counts(parts: list[str], place: int, other: str) -> None:
    def made(values: list[str]) -> uuid.UUID:
        source, event_id, type_, tenant, subject, time, word = values
        return revocation_id(source, event_id, type_, tenant, subject, time, {"reason_admin": word})

    changed = [*parts[:place], other, *parts[place + 1 :]]

    assert (made(parts) == made(changed)) is (parts == changed)


@given(st.text(), st.text())
def test_a_lock_fits_postgres_and_follows_from_the_subject(tenant: str, subject: str) -> None:
    key = lock_key(tenant, subject)
    digest = hashlib.blake2b(f"{tenant}\x1f{subject}".encode(), digest_size=8).digest()

    assert -(2**63) <= key < 2**63
    assert key % 2**64 == int.from_bytes(digest, "big")


def test_tenant_and_subject_are_not_mixed_up() -> None:
    assert len({lock_key("a", "b"), lock_key("b", "a"), lock_key("", "ab"), lock_key("ab", "")}) == 4
