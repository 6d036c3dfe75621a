"""The denylist: what `session-ended` says, as keys in Redis that a reader in any language can ask for.

A projection and never the truth: it can be lost at any time and is built again from the topic. `docs/redis.md` is its
contract.
"""
