from pathlib import Path

import pytest

from data_gen.files.jsonl import read_objects
from data_gen.records.first_error import FirstErrorF1, first_error, first_error_f1, labels_of


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ((True, False, None), 1),
        ((False, False, True), 0),
        ((True, True), -1),
        ((True, None, False), None),
        ((None, True), None),
        ((True, None), None),
        ((), None),
    ],
)
def test_the_first_error_of_labels(labels: tuple[bool | None, ...], error: int | None) -> None:
    assert first_error(labels) == error


def test_labels_of_a_first_error() -> None:
    assert labels_of(1, 3) == (True, False, None)
    assert labels_of(-1, 2) == (True, True)
    with pytest.raises(ValueError, match=r"got 3 for 3 steps, expected -1 \(none\) or 0 to 2"):
        labels_of(3, 3)


def test_f1_is_the_harmonic_mean_of_both_accuracies() -> None:
    """Erroneous: 2 of 4 exact (a near miss and an unknown are misses). Correct: 1 of 2. 2 * 0.5 * 0.5 / 1 =
    0.5.
    """
    assert first_error_f1([0, 2, 1, None, -1, 3], [0, 2, 2, 1, -1, -1]) == FirstErrorF1(4, 2, 0.5, 0.5, 0.5)


def test_f1_without_one_kind_is_unknown_and_of_two_zeros_is_zero() -> None:
    assert first_error_f1([0], [0]) == FirstErrorF1(1, 0, 1.0, None, None)
    assert first_error_f1([], []) == FirstErrorF1(0, 0, None, None, None)
    assert first_error_f1([1, 0], [0, -1]) == FirstErrorF1(1, 1, 0.0, 0.0, 0.0)


def test_f1_needs_pairs() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 solutions"):
        first_error_f1([0], [0, 1])
    with pytest.raises(ValueError, match="got -2"):
        first_error_f1([0], [-2])


def test_processbench_of_trivial_labelers(real_data: Path) -> None:
    """GSM8K part: 207 erroneous, 193 correct. Always "none" finds no error; the truth finds all."""
    labels = [fields["label"] for _, fields in read_objects(real_data / "processbench/gsm8k.json")]
    assert first_error_f1(labels, labels) == FirstErrorF1(207, 193, 1.0, 1.0, 1.0)
    assert first_error_f1([-1] * 400, labels) == FirstErrorF1(207, 193, 0.0, 1.0, 0.0)
