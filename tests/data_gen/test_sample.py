import asyncio
import json
import logging
import re
import shutil
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from data_gen.files.run_folder import read_records
from data_gen.label import LabelConfig, label_problems
from data_gen.label import main as label
from data_gen.ledger.store import Ledger
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.problems.arithmetic.rules import draw_problems
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.sample import main as sample
from data_gen.sample import sample_problems
from data_gen.sampling.settings import SampleConfig
from data_gen.settings.errors import InputError

SIMULATED = ("--policy.model", "simulated", "--max_new_tokens", "400")


def run(folder: Path, n: int, *arguments: str) -> dict:
    sample(["--output", str(folder), "--problems.n", str(n), *SIMULATED, *arguments])
    return json.loads((folder / "sample.json").read_text()) if (folder / "sample.json").exists() else {}


def test_the_summary_counts_what_was_written_in_the_order_of_the_problems(tmp_path: Path):
    facts = run(tmp_path, 30, "--n_samples", "3", "--n_open", "4")
    problems = [problem.problem_id for problem in read_records(tmp_path / "problems.jsonl", Problem)]
    solutions = list(read_records(tmp_path / "solutions.jsonl", GradedSolution))
    assert [(each.solution.problem_id, each.solution.index) for each in solutions] == [
        (p, i) for p in problems for i in range(3)
    ]
    verdicts = Counter(each.verdict.kind.value for each in solutions)
    assert facts["verdicts"] == dict(sorted(verdicts.items()))
    assert facts["pass_at_1"] == verdicts["correct"] / 90
    assert facts["n_generated"] == sum(len(each.solution.token_ids) for each in solutions)
    # Each of the 90 solutions has a verdict
    assert facts["tokens_per_label"] == round(facts["n_generated"] / 90, 1)
    assert facts["policy_id"] == "simulated-arithmetic-1"
    assert not facts["is_simulated"]  # the policy that the config names is meant
    assert facts["this_process"]["n_draws"] == 90


def test_stop_strings_cut_the_solutions_and_labels_are_made_of_what_is_left(tmp_path: Path):
    restricted = ("--stop", '["\\nAnswer", "keep 9"]', "--top_p", "0.9", "--n_samples", "3")
    facts = run(tmp_path, 4, *restricted)
    solutions = [each.solution for each in read_records(tmp_path / "solutions.jsonl", GradedSolution)]
    assert facts["finish_reasons"] == {"stop": 12}
    assert not any("Answer" in solution.text or "keep 9" in solution.text for solution in solutions)
    assert all(bytes(solution.token_ids).decode() == solution.text for solution in solutions)
    whole = run(tmp_path / "whole", 4, "--n_samples", "3")
    texts = [
        each.solution.text for each in read_records(tmp_path / "whole" / "solutions.jsonl", GradedSolution)
    ]
    assert whole["finish_reasons"] == {"eos": 12}
    # The noise is the same
    assert all(text.startswith(solution.text) for text, solution in zip(texts, solutions, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--top_p", "0"), "top_p: got 0.0, expected more than 0"),
        (("--top_k", "-1"), "top_k: got -1, expected 0 .all tokens. or more"),
        (("--min_p", "2"), "min_p: got 2.0, expected 0"),
        (("--stop", "''"), "stop: got '', expected strings of at least one character"),
        (("--temperature", "-1"), "temperature: got -1.0, expected 0"),
    ],
)
def test_sampling_settings_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: tuple[str, ...], message: str
):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "new", 3, *arguments)
    assert not (tmp_path / "new").exists()


def test_draws_are_committed_before_a_file_can_name_them(tmp_path: Path):
    problems = list(islice(draw_problems(0, "train"), 3))
    sampling = SampleConfig(tmp_path, n_samples=2, max_new_tokens=400)
    labeling = LabelConfig(run=tmp_path, method="every_step", n_rollouts=2)
    policy, grader = SimulatedPolicy(), ArithmeticGrader()
    with Ledger(tmp_path / "l.sqlite") as ledger, Ledger(tmp_path / "l.sqlite", read_only=True) as reader:
        asyncio.run(sample_problems(problems, policy, grader, ledger, sampling, lambda number, sampled: None))
        assert reader.n_draws() == 6
        asyncio.run(
            label_problems(problems, policy, grader, ledger, sampling, labeling, lambda number, labeled: None)
        )
        assert reader.n_draws() == ledger.n_draws() > 6


