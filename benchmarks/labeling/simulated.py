"""How often, and for how many tokens, each method finds the first error of a wrong solution: `python -m benchmarks.labeling.simulated`.

On `policy.ExactPolicy`, where the truth is known, with one set of hyper-parameters for all levels of difficulty. A question has 32 samples,
which give the value of its prompt, and 8 wrong solutions to label: the first wrong ones among its samples and, where these are fewer, among
further draws. The tokens of the 32 samples are counted for the methods that use them, shared among the 8 solutions. Writes the sections
simulated*, beside which `builtin.py` writes its own, into benchmarks/results/labeling.json, and the tables into README.md.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.labeling.compare import METHODS, Located, Question, figures, locate, print_section, save
from benchmarks.labeling.policy import LEVELS, ExactPolicy, draw_problem, true_error
from data_gen.grading import ArithmeticGrader
from data_gen.label_settings import LabelSettings
from data_gen.ledger import Ledger, LedgerPolicy
from data_gen.records import Problem, SamplingParams
from data_gen.rollouts import draw_solutions

PARAMS = SamplingParams(max_new_tokens=400)
N_SAMPLES, N_WRONG, MAX_DRAWS = 32, 8, 4096
OURS = {"ours": METHODS["ours"]}
SECTIONS = {  # drift of the value before the error, wrong solutions a question (None: all of its samples' own), methods
    "simulated": (0.0, N_WRONG, METHODS),
    "simulated_drift": (1.0, N_WRONG, METHODS),
    "simulated_all_wrong": (0.0, None, OURS),
}


async def draw_question(problem: Problem, ledger: Ledger, policy: ExactPolicy, n_wrong: int | None) -> Question:
    recorded, grader = LedgerPolicy(policy, ledger, problem), ArithmeticGrader()
    drawn = list(await draw_solutions(recorded, grader, PARAMS, range(N_SAMPLES)))
    while n_wrong is not None and sum(not each.verdict.is_correct for each in drawn) < n_wrong and len(drawn) < MAX_DRAWS:
        drawn += await draw_solutions(recorded, grader, PARAMS, range(len(drawn), len(drawn) + N_SAMPLES))
    wrong = [each for each in drawn if not each.verdict.is_correct]
    return Question(problem, tuple(drawn[:N_SAMPLES]), tuple(wrong[:n_wrong]))


async def compare(
    level: str, drift: float, numbers: range, n_wrong: int | None, methods: dict[str, LabelSettings], ledger: Ledger
) -> dict[str, list[list[Located]]]:
    """For each method, what it said of the wrong solutions of each question."""
    policy = ExactPolicy()
    found: dict[str, list[list[Located]]] = {name: [] for name in methods}
    for number in numbers:
        question = await draw_question(draw_problem(level, drift, number), ledger, policy, n_wrong)
        for name, settings in methods.items():
            calls = (
                locate(question, wrong, true_error(wrong.solution.text), settings, PARAMS, ArithmeticGrader(), ledger, policy)
                for wrong in question.wrong
            )
            found[name].append(list(await asyncio.gather(*calls)))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=150, help="questions a level")
    n_questions = parser.parse_args(argv).questions
    for section, (drift, n_wrong, methods) in SECTIONS.items():
        levels = {}
        for level in LEVELS:
            with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
                found = asyncio.run(compare(level, drift, range(n_questions), n_wrong, methods, ledger))
            levels[level] = {name: figures(located, name) for name, located in found.items()}
            print_section(f"{section}, {level}", levels[level])
        save(section, levels, f"python -m benchmarks.labeling.simulated --questions {n_questions}")


if __name__ == "__main__":
    main()
