"""One file a use case: gather, decide, apply."""
