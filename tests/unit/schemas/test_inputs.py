"""What may be said of an input."""

import pytest
from pydantic import ValidationError

from schemas.inputs import DEFAULT_INPUTS, Input, Lane, Mode
from schemas.topics import Topic


def test_by_default_an_input_enforces_and_is_bound_to_nothing() -> None:
    source = Input(topic="login")

    assert (source.lane, source.mode) == (Lane.REVOCATION, Mode.ENFORCE)
    assert (source.tenant, source.source, source.types, source.ignore) == (None, None, (), ())


def test_the_default_inputs_are_topics_of_ours_in_their_lanes() -> None:
    assert {source.topic: source.lane for source in DEFAULT_INPUTS} == {
        Topic.IDENTITY_EVENTS: Lane.REVOCATION,
        Topic.SESSION_ACTIVITY: Lane.REGISTRATION,
    }


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="tennant"):
        Input.model_validate({"topic": "login", "tennant": "acme"})
