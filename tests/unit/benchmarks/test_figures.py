"""From what was measured to what is told."""

import json

import pytest

from benchmarks.figures import Goal, Note, Result, Row, percentile, shown

MET = Row("a", "b", "events/s", [100.0, 300.0, 200.0], [100.0, 100.0, 100.0], Goal(1.5))
MISSED = Row("c", "d", "events/s", [50.0], [100.0], Goal(0.8, 1.0), disturbance=[1.2])


def test_ratio_is_the_median_of_the_rounds() -> None:
    assert MET.ratios == [1.0, 3.0, 2.0]
    assert MET.ratio == 2.0


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.79, "NOT MET"), (0.8, "met, not as wanted"), (0.99, "met, not as wanted"), (1.0, "met")]
)
def test_verdict(ratio: float, verdict: str) -> None:
    assert Goal(0.8, 1.0).verdict(ratio) == verdict


def test_text_says_clearly_what_is_not_met_and_what_was_disturbed() -> None:
    text = Result({"cores": 2}, {}, [MET, MISSED], [Note("idle", "p50 2 ms", {})]).as_text()

    assert "NOT MET: c" in text.splitlines()
    assert any(line.startswith("DISTURBED: c") for line in text.splitlines())
    assert "p50 2 ms" in text


def test_json_holds_every_round() -> None:
    tree = json.loads(Result({"cores": 2}, {"rounds": 3}, [MET], []).as_json())

    assert tree["rows"][0]["ratios"] == [1.0, 3.0, 2.0]
    assert tree["rows"][0]["is_met"]
    assert tree["rows"][0]["goal"] == {"least": 1.5, "wanted": None}


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value


@pytest.mark.parametrize(
    ("value", "text"), [(12_345.6, "12,346"), (44.123, "44.1"), (0.8312, "0.83"), (0.0123, "0.012"), (0, "0")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert shown(value) == text