def test_a_problem_longer_than_the_context_is_counted_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    rows = [{"problem": f"Start with 3: {'fold 4, ' * n}times 9.", "answer": "9 1"} for n in (1, 1000, 2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (
        "--problems.source",
        str(tmp_path / "rows.jsonl"),
        "--grader",
        "arithmetic",
        *SIMULATED,
        "--n_samples",
        "2",
    )
    with caplog.at_level(logging.WARNING):
        sample(["--output", str(tmp_path / "run"), *settings])
    facts = json.loads((tmp_path / "run" / "sample.json").read_text())
    long = [problem.problem_id for problem in read_records(tmp_path / "run" / "problems.jsonl", Problem)][1]
    assert (facts["n_solutions"], facts["problems_without_room"], facts["verdicts"]["unknown:no_room"]) == (
        6,
        [long],
        2,
    )
    assert (
        "1 problems fill the policy's context of 4096 tokens and got no solution, sample.json names them: "
        f"{long}" in caplog.text
    )
    label(["--run", str(tmp_path / "run"), "--method", "every_step", "--n_rollouts", "2"])
    labeled = json.loads((tmp_path / "run" / "label.json").read_text())
    assert labeled["unlabeled"] == {"no_room": 2}
    assert labeled["n_labeled_solutions"] == 4


def test_a_run_that_goes_on_draws_nothing_again_and_costs_the_same(tmp_path: Path):
    first = run(tmp_path, 10)
    before = (tmp_path / "solutions.jsonl").read_bytes()
    again = run(tmp_path, 10, "--n_open", "1")  # how many are under way does not change what is drawn
    assert (tmp_path / "solutions.jsonl").read_bytes() == before
    assert again["this_process"]["n_draws"] == again["this_process"]["n_generated"] == 0
    assert again["n_generated"] == first["n_generated"] > 0


@pytest.mark.parametrize(
    "mistake",
    [
        ("--policy.model", "no/such/modle"),
        ("--policy.device", "gpu", "--policy.model", "base"),
        ("--grader", "no_module:grade"),
        ("--problems.source", "nothing.jsonl"),
    ],
)
def test_a_start_that_fails_leaves_nothing_and_the_corrected_command_works(
    tmp_path: Path, mistake: tuple[str, ...]
):
    with pytest.raises(InputError):
        run(tmp_path / "runs" / "x", 3, *mistake)
    assert list(tmp_path.iterdir()) == []
    assert run(tmp_path / "runs" / "x", 3)["n_problems"] == 3


def test_a_run_without_a_draw_is_claimed_anew(tmp_path: Path):
    # The first draw fails: a prompt beyond the context
    with pytest.raises(InputError, match="leaves no room"):
        run(tmp_path, 1, "--policy.model", "base", "--policy.prompt_template", "{question}" + " 1" * 3000)
    assert run(tmp_path, 3)["n_problems"] == 3
    with pytest.raises(InputError, match=r"another configuration: temperature is 1.0, got 0.5; choose"):
        run(tmp_path, 3, "--temperature", "0.5")
    with pytest.raises(InputError, match=r"another configuration: stop is \[\], got \['Q:'\]; choose"):
        run(tmp_path, 3, "--stop", "Q:")
    with pytest.raises(InputError, match=r"another configuration: policy.model is 'simulated', got 'base'"):
        run(tmp_path, 3, "--policy.model", "base")


def test_settings_that_change_no_draw_may_change_and_samples_may_grow(tmp_path: Path):
    whole = run(tmp_path / "whole", 10, "--n_samples", "6")
    first = run(tmp_path / "run", 10, "--n_samples", "2")
    again = run(
        tmp_path / "run",
        10,
        "--n_samples",
        "6",
        "--policy.max_rows",
        "3",
        "--policy.trust_remote_code",
        "true",
    )
    assert (
        first["this_process"]["n_draws"] + again["this_process"]["n_draws"]
        == whole["this_process"]["n_draws"]
    )
    assert (tmp_path / "run" / "solutions.jsonl").read_bytes() == (
        tmp_path / "whole" / "solutions.jsonl"
    ).read_bytes()
    with pytest.raises(InputError, match=r"n_samples is 6, got 5 \(it may grow\)"):
        run(tmp_path / "run", 10, "--n_samples", "5")


def test_runs_that_share_a_ledger_draw_nothing_twice(tmp_path: Path):
    ledger = ("--ledger", str(tmp_path / "draws" / "shared.sqlite"))
    first = run(tmp_path / "few", 10, "--n_samples", "2", *ledger)
    more = run(tmp_path / "more", 10, "--n_samples", "5", "--step_separator", "\n\n", *ledger)
    assert (first["this_process"]["n_draws"], more["this_process"]["n_draws"]) == (20, 30)
    label(["--run", str(tmp_path / "few")])
    assert not (tmp_path / "few" / "ledger.sqlite").exists()
    with pytest.raises(InputError, match=r"n_samples is 2, got 1"):
        run(tmp_path / "few", 10, "--n_samples", "1", *ledger)
    with pytest.raises(InputError, match=r"cannot be written there"):
        run(tmp_path / "third", 10, "--ledger", "/proc/x/ledger.sqlite")


def test_problems_that_changed_under_their_path_are_refused(tmp_path: Path):
    source = tmp_path / "mine.jsonl"
    source.write_text('{"problem": "What is 1?", "answer": "1"}\n')
    arguments = (
        "--output",
        str(tmp_path / "run"),
        "--problems.source",
        str(source),
        "--policy.model",
        "base",
        "--max_new_tokens",
        "2",
    )
    sample(arguments)
    source.write_text('{"problem": "What is 1?", "answer": "2"}\n')
    with pytest.raises(
        InputError,
        match=r"problems.jsonl:1: the problems have changed .* with answer '1', got 'What is 1\?' with "
        r"answer '2'",
    ):
        sample(arguments)


def test_the_first_lines_name_the_model_and_show_what_it_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    plain = tmp_path / "plain"
    shutil.copytree(BASE_POLICY, plain)
    (plain / "chat_template.jinja").unlink()
    with caplog.at_level(logging.INFO):
        run(tmp_path / "run", 1, "--policy.model", str(plain), "--max_new_tokens", "2")
    assert re.fullmatch(r"prefix cache: \d+ MiB, room for [\d,]+ tokens", caplog.messages[0])
    assert re.fullmatch(r"policy \S+/plain: 0\.\d M parameters, float32, cpu", caplog.messages[1])
    assert caplog.messages[2].startswith(f"{plain}: its tokenizer has no chat template")
    assert re.fullmatch(r"first prompt, \d+ tokens: 'Start with .*\\n'", caplog.messages[3])


def test_a_model_must_be_named_for_problems_of_ones_own(tmp_path: Path):
    source = tmp_path / "mine.jsonl"
    source.write_text('{"problem": "What is 1?", "answer": "1"}\n')
    with pytest.raises(
        InputError, match=r"policy.model: no model for .*mine.jsonl; expected a folder or a Hub name"
    ):
        sample(["--output", str(tmp_path / "run"), "--problems.source", str(source)])


def test_the_draws_of_a_forecast_are_part_of_the_run(tmp_path: Path):
    run(tmp_path / "whole", 50)
    assert run(tmp_path / "begun", 50, "--forecast", "true") == {}
    with Ledger(tmp_path / "begun" / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.n_draws() == 20 * 4
    assert run(tmp_path / "begun", 50)["this_process"]["n_draws"] == 30 * 4
    assert (tmp_path / "begun" / "solutions.jsonl").read_bytes() == (
        tmp_path / "whole" / "solutions.jsonl"
    ).read_bytes()


def test_forecasts_hold_the_true_cost(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    n_within = 0
    for seed in range(8):
        folder = tmp_path / str(seed)
        with caplog.at_level(logging.INFO):
            run(folder, 100, "--problems.seed", str(seed), "--forecast", "true")
        totals = json.loads((folder / "forecast-sample.json").read_text())["totals"]
        assert totals["n_draws"] == {"expected": 400.0, "low": 400.0, "high": 400.0}
        truth = run(folder, 100, "--problems.seed", str(seed))["n_generated"]
        n_within += totals["n_generated"]["low"] <= truth <= totals["n_generated"]["high"]
    assert n_within >= 6  # of 8, where 90 % are meant
    assert (
        "forecast for 100 problems (90 % interval):\n                labels              400   [400, 400]"
        in caplog.text
    )


def test_a_forecast_that_drew_nothing_tells_no_time(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run(tmp_path, 30, "--forecast", "true")
    assert "seconds" in json.loads((tmp_path / "forecast-sample.json").read_text())["totals"]
    with caplog.at_level(logging.INFO):
        run(tmp_path, 30, "--forecast", "true")
    assert "seconds" not in json.loads((tmp_path / "forecast-sample.json").read_text())["totals"]
    assert "no time: the pilot's draws were all in the ledger" in caplog.text


def test_a_dry_run_needs_no_model_and_answers_any_question(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    problems = tmp_path / "problems.jsonl"
    rows = [
        {"problem": f"What is {i}/7, and why?\nThink.", "answer": f"\\frac{{{i}}}{{7}}"} for i in range(1, 7)
    ]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [
        "--output",
        str(tmp_path / "run"),
        "--problems.source",
        str(problems),
        "--policy.model",
        "no/such-model",
    ]
    with caplog.at_level(logging.INFO):
        sample([*arguments, "--n_samples", "20", "--step_separator", "\n\n", "--dry_run", "true"])
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / "dry-run"]
    facts = json.loads((tmp_path / "run" / "dry-run" / "sample.json").read_text())
    assert facts["is_simulated"]
    assert facts["n_solutions"] == 120
    assert 0.4 < facts["pass_at_1"] < 0.85  # three to six steps, each right in nine of ten cases
    assert (
        "no/such-model: neither a folder nor in the cache of the Hub: its tokenizer and prompt were not tried"
        in caplog.text
    )
    with pytest.raises(InputError, match=r"policy.model nowhere/at/all: no such folder"):
        sample([*arguments[:-1], "nowhere/at/all", "--dry_run", "true"])
    with caplog.at_level(logging.INFO):
        sample([*arguments[:-1], "base", "--output", str(tmp_path / "tried"), "--dry_run", "true"])
    assert "What is 1/7, and why?" in next(
        line for line in caplog.messages if line.startswith("first prompt")
    )
    assert "tokens and seconds are those of a simulated policy" in caplog.text
    assert f"next: prm-train label --run {tmp_path / 'run'} --dry_run true" in caplog.text


@pytest.mark.parametrize("name", ["n_samples", "n_open"])
def test_at_least_one_is_asked_for(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=f"{name}: got 0, expected at least 1"):
        run(tmp_path, 3, f"--{name}", "0")
