"""Which notifications an origin needs to hear of. Pure."""

from typing import assert_never

from revoker.core.wire import HoldLiftedNotice, HoldPlacedNotice, Notice, SessionEndedNotice


def concerns(notice: Notice, tenant: str | None, now: int) -> bool:
    """Whether an origin of `tenant` (None: of all) has anything to do about `notice`; `now` in microseconds.

    What is over by itself needs no end: an origin that is new here is not told of a month that has passed.
    """
    match notice:
        case SessionEndedNotice():
            is_over = notice.covers_until <= now
        case HoldPlacedNotice():
            is_over = notice.until <= now
        case HoldLiftedNotice():
            is_over = False
        case _:
            assert_never(notice)
    if is_over:
        return False
    selector = None if isinstance(notice, HoldLiftedNotice) else notice.selector
    # A predicate without a tenant speaks of all of them, whatever the envelope says.
    named = selector.tenant if selector is not None else notice.tenant or None
    return tenant is None or named in {None, tenant}
