"""A second round of labels, on what beam search makes of the first PRM: `python -m benchmarks.second_round
runs/quickstart`.

Beam search finds paths that its PRM likes; with many beams it finds those that the PRM likes by mistake, and
solves fewer problems. Here the PRM of a finished quickstart searches new training problems with N = 16, the
steps of the paths found are labeled by rollouts as the first ones were, and a PRM is trained on the rows of
both rounds. A control gets, on the same problems, as many distinct solutions that were sampled without
search. Each of the three PRMs then searches half of the quickstart's test problems.

Writes what it makes to RUN/second_round and the figures to benchmarks/results/recipes.json. About half an
hour on one core; a stopped run goes on where it was.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recipes import PRM_RECIPES, described, figures, in_groups, rescored, train, write_figures
from data_gen.files.stored_record import read_object
from data_gen.grading.accepted_answers import grade_any
from data_gen.grading.graders import Grader, load_grader
from data_gen.labeling.settings import LabelSettings
from data_gen.labeling.solutions import LabelingTask, label_samples
from data_gen.labeling.views import LabelView
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.problems.sources import ProblemSource, load_problems
from data_gen.problems.tasks import step_truth
from data_gen.records.first_error import NO_ERROR, first_error
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Question, Solution
from data_gen.rows.filters import Filter
from data_gen.rows.layouts import PrmRow, read_rows, write_rows
from data_gen.rows.prm import prm_rows
from data_gen.sampling.solutions import draw_solutions
from data_gen.settings.parse import load_yaml
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.choosers import scorer_scores, vote_by
from prm_train.evaluation.choosing import Chosen
from prm_train.evaluation.shards import read_search
from prm_train.kinds.load import load_scorer
from prm_train.quickstart import QuickstartConfig
from prm_train.scoring.protocol import Scorer
from prm_train.search.results import ProblemResult
from prm_train.search.run import main as search
from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.paths import search_tree
from prm_train.strategies.voting import is_right

N_PROBLEMS, N_BEAMS, N_DRAWS, BEAMS, SEPARATOR = 300, 16, 64, (4, 16, 64), "\n"
TEST_SHARD = 0  # of the two that the quickstart searched: about 250 problems


class RecordingReader:
    """Keeps the solutions that it reads answers of, token ids included, which the candidates of a search do
    not hold.
    """

    def __init__(self, grader: Grader) -> None:
        self.grader = grader
        self.read: list[Solution] = []

    def read_answer(self, question: Question, solution: Solution) -> str | None:
        self.read.append(solution)
        return self.grader.read_answer(question, solution)

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        return await self.grader.is_same(question, one, other)


@dataclass(frozen=True)
class Round:
    """What the second round needs, and its settings, which are the quickstart's."""

    policy: Policy
    grader: Grader
    scorer: Scorer
    ledger: Ledger
    params: SamplingParams
    aggregation: Aggregation

    async def paths(self, problem: Problem) -> list[GradedSolution]:
        """The distinct finished solutions of a beam search with the first PRM."""
        policy, recorder = LedgerPolicy(self.policy, self.ledger, problem), RecordingReader(self.grader)
        params = SamplingParams(self.params.max_new_tokens, self.params.temperature, SEPARATOR)
        config = BeamConfig(N_BEAMS, aggregation=self.aggregation)
        await search_tree(partial(beam_search, config=config), policy, recorder, self.scorer, "prm", params)
        return distinct([await grade_any(self.grader, problem, solution) for solution in recorder.read])

    async def samples(self, problem: Problem, n: int) -> list[GradedSolution]:
        """The first `n` distinct solutions of at most N_DRAWS."""
        drawn = await draw_solutions(
            LedgerPolicy(self.policy, self.ledger, problem), self.grader, self.params, range(N_DRAWS)
        )
        return distinct(drawn)[:n]

    async def label(
        self, problem: Problem, solutions: Sequence[GradedSolution]
    ) -> tuple[list[PrmRow], int, int]:
        """Rows of the solutions, labeled as the first round's were, and the rollouts and generated tokens
        that took.
        """
        policy = LedgerPolicy(self.policy, self.ledger, problem)
        vocabulary = self.policy.token_bytes()
        task = LabelingTask(
            policy,
            self.grader,
            tuple(solutions),
            vocabulary,
            SEPARATOR,
            self.params,
            LabelSettings(n_rollouts=8),
        )
        labeled = [each for each in await label_samples(task) if isinstance(each, LabeledSolution)]
        return (
            prm_rows(problem, labeled, LabelView(), Filter(second_opinion=False))[0],
            policy.n_draws,
            policy.usage.n_generated,
        )


