"""The wrong solutions of a run as rows that any scorer of steps can add `scores` to::

{"problem_id": "p", "index": 2, "question": "Start with 3: …", "steps": ["3 plus 4=7", "7 minus 2=5", …]}

`data_gen.labeling.beliefs` reads them again.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from data_gen.files.run_folder import read_records
from data_gen.labeling.rollouts import estimate_root, is_too_rare, unlabelable_reason
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.records.steps import split_steps


def rows_to_score(run: Path, separator: str, min_root_share: float) -> Iterator[dict[str, Any]]:
    """Those that would get labels of rollouts; a right solution's labels cost none."""
    problems = read_records(run / "problems.jsonl", Problem)
    solutions = read_records(run / "solutions.jsonl", GradedSolution)
    for problem_id, group in groupby(solutions, key=lambda each: each.solution.problem_id):
        # Both files are in the order of the problems, of which some may have no solution
        problem = next(each for each in problems if each.problem_id == problem_id)
        samples = tuple(group)
        if is_too_rare(estimate_root(samples), min_root_share):
            continue
        for each in samples:
            if unlabelable_reason(each) is None and not each.verdict.is_correct:
                yield {
                    "problem_id": problem_id,
                    "index": each.solution.index,
                    "question": problem.question,
                    "steps": split_steps(each.solution.text, separator),
                }
