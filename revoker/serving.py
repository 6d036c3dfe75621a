"""uvicorn as a guest: signals are for whoever runs the loop."""

from contextlib import AbstractContextManager, nullcontext

import uvicorn


class GuestServer(uvicorn.Server):
    """A server in a loop that is somebody else's."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # the base says Generator
        """None of them."""
        return nullcontext()
