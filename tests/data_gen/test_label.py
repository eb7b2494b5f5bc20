import json
import logging
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from data_gen.files.run_folder import read_records
from data_gen.label import main as label
from data_gen.label import n_movable_labels
from data_gen.ledger.store import Ledger
from data_gen.models.tokenizer import train_tokenizer
from data_gen.pretrain import PretrainConfig, build_model
from data_gen.problems.tasks import step_truth
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import INCORRECT
from data_gen.sample import main as sample
from data_gen.settings.errors import InputError

SIMULATED = ("--policy.model", "simulated", "--max_new_tokens", "400")


def sampled(folder: Path, n: int, *arguments: str) -> Path:
    sample(["--output", str(folder), "--problems.n", str(n), *SIMULATED, *arguments])
    return folder


def labeled(folder: Path, *arguments: str) -> dict:
    label(["--run", str(folder), *arguments])
    return json.loads((folder / "label.json").read_text())


def test_the_summary_counts_what_was_written_in_the_order_of_the_problems(tmp_path: Path):
    facts = labeled(sampled(tmp_path, 30), "--n_open", "5")
    problems = {
        problem.problem_id: number
        for number, problem in enumerate(read_records(tmp_path / "problems.jsonl", Problem))
    }
    solutions = list(read_records(tmp_path / "labels.jsonl", LabeledSolution))
    places = [(problems[each.graded.solution.problem_id], each.graded.solution.index) for each in solutions]
    assert places == sorted(places)
    assert facts["n_labeled_solutions"] == len(solutions) == 120
    labels = Counter(str(label) for each in solutions for label in each.labels)
    assert facts["labels"] == dict(sorted(labels.items()))
    assert facts["tokens_per_label"] == round(facts["n_generated"] / (labels["True"] + labels["False"]), 1)
    assert facts["tokens_per_labeled_solution"] == round(facts["n_generated"] / 120, 1)
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        assert facts["n_rollouts"] == facts["this_process"]["n_draws"] == ledger.n_draws() - 120
        assert (
            facts["n_generated"]
            == ledger.total_usage().n_generated
            - json.loads((tmp_path / "sample.json").read_text())["n_generated"]
        )


def test_what_changes_no_draw_may_be_set_anew_for_labeling(tmp_path: Path):
    folder = sampled(tmp_path, 5)
    label(["--run", str(folder), "--policy.max_rows", "7", "--policy.trust_remote_code", "true"])
    with pytest.raises(
        InputError, match=r"policy.timeout_seconds: has no effect for a policy in this process"
    ):
        label(["--run", str(folder), "--policy.timeout_seconds", "7"])
    with pytest.raises(InputError, match=r"unknown key policy.model"):
        label(["--run", str(folder), "--policy.model", "other"])


def test_how_many_problems_are_under_way_changes_no_label(tmp_path: Path):
    labeled(sampled(tmp_path / "one", 20), "--n_open", "1")
    labeled(sampled(tmp_path / "many", 20), "--n_open", "50")
    assert (tmp_path / "one" / "labels.jsonl").read_bytes() == (
        tmp_path / "many" / "labels.jsonl"
    ).read_bytes()


