"""What both comparisons of labelling methods share: the methods, one method on one wrong solution, and the figures."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.grading import Grader
from data_gen.jsonl import write_text
from data_gen.label_settings import LabelSettings
from data_gen.label_views import first_error
from data_gen.labeling import StepPath, label_path, step_prefixes
from data_gen.ledger import Ledger, LedgerPolicy
from data_gen.omega import Cuts, Node, Tree
from data_gen.policies.protocol import Policy
from data_gen.records import GradedSolution, Problem, SamplingParams
from data_gen.rollouts import RolloutSource, estimate_root
from data_gen.steps import split_steps
from prm_train.evaluation.estimators import bootstrap_interval

RESULT = Path(__file__).parent.parent / "results" / "labeling.json"
METHODS = {
    "brute8": LabelSettings(method="every_step", n_rollouts=8),
    "brute16": LabelSettings(method="every_step", n_rollouts=16),
    "omega8": LabelSettings(method="omega", n_rollouts=8, omega_cuts="steps"),
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
    """What a method said of one wrong solution. `n_tokens` generated for its rollouts, `n_sample_tokens` its share of the samples."""

    is_located: bool
    is_exact: bool
    n_tokens: int
    n_rollouts: int
    n_sample_tokens: float


async def locate(  # noqa: PLR0913
    question: Question,
    wrong: GradedSolution,
    true_error: int,
    settings: LabelSettings,
    params: SamplingParams,
    grader: Grader,
    ledger: Ledger,
    policy: Policy,
) -> Located:
    """One method on one wrong solution; it is charged for each distinct draw it asks for, whether or not the ledger has it already."""
    recorded = LedgerPolicy(policy, ledger, question.problem)
    source, root = RolloutSource(recorded, grader, params), estimate_root(question.samples)
    prefixes = step_prefixes(recorded, wrong, policy.token_bytes(), "\n")
    if settings.method == "omega":  # one search from the root, as each wrong sample of a tree gets
        tree = Tree(source, Cuts(policy.token_bytes(), "\n", 0), settings)
        search = await tree.search(Node((), root, question.samples), wrong)
        error: int | None = tree.cuts.ends(search.ids).index(search.zero_end)
    else:
        path = StepPath(wrong, split_steps(wrong.solution.text, "\n"), prefixes, root)
        error = first_error((await label_path(source, path, settings)).labels)
    sample_tokens = sum(len(sample.solution.token_ids) for sample in question.samples) / len(question.wrong)
    return Located(error is not None, error == true_error, recorded.usage.n_generated, recorded.n_draws, sample_tokens)


def figures(found: Sequence[Sequence[Located]], method: str) -> dict[str, object]:
    """Shares and means over all solutions; the interval is from a bootstrap of the questions, whose solutions share much."""
    located = [each for question in found for each in question]
    uses_samples = method in USES_SAMPLES
    mean_tokens = float(np.mean([each.n_tokens for each in located]))
    sample_tokens = float(np.mean([each.n_sample_tokens for each in located])) if uses_samples else 0.0
    by_question = [float(np.mean([each.is_exact for each in question])) for question in found if question]
    interval = bootstrap_interval(np.array(by_question), np.random.default_rng(0))
    return {
        "exact": round(float(np.mean([each.is_exact for each in located])), 4),
        "exact_low": round(interval.low, 4),
        "exact_high": round(interval.high, 4),
        "located": round(float(np.mean([each.is_located for each in located])), 4),
        "tokens_per_solution": round(mean_tokens + sample_tokens, 1),
        "of_which_samples": round(sample_tokens, 1),
        "rollouts_per_solution": round(float(np.mean([each.n_rollouts for each in located])), 1),
        "n_solutions": len(located),
        "n_questions": len(by_question),
    }


def print_section(title: str, methods: Mapping[str, Mapping[str, object]]) -> None:
    print(title)
    for name, f in methods.items():
        exact = f"{f['exact']:.3f} [{f['exact_low']:.3f}, {f['exact_high']:.3f}]"
        print(
            f"  {name:13} {exact} exact, {f['tokens_per_solution']:8.0f} tokens, {f['located']:.3f} located, n {f['n_solutions']}",
            flush=True,
        )


def save(section: str, content: object, command: str) -> None:
    """Put a section into the results file, beside the others."""
    report = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    report[section] = content
    report.setdefault("commands", {})[section] = command
    report["machine"] = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, one core"
    write_text(RESULT, json.dumps(report, indent=1) + "\n")
