"""`doctor --topic`: what the records of a topic would do."""

from collections import Counter
from datetime import UTC, datetime
from typing import Final

from revoker.cli.output import ago, cell, counted, json_out, local, plain, say, show, table
from revoker.cli.running import Exit, complain
from revoker.service import foresight as use_case
from revoker.service.foresight import Verdict
from revoker.settings import Settings

_STYLES: Final = {Verdict.ENDS: "bold", Verdict.IGNORED: "dim", Verdict.REJECTED: "bold red"}


async def foresee(settings: Settings, topic: str, *, last: int, as_json: bool) -> int:
    """The command. Nothing is changed, and no group notices."""
    found = await use_case.foretold(settings, topic, last)

    if as_json:
        json_out(found)
        return Exit.DONE if found else Exit.NOTHING
    if not found:
        say(f"{plain(topic)} holds no records")
        return Exit.NOTHING
    now = datetime.now(UTC)
    made = table("record", "when", "says", "subject", "would do")
    for one in found:
        made.add_row(
            f"{one.partition}:{one.offset}",
            cell(local(one.at, now), ago(one.at, now)),
            cell(plain(one.native) or plain(one.type) or "nothing readable", one.type if one.native else None),
            one.subject or "none",
            cell(one.verdict.value.replace("-", " "), plain(one.effect) or None, style=_STYLES.get(one.verdict, "")),
        )
    show(made)
    counts = Counter(one.verdict for one in found)
    told = ", ".join(f"{counts[verdict]} {verdict.value.replace('-', ' ')}" for verdict in Verdict if counts[verdict])
    say("", f"{len(found)} read: {told}. Nothing was done.")
    addresses = sum(one.subject == use_case.ADDRESS for one in found)
    if addresses:
        complain(f"{counted(addresses, 'subject')} looks like an e-mail address: publish opaque ids, addresses change")
    return Exit.DONE
