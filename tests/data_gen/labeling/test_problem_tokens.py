import dataclasses
from pathlib import Path

import pytest

from data_gen.files.run_folder import write_records
from data_gen.labeling.problem_tokens import tokens_per_problem
from data_gen.labeling.settings import LabelSettings
from data_gen.policies.config import PolicyConfig
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import CORRECT
from data_gen.sampling.settings import SampleConfig


def prompt_ids(question: str) -> tuple[int, ...]:
    return tuple(range(len(question)))


# Prompts of 3 and 5 tokens (mean 4) and solutions of 10, 20, 30 and 40 (mean 25), two of each problem
@pytest.mark.parametrize(
    ("settings", "n_tokens"),
    [(LabelSettings(), 4 + 2 * 25), (LabelSettings(method="omega", omega_searches=6), 4 + (2 + 6) * 25)],
)
def test_a_problem_has_its_prompt_and_its_solutions(tmp_path: Path, settings, n_tokens):
    sampling = SampleConfig(output=tmp_path, policy=PolicyConfig("base"), n_samples=2)
    assert tokens_per_problem(sampling, prompt_ids, settings) is None  # nothing is sampled yet
    write_records(
        tmp_path / "problems.jsonl", Problem, [Problem("a", "abc", "1"), Problem("b", "abcde", "1")]
    )
    solutions = [
        GradedSolution(Solution(name, index, "text", FinishReason.EOS, (1,) * n, (0.0,) * n), "1", CORRECT)
        for name, index, n in [("a", 0, 10), ("a", 1, 20), ("b", 0, 30), ("b", 1, 40)]
    ]
    write_records(tmp_path / "solutions.jsonl", GradedSolution, solutions)
    assert tokens_per_problem(sampling, prompt_ids, settings) == n_tokens
    assert (
        tokens_per_problem(dataclasses.replace(sampling, output=tmp_path / "no"), prompt_ids, settings)
        is None
    )
