"""`revoke SUBJECT`: what would end, or an event on Kafka and the proof of what it did."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from revoker.cli.output import counted, json_out, milliseconds, plain, say, show
from revoker.cli.running import Exit, complain
from revoker.cli.sessions import as_object, sessions_table
from revoker.service import publish, reach
from revoker.service.publish import Placed, Prepared, Proof, Request
from revoker.settings import Settings
from revoker.storage import reading


async def dry_run(settings: Settings, request: Request, *, as_json: bool) -> int:
    """`revoke --dry-run`."""
    publish.prepare(settings, request, str(uuid.UUID(int=0)), datetime.now(UTC))
    async with reach.postgres(settings) as engine:
        now = await reading.now(engine)
        sessions, tokens = await publish.would_end(engine, settings, request)

    code = Exit.DONE if sessions or tokens else Exit.NOTHING
    if as_json:
        json_out({"dry_run": True, "sessions": [as_object(one) for one in sessions], "tokens": tokens})
        return code
    if code is Exit.NOTHING:
        say(f"nothing of {plain(request.subject)} would end: no live session or token matches")
        return code
    say(f"would end {counted(len(sessions), 'session')} and {counted(tokens, 'token')} of {plain(request.subject)}:")
    show(sessions_table(sessions, now))
    say("nothing was changed")
    return code


async def revoke(settings: Settings, request: Request, wait: float, *, as_json: bool) -> int:
    """The command of that name."""
    prepared = publish.prepare(settings, request, str(uuid.uuid4()), datetime.now(UTC))
    placed = await publish.publish(settings, prepared)
    try:
        proof = await publish.prove(settings, prepared, placed, wait)
    except BaseException:
        complain(f"accepted by Kafka; see `revoker revocations {prepared.revocation_id}`")
        raise

    code = _code(proof)
    if as_json:
        json_out(_as_object(prepared, placed, proof))
    else:
        _tell(prepared, placed, proof)
    if code is Exit.UNPROVEN:
        why = proof.trouble or "are the consumers running?"
        look = f"revoker revocations {prepared.revocation_id}"
        complain(f"accepted by Kafka, but not proven within {wait:g} s ({why}). See `{look}`")
    return code


def _code(proof: Proof) -> Exit:
    if proof.found is None or not proof.is_proven:
        return Exit.UNPROVEN
    enforced = proof.found.revocation.enforced
    return Exit.DONE if enforced and (proof.found.sessions_ended or proof.found.tokens_ended) else Exit.NOTHING


def _tell(prepared: Prepared, placed: Placed, proof: Proof) -> None:
    say(f"revocation {prepared.revocation_id}")
    say(f"requested  on {prepared.topic}, partition {placed.partition}, offset {placed.offset}")
    found = proof.found
    if found is None:
        return
    requested_at = found.revocation.requested_at
    say(f"committed  {milliseconds(found.committed_at - requested_at)} later")
    if found.announced_at is None:
        return
    if not found.revocation.enforced:
        say(f"the input {prepared.source.topic} is report-only: {found.sessions_ended} would have ended, none did")
    elif not (found.sessions_ended or found.tokens_ended):
        covered = "an earlier revocation covers all of it" if found.redundant else "nothing was live"
        say(f"ended      nothing: {covered}. The revocation stands:")
        say("           what is registered later and covered by it is born ended")
    else:
        seen = milliseconds(timedelta(seconds=proof.seconds))
        say(f"announced  {milliseconds(found.announced_at - requested_at)} later, known here after {seen}")
        say(f"ended      {counted(found.sessions_ended, 'session')}, {counted(found.tokens_ended, 'token')}")
        show(sessions_table(proof.sessions, found.announced_at))


def _as_object(prepared: Prepared, placed: Placed, proof: Proof) -> dict[str, Any]:
    found = proof.found
    return {
        "revocation_id": prepared.revocation_id,
        "event_id": prepared.event.id,
        "topic": prepared.topic,
        "partition": placed.partition,
        "offset": placed.offset,
        "state": "committed" if found else "requested",
        "announced": proof.is_proven,
        "report_only": not found.revocation.enforced if found else None,
        "redundant": found.redundant if found else None,
        "requested_at": found.revocation.requested_at if found else None,
        "committed_at": found.committed_at if found else None,
        "announced_at": found.announced_at if found else None,
        "milliseconds": proof.seconds * 1000,
        "sessions_ended": found.sessions_ended if found else None,
        "tokens_ended": found.tokens_ended if found else None,
        "sessions": [as_object(one) for one in proof.sessions],
    }
