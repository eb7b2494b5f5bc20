"""Train the models that judge and repair reasoning, and use them. What a notebook needs, by these names:

    import prm_train

    policy = prm_train.load_policy("Qwen/Qwen2.5-1.5B-Instruct", device="cuda", dtype="bfloat16")
    scorer = prm_train.load_scorer("runs/math/prm")
    prm_train.score("What is 3 + 4 * 2?", ["4 * 2 = 8", "3 + 8 = 11"], scorer)       # [0.98, 0.97]
    prm_train.solve("What is 3 + 4 * 2?", policy, scorer, n=16).answer                # "11", and what it cost
    prm_train.load_grader("math").grade(problem, solution)                           # awaitable: a verdict

From problems to a PRM and what it buys, as docs/notebooks/ go through it:

    problems = prm_train.load_problems(prm_train.ProblemSource("problems.jsonl"))
    labeled = prm_train.label(problems, policy, n_samples=4)                         # steps, labels, rollouts
    scorer = prm_train.fit_prm(problems, labeled, Path("runs/prm"), model="Qwen/Qwen2.5-1.5B-Instruct")
    prm_train.search_all(others, policy, scorer, strategies=("particle_filter",))     # graded, with costs

Importing the package loads none of the heavy libraries; a name's module is loaded when it is first used.
Everything else is a command (`prm-train --help`) or internal, and may move.
"""

import importlib
from typing import TYPE_CHECKING, Any

from data_gen.process.early_signals import heed_as_command

if TYPE_CHECKING:
    from data_gen.grading.graders import Grader as Grader
    from data_gen.grading.graders import load_grader as load_grader
    from data_gen.labeling.problems import Labeled as Labeled
    from data_gen.labeling.problems import label as label
    from data_gen.policies.config import load_policy as load_policy
    from data_gen.policies.protocol import Policy as Policy
    from data_gen.problems.sources import ProblemSource as ProblemSource
    from data_gen.problems.sources import load_problems as load_problems
    from data_gen.records.chats import Message as Message
    from data_gen.records.sampling import Completion as Completion
    from data_gen.records.sampling import FinishReason as FinishReason
    from data_gen.records.sampling import SamplingParams as SamplingParams
    from data_gen.records.solutions import GradedSolution as GradedSolution
    from data_gen.records.solutions import LabeledSolution as LabeledSolution
    from data_gen.records.solutions import Problem as Problem
    from data_gen.records.solutions import Solution as Solution
    from data_gen.records.solutions import StepEstimate as StepEstimate
    from data_gen.records.verdicts import Verdict as Verdict
    from data_gen.settings.errors import InputError as InputError
    from prm_train.kinds.load import load_scorer as load_scorer
    from prm_train.scoring.protocol import Scorer as Scorer
    from prm_train.scoring.score import score as score
    from prm_train.search.answer import Answer as Answer
    from prm_train.search.results import ProblemResult as ProblemResult
    from prm_train.search.search_all import search_all as search_all
    from prm_train.search.solve import solve as solve
    from prm_train.training.scorer_training import fit_prm as fit_prm

heed_as_command(__name__)

# The module of each public name.
_HOMES = {
    "Answer": "prm_train.search.answer",
    "Completion": "data_gen.records.sampling",
    "FinishReason": "data_gen.records.sampling",
    "GradedSolution": "data_gen.records.solutions",
    "Grader": "data_gen.grading.graders",
    "InputError": "data_gen.settings.errors",
    "Labeled": "data_gen.labeling.problems",
    "LabeledSolution": "data_gen.records.solutions",
    "Message": "data_gen.records.chats",
    "Policy": "data_gen.policies.protocol",
    "Problem": "data_gen.records.solutions",
    "ProblemResult": "prm_train.search.results",
    "ProblemSource": "data_gen.problems.sources",
    "SamplingParams": "data_gen.records.sampling",
    "Scorer": "prm_train.scoring.protocol",
    "Solution": "data_gen.records.solutions",
    "StepEstimate": "data_gen.records.solutions",
    "Verdict": "data_gen.records.verdicts",
    "fit_prm": "prm_train.training.scorer_training",
    "label": "data_gen.labeling.problems",
    "load_grader": "data_gen.grading.graders",
    "load_policy": "data_gen.policies.config",
    "load_problems": "data_gen.problems.sources",
    "load_scorer": "prm_train.kinds.load",
    "score": "prm_train.scoring.score",
    "search_all": "prm_train.search.search_all",
    "solve": "prm_train.search.solve",
}
__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("prm-train")
    if name not in _HOMES:
        raise AttributeError(f"module prm_train has no public name {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
