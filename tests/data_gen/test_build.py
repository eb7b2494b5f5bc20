import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data_gen.build import main
from data_gen.files.jsonl import read_jsonl
from data_gen.files.run_folder import write_records
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from data_gen.rows.build_record import KindSummary, RunDescription, read_build
from data_gen.rows.layouts import ROW_TYPES, OrmRow, RevisionRow, read_rows
from data_gen.rows.settings import BuildConfig
from data_gen.rows.split import published_split
from data_gen.sampling.summary import SampleSummary
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml

KINDS = "prm,orm,orm_pairs,orm_history,revision,distill"


def problem(number: int) -> Problem:
    return Problem(f"p{number}", f"What is {number} plus {number}?", str(2 * number))


def write_run(folder: Path, numbers: range, source: str = "gsm8k/train.jsonl") -> Path:
    """Each question with two right and two wrong solutions, one of them twice, and one without an answer;
    wrong steps are labeled.
    """
    problems = [problem(number) for number in numbers]
    graded, labeled = [], []
    for each in problems:
        gold = each.gold_answer
        texts = [
            (f"sum\nis {gold}", CORRECT),
            (f"it\nis {gold}", CORRECT),
            ("sum\nis 99", INCORRECT),
            ("guess\nit is 98", INCORRECT),
        ]
        for index, (text, verdict) in enumerate([*texts, texts[2]]):
            graded.append(GradedSolution(Solution(each.problem_id, index, text), text.split()[-1], verdict))
        graded.append(GradedSolution(Solution(each.problem_id, 5, "no idea"), None, unknown("no_answer")))
        step = (
            StepEstimate(4, 8, 0, "rollouts", "fixed", 0.2, 0.8),
            StepEstimate(0, 8, 1, "terminal", "fixed", 0.0, 0.3),
        )
        wrong = graded[-4]
        labeled.append(LabeledSolution(wrong, ("sum", "is 99"), step, (True, False)))
    write_records(folder / "problems.jsonl", Problem, problems)
    write_records(folder / "solutions.jsonl", GradedSolution, graded)
    write_records(folder / "labels.jsonl", LabeledSolution, labeled)
    config = {"grader": "auto", "problems": {"source": source}, "policy": {"model": "some/model"}}
    (folder / "config.json").write_text(json.dumps(config))
    n = len(problems)
    verdicts = {"correct": 2 * n, "incorrect": 3 * n, "unknown:no_answer": n}
    usage: dict[str, Any] = {"n_generated": 900, "n_prefilled": 90, "n_cached": 9}
    summary = SampleSummary(
        n_problems=n, n_solutions=len(graded), verdicts=verdicts, pass_at_1=1 / 3, seconds=1.5, **usage
    )
    summary.write(folder / "sample.json")
    return folder


def build(tmp_path: Path, *options: str, runs: str | None = None) -> dict[str, dict[str, object]]:
    main(["--runs", runs or str(tmp_path / "run"), "--output", str(tmp_path / "rows"), *options])
    facts: dict[str, dict[str, object]] = json.loads((tmp_path / "rows" / "build.json").read_text())
    return facts


def test_every_kind_of_row_from_one_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run", range(10, 20))
    facts = build(tmp_path, "--kinds", KINDS)
    rows = {
        kind: read_rows(tmp_path / "rows" / f"{kind}.jsonl", row_type) for kind, row_type in ROW_TYPES.items()
    }
    assert {kind: len(some) for kind, some in rows.items()} == {
        "prm": 10,
        "orm": 40,
        "orm_pairs": 40,
        "orm_history": 40,
        "revision": 20,
        "distill": 20,
    }
    left_out = {"duplicate": 10, "unknown: no_answer": 10}
    for kind in ("orm", "orm_pairs", "orm_history", "revision"):
        assert facts[kind]["left_out"] == left_out
        assert facts[kind]["n_problems"] == 10
    assert facts["distill"]["left_out"] == {"incorrect": 30, "unknown: no_answer": 10}
    assert facts["orm"]["labels"] == {"false": 20, "true": 20}
    assert facts["orm"]["n_problems_with_both_labels"] == 10
    assert facts["orm_history"]["n_attempts"] == {"0": 10, "1": 10, "2": 10, "3": 10}
    assert sum(facts["revision"]["n_attempts"].values()) == 20  # type: ignore[attr-defined]
    assert facts["revision"]["distances"]["all"]["n_with_choice"] == 20  # type: ignore[index]
    assert facts["files"]["prm"] == {"train": "prm.jsonl"}


