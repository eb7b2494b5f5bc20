import json
from pathlib import Path

import pytest

from data_gen.settings.errors import InputError
from prm_train.strategies.candidates import Candidate, read_qwen_candidates

FIRST = Candidate("a", 0, "1\n2", "2", True, True, -1.5, 3, {"prm": (0.5, 0.25), "orm": (0.125,)})
CUT = Candidate("a", 1, "1\n", None, False, is_finished=False)


def test_only_a_finished_candidate_with_an_answer_can_vote() -> None:
    assert FIRST.can_vote
    assert not CUT.can_vote
    assert not Candidate("a", 0, "x", None, False).can_vote


def test_a_qwen_row_becomes_a_problem_and_its_candidates(tmp_path: Path) -> None:
    path = tmp_path / "qwen.jsonl"
    row = {
        "idx": 3,
        "question": "q?",
        "gt": "4",
        "code": ["s0", "s1"],
        "pred": ["4", ""],
        "score": [True, False],
        "pred_score": [[0.0], [-1.0]],
    }
    path.write_text(json.dumps(row) + "\n")
    ((problem, candidates),) = read_qwen_candidates(path)
    assert (problem.problem_id, problem.question, problem.gold_answer) == ("3", "q?", "4")
    assert [(each.text, each.answer, each.is_correct, each.index) for each in candidates] == [
        ("s0", "4", True, 0),
        ("s1", None, False, 1),
    ]
    assert candidates[0].scores == {"rm": (0.5,)}
    path.write_text(json.dumps(row | {"pred": ["4"]}) + "\n")
    with pytest.raises(
        InputError, match=r"qwen\.jsonl:1: .*'pred': 1.* expected one of each for every sample"
    ):
        read_qwen_candidates(path)
    path.write_text('{"idx": 3}\n')
    with pytest.raises(InputError, match=r"qwen\.jsonl:1: no field question, gt, code"):
        read_qwen_candidates(path)


def test_the_published_samples_are_eight_for_each_of_a_hundred_problems(real_data: Path) -> None:
    problems = read_qwen_candidates(real_data / "samples/qwen_math_cot_100.jsonl")
    assert {len(candidates) for _, candidates in problems} == {8}
    assert (len(problems), sum(each.is_correct for _, candidates in problems for each in candidates)) == (
        100,
        728,
    )
