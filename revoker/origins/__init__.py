"""Origins: where sessions live. They are told what has ended, so that it ends there too. See docs/origins.md."""
