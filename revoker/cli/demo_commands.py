"""`demo` and `demo token` with their arguments and help, as `commands.py` has the others'."""

# ruff: noqa: PLC0415 - `--help` must not wait for database drivers and Kafka clients

from pathlib import Path
from typing import Annotated

import typer

from revoker.cli.options import Subject, seconds
from revoker.cli.running import Exit, finish

demo = typer.Typer(rich_markup_mode=None)


@demo.callback(invoke_without_command=True)
def demo_plays(
    context: typer.Context,
    *,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep everything in this folder. Default: nothing is kept.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Play the story once and end.")] = False,
) -> None:
    """Start everything on this machine, with a story to watch.

    Real servers are included: Python is all that is needed.
    """
    if context.invoked_subcommand is not None:
        return
    from revoker.cli.demo import demo as play

    finish(lambda: play(data, once))


@demo.command("token")
def demo_token(
    subject: Subject,
    *,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Of this session. Default: of none.")] = None,
    client: Annotated[str | None, typer.Option(metavar="ID", help="Issued to this client.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What a machine may do. Several, or repeated.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What a person may do. May be repeated.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="A claim of that name. The demo itself has one tenant.")
    ] = None,
    audience: Annotated[
        str | None, typer.Option(metavar="NAME", help="For whom it is. Default: the demo's API.")
    ] = None,
    expires: Annotated[float, typer.Option(parser=seconds, metavar="TIME", help="How long it is good for.")] = "1h",  # type: ignore[assignment]  # the parser reads it
) -> None:
    """Print a token of the running demo's issuer, for trying things out.

    The demo is the one whose env file this terminal has sourced. Nobody else takes these tokens.
    """
    from revoker.cli.demo.issuer import asking

    wanted = {
        "subject": subject,
        "session": session,
        "client": client,
        "scope": [name for names in scope or () for name in names.split()],
        "role": role or [],
        "tenant": tenant,
        "audience": audience,
        "expires": expires,
    }

    def told() -> int:
        typer.echo(asking.token({name: value for name, value in wanted.items() if value is not None}))
        return Exit.DONE

    finish(told)
