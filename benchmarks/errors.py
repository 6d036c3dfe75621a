"""What makes a run void."""


class BenchmarkError(Exception):
    """A side did not do what it was measured for."""
