"""The same comparison on the policy that ships with the built-in task: `python -m
benchmarks.labeling.builtin`.

A real model, so the truth is estimated too: 256 rollouts after every step of a wrong solution, and the first
step after which none succeeds. Problems are validation problems of which some of 32 samples are right and
some wrong; up to 4 wrong solutions of each are labeled. Every method draws from the same ledger, where the
rollouts for the truth already lie: its tokens are counted as if it had drawn them. `true_step` says how often
the 256 rollouts point at the step that is arithmetically wrong. About four minutes on one core.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.labeling.compare import METHODS, USES_SAMPLES, Bench, Question, figures, print_section, save
from data_gen.labeling.rollouts import unlabelable_reason
from data_gen.labeling.settings import LabelSettings
from data_gen.ledger.store import Ledger
from data_gen.policies.config import PolicyConfig
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.problems.tasks import step_truth
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem

PARAMS = SamplingParams(max_new_tokens=160)
N_SAMPLES, MAX_WRONG = 32, 4
TRUTH = LabelSettings(method="every_step", n_rollouts=256)


async def draw_questions(bench: Bench, n_problems: int) -> list[Question]:
    async def one(problem: Problem) -> Question:
        samples = await bench.samples(problem, range(N_SAMPLES))
        wrong = {
            each.solution.text: each
            for each in samples
            if unlabelable_reason(each) is None and not each.verdict.is_correct
        }
        return Question(problem, samples, tuple(wrong.values())[:MAX_WRONG])

    problems = islice(rules.draw_problems(7, "validation"), n_problems)
    questions = await asyncio.gather(*map(one, problems))
    return [
        question
        for question in questions
        if question.wrong and any(each.verdict.is_correct for each in question.samples)
    ]


def arithmetic_error(problem: Problem, text: str) -> int | None:
    """The step that is wrong by arithmetic."""
    truth = step_truth(problem, text)
    return truth.index(False) if truth and False in truth else None


async def compare(bench: Bench, n_problems: int) -> dict[str, dict[str, object]]:
    questions = await draw_questions(bench, n_problems)
    started = time.perf_counter()
    found = await asyncio.gather(*(bench.locate(question, TRUTH) for question in questions))
    # A wrong solution's last step has value 0
    truth = [[error for error in located.errors if error is not None] for located in found]
    print(
        f"{sum(map(len, truth))} solutions, 256 rollouts a step: {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    report = {}
    for name, settings in METHODS.items():
        located = await asyncio.gather(*(bench.locate(question, settings) for question in questions))
        report[name] = figures(questions, located, truth, name in USES_SAMPLES)
    agreement = [
        error == arithmetic_error(question.problem, wrong.solution.text)
        for question, errors in zip(questions, truth, strict=True)
        for wrong, error in zip(question.wrong, errors, strict=True)
    ]
    return report | {
        "truth": {"true_step": round(float(np.mean(agreement)), 4), "n_rollouts_a_step": TRUTH.n_rollouts}
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=24)
    n_problems = parser.parse_args(argv).problems
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        bench = Bench(PolicyConfig().load(), ArithmeticGrader(), PARAMS, ledger)
        report = asyncio.run(compare(bench, n_problems))
    print_section("builtin", {name: report[name] for name in METHODS})
    print(report["truth"])
    save("builtin", report, f"python -m benchmarks.labeling.builtin --problems {n_problems}")


if __name__ == "__main__":
    main()
