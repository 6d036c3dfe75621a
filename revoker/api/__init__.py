"""What `revoker serve` answers over HTTP: `/check`, the notifications as a stream, receipts.

Starlette routes what is asked seldom; `/check` is raw ASGI in front of it, because it is asked with every request of
everybody. Nothing here decides what is over: that is the gateway's index, in this process as in any other gateway.
"""
