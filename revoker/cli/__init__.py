"""The `revoker` command. Nothing heavy is imported before a command needs it: `--help` answers at once."""

from revoker.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """The entry point."""
    app()