def test_scores_of_the_exported_rows_begin_the_search(tmp_path: Path):
    """Scores that know the truth: the same first errors for fewer rollouts, and none without a doubt."""
    folder, rows, scores = sampled(tmp_path / "run", 8), tmp_path / "rows.jsonl", tmp_path / "scores.jsonl"
    plain = labeled(folder, "--method", "posterior")
    label(["--run", str(folder), "--export_rows", str(rows)])
    problems = {each.problem_id: each for each in read_records(folder / "problems.jsonl", Problem)}
    exported = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(exported) == plain["n_wrong_solutions"] > 5
    for row in exported:
        assert row["question"] == problems[row["problem_id"]].question
        truth = step_truth(problems[row["problem_id"]], "\n".join(row["steps"]))
        assert truth is not None
        row["scores"] = [0.99 if is_right else 0.01 for is_right in truth]
    scores.write_text("".join(json.dumps(row) + "\n" for row in exported))
    known = labeled(folder, "--method", "posterior", "--scores", str(scores))
    assert known["settings"]["scores"] == "scores.jsonl"
    assert "scores" not in plain["settings"]
    assert known["labels"]["False"] == len(exported)
    assert known["n_rollouts"] < 0.7 * plain["n_rollouts"]
    other = sampled(tmp_path / "other", 2, "--problems.seed", "5")
    with pytest.raises(InputError, match=r"scores: of problem .* none of which is in "):
        labeled(other, "--method", "posterior", "--scores", str(scores))
    sure = labeled(folder, "--method", "posterior", "--scores", str(scores), "--min_doubt", "0.5")
    assert sure["unlabeled"]["scorers_agree"] == len(exported)
    assert sure["n_rollouts"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--min_doubt", "0.1"), "min_doubt: got 0.1 without scores"),
        (("--scores", "SCORES"), "scores: method first_error reads them with min_doubt above 0 only"),
        (("--method", "posterior", "--scores", "nowhere.jsonl"), "scores: nowhere.jsonl: no such file"),
    ],
)
def test_scores_that_nothing_would_read_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
):
    scores = tmp_path / "scores.jsonl"
    scores.write_text("")
    with pytest.raises((SystemExit, InputError)) as raised:
        label(["--run", str(tmp_path), *(str(scores) if each == "SCORES" else each for each in arguments)])
    assert message in f"{raised.value} {capsys.readouterr().err}"


def test_the_forecast_draws_twenty_problems_of_the_run_and_holds_its_true_cost(tmp_path: Path):
    n_within = 0
    for seed in range(3):
        settings = ("--problems.seed", str(seed), "--n_samples", "2")
        folder = sampled(tmp_path / str(seed), 60, *settings, "--forecast", "true")
        label(["--run", str(folder), "--forecast", "true"])  # before anything but the pilot is sampled
        assert not (folder / "label.json").exists()
        totals = json.loads((folder / "forecast-label.json").read_text())["totals"]
        with Ledger(folder / "ledger.sqlite", read_only=True) as ledger:
            n_pilot_rollouts = ledger.n_draws() - 20 * 2
        facts = labeled(sampled(folder, 60, *settings))
        assert facts["this_process"]["n_draws"] == facts["n_rollouts"] - n_pilot_rollouts
        n_within += totals["n_generated"]["low"] <= facts["n_generated"] <= totals["n_generated"]["high"]
    assert n_within >= 2  # of 3, where 90 % are meant


def test_labels_are_made_of_a_finished_run_alone(tmp_path: Path):
    with pytest.raises(
        InputError,
        match=r"nowhere/config.json: no such file; expected a run that `prm-train sample` finished",
    ):
        label(["--run", str(tmp_path / "nowhere")])
    folder = sampled(tmp_path / "begun", 30, "--forecast", "true")
    with pytest.raises(InputError, match=r"begun/sample.json: no such file"):
        label(["--run", str(folder)])


