"""Answers of a search in a tree, anchored again in the policy: would it come to them by itself, from where
their paths began? Any strategy takes it, as in `beam:reanchor=4`.

    the answers are ranked by the strategy's own vote; of the first three, the heaviest path is a finalist
    a finalist of S steps is cut m times: after its steps S / (m + 1), 2 S / (m + 1), …, rounded down
    each prefix (none of its steps: the question) is continued by one sample of the policy, to the end
    a of these m rollouts state the answer of the finalist: every path with this answer is weighted by
    (a + 1) / (m + 2), all other paths by 1 / (m + 2)

The estimate is Laplace's: a few rollouts rule nothing out. A rollout that is cut or states no answer does not
agree. Where all paths have one answer, or a limit of the search is reached, nothing is drawn.

What it can show: that the end of a path is a rare draw, which only the PRM's score has brought up. So it
corrects searches that have found the PRM's errors. What it cannot show is whether an answer is right: no
gold answer is looked at, the policy agrees with its own frequent mistakes, and a rollout inherits the errors
of its prefix. With ever more rollouts it turns the vote towards the majority's.

The rollouts are draws of the run like all others: they take unused indices of their prefixes, and are part of
the cost.
"""

import math
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from data_gen.process.side_by_side import side_by_side
from data_gen.records.grader import AnswerReader
from data_gen.records.steps import step_spans
from data_gen.sampling.solutions import Prefix, draw_solution
from prm_train.strategies.answer_classes import classify_answers, with_classes
from prm_train.strategies.paths import PathGrower, SearchPath
from prm_train.strategies.voting import class_of, tree_votes

N_FINALISTS = 3


async def reanchor(
    grower: PathGrower, reader: AnswerReader, paths: Sequence[SearchPath], n_rollouts: int
) -> list[SearchPath]:
    """The paths of a search, in their order, whose weights are those of its own vote: with new weights."""
    question = grower.policy.question
    found = [grower.candidate(path, reader, i, "prm") for i, path in enumerate(paths)]
    candidates = with_classes(found, await classify_answers(question, found, reader))
    weights, places = tree_votes(candidates, "prm", "last", "weight"), dict[str, list[int]]()
    for i, candidate in enumerate(candidates):
        if weights[i] is not None:
            places.setdefault(class_of(candidate), []).append(i)
    if len(places) < 2 or not grower.may_go_on():
        return list(paths)

    def weight(i: int) -> float:
        return weights[i] or 0.0

    ranked = sorted(places.values(), key=lambda same: -math.fsum(map(weight, same)))[:N_FINALISTS]
    finalists = [max(same, key=weight) for same in ranked]
    rollouts = [roll_out(grower, reader, paths[i], n_rollouts) for i in finalists]
    n_agreeing = [0] * len(paths)
    for i, same, ends in zip(finalists, ranked, await side_by_side(map(side_by_side, rollouts)), strict=True):
        answer = candidates[i].answer or ""
        n = sum([end is not None and await reader.is_same(question, answer, end) for end in ends])
        for place in same:
            n_agreeing[place] = n
    return [
        replace(path, log_weight=path.log_weight + math.log((n + 1) / (n_rollouts + 2)))
        for path, n in zip(paths, n_agreeing, strict=True)
    ]


def roll_out(
    grower: PathGrower, reader: AnswerReader, path: SearchPath, n_rollouts: int
) -> list[Coroutine[Any, Any, str | None]]:
    """What will draw the rollouts of a path and read their answers; their indices are taken here."""
    policy, params = grower.policy, replace(grower.params, stop=None)
    vocabulary = policy.token_bytes()
    ends = [0, *(end for _, end in step_spans(path.token_ids, vocabulary, grower.params.stop or ""))]

    async def answer(ids: tuple[int, ...], index: int) -> str | None:
        text = b"".join(vocabulary[token] for token in ids).decode(errors="replace")
        solution = await draw_solution(policy, Prefix(grower.prompt_ids + ids, text), params, index)
        is_cut = len(ids) + len(solution.token_ids) > params.max_new_tokens
        return None if is_cut else reader.read_answer(policy.question, solution)

    return [
        answer(ids, index)
        for ids in (path.token_ids[: ends[cut]] for cut in cuts(len(ends) - 1, n_rollouts))
        for index in grower.indices.take(ids, 1)
    ]


def cuts(n_steps: int, n_rollouts: int) -> list[int]:
    """After how many of its steps a path is cut for each rollout."""
    return [k * n_steps // (n_rollouts + 1) for k in range(1, n_rollouts + 1)]