def distinct(graded: Sequence[GradedSolution]) -> list[GradedSolution]:
    """One of each text; finished ones with a verdict only."""
    usable = [
        each
        for each in graded
        if each.solution.finish_reason is FinishReason.EOS and not each.verdict.is_unknown
    ]
    return list({each.solution.text: each for each in usable}.values())


def new_problems(run: Path) -> ProblemSource:
    """Training problems that the first round did not see."""
    config = load_yaml(QuickstartConfig, run / "config.json")
    return ProblemSource(split="train", seed=config.seed, n=N_PROBLEMS, offset=config.n_train_problems)


def new_rows(run: Path, name: str) -> tuple[list[PrmRow], dict[str, Any]]:
    """The rows that the second round adds (`beam`), or those of the control (`samples`), and what they hold
    and cost.
    """
    folder, config = run / "second_round", load_yaml(QuickstartConfig, run / "config.json")
    rows_path, facts_path = folder / f"{name}.jsonl", folder / f"{name}.json"
    if not facts_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = new_problems(run)
        with Ledger(folder / "ledger.sqlite") as ledger:
            round_ = Round(
                PolicyConfig(model=config.policy, base_seed=config.seed).load(),
                load_grader("auto", "arithmetic"),
                load_scorer(str(run / "prm")),
                ledger,
                SamplingParams(config.max_new_tokens, 1.0),
                chosen_aggregation(run),
            )
            rows, facts = asyncio.run(_label_problems(round_, load_problems(source), name))
        write_rows(rows_path, rows)
        facts_path.write_text(json.dumps(facts) + "\n")
    return list(read_rows(rows_path, PrmRow)), read_object(facts_path)


def exact_first_errors(run: Path, rows: Sequence[PrmRow]) -> float:
    """The share of wrong solutions whose labels have the first error at the step that is the first wrong
    one.
    """
    problems = {problem.problem_id: problem for problem in load_problems(new_problems(run))}
    found = []
    for row in rows:
        truth = first_error(step_truth(problems[row.problem_id], "\n".join(row.completions)) or ())
        if truth is not None and truth != NO_ERROR:
            found.append(first_error(row.labels) == truth)
    return round(sum(found) / len(found), 4)


async def _label_problems(
    round_: Round, problems: Sequence[Problem], name: str
) -> tuple[list[PrmRow], dict[str, Any]]:
    async def one(problem: Problem) -> tuple[list[PrmRow], int, int]:
        solutions = await round_.paths(problem)  # from the ledger, if the other kind of rows was made before
        if name == "samples":
            solutions = await round_.samples(problem, len(solutions))
        return await round_.label(problem, solutions)

    parts = await in_groups(problems, one)
    rows = [row for part, _, _ in parts for row in part]
    right = [False not in row.labels for row in rows]
    facts = {
        "n_problems": len(problems),
        "n_rows": len(rows),
        "share_right": round(sum(right) / len(right), 4),
        "n_rollouts": sum(n for _, n, _ in parts),
        "n_generated": sum(n for _, _, n in parts),
    }
    return rows, facts


def chosen_aggregation(run: Path) -> Aggregation:
    return Chosen.read(run / "chosen.json").prm_aggregation


