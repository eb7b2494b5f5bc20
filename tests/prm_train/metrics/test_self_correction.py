"""SCoRe's measures of two attempts, counted by hand."""

import pytest

from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from prm_train.metrics.self_correction import problem_values, self_correction


def test_measures_are_shares_of_all_chains_and_delta_is_what_is_won_minus_what_is_lost() -> None:
    missing = unknown("no_answer")
    chains = [
        [(INCORRECT, CORRECT), (CORRECT, INCORRECT)],
        [(INCORRECT, CORRECT), (INCORRECT, INCORRECT)],
        [(CORRECT, CORRECT), (missing, CORRECT)],
        [(CORRECT, missing), (INCORRECT, INCORRECT)],
    ]
    values = {name: each.tolist() for name, each in problem_values(chains).items()}
    assert values == {
        "accuracy_1": [0.5, 0.0, 0.5, 0.5],
        "accuracy_2": [0.5, 0.5, 1.0, 0.0],
        "delta": [0.0, 0.5, 0.5, -0.5],
        "incorrect_to_correct": [0.5, 0.5, 0.5, 0.0],
        "correct_to_incorrect": [0.5, 0.0, 0.0, 0.5],
    }
    found = self_correction(chains)
    assert (found.n_problems, found.n_unknown) == (4, 2)
    assert found.delta.mean == pytest.approx(0.125)
    never = self_correction([[(INCORRECT, INCORRECT)]] * 4)
    assert never.accuracy_2.low == 0  # a share, though nothing differs
    assert never.delta.low < 0
    assert found.delta.low < 0.125 < found.delta.high
