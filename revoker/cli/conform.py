"""`gateways conform`: the test vectors against a live check endpoint."""

from dataclasses import asdict

from revoker.cli.output import cell, console, json_out, plain, show, table
from revoker.cli.running import Exit
from revoker.service.conform import conform as try_all
from revoker.settings import Settings


async def conform(settings: Settings, url: str, *, prefix: str, wait: float, as_json: bool) -> int:
    """The command of that name."""
    tried = await try_all(settings, url, prefix=prefix, seconds=wait)

    wrong = [one for one in tried if not one.is_right]
    if as_json:
        json_out({"url": url, "tried": len(tried), "wrong": [asdict(one) for one in wrong]})
        return Exit.FAILED if wrong else Exit.DONE
    if wrong:
        made = table("vector", "expected", "answered")
        for one in wrong:
            made.add_row(plain(one.name), str(one.expected), cell(str(one.found), style="bold red"))
        show(made)
    console().print(f"{len(tried) - len(wrong)} of {len(tried)} answers are right")
    return Exit.FAILED if wrong else Exit.DONE