def test_labels_by_another_policy_than_the_one_that_sampled_are_refused(tmp_path: Path):
    tokenizer = train_tokenizer(["3 plus 4 = 7\nAnswer: 7"], vocab_size=300, context_length=512)
    shape = PretrainConfig(
        hidden_size=16, n_layers=1, n_heads=2, n_kv_heads=1, intermediate_size=16, context_length=512
    )
    policy = tmp_path / "policy"
    for folder in (policy, tmp_path / "other"):
        build_model(shape, tokenizer).save_pretrained(folder)  # other random weights each
        tokenizer.save_pretrained(folder)
    sample(
        [
            "--output",
            str(tmp_path / "run"),
            "--problems.n",
            "2",
            "--policy.model",
            str(policy),
            "--max_new_tokens",
            "8",
        ]
    )
    (policy / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(
        InputError, match=r"models.json: the policy of this run was \w{32}, got \w{32}: other weights"
    ):
        label(["--run", str(tmp_path / "run")])


def test_a_dry_run_is_labeled_by_the_policy_that_drew_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    dry = ("--dry_run", "true")
    sample(["--output", str(tmp_path), "--problems.n", "25", "--policy.model", "no/such-model", *dry])
    with caplog.at_level(logging.INFO):
        label(["--run", str(tmp_path), *dry])
    facts = json.loads((tmp_path / "dry-run" / "label.json").read_text())
    assert facts["is_simulated"]
    assert set(facts["unlabeled"]) <= {"no_answer"}
    assert facts["n_labeled_solutions"] + sum(facts["unlabeled"].values()) == 100
    assert facts["labels"]["False"] == facts["n_wrong_solutions"] > 0
    for each in read_records(tmp_path / "dry-run" / "labels.jsonl", LabeledSolution):
        error = each.labels.index(False) if False in each.labels else len(each.steps)
        # No success follows a wrong step
        assert not any(step.endswith("wrong.") for step in each.steps[:error])
    assert "of a simulated policy" in caplog.text


def solution(
    labels: tuple[bool | None, ...], n_unknown: tuple[int, ...], n_root_unknown: int = 0
) -> LabeledSolution:
    graded = GradedSolution(Solution("p", 0, ""), "1", INCORRECT)
    estimates = tuple(StepEstimate(0, 8, n, "rollouts") for n in n_unknown)
    return LabeledSolution(
        graded, ("",) * len(labels), estimates, labels, root=StepEstimate(1, 4, n_root_unknown)
    )


def test_labels_that_rollouts_without_verdict_could_move_are_counted():
    located = (True, True, False, None)
    assert n_movable_labels(solution(located, (0, 0, 0, 0)), "first_error") == 0
    # The prefix is good by its successes
    assert n_movable_labels(solution(located, (3, 0, 0, 0)), "first_error") == 0
    assert n_movable_labels(solution(located, (0, 0, 1, 0)), "first_error") == 1
    # A success there would make the error a right step
    assert n_movable_labels(solution(located, (0, 0, 0, 1)), "first_error") == 1
    each_step = (True, False, False, False)
    assert n_movable_labels(solution(each_step, (2, 0, 2, 0)), "every_step") == 1
    # Every test compares with the root
    assert n_movable_labels(solution(located, (0, 0, 0, 0), n_root_unknown=1), "sequential") == 3
    assert n_movable_labels(solution(located, (0, 0, 0, 0)), "sequential") == 0


def test_rollouts_without_verdict_are_counted_once_and_so_are_the_labels_that_rest_on_them(tmp_path: Path):
    sample(
        [
            "--output",
            str(tmp_path),
            "--problems.n",
            "20",
            "--policy.model",
            "no/such-model",
            "--dry_run",
            "true",
        ]
    )
    # By a policy that often says "No answer."
    label(["--run", str(tmp_path), "--dry_run", "true", "--method", "every_step"])
    run = tmp_path / "dry-run"
    facts = json.loads((run / "label.json").read_text())
    with closing(sqlite3.connect(run / "ledger.sqlite")) as database:
        [[n_unknown]] = database.execute(  # of the draws from the ends of steps
            "SELECT count(*) FROM draws JOIN verdicts ON draw = draws.id JOIN prefixes ON hash = prefix_hash"
            " WHERE parent_hash IS NOT NULL AND (kind = 'unknown' OR finish_reason = 'length')"
        )
    solutions = list(read_records(run / "labels.jsonl", LabeledSolution))
    told = sum(estimate.n_unknown for each in solutions for estimate in each.estimates)
    # Solutions share prefixes, each of which tells of its rollouts
    assert 0 < facts["n_unknown_rollouts"] == n_unknown < told
    assert facts["n_labels_unknowns_could_move"] <= facts["labels"]["False"]


def test_truncated_solutions_get_no_labels_and_are_told(tmp_path: Path):
    sample(
        [
            "--output",
            str(tmp_path),
            "--problems.n",
            "60",
            "--policy.model",
            "simulated",
            "--max_new_tokens",
            "90",
        ]
    )
    facts = labeled(tmp_path)
    assert facts["unlabeled"]["truncated"] > 0
    assert facts["n_labeled_solutions"] + sum(facts["unlabeled"].values()) == 240