def test_the_facts_say_where_rows_come_from_and_what_labels_mean(tmp_path: Path) -> None:
    write_run(tmp_path / "run", range(10, 14))
    facts = build(tmp_path, "--labels.hard_threshold", "0.5")
    prm = {name: value for name, value in facts["prm"].items() if name != "label_meaning"}
    assert prm == {
        "n_rows": 4,
        "n_rows_by_split": {"train": 4},
        "left_out": {},
        "n_problems": 4,
        "n_steps": 8,
        "n_rollouts": 64,
        "n_unknown_rollouts": 4,
        "n_rows_with_error": 4,
        "n_rows_without_error": 0,
        "labels": {"false": 8},  # 4 of 8 is not more than half
        "methods": {"rollouts": 4, "terminal": 4},
        "stopping": {"fixed": 8},
    }
    assert "true if more than 0.5 of the rollouts" in str(facts["prm"]["label_meaning"])
    record = read_build(tmp_path / "rows")
    assert record is not None
    assert record.prm == KindSummary(**facts["prm"])  # type: ignore[arg-type]
    config = {
        "grader": "auto",
        "problems": {"source": "gsm8k/train.jsonl"},
        "policy": {"model": "some/model"},
    }
    assert record.runs == (
        RunDescription("run", config, SampleSummary.read(tmp_path / "run" / "sample.json"), None),
    )
    assert record.runs[0].sample is not None
    assert record.runs[0].sample.n_solutions == 24
    assert facts["config"]["labels"]["hard_threshold"] == 0.5  # type: ignore[index]


def test_two_shards_and_another_order_make_the_same_rows(tmp_path: Path) -> None:
    for name, numbers in (("whole", range(10, 20)), ("one", range(10, 15)), ("two", range(15, 20))):
        write_run(tmp_path / name, numbers)
    build(tmp_path, "--kinds", KINDS, runs=str(tmp_path / "whole"))
    whole = {
        kind: sorted((tmp_path / "rows" / f"{kind}.jsonl").read_text().splitlines()) for kind in ROW_TYPES
    }
    build(tmp_path, "--kinds", KINDS, runs=f"{tmp_path / 'two'},{tmp_path / 'one'}")
    assert {
        kind: sorted((tmp_path / "rows" / f"{kind}.jsonl").read_text().splitlines()) for kind in ROW_TYPES
    } == whole
    build(tmp_path, "--kinds", KINDS, "--seed", "1", runs=str(tmp_path / "whole"))
    assert sorted((tmp_path / "rows" / "revision.jsonl").read_text().splitlines()) != whole["revision"]


def test_rows_that_need_no_step_labels_are_built_from_a_run_without_them(tmp_path: Path) -> None:
    write_run(tmp_path / "run", range(10, 12))
    (tmp_path / "run" / "labels.jsonl").unlink()
    assert build(tmp_path, "--kinds", "orm,revision")["orm"]["n_rows"] == 8
    with pytest.raises(InputError, match=r"labels\.jsonl: no such file"):
        build(tmp_path, "--kinds", "prm")


def test_validation_holds_whole_questions_and_the_same_ones_everywhere(tmp_path: Path) -> None:
    write_run(tmp_path / "run", range(10, 60))
    facts = build(tmp_path, "--kinds", KINDS, "--validation_share", "0.3")
    by_split: dict[str, set[str]] = {}
    for split in ("train", "validation"):
        ids = {
            kind: {row.problem_id for row in read_rows(tmp_path / "rows" / f"{kind}-{split}.jsonl", row_type)}
            for kind, row_type in ROW_TYPES.items()
        }
        assert len({frozenset(some) for some in ids.values()}) == 1  # every kind has the same questions
        by_split[split] = ids["orm"]
    assert not by_split["train"] & by_split["validation"]
    assert len(by_split["train"] | by_split["validation"]) == 50
    assert facts["n_problems_by_split"] == {split: len(ids) for split, ids in by_split.items()}
    assert 7 <= len(by_split["validation"]) <= 23  # 15 expected, standard deviation 3.2
    assert facts["files"]["orm"] == {"train": "orm-train.jsonl", "validation": "orm-validation.jsonl"}


def test_a_question_is_on_the_same_side_however_it_is_set() -> None:
    copies = ("What is $\\dfrac{1}{2} + x$?", "what is  $\\frac{1}{2}+x$")
    assert len({published_split(Problem(str(n), copy, ""), 0.5) for n, copy in enumerate(copies)}) == 1
    sides = Counter(published_split(problem(number), 0.2) for number in range(1000))
    assert 150 < sides["validation"] < 250
    assert published_split(problem(1), 0.0) == "train"


