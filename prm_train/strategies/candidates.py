"""Candidates: the graded and scored solutions of a problem that every vote and best-of-N choice is made from,
and files of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_gen.files.jsonl import read_jsonl
from data_gen.formats.stepwise import take, take_texts
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from prm_train.metrics.ranking import sigmoid


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
    return [qwen_candidates(row, f"{path}:{number}") for number, row in read_jsonl(path)]


def qwen_candidates(row: dict[str, Any], where: str) -> tuple[Problem, list[Candidate]]:
    """One row of such a file; `pred_score` may be missing. Raises InputError naming `where`."""
    columns = ("code", "pred", "score", *(("pred_score",) if "pred_score" in row else ()))
    missing = [name for name in ("idx", "question", "gt", *columns) if name not in row]
    if missing:
        raise InputError(f"{where}: no field {', '.join(missing)}; fields present: {', '.join(row)}")
    lengths = {name: len(take(row, name, (list,), where)) for name in columns}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{where}: {lengths}; expected one of each for every sample")
    problem = Problem(str(row["idx"]), take(row, "question", (str,), where), str(row["gt"]))
    texts, answers = take_texts(row, "code", where), take_texts(row, "pred", where)
    if not all(isinstance(each, bool) for each in row["score"]):
        raise InputError(f"{where}: score: got {row['score']!r:.60}, expected true or false for each sample")
    scores = _qwen_scores(row, where) if "pred_score" in row else [{} for _ in texts]
    samples = enumerate(zip(texts, answers, row["score"], scores, strict=True))
    return problem, [
        Candidate(problem.problem_id, index, text, answer or None, is_correct, scores=own)
        for index, (text, answer, is_correct, own) in samples
    ]


def _qwen_scores(row: dict[str, Any], where: str) -> list[dict[str, tuple[float, ...]]]:
    for reward in row["pred_score"]:
        if not (isinstance(reward, list) and len(reward) == 1 and type(reward[0]) in (int, float)):
            raise InputError(f"{where}: pred_score: got {reward!r:.40}, expected [a number] for each sample")
    return [{"rm": (float(sigmoid(reward)),)} for (reward,) in row["pred_score"]]
