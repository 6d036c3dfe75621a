"""The wire contract of the session revocation service: pydantic models, and nothing that does I/O."""
