"""What both comparisons of labeling methods share: the methods, one method on one wrong solution, and the
figures.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.files.jsonl import write_text
from data_gen.grading.graders import Grader
from data_gen.labeling.first_error import StepPath
from data_gen.labeling.omega import Cuts, Node, Tree
from data_gen.labeling.rollouts import RolloutSource, estimate_root
from data_gen.labeling.settings import LabelSettings
from data_gen.labeling.solutions import label_paths, step_prefixes
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.process.machine import machine_name
from data_gen.records.first_error import first_error
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import GradedSolution, Problem, StepEstimate
from data_gen.records.steps import split_steps
from data_gen.sampling.solutions import draw_solutions
from prm_train.metrics.estimators import bootstrap_interval

RESULT = Path(__file__).parent.parent / "results" / "labeling.json"
METHODS = {
    "brute8": LabelSettings(method="every_step", n_rollouts=8),
    "brute16": LabelSettings(method="every_step", n_rollouts=16),
    "omega8": LabelSettings(method="omega", n_rollouts=8),
    "first_error8": LabelSettings(method="first_error", n_rollouts=8),
    "sequential": LabelSettings(method="sequential"),
    "ours": LabelSettings(method="posterior"),
}
USES_SAMPLES = ("sequential", "ours")


@dataclass(frozen=True)
class Question:
    """A problem, the samples that give the value of its prompt, and the wrong solutions to label."""

    problem: Problem
    samples: tuple[GradedSolution, ...]
    wrong: tuple[GradedSolution, ...]


@dataclass(frozen=True)
class Located:
    """What a method said of a question's wrong solutions (None: not located), and the tokens and number of
    the rollouts it asked for.
    """

    errors: tuple[int | None, ...]
    n_tokens: int
    n_rollouts: int


@dataclass(frozen=True)
class Bench:
    """Where all methods draw from. One ledger: a draw that two methods ask for is made once and charged to
    both.
    """

    policy: Policy
    grader: Grader
    params: SamplingParams
    ledger: Ledger

    async def samples(self, problem: Problem, indices: range) -> tuple[GradedSolution, ...]:
        return await draw_solutions(
            LedgerPolicy(self.policy, self.ledger, problem), self.grader, self.params, indices
        )

    async def locate(self, question: Question, settings: LabelSettings) -> Located:
        """One method on the wrong solutions of a question."""
        recorded = LedgerPolicy(self.policy, self.ledger, question.problem)
        source, root = RolloutSource(recorded, self.grader, self.params), estimate_root(question.samples)
        errors: list[int | None]
        if settings.method == "omega":  # a search of each from the root, in one tree
            tree = Tree(source, Cuts(self.policy.token_bytes(), "\n", 0), settings)
            searched = [
                await tree.locate(Node((), root, question.samples), wrong) for wrong in question.wrong
            ]
            errors = [tree.cuts.ends(each.ids).index(each.error_end) for each in searched]
        else:
            paths = [self._path(recorded, wrong, root) for wrong in question.wrong]
            errors = [first_error(labeled.labels) for labeled in await label_paths(source, paths, settings)]
        return Located(tuple(errors), recorded.usage.n_generated, recorded.n_draws)

    def _path(self, recorded: LedgerPolicy, wrong: GradedSolution, root: StepEstimate) -> StepPath:
        prefixes = step_prefixes(recorded, wrong, self.policy.token_bytes(), "\n")
        return StepPath(wrong, split_steps(wrong.solution.text, "\n"), prefixes, root)


def figures(
    questions: Sequence[Question],
    found: Sequence[Located],
    truth: Sequence[Sequence[int]],
    uses_samples: bool,
) -> dict[str, object]:
    """Shares and means over all solutions; the interval is from a bootstrap of the questions, whose solutions
    share much.

    A method that uses the samples is charged for all of a question's, shared among its labeled solutions.
    """
    hits = [
        [a == b for a, b in zip(located.errors, true, strict=True)]
        for located, true in zip(found, truth, strict=True)
        if true
    ]
    n = sum(map(len, hits))
    sample_tokens = (
        sum(len(sample.solution.token_ids) for question in questions for sample in question.samples)
        * uses_samples
    )
    interval = bootstrap_interval([float(np.mean(hit)) for hit in hits], np.random.default_rng(0))
    return {
        "exact": round(sum(map(sum, hits)) / n, 4),
        "exact_low": round(interval.low, 4),
        "exact_high": round(interval.high, 4),
        "located": round(sum(error is not None for located in found for error in located.errors) / n, 4),
        "tokens_per_solution": round((sum(located.n_tokens for located in found) + sample_tokens) / n, 1),
        "of_which_samples": round(sample_tokens / n, 1),
        "rollouts_per_solution": round(sum(located.n_rollouts for located in found) / n, 1),
        "n_solutions": n,
        "n_questions": len(hits),
    }


def print_section(title: str, methods: Mapping[str, Mapping[str, object]]) -> None:
    print(title)
    for name, f in methods.items():
        exact = f"{f['exact']:.3f} [{f['exact_low']:.3f}, {f['exact_high']:.3f}]"
        print(
            f"  {name:13} {exact} exact, {f['tokens_per_solution']:8.0f} tokens, {f['located']:.3f} located, "
            f"n {f['n_solutions']}",
            flush=True,
        )


def save(section: str, content: object, command: str) -> None:
    """Put a section into the results file, beside the others."""
    report = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    report[section] = content
    report.setdefault("commands", {})[section] = command
    report["machine"] = machine_name()
    write_text(RESULT, json.dumps(report, indent=1) + "\n")