def search_test(run: Path, prm: Path, output: Path) -> Sequence[ProblemResult]:
    """Beam searches of the quickstart's test problems with another PRM; samples are not drawn but for the one
    that the command asks for.
    """
    config = load_yaml(QuickstartConfig, run / "config.json")
    problems = {"split": "test", "seed": config.seed, "n": config.n_test_problems, "shard": f"{TEST_SHARD}/2"}
    settings = {
        "output": output,
        "prm": prm,
        "strategies": "beam",
        "sizes": ",".join(map(str, BEAMS)),
        "aggregation": chosen_aggregation(run),
        "n_samples": 1,
        "n_difficulty_draws": 0,
        "max_new_tokens": config.max_new_tokens,
        "policy.model": config.policy,
        "policy.base_seed": config.seed,
    } | {f"problems.{key}": value for key, value in problems.items()}
    search([text for key, value in settings.items() for text in (f"--{key}", str(value))])
    return read_search([output]).results


def beam_values(results: Sequence[ProblemResult], how: Aggregation) -> dict[str, Any]:
    """For each N, whether the choice is right, and which share of the returned paths is: one value a
    problem.
    """
    vote = partial(vote_by, scorer_scores("prm", how))

    def paths(result: ProblemResult, n: int) -> Sequence[Candidate]:
        return result.trees["beam"][n].candidates

    def share_right(paths: Sequence[Candidate]) -> float:
        return sum(path.is_correct for path in paths) / max(len(paths), 1)

    chosen = {
        f"beam_{n}": np.array([float(is_right(vote(paths(result, n)))) for result in results]) for n in BEAMS
    }
    return chosen | {
        f"paths_right_{n}": np.array([share_right(paths(result, n)) for result in results]) for n in BEAMS
    }


def trained_and_searched(
    run: Path, name: str, rows: Sequence[PrmRow], first: Sequence[ProblemResult], seed: int | None
) -> dict[str, Any]:
    """The figures of a PRM trained on these rows as the first one was, or with another seed of training."""
    recipe, suffix = (
        (PRM_RECIPES["hard"], "")
        if seed is None
        else (replace(PRM_RECIPES["hard"], settings=("--seed", str(seed))), f"-{seed}")
    )
    path = run / "second_round" / f"both-{name}.jsonl"
    write_rows(path, rows)
    prm = train(run, recipe, path, run / "second_round" / f"prm-{name}{suffix}")
    searched = search_test(run, prm, run / "second_round" / f"test-{name}{suffix}")
    if [each.problem for each in searched] != [each.problem for each in first]:
        raise ValueError(f"{run}: the test problems are not those of the quickstart's own search")
    how = chosen_aggregation(run)
    return beam_values(searched, how) | figures(asyncio.run(rescored(first, prm, "prm")), "prm", how)


def compare(run: Path, names: Sequence[str], seed: int | None) -> dict[str, Any]:
    how, first_rows = chosen_aggregation(run), list(read_rows(run / "rows" / "prm.jsonl", PrmRow))
    first = read_search([run / f"test-{TEST_SHARD}"]).results
    own = beam_values(first, how) | figures(first, "prm", how)
    values = {"first": own if seed is None else trained_and_searched(run, "none", first_rows, first, seed)}
    facts: dict[str, Any] = {}
    for name in names:
        rows, facts[name] = new_rows(run, name)
        facts[name]["first_error_exact"] = exact_first_errors(run, rows)
        values[name] = trained_and_searched(run, name, [*first_rows, *rows], first, seed)
    control = (
        {"beam_minus_samples": described(values["beam"], values["samples"])["minus_reference"]}
        if "samples" in values
        else {}
    )
    return {
        "n_test_problems": len(first),
        "n_first_rows": len(first_rows),
        "aggregation": how,
        "second_rows": facts,
        "results": {name: described(each, values["first"]) for name, each in values.items()},
    } | control


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished quickstart")
    parser.add_argument(
        "--without_control", action="store_true", help="only the second round, a third of the time less"
    )
    parser.add_argument(
        "--training_seed",
        type=int,
        help="train all PRMs again with this seed, the first one too: how much is chance",
    )
    arguments = parser.parse_args(argv)
    names, seed = ("beam",) if arguments.without_control else ("beam", "samples"), arguments.training_seed
    options = "" if seed is None else f" --training_seed {seed}"
    part = "second_round" if seed is None else f"second_round_seed_{seed}"
    write_figures(
        arguments.run, part, compare(arguments.run, names, seed), f"second_round runs/quickstart{options}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
