"""Who reads what. A topic that stands in two lanes holds what is meant for both: each passes the other's by."""

from collections.abc import Iterable
from typing import Final

from schemas.codec import ACTIVITY, IDENTITY
from schemas.inputs import Format, Input, Lane

_TYPES: Final = {Lane.REVOCATION: IDENTITY.types, Lane.REGISTRATION: ACTIVITY.types}
"""What the records of a lane may be. A type is of one lane only."""


def of_lane(inputs: Iterable[Input], lane: Lane) -> tuple[Input, ...]:
    """The inputs of `lane`, as it reads them."""
    inputs = tuple(inputs)
    shared = {source.topic for source in inputs if source.lane is not lane}
    return tuple(
        _sharing(source) if source.topic in shared and source.format is Format.CLOUDEVENTS else source
        for source in inputs
        if source.lane is lane
    )


def lane_of(type_: str) -> Lane | None:
    """Where events of that type (ours, without prefix) belong; None for no type of ours."""
    return next((lane for lane, types in _TYPES.items() if type_ in types), None)


def _sharing(source: Input) -> Input:
    """Translators tell the other lane's by themselves; of events with any prefix this does."""
    others = sorted(name for lane, types in _TYPES.items() if lane is not source.lane for name in types)
    patterns = [pattern for name in others for pattern in (name, f"*.{name}")]
    return source.model_copy(update={"ignore": (*source.ignore, *patterns)})
