import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.real_engine import HERE, bytes_per_token
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.task import BASE_POLICY


def write_problems(path: Path, n: int) -> Path:
    problems = islice(rules.draw_problems(0, "validation"), n)
    path.write_text(
        "".join(
            json.dumps({"question": each.question, "answer": each.gold_answer}) + "\n" for each in problems
        )
    )
    return path


def test_a_token_of_the_base_policy_takes_1024_bytes():
    # keys and values of 4 layers, one head of 32 numbers, 4 bytes each
    assert bytes_per_token(str(BASE_POLICY)) == 2 * 4 * 32 * 4


@pytest.mark.slow
def test_two_checkouts_are_compared_at_toy_size(tmp_path: Path):
    output = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.real_engine", "--model", str(BASE_POLICY)]
    command += ["--problems", str(write_problems(tmp_path / "problems.jsonl", 6)), "--before", str(HERE)]
    command += [
        "--n_problems",
        "2",
        "--n_samples",
        "4",
        "--n_labeled",
        "6",
        "--grader",
        "exact",
        "--max_new_tokens",
        "160",
    ]
    subprocess.run([*command, "--output", str(output)], check=True, cwd=HERE)
    result = json.loads(output.read_text())
    draws, labels = result["draws"], result["labels"]
    assert (draws["n_drawn"], draws["n_drawn_that_differ"], draws["n_greedy_that_differ"]) == (8, 0, 0)
    assert labels["labels_are_equal"]
    assert labels["before"]["n_rollouts"] == labels["now"]["n_rollouts"] > 0
    assert 0 < labels["now"]["prefilled_a_generated_token"] < 2
