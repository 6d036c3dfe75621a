"""`revoker demo`: the whole service on one machine, with real servers, and a story to watch.

    story.py      who signs in where, and what happens to them: data
    house.py      the servers, the schema, the topics and the consumers, up and down again
    page/         the demo gateway: those devices in a browser, each a live WebSocket, with buttons
    sockets.py    the same devices' WebSockets while the story plays
    stage.py      events onto Kafka, what comes back from it, and how long that took
    telling.py    what is printed
    play.py       the story on the stage in the house

Ctrl-C is a wish, not an exception: `stopping.py` turns it into a cancellation, so that nothing that has been started
is ever forgotten. What is below `demo` is imported only after that is in place.
"""

from pathlib import Path

from revoker.cli.demo.stopping import Stopper

__all__ = ["demo"]


def demo(data: Path | None, once: bool) -> int:  # noqa: FBT001 - the form that the command calls
    """Plays until Ctrl-C, or with `once` until the story is over. Returns the exit code."""
    stopper = Stopper()
    stopper.listen()

    # One after the other: a person should see something before the clients have been imported.
    from revoker.cli.demo.telling import Teller  # noqa: PLC0415 - Ctrl-C must be safe by then

    teller = Teller()
    teller.title("Starting real servers on this machine (the first time, Kafka is fetched)")
    from revoker.cli.demo.play import play  # noqa: PLC0415 - as above

    return stopper.run(lambda: play(data, teller, once=once))
