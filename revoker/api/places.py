"""Where a network is, by a database of one's own (MaxMind's format): a city and a country, in the person's language.

A person sees no addresses, not even those of own devices: whoever sits there with a stolen session would learn where
its owner lives to the street. The database is read where the settings name one; it is opened once, at the start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import maxminddb
from babel import Locale
from maxminddb import InvalidDatabaseError

from revoker.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """As much as the database knows."""

    city: str | None
    country: str | None
    code: str | None
    """Of the country, in two letters (ISO 3166)."""

    @property
    def text(self) -> str:
        """For people."""
        return ", ".join(name for name in (self.city, self.country) if name)


class Places:
    """Looks places up. Without a database there are none."""

    def __init__(self, database: maxminddb.Reader | None = None) -> None:
        self._database = database

    @classmethod
    def opened(cls, path: Path | None) -> Self:
        """Raises `ConfigurationError` for a file that cannot be read."""
        if path is None:
            return cls()
        try:
            return cls(maxminddb.open_database(path))
        except (OSError, ValueError, InvalidDatabaseError) as error:
            raise ConfigurationError(f"[devices] networks: {path} cannot be read as a database of networks") from error

    def find(self, address: str | None, language: str) -> Place | None:
        """Where `address` is, in `language` or else in English. None: nobody knows."""
        if self._database is None or address is None:
            return None
        try:
            found = self._database.get(address)
        except (ValueError, InvalidDatabaseError):
            # No address, one of IPv6 in a database without them, or a part of the file that is damaged.
            return None
        if not isinstance(found, dict):
            return None
        country = found.get("country") or found.get("registered_country")
        code = country.get("iso_code") if isinstance(country, dict) else None
        code = code if isinstance(code, str) else None
        place = Place(
            city=_name(found.get("city"), language),
            country=_territory(code, language) or _name(country, language),
            code=code,
        )
        return place if place.text else None


def _territory(code: str | None, language: str) -> str | None:
    name = Locale(language).territories.get(code) if code is not None else None
    return str(name) if name is not None else None


def _name(part: Any, language: str) -> str | None:  # noqa: ANN401 - a database may hold anything
    names = part.get("names") if isinstance(part, dict) else None
    if not isinstance(names, Mapping):
        return None
    name = names.get(language) or names.get("en")
    return name if isinstance(name, str) and name.isprintable() else None
