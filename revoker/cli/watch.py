"""`watch`: one line for each thing that is announced, as it happens."""

import asyncio
import signal
from typing import Any

from revoker.cli.output import console, counted, json_line, listed, plain
from revoker.cli.running import Exit, complain
from revoker.service import watch as use_case
from revoker.service.watch import Received
from revoker.settings import Settings
from schemas.session_ended import SessionEnded, SessionEndedData


async def watch(settings: Settings, *, from_beginning: bool, subject: str | None, as_json: bool) -> int:
    """The command of that name."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def trouble(text: str) -> None:
        complain(text or "Kafka answers again")

    def started() -> None:
        complain("watching session-ended; Ctrl-C ends it")

    out = console()
    async for one in use_case.follow(
        settings, stopping, from_beginning=from_beginning, started=started, trouble=trouble
    ):
        if subject is not None and not _concerns(one, subject):
            continue
        if as_json:
            json_line(_as_object(one))
        else:
            out.print(_line(one), soft_wrap=True)
            out.file.flush()
    return Exit.DONE


def _concerns(one: Received, subject: str) -> bool:
    if one.notification is None:
        return False
    named = {one.notification.subject}
    if isinstance(one.notification, SessionEnded):
        named |= {session.subject for session in one.notification.data.sessions}
    return subject in named


def _line(one: Received) -> str:
    at = f"{one.received_at.astimezone():%H:%M:%S}.{one.received_at.microsecond // 1000:03}"
    notification = one.notification
    if notification is None:
        return f"{at}  a record that cannot be read, partition {one.partition}, offset {one.offset}"
    subject = plain(notification.subject) or "(no subject)"
    if not isinstance(notification, SessionEnded):
        return f"{at}  {subject}  {notification.type}  {plain(notification.data.hold_id)}"
    data = notification.data
    took = (one.received_at - data.requested_at).total_seconds() * 1000
    return f"{at}  {subject}  {plain(data.cause)}  {data.kind.value}  {_ended(data)}  {took:,.0f} ms"


def _ended(data: SessionEndedData) -> str:
    clients = sorted({session.client_id for session in data.sessions if session.client_id})
    said = counted(len(data.sessions), "session") + (f" ({listed(clients, 3)})" if clients else "")
    return f"{said}, {counted(len(data.tokens), 'token')}" if data.tokens else said


def _as_object(one: Received) -> dict[str, Any]:
    event = one.notification and one.notification.model_dump(mode="json", exclude_unset=True)
    took = None
    if isinstance(one.notification, SessionEnded):
        took = (one.received_at - one.notification.data.requested_at).total_seconds() * 1000
    return {
        "partition": one.partition,
        "offset": one.offset,
        "appended_at": one.appended_at,
        "received_at": one.received_at,
        "milliseconds": took,
        "notification": event,
    }
