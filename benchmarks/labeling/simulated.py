"""How often, and for how many tokens, each method finds the first error of a wrong solution: `python -m
benchmarks.labeling.simulated`.

On `policy.ExactPolicy`, where the truth is known, with one set of hyper-parameters for all levels of
difficulty. A question has 32 samples, which give the value of its prompt, and 8 wrong solutions to label: the
first wrong ones among its samples and, where these are fewer, among further draws. The tokens of the 32
samples are counted for the methods that use them, shared among the 8 solutions. Writes the sections
simulated*, beside which `builtin.py` writes its own, into benchmarks/results/labeling.json, and the tables
into README.md.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.labeling.compare import METHODS, USES_SAMPLES, Bench, Question, figures, print_section, save
from data_gen.labeling.settings import LabelSettings
from data_gen.ledger.store import Ledger
from data_gen.policies.exact import LEVELS, ExactPolicy, draw_problems, true_error
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem

PARAMS = SamplingParams(max_new_tokens=400)
N_SAMPLES, N_WRONG, MAX_DRAWS = 32, 8, 4096
# Drift of the value before the error, wrong solutions a question (None: all of its samples' own), methods
SECTIONS = {
    "simulated": (0.0, N_WRONG, METHODS),
    "simulated_drift": (1.0, N_WRONG, METHODS),
    "simulated_all_wrong": (0.0, None, {"ours": METHODS["ours"]}),
}


async def draw_question(bench: Bench, problem: Problem, n_wrong: int | None) -> Question:
    drawn = list(await bench.samples(problem, range(N_SAMPLES)))
    while (
        n_wrong is not None
        and sum(not each.verdict.is_correct for each in drawn) < n_wrong
        and len(drawn) < MAX_DRAWS
    ):
        drawn += await bench.samples(problem, range(len(drawn), len(drawn) + N_SAMPLES))
    wrong = [each for each in drawn if not each.verdict.is_correct]
    return Question(problem, tuple(drawn[:N_SAMPLES]), tuple(wrong[:n_wrong]))


async def compare(
    bench: Bench, problems: Sequence[Problem], n_wrong: int | None, methods: dict[str, LabelSettings]
) -> dict[str, dict[str, object]]:
    """The figures of each method on the wrong solutions of these problems."""
    questions = [await draw_question(bench, problem, n_wrong) for problem in problems]
    truth = [[true_error(wrong.solution.text) for wrong in question.wrong] for question in questions]
    report = {}
    for name, settings in methods.items():
        found = [await bench.locate(question, settings) for question in questions]
        report[name] = figures(questions, found, truth, name in USES_SAMPLES)
    return report


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=150, help="questions a level")
    n_questions = parser.parse_args(argv).questions
    for section, (drift, n_wrong, methods) in SECTIONS.items():
        levels = {}
        for level in LEVELS:
            problems = draw_problems(level, drift, n_questions)
            with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
                bench = Bench(ExactPolicy(), ArithmeticGrader(), PARAMS, ledger)
                levels[level] = asyncio.run(compare(bench, problems, n_wrong, methods))
            print_section(f"{section}, {level}", levels[level])
        save(section, levels, f"python -m benchmarks.labeling.simulated --questions {n_questions}")


if __name__ == "__main__":
    main()
