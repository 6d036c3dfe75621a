"""`sessions SUBJECT`, and how a session looks wherever one is shown."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rich.table import Table

from revoker.cli.output import (
    ago,
    cell,
    counted,
    json_out,
    plain,
    say,
    table,
    when,
)
from revoker.cli.output import (
    as_json as jsonable,
)
from revoker.cli.output import (
    show as show_table,
)
from revoker.cli.running import Exit
from revoker.service import publish, reach
from revoker.settings import Settings
from revoker.storage import reading
from revoker.storage.reading import SessionFound, TokenFound


async def show(
    settings: Settings, subject: str, tenant: str | None, *, show_all: bool, limit: int, as_json: bool
) -> int:
    """The command of that name."""
    whose = {"tenant": publish.tenant_of(settings, tenant), "subject": subject}
    lifetime = settings.sessions.lifetime
    async with reach.postgres(settings) as engine:
        now = await reading.now(engine)
        sessions = await reading.sessions_of(engine, **whose, lifetime=lifetime, limit=limit)
        tokens = await reading.loose_tokens_of(engine, **whose, lifetime=lifetime, limit=limit)
    shown = [session for session in sessions if show_all or session.is_live]
    loose = [token for token in tokens if show_all or token.is_live]

    code = Exit.DONE if shown or loose else Exit.NOTHING
    if as_json:
        json_out(whose | {"sessions": [as_object(one) for one in shown], "tokens": [_token(one) for one in loose]})
        return code
    over = len(sessions) - sum(session.is_live for session in sessions)
    live = counted(len(sessions) - over, "live session")
    say(f"{plain(subject)}: {live}, {over} over" + ("" if show_all or not over else " (--all shows them)"))
    if shown:
        show_table(sessions_table(shown, now))
    if loose:
        say("", f"tokens without a session: {counted(sum(token.is_live for token in loose), 'live one')}")
        show_table(_tokens_table(loose, now))
    if len(sessions) == limit:
        say(f"the first {limit}; --limit shows more")
    return code


def sessions_table(sessions: Sequence[SessionFound], now: datetime) -> Table:
    """One row a session: how it is, what it is, when and where it was used."""
    made = table("state", "device, client, session", "when", "from")
    made.columns[1].min_width = _ID_WIDTH
    for one in sessions:
        made.add_row(
            cell(state(one), style=_STYLES[state(one)]),
            cell(plain(one.device_name) or "unknown device", plain(one.client_id) or None, plain(one.session_id)),
            cell(
                f"began   {when(one.established_at, now)}",
                f"active  {when(one.last_active_at, now)}" if one.last_active_at else None,
                *_end(one, now),
            ),
            cell(one.last_ip or one.ip or ""),
        )
    return made


_ID_WIDTH: Final = 36
"""A UUID, so that it can be copied."""
_STYLES: Final = {"live": "green", "ended": "red", "expired": "dim"}


def state(session: SessionFound | TokenFound) -> str:
    """In one word."""
    if session.ended_at is not None:
        return "ended"
    return "expired" if session.expired else "live"


def as_object(session: SessionFound) -> dict[str, Any]:
    """For programs."""
    said: dict[str, Any] = jsonable(session)
    return {"state": state(session)} | said


def _end(one: SessionFound, now: datetime) -> list[str]:
    if one.ended_at is None:
        return [f"expires {when(one.expires_at, now)}"] if one.expires_at else []
    late = ", when it was registered" if one.born_ended else ""
    return [
        f"ended   {when(one.ended_at, now)}{late}",
        f"by      {plain(one.cause) or 'a pruned one'}",
        str(one.ended_by),
    ]


def _token(token: TokenFound) -> dict[str, Any]:
    said: dict[str, Any] = jsonable(token)
    return {"state": state(token)} | said


def _tokens_table(tokens: Sequence[TokenFound], now: datetime) -> Table:
    made = table("state", "kind", "client", "token", "issued", "expires")
    for one in tokens:
        expires = ago(one.expires_at, now) if one.expires_at else ""
        made.add_row(
            cell(state(one), style=_STYLES[state(one)]),
            one.kind,
            plain(one.client_id),
            plain(one.token_id),
            when(one.issued_at, now),
            expires,
        )
    return made
