"""A gateway as another team runs it: `python -m tests.acceptance.gateway_child NAME INSTANCE MODE`, until killed."""

import asyncio
import os
import sys

from revoker.gateway import Gateway, SessionClaims


async def main(name: str, instance: str, mode: str) -> None:
    """Serves; says `cut` with the reason once the session of alice is cut."""
    gateway = Gateway(
        name,
        bootstrap_servers=os.environ["REVOKER_KAFKA_BOOTSTRAP_SERVERS"],
        topic_prefix=os.environ["REVOKER_TOPIC_PREFIX"],
        instance=instance,
        mode="strict" if mode == "strict" else "best_effort",
        max_staleness=2.0,
    )

    def cut(verdict: object) -> None:
        print("cut", type(verdict).__name__, flush=True)  # noqa: T201 - for the test to read

    async with gateway:
        await gateway.ready(60)
        gateway.connections.add(SessionClaims(subject="alice", session_id="s-1", established_at=0), cut)
        print("ready", flush=True)  # noqa: T201 - likewise
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
