"""What a gateway raises, in the process of somebody else.

GatewayError
  +-- GatewayUnavailable   it cannot know yet, or no longer, who is ended
  +-- FeedError            the feed cannot be read now; it is tried again
  +-- ReceiptError         a receipt was not acknowledged; it is sent again

Only the first ever reaches the application, from `Gateway.ready`. The others end in the log and in `Gateway.health`.
"""


class GatewayError(Exception):
    """Base of all errors of the SDK; never raised itself."""


class GatewayUnavailable(GatewayError):  # noqa: N818 - the name is part of the contract
    """The gateway cannot know who is ended."""


class FeedError(GatewayError):
    """The feed cannot be read now."""


class ReceiptError(GatewayError):
    """A receipt was not acknowledged."""
