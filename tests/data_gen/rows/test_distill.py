"""Which solutions of a question a policy is to learn, and why the others are not."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from data_gen.build import main as build
from data_gen.files.run_folder import write_records
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, VerdictKind, unknown
from data_gen.rows.build_record import read_build
from data_gen.rows.distill import DistillSettings, TaughtSolution, distill_rows, text_key
from data_gen.rows.layouts import DistillRow, read_rows
from data_gen.rows.search_candidates import SearchCandidates, SearchTotals
from data_gen.settings.errors import InputError

PROBLEM = Problem("p", "What is 2 + 3?", "5")


def taught(
    text: str, verdict: Verdict = CORRECT, score: float | None = None, **others: Any
) -> TaughtSolution:
    known: dict[str, Any] = {"answer_class": text.split()[-1], "is_finished": True, "source": "samples"}
    known |= others
    return TaughtSolution(text=text, verdict=verdict, score=score, **known)


def texts_of(
    solutions: Sequence[TaughtSolution], *, max_characters: int | None = None, seed: int = 0, **settings: Any
) -> tuple[list[str], Counter[str]]:
    rows, left_out = distill_rows(PROBLEM, solutions, DistillSettings(**settings), max_characters, seed)
    return [row.completion for row in rows], left_out


def test_an_unknown_verdict_is_neither_right_nor_wrong() -> None:
    solutions = [
        taught("so 5"),
        taught("so 6", INCORRECT),
        taught("it is 5", unknown("timeout"), 0.9),
        taught("no", unknown("no_answer"), answer_class=None),
        taught("cut 5", is_finished=False),
        taught("a very long way to 5"),
    ]
    assert texts_of(solutions, max_characters=12) == (
        ["so 5"],
        {"incorrect": 1, "unknown: timeout": 1, "unknown: no_answer": 1, "truncated": 1, "too_long": 1},
    )
    # a vote reads no verdicts: the unknown one is learnt, and its row says what it is
    rows, left_out = distill_rows(PROBLEM, solutions, DistillSettings(choose="best"), 12, 0)
    assert [(row.completion, row.verdict, row.score) for row in rows] == [("it is 5", "unknown", 0.9)]
    assert left_out == {"no_score": 2, "no_answer": 1, "truncated": 1, "too_long": 1}


def test_the_answer_with_the_highest_sum_of_scores_is_learnt_its_best_solutions_first() -> None:
    solutions = [
        taught("one 6", INCORRECT, 0.8),
        taught("two 5", score=0.3),
        taught("three 5", score=0.6),
        taught("two 5", score=0.3),
        taught("two  5 \n", score=0.3),
    ]
    assert texts_of(solutions, choose="vote") == (["three 5", "two 5"], {"other_answer": 1, "duplicate": 2})
    assert texts_of(solutions, choose="best", max_per_question=1) == (
        ["one 6"],
        {"duplicate": 2, "over_cap": 2},
    )
    twice = [taught("a 6", INCORRECT, 0.5), taught("b 5", score=0.3, n_votes=2)]
    assert texts_of(twice, choose="vote") == (["b 5"], {"other_answer": 1})
    wrong = [taught("a 6", INCORRECT), taught("b 6", INCORRECT), taught("c 5")]
    assert texts_of(wrong, choose="majority") == (["a 6", "b 6"], {"other_answer": 1})


def test_texts_are_equal_but_for_their_layout() -> None:
    assert text_key("2 + 3 = 5\n\nAnswer:  5 ") == text_key(" 2 + 3 = 5\nAnswer: 5\n")
    assert text_key("½ of x") == text_key("1⁄2 of x")
    assert text_key("x = 5") != text_key("X = 5")
    assert text_key("a\nb") != text_key("a b")


def test_of_more_than_the_cap_the_ones_wanted_stay() -> None:
    solutions = [taught("aaaa 5"), taught("aaab 5"), taught("zzzzzzzz 5"), taught("aabb 5")]
    assert texts_of(solutions, max_per_question=2)[0] == ["aaaa 5", "aaab 5"]  # as drawn
    assert texts_of(solutions, max_per_question=2, keep="spread")[0] == ["aaaa 5", "zzzzzzzz 5"]
    assert texts_of(solutions, max_per_question=3, keep="spread")[0] == ["aaaa 5", "zzzzzzzz 5", "aabb 5"]
    some = {tuple(texts_of(solutions, max_per_question=2, keep="random", seed=seed)[0]) for seed in range(20)}
    assert len(some) > 3
    assert texts_of(solutions, max_per_question=2, keep="random") == texts_of(
        solutions, max_per_question=2, keep="random"
    )
    assert len(texts_of(solutions, max_per_question=None)[0]) == 4
    with pytest.raises(ValueError, match="keep: got random with choose best"):
        DistillSettings(choose="best", keep="random")


# --- from folders


def candidate(text: str, is_correct: bool, scores: list[float], **others: Any) -> dict[str, Any]:
    known = {"problem_id": "p", "index": 0, "text": text, "answer": text.split()[-1]}
    return {**known, "is_correct": is_correct, "scores": {"prm": scores}, **others}


def run_of(spec: str, n: int, *candidates: dict[str, Any], temperature: float = 1.0) -> dict[str, Any]:
    return {"spec": spec, "n": n, "temperature": temperature, "candidates": candidates}


def write_search(folder: Path) -> Path:
    """A problem with scored samples and two sizes of a search, and one that failed."""
    folder.mkdir()
    samples = [
        candidate("x 5", True, [0.9, 0.2]),
        candidate("y 6", False, [0.5, 0.5]),
        candidate("z 5", False, [0.6, 0.4], is_unknown=True, answer_class="5"),
    ]
    runs = [
        run_of("greedy", 1, candidate("g 6", False, []), temperature=0.0),
        run_of("samples", 3, *samples),
        run_of("samples", 1, candidate("cold 6", False, []), temperature=0.5),
        run_of("beam", 4, candidate("four 5", True, [0.7])),
        run_of("beam", 16, candidate("sixteen 5", True, [0.8])),
    ]
    problem = {"problem_id": "p", "question": PROBLEM.question, "gold_answer": "5", "other_answers": []}
    other = {**problem, "problem_id": "q", "question": "What is 4?"}
    lines = [
        {"problem": problem, "temperature": 1.0, "runs": runs},
        {"problem": other, "temperature": 1.0, "runs": [], "failure": "GradingTimeout: 4"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "results.jsonl").write_text(text + text[:40])  # a killed search leaves half a line
    SearchTotals(n_candidates=3, n_generated=70, n_scorer_new=30).write(folder / "search.json")
    return folder


def write_run(folder: Path) -> Path:
    graded = [
        GradedSolution(Solution("p", 0, "x 5"), "5", CORRECT),
        GradedSolution(Solution("p", 1, "longer x 5", FinishReason.LENGTH), "5", CORRECT),
        GradedSolution(Solution("p", 2, "other 5"), "5", CORRECT),
    ]
    write_records(folder / "problems.jsonl", Problem, [PROBLEM])
    write_records(folder / "solutions.jsonl", GradedSolution, graded)
    return folder


def built(tmp_path: Path, runs: Sequence[Path], *options: str) -> list[DistillRow]:
    output = tmp_path / "rows"
    paths = ",".join(map(str, runs))
    build(["--runs", paths, "--output", str(output), "--kinds", "distill", *options])
    return read_rows(output / "distill.jsonl", DistillRow)


def test_rows_come_from_the_candidates_of_a_search(tmp_path: Path) -> None:
    search = write_search(tmp_path / "search")
    # min of the steps: 0.2 and 0.4 for 5, 0.5 for 6
    rows = built(tmp_path, [search], "--distill.choose", "vote")
    assert [(row.completion, row.score, row.verdict) for row in rows] == [
        ("z 5", 0.4, "unknown"),
        ("x 5", 0.2, "correct"),
    ]
    assert {(row.prompt, row.source) for row in rows} == {(PROBLEM.question, "samples")}
    options = ("--distill.choose", "vote", "--distill.aggregation", "prod", "--distill.n", "2")
    assert [row.completion for row in built(tmp_path, [search], *options)] == ["y 6"]
    beam = built(tmp_path, [search], "--distill.method", "beam")
    assert [(row.completion, row.score, row.source) for row in beam] == [("sixteen 5", 0.8, "beam")]
    of_four = built(tmp_path, [search], "--distill.method", "beam", "--distill.n", "4")
    assert [row.completion for row in of_four] == ["four 5"]
    with pytest.raises(
        InputError, match=r"results.jsonl:1: no candidates of dvts; there are beam \(N = 16\)"
    ):
        SearchCandidates(search, "dvts", None).of(PROBLEM)


def test_teachers_add_up_and_the_record_counts_what_they_gave(tmp_path: Path) -> None:
    run, search = write_run(tmp_path / "run"), write_search(tmp_path / "search")
    rows = built(tmp_path, [run, search])
    assert [row.completion for row in rows] == ["x 5", "other 5"]  # the scored copy of x is the first
    assert rows[0].score == 0.2
    record = read_build(tmp_path / "rows")
    assert record is not None
    assert record.distill is not None
    assert record.distill.left_out == {"duplicate": 1, "incorrect": 1, "truncated": 1, "unknown": 1}
    assert (record.distill.sources, record.distill.verdicts) == ({"samples": 2}, {"correct": 2})
    assert record.n_problems == 2
    assert [run.search for run in record.runs] == [None, SearchTotals(3, 70, 30)]
    with pytest.raises(InputError, match="search: holds the results of a search, from which only distill"):
        build(["--runs", f"{run},{search}", "--output", str(tmp_path / "r"), "--kinds", "orm,distill"])


def test_questions_of_a_test_set_are_not_learnt(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "what is 2 + 3 ?"}) + "\n")
    sets = ("--contamination.test_sets", f"held_out={tmp_path / 'test.jsonl'}")
    assert built(tmp_path, [write_search(tmp_path / "search")], *sets) == []


def test_rows_of_others_need_a_prompt_and_a_completion_alone(tmp_path: Path) -> None:
    (tmp_path / "sft.jsonl").write_text('{"prompt": "What is 2?", "completion": "2"}\n')
    (row,) = read_rows(tmp_path / "sft.jsonl", DistillRow)
    assert (row.verdict, row.score, row.source) == (VerdictKind.UNKNOWN, None, "")
