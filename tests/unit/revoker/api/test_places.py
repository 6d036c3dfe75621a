"""Places by a small database of one's own."""

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]  # no stubs

from revoker.api.places import Places
from revoker.errors import ConfigurationError

RECORDS: dict[str, Any] = {
    "192.0.2.0/24": {
        "city": {"names": {"en": "Munich", "de": "München"}},
        "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    },
    "198.51.100.0/24": {"country": {"iso_code": "FR"}},
    "203.0.113.0/25": {"registered_country": {"names": {"en": "Nowhere"}}, "city": {"names": {"fr": "Nulle part"}}},
    "203.0.113.128/25": {"city": "Munich", "country": ["DE"]},
    "2001:db8::/32": {"city": {"names": {"en": "A\x1b[2Jb"}}, "country": {"iso_code": "AT"}},
}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.opened(written(tmp_path / "networks.mmdb"))


def written(path: Path) -> Path:
    writer = MMDBWriter(6, "Test", ipv4_compatible=True)
    for network, record in RECORDS.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.mark.parametrize(
    ("address", "language", "text"),
    [
        ("192.0.2.7", "en", "Munich, Germany"),
        ("192.0.2.7", "de", "München, Deutschland"),
        ("198.51.100.1", "de", "Frankreich"),
        ("203.0.113.1", "de", "Nowhere"),
        ("2001:db8::1", "de", "Österreich"),
    ],
)
def test_a_place_is_told_as_far_as_it_is_known(places: Places, address: str, language: str, text: str) -> None:
    found = places.find(address, language)

    assert found is not None
    assert found.text == text


@pytest.mark.parametrize("address", [None, "203.0.113.200", "10.0.0.1", "not an address", "::"])
def test_what_is_not_known_has_no_place(places: Places, address: str | None) -> None:
    assert places.find(address, "en") is None


def test_without_a_database_nothing_has_a_place() -> None:
    assert Places.opened(None).find("192.0.2.7", "en") is None


@pytest.mark.parametrize("content", [None, b"", b"not a database"])
def test_a_file_that_is_none_is_refused_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "networks.mmdb"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError, match="networks"):
        Places.opened(path)
