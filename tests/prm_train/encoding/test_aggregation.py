import pytest

from prm_train.encoding.aggregation import aggregate


@pytest.mark.parametrize(
    ("how", "expected"), [("min", 0.25), ("prod", 0.1), ("last", 0.5), ("mean", 1.55 / 3)]
)
def test_aggregate_of_three_scores(how, expected):
    assert aggregate([0.8, 0.25, 0.5], how) == pytest.approx(expected)


@pytest.mark.parametrize("how", ["min", "prod", "last", "mean"])
def test_aggregate_of_one_score_is_that_score(how):
    assert aggregate([0.3], how) == pytest.approx(0.3)


def test_aggregate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no step score"):
        aggregate([], "min")