def test_questions_of_a_test_set_are_left_out_and_named(tmp_path: Path) -> None:
    write_run(tmp_path / "run", range(10, 20))
    (tmp_path / "test.jsonl").write_text(
        '{"question": "what is  12 plus 12"}\n{"question": "What is 500 plus 500?"}\n'
    )
    options = ("--kinds", "orm,revision", "--contamination.test_sets", f"held_out={tmp_path / 'test.jsonl'}")
    facts = build(tmp_path, *options)
    assert facts["contamination"] == {
        "test_sets": {"held_out": {"n_questions": 2, "n_exact": 1, "n_overlap": 0}},
        "n_matching_problems": 1,
        "n_dropped_problems": 1,
    }
    assert {row.problem_id for row in read_rows(tmp_path / "rows" / "orm.jsonl", OrmRow)} == {
        f"p{n}" for n in range(10, 20) if n != 12
    }
    ((_, match),) = read_jsonl(tmp_path / "rows" / "contamination.jsonl")
    assert (match["problem_id"], match["kind"], match["question"]) == ("p12", "exact", "What is 12 plus 12?")
    facts = build(tmp_path, *options, "--contamination.drop", "false")
    assert (facts["contamination"]["n_dropped_problems"], facts["orm"]["n_problems"]) == (0, 10)
    write_run(tmp_path / "run", range(12, 13))
    with pytest.raises(InputError, match="contamination: each of the 1 problems is in a test set"):
        build(tmp_path, *options)


def test_the_second_opinion_is_not_asked_about_exact_graders(tmp_path: Path) -> None:
    for source, n_rows, reasons in (("arithmetic", 2, {}), ("gsm8k/train.jsonl", 1, {"disputed": 1})):
        run = write_run(tmp_path / "run", range(10, 11), source)
        write_records(run / "problems.jsonl", Problem, [Problem("p10", "?", "7.0")])
        solutions = [("right", "7.0", CORRECT), ("wrong", "7", INCORRECT)]
        graded = [
            GradedSolution(Solution("p10", index, text), answer, verdict)
            for index, (text, answer, verdict) in enumerate(solutions)
        ]
        write_records(run / "solutions.jsonl", GradedSolution, graded)
        facts = build(tmp_path, "--kinds", "orm")
        assert (facts["orm"]["n_rows"], facts["orm"]["left_out"]) == (n_rows, reasons)
    assert build(tmp_path, "--kinds", "orm", "--filters.second_opinion", "never")["orm"]["n_rows"] == 2
    assert build(tmp_path, "--kinds", "orm", "--filters.max_characters", "4")["orm"]["left_out"] == {
        "too_long": 2
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kinds", "orm,orm"), "kinds: got orm, orm, expected each once"),
        (
            ("--kinds", "rm"),
            "kinds: got .*rm.*expected list of one of prm, orm, orm_pairs, orm_history, revision",
        ),
        (("--contamination.test_sets", "math500"), "test_sets: got 'math500', expected name=path"),
        (("--validation_share", "1.0"), "validation_share: got 1.0"),
        (("--revision.keep_share", "2"), "revision.keep_share: got 2"),
        (
            ("--chain.first", "Think."),
            r"chain: first: got 'Think\.', expected a text that holds \{question\}",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build(tmp_path, *options)


def test_the_paper_s_config_draws_every_number_by_itself() -> None:
    config = load_yaml(BuildConfig, Path(__file__).parents[2] / "configs" / "build" / "snell.yaml")
    assert (config.revision.max_attempts, config.revision.distance, config.revision.keep_share) == (
        4,
        "characters",
        0.0,
    )
    assert (config.revision.balanced, config.revision.max_per_question) == (False, None)


def test_the_built_in_task_from_sample_to_trajectories(tmp_path: Path) -> None:
    from data_gen.problems.arithmetic.rules import parse_question
    from data_gen.sample import main as sample

    sample(
        [
            "--output",
            str(tmp_path / "run"),
            "--problems.n",
            "12",
            "--n_samples",
            "6",
            "--policy.model",
            "base",
        ]
    )
    facts = build(tmp_path, "--kinds", "orm,revision")
    assert set(facts["revision"]["left_out"]) <= {"duplicate", "unknown: truncated", "unknown: no_answer"}  # type: ignore[call-overload]
    rows = read_rows(tmp_path / "rows" / "revision.jsonl", RevisionRow)
    assert any(row.n_attempts > 1 for row in rows)
    for row in rows:
        gold = f"Answer: {parse_question(row.prompt[0].content).gold_answer()}"
        assert row.completion[0].content.endswith(gold)
        assert not any(message.content.endswith(gold) for message in row.prompt)
        assert {message.content for message in row.prompt if message.role == "user"} == {
            row.prompt[0].content
        }
