"""A process with a gateway in it, to be stopped, continued, forked and killed. Says what it sees, a JSON line each.

`watch`: checks alice and bob again and again, tells each verdict that is another than the one before, and whether the
process had stood still right before. `workers N`: forks N workers after the gateway was started in the parent.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

from revoker.core.claims import SessionClaims
from revoker.gateway.clock import elapsed
from revoker.gateway.gateway import Gateway

BEFORE = time.time() - 600
STOOD_STILL_SECONDS = 1.0


def say(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def verdict(gateway: Gateway, subject: str) -> str:
    found = gateway.check(SessionClaims(subject=subject, session_id=f"of-{subject}", established_at=BEFORE))
    return type(found).__name__


async def watch(gateway: Gateway) -> None:
    async with gateway:
        await gateway.ready(60)
        cut = SessionClaims(subject="bob", session_id="of-bob", established_at=BEFORE)
        gateway.connections.add(cut, lambda why: say(cut=type(why).__name__))
        last: dict[str, str] = {}
        at = elapsed()
        while True:
            before, at = at, elapsed()
            for subject in ("alice", "bob"):
                seen = verdict(gateway, subject)
                stood_still = at - before > STOOD_STILL_SECONDS
                if seen != last.get(subject) or stood_still:
                    say(subject=subject, verdict=seen, stood_still=stood_still)
                last[subject] = seen
            # Other tasks have their turn, no timer has: what a check says must not depend on one.
            await asyncio.sleep(0.002)


def workers(gateway: Gateway, count: int) -> None:
    with gateway.run_in_thread() as parent:
        parent.ready(60)
        children = []
        for _ in range(count):
            child = os.fork()
            if child == 0:
                work(gateway)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)


def work(gateway: Gateway) -> None:
    unstarted = verdict(gateway, "bob")
    with gateway.run_in_thread() as thread:
        thread.ready(60)
        say(pid=os.getpid(), unstarted=unstarted, alice=verdict(gateway, "alice"), bob=verdict(gateway, "bob"))


def main() -> None:
    gateway = Gateway.from_env("chat")
    match sys.argv[1:]:
        case ["watch"]:
            asyncio.run(watch(gateway))
        case ["workers", count]:
            workers(gateway, int(count))
        case _:
            raise SystemExit(2)


if __name__ == "__main__":
    main()
