"""The process between us and a server. It exists so that no server outlives the program that started it.

Run as `python -I -S supervise.py SPEC`: it must start in milliseconds, so it imports the standard library only and
nothing of ours. It lives in a session of its own, so a Ctrl-C in the terminal reaches neither it nor the server.

Standard input is a pipe whose other end only our program holds. What comes out of it is an order:
    S    stop the server in good order (stop signal, then SIGKILL after the grace period), keep its files
    K    SIGKILL the server and every process below it, keep the files
    end of file   the program is gone, or has finished with the server: stop as for S, remove the files if temporary
A changed parent counts as end of file, because a forked child of the program may hold the pipe open. So does SIGTERM.

Standard output carries two lines back: `pid N` and `exit CODE`.

PostgreSQL puts each of its processes in a session of its own, so killing a group is not enough. On Linux we are the
reaper of all orphans below us and stop only when we have no child left; elsewhere we ask ps. If we are killed
ourselves, the Linux kernel kills the server.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
_GONE = ""


class Spec(TypedDict):
    command: list[str]
    directory: str
    environment: dict[str, str] | None
    grace_seconds: float
    group: int | None
    log: str
    parent: int
    remove: str | None
    stop_signal: int
    user: int | None


def main() -> None:
    spec: Spec = json.loads(sys.argv[1])
    wake = _listen_for_signals()
    prctl = _prctl()
    prctl(_SET_CHILD_SUBREAPER, 1)

    if os.getppid() == spec["parent"]:
        server = _launch(spec, prctl)
        _say(f"pid {server}")
        code, order = _watch(server, wake, spec)
    else:
        code, order = None, _GONE

    if spec["remove"] and (order == _GONE or os.getppid() != spec["parent"]):
        shutil.rmtree(spec["remove"], ignore_errors=True)
    _say(f"exit {code if code is not None else -signal.SIGKILL}")


def _watch(server: int, wake: int, spec: Spec) -> tuple[int | None, str | None]:
    """Until the server has ended by itself or by order, and every process below it too."""
    order = code = None
    while code is None and order is None:
        order = _next_order(wake, spec["parent"])
        code = _reap(server)

    if code is None and order != "K":
        code = _stop(server, wake, spec)
    return _kill_rest(server, code), order


def _next_order(wake: int, parent: int) -> str | None:
    ready, _, _ = select.select([0, wake], [], [], 0.5)
    if wake in ready and signal.SIGTERM in os.read(wake, 512):
        return _GONE
    if 0 in ready:
        return os.read(0, 1).decode()
    return _GONE if os.getppid() != parent else None


def _stop(server: int, wake: int, spec: Spec) -> int | None:
    os.kill(server, spec["stop_signal"])
    deadline = time.monotonic() + spec["grace_seconds"]
    while (code := _reap(server)) is None and time.monotonic() < deadline:
        if select.select([wake], [], [], 0.1)[0]:
            os.read(wake, 512)
    return code


def _kill_rest(server: int, code: int | None) -> int | None:
    deadline = time.monotonic() + 5
    while (rest := _descendants()) and time.monotonic() < deadline:
        for pid in rest:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
        found = _reap(server)
        code = found if code is None else code
    return code


def _reap(server: int) -> int | None:
    """Collect every child that has ended. The server's exit code, if it was among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == server:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def _descendants() -> list[int]:
    parents = _linux_parents() if sys.platform == "linux" else _ps_parents()
    found, layer = [], {os.getpid()}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer}
        found += sorted(layer)
    return found


def _linux_parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name in brackets may hold spaces and brackets itself.
                parents[int(entry.name)] = int((entry / "stat").read_text("latin-1").rpartition(")")[2].split()[1])
    return parents


def _ps_parents() -> dict[int, int]:
    with subprocess.Popen(["/bin/ps", "-axo", "pid=,ppid="], stdout=subprocess.PIPE, text=True) as ps:
        rows = [line.split() for line in ps.communicate()[0].splitlines()]
    return {int(pid): int(parent) for pid, parent in rows if int(pid) != ps.pid}


def _launch(spec: Spec, prctl: Callable[[int, int], object]) -> int:
    with Path(spec["log"]).open("ab") as log:
        try:
            server = subprocess.Popen(  # noqa: S603 - the command comes from our own package
                spec["command"],
                cwd=spec["directory"],
                env=spec["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=spec["user"],
                group=spec["group"],
                extra_groups=None if spec["user"] is None else [],
                # Runs after the change of user, which would clear it.
                preexec_fn=lambda: prctl(_SET_DEATH_SIGNAL, signal.SIGKILL),  # noqa: PLW1509 - there are no threads
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.write(f"{error}\n".encode())
            _say("exit 127")
            sys.exit(1)
    server.returncode = 0  # _reap collects it, not Popen.
    return server.pid


def _listen_for_signals() -> int:
    """A pipe that gets the number of every signal. Handlers, unlike SIG_IGN, are not inherited by the server."""
    wake, signalled = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return wake


def _prctl() -> Callable[[int, int], object]:
    if sys.platform != "linux":
        return lambda _option, _value: None
    library = ctypes.CDLL(None)
    return lambda option, value: library.prctl(option, value, 0, 0, 0)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
