"""Somebody who has proven to be somebody, and what their token lets them do."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from revoker.api.callers import session_claims, tenant_of
from revoker.api.grants import ALL_TENANTS
from revoker.api.tokens import Verified
from revoker.core.claims import SessionClaims
from revoker.settings import ClaimSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A person or a program."""

    claims: SessionClaims
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenant: str | None
    """The tenant that it is bound to, empty where there is only one; None: it may act in all of them."""
    by_cookie: bool = False
    until: float
    """Unix time at which it has to prove itself again."""
    raw: bytes = field(repr=False)
    """The token or cookie as it was sent. Never to be logged."""
    doubtful: bool = False
    """The registry knows no such session, or not yet. Such a one can leave, and nothing else."""


def principal_of(verified: Verified, names: ClaimSettings, raw: bytes, *, by_cookie: bool) -> Principal:
    """Whoever a verified token speaks of. Raises `TokenRefusedError`."""
    scopes, roles = frozenset(_words(verified.claims, names.scope)), frozenset(_all_words(verified.claims, names.roles))
    tenant: str | None = ""
    if names.tenant is not None:
        tenant = None if ALL_TENANTS in scopes | roles else tenant_of(verified.claims, names)
    return Principal(
        claims=session_claims(verified, names),
        scopes=scopes,
        roles=roles,
        tenant=tenant,
        by_cookie=by_cookie,
        until=verified.expires_at,
        raw=raw,
    )


def _words(claims: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    """Of the first claim that is there."""
    found: Any = next((claims[name] for name in names if name in claims), None)
    yield from _listed(found)


def _all_words(claims: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from _listed(_at(claims, name))


def _at(claims: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - a claim may be anything
    """The claim of that very name (some are URLs), else what its dots lead to."""
    if name in claims:
        return claims[name]
    place: Any = claims
    for step in name.split("."):
        if not isinstance(place, Mapping):
            return None
        place = place.get(step)
    return place


def _listed(found: object) -> Iterator[str]:
    if isinstance(found, str):
        yield from filter(None, found.split(" "))
    elif isinstance(found, list):
        yield from (item for item in found if isinstance(item, str))
