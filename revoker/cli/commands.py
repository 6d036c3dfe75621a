"""Every command with its arguments and help. What it does is in a module of its own, imported when it runs."""

# ruff: noqa: PLC0415 - `--help` must not wait for database drivers and Kafka clients

from typing import Annotated

import typer

from revoker.cli.demo_commands import demo
from revoker.cli.options import AsJson, DryRun, Limit, Subject, Tenant, place, seconds
from revoker.cli.running import finish, load_settings, run

_EXITS = """Exit codes: 0 done and proven, 1 failed, 2 misused, 3 nothing matched, 4 accepted but not proven within
--wait, 5 refused, 6 a dependency cannot be reached."""

app = typer.Typer(
    name="revoker",
    help="Ends sessions and tokens everywhere, now, and proves it.",
    epilog=_EXITS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
rejected = typer.Typer(
    help="See what was set aside, and send it once more.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(demo, name="demo")
app.add_typer(rejected, name="rejected")
gateways = typer.Typer(rich_markup_mode=None)
app.add_typer(gateways, name="gateways")


def _version(asked: bool) -> None:  # noqa: FBT001 - the form that typer calls
    if asked:
        from importlib.metadata import version

        typer.echo(f"revoker {version('revoker')}")
        raise typer.Exit


@app.callback()
def _revoker(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """Ends sessions and tokens everywhere, now, and proves it."""


@app.command()
def migrate() -> None:
    """Bring the database up to date. Safe to run from several places at once."""
    from revoker.cli import servers

    run(servers.migrate)


@app.command()
def consumers(
    *,
    only: Annotated[str | None, typer.Option(metavar="GROUP", help="Run this consumer group alone.")] = None,
) -> None:
    """Run the consumers. What comes in on Kafka is applied and announced."""
    from consumers.app import GROUPS
    from consumers.app import run as run_consumers

    if only is not None and only not in GROUPS:
        raise typer.BadParameter(f"the groups are {', '.join(GROUPS)}", param_hint="--only")

    finish(lambda: run_consumers(load_settings(), only))


@app.command()
def serve(
    *,
    only: Annotated[str | None, typer.Option(metavar="PART", help="`check`: answer /check and nothing else.")] = None,
) -> None:
    """Serve gateways over HTTP: /check, the notifications as a stream, receipts."""
    from revoker.cli import serve as it

    if only not in {None, "check"}:
        raise typer.BadParameter("the one part that can run alone is check", param_hint="--only")

    finish(lambda: it.serve(load_settings(), only))


@app.command()
def topics(
    *,
    create: Annotated[bool, typer.Option("--create", help="Create what is missing. Nothing is ever altered.")] = False,
    print_acls: Annotated[
        bool, typer.Option("--print-acls", help="Print the kafka-acls commands that each role needs, and end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that every topic is as it must be, or create it.

    Partitions, copies, retention, clock, deletion. Exit 1 where one is unsafe or missing.
    """
    from revoker.cli import servers

    if print_acls:
        run(servers.print_acls)
    run(lambda settings: servers.topics(settings, create=create, as_json=as_json))


@app.command()
def sessions(
    subject: Subject,
    *,
    tenant: Tenant = None,
    show_all: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """Show the sessions of a subject. Exit 3 where there is none to show."""
    from revoker.cli import sessions as it

    run(lambda settings: it.show(settings, subject, tenant, show_all=show_all, limit=limit, as_json=as_json))


@app.command()
def revoke(
    subject: Subject,
    *,
    session: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="End just this one. May be repeated. Default: all.")
    ] = None,
    client: Annotated[
        str | None, typer.Option(metavar="ID", help="With one --session: end only this client's part of it.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="ID", help="Spare this session. May be repeated.")] = None,
    tenant: Tenant = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why. The person whose sessions end will read it.")
    ] = None,
    dry_run: DryRun = False,
    wait: Annotated[
        float,
        typer.Option(parser=seconds, metavar="TIME", help="How long to wait until it is committed and announced."),
    ] = "10s",  # type: ignore[assignment]  # the parser reads it
    as_json: AsJson = False,
) -> None:
    """End sessions of a subject, and prove it.

    Sends an event to Kafka and waits until it is committed and announced. Exit 0 when sessions ended and that is
    announced, 3 when nothing was live (the revocation stands all the same:
    what is registered later and covered by it is born ended), 4 when it is not proven within --wait.
    """
    from revoker.cli import revoke as it
    from revoker.service.publish import Request

    request = Request(
        subject=subject,
        tenant=tenant,
        session_ids=tuple(session or ()),
        client_id=client,
        keep=tuple(keep or ()),
        reason=reason,
    )
    if dry_run:
        run(lambda settings: it.dry_run(settings, request, as_json=as_json))
    run(lambda settings: it.revoke(settings, request, wait, as_json=as_json))


@app.command()
def revocations(
    id_: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show all of this one.", show_default=False)] = None,
    *,
    subject: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this subject.")] = None,
    tenant: Tenant = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Show revocations, or all of one. Newest first. Exit 3 where there is none."""
    from revoker.cli import revocations as it

    if id_ is None:
        run(lambda settings: it.show(settings, subject, tenant, limit=limit, as_json=as_json))
    run(lambda settings: it.show_one(settings, id_, as_json=as_json))


@gateways.callback(invoke_without_command=True)
def gateways_list(
    context: typer.Context,
    *,
    gone: Annotated[bool, typer.Option("--all", help="Those that have left, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show who enforces revocations, and how each of them is.

    `late` is behind what was announced a while ago. `unknown` is silent: it may serve what is over, so it keeps every
    revocation from being enforced until it is back or retired. `fenced` is strict and silent for so long that it
    refuses everything by itself. Exit 3 where there is none.
    """
    if context.invoked_subcommand is not None:
        return
    from revoker.cli import gateways as it

    run(lambda settings: it.show_all(settings, gone=gone, as_json=as_json))


@gateways.command("retire")
def gateways_retire(
    gateway: Annotated[str, typer.Argument(metavar="GATEWAY", help="Its name.", show_default=False)],
    *,
    instance: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this one. Default: all that are silent.")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so. Default: you, by your login.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why. It is kept with the proof.")] = None,
    as_json: AsJson = False,
) -> None:
    """Wait no more for instances that are silent and surely gone.

    Only you can know that: a process that still runs may go on serving what is over. One that still talks is not
    retired (exit 5), and one that talks again is waited for again. Exit 3 where there is none of that name.
    """
    from revoker.cli import gateways as it

    run(lambda settings: it.retire(settings, gateway, instance, by, reason, as_json=as_json))


@gateways.command("conform")
def gateways_conform(
    url: Annotated[str, typer.Argument(metavar="URL", help="The check endpoint.", show_default=False)],
    *,
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="What the headers begin with in which it takes a session.")
    ] = "x-revoker-",
    wait: Annotated[
        float, typer.Option(parser=seconds, metavar="TIME", help="How long it may take to hear of the vectors.")
    ] = "10s",  # type: ignore[assignment]  # the parser reads it
    as_json: AsJson = False,
) -> None:
    """Try a live check endpoint on the test vectors. Exit 1 where an answer is wrong.

    Announces the vectors on session-ended, in tenants of their own, and asks about each in the headers of a trusted
    proxy. For a test installation.
    """
    from revoker.cli import conform as it

    run(lambda settings: it.conform(settings, url, prefix=prefix, wait=wait, as_json=as_json))


@app.command()
def watch(
    *,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="First show all that the topic still holds.")
    ] = False,
    subject: Annotated[str | None, typer.Option(metavar="ID", help="Only what concerns this subject.")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow what is announced, as it happens. Ctrl-C ends it, with exit 0.

    Milliseconds are from the request to us; for what was there before we listened, to the topic.
    """
    from revoker.cli import watch as it

    run(lambda settings: it.watch(settings, from_beginning=from_beginning, subject=subject, as_json=as_json))


@rejected.command("list")
def rejected_list(*, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show what was set aside last, and why. Newest first. Exit 3 where there is nothing."""
    from revoker.cli import rejected as it

    run(lambda settings: it.show(settings, limit=limit, as_json=as_json))


@rejected.command("replay")
def rejected_replay(
    *,
    reason: Annotated[
        str | None, typer.Option(metavar="REASON", help="Only what was set aside for this reason.")
    ] = None,
    offset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARTITION:OFFSET",
            help="Only this record, as `list` names it. May be repeated.",
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything that the topic still holds.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send records once more where they came from.

    The original bytes, key and headers are sent. Safe to repeat: events are known by id. An event that names no
    time of its own happens at the time of the replay,
    so sessions begun since are covered, too. What still cannot be read is set aside again.
    """
    from revoker.cli import rejected as it

    places = frozenset(place(text) for text in offset or ())
    if not (reason or places or all_):
        raise typer.BadParameter("say which: --reason, --offset, or --all")
    run(lambda settings: it.replay(settings, reason=reason, places=places, dry_run=dry_run, as_json=as_json))


@app.command()
def prune(*, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Forget what has been over for long.

    Longer than retention.ended, that is; in small transactions, beside everything else. May be stopped and run
    again at any time. Never forgets a revocation that could still cover a session.
    """
    from revoker.cli import keeping

    run(lambda settings: keeping.prune(settings, dry_run=dry_run, as_json=as_json))


@app.command()
def erase(
    subject: Subject,
    *,
    tenant: Tenant = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really: this cannot be undone.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Forget revocations that still cover, too: old tokens may then live.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Forget a subject. Erasing ends no session: revoke first.

    Deletes its sessions, tokens and revocations from the database. Refused (exit 5) while a revocation of the
    subject may still be needed. What remains: the records in Kafka until
    their topics' retention, wide revocations and those that named a session without its subject until `prune`, the
    Redis projection until its entries expire, and your backups.
    """
    from revoker.cli import keeping

    run(lambda settings: keeping.erase(settings, subject, tenant, yes=yes, force=force, as_json=as_json))


@app.command()
def doctor(
    *,
    topic: Annotated[
        str | None, typer.Option(metavar="NAME", help="Say instead what the records of this input would do.")
    ] = None,
    last: Annotated[
        int, typer.Option(metavar="COUNT", min=1, max=10_000, help="With --topic: how many records, the newest.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong, and what to do about it. Exit 1 if anything failed.

    With --topic: reads a topic of `[[inputs]]` and says of each record what it is, whose, and what would end, without
    doing it. Exit 3 where there are no records.
    """
    from revoker.cli import foresight, servers

    if topic is not None:
        name = topic
        run(lambda settings: foresight.foresee(settings, name, last=last, as_json=as_json))
    run(lambda settings: servers.doctor(settings, as_json=as_json))


@app.command()
def config(*, as_json: AsJson = False) -> None:
    """Show the settings in force, without secrets, and where each comes from."""
    from revoker.cli import config as it

    run(lambda settings: it.show(settings, as_json=as_json))
