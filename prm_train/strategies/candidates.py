"""Candidates: the graded and scored solutions of a problem that every vote and best-of-N choice is made from,
and files of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_gen.files.jsonl import read_jsonl
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError


@dataclass(frozen=True)
class Candidate:
    """The `index`-th solution of a problem.

    `is_correct` is False where the verdict is unknown (`is_unknown`), too, as it is until a candidate is
    graded; `is_finished` is False for a text
    cut by a length limit. `logprob_sum` is the natural log-probability of its `n_tokens` tokens under the
    policy. `scores` holds by scorer the scores in [0, 1] of its steps (a PRM) or of its end alone (an ORM). A
    search in a tree adds the log-probability of each step that it drew, how many equal paths the candidate
    stands for, and the logarithm of the weight of each; only differences between those of one run mean
    anything. `scorer_tokens` holds by scorer the tokens that its path has for it (`CountedTree.path_tokens`),
    `confidence` the measures of `prm_train.strategies.baselines`.
    """

    problem_id: str
    index: int
    text: str
    answer: str | None
    is_correct: bool
    is_finished: bool = True
    logprob_sum: float = 0.0
    n_tokens: int = 0
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    is_unknown: bool = False
    answer_class: str | None = None  # votes for one class are added up; None: the key of the answer
    step_logprobs: tuple[float, ...] = ()
    multiplicity: int = 1
    log_weight: float = 0.0
    scorer_tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    chain: int | None = None  # of revisions: which chain it belongs to

    @property
    def can_vote(self) -> bool:
        """Whether it may be chosen at all: it is finished and states an answer."""
        return self.is_finished and self.answer is not None


def read_qwen_candidates(path: str | Path) -> list[tuple[Problem, list[Candidate]]]:
    """Problems and candidates of a result file of the Qwen2.5-Math evaluation, verdicts and answers as stored
    there.

    `pred_score` is the scalar of a reward model; its sigmoid becomes the one score of scorer `rm`.
    """
    return [_qwen_problem(f"{path}:{number}", row) for number, row in read_jsonl(path)]


def _qwen_problem(where: str, row: dict[str, Any]) -> tuple[Problem, list[Candidate]]:
    columns = ("code", "pred", "score", "pred_score")
    missing = [name for name in ("idx", "question", "gt", *columns) if name not in row]
    if missing:
        raise InputError(f"{where}: no field {', '.join(missing)}; fields present: {', '.join(row)}")
    lengths = {name: len(row[name]) for name in columns}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{where}: {lengths}; expected one of each for every sample")
    problem = Problem(str(row["idx"]), row["question"], row["gt"])
    samples = zip(*(row[name] for name in columns), strict=True)
    return problem, [
        Candidate(
            problem.problem_id,
            index,
            text,
            answer or None,
            is_correct,
            scores={"rm": (1 / (1 + math.exp(-scalar)),)},
        )
        for index, (text, answer, is_correct, (scalar,)) in enumerate(samples)
    ]
