"""Erasing a subject. What is forgotten cannot be ended any more, so what is still needed is refused."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.errors import RevokerError
from revoker.storage import erasing
from revoker.storage.erasing import Held
from schemas.fields import wire_time


class RefusedError(RevokerError):
    """It could be done, and must not be done now."""

    exit_code: Final = 5


async def erase(engine: AsyncEngine, *, tenant: str, subject: str, force: bool) -> tuple[Held, Mapping[str, int]]:
    """Forgets the subject. Returns what was there and what was deleted, by table. Raises `RefusedError`.

    `force` forgets revocations that still cover; what nobody was told of yet is refused even then.
    """
    before = await erasing.held(engine, tenant=tenant, subject=subject)
    _refuse(before, force=force, deleted=0)

    deleted: Counter[str] = Counter()
    async for table, rows in erasing.erase(engine, tenant=tenant, subject=subject, force=force):
        deleted[table] += rows

    after = await erasing.held(engine, tenant=tenant, subject=subject)
    _refuse(after, force=force, deleted=deleted.total())
    return before, deleted


def _refuse(found: Held, *, force: bool, deleted: int) -> None:
    if erasing.may_erase(found, force=force):
        return
    already = f" ({deleted} rows are deleted already)" if deleted else ""
    if found.unannounced:
        raise RefusedError(
            f"{found.unannounced} revocations of this subject are not announced yet: no gateway knows of them."
            f" Wait, and see `revoker doctor`{already}"
        )
    raise RefusedError(
        f"a revocation of this subject covers until {wire_time(found.covers_until) if found.covers_until else 'later'}:"
        f" forgotten before, it would let an old token live. Wait, or say --force{already}"
    )
