"""What scorers believe of wrong solutions, on numbers that are known by hand."""

import json
from pathlib import Path

import pytest

from data_gen.labeling.beliefs import belief, doubt, read_beliefs, trusted
from data_gen.settings.errors import InputError


def test_the_first_error_is_believed_where_the_chance_of_right_steps_ends() -> None:
    """Right with 0.5, 0.5 and 0.2: the first error is there with 0.5, 0.25 and 0.2, in all 0.95."""
    assert belief((0.5, 0.5, 0.2)) == pytest.approx((0.5 / 0.95, 0.25 / 0.95, 0.2 / 0.95))


def test_a_scorer_is_never_quite_sure() -> None:
    """Steps of 1 and 0 leave every step some chance, so that rollouts can still say otherwise."""
    believed = belief((1.0, 0.0, 1.0))
    assert believed == pytest.approx((0.001001, 0.998998, 0.000001), abs=1e-6)
    assert min(believed) > 0
    assert sum(believed) == pytest.approx(1)


def test_trust_is_shared_with_steps_that_nobody_suspects() -> None:
    assert trusted((1.0, 0.0, 0.0, 0.0), 0.6) == pytest.approx((0.7, 0.1, 0.1, 0.1))


def test_doubt_is_the_chance_that_the_error_is_elsewhere() -> None:
    assert doubt((0.1, 0.7, 0.2)) == pytest.approx(0.3)


def rows(path: Path, *found: dict) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in found))
    return path


def row(index: int, scores: object, problem_id: str = "p") -> dict:
    return {"problem_id": problem_id, "index": index, "question": "q", "steps": ["a", "b"], "scores": scores}


def test_the_belief_is_the_mean_of_those_who_could_read_the_solution(tmp_path: Path) -> None:
    one = rows(tmp_path / "one.jsonl", row(0, [0.5, 0.5]), row(3, [0.25, 0.5]), row(1, [0.5, None]))
    two = rows(tmp_path / "two.jsonl", row(0, [0.25, 0.5]), row(1, [0.5, None], "other"))
    beliefs = read_beliefs([one, two])
    # (0.5, 0.25) / 0.75 and (0.75, 0.125) / 0.875
    first, second = (2 / 3, 1 / 3), (6 / 7, 1 / 7)
    assert set(beliefs) == {"p"}
    assert beliefs["p"][0] == pytest.approx([(a + b) / 2 for a, b in zip(first, second, strict=True)])
    assert beliefs["p"][3] == pytest.approx(second)
    assert set(beliefs["p"]) == {0, 3}  # of sample 1 no scorer has all steps


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"question": "q", "scores": [0.5]}, "no problem_id and index"),
        (row(0, None), "scores: got None, expected numbers from 0 to 1"),
        (row(0, [0.5, 1.5]), r"scores: got \[0.5, 1.5\], expected numbers from 0 to 1"),
        (row(2, [0.5, 0.5]), "sample 2 of p a second time"),
    ],
)
def test_rows_that_are_no_scores_are_named(tmp_path: Path, bad: dict, message: str) -> None:
    path = rows(tmp_path / "scores.jsonl", row(2, [0.5, 0.5]), bad)
    with pytest.raises(InputError, match=f"scores.jsonl:2: {message}"):
        read_beliefs([path])


def test_scorers_must_agree_on_the_number_of_steps(tmp_path: Path) -> None:
    one, two = rows(tmp_path / "one.jsonl", row(0, [0.5])), rows(tmp_path / "two.jsonl", row(0, [0.5, 0.5]))
    with pytest.raises(InputError, match="scores of sample 0 of p: the files have 1, 2 of them"):
        read_beliefs([one, two])
